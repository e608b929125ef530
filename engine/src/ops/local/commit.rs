//! `commit`, `status`, and the directory's side of `diff`: a real directory and its branch.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::desk::Desk;
use super::diff::changes;
use super::revision::{DEFAULT_BRANCH, name_text};
use super::translate::{self, control};
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::ops::{
    ByteString, CommitRequest, Committed, Compared, Durability, Exchange, Status, StatusRequest,
};
use crate::trees::fs::{self, FileId, Known, ScanOptions, Workspace};
use crate::trees::{CommitOptions, Entry, ExpectHead, TreeCounts, TreePath};

impl Desk {
    pub(super) fn commit(&self, request: CommitRequest, exchange: &mut dyn Exchange) -> Result<Committed> {
        let path = request.directory.as_path();
        let known = Workspace::find(&self.store, path)?;
        let branch = match &request.branch {
            Some(branch) => name_text("branch", branch)?,
            None => branch_of(&known),
        };
        let expect = match &request.expect {
            None => ExpectHead::Any,
            Some(revision) => ExpectHead::Is(self.expected(&branch, revision)?),
        };
        let options = ScanOptions {
            excludes: request.exclude,
            gitignore: request.gitignore,
            times: !request.no_times,
            force: request.force,
            leave_out: self.own_files(),
            domain: self.trees.domain(),
            ..ScanOptions::default()
        };
        let cache = match &known {
            Known::Here(workspace) => workspace.stat_cache(&self.store)?,
            Known::Before(_) | Known::No => None,
        };
        let control = control(exchange, None);
        let mut batch = self.store.batch();
        let scan = fs::scan(&self.store, path, &options, cache, &mut batch, &control)?;
        let record = |batch: &mut _| {
            Workspace::record(
                &self.store,
                batch,
                path,
                &branch,
                &options,
                scan.stat_cache(),
                &known,
            )
        };
        record(&mut batch)?;
        let root = scan.root().cloned().ok_or(Error::Closed)?;
        let counts = scan.counts();
        let tree_counts = TreeCounts {
            files: counts.files,
            bytes: counts.bytes,
        };
        let commit_options = CommitOptions {
            message: request.message,
            author: request.author,
            expect,
            durable: request.durability == Durability::Durable,
            ..CommitOptions::default()
        };
        let committed = self
            .trees
            .commit_tree(batch, &branch, root, tree_counts, &commit_options);
        let outcome = self.store.block_on(committed)?;
        if outcome.unchanged && (scan.stat_cache().is_some() || !is_recorded(&known, &branch, &options)) {
            // There was no commit to carry the record; without it the next one would read the same files again.
            let mut batch = self.store.batch();
            record(&mut batch)?;
            self.store.block_on(batch.submit())?;
        }
        Ok(Committed {
            commit: outcome.commit,
            tree: outcome.tree,
            parent: outcome.parent,
            branch: branch.into(),
            unchanged: outcome.unchanged,
            entries: translate::headcount(&counts),
            files_read: counts.read_files,
            bytes_read: counts.read_bytes,
            new_objects: if outcome.unchanged { 0 } else { outcome.written.new },
            new_bytes: if outcome.unchanged {
                0
            } else {
                outcome.written.new_bytes
            },
            warnings: translate::warnings(scan.warnings(), exchange),
        })
    }

    pub(super) fn status(&self, request: &StatusRequest, exchange: &mut dyn Exchange) -> Result<Status> {
        let known = Workspace::find(&self.store, request.directory.as_path())?;
        let branch = branch_of(&known);
        let head = self.trees.branch(&branch)?.commit;
        let root = self.store.block_on(self.trees.read_commit(head))?.root;
        let compared = self.compare_directory(&root, &request.directory, &[], exchange)?;
        Ok(Status {
            directory: request.directory.clone(),
            branch: branch.into(),
            head,
            changes: compared.changes,
            warnings: compared.warnings,
        })
    }

