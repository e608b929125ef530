//! What a checkpoint says: the store as it is at one place of each log.
//!
//! Segments that a log came to after its place are free in the checkpoint, with the generation of their use: replay
//! finds them through the frames that name them, and nobody else takes that generation.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::copies;
use crate::canary::{self, Canary};
use crate::error::Result;
use crate::format::checkpoint::{Body, Counters, LogRecord, SegmentRecord};
use crate::format::frame::NO_SEGMENT;
use crate::format::root_record::RootRecord;
use crate::format::superblock::Superblock;
use crate::format::{LogId, SegmentId};
use crate::reactor::Local;
use crate::store::log::LogEnd;
use crate::store::pace::Turns;
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
    let draft = Draft::of(local, table, usage, &contents).await;
    let written = copies::store(local, name, block, table, draft).await?;
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

/// What a checkpoint says, but for the segments: it takes some itself, and lists them.
///
/// Written in turns. That is as good as one moment: everything is judged by the places of the logs, which are fixed, and
/// nothing but the checkpoint itself frees a segment.
pub(super) struct Draft<'a> {
    listing: Listing<'a>,
    counters: Counters,
    logs: Vec<LogRecord>,
    /// The sections after those of segments.
    rest: Vec<u8>,
}

impl<'a> Draft<'a> {
    async fn of(
        local: &Local,
        table: &Mutex<SegmentTable>,
        usage: &Usage,
        contents: &'a Contents,
    ) -> Draft<'a> {
        let mut turns = Turns::new(local);
        let listing = Listing::of(contents);
        let mut roots = Vec::new();
        for record in &contents.roots {
            roots.extend_from_slice(&record.encode());
            turns.breathe(local, 1).await;
        }
        let mut body = Body::default();
        body.roots(&roots);
        let open: BTreeMap<SegmentId, _> = contents
            .ends
            .iter()
            .filter_map(|end| end.current.as_ref())
            .map(|open| (open.id(), &open.descriptors))
            .collect();
        for (segment, descriptors) in open {
            body.open_segment(segment.0, descriptors);
            turns.breathe(local, descriptors.len()).await;
        }
        for segment in usage.with_dead() {
            // A segment that is freed and given to a log at once begins that use without dead extents: with those of
            // the last one, recovery would leave out what the log writes to their places.
            let stays = !contents.freed.contains(&segment);
            let listed = table
                .lock()
                .in_use(segment)
                .map(|(at, state, first)| listing.listed(at, state, first));
            if let Some(Listed::As(_, generation, _)) = listed.filter(|_| stays) {
                let offsets = usage.dead_in(segment);
                body.dead(segment.0, generation, &offsets);
                turns.breathe(local, offsets.len()).await;
            }
        }
        Draft {
            listing,
            counters: contents.counters,
            logs: contents
                .ends
                .iter()
                .filter_map(|end| log_record(end, &contents.offers))
                .collect(),
            rest: body.into_bytes(),
        }
    }

    /// Bytes of the body, at most, if the checkpoint takes that many segments itself.
    pub fn len_max(&self, table: &SegmentTable, own: usize) -> usize {
        let own = own * size_of::<SegmentRecord>();
        let heads = 4 * Body::SECTION_HEAD + size_of::<Counters>() + self.logs.as_bytes().len();
        heads + own + table.listing_bytes_max() + self.rest.len()
    }

    /// The body. `old` are the segments of the checkpoint before, which are free in this one.
    pub async fn body(
        self,
        local: &Local,
        table: &Mutex<SegmentTable>,
        old: &BTreeSet<SegmentId>,
    ) -> Vec<u8> {
        let mut turns = Turns::new(local);
        let (mut segments, mut generations) = (Vec::new(), Vec::new());
        let count = u32::try_from(table.lock().len()).expect("segments have u32 numbers");
        for from in (0..count).step_by(SEGMENTS_PER_TURN as usize) {
            let range = from..count.min(from + SEGMENTS_PER_TURN);
            let (records, others) =
                table
                    .lock()
                    .records(range, |at, state, first| match old.contains(&at.segment) {
                        true => Listed::Free,
                        false => self.listing.listed(at, state, first),
                    });
            segments.extend(records);
            generations.extend(others);
            turns.breathe(local, SEGMENTS_PER_TURN as usize).await;
        }
        let mut body = Body::default();
        body.counters(&self.counters);
        body.segments(&segments);
        body.logs(&self.logs);
        body.generations(&generations);
        let mut body = body.into_bytes();
        body.reserve_exact(self.rest.len());
        for piece in self.rest.chunks(copies::PIECE_BYTES) {
            body.extend_from_slice(piece);
            turns.breathe(local, 1).await;
        }
        body
    }
}

