//! A root record: the whole state of one root at one of its sequences. Travels in frames and in checkpoints.
//!
//! Every record carries name and value, so the last record of a root says everything and a rename is one record.
//! Rejected: separate name and value records; a crash between them would need a rule of its own.

use std::sync::Arc;

use bytes::Bytes;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ids::{ContentId, Domain, Kind, RootId};
use crate::limits::{NUMBERS_MAX, ROOT_DATA_BYTES_MAX, ROOT_NAME_BYTES_MAX};

/// `operation`: the root is what the record says.
pub const SET: u8 = 1;
/// `operation`: the root is gone.
pub const DELETE: u8 = 2;

/// Fixed part; `name_len` bytes of name and `data_len` bytes of data follow.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RootHeader {
    /// Root id, never reused.
    pub root: U64,
    /// Counts the changes of the root.
    pub sequence: U64,
    /// When: nanoseconds since 1970.
    pub changed_ns: U64,
    /// Domain of everything the root reaches.
    pub domain: U32,
    /// Kind of root (branch 1, tag 2, pin 3, workspace 4, volume 5, snapshot 6, setting 7).
    pub kind: u8,
    /// [`SET`] or [`DELETE`].
    pub operation: u8,
    /// Kind of the target, 0 for none.
    pub target_kind: u8,
    /// Must be zero.
    pub reserved: u8,
    /// Id of the target.
    pub target: ContentId,
    /// Bytes of the name.
    pub name_len: U16,
    /// Bytes of the data.
    pub data_len: U16,
}
const _: () = assert!(size_of::<RootHeader>() == 68);

/// A record, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootRecord {
    /// Root id.
    pub root: RootId,
    /// Its sequence.
    pub sequence: u64,
    /// When, in nanoseconds since 1970.
    pub changed_ns: u64,
    /// Domain.
    pub domain: Domain,
    /// Kind of root, as the store numbers them.
    pub kind: u8,
    /// The root is gone.
    pub deleted: bool,
    /// What it points at.
    pub target: Option<(Kind, ContentId)>,
    /// Name; shared with the root, as the data is: a record is made while a commit waits for it.
    pub name: Arc<[u8]>,
    /// Data of the layer that owns the root.
    pub data: Bytes,
}

impl RootRecord {
    /// Length of its bytes.
    pub fn encoded_len(&self) -> usize {
        size_of::<RootHeader>() + self.name.len() + self.data.len()
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.name.len() <= ROOT_NAME_BYTES_MAX && self.data.len() <= ROOT_DATA_BYTES_MAX);
        let header = RootHeader {
            root: U64::new(self.root.0),
            sequence: U64::new(self.sequence),
            changed_ns: U64::new(self.changed_ns),
            domain: U32::new(self.domain.0),
            kind: self.kind,
            operation: if self.deleted { DELETE } else { SET },
            target_kind: self.target.map_or(0, |(kind, _)| kind as u8),
            reserved: 0,
            target: self.target.map_or(ContentId([0; 32]), |(_, id)| id),
            name_len: U16::new(u16::try_from(self.name.len()).expect("checked above")),
            data_len: U16::new(u16::try_from(self.data.len()).expect("checked above")),
        };
        [header.as_bytes(), &self.name, &self.data].concat()
    }

    /// The record at the start of `bytes` and the bytes after it; `None` if it is no record.
    pub fn decode(bytes: &[u8]) -> Option<(RootRecord, &[u8])> {
        let (header, rest) = RootHeader::read_from_prefix(bytes).ok()?;
        let (name, rest) = rest.split_at_checked(usize::from(header.name_len.get()))?;
        let (data, rest) = rest.split_at_checked(usize::from(header.data_len.get()))?;
        let target = match header.target_kind {
            0 => None,
            kind => Some((Kind::from_byte(kind)?, header.target)),
        };
        let deleted = match header.operation {
            SET => false,
            DELETE => true,
            _ => return None,
        };
        let numbers = header.root.get() < NUMBERS_MAX && header.sequence.get() < NUMBERS_MAX;
        if name.len() > ROOT_NAME_BYTES_MAX || data.len() > ROOT_DATA_BYTES_MAX || !numbers {
            return None;
        }
        let record = RootRecord {
            root: RootId(header.root.get()),
            sequence: header.sequence.get(),
            changed_ns: header.changed_ns.get(),
            domain: Domain(header.domain.get()),
            kind: header.kind,
            deleted,
            target,
            name: name.into(),
            data: Bytes::copy_from_slice(data),
        };
        Some((record, rest))
    }
}
