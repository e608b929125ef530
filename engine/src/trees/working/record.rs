//! Recording changes: every change of a tree ends in one of these, which keep the lists and sums that a commit relies on.
//!
//! Invariants: a leaf with a change is in its directory's list; a directory with changes in or below it is in the
//! tree's list, and so are all directories above it; `pending_bytes` is the sum of contents in memory, `change_bytes` that
//! of everything else that a change takes.

use super::edit::{Content, DirectoryIndex, Edit, Pending, Place, ROOT};
use super::locate::{Located, Spot, owned};
use super::memory::{added_bytes, edit_bytes};
use super::{Stop, WorkingTree};

/// Stands in the list of changed directories for one that is gone.
pub(super) const GONE: DirectoryIndex = DirectoryIndex::MAX;

impl WorkingTree {
    /// Puts an entry under a name, whatever is there now; the leaf for that name is loaded.
    pub(super) fn insert(
        &mut self,
        directory: DirectoryIndex,
        name: &[u8],
        pending: Pending,
    ) -> Result<(), Stop> {
        let slot = self.slot(directory, name)?;
        self.pending_bytes += pending.content.in_memory();
        let moved = match pending.content {
            Content::Directory(index) => Some(index),
            _ => None,
        };
        let place = match slot {
            Some((leaf, slot)) => {
                self.set_edit(directory, leaf, slot, Edit::Entry(Box::new(pending)));
                Place::Slot { leaf, slot }
            }
            None => {
                let name = owned(name);
                self.change_bytes += added_bytes(&name, &pending);
                let before = self.directory_mut(directory).added.insert(name.clone(), pending);
                self.uncount_added(&name, before.as_ref());
                Place::Added(name)
            }
        };
        if let Some(index) = moved {
            let moved = self.directory_mut(index);
            (moved.parent, moved.place) = (directory, place);
        }
        self.touch(directory);
        Ok(())
    }

    /// Removes an entry from its directory, and nothing else.
    pub(super) fn take_out(&mut self, located: &Located<'_>) {
        match located.spot {
            Some(Spot::Slot(leaf, slot)) => self.set_edit(located.directory, leaf, slot, Edit::Removed),
            Some(Spot::Added) => {
                let before = self.directory_mut(located.directory).added.remove(located.name);
                self.uncount_added(located.name, before.as_ref());
            }
            None => {}
        }
        self.touch(located.directory);
    }

    /// A name that was added is gone again.
    fn uncount_added(&mut self, name: &[u8], gone: Option<&Pending>) {
        if let Some(gone) = gone {
            self.pending_bytes -= gone.content.in_memory();
            self.change_bytes -= added_bytes(name, gone);
        }
    }

    /// Records that a file of a leaf has new content.
    pub(super) fn set_written(&mut self, directory: DirectoryIndex, leaf: u32, slot: u8, content: Content) {
        let within = self.directory_mut(directory);
        let clean = within.dirty.is_none();
        let edits = &mut within.nodes.levels[0][leaf as usize].edits;
        let mut more = 0;
        let before = match edits.iter_mut().find(|(edited, _)| *edited == slot) {
            Some((_, Edit::Entry(pending))) => {
                pending.touched = true;
                std::mem::replace(&mut pending.content, content)
            }
            Some((_, edit)) => match std::mem::replace(edit, Edit::Content(content)) {
                Edit::Content(before) => before,
                Edit::Entry(_) | Edit::Removed => Content::Kept,
            },
            None => {
                let edit = Edit::Content(content);
                more = edit_bytes(&edit);
                put_edit(edits, slot, edit);
                within.dirty_leaves.push(leaf);
                Content::Kept
            }
        };
        self.change_bytes += more;
        self.pending_bytes -= before.in_memory();
        if clean {
            self.touch(directory);
        }
    }

    /// Records any change of an entry of a leaf.
    fn set_edit(&mut self, directory: DirectoryIndex, leaf: u32, slot: u8, edit: Edit) {
        self.change_bytes += edit_bytes(&edit);
        let within = self.directory_mut(directory);
        within.removed += u32::from(matches!(edit, Edit::Removed));
        let node = &mut within.nodes.levels[0][leaf as usize];
        match node.edits.iter_mut().find(|(edited, _)| *edited == slot) {
            Some((_, place)) => {
                let before = std::mem::replace(place, edit);
                within.removed -= u32::from(matches!(before, Edit::Removed));
                self.pending_bytes -= before.content().map_or(0, Content::in_memory);
                self.change_bytes -= edit_bytes(&before);
            }
            None => {
                put_edit(&mut node.edits, slot, edit);
                node.take_child(slot);
                within.dirty_leaves.push(leaf);
            }
        }
    }

    /// Lists a directory, and those above it, as changed.
    pub(super) fn touch(&mut self, directory: DirectoryIndex) {
        let mut at = directory;
        while self.directory(at).dirty.is_none() {
            let position = u32::try_from(self.dirty.len()).unwrap_or(u32::MAX);
            self.dirty.push(at);
            let touched = self.directory_mut(at);
            touched.dirty = Some(position);
            if at == ROOT {
                return;
            }
            let above = touched.parent;
            if let Place::Slot { leaf, .. } = touched.place {
                self.directory_mut(above).dirty_leaves.push(leaf);
            }
            at = above;
        }
    }

    /// Lets go of a directory and of those loaded below it.
    pub(super) fn forget(&mut self, directory: DirectoryIndex) {
        let mut waiting = vec![directory];
        while let Some(index) = waiting.pop() {
            let gone = self.vacate(index);
            if let Some(position) = gone.dirty {
                self.dirty[position as usize] = GONE;
            }
            let mut uncount = |content: &Content| {
                self.pending_bytes -= content.in_memory();
                if let Content::Directory(below) = content {
                    waiting.push(*below);
                }
            };
            for leaf in &gone.nodes.levels[0] {
                for (_, edit) in &leaf.edits {
                    self.change_bytes -= edit_bytes(edit);
                    edit.content().into_iter().for_each(&mut uncount);
                }
                let children = leaf.children.iter().map(|(_, child)| Content::Directory(*child));
                children.for_each(|child| uncount(&child));
            }
            for (name, pending) in &gone.added {
                self.change_bytes -= added_bytes(name, pending);
                uncount(&pending.content);
            }
        }
    }
}

/// Keeps edits sorted by slot, so that every pass over them has the order of names.
fn put_edit(edits: &mut Vec<(u8, Edit)>, slot: u8, edit: Edit) {
    let at = edits.iter().take_while(|(edited, _)| *edited < slot).count();
    edits.insert(at, (slot, edit));
}
