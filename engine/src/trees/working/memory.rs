//! How much memory a working tree holds, and letting go of what it can load again.
//!
//! What is counted is kept as sums beside the changes themselves, so that asking costs nothing. What a tree shares with
//! its forks each of them counts in full: the sum over trees is an upper bound of what they take, and the bytes go when
//! the last of them lets go. Room in lists that are kept for the next commit counts as if it were used.
//!
//! Clean directories are let go from the bottom up, those not used since the last time first (second chance: one mark
//! for each, set when a path is found in it). What stays is what cannot be had from the store in the same way: the top
//! directory, those with changes in or below them, and what a change refers to; of these, leaves without changes may go.
//!
//! Invariants: `loaded_bytes` is the sum over loaded directories, each of which knows its own bytes; nothing names the
//! place of a directory that was let go: the entry above says the id again, and remembered paths are dropped before the
//! place is given to another directory. Whatever was let go is reachable from the base commit, which the lease of the tree
//! holds whatever becomes of the branch.
//! Rejected: marks in the directories themselves (forks on other threads share them and would write the same line); a list
//! in order of use (two more words to write at each look-up); dropping everything at once (the paths an agent works on
//! are what it needs next).

use std::sync::Arc;

use super::WorkingTree;
use super::edit::{Directory, DirectoryIndex, Edit, Pending, Place, ROOT};
use super::locate::PathMap;
use super::nodes::{Node, Nodes};

/// What an allocation takes besides what was asked for.
const ALLOCATION_BYTES: usize = 16;
/// An entry of a leaf that is changed, in the leaf's list.
pub(super) const EDIT_BYTES: usize = size_of::<(u8, Edit)>();
/// An entry of a leaf that is a loaded directory, in the leaf's list, which may be half empty.
const CHILD_BYTES: usize = 2 * size_of::<(u8, DirectoryIndex)>();
/// Changes for which a leaf keeps room.
pub(super) const EDITS_KEPT: usize = 4;
/// A change that replaces the whole entry.
const ENTRY_BYTES: usize = size_of::<Pending>() + ALLOCATION_BYTES;
/// A name that was added, without the name itself: nodes of ordered maps are at least half full.
const ADDED_BYTES: usize = (size_of::<Pending>() + size_of::<bytes::Bytes>()) * 2 + ALLOCATION_BYTES;
/// A loaded directory besides its nodes, the entry above that refers to it included.
const DIRECTORY_BYTES: usize = size_of::<Directory>() + CHILD_BYTES + 3 * ALLOCATION_BYTES;
/// Changed directories for which the list keeps room.
const DIRTY_SPARE: usize = 1024;

/// Bytes of a node that is not loaded, and of what loading it adds.
fn frame_bytes(node: &Node) -> usize {
    size_of::<Node>() + node.first.len() + EDITS_KEPT * EDIT_BYTES + 3 * ALLOCATION_BYTES
}

/// Bytes of a directory with these nodes, its changes not counted.
pub(super) fn nodes_bytes(nodes: &Nodes) -> usize {
    let node = |node: &Node| frame_bytes(node) + node.bytes.len();
    let levels = nodes.levels.iter().flatten();
    let separators = nodes
        .levels
        .first()
        .map_or(0, |leaves| leaves.len() * size_of::<u64>());
    DIRECTORY_BYTES + separators + levels.map(node).sum::<usize>()
}

/// Bytes of a change in a leaf, contents not counted.
pub(super) fn edit_bytes(edit: &Edit) -> usize {
    match edit {
        Edit::Content(_) | Edit::Removed => EDIT_BYTES,
        Edit::Entry(pending) => EDIT_BYTES + ENTRY_BYTES + pending.attributes.len(),
    }
}

/// Bytes of a name that was added, content not counted.
pub(super) fn added_bytes(name: &[u8], pending: &Pending) -> usize {
    ADDED_BYTES + name.len() + pending.attributes.len()
}

/// Bytes of a remembered path.
pub(super) fn path_bytes(path: &[u8]) -> usize {
    path.len() + ALLOCATION_BYTES
}

