//! What keeps what alive: the one place that says what a root starts from, what an extent refers to, and how far back
//! a history goes.
//!
//! **A history has a floor.** Commits are immutable and name their parents, so forgetting is a rule about following
//! parents: *the parents of a commit belong to a history if the time in the commit is greater than the history's
//! floor*. The floor is part of the root record of a branch or tag (`format::branch`), as is a short list of commits
//! below it that are kept each by itself. Whether to follow is decided by the commit alone, so a parent that is gone
//! is never asked for, and a lower floor always reaches at least as much. Times rise along first parents, so the oldest
//! commit of a line that was cut is the one whose time is the floor.
//!
//! **What an extent refers to depends on the extent alone** ([`extent_references`]); a commit refers to its tree and
//! not to its parents. Histories are followed by [`Histories`], which remembers with which floor it went through a
//! commit and goes through it again only for a lower one. Asked in the order of [`Histories::order`], each commit is
//! read once however many branches share it: O(reachable), not O(branches x commits).
//!
//! **A tag keeps its history**, as in git, so that deleting the branch does not take it away. Forgetting on a branch
//! raises the floors of the tags on it, so that a tag never keeps what was forgotten; its own commit always stays.
//!
//! **A root that is made or moved gets a floor that holds for its commit** ([`Trees::floor_of`]): the lowest of the
//! roots whose history the commit is in. A commit in no history (it was forgotten, or its branch was removed, and it
//! is not collected yet) starts a history of its own. While no store-wide mark ([`floors_mark`]) says that commits may
//! have parents that are gone, this costs one look-up of a root; so whoever drops the first commit of a store sets the
//! mark before.
//! Invariant: every commit in the history of a root is stored. A history whose root is changed or removed may be
//! taken over by a root made at the same moment. So whoever makes one holds its commit by a lease *before* asking for
//! the floor, and a leased commit keeps as much of its history as is stored ([`Histories::held`]).
//!
//! Rejected: rewriting the oldest kept commit without parents; the ids of all later commits would change. Listing the
//! kept commits of every branch; 850 branches with 10,000 shared commits would list 8.5 million. Taking a missing
//! parent for the end of a history; a lost commit would look like a forgotten one, and what is before it would be
//! collected. One set of cut commits for the store, as in a shallow git clone; forgetting on one branch would cut the
//! others. A floor in generations; branches of one commit would not agree on them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;
use parking_lot::Mutex;

use super::commit::{commit_key, commit_references};
use super::{Trees, branches, node};
use crate::access::Access;
use crate::error::{Error, Result};
use crate::format::commit::CommitView;
use crate::format::manifest::Manifest;
use crate::format::{ContentId, Domain, Kind};
use crate::store::{Expect, Key, Root, RootChange, RootKind, RootUpdate};

/// Name of the setting that says that there are floors.
const FLOORS: &[u8] = b"history floors";
/// Its data: a version.
const FLOORS_DATA: &[u8] = &[1];
/// The floor of a commit that is kept without its history.
const NO_HISTORY: u64 = u64::MAX;
/// Commits read at once.
const COMMITS_AT_ONCE: usize = 512;

/// Something a root names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Kind of the extent.
    pub kind: Kind,
    /// Its id.
    pub id: ContentId,
    /// Floor of the history of a commit; 0: all of it, the highest number: none.
    pub floor_ns: u64,
}

/// Everything a root names itself: its target, and for a branch its earlier heads and the commits it keeps.
///
/// # Errors
/// `Invalid` if the data of a branch or tag is malformed.
pub fn root_starts(root: &Root) -> Result<Vec<Start>> {
    let Some(target) = root.target else {
        return Ok(Vec::new());
    };
    let start = |id, floor_ns| Start {
        kind: target.kind,
        id,
        floor_ns,
    };
    if !matches!(root.kind, RootKind::Branch | RootKind::Tag) {
        return Ok(vec![start(target.id, 0)]);
    }
    let data = branches::data_of(root)?;
    let earlier = data
        .jumps
        .iter()
        .map(|jump| start(jump.old_head, jump.floor_ns.get()));
    let kept = data.kept.iter().map(|id| start(*id, NO_HISTORY));
    Ok(std::iter::once(start(target.id, data.floor_ns))
        .chain(earlier)
        .chain(kept)
        .collect())
}

