//! The final form of changed entries: ids and sizes of new contents and directories, and the time of the commit.
//!
//! An entry whose content comes out as it was keeps its mtime. New contents are taken from the list of their ids in the
//! order in which they were hashed: leaf by leaf, by name.

use std::borrow::Cow;
use std::ops::Range;

use zerocopy::IntoBytes;

use super::WorkingTree;
use super::edit::{Content, DirectoryIndex, Edit, Pending, with_mtime};
use super::nodes::Node;
use crate::format::ContentId;
use crate::format::node::{FileTime, LeafEncoder, LeafRecord, LeafView};

/// Gives entries the form in which a commit stores them.
pub(super) struct Finisher<'a> {
    pub tree: &'a WorkingTree,
    pub contents: &'a [ContentId],
    /// Ids of changed directories, by position in the tree's list.
    pub directories: &'a [ContentId],
    /// Their indices, in order.
    pub changed: &'a [DirectoryIndex],
    pub time: Option<FileTime>,
}

/// What becomes of an entry: fields, attributes, and the loaded directory that it is.
type Finished<'a> = (LeafRecord, Cow<'a, [u8]>, Option<DirectoryIndex>);

/// What patching a leaf came to.
pub(super) enum Patched {
    /// No byte is different.
    Same,
    /// A copy was appended, with new values in it.
    InPlace,
    /// Lengths change, so it has to be encoded.
    Longer,
}

impl<'a> Finisher<'a> {
    /// Appends a copy of a leaf whose names stay to `out` and patches it, if its lengths stay too.
    pub fn patch(&self, node: &Node, contents: &mut Range<usize>, out: &mut Vec<u8>) -> Patched {
        let Some(leaf) = node.leaf() else {
            return Patched::Same;
        };
        let start = out.len();
        let mut put = |slot: u8, record: LeafRecord, stamp: Option<FileTime>| {
            let slot = usize::from(slot);
            if out.len() == start {
                out.extend_from_slice(&node.bytes);
            }
            let copy = &mut out[start..];
            let at = LeafView::record_offset(slot);
            copy[at..at + size_of::<LeafRecord>()].copy_from_slice(record.as_bytes());
            let Some(time) = stamp else { return true };
            let at = leaf.mtime_offset(slot);
            if let Some(at) = at {
                copy[at..at + 12].copy_from_slice(&time.encode());
            }
            at.is_some()
        };
        for (slot, edit) in &node.edits {
            let Edit::Content(content) = edit else {
                return Patched::Longer;
            };
            let mut record = leaf.records()[usize::from(*slot)];
            if let Some(stamp) = self.settle(&mut record, content, true, contents)
                && !put(*slot, record, stamp)
            {
                return Patched::Longer;
            }
        }
        for &(slot, child) in node.children.iter().filter(|(_, child)| self.has_changed(*child)) {
            let mut record = leaf.records()[usize::from(slot)];
            if let Some(stamp) = self.settle_directory(&mut record, child)
                && !put(slot, record, stamp)
            {
                return Patched::Longer;
            }
        }
        if out.len() == start {
            Patched::Same
        } else {
            Patched::InPlace
        }
    }

    /// Whether a loaded directory has changes in or below it. Answered from the list of those that have: what a commit does
    /// not write it does not look at.
    fn has_changed(&self, directory: DirectoryIndex) -> bool {
        self.changed.binary_search(&directory).is_ok()
    }

    /// Encodes a leaf whose names stay.
    pub fn encode(&mut self, node: &Node, contents: &mut Range<usize>) -> Vec<u8> {
        let mut encoder = LeafEncoder::default();
        for (slot, (name, record, attributes)) in (0u8..).zip(node.leaf().iter().flat_map(LeafView::iter)) {
            match node.edit(slot) {
                Some(edit) => {
                    let (mut record, attributes, _) = self.edited(edit, record, attributes, contents);
                    record.name_bytes = u8::try_from(name.len()).unwrap_or(u8::MAX);
                    encoder.push_raw(name, &record, &attributes);
                }
                None => {
                    let (mut record, attributes) = self.standing(node.child(slot), record, attributes);
                    record.name_bytes = u8::try_from(name.len()).unwrap_or(u8::MAX);
                    encoder.push_raw(name, &record, &attributes);
                }
            }
        }
        encoder.finish()
    }

