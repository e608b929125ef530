//! A frame: one device write in a segment. Header, dependency vector, descriptors, payload.
//!
//! Owns encoding and checking of the head; the payload is laid out here too (`Layout`), so that writer, recovery
//! and checks agree on where every extent lies. Does no I/O.
//! Invariants: a head is accepted only in the place, generation, log, incarnation and order it was written for;
//! payload bytes are never taken for a head, because a head binds its own position and is seeded with the secret.
//! Rejected: a trailing commit mark; torn payloads are found by the extents' own checksums, which replay checks.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{Secret, seeded};
use super::ids::{ContentId, Domain, Kind};
use super::superblock::VERSION;
use crate::limits::{FRAME_BYTES_MAX, GENERATIONS_MAX, NUMBERS_MAX, UNIT_BYTES};

/// Marks a frame header.
pub const MAGIC: [u8; 4] = *b"HFRM";
/// `next_segment` of a log that has no next segment (the store is full).
pub const NO_SEGMENT: u32 = u32::MAX;
/// Extents at least this long are aligned to units even when their length is no multiple of one.
const ALIGN_FROM_BYTES: usize = 32 << 10;

/// Little-endian, no padding.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FrameHeader {
    /// Seeded CRC-32C of the rest of the head: header, vector, descriptors.
    pub checksum: U32,
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// Format version.
    pub version: U16,
    /// Log it belongs to.
    pub log: U16,
    /// Store.
    pub store: [u8; 16],
    /// Logical segment.
    pub segment: U32,
    /// Its generation.
    pub generation: U32,
    /// Unit of the segment where the frame starts.
    pub unit: U32,
    /// Units of the whole frame.
    pub units: U32,
    /// Opening in which it was written.
    pub incarnation: U64,
    /// First sequence (batch) in the frame.
    pub first: U64,
    /// Last sequence in the frame.
    pub last: U64,
    /// Highest sequence of this log acknowledged when the frame was written.
    pub acknowledged: U64,
    /// Checksum field of the frame before it in the log.
    pub predecessor: U32,
    /// Segment where the log goes on after this one, or [`NO_SEGMENT`].
    pub next_segment: U32,
    /// Its generation.
    pub next_generation: U32,
    /// Number of descriptors.
    pub descriptors: U32,
    /// Entries of the dependency vector.
    pub dependencies: U16,
    /// Must be zero.
    pub reserved: [u8; 6],
}
const _: () = assert!(size_of::<FrameHeader>() == 100);

/// One entry of a dependency vector: the frame counts only if that log is durable at least that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Dependency {
    /// The other log.
    pub log: U16,
    /// Must be zero.
    pub reserved: U16,
    /// Its sequence.
    pub sequence: U64,
}
const _: () = assert!(size_of::<Dependency>() == 12);

/// One extent or root record of a frame. Scrub and cleaning need neither key nor decompression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Descriptor {
    /// Full content id; for a root record its root id and sequence (two little-endian u64), then zeroes.
    pub id: ContentId,
    /// [`Kind`].
    pub kind: u8,
    /// 0: stored as it is.
    pub codec: u8,
    /// Must be zero.
    pub reserved: U16,
    /// [`Domain`].
    pub domain: U32,
    /// 0: not encrypted.
    pub key_id: U32,
    /// Bytes before codec and encryption.
    pub plain_len: U32,
    /// Bytes on the device.
    pub stored_len: U32,
    /// CRC-32C of the stored bytes.
    pub checksum: U32,
    /// Byte offset of the stored bytes from the start of the segment.
    pub offset: U32,
    /// Must be zero.
    pub reserved_too: U32,
}
const _: () = assert!(size_of::<Descriptor>() == 64);

impl Descriptor {
    /// The kind, if this program knows it.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_byte(self.kind)
    }

    /// The domain.
    pub fn domain(&self) -> Domain {
        Domain(self.domain.get())
    }
}

/// Why bytes are not the frame expected at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No frame header, or one whose checksum does not hold.
    #[error("no whole frame")]
    Torn,
    /// A frame of another store, place, generation or log.
    #[error("a frame written elsewhere or before")]
    Stale,
    /// Lengths contradict each other.
    #[error("a frame with impossible lengths")]
    Lengths,
}

/// Where a frame must be to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Store.
    pub store: [u8; 16],
    /// Logical segment.
    pub segment: u32,
    /// Its generation.
    pub generation: u32,
    /// Log.
    pub log: u16,
}

/// A checked head.
#[derive(Clone)]
pub struct Head<'a> {
    /// The header.
    pub header: FrameHeader,
    /// Dependency vector.
    pub dependencies: &'a [Dependency],
    /// Extents and root records.
    pub descriptors: &'a [Descriptor],
}

/// Bytes of a head.
pub fn head_bytes(dependencies: usize, descriptors: usize) -> usize {
    size_of::<FrameHeader>() + dependencies * size_of::<Dependency>() + descriptors * size_of::<Descriptor>()
}