/// Appends what an extent refers to, the parents of a commit excepted.
///
/// # Errors
/// `Invalid` if the bytes are not what `kind` says.
pub fn extent_references(kind: Kind, bytes: &Bytes, found: &mut Vec<(Kind, ContentId)>) -> Result<()> {
    let malformed = |reason: String| Error::invalid("its bytes", reason);
    match kind {
        Kind::Node => found.extend(node::references(bytes).map_err(|damage| malformed(damage.to_string()))?),
        Kind::Commit => {
            found.extend(commit_references(bytes).map_err(|damage| malformed(damage.to_string()))?);
        }
        Kind::Manifest => {
            let decoded = Manifest::decode_any(bytes.clone());
            let (_, manifest) = decoded.map_err(|damage| malformed(damage.to_string()))?;
            found.extend(manifest.pieces().filter_map(|piece| piece.target()));
        }
        Kind::Data | Kind::VolumeNode | Kind::Root => {}
    }
    Ok(())
}

/// The parents of a commit that belong to a history with this floor.
///
/// # Errors
/// `Invalid` if the bytes are not a commit.
pub fn commit_parents(bytes: &[u8], floor_ns: u64) -> Result<Vec<ContentId>> {
    let view = CommitView::decode(bytes).map_err(|damage| Error::invalid("commit", damage.to_string()))?;
    let followed = view.time_ns > floor_ns;
    Ok(if followed { view.parents } else { Vec::new() })
}

/// The histories of the roots of one trace; see the module.
pub struct Histories {
    store: Access,
    /// The lowest floor with which each commit was gone through.
    walked: Mutex<HashMap<(Domain, ContentId), u64>>,
}

impl Histories {
    /// Of no root yet.
    pub fn new(store: impl Into<Access>) -> Histories {
        Histories {
            store: store.into(),
            walked: Mutex::default(),
        }
    }

    /// Sorts roots so that no commit has to be gone through twice: the longest histories first. Malformed ones come
    /// first, to fail early.
    pub fn order(roots: &mut [Root]) {
        roots.sort_by_cached_key(|root| {
            let floor_ns = |starts: Vec<Start>| starts.first().map_or(0, |start| start.floor_ns);
            root_starts(root).map_or(0, floor_ns)
        });
    }

    /// Appends what `root` keeps alive by itself: its targets, and all commits of their histories. Commits that this
    /// value has answered with before are left out.
    ///
    /// # Errors
    /// `Invalid` if the root or a commit is malformed; the store's if a commit of the history cannot be read. Nothing
    /// may be collected then.
    pub async fn root(&self, root: &Root, found: &mut Vec<(Kind, ContentId)>) -> Result<()> {
        let mut starts = root_starts(root)?;
        starts.sort_by_key(|start| start.floor_ns);
        for start in starts {
            self.start(root.domain, start, found).await?;
        }
        Ok(())
    }

    /// Appends the commit `key` and as much of its history as is there.
    ///
    /// # Errors
    /// As [`root`](Self::root).
    pub async fn held(&self, key: Key, found: &mut Vec<(Kind, ContentId)>) -> Result<()> {
        let mut waiting: Vec<ContentId> = Vec::new();
        if self.store.contains(&[key])?[0] {
            waiting.extend(self.reach(key.domain, key.id, 0, found));
        }
        while !waiting.is_empty() {
            let batch = waiting.split_off(waiting.len().saturating_sub(COMMITS_AT_ONCE));
            let keys: Vec<Key> = batch.iter().map(|id| commit_key(key.domain, *id)).collect();
            let mut parents = Vec::new();
            for bytes in self.store.get_many(&keys).await {
                parents.extend(commit_parents(&bytes?, 0)?);
            }
            let keys: Vec<Key> = parents.iter().map(|id| commit_key(key.domain, *id)).collect();
            for (parent, stored) in parents.into_iter().zip(self.store.contains(&keys)?) {
                if stored {
                    waiting.extend(self.reach(key.domain, parent, 0, found));
                }
            }
        }
        Ok(())
    }

