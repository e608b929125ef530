//! What the index says about an extent, and its three-word form inside an entry.
//!
//! Invariant: packing loses nothing, and unpacking accepts any words: a torn read yields some slot, which the
//! version check then discards.

use crate::format::SegmentId;
use crate::limits::EXTENT_BYTES_MAX;

use super::key::IndexKey;

/// Longest stored form of an extent the index can describe, in bytes.
pub const STORED_BYTES_MAX: u32 = (1 << 24) - 1;

const PENDING: u32 = 1 << 31;
/// Bits of the third word that belong to the entry, not to its slot.
pub(super) const FLAGS: u32 = Flag::Marked.bit() | Flag::Shared.bit();

/// Where an extent's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// On a device.
    Stored {
        /// Logical segment.
        segment: SegmentId,
        /// First byte within the segment.
        offset: u32,
        /// Bytes there (after compression and encryption), at most [`STORED_BYTES_MAX`].
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

impl Slot {
    #[inline]
    pub(super) fn pack(self) -> [u32; 3] {
        match self {
            Slot::Stored {
                segment,
                offset,
                stored_len,
            } => {
                assert!(stored_len <= STORED_BYTES_MAX, "an extent of {stored_len} bytes");
                [segment.0, offset, stored_len]
            }
            Slot::Pending {
                slot,
                item,
                generation,
            } => [slot, item, PENDING | u32::from(generation)],
        }
    }

    #[inline]
    pub(super) fn unpack(words: [u32; 3]) -> Slot {
        if words[2] & PENDING == 0 {
            Slot::Stored {
                segment: SegmentId(words[0]),
                offset: words[1],
                stored_len: words[2] & STORED_BYTES_MAX,
            }
        } else {
            Slot::Pending {
                slot: words[0],
                item: words[1],
                generation: words[2] as u16, // the low half, where pack put it
            }
        }
    }
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
    /// Its bit in the third word of an entry's slot.
    #[inline]
    pub(super) const fn bit(self) -> u32 {
        match self {
            Flag::Marked => 1 << 30,
            Flag::Shared => 1 << 29,
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
    /// Its key.
    pub key: IndexKey,
    /// Where its bytes are.
    pub slot: Slot,
    /// Whether [`Flag::Marked`] is up.
    pub marked: bool,
    /// Whether [`Flag::Shared`] is up.
    pub shared: bool,
}

const _: () = assert!(EXTENT_BYTES_MAX < STORED_BYTES_MAX as usize / 2);
const _: () = assert!(FLAGS & (PENDING | STORED_BYTES_MAX) == 0);
