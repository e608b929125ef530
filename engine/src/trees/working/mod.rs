//! A working tree in memory: what an agent reads, writes and commits.
//!
//! A tree starts at a commit and keeps what it has read of it encoded; changes stand beside the encoded nodes. A
//! commit touches only directories with changes in or below them. Where no name has changed it copies the leaves
//! concerned and patches ids, sizes and times in place; where names have changed it splits again from the first change
//! until the old boundaries fit (`reshape`). All new contents are hashed as one batch, then the nodes of each level.
//!
//! Operations that find everything loaded never wait. The ones that don't are tried, told what to load, and tried
//! again ([`Stop`]), so that there is one way to change a tree and it never sees half of it.
//! What it can load again it lets go of when asked ([`release`](WorkingTree::release)).
//! Invariant: a failed operation, commits included, leaves the tree as it was.
//! Rejected: decoding directories into maps when they are loaded (ten times the memory, and a commit would have to
//! encode again what did not change).

mod change;
mod commit;
mod contents;
mod edit;
mod finish;
mod graft;
mod locate;
mod memory;
mod name_index;
mod nodes;
mod places;
mod plan;
mod read;
mod record;
mod reshape;

use std::sync::Arc;

pub use contents::{LargeContents, LargeFuture};
pub use read::Stat;

use super::branches::Head;
use super::commit::{Commit, TreeCounts, commit_key};
use super::entry::{Attributes, Entry, EntryKind};
use super::{ExpectHead, Trees, branches, names};
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::store::Lease;
use edit::{Directory, DirectoryIndex, Place, ROOT};
use locate::{PathMap, Want};
use nodes::Nodes;
use places::Places;

/// How a working tree behaves.
#[derive(Clone)]
pub struct WorkingOptions {
    /// Author of its commits where a commit names none.
    pub author: String,
    /// Sets the mtime of what was made or written to the time of the commit, once per commit. Without it no mtime is
    /// ever set or changed.
    pub times: bool,
    /// Bytes of new contents that may wait in memory for the commit; beyond, they go to the store ahead of it.
    pub pending_bytes_max: usize,
    /// Where contents of more than one extent come from and go to; without it they are refused.
    pub large: Option<Arc<dyn LargeContents>>,
}

impl Default for WorkingOptions {
    fn default() -> WorkingOptions {
        WorkingOptions {
            author: String::new(),
            times: true,
            pending_bytes_max: 64 << 20,
            large: None,
        }
    }
}

/// The commit a working tree started from.
#[derive(Clone)]
struct Base {
    id: ContentId,
    commit: Arc<Commit>,
}

/// A tree in memory, on its way from one commit to the next.
pub struct WorkingTree {
    trees: Trees,
    options: WorkingOptions,
    branch: Option<Arc<str>>,
    base: Option<Base>,
    /// Mode and attributes of the top directory; its id is that of the base.
    root: Entry,
    counts: TreeCounts,
    directories: Places,
    /// Where directories were let go last.
    hand: usize,
    /// Directories with changes in or below them; each knows its position here.
    dirty: Vec<DirectoryIndex>,
    /// Paths of directories as callers wrote them.
    by_path: PathMap,
    /// Bytes of contents that wait in memory for the commit.
    pending_bytes: usize,
    /// Bytes of loaded directories, of changes besides their contents, and of `by_path`; see `memory`.
    directory_bytes: usize,
    change_bytes: usize,
    path_bytes: usize,
    /// Keeps the base, and contents stored ahead of the commit, alive.
    lease: Lease,
    /// Contents that the lease holds, and for how many it is made anew, with those that are still wanted.
    stored_ahead: usize,
    renew_lease_at: usize,
}

/// Why an operation cannot be done yet, or at all.
#[derive(Debug)]
enum Stop {
    /// Load this and try again.
    Load(Want),
    /// It cannot be done.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

impl Trees {
    /// A working tree at the head of `branch`, whose commits go to that branch.
    ///
    /// # Errors
    /// `NotFound`; whatever reading the commit answers.
    pub async fn open_branch(&self, branch: &str, options: WorkingOptions) -> Result<WorkingTree> {
        let head = self.existing(crate::store::RootKind::Branch, branch)?;
        let mut tree = self.open_commit(head.commit, options).await?;
        tree.branch = Some(branch.into());
        Ok(tree)
    }

    /// A working tree at a commit. It can commit after [`WorkingTree::fork`] gave it a branch.
    ///
    /// # Errors
    /// Whatever reading the commit answers.
    pub async fn open_commit(&self, id: ContentId, options: WorkingOptions) -> Result<WorkingTree> {
        let mut tree = self.blank(options);
        tree.start_from(id).await?;
        Ok(tree)
    }

    /// An empty working tree whose first commit makes `branch`.
    ///
    /// # Errors
    /// `Invalid` for an impossible name, `Exists` if there is such a branch.
    pub fn open_new(&self, branch: &str, options: WorkingOptions) -> Result<WorkingTree> {
        names::check("branch", branch)?;
        ExpectHead::Absent.check(branch, self.head(branch)?.map(|head| head.commit))?;
        let mut tree = self.blank(options);
        tree.branch = Some(branch.into());
        Ok(tree)
    }

