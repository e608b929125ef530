//! Segments: the header in a segment's first unit and the footer at its end.
//!
//! The header binds a logical segment and generation to the place it is written at. The footer repeats every
//! descriptor of the segment: the union of live footers is the index checkpoint. It is written once, when the
//! segment takes no more frames, and ends with its trailer in the last bytes of the segment's last unit.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{Secret, crc32c, seeded};
use super::frame::Descriptor;
use super::superblock::VERSION;
use crate::limits::UNIT_BYTES;

/// Marks a segment header.
pub const HEADER_MAGIC: [u8; 4] = *b"HSEG";
/// Marks a footer trailer.
pub const TRAILER_MAGIC: [u8; 4] = *b"HFTR";
/// What a segment holds, in its header.
pub const HOLDS_LOG: u8 = 1;
/// See [`HOLDS_LOG`].
pub const HOLDS_CHECKPOINT: u8 = 2;

/// First bytes of a segment's first unit; the rest of the unit is zero.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SegmentHeader {
    /// Seeded CRC-32C of every byte of the header after this field.
    pub checksum: U32,
    /// [`HEADER_MAGIC`].
    pub magic: [u8; 4],
    /// Format version.
    pub version: U16,
    /// [`HOLDS_LOG`] or [`HOLDS_CHECKPOINT`].
    pub holds: u8,
    /// Must be zero.
    pub reserved: u8,
    /// Store it belongs to.
    pub store: [u8; 16],
    /// Logical segment.
    pub segment: U32,
    /// Counts the uses of the logical segment.
    pub generation: U32,
    /// Device it was written to: a copy elsewhere has its own header.
    pub device: U16,
    /// Log that fills it.
    pub log: U16,
    /// Physical segment on the device.
    pub physical: U32,
    /// Units of the segment.
    pub units: U32,
    /// Opening in which it was started.
    pub incarnation: U64,
}
const _: () = assert!(size_of::<SegmentHeader>() == 56);

impl SegmentHeader {
    /// The header's unit.
    pub fn encode(mut self, secret: &Secret) -> Box<[u8]> {
        self.magic = HEADER_MAGIC;
        self.version = U16::new(VERSION);
        self.checksum = U32::new(seeded(secret, &[&self.as_bytes()[4..]]));
        let mut unit = vec![0; UNIT_BYTES];
        unit[..size_of::<Self>()].copy_from_slice(self.as_bytes());
        unit.into()
    }

    /// The header in `unit`, if it is whole and of the store with this secret.
    pub fn decode(unit: &[u8], secret: &Secret) -> Option<SegmentHeader> {
        let (header, _) = SegmentHeader::read_from_prefix(unit).ok()?;
        let holds = header.magic == HEADER_MAGIC
            && header.version == VERSION
            && header.checksum.get() == seeded(secret, &[&header.as_bytes()[4..]]);
        holds.then_some(header)
    }
}

/// Last bytes of a sealed segment.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Trailer {
    /// Seeded CRC-32C of every byte of the trailer after this field.
    pub checksum: U32,
    /// [`TRAILER_MAGIC`].
    pub magic: [u8; 4],
    /// Format version.
    pub version: U16,
    /// Log that filled the segment.
    pub log: U16,
    /// Store.
    pub store: [u8; 16],
    /// Logical segment.
    pub segment: U32,
    /// Its generation.
    pub generation: U32,
    /// Number of descriptors.
    pub count: U32,
    /// Unit of the segment where the descriptors start.
    pub first_unit: U32,
    /// Unit after the last frame.
    pub end_unit: U32,
    /// CRC-32C of the descriptors.
    pub body_checksum: U32,
    /// Last sequence in the segment.
    pub last: U64,
    /// When the newest extent of the segment was written there: nanoseconds since 1970.
    pub newest_ns: U64,
}
const _: () = assert!(size_of::<Trailer>() == 68);

/// Units that a footer with `count` descriptors takes.
pub fn footer_units(count: usize) -> u32 {
    let bytes = count * size_of::<Descriptor>() + size_of::<Trailer>();
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).expect("a footer is smaller than its segment")
}

/// The footer's units: descriptors, padding, trailer. `trailer` gives the facts; counts and checksums are filled in.
pub fn encode_footer(
    descriptors: &[Descriptor],
    mut trailer: Trailer,
    segment_units: u32,
    secret: &Secret,
) -> Vec<u8> {
    let units = footer_units(descriptors.len());
    let body = descriptors.as_bytes();
    let mut bytes = vec![0; units as usize * UNIT_BYTES];
    bytes[..body.len()].copy_from_slice(body);
    trailer.magic = TRAILER_MAGIC;
    trailer.version = U16::new(VERSION);
    trailer.count = U32::new(u32::try_from(descriptors.len()).expect("bounded by the segment"));
    trailer.first_unit = U32::new(segment_units - units);
    trailer.body_checksum = U32::new(crc32c(body));
    trailer.checksum = U32::new(seeded(secret, &[&trailer.as_bytes()[4..]]));
    let start = bytes.len() - size_of::<Trailer>();
    bytes[start..].copy_from_slice(trailer.as_bytes());
    bytes
}

impl Trailer {
    /// The trailer at the end of a segment's last unit, if it is whole, of this store and consistent.
    pub fn decode(last_unit: &[u8], segment_units: u32, secret: &Secret) -> Option<Trailer> {
        let (_, trailer) = Trailer::read_from_suffix(last_unit).ok()?;
        let holds = trailer.magic == TRAILER_MAGIC
            && trailer.version == VERSION
            && trailer.checksum.get() == seeded(secret, &[&trailer.as_bytes()[4..]])
            && u64::from(trailer.count.get()) * size_of::<Descriptor>() as u64
                <= u64::from(segment_units) * UNIT_BYTES as u64
            && trailer.first_unit.get()
                == segment_units.checked_sub(footer_units(trailer.count.get() as usize))?
            && trailer.end_unit.get() <= trailer.first_unit.get();
        holds.then_some(trailer)
    }

    /// The descriptors in the footer's bytes (from `first_unit` on), if their checksum holds.
    pub fn descriptors<'a>(&self, footer: &'a [u8]) -> Option<&'a [Descriptor]> {
        let descriptors = self.unchecked_descriptors(footer)?;
        (crc32c(descriptors.as_bytes()) == self.body_checksum.get()).then_some(descriptors)
    }

    /// [`descriptors`](Self::descriptors) of a footer whose checksum is known to hold.
    pub fn unchecked_descriptors<'a>(&self, footer: &'a [u8]) -> Option<&'a [Descriptor]> {
        let body = footer.get(..self.count.get() as usize * size_of::<Descriptor>())?;
        <[Descriptor]>::ref_from_bytes(body).ok()
    }
}
