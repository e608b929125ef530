//! What a checkpoint says: the store as it is at one place of each log.
//!
//! Segments that a log came to after its place are free in the checkpoint, with the generation of their use: replay
//! finds them through the frames that name them, and nobody else takes that generation.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use zerocopy::little_endian::{U16, U32, U64};

use super::copies;
use crate::canary::{self, Canary};
use crate::error::Result;
use crate::format::checkpoint::{Checkpoint, Counters, LogRecord};
use crate::format::frame::NO_SEGMENT;
use crate::format::root_record::RootRecord;
use crate::format::superblock::Superblock;
use crate::format::{LogId, SegmentId};
use crate::reactor::Local;
use crate::store::log::LogEnd;
use crate::store::segments::{Listed, Places, SegmentState, SegmentTable, SegmentUse};
use crate::store::usage::Usage;

/// The facts that only the caller knows.
pub(in crate::store) struct Contents {
    /// The place of each log.
    pub ends: Vec<LogEnd>,
    /// The roots there.
    pub roots: Vec<RootRecord>,
    pub counters: Counters,
    /// Segments in which nothing lives: the checkpoint frees them.
    pub freed: BTreeSet<SegmentId>,
    /// Logs without a next segment, and the ones they get.
    pub offers: Vec<(LogId, SegmentUse)>,
}

/// Writes a checkpoint and the superblock that names it, then frees what it forgets.
pub(in crate::store) async fn store_checkpoint(
    local: &Local,
    name: &str,
    block: &mut Superblock,
    (table, usage): (&Mutex<SegmentTable>, &Usage),
    mut contents: Contents,
) -> Result<u64> {
    // Maps have no order of their own; equal states give equal bytes.
    contents.roots.sort_unstable_by_key(|record| record.root);
    if canary::is(Canary::EarlyReuse) && contents.offers.is_empty() {
        for segment in std::mem::take(&mut contents.freed) {
            usage.clear(segment);
            table.lock().release(segment);
        }
    }
    let written = copies::store(local, name, block, table, |table, old| {
        compose(table, usage, &contents, old)
    })
    .await?;
    let places = Places::of(block);
    let given_back = table.lock().give_back(contents.freed.iter().copied());
    for segment in given_back {
        // A failure only costs space below the store.
        let _ = local
            .discard(places.offset(segment, 0), places.segment_bytes())
            .await;
    }
    let mut table = table.lock();
    for segment in &contents.freed {
        usage.clear(*segment);
        table.release(*segment);
    }
    for (log, at) in &contents.offers {
        if contents.freed.contains(&at.segment) {
            table.claim(*at, SegmentState::Reserved(*log));
        }
    }
    Ok(written)
}

fn compose(table: &SegmentTable, usage: &Usage, contents: &Contents, old: &[SegmentId]) -> Checkpoint {
    let by_log: BTreeMap<LogId, &LogEnd> = contents.ends.iter().map(|end| (end.log, end)).collect();
    let offered: BTreeMap<SegmentId, (LogId, SegmentUse)> = contents
        .offers
        .iter()
        .map(|(log, at)| (at.segment, (*log, *at)))
        .collect();
    let (segments, generations) = table.records(|at, state, first| {
        if let Some((log, at)) = offered.get(&at.segment) {
            return Listed::As(SegmentState::Reserved(*log), at.generation, (0, 0));
        }
        if contents.freed.contains(&at.segment) || old.contains(&at.segment) {
            return Listed::Free;
        }
        let (SegmentState::Reserved(log) | SegmentState::Open(log) | SegmentState::Sealed { log, .. }) =
            state
        else {
            return Listed::As(state, at.generation, (0, 0));
        };
        let Some(end) = by_log.get(&log) else {
            return Listed::As(state, at.generation, (0, 0));
        };
        if let Some(open) = end.current.as_ref().filter(|open| open.at == at) {
            let state = SegmentState::Open(log);
            return Listed::As(state, at.generation, (open.next_unit, open.ready_unit()));
        }
        if end.next == Some(at) {
            return Listed::As(SegmentState::Reserved(log), at.generation, (0, 0));
        }
        match state {
            SegmentState::Sealed { .. } if first < end.next_sequence => {
                Listed::As(state, at.generation, (0, 0))
            }
            _ => Listed::Free,
        }
    });
    let listed: BTreeMap<u32, u32> = segments
        .iter()
        .map(|record| (record.segment.get(), record.generation.get()))
        .collect();
    // A segment that is freed and given to a log at once begins that use without dead extents: with those of the last
    // one, recovery would leave out what the log writes to their places.
    let stays = |segment: &SegmentId| !contents.freed.contains(segment);
    let dead = usage.dead().into_iter().filter_map(|(segment, offsets)| {
        let generation = *listed.get(&segment.0).filter(|_| stays(&segment))?;
        Some((segment.0, generation, offsets))
    });
    Checkpoint {
        logs: contents
            .ends
            .iter()
            .filter_map(|end| log_record(end, &contents.offers))
            .collect(),
        roots: contents.roots.clone(),
        open_segments: contents
            .ends
            .iter()
            .filter_map(|end| end.current.as_ref())
            .map(|open| (open.id().0, open.descriptors.clone()))
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect(),
        dead: dead.collect(),
        segments,
        generations,
        counters: contents.counters,
    }
}

/// Where a log goes on, if it has a segment at all.
fn log_record(end: &LogEnd, offers: &[(LogId, SegmentUse)]) -> Option<LogRecord> {
    let offer = offers.iter().find(|(log, _)| *log == end.log).map(|(_, at)| *at);
    let next = end.next.or(offer);
    let (at, unit, following) = match (&end.current, next) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::checkpoint::{RESERVED, SEALED};
    use crate::store::usage::Place;

    /// Goal: what was dead in a segment is forgotten with its use, so that recovery does not take the next use's extents
    /// for dead (P1). Method: a sealed segment with a dead extent, kept; then freed and offered to a log at once.
    #[test]
    fn a_freed_segment_begins_its_next_use_without_dead_extents() {
        let log = LogId(0);
        let mut table = SegmentTable::new(8);
        let at = table.reserve_for(log).expect("all are free");
        table.open(at.segment, log, 1);
        table.set(
            at.segment,
            SegmentState::Sealed {
                log,
                end_unit: 2,
                footer_unit: 1000,
            },
        );
        let usage = Usage::new(8);
        let place = Place {
            segment: at.segment,
            offset: 4096,
            len: 10,
        };
        usage.born([(place, 1)]);
        usage.died([place]);
        let end = LogEnd {
            log,
            current: None,
            next: None,
            predecessor: 0,
            next_sequence: 5,
        };
        let mut contents = Contents {
            ends: vec![end],
            roots: Vec::new(),
            counters: Counters::default(),
            freed: BTreeSet::new(),
            offers: Vec::new(),
        };
        let kept = compose(&table, &usage, &contents, &[]);
        assert_eq!(kept.segments[0].state, SEALED);
        assert_eq!(kept.dead, [(at.segment.0, at.generation, vec![4096])]);
        let next = SegmentUse {
            segment: at.segment,
            generation: at.generation + 1,
        };
        contents.freed.insert(at.segment);
        contents.offers.push((log, next));
        let freed = compose(&table, &usage, &contents, &[]);
        assert_eq!(freed.segments[0].state, RESERVED);
        assert_eq!(freed.segments[0].generation.get(), next.generation);
        assert_eq!(freed.dead, []);
    }
}
