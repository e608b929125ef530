//! A leaf: the entries of a directory, or of a run of its names.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::attributes::{AttributeView, Tags};
use super::{NODE_VERSION, NodeDamage, NodeHeader, check_names};
use crate::format::ContentId;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum EntryKind {
    /// Regular file; `id` is its content.
    File = 1,
    /// Directory; `id` is its root node.
    Directory = 2,
    /// Symbolic link; `id` is the content that holds its target.
    Symlink = 3,
    /// Named pipe; no content.
    Fifo = 4,
    /// Character device; no content.
    CharDevice = 5,
    /// Block device; no content.
    BlockDevice = 6,
}

impl EntryKind {
    /// The kind with this number, if there is one.
    pub fn from_byte(byte: u8) -> Option<EntryKind> {
        Some(match byte {
            1 => EntryKind::File,
            2 => EntryKind::Directory,
            3 => EntryKind::Symlink,
            4 => EntryKind::Fifo,
            5 => EntryKind::CharDevice,
            6 => EntryKind::BlockDevice,
            _ => return None,
        })
    }

    /// True for kinds whose bytes are a content (files and links).
    pub fn has_content(self) -> bool {
        matches!(self, EntryKind::File | EntryKind::Symlink)
    }
}

/// Fixed fields of one entry. Little-endian, no padding.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LeafRecord {
    /// Content or node; zeroes for kinds without.
    pub id: ContentId,
    /// Bytes of a file or link target; 0 for the rest.
    pub size: U64,
    /// Permission, set-id and sticky bits.
    pub mode: U16,
    /// An [`EntryKind`].
    pub kind: u8,
    /// Bytes of its name.
    pub name_bytes: u8,
    /// Which attributes it has: [`Tags`].
    pub tags: U16,
    /// Bytes of its attributes.
    pub attributes_bytes: U16,
}

impl LeafRecord {
    /// The record of a directory without a name, and its attributes appended to `out`.
    pub(in crate::format) fn directory(
        id: ContentId,
        mode: u16,
        attributes: &AttributeView<'_>,
        out: &mut Vec<u8>,
    ) -> Result<LeafRecord, NodeDamage> {
        let start = out.len();
        let tags = attributes.encode(out);
        let length = out.len() - start;
        let record = LeafRecord {
            id,
            size: U64::ZERO,
            mode: mode.into(),
            kind: EntryKind::Directory as u8,
            name_bytes: 0,
            tags: tags.0.into(),
            attributes_bytes: U16::new(length.try_into().map_err(|_| NodeDamage::Attributes)?),
        };
        record.attributes(&out[start..])?;
        Ok(record)
    }

    /// Checks the record and its attributes, which are exactly `bytes`.
    pub fn attributes<'a>(&self, bytes: &'a [u8]) -> Result<AttributeView<'a>, NodeDamage> {
        AttributeView::decode(Tags(self.tags.get()), self.check()?, bytes)
    }

    fn check(&self) -> Result<EntryKind, NodeDamage> {
        let kind = EntryKind::from_byte(self.kind).ok_or(NodeDamage::Record)?;
        let bare = !kind.has_content() && self.size.get() != 0;
        let nameless = !kind.has_content() && kind != EntryKind::Directory && self.id != ContentId([0; 32]);
        if self.mode.get() > 0o7777 || bare || nameless {
            return Err(NodeDamage::Record);
        }
        Ok(kind)
    }
}

/// A checked leaf over borrowed bytes.
#[derive(Debug, Clone, Copy)]
pub struct LeafView<'a> {
    records: &'a [LeafRecord],
    names: &'a [u8],
    attributes: &'a [u8],
}

impl<'a> LeafView<'a> {
    pub(super) fn decode(header: NodeHeader, body: &'a [u8]) -> Result<LeafView<'a>, NodeDamage> {
        let view = LeafView::split(header, body)?;
        check_names(view.names, view.records.iter().map(|record| record.name_bytes))?;
        let mut rest = view.attributes;
        for record in view.records {
            let length = usize::from(record.attributes_bytes.get());
            let (attributes, tail) = rest.split_at_checked(length).ok_or(NodeDamage::Length)?;
            record.attributes(attributes)?;
            rest = tail;
        }
        if rest.is_empty() {
            Ok(view)
        } else {
            Err(NodeDamage::Length)
        }
    }

    /// The parts of a leaf that was checked when it came in: only lengths are looked at again.
    pub fn of_checked(bytes: &'a [u8]) -> Result<LeafView<'a>, NodeDamage> {
        let (header, rest) = super::header(bytes)?;
        if header.level != 0 {
            return Err(NodeDamage::Count);
        }
        LeafView::split(header, rest)
    }

    fn split(header: NodeHeader, body: &'a [u8]) -> Result<LeafView<'a>, NodeDamage> {
        let count = usize::from(header.count.get());
        let (records, rest) =
            <[LeafRecord]>::ref_from_prefix_with_elems(body, count).map_err(|_| NodeDamage::Length)?;
        let (names, attributes) = rest
            .split_at_checked(usize::from(header.names_bytes.get()))
            .ok_or(NodeDamage::Length)?;
        if attributes.len() != usize::from(header.attributes_bytes.get()) {
            return Err(NodeDamage::Length);
        }
        Ok(LeafView {
            records,
            names,
            attributes,
        })
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True for the leaf of an empty directory.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Fixed fields of all entries.
    pub fn records(&self) -> &'a [LeafRecord] {
        self.records
    }

    /// Name of entry `index`, which must be below [`LeafView::len`].
    pub fn name(&self, index: usize) -> &'a [u8] {
        let start = self.records[..index]
            .iter()
            .map(|record| usize::from(record.name_bytes))
            .sum();
        &self.names[start..][..usize::from(self.records[index].name_bytes)]
    }

    /// Encoded attributes of entry `index`, which must be below [`LeafView::len`].
    pub fn raw_attributes(&self, index: usize) -> &'a [u8] {
        let start = self.attributes_start(index);
        &self.attributes[start..][..usize::from(self.records[index].attributes_bytes.get())]
    }

    fn attributes_start(&self, index: usize) -> usize {
        self.records[..index]
            .iter()
            .map(|record| usize::from(record.attributes_bytes.get()))
            .sum()
    }

    /// Attributes of entry `index`, which must be below [`LeafView::len`].
    pub fn attributes(&self, index: usize) -> Result<AttributeView<'a>, NodeDamage> {
        self.records[index].attributes(self.raw_attributes(index))
    }