    /// How to get from a tree to a real directory, which is looked at as its last commit did.
    pub(super) fn compare_directory(
        &self,
        root: &Entry,
        directory: &ByteString,
        paths: &[TreePath],
        exchange: &mut dyn Exchange,
    ) -> Result<Compared> {
        let path = directory.as_path();
        let known = Workspace::find(&self.store, path)?;
        let mut options = match &known {
            Known::Here(workspace) | Known::Before(workspace) => workspace.options.clone(),
            Known::No => ScanOptions {
                domain: self.trees.domain(),
                ..ScanOptions::default()
            },
        };
        options.leave_out = self.own_files();
        // Nothing is stored and nothing is changed: any directory will do, and what cannot be read is a warning.
        options.force = true;
        options.skip_unreadable = true;
        let cache = match &known {
            Known::Here(workspace) => workspace.stat_cache(&self.store)?,
            Known::Before(_) | Known::No => None,
        };
        let control = control(exchange, None);
        let scan = fs::inspect(&self.store, path, &options, cache, &control)?;
        let found = fs::status(&self.store, &scan, root, paths, &control)?;
        Ok(Compared {
            changes: in_directory(changes(found)),
            warnings: translate::warnings(scan.warnings(), exchange),
        })
    }

    /// The branch that a directory follows; the default one for directories that follow none or are not there.
    pub(super) fn followed(&self, directory: &ByteString) -> Result<String> {
        match Workspace::find(&self.store, directory.as_path()) {
            Ok(known) => Ok(branch_of(&known)),
            Err(Error::Path { .. }) => Ok(DEFAULT_BRANCH.to_owned()),
            Err(error) => Err(error),
        }
    }

    /// The commit that a branch is expected to be at, told apart from a branch that is elsewhere before any file is
    /// read. The commit itself checks again.
    fn expected(&self, branch: &str, revision: &ByteString) -> Result<ContentId> {
        let expected = self.resolve_commit(revision)?;
        match self.trees.branch(branch) {
            Ok(head) if head.commit == expected => Ok(expected),
            Ok(head) => Err(Error::Conflict {
                root: format!("branch {branch}"),
                expected: expected.short(),
                found: head.commit.short(),
            }),
            Err(Error::NotFound { .. }) => Err(Error::Conflict {
                root: format!("branch {branch}"),
                expected: expected.short(),
                found: "no such branch".to_owned(),
            }),
            Err(error) => Err(error),
        }
    }

    /// The files of the store itself, which no tree may hold.
    pub(super) fn own_files(&self) -> Vec<FileId> {
        let Some(path) = self.address.path() else {
            return Vec::new();
        };
        let lock = |path: &std::path::Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".lock");
            PathBuf::from(name)
        };
        let mut paths = vec![path.to_owned(), lock(path)];
        // The lock stands beside the file, not beside a link to it.
        paths.extend(path.canonicalize().map(|path| lock(&path)));
        let files = paths.iter().filter_map(|path| std::fs::metadata(path).ok());
        files
            .map(|file| FileId {
                device: file.dev(),
                inode: file.ino(),
            })
            .collect()
    }
}

/// The branch a directory follows.
pub(super) fn branch_of(known: &Known) -> String {
    match known {
        Known::Here(workspace) | Known::Before(workspace) => workspace.branch.clone(),
        Known::No => DEFAULT_BRANCH.to_owned(),
    }
}

/// Whether the record of a directory says this already.
fn is_recorded(known: &Known, branch: &str, options: &ScanOptions) -> bool {
    let Known::Here(workspace) = known else {
        return false;
    };
    let remembered = ScanOptions {
        leave_out: workspace.options.leave_out.clone(),
        force: workspace.options.force,
        skip_unreadable: workspace.options.skip_unreadable,
        ..options.clone()
    };
    workspace.branch == branch && workspace.options == remembered
}

/// Contents of a real directory are not in the store, whatever their ids: replies do not offer them.
fn in_directory(mut changes: Vec<crate::ops::Change>) -> Vec<crate::ops::Change> {
    for node in changes.iter_mut().filter_map(|change| change.to.as_mut()) {
        node.id = None;
    }
    changes
}
