//! Commits: reading them, and the operation that makes one and moves its branch.
//!
//! A commit is one batch: the new contents and nodes that the caller has put into it, the commit itself and the
//! move of the branch become visible together or not at all.
//! Invariant: a commit is later than its first parent, whatever the clock says; that is what lets a time select one
//! state of a branch.

use std::sync::Arc;

use bytes::Bytes;

use super::branches::Head;
use super::entry::{Entry, EntryKind};
use super::node;
use super::{Trees, branches, ids, names};
use crate::access::{Ack, Batch};
use crate::error::{Error, Result};
use crate::format::branch::BranchData;
use crate::format::commit::{CommitDamage, CommitView};
use crate::format::node::{AttributeView, LeafRecord};
use crate::format::{ContentId, Domain, Kind};
use crate::store::{BatchCounts, Extent, Key, RootChange, RootKind, RootUpdate, Target};

/// Size of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct TreeCounts {
    /// Entries that are not directories.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

/// One state of a tree and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The top directory; its name is empty.
    pub root: Entry,
    /// Earlier commits; the first is the state this one was made from.
    pub parents: Vec<ContentId>,
    /// When: nanoseconds since 1970, later than the first parent.
    pub time_ns: u64,
    /// Size of the tree.
    pub counts: TreeCounts,
    /// Who; may be empty.
    pub author: String,
    /// Why; may be empty.
    pub message: String,
    /// The commit whose state this one takes back. A weak reference: it does not keep that commit alive.
    pub replaces: Option<ContentId>,
    /// Fields that this version does not know, by tag.
    pub others: Vec<(u16, Bytes)>,
}

impl Commit {
    /// Encodes and hashes the commit and pushes it (with far attributes of its root, if any) to `extents`.
    pub(super) fn build(&self, domain: Domain, extents: &mut Vec<Extent>) -> Result<ContentId> {
        let invalid = |damage: CommitDamage| Error::invalid("commit", damage.to_string());
        let mut far = None;
        if let Some(bytes) = node::far_xattrs(&self.root)? {
            let id = ids::content_ids(&[&bytes])[0];
            far = Some((id, u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
            let key = node::data_key(domain, id);
            extents.push(Extent { key, bytes });
        }
        let mut encoded = Err(CommitDamage::Length);
        node::encode_entry(
            &self.root,
            far,
            |_: LeafRecord, attributes: &AttributeView<'_>| {
                encoded = CommitView {
                    time_ns: self.time_ns,
                    files: self.counts.files,
                    bytes: self.counts.bytes,
                    tree: self.root.id,
                    mode: self.root.mode,
                    attributes: *attributes,
                    parents: self.parents.clone(),
                    author: &self.author,
                    message: &self.message,
                    replaces: self.replaces,
                    others: self
                        .others
                        .iter()
                        .map(|(tag, value)| (*tag, &value[..]))
                        .collect(),
                }
                .encode();
                Ok(())
            },
        )?;
        let bytes = Bytes::from(encoded.map_err(invalid)?);
        let id = ids::commit_id(&bytes);
        extents.push(Extent {
            key: commit_key(domain, id),
            bytes,
        });
        Ok(id)
    }
}

/// What must be true of a branch for a commit or move to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpectHead {
    /// Nothing: the branch may be anywhere, or may not exist yet.
    #[default]
    Any,
    /// It does not exist.
    Absent,
    /// Its head is this commit.
    Is(ContentId),
}

impl ExpectHead {
    pub(super) fn check(self, branch: &str, head: Option<ContentId>) -> Result<()> {
        match self {
            ExpectHead::Absent if head.is_some() => Err(Error::Exists {
                what: format!("branch {branch}"),
            }),
            ExpectHead::Is(expected) if head != Some(expected) => {
                Err(branches::moved(branch, Some(expected), head))
            }
            _ => Ok(()),
        }
    }
}

/// How to commit.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Why; may be empty.
    pub message: String,
    /// Who; may be empty.
    pub author: String,
    /// Condition on the branch.
    pub expect: ExpectHead,
    /// Earlier commits; absent: the head of the branch. If the first is another than the head, the branch remembers
    /// where it was.
    pub parents: Option<Vec<ContentId>>,
    /// Waits until the commit survives power loss.
    pub durable: bool,
    /// Commits even if the tree is what the head has already.
    pub allow_unchanged: bool,
    /// The commit whose state this one takes back.
    pub replaces: Option<ContentId>,
    /// When; absent: now. Never earlier than the first parent.
    pub time_ns: Option<u64>,
}

/// A commit that is to be made onto a head that is known.
pub(super) struct Proposal<'a> {
    pub branch: &'a str,
    /// Head of the branch with its commit; absent if there is no such branch.
    pub base: Option<(&'a Head, &'a Commit)>,
    pub root: Entry,
    pub counts: TreeCounts,
    /// In place of the options' author.
    pub author: &'a str,
    /// In place of the options' time.
    pub time_ns: Option<u64>,
    /// Its condition on the branch has been looked at.
    pub options: &'a CommitOptions,
}

