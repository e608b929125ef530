//! What is alive in each segment: the counts that choose what to clean and free, and the dead set.
//!
//! Owns, per segment, how many extents and bytes the index refers to, and the offsets of the extents it does not.
//! Invariant: every extent in a segment that is not free is either where the index says it is, or in the dead set
//! (or a *rival*, below). A checkpoint keeps the dead set, and recovery leaves its members out of the index: without
//! that, a reopened store would know nodes again whose children are gone.
//! A *rival* is a copy that became durable while the index named another copy, not durable yet. It counts as alive
//! until that one is durable: if power fails before, it is the only copy.
//! Extents without bytes are never in a dead set, because they share their offset with the next one. They keep their
//! segment from being freed, and are moved by cleaning like any other.
//! Rejected: a bit per descriptor (needs the footer's order, which the index does not know); a persistent count per
//! extent.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::index::{Index, IndexKey, Slot};
use crate::format::SegmentId;

/// The place of an extent's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub segment: SegmentId,
    /// Byte in the segment.
    pub offset: u32,
    pub len: u32,
}

impl Place {
    /// As the index names it.
    pub fn slot(self) -> Slot {
        Slot::Stored {
            segment: self.segment,
            offset: self.offset,
            stored_len: self.len,
        }
    }

    /// The place an index slot names, unless it is in memory.
    pub fn of(slot: Slot) -> Option<Place> {
        match slot {
            Slot::Stored {
                segment,
                offset,
                stored_len,
            } => Some(Place {
                segment,
                offset,
                len: stored_len,
            }),
            Slot::Pending { .. } => None,
        }
    }
}

/// What is alive in one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SegmentUsage {
    /// Extents the index refers to, or that may yet be the only copy.
    pub live: u32,
    /// Their bytes.
    pub live_bytes: u64,
    /// When the newest of its extents was written there: nanoseconds since 1970.
    pub newest_ns: u64,
    /// Offsets of the others, in no order.
    dead: Vec<u32>,
}

/// What is alive in one segment, for those who choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alive {
    pub live: u32,
    pub live_bytes: u64,
    pub newest_ns: u64,
}

#[derive(Default)]
struct State {
    segments: Vec<SegmentUsage>,
    rivals: Vec<(IndexKey, Place)>,
}

impl State {
    fn of(&mut self, segment: SegmentId) -> &mut SegmentUsage {
        &mut self.segments[segment.0 as usize]
    }

    fn died(&mut self, place: Place) {
        let usage = self.of(place.segment);
        assert!(
            usage.live > 0 && usage.live_bytes >= u64::from(place.len),
            "more extents died in segment {} than lived there",
            place.segment
        );
        usage.live -= 1;
        usage.live_bytes -= u64::from(place.len);
        if place.len > 0 {
            usage.dead.push(place.offset);
        }
    }
}

/// What is alive in the segments of a store.
pub(super) struct Usage(Mutex<State>);

impl Usage {
    /// Of a store whose segments are all empty.
    pub fn new(segments: usize) -> Usage {
        Usage(Mutex::new(State {
            segments: vec![SegmentUsage::default(); segments],
            rivals: Vec::new(),
        }))
    }

    /// Extents have come to be in these places, and the index refers to them. Each comes with the time when it was
    /// written.
    pub fn born(&self, places: impl IntoIterator<Item = (Place, u64)>) {
        let mut state = self.0.lock();
        for (place, new_ns) in places {
            let usage = state.of(place.segment);
            usage.live += 1;
            usage.live_bytes += u64::from(place.len);
            usage.newest_ns = usage.newest_ns.max(new_ns);
        }
    }

    /// The index refers to these places no longer.
    pub fn died(&self, places: impl IntoIterator<Item = Place>) {
        let mut state = self.0.lock();
        places.into_iter().for_each(|place| state.died(place));
    }

    /// Copies that were [`born`](Self::born) although the index names another one that is not durable yet.
    pub fn rivals(&self, rivals: impl IntoIterator<Item = (IndexKey, Place)>) {
        self.0.lock().rivals.extend(rivals);
    }

    /// Looks at the rivals again: those whose winner is durable (or gone) are dead.
    pub fn settle_rivals(&self, index: &Index) {
        let mut state = self.0.lock();
        let rivals = std::mem::take(&mut state.rivals);
        for (key, place) in rivals {
            match index.get(&key) {
                Some(Slot::Pending { .. }) => state.rivals.push((key, place)),
                // Two extents without bytes can share a place, and only then is a rival where its winner is.
                Some(slot) if slot == place.slot() && place.len > 0 => {
                    unreachable!("the index names a copy that it never named")
                }
                _ => state.died(place),
            }
        }
    }

    /// So many extents of so many bytes live in a segment, besides those known already; the newest of them was new
    /// then.
    pub fn restore_live(&self, segment: SegmentId, (live, live_bytes): (u32, u64), newest_ns: u64) {
        if live > 0 {
            let mut state = self.0.lock();
            let usage = state.of(segment);
            usage.live += live;
            usage.live_bytes += live_bytes;
            usage.newest_ns = usage.newest_ns.max(newest_ns);
        }
    }

    /// A place that recovery found in a dead set; it was never counted as alive.
    pub fn restore_dead(&self, segment: SegmentId, dead: Vec<u32>) {
        self.0.lock().of(segment).dead = dead;
    }

    /// When the newest extent of a segment was new.
    pub fn newest_ns(&self, segment: SegmentId) -> u64 {
        self.0.lock().segments[segment.0 as usize].newest_ns
    }

    /// What is alive in each segment, by number.
    pub fn live(&self) -> Vec<Alive> {
        let alive = |usage: &SegmentUsage| Alive {
            live: usage.live,
            live_bytes: usage.live_bytes,
            newest_ns: usage.newest_ns,
        };
        self.0.lock().segments.iter().map(alive).collect()
    }

    /// Segments whose dead sets are not empty.
    pub fn with_dead(&self) -> Vec<SegmentId> {
        let state = self.0.lock();
        let numbered = (0..).map(SegmentId).zip(&state.segments);
        let segments = numbered.filter(|(_, usage)| !usage.dead.is_empty());
        segments.map(|(segment, _)| segment).collect()
    }

    /// The dead set of a segment, by offset.
    pub fn dead_in(&self, segment: SegmentId) -> Vec<u32> {
        let mut dead = self.0.lock().segments[segment.0 as usize].dead.clone();
        dead.sort_unstable();
        dead
    }

    /// The dead sets that are not empty.
    pub fn dead(&self) -> BTreeMap<SegmentId, Vec<u32>> {
        let segments = self.with_dead().into_iter();
        let with_sets = segments.map(|segment| (segment, self.dead_in(segment)));
        with_sets.filter(|(_, dead)| !dead.is_empty()).collect()
    }

    /// The segment holds nothing any more.
    pub fn clear(&self, segment: SegmentId) {
        let mut state = self.0.lock();
        let usage = state.of(segment);
        assert!(
            usage.live == 0,
            "segment {segment} is freed with {} living extents",
            usage.live
        );
        *usage = SegmentUsage::default();
    }
}