/// Bytes of the head that starts `unit`, told from its first unit alone; `None` where no head can start.
pub fn head_bytes_hint(unit: &[u8]) -> Option<usize> {
    let (header, _) = FrameHeader::read_from_prefix(unit).ok()?;
    if header.magic != MAGIC || header.version != VERSION {
        return None;
    }
    let bytes = head_bytes(
        usize::from(header.dependencies.get()),
        usize::try_from(header.descriptors.get()).ok()?,
    );
    (bytes <= FRAME_BYTES_MAX).then_some(bytes)
}

/// Writes the head into the start of `frame` and returns its checksum. `header` gives the facts.
pub fn encode_head(
    mut header: FrameHeader,
    dependencies: &[Dependency],
    descriptors: &[Descriptor],
    secret: &Secret,
    frame: &mut [u8],
) -> u32 {
    header.magic = MAGIC;
    header.version = U16::new(VERSION);
    header.dependencies = U16::new(u16::try_from(dependencies.len()).expect("at most one per log"));
    header.descriptors = U32::new(u32::try_from(descriptors.len()).expect("bounded by the frame"));
    header.checksum = U32::new(seeded(
        secret,
        &[
            &header.as_bytes()[4..],
            dependencies.as_bytes(),
            descriptors.as_bytes(),
        ],
    ));
    let mut at = 0;
    for part in [header.as_bytes(), dependencies.as_bytes(), descriptors.as_bytes()] {
        frame[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    header.checksum.get()
}

/// Checks the head at `unit` of the segment that `place` names. `bytes` starts there and holds the whole head.
/// The caller checks that the opening (`incarnation`) and the order are what it expects.
pub fn decode_head<'a>(
    bytes: &'a [u8],
    place: &Place,
    unit: u32,
    secret: &Secret,
) -> Result<Head<'a>, FrameError> {
    let (header, rest) = FrameHeader::read_from_prefix(bytes).map_err(|_| FrameError::Torn)?;
    if header.magic != MAGIC || header.version != VERSION {
        return Err(FrameError::Torn);
    }
    let vector = usize::from(header.dependencies.get()) * size_of::<Dependency>();
    let table = header.descriptors.get() as usize * size_of::<Descriptor>();
    let (vector, rest) = rest.split_at_checked(vector).ok_or(FrameError::Torn)?;
    let (table, _) = rest.split_at_checked(table).ok_or(FrameError::Torn)?;
    if header.checksum.get() != seeded(secret, &[&header.as_bytes()[4..], vector, table]) {
        return Err(FrameError::Torn);
    }
    let here = Place {
        store: header.store,
        segment: header.segment.get(),
        generation: header.generation.get(),
        log: header.log.get(),
    };
    if here != *place || header.unit.get() != unit {
        return Err(FrameError::Stale);
    }
    let descriptors = <[Descriptor]>::ref_from_bytes(table).map_err(|_| FrameError::Lengths)?;
    let head = size_of::<FrameHeader>() + vector.len() + table.len();
    let bytes = header.units.get() as usize * UNIT_BYTES;
    let start = unit as usize * UNIT_BYTES;
    let inside = |descriptor: &Descriptor| {
        let from = descriptor.offset.get() as usize;
        let to = from + descriptor.stored_len.get() as usize;
        from >= start + head && to <= start + bytes
    };
    let sane = bytes <= FRAME_BYTES_MAX
        && head <= bytes
        && header.first.get() <= header.last.get()
        && header.acknowledged.get() < header.first.get()
        && header.last.get() < NUMBERS_MAX
        && header.next_generation.get() < GENERATIONS_MAX
        && descriptors.iter().all(inside);
    if !sane {
        return Err(FrameError::Lengths);
    }
    Ok(Head {
        header,
        dependencies: <[Dependency]>::ref_from_bytes(vector).map_err(|_| FrameError::Lengths)?,
        descriptors,
    })
}

/// Whether an extent of `len` bytes starts at a unit, so that it is read straight into the caller's buffer.
pub fn is_aligned(len: usize) -> bool {
    len >= ALIGN_FROM_BYTES || (len > 0 && len.is_multiple_of(UNIT_BYTES))
}

/// Where the stored bytes of a frame lie: packed extents right after the head, then unit-aligned ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Byte offset of each extent from the start of the frame, in the order given.
    pub offsets: Vec<u32>,
    /// Units of the whole frame.
    pub units: u32,
}

impl Layout {
    /// Lays out extents of these stored lengths behind a head with that many dependencies.
    pub fn new(dependencies: usize, lengths: impl ExactSizeIterator<Item = usize> + Clone) -> Layout {
        let mut at = head_bytes(dependencies, lengths.len());
        let mut offsets = vec![0; lengths.len()];
        for (offset, len) in offsets.iter_mut().zip(lengths.clone()) {
            if !is_aligned(len) {
                *offset = narrow(at);
                at += len;
            }
        }
        for (offset, len) in offsets.iter_mut().zip(lengths) {
            if is_aligned(len) {
                at = at.next_multiple_of(UNIT_BYTES);
                *offset = narrow(at);
                at += len;
            }
        }
        Layout {
            offsets,
            units: narrow(at.div_ceil(UNIT_BYTES)),
        }
    }
}

fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a frame is far below 4 GiB")
}
