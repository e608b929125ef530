//! An entry: 128 bits that say where an extent is, carry its flags, and tell its key from others.
//!
//! From the lowest bit: marked, shared, a slot in one of three forms, and the key in all bits that are left.
//!
//! | form | tag | slot |
//! | --- | --- | --- |
//! | packed | 0 | length (15 bits), address in bytes (A bits) |
//! | aligned | 1, 0 | length (21 bits), address in units (A - 12 bits) |
//! | pending | 1, 1 | place (14 bits), item (16 bits), generation (16 bits) |
//!
//! The address is the segment's number and the offset in it; the geometry of the store decides how wide it is
//! ([`Widths`]). Two forms are enough because the format aligns extents to units when their length is a whole number of
//! units or at least 32 KiB (FORMAT.md, "Frame"): what is not aligned is short.
//!
//! What is known of a key: 10 bits by the stripe, 8 by the print in the bucket's header, the lowest few by the least
//! depth of directories ([`Widths::implied_bits`]), and 110 - A here. That is at least [`KEY_BITS`] together for stores
//! up to 64 TiB, and one less for each doubling beyond.
//! Two extents whose keys agree in all of these would be taken for one: the second is not stored, and reading it says
//! that it is damaged (what is read is compared with all 256 bits of the id, so wrong bytes are never returned). Keys are
//! images under a secret, so only chance makes them agree: a put of something new meets one of n extents with
//! probability n / 2^92, and 2^40 such puts (4 PiB of blocks) into 2^27 extents lose one with probability 2^-25, into
//! [`EXTENTS_MAX`](super::EXTENTS_MAX) with 2^-21. Reading as much from a device that is specified for one unreadable
//! bit in 10^17 fails 0.4 times.
//!
//! Rejected: whole keys (33 bytes per extent where this takes 20 to 23); fewer bits, as 16 bytes per extent need: entries
//! of 12 bytes tell 69 bits apart at 2^27 extents, all that their directory implies included, so that 2^40 puts would
//! lose one with probability 0.2. Then no hit may be believed before something that has the id has confirmed it, and a
//! put of what is known would cost a read of its descriptor wherever neighbours do not vouch for each other; marks,
//! sweeps and loading would have to tell extents apart that the index cannot.

use crate::format::SegmentId;
use crate::format::frame::Descriptor;
use crate::limits::{EXTENT_BYTES_MAX, FRAME_BYTES_MAX, UNIT_BYTES};

use super::key::{IndexKey, STRIPES, TAIL_BITS};
use super::slot::{Flag, Slot};

/// Bits of a key that are told apart, in stores up to 64 TiB.
pub const KEY_BITS: u32 = 92;

const FLAG_BITS: u32 = 2;
/// Bits of the lengths of the two stored forms.
const PACKED_LEN_BITS: u32 = 15;
const ALIGNED_LEN_BITS: u32 = 21;
/// How many places of the pending table entries can name.
pub const PENDING_PLACES_MAX: u32 = 1 << PLACE_BITS;
/// Bits of the pending form.
const PLACE_BITS: u32 = 14;
const ITEM_BITS: u32 = 16;
const GENERATION_BITS: u32 = 16;

const UNIT_BITS: u32 = UNIT_BYTES.trailing_zeros();
const STRIPE_BITS: u32 = STRIPES.trailing_zeros();
const PRINT_BITS: u32 = u8::BITS;
/// Flags, the tag and the length of the packed form, which is the longest.
const BESIDE_ADDRESS_BITS: u32 = FLAG_BITS + 1 + PACKED_LEN_BITS;
/// Narrower addresses would leave no room for the pending form.
const ADDRESS_BITS_MIN: u32 = 32;
/// Directories of this least depth are 64 MiB of buckets.
const IMPLIED_BITS_MAX: u32 = 10;

const TAG: u128 = 1 << FLAG_BITS;
const TAG_PENDING: u128 = 1 << (FLAG_BITS + 1);
const FLAGS: u128 = (1 << FLAG_BITS) - 1;

