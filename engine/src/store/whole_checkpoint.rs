//! The checkpoint of a store whose logs stand still: after a replay, and at a close.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use zerocopy::little_endian::{U16, U32, U64};

use super::checkpoints;
use super::log::{LogEnd, OpenSegment};
use super::segments::SegmentTable;
use crate::error::Result;
use crate::format::SegmentId;
use crate::format::checkpoint::{Checkpoint, Counters, LogRecord};
use crate::format::frame::NO_SEGMENT;
use crate::format::root_record::RootRecord;
use crate::format::superblock::Superblock;
use crate::reactor::Local;

type RootsAndCounters = (Vec<RootRecord>, Counters);

/// Writes a checkpoint of a store whose logs stand at `ends`.
pub(super) async fn store_checkpoint(
    local: &Local,
    name: &str,
    block: &mut Superblock,
    table: &Mutex<SegmentTable>,
    ends: &[LogEnd],
    state: impl FnOnce() -> RootsAndCounters,
) -> Result<()> {
    let (mut roots, counters) = state();
    // Maps have no order of their own; equal states give equal bytes.
    roots.sort_unstable_by_key(|record| record.root);
    let open: BTreeMap<SegmentId, &OpenSegment> = ends
        .iter()
        .filter_map(|end| end.current.as_ref())
        .map(|open| (open.id(), open))
        .collect();
    let logs: Vec<LogRecord> = ends.iter().filter_map(log_record).collect();
    checkpoints::store(local, name, block, table, |table, old| {
        let mut segments = table.records(|segment| {
            open.get(&segment)
                .map_or((0, 0), |open| (open.next_unit, open.ready_unit()))
        });
        let mut generations = table.generations();
        segments.retain(|record| {
            let is_old = old.contains(&SegmentId(record.segment.get()));
            if is_old {
                generations.push((record.segment.get(), record.generation.get()));
            }
            !is_old
        });
        Checkpoint {
            segments,
            logs: logs.clone(),
            roots: roots.clone(),
            open_segments: open
                .values()
                .map(|open| (open.id().0, open.descriptors.clone()))
                .collect(),
            generations,
            counters,
        }
    })
    .await
}

/// Where a log goes on, if it has a segment at all.
fn log_record(end: &LogEnd) -> Option<LogRecord> {
    let (at, unit, following) = match (&end.current, end.next) {
        (Some(open), next) => (open.at, open.next_unit, next),
        (None, Some(next)) => (next, 1, None),
        (None, None) => return None,
    };
    Some(LogRecord {
        log: U16::new(end.log.0),
        reserved: U16::new(0),
        segment: U32::new(at.segment.0),
        generation: U32::new(at.generation),
        unit: U32::new(unit),
        next: U64::new(end.next_sequence),
        predecessor: U32::new(end.predecessor),
        next_segment: U32::new(following.map_or(NO_SEGMENT, |next| next.segment.0)),
        next_generation: U32::new(following.map_or(0, |next| next.generation)),
        reserved_too: U32::new(0),
    })
}
