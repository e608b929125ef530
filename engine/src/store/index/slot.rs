//! What the index says about an extent. How that is packed into an entry: `entry`.

use crate::format::SegmentId;

use super::key::IndexKey;

/// Where an extent's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// On a device.
    Stored {
        /// Logical segment.
        segment: SegmentId,
        /// First byte within the segment.
        offset: u32,
        /// Bytes there (after compression and encryption).
        stored_len: u32,
    },
    /// Still in memory, on its way to a device. A reader may see this slightly late: it must check the generation
    /// (or the name) against what it finds in the pending table, and look the key up again if they differ.
    Pending {
        /// Place in the pending table.
        slot: u32,
        /// Item within that place.
        item: u32,
        /// Use count of the place, as far as 16 bits tell.
        generation: u16,
    },
}

/// One bit kept beside each entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// Reached by the mark in progress.
    Marked,
    /// Referenced a second time since it was inserted: the fast paths of collection must leave it alone.
    Shared,
}

impl Flag {
    /// Its bit in the low word of an entry.
    #[inline]
    pub(super) const fn bit(self) -> u64 {
        match self {
            Flag::Marked => 1,
            Flag::Shared => 2,
        }
    }
}

/// What raising a flag found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raised {
    /// No entry with that key.
    Absent,
    /// The flag was up; nothing was written.
    Already,
    /// This call raised it.
    Now,
}

/// One entry, as iteration yields it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its key as far as the index knows it: to the index it stands for the key, to nobody else.
    pub key: IndexKey,
    /// Where its bytes are.
    pub slot: Slot,
    /// Whether [`Flag::Marked`] is up.
    pub marked: bool,
    /// Whether [`Flag::Shared`] is up.
    pub shared: bool,
}
