//! What differs between two directories, at a cost proportional to the difference.
//!
//! Equal ids mean equal content, so equal directories are never opened; how two different ones are compared is in
//! `pair`. All nodes that one round needs, in all directories in progress, are one batch of reads.
//!
//! A name whose kind has changed is reported as removed and added, each with everything below it: whoever follows a
//! difference then never turns a thing of one kind into another in place.

use super::Trees;
use super::directory_read::resolve;
use super::entry::{Entry, EntryKind};
use super::node::{self, Item};
use super::pair::{self, Pair};
use super::path::TreePath;
use crate::error::{Error, Result};
use crate::format::ContentId;

/// What of an entry has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Changed {
    /// Bytes of a file, target of a link. Never set for a directory: what is in it is reported by itself.
    pub content: bool,
    /// Permission bits.
    pub mode: bool,
    /// Owner or group.
    pub owner: bool,
    /// Time of last change.
    pub mtime: bool,
    /// Extended attributes, ACLs among them.
    pub xattrs: bool,
    /// Device numbers.
    pub device: bool,
    /// Which names are links to one file.
    pub links: bool,
}

impl Changed {
    /// True if nothing but the time of last change is different.
    pub fn is_only_mtime(self) -> bool {
        Changed { mtime: false, ..self } == Changed::default()
    }
}

/// What happened to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the new side has it.
    Added(Entry),
    /// Only the old side has it.
    Removed(Entry),
    /// Both have it, of the same kind.
    Modified {
        /// Before.
        old: Entry,
        /// After.
        new: Entry,
        /// What is different.
        changed: Changed,
    },
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where; the root for the two directories themselves.
    pub path: TreePath,
    /// What.
    pub change: Change,
}

impl Trees {
    /// How to get from directory `old` to directory `new`, in the order of paths (a directory before what is in it;
    /// at one path, removed before added). With `prefixes`, only what is at or below one of them.
    ///
    /// # Errors
    /// `Invalid` if one is not a directory; whatever reading nodes answers.
    pub async fn diff(&self, old: &Entry, new: &Entry, prefixes: &[TreePath]) -> Result<Vec<Difference>> {
        for entry in [old, new] {
            if entry.kind != EntryKind::Directory {
                return Err(Error::invalid(
                    node::describe(&entry.name),
                    "it is not a directory",
                ));
            }
        }
        let mut found = Vec::new();
        let changed = compare(old, new);
        if changed != Changed::default() && (prefixes.is_empty() || prefixes.iter().any(TreePath::is_root)) {
            let (old, new) = (old.clone(), new.clone());
            found.push(Difference {
                path: TreePath::root(),
                change: Change::Modified { old, new, changed },
            });
        }
        let mut search = Search {
            prefixes,
            open: Vec::new(),
            found: Vec::new(),
        };
        search.open_pair(TreePath::root(), Some(old.id), Some(new.id));
        found.extend(self.search(search).await?);
        Ok(found)
    }

    /// The differences between pairs of entries, each at its path and below, in the order of [`Trees::diff`].
    pub(super) async fn diff_items(
        &self,
        pairs: Vec<(TreePath, Option<Item>, Option<Item>)>,
    ) -> Result<Vec<Difference>> {
        let mut search = Search {
            prefixes: &[],
            open: Vec::new(),
            found: Vec::new(),
        };
        for (path, old, new) in pairs {
            search.compare(path, old, new);
        }
        self.search(search).await
    }

    /// Goes through everything that is open.
    async fn search(&self, mut search: Search<'_>) -> Result<Vec<Difference>> {
        while !search.open.is_empty() {
            search.round(self).await?;
        }
        let mut found = self.finish(search.found).await?;
        found.sort_by(|a, b| {
            a.path
                .cmp(&b.path)
                .then_with(|| rank(&a.change).cmp(&rank(&b.change)))
        });
        Ok(found)
    }

    /// Makes entries of what was found, far attributes included.
    async fn finish(&self, found: Vec<Raw>) -> Result<Vec<Difference>> {
        let sides = found.iter().flat_map(|raw| raw.old.iter().chain(&raw.new));
        let mut entries = self.entries_of(sides).await?.into_iter();
        let mut differences = Vec::with_capacity(found.len());
        for raw in found {
            let old = raw.old.and_then(|_| entries.next());
            let new = raw.new.and_then(|_| entries.next());
            let change = match (old, new) {
                (Some(old), Some(new)) => {
                    let changed = compare(&old, &new);
                    Change::Modified { old, new, changed }
                }
                (Some(old), None) => Change::Removed(old),
                (None, Some(new)) => Change::Added(new),
                (None, None) => continue,
            };
            differences.push(Difference {
                path: raw.path,
                change,
            });
        }
        Ok(differences)
    }

