//! The segment table: which logical segments are in use, for what, and where they lie.
//!
//! Owns allocation and the mapping from logical segment to device offset; does no I/O. With one device the
//! physical number equals the logical one, yet everything goes through [`Places`], so that copies on other devices
//! change the table and nothing else.
//! Invariant: enough free segments for a checkpoint are never given to a log, so that a full store still closes, and
//! `CLEANING_RESERVE` more only to the cleaner's, so that it can still be cleaned.

use std::collections::BTreeSet;
use std::ops::Range;

use zerocopy::little_endian::{U16, U32};

use super::index::Widths;
use crate::format::checkpoint::{self, SegmentRecord};
use crate::format::superblock::Superblock;
use crate::format::{LogId, SegmentId};
use crate::limits::UNIT_BYTES;

/// Free segments that only cleaning may use.
const CLEANING_RESERVE: usize = 2;

/// Where segments lie on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    /// Units of one segment.
    pub segment_units: u32,
    /// Number of segments.
    pub segment_count: u32,
    first_unit: u32,
}

impl Places {
    /// As the superblock says.
    pub fn of(superblock: &Superblock) -> Places {
        Places {
            segment_units: superblock.segment_units.get(),
            segment_count: superblock.segment_count.get(),
            first_unit: superblock.first_segment_unit.get(),
        }
    }

    /// Device offset of a byte of a segment.
    pub fn offset(&self, segment: SegmentId, byte: u64) -> u64 {
        assert!(
            segment.0 < self.segment_count && byte <= self.segment_bytes(),
            "a place outside the device"
        );
        let unit = u64::from(self.first_unit) + u64::from(segment.0) * u64::from(self.segment_units);
        unit * UNIT_BYTES as u64 + byte
    }

    /// What the index needs to know of the geometry.
    pub fn widths(&self) -> Widths {
        Widths::of(self.segment_bytes(), self.segment_count)
    }

    /// Bytes of one segment.
    pub fn segment_bytes(&self) -> u64 {
        u64::from(self.segment_units) * UNIT_BYTES as u64
    }
}

/// What a segment is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentState {
    /// Nothing.
    Free,
    /// Named as the place where a log goes on; nothing written yet.
    Reserved(LogId),
    /// Takes frames.
    Open(LogId),
    /// Full, with its footer.
    Sealed {
        log: LogId,
        end_unit: u32,
        footer_unit: u32,
    },
    /// Holds a checkpoint.
    Checkpoint,
}

/// A segment in one of its uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentUse {
    pub segment: SegmentId,
    pub generation: u32,
}

/// How a checkpoint lists a segment.
pub(crate) enum Listed {
    /// In this use: state, generation, and for an open one the unit after its last frame and the one up to which it
    /// is ready.
    As(SegmentState, u32, (u32, u32)),
    /// In no use.
    Free,
}

fn record(
    segment: SegmentId,
    state: SegmentState,
    generation: u32,
    (end, ready): (u32, u32),
) -> SegmentRecord {
    let (state, log, end_unit, footer_unit) = match state {
        SegmentState::Reserved(log) => (checkpoint::RESERVED, log, 0, 0),
        SegmentState::Open(log) => (checkpoint::OPEN, log, end, 0),
        SegmentState::Sealed {
            log,
            end_unit,
            footer_unit,
        } => (checkpoint::SEALED, log, end_unit, footer_unit),
        SegmentState::Checkpoint => (checkpoint::CHECKPOINT, LogId(0), 0, 0),
        SegmentState::Free => unreachable!("only segments in use have records"),
    };
    SegmentRecord {
        segment: U32::new(segment.0),
        generation: U32::new(generation),
        physical: U32::new(segment.0),
        device: U16::new(0),
        log: U16::new(log.0),
        state,
        reserved: [0; 3],
        end_unit: U32::new(end_unit),
        footer_unit: U32::new(footer_unit),
        ready_unit: U32::new(ready),
    }
}

/// Free segments whose space is kept, in percent of all, and at least.
const FILLED_PERCENT: usize = 8;
const FILLED_MIN: usize = 2;

struct Slot {
    generation: u32,
    state: SegmentState,
    /// First sequence of its log in it; 0 if it was opened in an earlier incarnation.
    first: u64,
    /// Its space was filled in this opening and not given back: no need to claim it or to zero it.
    filled: bool,
}

/// All segments of the store.
pub(crate) struct SegmentTable {
    slots: Vec<Slot>,
    free: BTreeSet<u32>,
    /// Free segments that are filled: the next ones to be used.
    filled: BTreeSet<u32>,
    /// Segments in which a write failed since the store was opened: the last ones to be used.
    doubtful: BTreeSet<u32>,
    checkpoint_reserve: usize,
    cleaner: Option<LogId>,
}

