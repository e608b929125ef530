//! Replays the logs after an unclean end, from where the checkpoint saw them: each is followed frame by frame
//! ([`follow`]), then what counts of them is decided.
//!
//! Rules (DESIGN 8): a bad frame at or below a sequence known to be acknowledged is damage: named, skipped, and
//! replay goes on at the next frame that proves it. Any other bad frame is the tail of its log. A frame whose
//! dependency vector is unmet is ignored together with everything after it, and with everything that depends on
//! those, until nothing changes.
//! A frame that follows an earlier one than the last holds anew what comes after that: writing it had failed (P4), and
//! what was taken from there is forgotten.
//! Payload is checked (by the extents' checksums) only where no acknowledgement is known: in the tail.
//! Rejected: stopping at the first bad frame; it would silently drop acknowledged work behind one rotten sector.

mod follow;
mod reader;

use std::collections::HashMap;

use zerocopy::FromBytes;

use self::follow::{Cursor, FoundLog, follow};
use self::reader::Reader;
use super::log::OpenSegment;
use super::recovery::Damage;
use super::segments::SegmentUse;
use crate::canary::{self, Canary};
use crate::error::Result;
use crate::format::checkpoint::{Checkpoint, RESERVED, SegmentRecord};
use crate::format::frame::{Dependency, Descriptor, FrameHeader, NO_SEGMENT};
use crate::format::root_record::RootRecord;
use crate::format::superblock::Superblock;
use crate::format::{LogId, SegmentId};
use crate::limits::{FRAME_BYTES_MAX, UNIT_BYTES};
use crate::reactor::Local;

/// What the logs hold beyond the checkpoint.
pub(super) struct Replayed {
    /// Accepted descriptors by segment.
    pub extents: Vec<(SegmentId, Vec<Descriptor>)>,
    /// Accepted root records, in log order.
    pub records: Vec<RootRecord>,
    /// Every segment that took frames or might have, with what is accepted in it.
    pub segments: Vec<(LogId, OpenSegment)>,
    pub damage: Vec<Damage>,
    pub frames: u64,
}

/// Reads all logs beyond the checkpoint. `open` gives (and gives up) the descriptors of segments open at its time.
pub(super) async fn replay(
    local: &Local,
    name: &str,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
    open: &mut HashMap<u32, Vec<Descriptor>>,
) -> Result<Replayed> {
    let mut reader = Reader::new(local, name, superblock);
    let places = reader.places;
    let reserved = |record: &SegmentRecord| (record.state == RESERVED).then_some(LogId(record.log.get()));
    reader.listed = checkpoint
        .segments
        .iter()
        .map(|record| (record.segment.get(), reserved(record)))
        .collect();
    let mut damage = Vec::new();
    let mut logs = Vec::new();
    for record in &checkpoint.logs {
        let at = SegmentUse {
            segment: SegmentId(record.segment.get()),
            generation: record.generation.get(),
        };
        let next = SegmentUse {
            segment: SegmentId(record.next_segment.get()),
            generation: record.next_generation.get(),
        };
        let start = Cursor {
            at,
            unit: record.unit.get(),
            next: record.next.get().max(1),
            following: (next.segment.0 != NO_SEGMENT).then_some(next),
        };
        let carried = open.remove(&at.segment.0).unwrap_or_default();
        let mut found = FoundLog {
            log: LogId(record.log.get()),
            incarnation: superblock.incarnation,
            frames: Vec::new(),
            acknowledged: start.next - 1,
            base: (start.next - 1, record.predecessor.get()),
            segments: Vec::new(),
        };
        let is_inside =
            at.segment.0 < places.segment_count && (1..=places.segment_units).contains(&start.unit);
        if is_inside {
            found.segments.push((at, start.unit, carried));
            follow(&mut reader, &mut found, start, &mut damage).await;
        }
        logs.push(found);
    }
    for log in &mut logs {
        cut_torn_tail(&mut reader, log).await;
    }
    cut_unmet(&mut logs);
    let mut replayed = Replayed {
        extents: Vec::new(),
        records: Vec::new(),
        segments: Vec::new(),
        damage: Vec::new(),
        frames: 0,
    };
    for log in logs {
        let mut segments: Vec<OpenSegment> = log
            .segments
            .into_iter()
            .map(|(at, unit, carried)| OpenSegment::new(at, places.segment_units, unit, unit, carried))
            .collect();
        for frame in &log.frames {
            replayed.frames += 1;
            replayed.records.extend(reader.records(frame, &mut damage).await);
            replayed
                .extents
                .push((frame.at.segment, frame.descriptors.clone()));
            let segment = segments.iter_mut().find(|open| open.at == frame.at);
            segment
                .expect("every frame lies in a segment of its log")
                .accept(frame.unit + frame.header.units.get(), &frame.descriptors);
        }
        replayed
            .segments
            .extend(segments.into_iter().map(|segment| (log.log, segment)));
    }
    replayed.damage = damage;
    Ok(replayed)
}
/// Ends a log before its first frame that is neither acknowledged nor whole.
async fn cut_torn_tail(reader: &mut Reader<'_>, log: &mut FoundLog) {
    for number in 0..log.frames.len() {
        let frame = &log.frames[number];
        let in_doubt = frame.header.last.get() > log.acknowledged && !canary::is(Canary::TornReplay);
        if in_doubt && !reader.payload_holds(frame).await {
            log.frames.truncate(number);
            return;
        }
    }
}

