//! A checkpoint: what a store must know besides its sealed segments. Written in two copies, each in segments of
//! its own, named by the superblock.
//!
//! A copy is one body cut into parts, one part per segment behind the segment's header: part header, then bytes.
//! The body is a sequence of sections (tag, length, bytes) so that later versions add sections without moving any.
//! Invariant: a copy is used only whole; every part and the body have checksums.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{Secret, seeded};
use super::frame::Descriptor;
use super::root_record::RootRecord;
use super::superblock::VERSION;

/// Marks a part.
pub const PART_MAGIC: [u8; 4] = *b"HCKP";

/// Section tags.
pub mod tag {
    /// [`super::SegmentRecord`]s: every segment that is not free.
    pub const SEGMENTS: u16 = 1;
    /// [`super::LogRecord`]s: where each log goes on.
    pub const LOGS: u16 = 2;
    /// Root records, one after the other.
    pub const ROOTS: u16 = 3;
    /// Descriptors of an unsealed segment: its number (u32), zero (u32), then descriptors.
    pub const OPEN_SEGMENT: u16 = 4;
    /// Extents of one segment that nothing refers to: its number (u32), its generation (u32), then their offsets in
    /// the segment (u32 each, rising).
    pub const DEAD: u16 = 5;
    /// [`super::Counters`].
    pub const COUNTERS: u16 = 6;
    /// Generations of free segments that have been used: pairs of u32 (segment, generation).
    pub const GENERATIONS: u16 = 7;
}

/// First bytes after the segment header's unit.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PartHeader {
    /// Seeded CRC-32C of every byte of this header after this field.
    pub checksum: U32,
    /// [`PART_MAGIC`].
    pub magic: [u8; 4],
    /// Format version.
    pub version: U16,
    /// Which copy, 0 or 1.
    pub copy: U16,
    /// Store.
    pub store: [u8; 16],
    /// Checkpoint sequence.
    pub sequence: U64,
    /// Number of this part, from 0.
    pub part: U32,
    /// Number of parts.
    pub parts: U32,
    /// Bytes of the body in this part.
    pub part_bytes: U64,
    /// Bytes of the whole body.
    pub body_bytes: U64,
    /// CRC-32C of the bytes in this part.
    pub part_checksum: U32,
    /// CRC-32C of the whole body.
    pub body_checksum: U32,
    /// Logical segment of the next part (the last part names itself).
    pub next_segment: U32,
    /// Its generation.
    pub next_generation: U32,
    /// Its physical segment.
    pub next_physical: U32,
    /// Must be zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<PartHeader>() == 84);

impl PartHeader {
    /// The header's bytes. The caller has set the checksums of part and body.
    pub fn encode(mut self, secret: &Secret) -> Vec<u8> {
        self.magic = PART_MAGIC;
        self.version = U16::new(VERSION);
        self.checksum = U32::new(seeded(secret, &[&self.as_bytes()[4..]]));
        self.as_bytes().to_vec()
    }

    /// The header at the start of `bytes`, if it is whole and of this store.
    pub fn decode(bytes: &[u8], secret: &Secret) -> Option<PartHeader> {
        let (header, _) = PartHeader::read_from_prefix(bytes).ok()?;
        let holds = header.magic == PART_MAGIC
            && header.version == VERSION
            && header.checksum.get() == seeded(secret, &[&header.as_bytes()[4..]])
            && header.part_bytes.get() <= header.body_bytes.get();
        holds.then_some(header)
    }
}

/// One segment in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SegmentRecord {
    /// Logical segment.
    pub segment: U32,
    /// Its generation.
    pub generation: U32,
    /// Physical segment.
    pub physical: U32,
    /// Device.
    pub device: U16,
    /// Log that filled or fills it.
    pub log: U16,
    /// 1 reserved for a log, 2 open, 3 sealed, 4 checkpoint.
    pub state: u8,
    /// Must be zero.
    pub reserved: [u8; 3],
    /// Unit after the last frame.
    pub end_unit: U32,
    /// Unit where the footer starts (sealed).
    pub footer_unit: U32,
    /// Unit up to which the segment has been written or zeroed (open).
    pub ready_unit: U32,
}
const _: () = assert!(size_of::<SegmentRecord>() == 32);

