//! `restore` and `materialize`: from the store into real directories.
//!
//! What a restore replaces is committed first, to the branch `backup/BRANCH`: the branch itself stays where it is, so
//! that the same restore can be repeated, and the backup has a name that keeps it and that people find.
//! Rejected: committing it to the branch itself; a second `restore main` would then bring back what the first had
//! replaced.

use super::commit::branch_of;
use super::desk::Desk;
use super::revision::DEFAULT_BRANCH;
use super::translate::{self, control};
use crate::access::Batch;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::ops::{
    Exchange, ExtraFiles, Headcount, MaterializeRequest, Materialized, RestoreRequest, Restored,
    RestoredEntry, RestoredHow,
};
use crate::trees::fs::{
    self, Known, MaterializeOptions, Restore, RestoreOptions, RestoreStep, Scan, ScanOptions, Workspace,
};
use crate::trees::{CommitOptions, EntryKind, Resolved, TreeCounts};

/// Branches that hold what restores have replaced begin with this.
const BACKUP_PREFIX: &str = "backup/";

impl Desk {
    pub(super) fn restore(&self, request: RestoreRequest, exchange: &mut dyn Exchange) -> Result<Restored> {
        let paths = super::diff::tree_paths(&request.paths)?;
        let (resolved, root) = self.directory(&request.revision)?;
        let path = request.directory.as_path();
        let known = Workspace::find(&self.store, path)?;
        let mut options = match &known {
            Known::Here(workspace) | Known::Before(workspace) => workspace.options.clone(),
            Known::No => ScanOptions {
                domain: self.trees.domain(),
                ..ScanOptions::default()
            },
        };
        options.force = request.force;
        options.leave_out = self.own_files();
        let cache = match &known {
            Known::Here(workspace) => workspace.stat_cache(&self.store)?,
            Known::Before(_) | Known::No => None,
        };
        let reins = control(exchange, None);
        let saves = !request.dry_run && !request.no_backup;
        let mut batch = self.store.batch();
        let scan = match saves {
            true => fs::scan(&self.store, path, &options, cache, &mut batch, &reins)?,
            false => fs::inspect(&self.store, path, &options, cache, &reins)?,
        };
        let wanted = RestoreOptions {
            paths,
            delete: match request.extra {
                ExtraFiles::Usual => None,
                ExtraFiles::Delete => Some(true),
                ExtraFiles::Keep => Some(false),
            },
            ..RestoreOptions::default()
        };
        let plan = Restore::plan(&self.store, &scan, &root, &wanted, &reins)?;
        let entries: Vec<RestoredEntry> = plan
            .actions()
            .into_iter()
            .map(|action| RestoredEntry {
                path: match action.path.is_root() {
                    true => ".".into(),
                    false => action.path.as_bytes().into(),
                },
                kind: action.kind,
                how: match action.step {
                    RestoreStep::Remove => RestoredHow::Removed,
                    RestoreStep::Create => RestoredHow::Created,
                    RestoreStep::Replace => RestoredHow::Replaced,
                    RestoreStep::Metadata => RestoredHow::Metadata,
                },
            })
            .collect();
        let mut restored = Restored {
            commit: resolved.commit,
            directory: request.directory.clone(),
            backup: None,
            backup_branch: None,
            dry_run: request.dry_run,
            written: count(&entries, &[RestoredHow::Created, RestoredHow::Replaced]),
            adjusted: count(&entries, &[RestoredHow::Metadata]),
            removed: count(&entries, &[RestoredHow::Removed]),
            bytes: 0,
            entries,
            warnings: translate::warnings(scan.warnings(), exchange),
        };
        if request.dry_run {
            return Ok(restored);
        }
        if saves && !plan.is_empty() {
            let message = format!("before restoring {}", request.revision);
            let (backup, branch) = self.save(batch, &scan, &known, message)?;
            restored.backup = Some(backup);
            restored.backup_branch = branch.map(Into::into);
        }
        let done = plan.apply(&reins)?;
        if matches!(known, Known::No) {
            self.follow(&resolved, path, &options)?;
        }
        restored.written = done.written;
        restored.adjusted = done.adjusted;
        restored.removed = done.removed;
        restored.bytes = done.written_bytes;
        restored
            .warnings
            .append(translate::warnings(&done.warnings, exchange));
        Ok(restored)
    }

    /// Commits what is about to be replaced, unless the head of its branch says so already. Answers the commit, and
    /// the branch if a new commit had to be made.
    fn save(
        &self,
        batch: Batch,
        scan: &Scan,
        known: &Known,
        message: String,
    ) -> Result<(ContentId, Option<String>)> {
        let root = scan.root().cloned().ok_or(Error::Closed)?;
        let followed = branch_of(known);
        let head = match known {
            Known::No => None,
            Known::Here(_) | Known::Before(_) => match self.trees.branch(&followed) {
                Ok(head) => Some(head.commit),
                Err(Error::NotFound { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        if let Some(head) = head
            && self.store.block_on(self.trees.read_commit(head))?.root == root
        {
            return Ok((head, None));
        }
        let branch = format!("{BACKUP_PREFIX}{followed}");
        let counts = scan.counts();
        let options = CommitOptions {
            message,
            parents: Some(head.into_iter().collect()),
            durable: true,
            ..CommitOptions::default()
        };
        let counts = TreeCounts {
            files: counts.files,
            bytes: counts.bytes,
        };
        let committed = self.trees.commit_tree(batch, &branch, root, counts, &options);
        Ok((self.store.block_on(committed)?.commit, Some(branch)))
    }

    pub(super) fn materialize(
        &self,
        request: MaterializeRequest,
        exchange: &mut dyn Exchange,
    ) -> Result<Materialized> {
        let (resolved, root) = self.directory(&request.revision)?;
        let whole = request.include.is_empty();
        let options = MaterializeOptions {
            includes: request.include,
            domain: self.trees.domain(),
            ..MaterializeOptions::default()
        };
        let path = request.directory.as_path();
        let reins = control(exchange, request.jobs);
        let made = fs::materialize(&self.store, &root, path, &options, &reins)?;
        if whole {
            self.follow(
                &resolved,
                path,
                &ScanOptions {
                    domain: self.trees.domain(),
                    ..ScanOptions::default()
                },
            )?;
        }
        Ok(Materialized {
            commit: resolved.commit,
            directory: request.directory,
            entries: Headcount {
                files: made.files,
                directories: made.directories,
                bytes: made.bytes,
            },
            warnings: translate::warnings(&made.warnings, exchange),
        })
    }

    /// A directory that was made from a branch follows it. Other revisions say nothing about where its commits
    /// should go.
    fn follow(&self, resolved: &Resolved, path: &std::path::Path, options: &ScanOptions) -> Result<()> {
        let Some(branch) = resolved.branch.as_deref().filter(|_| resolved.path.is_none()) else {
            return Ok(());
        };
        if branch == DEFAULT_BRANCH {
            // What follows nothing follows it anyway.
            return Ok(());
        }
        let known = Workspace::find(&self.store, path)?;
        let mut batch = self.store.batch();
        Workspace::record(&self.store, &mut batch, path, branch, options, None, &known)?;
        let ack = self.store.block_on(batch.submit())?;
        self.store.block_on(ack.durable())
    }
}

fn count(entries: &[RestoredEntry], how: &[RestoredHow]) -> u64 {
    let wanted = entries
        .iter()
        .filter(|entry| how.contains(&entry.how) && entry.kind != EntryKind::Directory);
    wanted.count() as u64
}
