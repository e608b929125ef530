//! Manifests: the extent list of a content too large for one extent.
//!
//! A manifest is a header and records in the order of the content. A level-0 manifest lists chunks and holes. One
//! that would not fit into an extent is split: its parts are manifests of their own, and a manifest of the next
//! level lists the parts. So any content up to `CONTENT_BYTES_MAX` needs extents of bounded size only.
//!
//! The *root* of a content is stored under the content's own id, which says nothing about the manifest's bytes: it
//! carries that id, its own checksum, and a role that no *part* has. A *part* is named by the hash of its bytes
//! under a derive-key context ([`Context::ManifestPart`]), so neither a user's content nor a root can take its place,
//! and a part asked for as a content is refused by its role.
//!
//! Invariant: a `Manifest` in memory has been checked whole: every record is of a kind its level allows, lengths are
//! within bounds and add up to the header's. Checking allocates nothing and looks at each record once.
//!
//! Rejected: user-visible ids for parts (plain BLAKE3 as data): collection would find one extent that is a leaf to
//! one parent and a list to another. Rejected: cumulative offsets in records: equal chunk lists at different
//! places in a content would not be equal parts.

use bytes::Bytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::crc32c;
use super::{ContentId, Kind};
use crate::hash::{self, Context};
use crate::limits::{CONTENT_BYTES_MAX, EXTENT_BYTES_MAX};

/// First bytes of every manifest.
pub const MANIFEST_MAGIC: [u8; 8] = *b"HeliosMa";
/// Version of the layout.
pub const MANIFEST_VERSION: u16 = 1;
/// Most records one manifest holds; the largest takes 655,424 bytes.
pub const MANIFEST_RECORDS_MAX: usize = 16_384;
/// Fewest records of a part that is not the last of its level.
pub const MANIFEST_RECORDS_MIN: usize = 1024;
/// Highest level.
pub const MANIFEST_LEVEL_MAX: u8 = 3;

/// Little-endian, no padding. Never reorder; spend `reserved`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ManifestHeader {
    magic: [u8; 8],
    checksum: U32, // CRC-32C of every byte after this field
    version: U16,
    level: u8,          // 0 lists chunks and holes; n lists parts of level n - 1
    role: u8,           // 1 root of a content, 2 part
    records: U32,       // number of records that follow
    reserved: [u8; 4],  // must be zero
    length: U64,        // plain bytes of everything listed
    content: ContentId, // root: id of the content, and of this entry; part: zero
}

/// One line of the list.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ManifestRecord {
    id: ContentId, // chunk: plain BLAKE3; part: hash of the part under its context; hole: zero
    length: U64,   // bits 0 to 55 plain bytes, bits 56 to 63 kind: 1 chunk, 2 hole, 3 part
}

const HEADER_BYTES: usize = size_of::<ManifestHeader>();
const RECORD_BYTES: usize = size_of::<ManifestRecord>();
const CHECKSUM_END: usize = 12;
const LENGTH_BITS: u32 = 56;
const NO_ID: ContentId = ContentId([0; 32]);

const _: () = assert!(HEADER_BYTES == 64 && RECORD_BYTES == 40);
const _: () = assert!(std::mem::offset_of!(ManifestHeader, version) == CHECKSUM_END);
const _: () = assert!(HEADER_BYTES + MANIFEST_RECORDS_MAX * RECORD_BYTES <= EXTENT_BYTES_MAX);
const _: () = assert!(CONTENT_BYTES_MAX < 1 << LENGTH_BITS);
const _: () = assert!(MANIFEST_RECORDS_MIN < MANIFEST_RECORDS_MAX);

/// What one record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// This many bytes are the data extent `id`.
    Chunk {
        /// Plain BLAKE3 of the bytes.
        id: ContentId,
        /// 1 to `EXTENT_BYTES_MAX`.
        length: u32,
    },
    /// This many bytes are zero and stored nowhere.
    Hole {
        /// At least 1.
        length: u64,
    },
    /// The list of this many bytes is the part `id`.
    Part {
        /// Hash of the part under [`Context::ManifestPart`].
        id: ContentId,
        /// Plain bytes it lists, at least 1.
        length: u64,
    },
}

impl Piece {
    /// Plain bytes it stands for.
    pub fn length(&self) -> u64 {
        match *self {
            Piece::Chunk { length, .. } => u64::from(length),
            Piece::Hole { length } | Piece::Part { length, .. } => length,
        }
    }