/// What a commit did.
#[derive(Debug, Clone)]
pub struct CommitOutcome {
    /// The head of the branch now.
    pub commit: ContentId,
    /// Root node of its tree.
    pub tree: ContentId,
    /// Its first parent.
    pub parent: Option<ContentId>,
    /// True if the tree was what the head had already, and nothing was committed.
    pub unchanged: bool,
    /// Time in the commit.
    pub time_ns: u64,
    /// Size of the tree.
    pub counts: TreeCounts,
    /// What was offered to the store, and what of it was new.
    pub written: BatchCounts,
    /// Waits for durability and keeps what was written alive; absent if nothing was committed.
    pub ack: Option<Ack>,
}

impl Trees {
    /// Commit `id`.
    ///
    /// # Errors
    /// `NotFound` or `Damaged` from the store; `Invalid` if its bytes are not those of a commit.
    pub async fn read_commit(&self, id: ContentId) -> Result<Commit> {
        self.read_commits(&[id])
            .await?
            .pop()
            .ok_or_else(|| Error::not_found(format!("commit {id}")))
    }

    /// Many commits, in the order asked, with one batch of reads.
    ///
    /// # Errors
    /// As [`Trees::read_commit`], for the first that cannot be read.
    pub async fn read_commits(&self, ids: &[ContentId]) -> Result<Vec<Commit>> {
        let keys: Vec<Key> = ids.iter().map(|id| commit_key(self.domain, *id)).collect();
        let mut commits = Vec::with_capacity(ids.len());
        for (id, bytes) in ids.iter().zip(self.store.get_many(&keys).await) {
            commits.push(self.decode_commit(*id, &bytes?).await?);
        }
        Ok(commits)
    }

    async fn decode_commit(&self, id: ContentId, bytes: &Bytes) -> Result<Commit> {
        let invalid = |reason: String| Error::invalid(format!("commit {id}"), reason);
        let view = CommitView::decode(bytes).map_err(|damage| invalid(damage.to_string()))?;
        let record = LeafRecord {
            id: view.tree,
            size: 0.into(),
            mode: view.mode.into(),
            kind: EntryKind::Directory as u8,
            name_bytes: 0,
            tags: 0.into(),
            attributes_bytes: 0.into(),
        };
        let decoded = node::decode_parts(bytes, b"", &record, &view.attributes)
            .map_err(|damage| invalid(damage.to_string()))?;
        let root = super::directory_read::resolve_one(&self.store, self.domain, decoded).await?;
        Ok(Commit {
            root,
            parents: view.parents,
            time_ns: view.time_ns,
            counts: TreeCounts {
                files: view.files,
                bytes: view.bytes,
            },
            author: view.author.into(),
            message: view.message.into(),
            replaces: view.replaces,
            others: view
                .others
                .iter()
                .map(|(tag, value)| (*tag, bytes.slice_ref(value)))
                .collect(),
        })
    }

    /// Commits the tree whose top directory is `root` to `branch`, which is made if it does not exist. `batch` holds
    /// (by `put` or `hold`) everything of the tree that the store may not have.
    ///
    /// # Errors
    /// `Conflict` (or `Exists`) if the branch is not what `options.expect` says, or moves at this moment; `OverQuota`;
    /// `Invalid` for an impossible branch name or texts that are too long; whatever the store answers.
    pub async fn commit_tree(
        &self,
        batch: Batch,
        branch: &str,
        root: Entry,
        counts: TreeCounts,
        options: &CommitOptions,
    ) -> Result<CommitOutcome> {
        names::check("branch", branch)?;
        let batch = batch.in_domain(self.domain);
        let head = self.head(branch)?;
        options
            .expect
            .check(branch, head.as_ref().map(|head| head.commit))?;
        let old = match &head {
            Some(head) => Some(self.read_commit(head.commit).await?),
            None => None,
        };
        let proposal = Proposal {
            branch,
            base: head.as_ref().zip(old.as_ref()),
            root,
            counts,
            author: &options.author,
            time_ns: options.time_ns,
            options,
        };
        Ok(self.commit_onto(batch, Vec::new(), proposal).await?.0)
    }

