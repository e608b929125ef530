//! The segments of a log: claimed and headed ahead of need, zeroed while there is nothing else to do, sealed when full.
//!
//! Invariant: a segment takes frames only when all its space is claimed, so that a full disk is noticed before anything
//! is admitted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32, U64};

use super::{Event, Next, Writer};
use crate::format::segment::{self, HOLDS_LOG, SegmentHeader, Trailer};
use crate::format::{LogId, Secret};
use crate::limits::{FRAME_BYTES_MAX, UNIT_BYTES};
use crate::reactor::Local;
use crate::store::care;
use crate::store::log::OpenSegment;
use crate::store::room::{self, Exhausted};
use crate::store::segments::{Places, SegmentState, SegmentUse};
use crate::store::shared::Shared;

/// How often a header or a footer is written before the log is given up.
const ATTEMPTS_MAX: u32 = 4;
/// Longest frames, by the last few, that space is zeroed for. Zeroing first takes 80 us off a durable write of 4 KiB, 170 off one
/// of 128 KiB, and costs a write as long as the frame: at 256 KiB that is as much, at 1 MiB a third more.
const ZEROED_FRAME_BYTES_MAX: u64 = 192 << 10;
/// Time between two attempts.
const RETRY_DELAY: Duration = Duration::from_millis(10);

impl Writer {
    /// Leaves the current segment to be sealed and turns to the next one; false while that is not ready, or nothing
    /// durable names it.
    pub(super) fn go_on_in_next_segment(&mut self) -> bool {
        if !self.next_is_named {
            return false;
        }
        let Some(next) = self.next.as_mut().and_then(|next| next.ready.take()) else {
            return false;
        };
        if let Some(full) = self.current.take() {
            self.log
                .room
                .add(FRAME_BYTES_MAX as i64 - i64::try_from(full.left_bytes()).expect("below 2 GiB"));
            if self.is_cleaner() {
                let lost = &self.shared.counters.moved_lost_bytes;
                lost.fetch_add(full.lost_bytes(), Ordering::Relaxed);
            }
            self.sealing.insert(full.id());
            self.full.push_back(full);
        }
        let mut segments = self.shared.segments.lock();
        segments.open(next.id(), self.log.id, self.started + 1);
        self.current = Some(next);
        // Reserved here and now, so that every frame of this segment names it.
        self.next = segments
            .reserve_for(self.log.id)
            .map(|at| Next { at, ready: None });
        self.next_is_named = false;
        true
    }

    /// Seals the full segments in which everything is acknowledged.
    pub(super) fn seal_full(&mut self) {
        while let Some(full) = self.full.front()
            && self.in_flight.iter().all(|frame| frame.segment != full.id())
        {
            let full = self.full.pop_front().expect("looked at above");
            self.seal(full);
        }
    }

    /// Whether this log takes what cleaning moves.
    pub(super) fn is_cleaner(&self) -> bool {
        self.shared
            .cleaner_log()
            .is_some_and(|cleaner| cleaner.id == self.log.id)
    }

    fn seal(&mut self, full: OpenSegment) {
        let identity = (&self.shared.store, &self.shared.secret);
        let newest_ns = match self.shared.usage.newest_ns(full.id()) {
            0 => self.local.clock().wall_ns(),
            known => known,
        };
        let end = (self.log.last(), newest_ns);
        let (bytes, first_unit) = footer(&self.shared.places, identity, &full, self.log.id, end);
        self.shared.counters.segment_end(bytes.len() as u64);
        let state = SegmentState::Sealed {
            log: self.log.id,
            end_unit: full.next_unit,
            footer_unit: first_unit,
        };
        self.shared.segments.lock().set(full.id(), state);
        if care::is_due(&self.shared) {
            self.shared.care_due.store(true, Ordering::Release);
        }
        let offset = self
            .shared
            .places
            .offset(full.id(), u64::from(first_unit) * UNIT_BYTES as u64);
        let (local, events, zeroing) = (self.local.clone(), self.events.clone(), self.zeroing.clone());
        self.background += 1;
        let segment = full.id();
        self.local.spawn(async move {
            zeroing.opened().await;
            // Nothing is acknowledged by a footer: it may be tried again.
            let mut result = write_durable(&local, offset, &bytes).await;
            for _ in 1..ATTEMPTS_MAX {
                if result.is_ok() {
                    break;
                }
                local.sleep(RETRY_DELAY).await;
                result = write_durable(&local, offset, &bytes).await;
            }
            events.push(Event::Sealed(segment, result));
        });
    }

    /// Makes the next segment ready, or the first one of a log that had none.
    pub(super) fn attach_segments(&mut self) {
        // Where the last one could not be had, the next batch that needs it asks again: a writer that kept trying
        // on a full disk would never come to rest.
        let ahead = self.current.is_some() || self.planned.is_some();
        let wanted = self.log.room.is_wanted() || (ahead && !self.log.room.is_exhausted());
        let ready = self.next.as_ref().is_some_and(|next| next.ready.is_some());
        if !wanted || self.attaching || (ready && self.current.is_some()) {
            return;
        }
        if ready {
            // The first segment of a log that had none.
            self.go_on_in_next_segment();
        }
        // Only a segment that frames or the checkpoint name can be found by replay: none is reserved here.
        let Some(next) = &self.next else {
            self.log.room.exhaust(Exhausted::Store);
            return;
        };
        let at = next.at;
        self.attaching = true;
        self.background += 1;
        let (local, events, shared, log) = (
            self.local.clone(),
            self.events.clone(),
            self.shared.clone(),
            self.log.id,
        );
        self.local.spawn(async move {
            let mut result = prepare(&local, &shared, at, log).await;
            for _ in 1..ATTEMPTS_MAX {
                match &result {
                    Err(error) if error.kind() != std::io::ErrorKind::StorageFull => {}
                    _ => break,
                }
                local.sleep(RETRY_DELAY).await;
                result = prepare(&local, &shared, at, log).await;
            }
            events.push(Event::Attached(at, result));
        });
    }