    /// Kind and id of the extent it refers to; none for holes.
    pub fn target(&self) -> Option<(Kind, ContentId)> {
        match *self {
            Piece::Chunk { id, .. } => Some((Kind::Data, id)),
            Piece::Hole { .. } => None,
            Piece::Part { id, .. } => Some((Kind::Manifest, id)),
        }
    }

    fn encode(&self) -> ManifestRecord {
        let (kind, id) = match *self {
            Piece::Chunk { id, .. } => (1, id),
            Piece::Hole { .. } => (2, NO_ID),
            Piece::Part { id, .. } => (3, id),
        };
        ManifestRecord {
            id,
            length: U64::new(kind << LENGTH_BITS | self.length()),
        }
    }

    fn decode(record: &ManifestRecord, level: u8) -> Option<Piece> {
        let length = record.length.get() & ((1 << LENGTH_BITS) - 1);
        if length == 0 {
            return None;
        }
        match record.length.get() >> LENGTH_BITS {
            1 if level == 0 && length <= EXTENT_BYTES_MAX as u64 => Some(Piece::Chunk {
                id: record.id,
                length: u32::try_from(length).ok()?,
            }),
            2 if level == 0 && record.id == NO_ID => Some(Piece::Hole { length }),
            3 if level > 0 => Some(Piece::Part {
                id: record.id,
                length,
            }),
            _ => None,
        }
    }
}

/// What a manifest is the manifest of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The content with this id.
    Root(ContentId),
    /// A stretch of some content.
    Part,
}

/// Why bytes are not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestDamage {
    /// Shorter than a header, or not as long as the header says.
    #[error("its length is {found} bytes, not {expected}")]
    Length {
        /// Bytes there should be.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// Does not start as manifests do.
    #[error("it does not start as a manifest does")]
    Magic,
    /// Bytes have changed.
    #[error("its checksum does not fit")]
    Checksum,
    /// Written by a version this program does not know.
    #[error("its version {0} is unknown")]
    Version(u16),
    /// Belongs elsewhere: another content, or a part where a root should be, or the reverse.
    #[error("it belongs to something else")]
    Misplaced,
    /// A field has a value no encoder writes.
    #[error("its {0} is out of bounds")]
    Field(&'static str),
    /// A record has a value no encoder writes at this level.
    #[error("its record {0} is malformed")]
    Record(usize),
    /// The lengths of the records do not add up to the total.
    #[error("its records do not add up to its length")]
    Sum,
}

/// A checked manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    bytes: Bytes,
    level: u8,
    length: u64,
}

impl Manifest {
    /// Encodes a manifest of `pieces`: at most [`MANIFEST_RECORDS_MAX`], of kinds its level allows.
    ///
    /// Panics otherwise: that is a mistake of the caller, not of any input.
    pub fn encode(role: Role, level: u8, pieces: &[Piece]) -> Bytes {
        assert!(
            level <= MANIFEST_LEVEL_MAX && pieces.len() <= MANIFEST_RECORDS_MAX,
            "manifest too large"
        );
        let mut header = ManifestHeader {
            magic: MANIFEST_MAGIC,
            checksum: U32::ZERO,
            version: U16::new(MANIFEST_VERSION),
            level,
            role: match role {
                Role::Root(_) => 1,
                Role::Part => 2,
            },
            records: U32::new(u32::try_from(pieces.len()).expect("bounded above")),
            reserved: [0; 4],
            length: U64::new(pieces.iter().map(Piece::length).sum()),
            content: match role {
                Role::Root(content) => content,
                Role::Part => NO_ID,
            },
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + pieces.len() * RECORD_BYTES);
        bytes.extend_from_slice(header.as_bytes());
        for piece in pieces {
            let record = piece.encode();
            assert_eq!(
                Piece::decode(&record, level),
                Some(*piece),
                "piece out of bounds for level {level}"
            );
            bytes.extend_from_slice(record.as_bytes());
        }
        header.checksum = U32::new(crc32c(&bytes[CHECKSUM_END..]));
        bytes[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        bytes.into()
    }

    /// Checks bytes that were stored as the root manifest of `content`.
    pub fn decode_root(bytes: Bytes, content: ContentId) -> Result<Manifest, ManifestDamage> {
        Manifest::decode(bytes, Role::Root(content))
    }

    /// Checks bytes that were stored as part `id`, their hash included; the caller compares level and length with
    /// the record that named it.
    pub fn decode_part(bytes: Bytes, id: ContentId) -> Result<Manifest, ManifestDamage> {
        if Manifest::part_id(&bytes) != id {
            return Err(ManifestDamage::Misplaced);
        }
        Manifest::decode(bytes, Role::Part)
    }

    /// Checks bytes that are the root of a content or a part, whichever they say; for tracing and scrubbing.
    pub fn decode_any(bytes: Bytes) -> Result<(Role, Manifest), ManifestDamage> {
        let checked = check(&bytes)?;
        let Checked { role, level, length } = checked;
        Ok((role, Manifest { bytes, level, length }))
    }

    /// The id under which the part with these bytes is stored.
    pub fn part_id(bytes: &[u8]) -> ContentId {
        hash::id(Context::ManifestPart, bytes)
    }

    fn decode(bytes: Bytes, expected: Role) -> Result<Manifest, ManifestDamage> {
        match Manifest::decode_any(bytes)? {
            (role, manifest) if role == expected => Ok(manifest),
            _ => Err(ManifestDamage::Misplaced),
        }
    }

    /// 0 for lists of chunks and holes, more for lists of parts.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Plain bytes of everything listed.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records().len()
    }

