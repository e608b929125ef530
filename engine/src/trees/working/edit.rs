//! What has changed in a directory since the last commit, entry by entry.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::memory::nodes_bytes;
use super::nodes::Nodes;
use crate::format::ContentId;
use crate::format::node::{EntryKind, FileTime, LeafRecord, Tags};
use crate::trees::node::Item;

/// Index of a loaded directory in its working tree.
pub(super) type DirectoryIndex = u32;

/// The top directory.
pub(super) const ROOT: DirectoryIndex = 0;

/// The bytes of a file or link, or the inside of a directory.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// As the record says.
    Kept,
    /// In memory, not stored yet.
    Bytes(Bytes),
    /// Stored since the last commit.
    Stored { id: ContentId, size: u64 },
    /// A loaded directory, changed or not.
    Directory(DirectoryIndex),
}

/// The change of one entry of a leaf.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    /// It is gone.
    Removed,
    /// The file keeps its other fields.
    Content(Content),
    /// Another entry of the same name.
    Entry(Box<Pending>),
}

/// An entry that is not, or not like this, in any leaf.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// Fixed fields; size and id count if the content is kept. The length of the name is filled in when encoded.
    pub record: LeafRecord,
    /// Encoded.
    pub attributes: Bytes,
    pub content: Content,
    /// Made or written since the last commit, so its mtime becomes that of the next one.
    pub touched: bool,
}

impl Pending {
    /// A new entry without attributes.
    pub fn new(kind: EntryKind, mode: u16, content: Content) -> Pending {
        Pending {
            record: LeafRecord {
                id: ContentId([0; 32]),
                size: 0.into(),
                mode: mode.into(),
                kind: kind as u8,
                name_bytes: 0,
                tags: 0.into(),
                attributes_bytes: 0.into(),
            },
            attributes: Bytes::new(),
            content,
            touched: true,
        }
    }

    /// An entry of a leaf, and its content if that has changed.
    pub fn of_item(item: Item, content: Content) -> Pending {
        let touched = matches!(content, Content::Bytes(_) | Content::Stored { .. });
        Pending {
            record: item.record,
            attributes: item.attributes,
            content,
            touched,
        }
    }

    pub fn is_directory(&self) -> bool {
        self.record.kind == EntryKind::Directory as u8
    }

    pub fn size(&self) -> u64 {
        self.content.size(self.record.size.get())
    }
}

impl Content {
    /// Size in bytes; `kept` is what the record says.
    pub fn size(&self, kept: u64) -> u64 {
        match self {
            Content::Kept => kept,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Stored { size, .. } => *size,
            Content::Directory(_) => 0,
        }
    }

    /// Bytes held in memory until the next commit.
    pub fn in_memory(&self) -> usize {
        if let Content::Bytes(bytes) = self {
            bytes.len()
        } else {
            0
        }
    }
}

impl Edit {
    /// The loaded directory that the entry is.
    pub fn directory(&self) -> Option<DirectoryIndex> {
        match self.content() {
            Some(Content::Directory(index)) => Some(*index),
            _ => None,
        }
    }

    /// The content, unless the entry is gone.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Edit::Removed => None,
            Edit::Content(content) => Some(content),
            Edit::Entry(pending) => Some(&pending.content),
        }
    }
}

/// Where a directory stands in the one above it.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// An entry of a leaf.
    Slot { leaf: u32, slot: u8 },
    /// A name added since the last commit.
    Added(Bytes),
}

/// A loaded directory.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub parent: DirectoryIndex,
    pub place: Place,
    /// As of the last commit, with changes beside them.
    pub nodes: Nodes,
    /// True once the store has the nodes; false for a directory just made.
    pub stored: bool,
    /// Names that no leaf has.
    pub added: BTreeMap<Bytes, Pending>,
    /// Leaves with changes, in no order and possibly repeated.
    pub dirty_leaves: Vec<u32>,
    /// Entries of leaves that are gone.
    pub removed: u32,
    /// Position in the list of directories with changes in or below them, if there are any.
    pub dirty: Option<u32>,
    /// What it takes in memory, its changes not counted.
    pub bytes: usize,
}

impl Directory {
    /// A directory as it was loaded.
    pub fn new(parent: DirectoryIndex, place: Place, nodes: Nodes) -> Directory {
        Directory {
            parent,
            place,
            bytes: nodes_bytes(&nodes),
            nodes,
            stored: true,
            added: BTreeMap::new(),
            dirty_leaves: Vec::new(),
            removed: 0,
            dirty: None,
        }
    }

    /// A directory just made, without entries. It has to be listed as changed.
    pub fn made(parent: DirectoryIndex, place: Place) -> Directory {
        Directory {
            stored: false,
            ..Directory::new(parent, place, Nodes::empty())
        }
    }

    /// True if the set of names is another than at the last commit.
    pub fn names_changed(&self) -> bool {
        self.removed > 0 || !self.added.is_empty()
    }
}

/// Encoded attributes with this mtime: in place if there was one, at the front otherwise.
pub(super) fn with_mtime(record: &mut LeafRecord, attributes: &[u8], time: FileTime) -> Vec<u8> {
    let encoded = time.encode();
    let tags = Tags(record.tags.get());
    let mut bytes = Vec::with_capacity(attributes.len() + encoded.len());
    bytes.extend_from_slice(&encoded);
    let rest = if tags.has(Tags::MTIME) { encoded.len() } else { 0 };
    bytes.extend_from_slice(&attributes[rest..]);
    record.tags = tags.with(Tags::MTIME).0.into();
    // At most 12 bytes more than a length that had room for them.
    record.attributes_bytes = u16::try_from(bytes.len()).unwrap_or(u16::MAX).into();
    bytes
}
