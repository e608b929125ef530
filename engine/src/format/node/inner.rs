//! An inner node: the children of one level, each named by its first entry.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{NODE_VERSION, NodeDamage, NodeHeader, check_names};
use crate::format::ContentId;

/// Fixed fields of one child. Little-endian, no padding.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct InnerRecord {
    /// The child node.
    pub id: ContentId,
    /// Entries of the directory below it; at least 1.
    pub entries: U64,
    /// Bytes of the child's first name.
    pub name_bytes: u8,
}

/// A checked inner node over borrowed bytes.
#[derive(Debug, Clone, Copy)]
pub struct InnerView<'a> {
    level: u8,
    entries: u64,
    records: &'a [InnerRecord],
    names: &'a [u8],
}

impl<'a> InnerView<'a> {
    pub(super) fn decode(header: NodeHeader, body: &'a [u8]) -> Result<InnerView<'a>, NodeDamage> {
        let count = usize::from(header.count.get());
        let (records, names) =
            <[InnerRecord]>::ref_from_prefix_with_elems(body, count).map_err(|_| NodeDamage::Length)?;
        if names.len() != usize::from(header.names_bytes.get()) || header.attributes_bytes.get() != 0 {
            return Err(NodeDamage::Length);
        }
        if count == 0 {
            return Err(NodeDamage::Count);
        }
        check_names(names, records.iter().map(|record| record.name_bytes))?;
        let mut entries = 0u64;
        for record in records {
            let own = record.entries.get();
            entries = entries
                .checked_add(own)
                .filter(|_| own > 0)
                .ok_or(NodeDamage::Record)?;
        }
        Ok(InnerView {
            level: header.level,
            entries,
            records,
            names,
        })
    }

    /// At least 1.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Children; at least 1.
    #[allow(clippy::len_without_is_empty, reason = "an inner node is never empty")]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Entries of the directory below this node.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Fixed fields of all children.
    pub fn records(&self) -> &'a [InnerRecord] {
        self.records
    }

    /// First name of child `index`, which must be below [`InnerView::len`].
    pub fn name(&self, index: usize) -> &'a [u8] {
        let start = self.records[..index]
            .iter()
            .map(|record| usize::from(record.name_bytes))
            .sum();
        &self.names[start..][..usize::from(self.records[index].name_bytes)]
    }

    /// (first name, fixed fields) of all children, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a InnerRecord)> + use<'a> {
        let mut names = self.names;
        self.records.iter().map(move |record| {
            let (name, rest) = names.split_at(usize::from(record.name_bytes));
            names = rest;
            (name, record)
        })
    }

    /// The child that holds `name` if any does: the last whose first name is not greater; the first child
    /// for names before all.
    pub fn child_for(&self, name: &[u8]) -> usize {
        self.iter()
            .take_while(|(first, _)| *first <= name)
            .count()
            .saturating_sub(1)
    }

    /// Byte offset of record `index` from the start of the node.
    pub fn record_offset(index: usize) -> usize {
        size_of::<NodeHeader>() + index * size_of::<InnerRecord>()
    }
}

/// Collects the children of one inner node, in order, and encodes them. Reusable: `finish` empties it.
#[derive(Debug, Default)]
pub struct InnerEncoder {
    records: Vec<InnerRecord>,
    names: Vec<u8>,
}

impl InnerEncoder {
    /// Children so far.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True before the first child.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Appends a child by its first name (valid, and greater than the one before).
    pub fn push(&mut self, first: &[u8], id: ContentId, entries: u64) {
        self.records.push(InnerRecord {
            id,
            entries: entries.into(),
            name_bytes: u8::try_from(first.len()).expect("a checked name"),
        });
        self.names.extend_from_slice(first);
    }

    /// The encoded node of this level.
    pub fn finish(&mut self, level: u8) -> Vec<u8> {
        let field =
            |length: usize| U16::new(u16::try_from(length).expect("a node is bounded by its entries"));
        let header = NodeHeader {
            version: NODE_VERSION,
            level,
            count: field(self.records.len()),
            names_bytes: field(self.names.len()),
            attributes_bytes: U16::ZERO,
        };
        let records = self.records.as_bytes();
        let mut bytes = Vec::with_capacity(size_of::<NodeHeader>() + records.len() + self.names.len());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(records);
        bytes.extend_from_slice(&self.names);
        debug_assert!(super::NodeView::decode(&bytes).is_ok());
        self.records.clear();
        self.names.clear();
        bytes
    }
}