/// [`SegmentRecord::state`]: named as the place where a log goes on, nothing written yet.
pub const RESERVED: u8 = 1;
/// [`SegmentRecord::state`]: takes frames.
pub const OPEN: u8 = 2;
/// [`SegmentRecord::state`]: has its footer.
pub const SEALED: u8 = 3;
/// [`SegmentRecord::state`]: holds a checkpoint.
pub const CHECKPOINT: u8 = 4;

/// Where one log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LogRecord {
    /// The log.
    pub log: U16,
    /// Must be zero.
    pub reserved: U16,
    /// Logical segment of its next frame.
    pub segment: U32,
    /// Its generation.
    pub generation: U32,
    /// Unit of its next frame.
    pub unit: U32,
    /// Sequence of its next batch.
    pub next: U64,
    /// Checksum of its last frame.
    pub predecessor: U32,
    /// Segment after this one, or `NO_SEGMENT`.
    pub next_segment: U32,
    /// Its generation.
    pub next_generation: U32,
    /// Must be zero.
    pub reserved_too: U32,
}
const _: () = assert!(size_of::<LogRecord>() == 40);

/// Numbers that must never go back, and totals since the store was made.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Counters {
    /// Next root id.
    pub next_root: U64,
    /// Extents offered since the store was made.
    pub offered: U64,
    /// Extents that were new.
    pub new: U64,
    /// Bytes offered.
    pub offered_bytes: U64,
    /// Bytes of new extents.
    pub new_bytes: U64,
    /// Bytes written in frames, padding included.
    pub frame_bytes: U64,
    /// Batches that moved a branch.
    pub commits: U64,
    /// Must be zero.
    pub reserved: U64,
}
const _: () = assert!(size_of::<Counters>() == 64);

/// A whole checkpoint in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checkpoint {
    /// Segments in use.
    pub segments: Vec<SegmentRecord>,
    /// Logs.
    pub logs: Vec<LogRecord>,
    /// Live roots.
    pub roots: Vec<RootRecord>,
    /// Descriptors of unsealed segments.
    pub open_segments: Vec<(u32, Vec<Descriptor>)>,
    /// Generations of free segments that have been used.
    pub generations: Vec<(u32, u32)>,
    /// Segment, generation and offsets of the extents there that nothing refers to.
    pub dead: Vec<(u32, u32, Vec<u32>)>,
    /// Counters.
    pub counters: Counters,
}

/// A body that is written section by section, so that a long one can be made in turns.
#[derive(Default)]
pub struct Body(Vec<u8>);

impl Body {
    /// Bytes of a section before its contents.
    pub const SECTION_HEAD: usize = 16;

    fn section(&mut self, tag: u16, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.0.extend_from_slice(&tag.to_le_bytes());
        self.0.extend_from_slice(&[0; 6]);
        self.0.extend_from_slice(&(len as u64).to_le_bytes());
        for part in parts {
            self.0.extend_from_slice(part);
        }
    }

    /// The counters.
    pub fn counters(&mut self, counters: &Counters) {
        self.section(tag::COUNTERS, &[counters.as_bytes()]);
    }

    /// The segments in use.
    pub fn segments(&mut self, records: &[SegmentRecord]) {
        self.section(tag::SEGMENTS, &[records.as_bytes()]);
    }

    /// Where each log goes on.
    pub fn logs(&mut self, records: &[LogRecord]) {
        self.section(tag::LOGS, &[records.as_bytes()]);
    }

    /// Segment and generation of free segments that have been used.
    pub fn generations(&mut self, pairs: &[(u32, u32)]) {
        let pairs: Vec<[U32; 2]> = pairs
            .iter()
            .map(|(segment, generation)| [U32::new(*segment), U32::new(*generation)])
            .collect();
        self.section(tag::GENERATIONS, &[pairs.as_bytes()]);
    }

    /// The encoded root records, one after the other.
    pub fn roots(&mut self, records: &[u8]) {
        self.section(tag::ROOTS, &[records]);
    }

