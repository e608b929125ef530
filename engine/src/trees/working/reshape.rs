//! Splitting a directory again where its names have changed.
//!
//! Leaves without changes stay as they are as long as a boundary falls where it fell before: a run begins at the last
//! leaf whose beginning is certain and goes on until the next unchanged leaf begins where the shape wants it. The
//! result is what building the directory from nothing would give.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::Stop;
use super::edit::{Directory, DirectoryIndex, Edit, Pending};
use super::finish::Finisher;
use super::locate::Want;
use super::nodes::{Node, fresh};
use crate::format::ContentId;
use crate::format::node::{LeafEncoder, LeafRecord, LeafView};
use crate::trees::shape;

/// The leaves of a directory after its changes.
#[derive(Default)]
pub(super) struct Leaves {
    /// All of them, in order; those in `changed` have no id yet.
    pub nodes: Vec<Node>,
    pub changed: Vec<u32>,
}

/// Splits the entries of `directory` again. `finish` gives entries their final form.
pub(super) fn reshape(
    directory: &Directory,
    index: DirectoryIndex,
    finish: &mut Finisher<'_>,
    kept_contents: Range<usize>,
    added_contents: Range<usize>,
) -> Result<Leaves, Stop> {
    let old = &directory.nodes.levels[0];
    let mut added: BTreeMap<u32, Vec<(&Bytes, &Pending)>> = BTreeMap::new();
    for (name, pending) in &directory.added {
        added
            .entry(directory.nodes.leaf_for(name))
            .or_default()
            .push((name, pending));
    }
    let touched = touched(directory, &added);
    let mut leaves = Leaves::default();
    let mut run = Run::default();
    let mut kept_contents = kept_contents;
    let mut added_contents = added_contents;
    let mut running = false;
    for (position, leaf) in (0u32..).zip(old) {
        if running && !touched[position as usize] && run.ends_before(&leaf.first) {
            run.flush(&mut leaves);
            running = false;
        }
        if !running && !touched[position as usize] {
            leaves.nodes.push(leaf.clone());
            continue;
        }
        running = true;
        let Some(view) = leaf.leaf() else {
            return Err(Stop::Load(Want::Leaf(index, position)));
        };
        let mut new = added.remove(&position).unwrap_or_default().into_iter().peekable();
        for (slot, (name, record, attributes)) in (0u8..).zip(view.iter()) {
            while let Some((new, pending)) = new.next_if(|(new, _)| new[..] < *name) {
                let (record, attributes, child) = finish.pending(pending, &mut added_contents);
                run.push(&mut leaves, new, record, &attributes, child);
            }
            match leaf.edit(slot) {
                Some(Edit::Removed) => {}
                Some(edit) => {
                    let (record, attributes, child) =
                        finish.edited(edit, record, attributes, &mut kept_contents);
                    run.push(&mut leaves, name, record, &attributes, child);
                }
                None => {
                    let child = leaf.child(slot);
                    let (record, attributes) = finish.standing(child, record, attributes);
                    run.push(&mut leaves, name, record, &attributes, child);
                }
            }
        }
        for (new, pending) in new {
            let (record, attributes, child) = finish.pending(pending, &mut added_contents);
            run.push(&mut leaves, new, record, &attributes, child);
        }
    }
    if running {
        run.flush(&mut leaves);
    }
    if leaves.nodes.is_empty() {
        run.leave_empty(&mut leaves);
    }
    Ok(leaves)
}

/// Which leaves have to be gone through: those with changes, and the one before a leaf whose first name is gone.
fn touched(directory: &Directory, added: &BTreeMap<u32, Vec<(&Bytes, &Pending)>>) -> Vec<bool> {
    let leaves = &directory.nodes.levels[0];
    let mut touched = vec![false; leaves.len()];
    for leaf in directory.dirty_leaves.iter().chain(added.keys()) {
        touched[*leaf as usize] = true;
    }
    for position in (1..leaves.len()).rev() {
        if matches!(leaves[position].edit(0), Some(Edit::Removed)) {
            touched[position - 1] = true;
        }
    }
    touched
}

/// A leaf being filled.
#[derive(Default)]
struct Run {
    encoder: LeafEncoder,
    children: Vec<(u8, DirectoryIndex)>,
}

impl Run {
    /// Whether the shape wants an end before `next`. Nothing in hand also is one.
    fn ends_before(&self, next: &[u8]) -> bool {
        self.encoder.is_empty() || shape::ends_before(0, self.encoder.len(), next)
    }

    fn push(
        &mut self,
        leaves: &mut Leaves,
        name: &[u8],
        mut record: LeafRecord,
        attributes: &[u8],
        child: Option<DirectoryIndex>,
    ) {
        if shape::ends_before(0, self.encoder.len(), name) {
            self.flush(leaves);
        }
        if let Some(index) = child {
            let slot = u8::try_from(self.encoder.len()).unwrap_or(u8::MAX);
            self.children.push((slot, index));
        }
        record.name_bytes = u8::try_from(name.len()).unwrap_or(u8::MAX);
        self.encoder.push_raw(name, &record, attributes);
    }

    fn flush(&mut self, leaves: &mut Leaves) {
        if !self.encoder.is_empty() {
            self.leave(leaves);
        }
    }

    fn leave_empty(&mut self, leaves: &mut Leaves) {
        self.leave(leaves);
    }

    fn leave(&mut self, leaves: &mut Leaves) {
        let entries = self.encoder.len() as u64;
        let bytes = self.encoder.finish();
        let first = LeafView::of_checked(&bytes)
            .ok()
            .filter(|leaf| !leaf.is_empty())
            .map(|leaf| leaf.name(0));
        let first = first.map(Bytes::copy_from_slice).unwrap_or_default();
        let mut node = fresh(first, ContentId([0; 32]), entries, bytes.into());
        node.children = std::mem::take(&mut self.children);
        leaves
            .changed
            .push(u32::try_from(leaves.nodes.len()).unwrap_or(u32::MAX));
        leaves.nodes.push(node);
    }
}
