//! After a failed write: what it leaves in doubt is written anew, elsewhere, and acknowledged there only.
//!
//! A failed write may have happened in whole, in part or not at all, and so may those started after it, whose frames
//! build on it. When all of them have ended, their batches go back to the head of the queue in order, and frames that
//! follow the last good one hold them again, behind everything in doubt. Such a frame has the sequences and the
//! predecessor of the first one in doubt; replay that meets it forgets what it has taken from there. So the frame
//! that makes the batches durable is also the durable word that the old place counts no more: one write, no other
//! place to look.
//! Rejected: a fence in the superblock (a second write, and a second truth); another log (acknowledgements, roots
//! and dependency vectors name log and sequence).
//! Where failures follow each other without a good write in between, the log turns to its next segment; then the store
//! takes no more writes.
//! Invariant: a log turns to a segment only when something durable names it. So the segment in which batches are
//! written anew is the one of the first frame in doubt or the one after it, and replay finds it.

use super::{InFlight, Outcome, Writer};
use crate::limits::UNIT_BYTES;
use crate::store::fences::Fence;

/// Failures in a row after which the rest of a segment is left alone.
const IN_SEGMENT_MAX: u32 = 4;
/// Failures in a row after which the store takes no more writes.
const IN_ROW_MAX: u32 = 8;

impl Writer {
    /// Whether a write has failed and its frame is not written anew yet.
    pub(super) fn is_in_doubt(&self) -> bool {
        let failed = |frame: &InFlight| matches!(frame.outcome, Outcome::Failed(_));
        self.in_flight.iter().any(failed)
    }

    /// Takes back what a failed write leaves in doubt, once all writes have ended.
    pub(super) fn write_anew(&mut self) {
        let writing = |frame: &InFlight| matches!(frame.outcome, Outcome::Writing);
        if !self.is_in_doubt() || self.in_flight.iter().any(writing) {
            return;
        }
        let failed = |frame: &InFlight| matches!(frame.outcome, Outcome::Failed(_));
        let from = self.in_flight.iter().position(failed).expect("looked at above");
        let in_doubt = self.in_flight.split_off(from);
        let first = &in_doubt[0];
        let Outcome::Failed(error) = &first.outcome else {
            unreachable!("the first one has failed");
        };
        self.shared.fences.add(Fence {
            log: self.log.id,
            segment: first.segment,
            offset: u64::from(first.unit) * UNIT_BYTES as u64,
            batches: (
                first.first,
                in_doubt.back().map_or(first.last, |frame| frame.last),
            ),
            reason: error.to_string(),
            time_ns: self.local.clock().wall_ns(),
        });
        tracing::warn!(
            store = self.shared.name,
            log = self.log.id.0,
            segment = first.segment.0,
            unit = first.unit,
            %error,
            "a write failed; what it held is written anew elsewhere"
        );
        let doubtful = first.segment;
        self.failures_in_row += 1;
        self.wrote_anew = true;
        if self.failures_in_row >= IN_ROW_MAX {
            let reason = format!(
                "writing a frame of log {}, {IN_ROW_MAX} times in a row: {error}",
                self.log.id
            );
            self.shared.fence_all(&reason);
            return;
        }
        self.started = first.first - 1;
        self.predecessor = first.predecessor;
        if let Some(cut) = &mut self.cut {
            let beyond = |next: u64| next > first.first;
            if cut.end.as_ref().is_some_and(|end| beyond(end.next_sequence)) {
                cut.end = None;
            }
        }
        let planned = self.planned.take().into_iter().flat_map(|plan| plan.batches);
        planned.rev().for_each(|queued| self.queue.push_front(queued));
        for frame in in_doubt.into_iter().rev() {
            let mut open = self.full.iter_mut().chain(&mut self.current);
            let open = open.find(|open| open.id() == frame.segment);
            open.expect("a segment is sealed after its last frame")
                .forget_newest(frame.descriptors.len());
            for queued in frame.batches.into_iter().rev() {
                // They need their room once more; what the frame took is lost.
                let cost = i64::try_from(queued.cost).expect("bounded by a frame");
                self.log.room.add(-cost);
                self.queue.push_front(queued);
            }
        }
        if self.failures_in_row >= IN_SEGMENT_MAX {
            // If that cannot be yet, there is more of this segment to be tried.
            self.go_on_in_next_segment();
        }
        // Batches from the segment before it may be written anew in this one.
        let current = self.current.as_ref().expect("frames were in flight").id();
        let mut segments = self.shared.segments.lock();
        segments.doubt(doubtful);
        segments.open(current, self.log.id, self.started + 1);
    }

    /// Ends the store for writers if a frame has no place and will not get one: what is written anew was admitted with
    /// room for one place only.
    pub(super) fn check_place_for_anew(&self) {
        let stays_unnamed = !self.next_is_named && self.in_flight.is_empty();
        if (self.next.is_none() || stays_unnamed) && self.wrote_anew {
            let fences = self.shared.fences.newest();
            let last = fences.iter().rfind(|fence| fence.log == self.log.id);
            let last = last.map_or_else(String::new, |fence| format!(": {}", fence.reason));
            let reason = format!(
                "after failed writes no place is left for log {}{last}",
                self.log.id
            );
            self.shared.fence_all(&reason);
        }
    }
}
