//! The segment table: which logical segments are in use, for what, and where they lie.
//!
//! Owns allocation and the mapping from logical segment to device offset; does no I/O. With one device the
//! physical number equals the logical one, yet everything goes through [`Places`], so that copies on other devices
//! change the table and nothing else.
//! Invariant: `CHECKPOINT_RESERVE` free segments are never given to a log, so that a full store still closes.

use std::collections::BTreeSet;

use zerocopy::little_endian::{U16, U32};

use crate::format::checkpoint::{self, SegmentRecord};
use crate::format::superblock::Superblock;
use crate::format::{LogId, SegmentId};
use crate::limits::UNIT_BYTES;

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

struct Slot {
    generation: u32,
    state: SegmentState,
}

/// All segments of the store.
pub(crate) struct SegmentTable {
    slots: Vec<Slot>,
    free: BTreeSet<u32>,
    checkpoint_reserve: usize,
}

impl SegmentTable {
    /// A table of free segments.
    pub fn new(count: u32) -> SegmentTable {
        let slots = (0..count)
            .map(|_| Slot {
                generation: 0,
                state: SegmentState::Free,
            })
            .collect();
        SegmentTable {
            slots,
            free: (0..count).collect(),
            checkpoint_reserve: 2,
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

    /// Records of all segments in use; `ends` gives the end and ready units of open ones.
    pub fn records(&self, ends: impl Fn(SegmentId) -> (u32, u32)) -> Vec<SegmentRecord> {
        let in_use = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.state != SegmentState::Free);
        in_use
            .map(|(number, slot)| {
                let segment = SegmentId(u32::try_from(number).expect("the table has at most 2^32 segments"));
                let (end, ready) = ends(segment);
                let (state, log, end_unit, footer_unit) = match slot.state {
                    SegmentState::Reserved(log) => (checkpoint::RESERVED, log, 0, 0),
                    SegmentState::Open(log) => (checkpoint::OPEN, log, end, 0),
                    SegmentState::Sealed {
                        log,
                        end_unit,
                        footer_unit,
                    } => (checkpoint::SEALED, log, end_unit, footer_unit),
                    SegmentState::Checkpoint => (checkpoint::CHECKPOINT, LogId(0), 0, 0),
                    SegmentState::Free => unreachable!("filtered above"),
                };
                SegmentRecord {
                    segment: U32::new(segment.0),
                    generation: U32::new(slot.generation),
                    physical: U32::new(segment.0),
                    device: U16::new(0),
                    log: U16::new(log.0),
                    state,
                    reserved: [0; 3],
                    end_unit: U32::new(end_unit),
                    footer_unit: U32::new(footer_unit),
                    ready_unit: U32::new(ready),
                }
            })
            .collect()
    }

    /// Generations of free segments that were used before.
    pub fn generations(&self) -> Vec<(u32, u32)> {
        let used = |number: &&u32| self.slots[**number as usize].generation > 0;
        self.free
            .iter()
            .filter(used)
            .map(|number| (*number, self.slots[*number as usize].generation))
            .collect()
    }

    fn take(&mut self, state: SegmentState) -> Option<SegmentUse> {
        let number = self.free.pop_first()?;
        let slot = &mut self.slots[number as usize];
        slot.generation += 1;
        slot.state = state;
        Some(SegmentUse {
            segment: SegmentId(number),
            generation: slot.generation,
        })
    }

    /// A segment for a log to go on in; none when only the reserve is left.
    pub fn reserve_for(&mut self, log: LogId) -> Option<SegmentUse> {
        if self.free.len() <= self.checkpoint_reserve {
            return None;
        }
        self.take(SegmentState::Reserved(log))
    }

    /// Segments for both copies of a checkpoint of that many parts each.
    pub fn reserve_for_checkpoint(&mut self, parts: usize) -> Option<Vec<SegmentUse>> {
        if self.free.len() < parts * 2 {
            return None;
        }
        self.checkpoint_reserve = parts * 2;
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
        self.slots[at.segment.0 as usize] = Slot {
            generation: at.generation,
            state,
        };
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
        self.free.len().saturating_sub(self.checkpoint_reserve)
    }

    /// Number of segments.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
}