impl WorkingTree {
    /// Bytes of memory it holds: what it has loaded, its changes, and contents that wait for the commit. What it shares
    /// with forks counts in full.
    pub fn memory_bytes(&self) -> usize {
        let lists = self.dirty.capacity() * size_of::<DirectoryIndex>();
        let base = self.base.as_ref().map_or(0, |base| {
            size_of_val(&*base.commit) + base.commit.message.len() + base.commit.author.len()
        });
        size_of::<WorkingTree>()
            + self.options.author.len()
            + base
            + lists
            + self.loaded_bytes()
            + self.change_bytes
            + self.pending_bytes
            + self.stored_ahead * size_of::<crate::store::Key>()
    }

    /// Those of them that [`release`](Self::release) is about: directories, changed ones included, and the paths to them.
    pub fn loaded_bytes(&self) -> usize {
        let paths = self.by_path.capacity() * size_of::<(Box<[u8]>, DirectoryIndex, u8)>();
        self.directory_bytes + self.path_bytes + paths + self.directories.memory_bytes()
    }

    /// Bytes of contents that wait in memory for the commit.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Lets go of directories without changes until [`loaded_bytes`](Self::loaded_bytes) is at most `keep_bytes` or
    /// nothing is left that can be had from the store again, and loads them when they are needed. Costs a look at every
    /// directory that is loaded; nothing if there is nothing to do.
    pub fn release(&mut self, keep_bytes: usize) {
        if self.loaded_bytes() <= keep_bytes {
            return;
        }
        self.release_directories(keep_bytes);
        // Before a place can be given to another directory.
        let directories = &self.directories;
        self.by_path
            .retain(|_, index| directories.get(*index as usize).is_some());
        self.path_bytes = self.by_path.keys().map(|path| path_bytes(path)).sum();
        self.by_path.shrink_to(self.by_path.len() * 2);
        self.give_lists_back();
        if self.loaded_bytes() > keep_bytes {
            self.by_path = PathMap::default();
            self.path_bytes = 0;
            self.release_leaves(keep_bytes);
        }
    }

    fn release_directories(&mut self, keep_bytes: usize) {
        let count = self.directories.len();
        let mut below = vec![0u32; count];
        // The first is the top, which is below nothing.
        for directory in self.directories.iter().skip(1) {
            below[directory.parent as usize] += 1;
        }
        // What was used since the last time gets a second chance.
        for last in [false, true] {
            for step in 0..count {
                let start = (self.hand + step) % count;
                let mut at = start;
                while at != ROOT as usize && below[at] == 0 && self.is_clean(at) {
                    if self.directories.take_used(at) && !last {
                        break;
                    }
                    let above = self.let_go(at);
                    below[above] -= 1;
                    if self.loaded_bytes() <= keep_bytes {
                        self.hand = start + 1;
                        return;
                    }
                    at = above;
                }
            }
        }
    }

    /// Whether the entry above says the id of the directory in this place, so that it can be loaded again.
    fn is_clean(&self, index: usize) -> bool {
        let Some(directory) = self.directories.get(index) else {
            return false;
        };
        let Place::Slot { leaf, slot } = directory.place else {
            return false;
        };
        if directory.dirty.is_some() || !directory.stored {
            return false;
        }
        let above = &self.directory(directory.parent).nodes.levels[0][leaf as usize];
        let says = above.record(slot).map(|record| record.id);
        above.child(slot).is_some() && says == Some(directory.nodes.id())
    }

    /// Lets go of a clean directory; answers the one above it.
    fn let_go(&mut self, index: usize) -> usize {
        let gone = self.vacate(DirectoryIndex::try_from(index).unwrap_or(DirectoryIndex::MAX));
        let Place::Slot { leaf, slot } = gone.place else {
            unreachable!("what is clean stands in a leaf");
        };
        let above = &mut self.directory_mut(gone.parent).nodes.levels[0][leaf as usize];
        above.take_child(slot);
        if above.children.is_empty() {
            above.children = Vec::new();
        }
        gone.parent as usize
    }

    /// Lets go of leaves without changes of the directories that are left.
    fn release_leaves(&mut self, keep_bytes: usize) {
        for index in 0..self.directories.len() {
            if self.loaded_bytes() <= keep_bytes {
                return;
            }
            let has_some = self.directories.get(index).is_some_and(|directory| {
                let leaves = &directory.nodes.levels[0];
                directory.stored && leaves.len() > 1 && leaves.iter().any(is_spare)
            });
            if !has_some {
                continue;
            }
            let index = DirectoryIndex::try_from(index).unwrap_or(DirectoryIndex::MAX);
            let directory = self.directory_mut(index);
            let mut bytes = 0;
            for leaf in directory.nodes.levels[0].iter_mut().filter(|leaf| is_spare(leaf)) {
                bytes += leaf.bytes.len();
                leaf.empty();
            }
            directory.bytes -= bytes;
            self.directory_bytes -= bytes;
        }
    }