/// Ends logs before their first frame that depends on something no log has, until nothing changes.
fn cut_unmet(logs: &mut [FoundLog]) {
    loop {
        let reached: HashMap<LogId, u64> = logs.iter().map(|log| (log.log, log.last())).collect();
        let mut changed = false;
        for log in logs.iter_mut() {
            let unmet = |dependency: &Dependency| {
                reached
                    .get(&LogId(dependency.log.get()))
                    .is_none_or(|last| *last < dependency.sequence.get())
            };
            if let Some(cut) = log
                .frames
                .iter()
                .position(|frame| frame.dependencies.iter().any(unmet))
            {
                log.frames.truncate(cut);
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

/// Reads a sealed segment frame by frame, for want of its footer. Unreadable parts are reported.
pub(super) async fn scan_segment(
    local: &Local,
    name: &str,
    superblock: &Superblock,
    at: SegmentUse,
    end_unit: u32,
    damage: &mut Vec<Damage>,
) -> Result<Vec<Descriptor>> {
    let mut reader = Reader::new(local, name, superblock);
    let places = reader.places;
    let mut descriptors = Vec::new();
    // Last sequences of the frames so far, and how many descriptors came before each.
    let mut frames: Vec<(u64, usize)> = Vec::new();
    let mut unit = 1;
    let mut gap = false;
    while unit < end_unit.min(places.segment_units) {
        let log = FrameHeader::read_from_prefix(reader.bytes(at.segment, unit, UNIT_BYTES).await)
            .map_or(LogId(0), |(header, _)| LogId(header.log.get()));
        match reader.frame(log, at, unit).await {
            Some(frame) => {
                unit += frame.header.units.get().max(1);
                // What is written anew later counts there.
                let kept = frames.partition_point(|(last, _)| *last < frame.header.first.get());
                if let Some((_, before)) = frames.get(kept) {
                    descriptors.truncate(*before);
                    frames.truncate(kept);
                }
                frames.push((frame.header.last.get(), descriptors.len()));
                descriptors.extend(frame.descriptors);
                gap = false;
            }
            None => {
                if !gap {
                    let offset = u64::from(unit) * UNIT_BYTES as u64;
                    damage.push(Damage {
                        segment: at.segment,
                        offset,
                        what: "unreadable frames".into(),
                    });
                }
                gap = true;
                unit += 1;
            }
        }
    }
    debug_assert!(descriptors.len() <= FRAME_BYTES_MAX * places.segment_units as usize);
    Ok(descriptors)
}