    /// The descriptors of an unsealed segment.
    pub fn open_segment(&mut self, segment: u32, descriptors: &[Descriptor]) {
        self.section(
            tag::OPEN_SEGMENT,
            &[&segment.to_le_bytes(), &[0; 4], descriptors.as_bytes()],
        );
    }

    /// The dead extents of a segment in this generation, by rising offset.
    pub fn dead(&mut self, segment: u32, generation: u32, offsets: &[u32]) {
        let offsets: Vec<U32> = offsets.iter().copied().map(U32::new).collect();
        self.section(
            tag::DEAD,
            &[
                &segment.to_le_bytes(),
                &generation.to_le_bytes(),
                offsets.as_bytes(),
            ],
        );
    }

    /// Its bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Checkpoint {
    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Body::default();
        body.counters(&self.counters);
        body.segments(&self.segments);
        body.logs(&self.logs);
        body.generations(&self.generations);
        let roots: Vec<u8> = self.roots.iter().flat_map(RootRecord::encode).collect();
        body.roots(&roots);
        for (segment, descriptors) in &self.open_segments {
            body.open_segment(*segment, descriptors);
        }
        for (segment, generation, offsets) in &self.dead {
            body.dead(*segment, *generation, offsets);
        }
        body.into_bytes()
    }

    /// The checkpoint in a body whose checksum holds; the error says which part makes no sense.
    pub fn decode(mut body: &[u8]) -> Result<Checkpoint, &'static str> {
        let mut checkpoint = Checkpoint::default();
        while !body.is_empty() {
            let (head, rest) = body.split_at_checked(16).ok_or("a section header")?;
            let tag = U16::read_from_bytes(&head[..2])
                .map_err(|_| "a section tag")?
                .get();
            let len = U64::read_from_bytes(&head[8..])
                .map_err(|_| "a section length")?
                .get();
            let len = usize::try_from(len).map_err(|_| "a section length")?;
            let (bytes, rest) = rest.split_at_checked(len).ok_or("a section's end")?;
            body = rest;
            match tag {
                tag::COUNTERS => {
                    checkpoint.counters = Counters::read_from_bytes(bytes).map_err(|_| "counters")?
                }
                tag::SEGMENTS => {
                    checkpoint.segments = <[SegmentRecord]>::ref_from_bytes(bytes)
                        .map_err(|_| "the segment table")?
                        .to_vec();
                }
                tag::LOGS => {
                    checkpoint.logs = <[LogRecord]>::ref_from_bytes(bytes)
                        .map_err(|_| "the log table")?
                        .to_vec();
                }
                tag::GENERATIONS => {
                    let pairs = <[[U32; 2]]>::ref_from_bytes(bytes).map_err(|_| "the generations")?;
                    checkpoint.generations = pairs
                        .iter()
                        .map(|[segment, at]| (segment.get(), at.get()))
                        .collect();
                }
                tag::ROOTS => {
                    let mut rest = bytes;
                    while !rest.is_empty() {
                        let (record, after) = RootRecord::decode(rest).ok_or("the root table")?;
                        checkpoint.roots.push(record);
                        rest = after;
                    }
                }
                tag::OPEN_SEGMENT => {
                    let (segment, rest) = U32::read_from_prefix(bytes).map_err(|_| "an open segment")?;
                    let rest = rest.get(4..).ok_or("an open segment")?;
                    let descriptors = <[Descriptor]>::ref_from_bytes(rest).map_err(|_| "an open segment")?;
                    checkpoint
                        .open_segments
                        .push((segment.get(), descriptors.to_vec()));
                }
                tag::DEAD => {
                    let (segment, rest) = U32::read_from_prefix(bytes).map_err(|_| "a dead set")?;
                    let (generation, rest) = U32::read_from_prefix(rest).map_err(|_| "a dead set")?;
                    let offsets = <[U32]>::ref_from_bytes(rest).map_err(|_| "a dead set")?;
                    let offsets = offsets.iter().map(|offset| offset.get()).collect();
                    checkpoint.dead.push((segment.get(), generation.get(), offsets));
                }
                _ => return Err("a section this version does not know"),
            }
        }
        Ok(checkpoint)
    }
}