impl SegmentTable {
    /// A table of free segments.
    pub fn new(count: u32) -> SegmentTable {
        let slots = (0..count)
            .map(|_| Slot {
                generation: 0,
                state: SegmentState::Free,
                first: 0,
                filled: false,
            })
            .collect();
        SegmentTable {
            slots,
            free: (0..count).collect(),
            filled: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            checkpoint_reserve: 2,
            cleaner: None,
        }
    }

    /// Brings a record of the checkpoint back. False if it contradicts the table.
    pub fn restore(&mut self, record: &SegmentRecord) -> bool {
        let log = LogId(record.log.get());
        let state = match record.state {
            checkpoint::RESERVED => SegmentState::Reserved(log),
            checkpoint::OPEN => SegmentState::Open(log),
            checkpoint::SEALED => SegmentState::Sealed {
                log,
                end_unit: record.end_unit.get(),
                footer_unit: record.footer_unit.get(),
            },
            checkpoint::CHECKPOINT => SegmentState::Checkpoint,
            _ => return false,
        };
        let number = record.segment.get();
        let fresh = self.free.remove(&number);
        if fresh && record.physical == record.segment && record.device.get() == 0 {
            self.slots[number as usize] = Slot {
                generation: record.generation.get(),
                state,
                first: 0,
                filled: false,
            };
            true
        } else {
            false
        }
    }

    /// Brings the generation of a free segment back.
    pub fn restore_generation(&mut self, segment: u32, generation: u32) {
        if let Some(slot) = self.slots.get_mut(segment as usize) {
            slot.generation = slot.generation.max(generation);
        }
    }

    /// How checkpoints list some of the segments, as `listed` says: records of those in use, and the generations of the
    /// others that were used before. `listed` is given the segment, its state and the first sequence of its log in it.
    pub fn records(
        &self,
        range: Range<u32>,
        listed: impl Fn(SegmentUse, SegmentState, u64) -> Listed,
    ) -> (Vec<SegmentRecord>, Vec<(u32, u32)>) {
        let mut records = Vec::new();
        let mut generations = Vec::new();
        for number in range {
            let slot = &self.slots[number as usize];
            let at = SegmentUse {
                segment: SegmentId(number),
                generation: slot.generation,
            };
            let listed = match slot.state {
                SegmentState::Free => Listed::Free,
                state => listed(at, state, slot.first),
            };
            match listed {
                Listed::As(state, generation, units) => {
                    records.push(record(at.segment, state, generation, units));
                }
                Listed::Free if slot.generation > 0 => generations.push((number, slot.generation)),
                Listed::Free => {}
            }
        }
        (records, generations)
    }

    /// Bytes that a checkpoint of now takes for its segments, at most, whatever logs come to need meanwhile.
    pub fn listing_bytes_max(&self) -> usize {
        let in_use = self.slots.len() - self.free.len();
        in_use * size_of::<SegmentRecord>() + self.slots.len() * 8
    }

    /// The next one to be used. One in which a write failed is no place to try again, while there is any other.
    fn next_free(&self) -> Option<u32> {
        let sound = |number: &&u32| !self.doubtful.contains(number);
        let known = self.filled.iter().chain(&self.free).find(sound);
        known.or_else(|| self.free.first()).copied()
    }

    fn take(&mut self, state: SegmentState) -> Option<SegmentUse> {
        let number = self.next_free()?;
        self.free.remove(&number);
        self.filled.remove(&number);
        let slot = &mut self.slots[number as usize];
        slot.generation += 1;
        slot.state = state;
        slot.first = u64::MAX;
        Some(SegmentUse {
            segment: SegmentId(number),
            generation: slot.generation,
        })
    }

    /// A write in this segment failed, or a flush of it.
    pub fn doubt(&mut self, segment: SegmentId) {
        self.doubtful.insert(segment.0);
    }

    /// A segment for a log to go on in; none when only the reserve is left. The cleaner's log may use up its own.
    pub fn reserve_for(&mut self, log: LogId) -> Option<SegmentUse> {
        self.spares(log, 0)
            .then(|| self.take(SegmentState::Reserved(log)))?
    }

    /// Whether a log may have a segment when so many more are free than now.
    pub fn spares(&self, log: LogId, coming: usize) -> bool {
        let kept = match self.cleaner == Some(log) {
            true => self.checkpoint_reserve,
            false => self.checkpoint_reserve + CLEANING_RESERVE,
        };
        self.free.len() + coming > kept
    }

    /// Says which log takes what cleaning moves.
    pub fn set_cleaner(&mut self, log: LogId) {
        self.cleaner = Some(log);
    }

    /// Takes back a reservation that nothing on the device names, if it is one.
    pub fn unreserve(&mut self, at: SegmentUse) {
        if matches!(self.get(at.segment), Some((SegmentState::Reserved(_), generation)) if generation == at.generation)
        {
            self.release(at.segment);
        }
    }