    pub(super) fn attached(&mut self, at: SegmentUse, result: std::io::Result<()>) {
        self.attaching = false;
        self.background -= 1;
        match result {
            Ok(()) => {
                let next = self.next.as_mut().filter(|next| next.at == at);
                let next = next.expect("the segment being attached is the next one");
                let units = self.shared.places.segment_units;
                let filled = self.shared.segments.lock().is_filled(at.segment);
                let ready_unit = if filled { units } else { 1 };
                next.ready = Some(OpenSegment::new(at, units, 1, ready_unit, Vec::new()));
                self.log
                    .room
                    .attach(room::usable_bytes(self.shared.places.segment_bytes()));
            }
            // Still reserved: the next batch that asks for room tries again.
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                self.log.room.exhaust(Exhausted::Disk);
            }
            Err(error) => self
                .shared
                .fence_all(&format!("preparing segment {}: {error}", at.segment)),
        }
    }

    /// Zeroes a piece of the current segment, or of the next one once all of the current one is ready: the first
    /// frames there would otherwise meet space that was never written. Not where frames are long.
    pub(super) fn zero_ahead(&mut self) {
        if self.frame_bytes > ZEROED_FRAME_BYTES_MAX {
            return;
        }
        let idle = self.in_flight.is_empty() && self.queue.is_empty() && self.planned.is_none();
        // The piece under way may lie in a segment that the log has left; its end is an event that comes here again.
        if !idle || self.zeroing.is_held() || self.log.is_closed() || !self.shared.zero_ahead {
            return;
        }
        let open = match &mut self.current {
            Some(current) if !current.is_ready_to_its_end() => current,
            _ => match self.next.as_mut().and_then(|next| next.ready.as_mut()) {
                Some(next) => next,
                None => return,
            },
        };
        let segment = open.id();
        let Some((from, to)) = open.next_piece() else {
            return;
        };
        let offset = self.shared.places.offset(segment, from);
        let (local, events, zeroing) = (self.local.clone(), self.events.clone(), self.zeroing.clone());
        zeroing.hold();
        self.background += 1;
        let zeroed = &self.shared.counters.zeroed_bytes;
        zeroed.fetch_add(to - from, Ordering::Relaxed);
        self.local.spawn(async move {
            // A failure only costs speed: the range stays allocated and unwritten.
            let _ = local.write_zeroes(offset, to - from).await;
            zeroing.open();
            events.push(Event::Zeroed(segment));
        });
    }
}

/// Claims the space of a segment, unless it still has it, and writes its header.
async fn prepare(local: &Local, shared: &Shared, at: SegmentUse, log: LogId) -> std::io::Result<()> {
    if !shared.segments.lock().is_filled(at.segment) {
        let start = shared.places.offset(at.segment, 0);
        crate::store::superblocks::claim_space(local, start, shared.places.segment_bytes()).await?;
    }
    let mut header = SegmentHeader::new_zeroed();
    header.holds = HOLDS_LOG;
    header.store = shared.store;
    header.segment = U32::new(at.segment.0);
    header.generation = U32::new(at.generation);
    header.log = U16::new(log.0);
    header.physical = U32::new(at.segment.0);
    header.units = U32::new(shared.places.segment_units);
    header.incarnation = U64::new(shared.incarnation);
    shared.counters.segment_end(UNIT_BYTES as u64);
    write_bytes(
        local,
        shared.places.offset(at.segment, 0),
        &header.encode(&shared.secret),
    )
    .await
}

/// The footer of a segment and the unit where it starts.
pub(in crate::store) fn footer(
    places: &Places,
    (store, secret): (&[u8; 16], &Secret),
    full: &OpenSegment,
    log: LogId,
    (last, newest_ns): (u64, u64),
) -> (Vec<u8>, u32) {
    let mut trailer = Trailer::new_zeroed();
    trailer.store = *store;
    trailer.log = U16::new(log.0);
    trailer.segment = U32::new(full.at.segment.0);
    trailer.generation = U32::new(full.at.generation);
    trailer.end_unit = U32::new(full.next_unit);
    trailer.last = U64::new(last);
    trailer.newest_ns = U64::new(newest_ns);
    let bytes = segment::encode_footer(&full.descriptors, trailer, places.segment_units, secret);
    let first_unit = places.segment_units - segment::footer_units(full.descriptors.len());
    (bytes, first_unit)
}

/// Writes whole units, not yet durable.
pub(in crate::store) async fn write_bytes(local: &Local, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    write_all(local, offset, bytes, false).await
}

/// Writes whole units that a failed flush cannot take away again.
async fn write_durable(local: &Local, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    write_all(local, offset, bytes, true).await
}

async fn write_all(local: &Local, offset: u64, bytes: &[u8], durable: bool) -> std::io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let len = (bytes.len() - done).min(FRAME_BYTES_MAX);
        let mut buffer = local.buffer(len).map_err(std::io::Error::other)?;
        buffer[..len].copy_from_slice(&bytes[done..done + len]);
        let padded = len.next_multiple_of(UNIT_BYTES);
        buffer[len..padded].fill(0);
        let (_, result) = local
            .write(offset + done as u64, buffer, 0..padded, durable)
            .await;
        result?;
        done += len;
    }
    Ok(())
}