    /// The entries that `items` are, in their order.
    pub(super) async fn entries_of<'a>(&self, items: impl Iterator<Item = &'a Item>) -> Result<Vec<Entry>> {
        let mut decoded = Vec::new();
        for item in items {
            let attributes = item.record.attributes(&item.attributes);
            let entry = attributes.and_then(|view| node::decode_item(item, &view));
            decoded.push(
                entry.map_err(|damage| Error::invalid(node::describe(&item.name), damage.to_string()))?,
            );
        }
        resolve(&self.store, self.domain, decoded).await
    }
}

fn rank(change: &Change) -> u8 {
    u8::from(matches!(change, Change::Added(_)))
}

/// What differs between two entries of one kind.
pub(super) fn compare(old: &Entry, new: &Entry) -> Changed {
    let (a, b) = (&old.attributes, &new.attributes);
    let directory = old.kind == EntryKind::Directory;
    Changed {
        content: !directory && (old.id, old.size) != (new.id, new.size),
        mode: old.mode != new.mode,
        owner: (a.uid, a.gid) != (b.uid, b.gid),
        mtime: a.mtime != b.mtime,
        xattrs: a.xattrs != b.xattrs,
        device: a.device != b.device,
        links: a.link_group != b.link_group,
    }
}

/// True if everything but the id of a directory is the same.
fn same(old: &Item, new: &Item) -> bool {
    let fields = |item: &Item| {
        let record = &item.record;
        let id = if item.is_directory() {
            ContentId([0; 32])
        } else {
            record.id
        };
        (
            id,
            record.size.get(),
            record.mode.get(),
            record.kind,
            record.tags.get(),
        )
    };
    fields(old) == fields(new) && old.attributes == new.attributes
}

struct Raw {
    path: TreePath,
    old: Option<Item>,
    new: Option<Item>,
}

struct Open {
    path: TreePath,
    pair: Pair,
}

struct Search<'a> {
    prefixes: &'a [TreePath],
    open: Vec<Open>,
    found: Vec<Raw>,
}

impl Search<'_> {
    fn open_pair(&mut self, path: TreePath, old: Option<ContentId>, new: Option<ContentId>) {
        if old != new {
            let pair = Pair::open(old, new);
            self.open.push(Open { path, pair });
        }
    }

    /// Reads one step further down in every open pair, and compares the entries of those that have been read.
    async fn round(&mut self, trees: &Trees) -> Result<()> {
        let mut open = std::mem::take(&mut self.open);
        let mut pairs: Vec<&mut Pair> = open.iter_mut().map(|open| &mut open.pair).collect();
        pair::descend(trees, &mut pairs).await?;
        for open in open {
            if !open.pair.is_read() {
                self.open.push(open);
                continue;
            }
            for unequal in open.pair.unequal() {
                let path = open.path.join(&unequal.name);
                if self.is_wanted(&path) {
                    self.compare(path, unequal.old, unequal.new);
                }
            }
        }
        Ok(())
    }

    fn compare(&mut self, path: TreePath, old: Option<Item>, new: Option<Item>) {
        let below = |item: &Option<Item>| {
            item.as_ref()
                .filter(|item| item.is_directory())
                .map(|item| item.record.id)
        };
        match (old, new) {
            (Some(old), Some(new)) if old.record.kind != new.record.kind => {
                self.compare(path.clone(), Some(old), None);
                self.compare(path, None, Some(new));
            }
            (old, new) => {
                self.open_pair(path.clone(), below(&old), below(&new));
                let same = matches!((&old, &new), (Some(old), Some(new)) if same(old, new));
                if !same && self.is_shown(&path) {
                    self.found.push(Raw { path, old, new });
                }
            }
        }
    }

    /// True for paths on the way to, at or below a prefix.
    fn is_wanted(&self, path: &TreePath) -> bool {
        self.prefixes.is_empty()
            || self
                .prefixes
                .iter()
                .any(|prefix| prefix.contains(path) || path.contains(prefix))
    }

    /// True for paths at or below a prefix.
    fn is_shown(&self, path: &TreePath) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| prefix.contains(path))
    }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
