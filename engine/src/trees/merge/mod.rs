//! Merging a commit into a branch: path by path, from the best common ancestor.
//!
//! Owns the operation and what it answers. What two histories have in common is in `bases`, the merge of trees in
//! `three_way`, the rules for one name in `rules`.
//! A name that one side has changed is taken from there, one that both have changed alike from either; everything else
//! is a conflict, and then nothing happens at all: contents are never merged, and no half-merged tree is ever made.
//!
//! *Several best bases* (branches that were merged into each other) are all used: a side counts as unchanged where it
//! is as every base says, so what comes out never depends on which base somebody would have chosen, and doubt is a
//! conflict. Rejected: merging the bases first, as git does; a conflict among them has nobody to answer it. Choosing one
//! of them; what was undone on the way to another would silently come back.
//! *No common ancestor*, or none that is known to be the best since part of a history was forgotten, is refused, unless
//! the caller asks for an empty base: then only names that both sides have alike, or one side alone has, are clean.
//!
//! A merge depends on nothing but the two commits, so when the branch moves meanwhile it is done again from its new
//! head. Invariant: the branch moves from the very state that was read, in one batch with the new nodes and the commit,
//! or not at all.
//! Both commits are held by a lease from before they are read, and a leased commit keeps its history as far as it is
//! stored (`liveness`), so that no collection takes away what the merged tree will refer to.

mod bases;
mod rules;
mod three_way;

use super::branches::{Head, is_race};
use super::commit::{Commit, CommitOptions, CommitOutcome, ExpectHead, TreeCounts, commit_key};
use super::diff::{Change, Difference};
use super::entry::{Entry, EntryKind};
use super::node::{self, Item};
use super::path::TreePath;
use super::{Trees, WorkingOptions, ids, time};
use crate::access::Ack;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::store::{BatchCounts, RootKind};
use bases::Common;
use rules::Sides;
use three_way::{Edit, Merged};

/// Lost races in a row after which a merge gives up; each one means that another change of the branch went through.
const RACES_MAX: usize = 16;

/// How to merge.
#[derive(Debug, Clone, Default)]
pub struct MergeOptions {
    /// Why; may be empty.
    pub message: String,
    /// Who; may be empty.
    pub author: String,
    /// Makes a commit even where moving the branch would do.
    pub no_fast_forward: bool,
    /// Takes an empty tree for the base where none is known.
    pub allow_unrelated: bool,
    /// Only says what would happen.
    pub dry_run: bool,
    /// Waits until the merge survives power loss.
    pub durable: bool,
    /// When; absent: now. Never earlier than both parents.
    pub time_ns: Option<u64>,
}

/// How a merge ended, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeResult {
    /// The branch has had the commit in its history already.
    UpToDate,
    /// The branch moves to the commit.
    FastForward,
    /// A commit with two parents is made.
    Merged,
    /// Nothing happens: names are in conflict.
    Conflicts,
}

/// Why a name is in conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// Both sides have it, changed in different ways.
    BothChanged,
    /// Both sides have made it, in different ways.
    BothAdded,
    /// Ours has removed what theirs has changed.
    OursRemoved,
    /// Theirs has removed what ours has changed.
    TheirsRemoved,
    /// It is one of several links to a file that would have different contents.
    Links,
}

/// One name in conflict. Absent sides do not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where; the root for the top directories themselves.
    pub path: TreePath,
    /// Why.
    pub clash: Clash,
    /// In the newest base that has it; always absent for links.
    pub base: Option<Entry>,
    /// On the branch.
    pub ours: Option<Entry>,
    /// In the merged commit.
    pub theirs: Option<Entry>,
}

/// What a merge did, or would do.
#[derive(Debug, Clone)]
pub struct MergeOutcome {
    /// How it ended.
    pub result: MergeResult,
    /// The head of the branch before.
    pub ours: ContentId,
    /// The commit merged into it.
    pub theirs: ContentId,
    /// The best common ancestors, newest first; none for histories without one.
    pub bases: Vec<ContentId>,
    /// The head of the branch now; absent where a dry run would have made a commit.
    pub commit: Option<ContentId>,
    /// How to get from the old head to the new one, by path; empty with conflicts. In a dry run a directory that is
    /// put together from both sides has its old id on both sides of a change.
    pub changes: Vec<Difference>,
    /// By path.
    pub conflicts: Vec<Conflict>,
    /// What was offered to the store, and what of it was new.
    pub written: BatchCounts,
    /// Keeps what was written alive; absent if nothing was.
    pub ack: Option<Ack>,
}