    /// Whether it lists nothing.
    pub fn is_empty(&self) -> bool {
        self.records().is_empty()
    }

    /// Record `at`, if there are so many.
    pub fn piece(&self, at: usize) -> Option<Piece> {
        Piece::decode(self.records().get(at)?, self.level)
    }

    /// All records in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        self.records()
            .iter()
            .filter_map(|record| Piece::decode(record, self.level))
    }

    fn records(&self) -> &[ManifestRecord] {
        header_of(&self.bytes).map_or(&[], |(_, records)| records)
    }
}

/// Header and records of bytes that hold at least a header and whole records.
fn header_of(bytes: &[u8]) -> Result<(&ManifestHeader, &[ManifestRecord]), ManifestDamage> {
    let (header, rest) = ManifestHeader::ref_from_prefix(bytes).map_err(|_| ManifestDamage::Length {
        expected: HEADER_BYTES,
        found: bytes.len(),
    })?;
    if header.magic != MANIFEST_MAGIC {
        return Err(ManifestDamage::Magic);
    }
    let whole = rest.len() / RECORD_BYTES * RECORD_BYTES;
    let records = <[ManifestRecord]>::ref_from_bytes(&rest[..whole]).map_err(|_| ManifestDamage::Length {
        expected: HEADER_BYTES + whole,
        found: bytes.len(),
    })?;
    Ok((header, records))
}

/// What [`check`] learnt.
struct Checked {
    role: Role,
    level: u8,
    length: u64,
}

/// Checks everything that can be checked without knowing where the bytes were found.
fn check(bytes: &[u8]) -> Result<Checked, ManifestDamage> {
    let (header, records) = header_of(bytes)?;
    if header.checksum.get() != crc32c(&bytes[CHECKSUM_END..]) {
        return Err(ManifestDamage::Checksum);
    }
    if header.version.get() != MANIFEST_VERSION {
        return Err(ManifestDamage::Version(header.version.get()));
    }
    let role = match (header.role, header.content) {
        (1, content) => Role::Root(content),
        (2, NO_ID) => Role::Part,
        _ => return Err(ManifestDamage::Field("role")),
    };
    let level = header.level;
    if level > MANIFEST_LEVEL_MAX {
        return Err(ManifestDamage::Field("level"));
    }
    if header.reserved != [0; 4] {
        return Err(ManifestDamage::Field("reserved field"));
    }
    let count = usize::try_from(header.records.get()).unwrap_or(usize::MAX);
    if count > MANIFEST_RECORDS_MAX {
        return Err(ManifestDamage::Field("number of records"));
    }
    let expected = HEADER_BYTES + count * RECORD_BYTES;
    if bytes.len() != expected {
        return Err(ManifestDamage::Length {
            expected,
            found: bytes.len(),
        });
    }
    let mut length = 0u64;
    for (at, record) in records.iter().enumerate() {
        let piece = Piece::decode(record, level).ok_or(ManifestDamage::Record(at))?;
        // No overflow: both are at most 2^56.
        length += piece.length();
        if length > CONTENT_BYTES_MAX {
            return Err(ManifestDamage::Sum);
        }
    }
    if length != header.length.get() {
        return Err(ManifestDamage::Sum);
    }
    Ok(Checked { role, level, length })
}

/// Whether `bytes` are a manifest whose checksum holds and whose records add up, root or part.
pub fn is_whole(bytes: &[u8]) -> bool {
    check(bytes).is_ok()
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