    async fn start(&self, domain: Domain, start: Start, found: &mut Vec<(Kind, ContentId)>) -> Result<()> {
        if start.kind != Kind::Commit {
            found.push((start.kind, start.id));
            return Ok(());
        }
        let floor_ns = start.floor_ns;
        let mut waiting: Vec<ContentId> = Vec::new();
        waiting.extend(self.reach(domain, start.id, floor_ns, found));
        while !waiting.is_empty() {
            let batch = waiting.split_off(waiting.len().saturating_sub(COMMITS_AT_ONCE));
            let keys: Vec<Key> = batch.iter().map(|id| commit_key(domain, *id)).collect();
            for bytes in self.store.get_many(&keys).await {
                for parent in commit_parents(&bytes?, floor_ns)? {
                    waiting.extend(self.reach(domain, parent, floor_ns, found));
                }
            }
        }
        Ok(())
    }

    /// A commit was reached. Answers it if it has yet to be gone through with this floor.
    fn reach(
        &self,
        domain: Domain,
        id: ContentId,
        floor_ns: u64,
        found: &mut Vec<(Kind, ContentId)>,
    ) -> Option<ContentId> {
        let mut walked = self.walked.lock();
        match walked.entry((domain, id)) {
            Entry::Vacant(new) => {
                new.insert(floor_ns);
                found.push((Kind::Commit, id));
                (floor_ns != NO_HISTORY).then_some(id)
            }
            Entry::Occupied(mut lowest) if floor_ns < *lowest.get() => {
                lowest.insert(floor_ns);
                Some(id)
            }
            Entry::Occupied(_) => None,
        }
    }
}

impl Trees {
    /// A floor for a new history that begins at `commit`: the lowest of those whose history it is in. `near` is a
    /// branch whose head it may well be.
    pub(super) async fn floor_of(&self, commit: ContentId, near: Option<&str>) -> Result<u64> {
        if !has_floors(&self.store)? {
            return Ok(0);
        }
        if let Some(head) = near.map(|near| self.head(near)).transpose()?.flatten()
            && head.commit == commit
        {
            return Ok(head.data()?.floor_ns);
        }
        Box::pin(self.floor_by_histories(commit)).await
    }

    async fn floor_by_histories(&self, commit: ContentId) -> Result<u64> {
        let mut starts = Vec::new();
        for kind in [RootKind::Branch, RootKind::Tag] {
            let roots = self.store.roots(kind)?.into_iter();
            for root in roots.filter(|root| root.domain == self.domain) {
                starts.extend(root_starts(&root)?);
            }
        }
        starts.sort_by_key(|start| start.floor_ns);
        // A head may be in a longer history than its own.
        let lowest_ns = starts.first().map_or(NO_HISTORY, |start| start.floor_ns);
        if starts
            .iter()
            .any(|start| start.id == commit && start.floor_ns == lowest_ns)
            && lowest_ns != NO_HISTORY
        {
            return Ok(lowest_ns);
        }
        let histories = Histories::new(self.store.clone());
        let mut found = Vec::new();
        for start in starts.into_iter().filter(|start| start.floor_ns != NO_HISTORY) {
            found.clear();
            histories.start(self.domain, start, &mut found).await?;
            if found.contains(&(Kind::Commit, commit)) {
                return Ok(start.floor_ns);
            }
        }
        Ok(self.read_commit(commit).await?.time_ns)
    }

    /// The highest of the floors of `commits`: one that holds for all of them.
    pub(super) async fn floor_of_all(&self, commits: &[ContentId], near: Option<&str>) -> Result<u64> {
        let mut floor_ns = 0;
        for commit in commits {
            floor_ns = self.floor_of(*commit, near).await?.max(floor_ns);
        }
        Ok(floor_ns)
    }
}

/// The change that says that commits may have parents that are gone. It goes in with, or before, the first floor, and
/// before the first commit is dropped.
pub fn floors_mark() -> RootUpdate {
    RootUpdate {
        kind: RootKind::Setting,
        name: FLOORS.into(),
        expect: Expect::Any,
        change: RootChange::Set {
            target: None,
            data: Bytes::from_static(FLOORS_DATA),
        },
    }
}

/// Whether [`floors_mark`] has been set.
///
/// # Errors
/// The link's, if the store is behind one.
pub fn has_floors(store: &Access) -> Result<bool> {
    Ok(store.root(RootKind::Setting, FLOORS)?.is_some())
}

#[cfg(test)]
#[path = "liveness_tests.rs"]
mod tests;