impl Trees {
    /// Merges commit `theirs` into `branch`.
    ///
    /// # Errors
    /// `NotFound` if there is no such branch or commit; `Refused` if the histories have nothing in common, or what they
    /// have was forgotten; `Conflict` if the branch moves again and again meanwhile; `OverQuota`; whatever reading
    /// nodes and the store answer. Names in conflict are no error.
    pub async fn merge(
        &self,
        branch: &str,
        theirs: ContentId,
        options: &MergeOptions,
    ) -> Result<MergeOutcome> {
        let mut races = 0;
        loop {
            let head = self.existing(RootKind::Branch, branch)?;
            match self.merge_at(branch, &head, theirs, options).await {
                Err(error) if is_race(&error) && races < RACES_MAX => {
                    let now = self.existing(RootKind::Branch, branch)?;
                    if now.root.sequence == head.root.sequence {
                        return Err(error);
                    }
                    races += 1;
                }
                done => return done,
            }
        }
    }

    /// [`Trees::merge`] into a branch that was found at `head`.
    async fn merge_at(
        &self,
        branch: &str,
        head: &Head,
        theirs: ContentId,
        options: &MergeOptions,
    ) -> Result<MergeOutcome> {
        let ours = head.commit;
        let lease = self.store.lease();
        lease.hold_many([ours, theirs].map(|id| commit_key(self.domain, id)));
        let mut commits = self.read_commits(&[ours, theirs]).await?.into_iter();
        let (Some(ours_commit), Some(theirs_commit)) = (commits.next(), commits.next()) else {
            return Err(Error::not_found(format!("commit {theirs}")));
        };
        let common = self.common([ours, theirs]).await?;
        let mut outcome = MergeOutcome {
            result: MergeResult::UpToDate,
            ours,
            theirs,
            bases: common.bases.clone(),
            commit: Some(ours),
            changes: Vec::new(),
            conflicts: Vec::new(),
            written: BatchCounts::default(),
            ack: None,
        };
        if common.bases == [theirs] {
            if options.durable && !options.dry_run {
                self.store.flush().await?;
            }
            return Ok(outcome);
        }
        if common.bases == [ours] && !options.no_fast_forward {
            outcome.result = MergeResult::FastForward;
            outcome.commit = Some(theirs);
            outcome.changes = self.diff(&ours_commit.root, &theirs_commit.root, &[]).await?;
            if !options.dry_run {
                let ack = self
                    .move_branch(branch, theirs, ExpectHead::Is(ours))
                    .await
                    .map_err(|error| self.explain(error, branch, Some(ours)))?;
                if options.durable {
                    ack.durable().await?;
                }
                outcome.ack = Some(ack);
            }
            return Ok(outcome);
        }
        let tops = self
            .tops(
                branch,
                &common,
                &ours_commit,
                &theirs_commit,
                &mut outcome,
                options,
            )
            .await?;
        let merged = self.three_way(tops).await?;
        if !merged.conflicts.is_empty() {
            outcome.result = MergeResult::Conflicts;
            outcome.conflicts = merged.conflicts;
            return Ok(outcome);
        }
        outcome.result = MergeResult::Merged;
        if options.dry_run {
            outcome.commit = None;
            outcome.changes = merged.differences;
            return Ok(outcome);
        }
        let parents = [(ours, &ours_commit), (theirs, &theirs_commit)];
        let made = self.commit_merged(branch, parents, &merged, options).await?;
        outcome.commit = Some(made.commit);
        outcome.written = made.written;
        outcome.ack = made.ack;
        // Read back, so that what is told is what is there, with the ids of directories that were put together.
        let root = self.read_commit(made.commit).await?.root;
        outcome.changes = self.diff(&ours_commit.root, &root, &[]).await?;
        Ok(outcome)
    }

    /// The top directories to be merged, if there is a base or none is needed.
    async fn tops(
        &self,
        branch: &str,
        common: &Common,
        ours: &Commit,
        theirs: &Commit,
        outcome: &mut MergeOutcome,
        options: &MergeOptions,
    ) -> Result<Sides> {
        let unknown = common.hidden || common.bases.is_empty();
        if unknown && !options.allow_unrelated {
            return Err(refused(branch, outcome.theirs, common));
        }
        let mut bases = Vec::new();
        if unknown {
            outcome.bases.clear();
            bases.push(None);
        } else {
            for commit in self.read_commits(&common.bases).await? {
                bases.push(Some(item_of(&commit.root)?));
            }
        }
        Ok(Sides {
            bases,
            ours: Some(item_of(&ours.root)?),
            theirs: Some(item_of(&theirs.root)?),
        })
    }