    /// Segments for both copies of a checkpoint of that many parts each.
    pub fn reserve_for_checkpoint(&mut self, parts: usize) -> Option<Vec<SegmentUse>> {
        if self.free.len() < parts * 2 {
            return None;
        }
        Some(
            (0..parts * 2)
                .filter_map(|_| self.take(SegmentState::Checkpoint))
                .collect(),
        )
    }

    /// Keeps room for checkpoints of that many parts from now on.
    pub fn expect_checkpoint_parts(&mut self, parts: usize) {
        self.checkpoint_reserve = self.checkpoint_reserve.max(parts * 2);
    }

    /// Checkpoint segments in use.
    pub fn checkpoint_segments(&self) -> Vec<SegmentId> {
        let numbers = (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.state == SegmentState::Checkpoint);
        numbers.map(|(number, _)| SegmentId(number)).collect()
    }

    /// Gives a segment back.
    pub fn release(&mut self, segment: SegmentId) {
        let slot = &mut self.slots[segment.0 as usize];
        assert!(
            slot.state != SegmentState::Free,
            "segment {segment} released twice"
        );
        slot.state = SegmentState::Free;
        self.free.insert(segment.0);
        if slot.filled {
            self.filled.insert(segment.0);
        }
    }

    /// Whether a segment's space was filled and not given back.
    pub fn is_filled(&self, segment: SegmentId) -> bool {
        self.slots[segment.0 as usize].filled
    }

    /// Of segments that are about to become free, those whose space goes back to the device: what is filled is kept for
    /// the next to be written, up to a reserve. A file system serves reads of a file late while it gives space back or
    /// takes it, and durable writes are faster where something was written before.
    pub fn give_back(&mut self, freed: impl Iterator<Item = SegmentId>) -> Vec<SegmentId> {
        let most = (self.slots.len() * FILLED_PERCENT / 100).max(FILLED_MIN);
        let mut kept = self.filled.len();
        let mut given = Vec::new();
        for segment in freed {
            let slot = &mut self.slots[segment.0 as usize];
            let sealed = matches!(slot.state, SegmentState::Sealed { .. });
            slot.filled = sealed && kept < most;
            if slot.filled {
                kept += 1;
            } else {
                given.push(segment);
            }
        }
        given
    }

    /// Turns a reserved segment into the one its log fills, from this sequence on.
    pub fn open(&mut self, segment: SegmentId, log: LogId, first: u64) {
        self.set(segment, SegmentState::Open(log));
        self.slots[segment.0 as usize].first = first;
    }

    /// Changes what a segment is used for.
    pub fn set(&mut self, segment: SegmentId, state: SegmentState) {
        let slot = &mut self.slots[segment.0 as usize];
        assert!(
            slot.state != SegmentState::Free && state != SegmentState::Free,
            "segment {segment} is free"
        );
        slot.state = state;
    }

    /// What a segment is used for, and its generation.
    pub fn get(&self, segment: SegmentId) -> Option<(SegmentState, u32)> {
        self.slots
            .get(segment.0 as usize)
            .map(|slot| (slot.state, slot.generation))
    }

    /// Takes a free segment that replay found in use.
    pub fn claim(&mut self, at: SegmentUse, state: SegmentState) {
        assert!(
            self.free.remove(&at.segment.0),
            "segment {} is in use already",
            at.segment
        );
        self.filled.remove(&at.segment.0);
        self.slots[at.segment.0 as usize] = Slot {
            filled: self.slots[at.segment.0 as usize].filled,
            generation: at.generation,
            state,
            first: 0,
        };
    }

    /// A segment that is in use, what for, and the first sequence of its log in it.
    pub fn in_use(&self, segment: SegmentId) -> Option<(SegmentUse, SegmentState, u64)> {
        let slot = self.slots.get(segment.0 as usize)?;
        let at = SegmentUse {
            segment,
            generation: slot.generation,
        };
        (slot.state != SegmentState::Free).then_some((at, slot.state, slot.first))
    }

    /// All segments in a state that `wanted` accepts.
    pub fn find(&self, wanted: impl Fn(SegmentState) -> bool) -> Vec<SegmentUse> {
        let numbers = (0..).zip(&self.slots).filter(|(_, slot)| wanted(slot.state));
        numbers
            .map(|(number, slot)| SegmentUse {
                segment: SegmentId(number),
                generation: slot.generation,
            })
            .collect()
    }

    /// Free segments that logs may still take.
    pub fn free_for_logs(&self) -> usize {
        self.free
            .len()
            .saturating_sub(self.checkpoint_reserve + CLEANING_RESERVE)
    }

    /// Free segments that the cleaner's log may take.
    pub fn free_for_cleaning(&self) -> usize {
        self.free.len().saturating_sub(self.checkpoint_reserve)
    }

    /// Number of segments.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
}