/// Segments that are listed in one turn of the reactor.
const SEGMENTS_PER_TURN: u32 = 512;

/// How segments are listed.
struct Listing<'a> {
    ends: BTreeMap<LogId, &'a LogEnd>,
    offered: BTreeMap<SegmentId, (LogId, SegmentUse)>,
    freed: &'a BTreeSet<SegmentId>,
}

impl<'a> Listing<'a> {
    fn of(contents: &'a Contents) -> Listing<'a> {
        let offers = contents.offers.iter();
        Listing {
            ends: contents.ends.iter().map(|end| (end.log, end)).collect(),
            offered: offers.map(|(log, at)| (at.segment, (*log, *at))).collect(),
            freed: &contents.freed,
        }
    }

    /// A segment in this use, in which its log began with the sequence `first`.
    fn listed(&self, at: SegmentUse, state: SegmentState, first: u64) -> Listed {
        if let Some((log, at)) = self.offered.get(&at.segment) {
            return Listed::As(SegmentState::Reserved(*log), at.generation, (0, 0));
        }
        if self.freed.contains(&at.segment) {
            return Listed::Free;
        }
        let (SegmentState::Reserved(log) | SegmentState::Open(log) | SegmentState::Sealed { log, .. }) =
            state
        else {
            return Listed::As(state, at.generation, (0, 0));
        };
        let Some(end) = self.ends.get(&log) else {
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
    use std::sync::Arc;

    use super::*;
    use crate::device::sim::SimDevice;
    use crate::format::checkpoint::{Checkpoint, RESERVED, SEALED};
    use crate::reactor::{Config, Runtime};
    use crate::store::open::on_reactor;
    use crate::store::usage::Place;

    /// What a checkpoint of these says.
    fn composed(table: &Arc<Mutex<SegmentTable>>, usage: &Arc<Usage>, contents: Contents) -> Checkpoint {
        let config = Config {
            reactors: 1,
            pin: false,
            ..Config::default()
        };
        let runtime =
            Runtime::driver(SimDevice::new(1, 1 << 20), &config).expect("a runtime without threads");
        let (table, usage) = (table.clone(), usage.clone());
        let body = on_reactor(&runtime, |local| async move {
            let draft = Draft::of(&local, &table, &usage, &contents).await;
            let len_max = draft.len_max(&table.lock(), 0);
            let body = draft.body(&local, &table, &BTreeSet::new()).await;
            assert!(body.len() <= len_max, "{} bytes, expected {len_max}", body.len());
            Ok(body)
        });
        Checkpoint::decode(&body.expect("no I/O")).expect("what was just encoded")
    }

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
        let (table, usage) = (Arc::new(Mutex::new(table)), Arc::new(usage));
        let contents = || Contents {
            ends: vec![LogEnd {
                log,
                current: None,
                next: None,
                predecessor: 0,
                next_sequence: 5,
            }],
            roots: Vec::new(),
            counters: Counters::default(),
            freed: BTreeSet::new(),
            offers: Vec::new(),
        };
        let kept = composed(&table, &usage, contents());
        assert_eq!(kept.segments[0].state, SEALED);
        assert_eq!(kept.dead, [(at.segment.0, at.generation, vec![4096])]);
        let next = SegmentUse {
            segment: at.segment,
            generation: at.generation + 1,
        };
        let freed = Contents {
            freed: BTreeSet::from([at.segment]),
            offers: vec![(log, next)],
            ..contents()
        };
        let freed = composed(&table, &usage, freed);
        assert_eq!(freed.segments[0].state, RESERVED);
        assert_eq!(freed.segments[0].generation.get(), next.generation);
        assert_eq!(freed.dead, []);
    }
}