    /// Gives room in the lists back if there is much of it.
    fn give_lists_back(&mut self) {
        self.directories.give_back();
        if self.dirty.capacity() > self.dirty.len() * 2 + DIRTY_SPARE {
            self.dirty.shrink_to_fit();
        }
    }

    /// Forgets the paths that callers wrote: what they lead to has moved or is gone.
    pub(super) fn forget_paths(&mut self) {
        self.by_path.clear();
        self.path_bytes = 0;
    }

    /// A path leads into this directory.
    pub(super) fn mark_used(&mut self, index: DirectoryIndex) {
        self.directories.mark_used(index as usize);
    }

    pub(super) fn directory(&self, index: DirectoryIndex) -> &Directory {
        let directory = self.directories.get(index as usize);
        directory.expect("nothing names the place of a directory that is gone")
    }

    pub(super) fn directory_mut(&mut self, index: DirectoryIndex) -> &mut Directory {
        let directory = self.directories.get_mut(index as usize);
        directory.expect("nothing names the place of a directory that is gone")
    }

    /// Gives a directory a place.
    pub(super) fn keep(&mut self, directory: Directory) -> DirectoryIndex {
        self.directory_bytes += directory.bytes;
        self.directories.keep(directory)
    }

    /// Takes a directory out of its place.
    pub(super) fn vacate(&mut self, index: DirectoryIndex) -> Arc<Directory> {
        let gone = self.directories.take(index);
        self.directory_bytes -= gone.bytes;
        gone
    }

    /// Puts in the bytes of a leaf.
    pub(super) fn fill_leaf(&mut self, index: DirectoryIndex, leaf: u32, bytes: Arc<[u8]>) {
        let directory = self.directory_mut(index);
        let node = &mut directory.nodes.levels[0][leaf as usize];
        let (before, after) = (node.bytes.len(), bytes.len());
        node.fill(bytes);
        self.recount(index, before, after);
    }

    /// Bytes of a directory have been replaced by others.
    pub(super) fn recount(&mut self, index: DirectoryIndex, before: usize, after: usize) {
        if before == after {
            return;
        }
        let directory = self.directory_mut(index);
        directory.bytes = directory.bytes + after - before;
        self.directory_bytes = self.directory_bytes + after - before;
    }

    /// The directory in a place, for those that want to know when it goes.
    #[cfg(test)]
    pub(super) fn watch(&self, index: DirectoryIndex) -> std::sync::Weak<Directory> {
        let directory = self.directories.get(index as usize);
        Arc::downgrade(directory.expect("a loaded directory"))
    }

    /// Counts everything again and compares.
    #[cfg(test)]
    pub(super) fn check_memory(&self) {
        let (mut loaded, mut changed, mut pending) = (0, 0, 0);
        for directory in self.directories.iter() {
            assert_eq!(directory.bytes, nodes_bytes(&directory.nodes));
            loaded += directory.bytes;
            for (_, edit) in directory.nodes.levels[0].iter().flat_map(|leaf| &leaf.edits) {
                changed += edit_bytes(edit);
                pending += edit.content().map_or(0, super::edit::Content::in_memory);
            }
            for (name, added) in &directory.added {
                changed += added_bytes(name, added);
                pending += added.content.in_memory();
            }
        }
        assert_eq!(
            (loaded, changed, pending),
            (self.directory_bytes, self.change_bytes, self.pending_bytes)
        );
        let paths: usize = self.by_path.keys().map(|path| path_bytes(path)).sum();
        assert_eq!(paths, self.path_bytes);
        for (path, index) in &self.by_path {
            let known = self.directories.get(*index as usize).is_some();
            assert!(known, "{} leads nowhere", path.escape_ascii());
        }
        self.directories.check();
    }
}

/// A loaded leaf that can be had again.
fn is_spare(leaf: &Node) -> bool {
    leaf.edits.is_empty() && leaf.children.is_empty() && !leaf.bytes.is_empty()
}
