//! What a device says about the store on it, kept in its first and its last unit.
//!
//! Owns encoding and checking; does no I/O. Layout: FORMAT.md.
//! Invariant: the truth is the copy with the highest `sequence` whose checksum, magic and slot hold.
//! A change is written to copy 0, then to copy 1, each durable before the next step: a torn write loses one copy.
//! Rejected: a ring of copies; two are enough because they are never written at the same time.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{Secret, crc32c};
use crate::limits::{NUMBERS_MAX, UNIT_BYTES};

/// First bytes after the checksum.
pub const MAGIC: [u8; 8] = crate::device::STORE_MAGIC;
/// Version of the whole format.
pub const VERSION: u16 = 1;
/// Incompatible features this program knows; a store with others is not opened.
pub const INCOMPATIBLE_KNOWN: u64 = 0;
/// Features that a program must know to write; a store with others is opened read-only.
pub const READ_ONLY_COMPATIBLE_KNOWN: u64 = 0;

/// Little-endian, no padding. Never reorder; spend `reserved`.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Superblock {
    /// CRC-32C of every byte after this field.
    pub checksum: U32,
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: U16,
    /// Slot it was written for (0 first unit, 1 last unit): a misdirected write is refused.
    pub copy: U16,
    /// Higher is newer.
    pub sequence: U64,
    /// Random name of the store.
    pub store: [u8; 16],
    /// Seeds checksums and the index key function.
    pub secret: [u8; 32],
    /// Features without which the store cannot be read.
    pub incompatible: U64,
    /// Features without which the store cannot be written.
    pub read_only_compatible: U64,
    /// Features that may be ignored.
    pub compatible: U64,
    /// When it was made: nanoseconds since 1970.
    pub created_ns: U64,
    /// Units of the device, both superblocks included.
    pub capacity_units: U64,
    /// Units of one segment.
    pub segment_units: U32,
    /// Physical segments of this device.
    pub segment_count: U32,
    /// Unit where physical segment 0 starts.
    pub first_segment_unit: U32,
    /// Number of this device in the store.
    pub device: U16,
    /// Devices of the store.
    pub devices: U16,
    /// Number of openings for writing; frames carry the one they were written in.
    pub incarnation: U64,
    /// The opening that closed the store cleanly last; equal to `incarnation` only while the store is closed.
    pub closed: U64,
    /// Sequence of the checkpoint the places below hold.
    pub checkpoint_sequence: U64,
    /// Where its two copies begin.
    pub checkpoints: [CheckpointPlace; 2],
    /// Must be zero.
    pub reserved: [u8; 3920],
}
const _: () = assert!(size_of::<Superblock>() == UNIT_BYTES);

/// First segment of one copy of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CheckpointPlace {
    /// Logical segment.
    pub segment: U32,
    /// Its generation.
    pub generation: U32,
    /// Physical segment.
    pub physical: U32,
}
const _: () = assert!(size_of::<CheckpointPlace>() == 12);

/// Why a unit is no valid superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// Other bytes, or none.
    #[error("no Helios superblock")]
    Foreign,
    /// The checksum does not hold.
    #[error("superblock damaged")]
    Damaged,
    /// Written by a newer program.
    #[error("format version {0} is newer than this program")]
    Version(u16),
    /// A valid superblock in the wrong place.
    #[error("superblock of another slot")]
    Misplaced,
    /// Sizes contradict each other, or a number is too high to go on from.
    #[error("superblock with impossible sizes or numbers")]
    Geometry,
}

impl Superblock {
    /// All fields zero but magic and version.
    pub fn blank() -> Superblock {
        let mut block = Superblock::new_zeroed();
        block.magic = MAGIC;
        block.version = U16::new(VERSION);
        block
    }

    /// The unit to write to slot `copy`.
    pub fn encode(&self, copy: u16) -> Box<[u8]> {
        let mut block = self.clone();
        block.copy = U16::new(copy);
        block.checksum = U32::new(crc32c(&block.as_bytes()[4..]));
        block.as_bytes().into()
    }

    /// Checks a unit read from slot `copy`.
    pub fn decode(unit: &[u8], copy: u16) -> Result<Superblock, SuperblockError> {
        let block = Superblock::read_from_bytes(unit).map_err(|_| SuperblockError::Foreign)?;
        if block.magic != MAGIC {
            return Err(SuperblockError::Foreign);
        }
        if block.checksum.get() != crc32c(&unit[4..]) {
            return Err(SuperblockError::Damaged);
        }
        // Version 0 was never promised to anybody.
        if block.version.get() != VERSION {
            return Err(SuperblockError::Version(block.version.get()));
        }
        if block.copy.get() != copy {
            return Err(SuperblockError::Misplaced);
        }
        let segments = u64::from(block.segment_units.get()) * u64::from(block.segment_count.get());
        let end = u64::from(block.first_segment_unit.get()) + segments;
        let sane = block.segment_units.get() >= 256
            && u64::from(block.segment_units.get()) * UNIT_BYTES as u64 <= 1 << 31
            && block.segment_count.get() >= 1
            && block.first_segment_unit.get() >= 1
            && end < block.capacity_units.get()
            && block.capacity_units.get() <= u64::MAX / UNIT_BYTES as u64
            && [block.sequence, block.incarnation, block.checkpoint_sequence]
                .iter()
                .all(|number| number.get() < NUMBERS_MAX);
        if !sane {
            return Err(SuperblockError::Geometry);
        }
        Ok(block)
    }

    /// The store secret.
    pub fn secret(&self) -> Secret {
        Secret(self.secret)
    }

    /// Device offset of the last unit, in bytes.
    pub fn second_offset(capacity_units: u64) -> u64 {
        (capacity_units - 1) * UNIT_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Superblock {
        let mut block = Superblock::blank();
        block.segment_units = U32::new(1024);
        block.segment_count = U32::new(15);
        block.first_segment_unit = U32::new(256);
        block.capacity_units = U64::new(16 * 1024);
        block.secret = [7; 32];
        block
    }

    /// Goal: no single flipped bit is accepted. Method: flip each of the 32,768.
    #[test]
    fn every_single_bit_flip_is_refused() {
        let mut unit = sample().encode(0);
        assert!(Superblock::decode(&unit, 0).is_ok());
        for bit in 0..unit.len() * 8 {
            unit[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&unit, 0).is_err(), "bit {bit}");
            unit[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Goal: a superblock that lands in the other slot, or is cut short, is refused.
    #[test]
    fn misplaced_and_short_units_are_refused() {
        let unit = sample().encode(1);
        assert_eq!(
            Superblock::decode(&unit, 0).err(),
            Some(SuperblockError::Misplaced)
        );
        assert_eq!(
            Superblock::decode(&unit[..4095], 1).err(),
            Some(SuperblockError::Foreign)
        );
        assert_eq!(
            Superblock::decode(&[0; 4096], 0).err(),
            Some(SuperblockError::Foreign)
        );
    }
}
