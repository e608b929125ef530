//! What differs between two directories, at a cost proportional to the difference.
//!
//! Equal ids mean equal content, so equal directories are never opened. Within a directory whose two sides differ,
//! both are opened level by level; nodes of one level that both sides have drop out by id, wherever they stand, so a
//! boundary that has shifted costs its neighbours and nothing more. All nodes that one round needs, in all directories
//! in progress, are one batch of reads.
//!
//! A name whose kind has changed is reported as removed and added, each with everything below it: whoever follows a
//! difference then never turns a thing of one kind into another in place.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::Trees;
use super::directory_read::{Expected, Fetched, fetch, resolve};
use super::entry::{Entry, EntryKind};
use super::node::{self, Item, malformed};
use super::path::TreePath;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::format::node::{LeafView, NodeDamage, NodeView};

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
        while !search.open.is_empty() {
            search.round(self).await?;
        }
        found.extend(self.finish(search.found).await?);
        found.sort_by(|a, b| {
            a.path
                .cmp(&b.path)
                .then_with(|| rank(&a.change).cmp(&rank(&b.change)))
        });
        Ok(found)
    }

    /// Makes entries of what was found, far attributes included.
    async fn finish(&self, found: Vec<Raw>) -> Result<Vec<Difference>> {
        let mut sides = Vec::with_capacity(found.len());
        for item in found.iter().flat_map(|raw| raw.old.iter().chain(&raw.new)) {
            let attributes = item.record.attributes(&item.attributes);
            let decoded = attributes.and_then(|view| node::decode_item(item, &view));
            sides.push(
                decoded.map_err(|damage| Error::invalid(node::describe(&item.name), damage.to_string()))?,
            );
        }
        let mut entries = resolve(&self.store, self.domain, sides).await?.into_iter();
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

/// One side of a pair of directories: nodes yet to be read, all of one level, and entries found.
#[derive(Default)]
struct Side {
    nodes: Vec<(ContentId, Option<Expected>)>,
    items: Vec<Item>,
}

impl Side {
    fn of(id: Option<ContentId>) -> Side {
        Side {
            nodes: id.map(|id| (id, None)).into_iter().collect(),
            items: Vec::new(),
        }
    }

    /// Level of the nodes; nothing while it is not known.
    fn level(&self) -> Option<u8> {
        self.nodes
            .first()
            .and_then(|(_, expected)| expected.as_ref())
            .map(|expected| expected.level)
    }

    fn take(&mut self, node: &Fetched) -> Result<()> {
        match node.view()? {
            NodeView::Inner(inner) => {
                let children = node.children(&inner).into_iter();
                self.nodes
                    .extend(children.map(|(id, expected)| (id, Some(expected))));
            }
            NodeView::Leaf(leaf) => self.take_leaf(node, &leaf)?,
        }
        Ok(())
    }

    fn take_leaf(&mut self, node: &Fetched, leaf: &LeafView<'_>) -> Result<()> {
        for (name, record, attributes) in leaf.iter() {
            if self.items.last().is_some_and(|last| &last.name[..] >= name) {
                return Err(malformed(node.id, NodeDamage::Order));
            }
            self.items.push(Item {
                name: node.bytes.slice_ref(name),
                record: *record,
                attributes: node.bytes.slice_ref(attributes),
            });
        }
        Ok(())
    }
}

struct Pair {
    path: TreePath,
    old: Side,
    new: Side,
}

impl Pair {
    /// Drops nodes that both sides have.
    fn cancel(&mut self) {
        if self.old.level().is_none() || self.old.level() != self.new.level() {
            return;
        }
        let ids = |side: &Side| {
            side.nodes
                .iter()
                .map(|(id, _)| *id)
                .collect::<HashSet<ContentId>>()
        };
        let (old, new) = (ids(&self.old), ids(&self.new));
        self.old.nodes.retain(|(id, _)| !new.contains(id));
        self.new.nodes.retain(|(id, _)| !old.contains(id));
    }

    /// Which sides have to be read next: the higher one, so that the two meet on one level.
    fn turns(&self) -> [bool; 2] {
        match (self.old.level(), self.new.level()) {
            (Some(old), Some(new)) => [old >= new, new >= old],
            _ => [true, true],
        }
    }
}

struct Search<'a> {
    prefixes: &'a [TreePath],
    open: Vec<Pair>,
    found: Vec<Raw>,
}

impl Search<'_> {
    fn open_pair(&mut self, path: TreePath, old: Option<ContentId>, new: Option<ContentId>) {
        if old != new {
            let (old, new) = (Side::of(old), Side::of(new));
            self.open.push(Pair { path, old, new });
        }
    }

    /// Reads one step further down in every open pair, and compares the entries of those that have been read.
    async fn round(&mut self, trees: &Trees) -> Result<()> {
        let mut open = std::mem::take(&mut self.open);
        let mut wanted = Vec::new();
        let mut owners = Vec::new();
        for (index, pair) in open.iter_mut().enumerate() {
            pair.cancel();
            let [old, new] = pair.turns();
            for (turn, side) in [(old, &mut pair.old), (new, &mut pair.new)]
                .into_iter()
                .enumerate()
            {
                if side.0 {
                    owners.extend(std::iter::repeat_n((index, turn), side.1.nodes.len()));
                    wanted.append(&mut side.1.nodes);
                }
            }
        }
        let nodes = fetch(&trees.store, trees.domain, &wanted).await?;
        for ((index, turn), node) in owners.into_iter().zip(&nodes) {
            let pair = &mut open[index];
            let side = if turn == 0 { &mut pair.old } else { &mut pair.new };
            side.take(node)?;
        }
        for pair in open {
            if pair.old.nodes.is_empty() && pair.new.nodes.is_empty() {
                self.merge(&pair.path, pair.old.items, pair.new.items);
            } else {
                self.open.push(pair);
            }
        }
        Ok(())
    }

    fn merge(&mut self, directory: &TreePath, old: Vec<Item>, new: Vec<Item>) {
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(old), Some(new)) => old.name.cmp(&new.name),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            let old = if order.is_le() { old.next() } else { None };
            let new = if order.is_ge() { new.next() } else { None };
            let name = old
                .as_ref()
                .or(new.as_ref())
                .map(|item| item.name.clone())
                .unwrap_or_default();
            let path = directory.join(&name);
            if self.is_wanted(&path) {
                self.compare(path, old, new);
            }
        }
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
