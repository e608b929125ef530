//! Reading a tree: one path, one directory, or everything below.
//!
//! Looking up never follows symbolic links. A walk goes depth first in the order of names; the directories inside one
//! directory are read together, so that the store can merge the reads.

use std::collections::BTreeMap;

use super::directory_read::{self, Expected, fetch};
use super::entry::{Entry, EntryKind};
use super::path::TreePath;
use super::{Trees, commit::TreeCounts};
use crate::access::Access;
use crate::error::{Error, Result};
use crate::format::node::{LeafView, NodeView};
use crate::format::{ContentId, Domain};

/// Directories that a walk reads ahead, and nodes that a count reads, at once.
const READ_AHEAD: usize = 256;

impl Trees {
    /// The entry at `path` below directory `root`; nothing if a name on the way is missing.
    ///
    /// # Errors
    /// `Invalid` if a name on the way is not a directory; whatever reading nodes answers.
    pub async fn lookup(&self, root: &Entry, path: &TreePath) -> Result<Option<Entry>> {
        let mut at = root.clone();
        for name in path.components() {
            if at.kind != EntryKind::Directory {
                return Err(Error::invalid(
                    format!("path {path}"),
                    "a name on the way is not a directory",
                ));
            }
            match directory_read::find(&self.store, self.domain, at.id, name).await? {
                Some(entry) => at = entry,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The entry at `path` of commit `commit`.
    ///
    /// # Errors
    /// `NotFound` with the path; otherwise as [`Trees::lookup`].
    pub async fn entry_at(&self, commit: ContentId, path: &TreePath) -> Result<Entry> {
        let root = self.read_commit(commit).await?.root;
        let found = self.lookup(&root, path).await?;
        found.ok_or_else(|| Error::not_found(format!("path {path} in commit {}", commit.short())))
    }

    /// All entries of `directory`, in order of names.
    ///
    /// # Errors
    /// `Invalid` if it is not a directory; whatever reading nodes answers.
    pub async fn list(&self, directory: &Entry) -> Result<Vec<Entry>> {
        check_directory(directory)?;
        directory_read::entries(&self.store, self.domain, directory.id).await
    }

    /// Everything below `directory`, depth first in order of names.
    ///
    /// # Errors
    /// `Invalid` if it is not a directory.
    pub fn walk(&self, directory: &Entry) -> Result<Walk> {
        check_directory(directory)?;
        let mut start = directory.clone();
        start.name = bytes::Bytes::new();
        Ok(Walk {
            trees: self.clone(),
            open: vec![Listing {
                path: TreePath::root(),
                entries: vec![start].into_iter(),
                ahead: Vec::new(),
            }],
        })
    }

    /// Size of what is below directories `ids`, counting a directory as often as it appears.
    ///
    /// # Errors
    /// Whatever reading nodes answers.
    pub async fn count(&self, ids: &[ContentId]) -> Result<TreeCounts> {
        count(&self.store, self.domain, ids).await
    }
}

/// A walk in progress; see [`Trees::walk`].
pub struct Walk {
    trees: Trees,
    open: Vec<Listing>,
}

/// A directory whose entries are being shown.
struct Listing {
    path: TreePath,
    entries: std::vec::IntoIter<Entry>,
    /// Contents of the next directories in it, last first.
    ahead: Vec<Vec<Entry>>,
}

impl Walk {
    /// The next entry with its path from where the walk began, that directory itself excluded.
    ///
    /// # Errors
    /// Whatever reading nodes answers; the walk can't go on then.
    pub async fn next(&mut self) -> Result<Option<(TreePath, Entry)>> {
        loop {
            let Some(top) = self.open.last_mut() else {
                return Ok(None);
            };
            let Some(entry) = top.entries.next() else {
                self.open.pop();
                continue;
            };
            let path = if entry.name.is_empty() {
                top.path.clone()
            } else {
                top.path.join(&entry.name)
            };
            if entry.kind == EntryKind::Directory {
                if top.ahead.is_empty() {
                    let rest = top
                        .entries
                        .as_slice()
                        .iter()
                        .filter(|entry| entry.kind == EntryKind::Directory);
                    let ids: Vec<ContentId> = std::iter::once(&entry)
                        .chain(rest)
                        .take(READ_AHEAD)
                        .map(|entry| entry.id)
                        .collect();
                    let store = &self.trees.store;
                    top.ahead = directory_read::entries_many(store, self.trees.domain, &ids).await?;
                    top.ahead.reverse();
                }
                let entries = top.ahead.pop().unwrap_or_default().into_iter();
                self.open.push(Listing {
                    path: path.clone(),
                    entries,
                    ahead: Vec::new(),
                });
            }
            if !path.is_root() {
                return Ok(Some((path, entry)));
            }
        }
    }
}

/// Size of what is below directories `ids`.
///
/// Goes down level by level and reads a directory once per level however often it appears there, so that a tree
/// that names one directory many times over costs no more than its nodes.
pub(super) async fn count(store: &Access, domain: Domain, ids: &[ContentId]) -> Result<TreeCounts> {
    let mut counts = TreeCounts::default();
    let mut level: BTreeMap<ContentId, u64> = BTreeMap::new();
    for id in ids {
        *level.entry(*id).or_default() += 1;
    }
    while !level.is_empty() {
        let mut below: BTreeMap<ContentId, u64> = BTreeMap::new();
        let roots = std::mem::take(&mut level).into_iter();
        let mut waiting: Vec<((ContentId, Option<Expected>), u64)> =
            roots.map(|(id, times)| ((id, None), times)).collect();
        while !waiting.is_empty() {
            let batch = waiting.split_off(waiting.len().saturating_sub(READ_AHEAD));
            let (wanted, times): (Vec<_>, Vec<u64>) = batch.into_iter().unzip();
            for (node, times) in fetch(store, domain, &wanted).await?.iter().zip(times) {
                match node.view()? {
                    NodeView::Inner(inner) => {
                        let children = node.children(&inner).into_iter();
                        waiting.extend(children.map(|(id, expected)| ((id, Some(expected)), times)));
                    }
                    NodeView::Leaf(leaf) => count_leaf(&leaf, times, &mut counts, &mut below),
                }
            }
        }
        level = below;
    }
    Ok(counts)
}

fn count_leaf(
    leaf: &LeafView<'_>,
    times: u64,
    counts: &mut TreeCounts,
    below: &mut BTreeMap<ContentId, u64>,
) {
    for record in leaf.records() {
        if record.kind == EntryKind::Directory as u8 {
            let below = below.entry(record.id).or_default();
            *below = below.saturating_add(times);
        } else {
            counts.files = counts.files.saturating_add(times);
            counts.bytes = counts
                .bytes
                .saturating_add(record.size.get().saturating_mul(times));
        }
    }
}

fn check_directory(entry: &Entry) -> Result<()> {
    if entry.kind == EntryKind::Directory {
        return Ok(());
    }
    Err(Error::invalid(
        super::node::describe(&entry.name),
        "it is not a directory",
    ))
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