    /// Applies a merge to ours and commits it, on the head that was read or not at all.
    async fn commit_merged(
        &self,
        branch: &str,
        parents: [(ContentId, &Commit); 2],
        merged: &Merged,
        options: &MergeOptions,
    ) -> Result<CommitOutcome> {
        let [(ours, ours_commit), (theirs, theirs_commit)] = parents;
        let later_ns = ours_commit.time_ns.max(theirs_commit.time_ns).saturating_add(1);
        let asked_ns = options.time_ns.unwrap_or_else(|| self.store.now_ns());
        let commit_options = CommitOptions {
            message: options.message.clone(),
            author: options.author.clone(),
            expect: ExpectHead::Is(ours),
            parents: Some(vec![ours, theirs]),
            durable: options.durable,
            allow_unchanged: true,
            replaces: None,
            time_ns: Some(asked_ns.max(later_ns)),
        };
        let counts = counted(ours_commit.counts, &merged.differences);
        let mut root = ours_commit.root.clone();
        if let Some(top) = merged.edits.iter().find(|edit| edit.path.is_root()) {
            let top = self.entries_of(top.new.iter()).await?.pop();
            root = top.unwrap_or(root);
        }
        if root.id != ours_commit.root.id {
            // All that is in it comes from theirs.
            let batch = self.batch();
            return self
                .commit_tree(batch, branch, root, counts, &commit_options)
                .await;
        }
        let working = WorkingOptions {
            times: false,
            ..WorkingOptions::default()
        };
        let mut tree = self.open_commit(ours, working).await?;
        for Edit { path, new, .. } in merged.edits.iter().filter(|edit| !edit.path.is_root()) {
            tree.graft(path, new.as_ref()).await?;
        }
        tree.graft_top(branch, root, counts);
        tree.commit_with(&commit_options).await
    }
}

/// An entry as a leaf would have it.
fn item_of(entry: &Entry) -> Result<Item> {
    let far = node::far_xattrs(entry)?.map(|bytes| {
        let id = ids::content_ids(&[&bytes])[0];
        (id, u32::try_from(bytes.len()).unwrap_or(u32::MAX))
    });
    node::encode_entry(entry, far, |mut record, view| {
        let (tags, attributes) = view.encoded();
        record.tags = tags.0.into();
        record.attributes_bytes = u16::try_from(attributes.len()).unwrap_or(u16::MAX).into();
        Ok(Item {
            name: entry.name.clone(),
            record,
            attributes: attributes.into(),
        })
    })
}

/// Size of a tree after these differences.
fn counted(mut counts: TreeCounts, differences: &[Difference]) -> TreeCounts {
    let mut add = |entry: &Entry| {
        if entry.kind != EntryKind::Directory {
            counts.files = counts.files.saturating_add(1);
            counts.bytes = counts.bytes.saturating_add(entry.size);
        }
    };
    for difference in differences {
        match &difference.change {
            Change::Added(new) | Change::Modified { new, .. } => add(new),
            Change::Removed(_) => {}
        }
    }
    // What is new goes first: a sum on its way never falls below zero.
    for difference in differences {
        match &difference.change {
            Change::Removed(old) | Change::Modified { old, .. } if old.kind != EntryKind::Directory => {
                counts.files = counts.files.saturating_sub(1);
                counts.bytes = counts.bytes.saturating_sub(old.size);
            }
            _ => {}
        }
    }
    counts
}

/// There is no base to merge from.
fn refused(branch: &str, theirs: ContentId, common: &Common) -> Error {
    let insist = "`--allow-unrelated` merges them from an empty base, where only what both have alike, or one alone has, \
        is clean";
    let theirs = theirs.short();
    let what = match common.cut_ns {
        Some(cut_ns) => format!(
            "what branch {branch} and commit {theirs} last had in common was forgotten (a history begins {}); {insist}",
            time::format_utc(cut_ns)
        ),
        None => format!("branch {branch} and commit {theirs} have no history in common; {insist}"),
    };
    Error::Refused { what }
}

#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