/// The widths of an entry's fields, from the geometry of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    pub(super) offset_bits: u32,
    pub(super) address_bits: u32,
}

/// What of a key a look-up compares.
#[derive(Clone, Copy)]
pub(super) struct Sought {
    pub(super) stripe: usize,
    /// Bits that choose a bucket within the stripe, lowest first.
    pub(super) spread: u32,
    pub(super) print: u8,
    slot_bits: u32,
    /// An entry with this key, without flags and slot.
    key: u128,
}

impl Sought {
    /// Whether an entry of the right bucket and print has this key.
    #[inline]
    pub(super) fn is(&self, entry: u128) -> bool {
        (entry ^ self.key) >> self.slot_bits == 0
    }
}

impl Widths {
    /// Of a store with so many segments of that many bytes (a unit to 4 GiB).
    pub fn of(segment_bytes: u64, segments: u32) -> Widths {
        let offset_bits = bits_to_number(segment_bytes);
        assert!(
            (UNIT_BITS..=u32::BITS).contains(&offset_bits),
            "segments of {segment_bytes} bytes"
        );
        let address_bits = offset_bits + bits_to_number(segments.into());
        Widths {
            offset_bits,
            address_bits: address_bits.max(ADDRESS_BITS_MIN),
        }
    }

    /// The least depth of every directory: what makes up for wide addresses, at 64 KiB of memory for the first bit and
    /// twice as much for each further one.
    pub(super) fn implied_bits(self) -> u32 {
        let told_apart = STRIPE_BITS + PRINT_BITS + u128::BITS - self.slot_bits();
        KEY_BITS.saturating_sub(told_apart).min(IMPLIED_BITS_MAX)
    }

    #[inline]
    fn slot_bits(self) -> u32 {
        BESIDE_ADDRESS_BITS + self.address_bits
    }

    /// Whether a slot can be put into an entry: any that a log has made can.
    pub fn can_hold(self, slot: Slot) -> bool {
        match slot {
            Slot::Stored {
                segment,
                offset,
                stored_len,
            } => {
                let len_bits = if is_aligned(offset) {
                    ALIGNED_LEN_BITS
                } else {
                    PACKED_LEN_BITS
                };
                let segment_bits = self.address_bits - self.offset_bits;
                fits(segment.0.into(), segment_bits)
                    && fits(offset.into(), self.offset_bits)
                    && fits(stored_len.into(), len_bits)
            }
            Slot::Pending { slot, item, .. } => fits(slot.into(), PLACE_BITS) && fits(item.into(), ITEM_BITS),
        }
    }

    /// The bits of a slot in an entry.
    #[inline]
    pub(super) fn pack(self, slot: Slot) -> u128 {
        assert!(self.can_hold(slot), "{slot:?} does not fit {self:?}");
        let fields = match slot {
            Slot::Stored {
                segment,
                offset,
                stored_len,
            } => {
                let address = u128::from(segment.0) << self.offset_bits | u128::from(offset);
                let len = u128::from(stored_len);
                if is_aligned(offset) {
                    (address >> UNIT_BITS << ALIGNED_LEN_BITS | len) << 2 | 1
                } else {
                    (address << PACKED_LEN_BITS | len) << 1
                }
            }
            Slot::Pending {
                slot,
                item,
                generation,
            } => {
                let place = u128::from(slot) << ITEM_BITS | u128::from(item);
                (place << GENERATION_BITS | u128::from(generation)) << 2 | 3
            }
        };
        fields << FLAG_BITS
    }

    /// The slot of an entry; some slot for whatever else a torn read brings.
    #[inline]
    pub(super) fn slot_of(self, entry: u128) -> Slot {
        let fields = low(entry, self.slot_bits()) >> FLAG_BITS;
        if entry & TAG == 0 {
            let len = low(fields >> 1, PACKED_LEN_BITS);
            return self.stored(fields >> (1 + PACKED_LEN_BITS), len);
        }
        let fields = fields >> 2;
        if entry & TAG_PENDING == 0 {
            let address = fields >> ALIGNED_LEN_BITS << UNIT_BITS;
            return self.stored(address, low(fields, ALIGNED_LEN_BITS));
        }
        let place = fields >> GENERATION_BITS;
        Slot::Pending {
            slot: low(place >> ITEM_BITS, PLACE_BITS) as u32,
            item: low(place, ITEM_BITS) as u32,
            generation: low(fields, GENERATION_BITS) as u16,
        }
    }

