//! Committing a working tree: plan, one batch, and only then the change of the tree itself.

use super::edit::{Content, Directory, DirectoryIndex, Place};
use super::memory::{EDITS_KEPT, nodes_bytes};
use super::plan::Plan;
use super::record::GONE;
use super::{Base, WorkingTree};
use crate::error::Result;
use crate::format::node::FileTime;
use crate::trees::branches;
use crate::trees::commit::{CommitOptions, CommitOutcome, Proposal};

impl WorkingTree {
    /// Commits every change to the tree's branch; see [`WorkingTree::commit_with`].
    ///
    /// # Errors
    /// As [`WorkingTree::commit_with`].
    pub async fn commit(&mut self, message: &str) -> Result<CommitOutcome> {
        let message = message.to_owned();
        self.commit_with(&CommitOptions {
            message,
            ..CommitOptions::default()
        })
        .await
    }

    /// Commits every change to the tree's branch, which must still be where the tree started from. Afterwards the tree
    /// continues from the new commit.
    ///
    /// # Errors
    /// `Conflict` if the branch has moved (see [`WorkingTree::reset_to_head`]); otherwise as
    /// [`Trees::commit_tree`](crate::trees::Trees::commit_tree). The tree keeps its changes then. If only waiting for
    /// durability failed, the commit is visible and the tree has not followed it.
    pub async fn commit_with(&mut self, options: &CommitOptions) -> Result<CommitOutcome> {
        let head = self.head()?;
        let branch = self.branch.clone().unwrap_or_else(|| "".into());
        let found = head.as_ref().map(|head| head.commit);
        if found != self.base() {
            return Err(branches::moved(&branch, self.base(), found));
        }
        options.expect.check(&branch, found)?;
        let earliest = self
            .base
            .as_ref()
            .map_or(0, |base| base.commit.time_ns.saturating_add(1));
        let time_ns = options
            .time_ns
            .unwrap_or_else(|| self.trees.store.now_ns())
            .max(earliest);
        let time = self.options.times.then(|| FileTime::from_ns(time_ns));
        let mut plan = loop {
            match self.plan(time) {
                Ok(plan) => break plan,
                Err(stop) => self.load(stop).await?,
            }
        };
        let mut root = self.root.clone();
        let names_changed = self.directory(super::ROOT).names_changed();
        if let Some(time) = time.filter(|_| names_changed && root.id != plan.root) {
            root.attributes.mtime = Some(time);
        }
        root.id = plan.root;
        let extents = std::mem::take(&mut plan.extents);
        let proposal = Proposal {
            branch: &branch,
            base: head.as_ref().zip(self.base.as_ref().map(|base| &*base.commit)),
            root,
            counts: self.counts,
            author: match options.author.is_empty() {
                true => &self.options.author,
                false => &options.author,
            },
            time_ns: Some(time_ns),
            options,
        };
        let batch = self.trees.batch();
        let (outcome, commit) = self.trees.commit_onto(batch, extents, proposal).await?;
        self.apply(plan);
        if let Some(commit) = commit {
            self.root.clone_from(&commit.root);
            self.base = Some(Base {
                id: outcome.commit,
                commit,
            });
            self.renew_lease();
        } else if self.stored_ahead > 0 {
            self.renew_lease();
        }
        Ok(outcome)
    }

    /// Makes the tree what the plan says it is: everything committed, nothing changed.
    pub(super) fn apply(&mut self, plan: Plan) {
        for patch in plan.patches {
            let nodes = &mut self.directory_mut(patch.directory).nodes;
            let node = &mut nodes.levels[usize::from(patch.level)][patch.index as usize];
            let new = &plan.nodes[patch.range];
            node.id = patch.id;
            let before = node.bytes.len();
            node.replace(new);
            self.recount(patch.directory, before, new.len());
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..).filter(|index| *index != GONE) {
            let directory = self.directory_mut(index);
            directory.dirty = None;
            directory.stored = true;
            if !directory.names_changed() {
                settle(directory);
            }
        }
        // Lists keep their memory for the next commit.
        self.dirty = dirty;
        for reshaped in plan.reshaped {
            self.replace_nodes(reshaped.directory, reshaped.levels);
        }
        self.pending_bytes = 0;
        self.change_bytes = 0;
    }

    /// Gives a directory the nodes of its new set of names, and the directories in it their new places.
    fn replace_nodes(&mut self, index: DirectoryIndex, levels: Vec<Vec<super::nodes::Node>>) {
        let directory = self.directory_mut(index);
        directory.nodes = super::nodes::Nodes::new(levels);
        directory.added.clear();
        directory.removed = 0;
        directory.dirty_leaves.clear();
        let mut places = Vec::new();
        for (leaf, node) in (0u32..).zip(&directory.nodes.levels[0]) {
            for &(slot, child) in &node.children {
                places.push((child, Place::Slot { leaf, slot }));
            }
        }
        let (before, after) = (directory.bytes, nodes_bytes(&directory.nodes));
        self.recount(index, before, after);
        for (child, place) in places {
            self.directory_mut(child).place = place;
        }
    }
}

/// Forgets the changes of a directory whose names have stayed; the directories loaded in it remain.
fn settle(directory: &mut Directory) {
    let nodes = &mut directory.nodes;
    for leaf in directory.dirty_leaves.drain(..) {
        let node = &mut nodes.levels[0][leaf as usize];
        let mut edits = std::mem::take(&mut node.edits);
        for (slot, edit) in edits.drain(..) {
            if let Some(child) = edit.directory() {
                node.put_child(slot, child);
            }
        }
        // A list keeps as much room as its leaf counts for.
        if edits.capacity() <= EDITS_KEPT {
            node.edits = edits;
        }
    }
}

/// Visits the content of every changed entry of a directory.
pub(super) fn contents_of(directory: &Directory, mut visit: impl FnMut(&Content)) {
    for leaf in &directory.nodes.levels[0] {
        leaf.edits
            .iter()
            .filter_map(|(_, edit)| edit.content())
            .for_each(&mut visit);
    }
    directory
        .added
        .values()
        .map(|pending| &pending.content)
        .for_each(&mut visit);
}
