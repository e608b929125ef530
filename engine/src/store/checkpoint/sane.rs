//! Whether a checkpoint can be one that this program wrote: everything opening takes from it without another look.
//!
//! Checksums keep out what the device did; this keeps out what a mistaken or hostile writer did who knows the secret.
//! What a checkpoint says of extents is looked at where it is used: a bad one is damage, and the rest is still good.
//! Rejected: checking where each field is used; each new use would have to remember.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::checkpoint::{self, Checkpoint, LogRecord, SegmentRecord};
use crate::format::frame::NO_SEGMENT;
use crate::format::segment::footer_units;
use crate::limits::{GENERATIONS_MAX, NUMBERS_MAX};
use crate::store::segments::Places;

type Segments<'a> = BTreeMap<u32, &'a SegmentRecord>;

/// What contradicts itself or the store, if anything does.
pub(super) fn contradiction(checkpoint: &Checkpoint, places: &Places) -> Option<&'static str> {
    let segments: Segments<'_> = checkpoint
        .segments
        .iter()
        .map(|record| (record.segment.get(), record))
        .collect();
    let segments_hold = segments.len() == checkpoint.segments.len()
        && segments.values().all(|record| segment_holds(record, places));
    let free = |(segment, generation): &(u32, u32)| {
        *segment < places.segment_count && !segments.contains_key(segment) && *generation < GENERATIONS_MAX
    };
    let logs: BTreeSet<u16> = checkpoint.logs.iter().map(|log| log.log.get()).collect();
    let logs_hold = logs.len() == checkpoint.logs.len()
        && checkpoint
            .logs
            .iter()
            .all(|log| log_holds(log, checkpoint, &segments));
    match () {
        () if !segments_hold => Some("its segment table contradicts itself"),
        () if !checkpoint.generations.iter().all(free) => Some("its generations contradict its segments"),
        () if !open_hold(checkpoint, &segments, places) => Some("its open segments contradict its segments"),
        () if !logs_hold => Some("its log table contradicts its segments"),
        () if !dead_hold(checkpoint, &segments, places) => Some("its dead sets contradict its segments"),
        () if !numbers_hold(checkpoint) => Some("its counters are impossible"),
        () => None,
    }
}

fn segment_holds(record: &SegmentRecord, places: &Places) -> bool {
    let (end, footer) = (record.end_unit.get(), record.footer_unit.get());
    let units = match record.state {
        checkpoint::SEALED => 1 <= end && end <= footer && footer < places.segment_units,
        checkpoint::OPEN => 1 <= end && end <= places.segment_units,
        checkpoint::RESERVED | checkpoint::CHECKPOINT => true,
        _ => false,
    };
    let place = record.segment.get() < places.segment_count
        && record.physical == record.segment
        && record.device.get() == 0;
    let ready = record.ready_unit.get() <= places.segment_units;
    units && place && ready && record.generation.get() < GENERATIONS_MAX
}

/// A log goes on in a segment of its own: in an open one after its last frame, or at the start of a reserved one.
fn log_holds(log: &LogRecord, checkpoint: &Checkpoint, segments: &Segments<'_>) -> bool {
    let is = |segment: u32, generation: u32, state: u8| {
        segments.get(&segment).is_some_and(|record| {
            record.log == log.log && record.generation.get() == generation && record.state == state
        })
    };
    let (segment, generation) = (log.segment.get(), log.generation.get());
    let at = match is(segment, generation, checkpoint::RESERVED) {
        true => log.unit.get() == 1 && !checkpoint.open_segments.iter().any(|(open, _)| *open == segment),
        false => {
            is(segment, generation, checkpoint::OPEN)
                && segments
                    .get(&segment)
                    .is_some_and(|record| record.end_unit == log.unit)
        }
    };
    let next = log.next_segment.get() == NO_SEGMENT
        || log.next_segment != log.segment
            && is(
                log.next_segment.get(),
                log.next_generation.get(),
                checkpoint::RESERVED,
            );
    at && next && log.next.get() < NUMBERS_MAX
}

/// Every list of descriptors is that of an open segment, and leaves room for the footer.
fn open_hold(checkpoint: &Checkpoint, segments: &Segments<'_>, places: &Places) -> bool {
    let mut seen = BTreeSet::new();
    checkpoint.open_segments.iter().all(|(segment, descriptors)| {
        let record = segments
            .get(segment)
            .filter(|record| record.state == checkpoint::OPEN);
        let end =
            record.and_then(|record| record.end_unit.get().checked_add(footer_units(descriptors.len())));
        seen.insert(*segment) && end.is_some_and(|end| end <= places.segment_units)
    })
}

fn dead_hold(checkpoint: &Checkpoint, segments: &Segments<'_>, places: &Places) -> bool {
    let mut seen = BTreeSet::new();
    checkpoint.dead.iter().all(|(segment, generation, offsets)| {
        let of = segments
            .get(segment)
            .is_some_and(|record| record.generation.get() == *generation);
        let rising = offsets.is_sorted();
        let last = offsets.last().copied().unwrap_or(0);
        seen.insert(*segment) && of && rising && u64::from(last) < places.segment_bytes()
    })
}

fn numbers_hold(checkpoint: &Checkpoint) -> bool {
    let counters = &checkpoint.counters;
    let all = [
        counters.next_root,
        counters.offered,
        counters.new,
        counters.offered_bytes,
        counters.new_bytes,
        counters.frame_bytes,
        counters.commits,
    ];
    let mut ids = BTreeSet::new();
    all.iter().all(|number| number.get() < NUMBERS_MAX)
        && checkpoint.roots.iter().all(|record| ids.insert(record.root))
}