    /// An entry of a leaf with its change.
    pub fn edited<'b>(
        &mut self,
        edit: &'b Edit,
        record: &LeafRecord,
        attributes: &'b [u8],
        contents: &mut Range<usize>,
    ) -> Finished<'b> {
        match edit {
            Edit::Entry(pending) => self.pending(pending, contents),
            Edit::Removed => (*record, Cow::Borrowed(attributes), None),
            Edit::Content(content) => {
                let mut record = *record;
                let stamp = self.settle(&mut record, content, true, contents).flatten();
                let attributes = stamped(&mut record, attributes, stamp);
                (record, attributes, None)
            }
        }
    }

    /// An entry of a leaf that is not changed itself, with the changes in or below the loaded directory that it is, if it is one.
    pub fn standing<'b>(
        &self,
        child: Option<DirectoryIndex>,
        record: &LeafRecord,
        attributes: &'b [u8],
    ) -> (LeafRecord, Cow<'b, [u8]>) {
        let mut record = *record;
        let changed = child.filter(|child| self.has_changed(*child));
        let stamp = changed.and_then(|child| self.settle_directory(&mut record, child));
        let attributes = stamped(&mut record, attributes, stamp.flatten());
        (record, attributes)
    }

    /// An entry that no leaf has.
    pub fn pending<'b>(&mut self, pending: &'b Pending, contents: &mut Range<usize>) -> Finished<'b> {
        let mut record = pending.record;
        let stamp = self
            .settle(&mut record, &pending.content, pending.touched, contents)
            .flatten();
        let attributes = stamped(&mut record, &pending.attributes, stamp);
        let child = match pending.content {
            Content::Directory(index) => Some(index),
            _ => None,
        };
        (record, attributes, child)
    }

    /// Writes id and size of `content` into `record`. Nothing if they are what they were; otherwise the mtime to set,
    /// if any.
    fn settle(
        &self,
        record: &mut LeafRecord,
        content: &Content,
        touched: bool,
        contents: &mut Range<usize>,
    ) -> Option<Option<FileTime>> {
        let (id, size, stamp) = match content {
            Content::Kept => return None,
            Content::Bytes(bytes) => (self.contents[contents.next()?], bytes.len() as u64, touched),
            Content::Stored { id, size } => (*id, *size, touched),
            Content::Directory(index) => return self.settle_directory(record, *index),
        };
        self.settle_to(record, id, size, stamp)
    }

    /// The same for an entry that is a loaded directory.
    fn settle_directory(&self, record: &mut LeafRecord, index: DirectoryIndex) -> Option<Option<FileTime>> {
        let directory = self.tree.directory(index);
        let id = match directory.dirty {
            Some(position) => self.directories[position as usize],
            None => directory.nodes.id(),
        };
        let stamp = directory.names_changed() || record.id == ContentId([0; 32]);
        self.settle_to(record, id, 0, stamp)
    }

    fn settle_to(
        &self,
        record: &mut LeafRecord,
        id: ContentId,
        size: u64,
        stamp: bool,
    ) -> Option<Option<FileTime>> {
        if record.id == id && record.size.get() == size {
            return None;
        }
        record.id = id;
        record.size = size.into();
        Some(self.time.filter(|_| stamp))
    }
}

fn stamped<'b>(record: &mut LeafRecord, attributes: &'b [u8], time: Option<FileTime>) -> Cow<'b, [u8]> {
    match time {
        Some(time) => Cow::Owned(with_mtime(record, attributes, time)),
        None => Cow::Borrowed(attributes),
    }
}