    /// (name, fixed fields, encoded attributes) of all entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a LeafRecord, &'a [u8])> + use<'a> {
        let (mut names, mut attributes) = (self.names, self.attributes);
        self.records.iter().map(move |record| {
            let (name, names_rest) = names.split_at(usize::from(record.name_bytes));
            let (own, attributes_rest) = attributes.split_at(usize::from(record.attributes_bytes.get()));
            (names, attributes) = (names_rest, attributes_rest);
            (name, record, own)
        })
    }

    /// Position of `name`, or where it would have to be.
    pub fn find(&self, name: &[u8]) -> Result<usize, usize> {
        let mut names = self.names;
        for (index, record) in self.records.iter().enumerate() {
            let (own, rest) = names.split_at(usize::from(record.name_bytes));
            match own.cmp(name) {
                std::cmp::Ordering::Less => names = rest,
                std::cmp::Ordering::Equal => return Ok(index),
                std::cmp::Ordering::Greater => return Err(index),
            }
        }
        Err(self.records.len())
    }

    /// Byte offset of record `index` from the start of the node.
    pub fn record_offset(index: usize) -> usize {
        size_of::<NodeHeader>() + index * size_of::<LeafRecord>()
    }

    /// Byte offset of the mtime of entry `index` from the start of the node, if it has one.
    pub fn mtime_offset(&self, index: usize) -> Option<usize> {
        let tags = Tags(self.records[index].tags.get());
        let before = LeafView::record_offset(self.len()) + self.names.len();
        tags.has(Tags::MTIME)
            .then(|| before + self.attributes_start(index))
    }
}

/// Collects the entries of one leaf, in order, and encodes them. Reusable: `finish` empties it.
#[derive(Debug, Default)]
pub struct LeafEncoder {
    records: Vec<LeafRecord>,
    names: Vec<u8>,
    attributes: Vec<u8>,
}

impl LeafEncoder {
    /// Entries so far.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True before the first entry.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Appends an entry. The name must be valid and greater than the one before (asserted in debug builds by
    /// `finish`); lengths and tags of `record` are filled in here.
    ///
    /// # Errors
    /// Fields or attributes that this kind cannot have; the encoder is unchanged then.
    pub fn push(
        &mut self,
        name: &[u8],
        mut record: LeafRecord,
        attributes: &AttributeView<'_>,
    ) -> Result<(), NodeDamage> {
        let start = self.attributes.len();
        let tags = attributes.encode(&mut self.attributes);
        let own = &self.attributes[start..];
        let checked = record
            .check()
            .and_then(|kind| AttributeView::decode(tags, kind, own).map(|_| own.len()));
        match checked {
            Ok(length) => {
                record.tags = tags.0.into();
                record.attributes_bytes = U16::new(length.try_into().map_err(|_| NodeDamage::Attributes)?);
                record.name_bytes = name.len().try_into().map_err(|_| NodeDamage::Name)?;
                self.records.push(record);
                self.names.extend_from_slice(name);
                Ok(())
            }
            Err(damage) => {
                self.attributes.truncate(start);
                Err(damage)
            }
        }
    }

    /// Appends an entry whose record and attributes come from a checked leaf.
    pub fn push_raw(&mut self, name: &[u8], record: &LeafRecord, attributes: &[u8]) {
        debug_assert_eq!(usize::from(record.attributes_bytes.get()), attributes.len());
        debug_assert_eq!(usize::from(record.name_bytes), name.len());
        self.records.push(*record);
        self.names.extend_from_slice(name);
        self.attributes.extend_from_slice(attributes);
    }

    /// The encoded leaf.
    pub fn finish(&mut self) -> Vec<u8> {
        let field =
            |length: usize| U16::new(u16::try_from(length).expect("a node is bounded by its entries"));
        let header = NodeHeader {
            version: NODE_VERSION,
            level: 0,
            count: field(self.records.len()),
            names_bytes: field(self.names.len()),
            attributes_bytes: field(self.attributes.len()),
        };
        let records = self.records.as_bytes();
        let length = size_of::<NodeHeader>() + records.len() + self.names.len() + self.attributes.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(records);
        bytes.extend_from_slice(&self.names);
        bytes.extend_from_slice(&self.attributes);
        debug_assert!(super::NodeView::decode(&bytes).is_ok());
        self.records.clear();
        self.names.clear();
        self.attributes.clear();
        bytes
    }
}
