//! `merge`.

use super::diff::{changes, shown_path};
use super::open::Engine;
use super::revision::name_text;
use super::translate::node;
use crate::error::Result;
use crate::ops::{
    Change, Conflict, ConflictKind, Durability, Exchange, MergeOutcome, MergeRequest, Merged, Stage, Step,
};
use crate::trees::{self, Clash, EntryKind, MergeOptions, MergeResult};

impl Engine {
    pub fn merge(&self, request: MergeRequest, exchange: &mut dyn Exchange) -> Result<Merged> {
        (exchange.reporter())(Step::begin(Stage::Comparing));
        let branch = match &request.into {
            Some(branch) => name_text("branch", branch)?,
            None => self.followed(&request.directory)?,
        };
        let theirs = self.resolve_commit(&request.revision)?;
        let options = MergeOptions {
            message: request
                .message
                .unwrap_or_else(|| format!("merge {} into {branch}", request.revision)),
            author: request.author,
            no_fast_forward: request.no_fast_forward,
            allow_unrelated: request.allow_unrelated,
            dry_run: request.dry_run,
            durable: request.durability == Durability::Durable,
            time_ns: None,
        };
        let done = self.store.block_on(self.trees.merge(&branch, theirs, &options))?;
        let mut changes = changes(done.changes);
        if request.dry_run && done.result == MergeResult::Merged {
            changes.iter_mut().for_each(without_unknown_id);
        }
        Ok(Merged {
            outcome: match done.result {
                MergeResult::UpToDate => MergeOutcome::UpToDate,
                MergeResult::FastForward => MergeOutcome::FastForward,
                MergeResult::Merged => MergeOutcome::Merged,
                MergeResult::Conflicts => MergeOutcome::Conflicts,
            },
            branch: branch.into(),
            ours: done.ours,
            theirs: done.theirs,
            base: done.bases.first().copied(),
            bases: done.bases,
            commit: done.commit,
            changes,
            conflicts: done.conflicts.into_iter().map(conflict).collect(),
            new_objects: done.written.new,
            new_bytes: done.written.new_bytes,
            dry_run: request.dry_run,
        })
    }
}

/// A directory that is put together from both sides has no id before that is done.
fn without_unknown_id(change: &mut Change) {
    if let (Some(from), Some(to)) = (&change.from, &mut change.to)
        && to.kind == EntryKind::Directory
        && from.id == to.id
    {
        to.id = None;
    }
}

fn conflict(found: trees::Conflict) -> Conflict {
    Conflict {
        path: shown_path(&found.path),
        conflict: match found.clash {
            Clash::BothChanged => ConflictKind::BothChanged,
            Clash::BothAdded => ConflictKind::BothAdded,
            Clash::OursRemoved => ConflictKind::OursRemoved,
            Clash::TheirsRemoved => ConflictKind::TheirsRemoved,
            Clash::Links => ConflictKind::Links,
        },
        base: found.base.as_ref().map(node),
        ours: found.ours.as_ref().map(node),
        theirs: found.theirs.as_ref().map(node),
    }
}