    #[inline]
    fn stored(self, address: u128, len: u128) -> Slot {
        let segment_bits = self.address_bits - self.offset_bits;
        Slot::Stored {
            segment: SegmentId(low(address >> self.offset_bits, segment_bits) as u32),
            offset: low(address, self.offset_bits) as u32,
            stored_len: len as u32,
        }
    }

    /// An entry with another slot; flags and key stay.
    pub(super) fn with_slot(self, entry: u128, slot: Slot) -> u128 {
        (entry ^ low(entry, self.slot_bits())) | entry & FLAGS | self.pack(slot)
    }

    /// An entry for a key, without flags.
    #[inline]
    pub(super) fn entry(self, sought: &Sought, slot: Slot) -> u128 {
        sought.key | self.pack(slot)
    }

    /// What to look for to find a key.
    #[inline]
    pub(super) fn sought(self, key: &IndexKey) -> Sought {
        let slot_bits = self.slot_bits();
        Sought {
            stripe: key.stripe(),
            spread: key.tail() as u32, // the low half of its low half
            print: key.print(),
            slot_bits,
            // The highest bits of the tail are lost where there is no room for them.
            key: key.tail() >> self.implied_bits() << slot_bits,
        }
    }

    /// What an entry and its bucket's prefix say of the key besides stripe and print: the low bits of its tail.
    #[inline]
    pub(super) fn tail_of(self, entry: u128, prefix: u32) -> u128 {
        let implied = self.implied_bits();
        entry >> self.slot_bits() << implied | low(prefix.into(), implied)
    }

    /// The bits that choose an entry's bucket, told from it and its bucket's prefix.
    #[inline]
    pub(super) fn spread_of(self, entry: u128, prefix: u32) -> u32 {
        self.tail_of(entry, prefix) as u32 // the low end
    }

    /// The part of a key that an index with these widths knows.
    #[cfg(test)]
    pub(super) fn known(self, key: &IndexKey) -> IndexKey {
        let sought = self.sought(key);
        IndexKey::of(key.stripe(), key.print(), self.tail_of(sought.key, sought.spread))
    }
}

/// Whether a flag of an entry is up.
#[inline]
pub(super) fn is_up(entry: u128, flag: Flag) -> bool {
    entry & u128::from(flag.bit()) != 0
}

fn is_aligned(offset: u32) -> bool {
    (offset as usize).is_multiple_of(UNIT_BYTES)
}

#[inline]
fn low(value: u128, bits: u32) -> u128 {
    value & ((1 << bits) - 1)
}

fn fits(value: u64, bits: u32) -> bool {
    value >> bits == 0
}

fn bits_to_number(things: u64) -> u32 {
    u64::BITS - things.saturating_sub(1).leading_zeros()
}

const _: () = assert!(
    FLAG_BITS + 2 + PLACE_BITS + ITEM_BITS + GENERATION_BITS <= BESIDE_ADDRESS_BITS + ADDRESS_BITS_MIN
);
const _: () = assert!(ALIGNED_LEN_BITS + 2 <= PACKED_LEN_BITS + 1 + UNIT_BITS);
const _: () = assert!(EXTENT_BYTES_MAX < 1 << ALIGNED_LEN_BITS && FRAME_BYTES_MAX < 1 << ALIGNED_LEN_BITS);
const _: () = assert!(FRAME_BYTES_MAX / size_of::<Descriptor>() <= 1 << ITEM_BITS);
const _: () = assert!(TAIL_BITS == u128::BITS - STRIPE_BITS - PRINT_BITS);
// The widest address there is (32 bits of segment, 32 of offset) leaves what splits go by.
const _: () = assert!(u128::BITS - BESIDE_ADDRESS_BITS - 64 >= u32::BITS);