    fn blank(&self, options: WorkingOptions) -> WorkingTree {
        let made = made_top();
        WorkingTree {
            trees: self.clone(),
            options,
            branch: None,
            base: None,
            root: empty_root(made.nodes.id()),
            counts: TreeCounts::default(),
            directory_bytes: made.bytes,
            directories: Places::of(made),
            hand: 0,
            dirty: vec![ROOT],
            by_path: PathMap::default(),
            pending_bytes: 0,
            change_bytes: 0,
            path_bytes: 0,
            lease: self.store.lease(),
            stored_ahead: 0,
            renew_lease_at: 0,
        }
    }
}

impl WorkingTree {
    /// The branch its commits go to.
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }

    /// The commit it started from; nothing before the first commit of a new branch.
    pub fn base(&self) -> Option<ContentId> {
        self.base.as_ref().map(|base| base.id)
    }

    /// Size of the tree as it is now.
    pub fn counts(&self) -> TreeCounts {
        self.counts
    }

    /// True if something has been changed since the last commit (also if it was changed back), or there is none yet.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
            || self
                .base
                .as_ref()
                .is_some_and(|base| base.commit.root.mode != self.root.mode)
    }

    /// Drops every change since the last commit.
    ///
    /// # Errors
    /// Whatever reading the commit answers; nothing is dropped then.
    pub async fn reset(&mut self) -> Result<()> {
        match &self.base {
            Some(base) => self.start_from(base.id).await,
            None => {
                let made = made_top();
                self.root = empty_root(made.nodes.id());
                self.restart(made, TreeCounts::default());
                self.dirty.push(ROOT);
                self.renew_lease();
                Ok(())
            }
        }
    }

    /// Drops every change and starts again from the head of its branch, wherever that is now.
    ///
    /// # Errors
    /// `NotFound` if the branch is gone; `Invalid` if it has none; whatever reading the commit answers.
    pub async fn reset_to_head(&mut self) -> Result<()> {
        let head = self.head()?;
        match head {
            Some(head) => self.start_from(head.commit).await,
            None => Err(branches::moved(
                self.branch.as_deref().unwrap_or_default(),
                self.base(),
                None,
            )),
        }
    }

    /// Drops the tree and every change since the last commit; the same as letting it go out of scope.
    pub fn discard(self) {}

    /// Makes branch `branch` at the base, and a working tree on it that starts with the changes of this one. What has
    /// been loaded is shared until one of the two changes it.
    ///
    /// # Errors
    /// As [`Trees::create_branch`]; `Invalid` before the first commit.
    pub async fn fork(&self, branch: &str) -> Result<WorkingTree> {
        let Some(base) = &self.base else {
            return Err(Error::invalid(
                "fork",
                "there is no commit to fork from yet; commit first",
            ));
        };
        let near = self.branch.as_deref();
        let time_ns = base.commit.time_ns;
        let made = self.trees.create_branch_near(branch, base.id, time_ns, near);
        // What made the branch holds its commit, which is what the fork's own lease has to.
        let lease = made.await?.lease;
        let stored_ahead = self.hold_stored(&lease);
        Ok(WorkingTree {
            trees: self.trees.clone(),
            options: self.options.clone(),
            branch: Some(branch.into()),
            base: self.base.clone(),
            root: self.root.clone(),
            counts: self.counts,
            directories: self.directories.clone(),
            hand: self.hand,
            dirty: self.dirty.clone(),
            by_path: PathMap::default(),
            pending_bytes: self.pending_bytes,
            directory_bytes: self.directory_bytes,
            change_bytes: self.change_bytes,
            path_bytes: 0,
            lease,
            stored_ahead,
            renew_lease_at: 0,
        })
    }

    async fn start_from(&mut self, id: ContentId) -> Result<()> {
        let lease = self.trees.store.lease();
        lease.hold(commit_key(self.trees.domain, id));
        let commit = self.trees.read_commit(id).await?;
        let nodes = Nodes::load(&self.trees, commit.root.id).await?;
        self.root = commit.root.clone();
        self.restart(Directory::new(ROOT, nowhere(), nodes), commit.counts);
        self.base = Some(Base {
            id,
            commit: Arc::new(commit),
        });
        self.lease = lease;
        Ok(())
    }

    fn restart(&mut self, top: Directory, counts: TreeCounts) {
        self.directory_bytes = top.bytes;
        self.directories = Places::of(top);
        self.dirty = Vec::new();
        self.forget_paths();
        self.pending_bytes = 0;
        self.change_bytes = 0;
        self.stored_ahead = 0;
        self.renew_lease_at = 0;
        self.counts = counts;
    }

    /// Where its branch is now.
    fn head(&self) -> Result<Option<Head>> {
        match &self.branch {
            Some(branch) => self.trees.head(branch),
            None => {
                let reason = "it is at a commit and on no branch; `fork` it to a branch first";
                Err(Error::invalid("working tree", reason))
            }
        }
    }
}

/// Where the top directory stands.
fn nowhere() -> Place {
    Place::Added(bytes::Bytes::new())
}

/// The top directory of a new tree, listed first among those with changes.
fn made_top() -> Directory {
    Directory {
        dirty: Some(0),
        ..Directory::made(ROOT, nowhere())
    }
}

fn empty_root(id: ContentId) -> Entry {
    Entry {
        name: bytes::Bytes::new(),
        kind: EntryKind::Directory,
        mode: 0o755,
        size: 0,
        id,
        attributes: Attributes::default(),
    }
}

#[cfg(test)]
mod hot_path_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