    /// [`Trees::commit_tree`] for callers that know the head and its commit; `batch` is of the
    /// trees' domain, `extents` go in with the commit. Says the commit as well, if one was made.
    pub(super) async fn commit_onto(
        &self,
        mut batch: Batch,
        mut extents: Vec<Extent>,
        proposal: Proposal<'_>,
    ) -> Result<(CommitOutcome, Option<Arc<Commit>>)> {
        check_root(&proposal.root)?;
        let (branch, base, options) = (proposal.branch, proposal.base, proposal.options);
        let head = base.map(|(head, _)| head.commit);
        let parents = options
            .parents
            .clone()
            .unwrap_or_else(|| head.into_iter().collect());
        let onto_head = parents.first().copied() == head;
        if let Some((head, old)) = base
            && onto_head
            && !options.allow_unchanged
            && old.root == proposal.root
        {
            if options.durable {
                Box::pin(self.store.flush()).await?;
            }
            return Ok((unchanged(head.commit, old, &batch), None));
        }
        let parent_time_ns = match (base, parents.first()) {
            (Some((_, old)), _) if onto_head => Some(old.time_ns),
            (_, Some(parent)) => Some(Box::pin(self.read_commit(*parent)).await?.time_ns),
            (_, None) => None,
        };
        let now_ns = self.store.now_ns();
        let asked_ns = proposal.time_ns.unwrap_or(now_ns);
        let commit = Arc::new(Commit {
            root: proposal.root,
            parents,
            time_ns: parent_time_ns.map_or(asked_ns, |parent| asked_ns.max(parent.saturating_add(1))),
            counts: proposal.counts,
            author: proposal.author.to_owned(),
            message: options.message.clone(),
            replaces: options.replaces,
            others: Vec::new(),
        });
        let id = commit.build(self.domain, &mut extents)?;
        batch.put(extents).await?;
        self.hold_commits(&mut batch, &commit.parents)?;
        let data = match base {
            Some((head, _)) if onto_head && commit.parents.len() == 1 => head.root.data.clone(),
            _ => Box::pin(self.data_with(base.map(|(head, _)| head), &commit, now_ns)).await?,
        };
        let written = batch.counts();
        let data = self.charge(branch, data, written.new_bytes)?;
        batch.set_root(RootUpdate {
            kind: RootKind::Branch,
            name: branch.as_bytes().into(),
            expect: branches::expect(base.map(|(head, _)| head)),
            change: RootChange::Set {
                target: Some(Target {
                    kind: Kind::Commit,
                    id,
                }),
                data,
            },
        });
        let ack = batch
            .submit()
            .await
            .map_err(|error| self.explain(error, branch, head))?;
        self.charged(branch, written.new_bytes);
        if options.durable {
            ack.durable().await?;
        }
        let outcome = CommitOutcome {
            commit: id,
            tree: commit.root.id,
            parent: commit.parents.first().copied(),
            unchanged: false,
            time_ns: commit.time_ns,
            counts: commit.counts,
            written,
            ack: Some(ack),
        };
        Ok((outcome, Some(commit)))
    }

    /// Data of a branch that leaves `head` for `commit`, which has other parents or more of them.
    async fn data_with(&self, head: Option<&Head>, commit: &Commit, now_ns: u64) -> Result<Bytes> {
        let floor_ns = self.floor_of_all(&commit.parents, None).await?;
        let Some(head) = head else {
            let data = BranchData::new(now_ns, commit.time_ns, floor_ns);
            return Ok(data.encode().into());
        };
        let mut data = head.data()?;
        let onto_head = commit.parents.first() == Some(&head.commit);
        // A merged history that was cut higher up would cut this one; as an earlier head it stays what it was.
        if !onto_head || floor_ns > data.floor_ns {
            data.jump(now_ns, head.commit, commit.time_ns, floor_ns);
        }
        Ok(data.encode().into())
    }

    /// Makes `batch` hold commits that it refers to.
    pub(super) fn hold_commits(&self, batch: &mut Batch, commits: &[ContentId]) -> Result<()> {
        let missing = match commits {
            // Nearly always, and a fork waits for little else.
            [id] => (!batch.hold_one(commit_key(self.domain, *id))?).then_some(id),
            _ => {
                let keys: Vec<Key> = commits.iter().map(|id| commit_key(self.domain, *id)).collect();
                let held = batch.hold(&keys)?;
                commits
                    .iter()
                    .zip(held)
                    .find_map(|(id, held)| (!held).then_some(id))
            }
        };
        match missing {
            Some(id) => Err(Error::not_found(format!("commit {id}"))),
            None => Ok(()),
        }
    }
}

/// The key of a commit.
pub(super) fn commit_key(domain: Domain, id: ContentId) -> Key {
    Key {
        domain,
        kind: Kind::Commit,
        id,
    }
}

/// What a commit refers to: its tree, far attributes of its top directory. Whether its parents belong to a history is
/// the history's affair, see `liveness`.
///
/// # Errors
/// The bytes are not a commit.
pub fn commit_references(bytes: &[u8]) -> Result<Vec<(Kind, ContentId)>, CommitDamage> {
    let view = CommitView::decode(bytes)?;
    let mut found = vec![(Kind::Node, view.tree)];
    if let crate::format::node::XattrView::Far { id, .. } = view.attributes.xattrs {
        found.push((Kind::Data, id));
    }
    Ok(found)
}

fn unchanged(id: ContentId, head: &Commit, batch: &Batch) -> CommitOutcome {
    CommitOutcome {
        commit: id,
        tree: head.root.id,
        parent: head.parents.first().copied(),
        unchanged: true,
        time_ns: head.time_ns,
        counts: head.counts,
        written: batch.counts(),
        ack: None,
    }
}

fn check_root(root: &Entry) -> Result<()> {
    if root.kind == EntryKind::Directory && root.name.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(
        "top of the tree",
        "it must be a directory with an empty name",
    ))
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
