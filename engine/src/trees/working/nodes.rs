//! The nodes of one directory in memory, as they are encoded.
//!
//! All inner nodes are loaded with the directory, leaves of large directories on first use, and those that were let go again. An entry is found by going
//! through the encoded leaf, so a clean directory costs its own bytes and a few words per node.

use std::mem::offset_of;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use zerocopy::FromBytes;

use super::edit::{DirectoryIndex, Edit};
use super::name_index::{NameIndex, Separators};
use crate::error::Result;
use crate::format::ContentId;
use crate::format::node::{InnerEncoder, InnerRecord, InnerView, LeafRecord, LeafView, NodeView};
use crate::trees::directory_read::{Expected, Fetched, fetch};
use crate::trees::node::malformed;
use crate::trees::{Trees, directory, shape};

/// Leaves that come with their directory; those of larger ones are loaded one by one.
const LEAVES_AT_ONCE: usize = 64;

/// One node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Its first name; empty in the leaf of an empty directory.
    pub first: Bytes,
    pub id: ContentId,
    /// Entries of the directory below it.
    pub entries: u64,
    /// Encoded and checked; empty while not loaded. Shared with forks; bytes that a tree has for itself a commit replaces
    /// where they are.
    pub bytes: Arc<[u8]>,
    /// Where its names are; leaves only.
    pub names: NameIndex,
    /// Index of the node above it, in its level.
    pub parent: u32,
    /// Index of its first child in the level below; 0 for leaves.
    pub start: u32,
    /// Entries that are loaded directories, by slot; leaves only. Apart from the changes: a commit goes through those, and
    /// forks copy these.
    pub children: Vec<(u8, DirectoryIndex)>,
    /// Changes of its entries, by slot; leaves only.
    pub edits: Vec<(u8, Edit)>,
}

impl Node {
    /// Puts in the bytes of a leaf.
    pub fn fill(&mut self, bytes: Arc<[u8]>) {
        self.bytes = bytes;
        self.names = self.leaf().map_or(NameIndex::NONE, |leaf| NameIndex::of(&leaf));
    }

    /// Lets go of the bytes of a leaf.
    pub fn empty(&mut self) {
        self.bytes = Arc::default();
        self.names = NameIndex::NONE;
    }

    /// Puts in bytes with the same names.
    pub fn replace(&mut self, bytes: &[u8]) {
        match Arc::get_mut(&mut self.bytes) {
            Some(own) if own.len() == bytes.len() => own.copy_from_slice(bytes),
            _ => self.bytes = bytes.into(),
        }
    }

    /// The leaf; nothing while it is not loaded.
    pub fn leaf(&self) -> Option<LeafView<'_>> {
        LeafView::of_checked(&self.bytes).ok()
    }

    /// Fixed fields of entry `slot` of a loaded leaf.
    pub fn record(&self, slot: u8) -> Option<&LeafRecord> {
        let start = LeafView::record_offset(usize::from(slot));
        LeafRecord::ref_from_bytes(self.bytes.get(start..start + size_of::<LeafRecord>())?).ok()
    }

    /// The change of entry `slot`, if there is one.
    pub fn edit(&self, slot: u8) -> Option<&Edit> {
        self.edits
            .iter()
            .find(|(edited, _)| *edited == slot)
            .map(|(_, edit)| edit)
    }

    /// The loaded directory that entry `slot` is, unless the entry is changed itself.
    pub fn child(&self, slot: u8) -> Option<DirectoryIndex> {
        let at = self.children.binary_search_by_key(&slot, |(at, _)| *at);
        at.ok().map(|at| self.children[at].1)
    }

    /// Entry `slot` is a loaded directory.
    pub fn put_child(&mut self, slot: u8, child: DirectoryIndex) {
        match self.children.binary_search_by_key(&slot, |(at, _)| *at) {
            Ok(at) => self.children[at].1 = child,
            Err(at) => self.children.insert(at, (slot, child)),
        }
    }

    /// Entry `slot` is none, or says so itself.
    pub fn take_child(&mut self, slot: u8) {
        if let Ok(at) = self.children.binary_search_by_key(&slot, |(at, _)| *at) {
            self.children.remove(at);
        }
    }

    fn expected(&self, level: u8) -> Expected {
        Expected {
            level,
            first: self.first.clone(),
            entries: self.entries,
        }
    }
}

/// The nodes of one directory: leaves first, one root last.
#[derive(Debug, Clone)]
pub(super) struct Nodes {
    pub levels: Vec<Vec<Node>>,
    separators: Separators,
}

impl Nodes {
    /// The nodes of a directory without entries.
    pub fn empty() -> Nodes {
        let (id, bytes) = directory::empty_directory();
        Nodes::new(vec![vec![fresh(Bytes::new(), id, 0, bytes[..].into())]])
    }

    /// The nodes in `levels`, leaves first.
    pub fn new(levels: Vec<Vec<Node>>) -> Nodes {
        let firsts = levels
            .first()
            .and_then(|leaves| leaves.get(1..))
            .unwrap_or_default();
        let separators = Separators::of(firsts.iter().map(|leaf| &leaf.first[..]));
        Nodes { levels, separators }
    }

    /// Loads directory `id`: its inner nodes, and its leaves unless there are many.
    pub async fn load(trees: &Trees, id: ContentId) -> Result<Nodes> {
        let mut level = load_many(trees, &[(id, None)]).await?;
        let mut levels = Vec::new();
        loop {
            let Some(top) = level.first() else {
                return Ok(Nodes::empty());
            };
            let height = NodeView::decode(&top.bytes).map_or(0, |view| view.level());
            if height == 0 {
                levels.push(level);
                break;
            }
            let wanted = children_of(&mut level)?;
            let leaves_later = height == 1 && wanted.len() > LEAVES_AT_ONCE;
            let mut below = if leaves_later {
                wanted
                    .iter()
                    .map(|(_, id, expected)| unloaded(*id, expected))
                    .collect()
            } else {
                let wanted: Vec<_> = wanted
                    .iter()
                    .map(|(_, id, expected)| (*id, Some(expected.clone())))
                    .collect();
                load_many(trees, &wanted).await?
            };
            for (node, (parent, ..)) in below.iter_mut().zip(&wanted) {
                node.parent = *parent;
            }
            levels.push(level);
            if leaves_later {
                levels.push(below);
                break;
            }
            level = below;
        }
        levels.reverse();
        Ok(Nodes::new(levels))
    }

    /// Loads leaf `index`.
    pub async fn load_leaf(&self, trees: &Trees, index: u32) -> Result<Arc<[u8]>> {
        let node = &self.levels[0][index as usize];
        let wanted = (node.id, Some(node.expected(0)));
        let fetched = fetch(&trees.store, trees.domain, &[wanted]).await?.pop();
        Ok(fetched
            .map(|fetched| fetched.bytes[..].into())
            .unwrap_or_default())
    }

    /// Leaves that are not loaded.
    pub fn missing_leaves(&self) -> Vec<u32> {
        let missing = (0u32..)
            .zip(&self.levels[0])
            .filter(|(_, node)| node.bytes.is_empty());
        missing.map(|(index, _)| index).collect()
    }

    /// Id of the directory.
    pub fn id(&self) -> ContentId {
        self.levels.last().map_or(ContentId([0; 32]), |top| top[0].id)
    }

    /// The leaf that holds `name` if any does.
    pub fn leaf_for(&self, name: &[u8]) -> u32 {
        let leaves = &self.levels[0];
        let leaf = self.separators.leaf_for(name, |leaf| &leaves[leaf].first);
        u32::try_from(leaf).unwrap_or(u32::MAX)
    }

    /// Where node `parent` of the level above has the id of node `index` of `level`.
    pub fn id_range(&self, level: usize, parent: u32, index: u32) -> Range<usize> {
        let slot = (index - self.levels[level + 1][parent as usize].start) as usize;
        let start = InnerView::record_offset(slot) + offset_of!(InnerRecord, id);
        start..start + size_of::<ContentId>()
    }
}

/// A node about to get its place.
pub(super) fn fresh(first: Bytes, id: ContentId, entries: u64, bytes: Arc<[u8]>) -> Node {
    let mut node = Node {
        first,
        id,
        entries,
        bytes: Arc::default(),
        names: NameIndex::NONE,
        parent: 0,
        start: 0,
        children: Vec::new(),
        edits: Vec::new(),
    };
    node.fill(bytes);
    node
}

fn unloaded(id: ContentId, expected: &Expected) -> Node {
    fresh(
        Bytes::copy_from_slice(&expected.first),
        id,
        expected.entries,
        Arc::default(),
    )
}

async fn load_many(trees: &Trees, wanted: &[(ContentId, Option<Expected>)]) -> Result<Vec<Node>> {
    let fetched = fetch(&trees.store, trees.domain, wanted).await?;
    let node = |fetched: Fetched| {
        let view = fetched.view()?;
        // A copy: a slice would keep the whole leaf in memory after it has been replaced.
        let first = view.first().map(Bytes::copy_from_slice).unwrap_or_default();
        Ok(fresh(first, fetched.id, view.entries(), fetched.bytes[..].into()))
    };
    fetched.into_iter().map(node).collect()
}

/// What the nodes of an inner level say about the level below, with the index of the node that says it.
fn children_of(level: &mut [Node]) -> Result<Vec<(u32, ContentId, Expected)>> {
    let mut children = Vec::new();
    for (index, node) in (0u32..).zip(level) {
        node.start = u32::try_from(children.len()).unwrap_or(u32::MAX);
        let fetched = Fetched {
            id: node.id,
            bytes: Bytes::copy_from_slice(&node.bytes),
        };
        let NodeView::Inner(inner) = fetched.view()? else {
            return Err(malformed(node.id, "it does not fit where the tree refers to it"));
        };
        children.extend(
            fetched
                .children(&inner)
                .into_iter()
                .map(|(id, expected)| (index, id, expected)),
        );
    }
    Ok(children)
}

/// The inner nodes of `level` above `below`, whose parents are set. Nodes that `old` (the same level before) has with
/// the same bytes keep their id; the indices of the others are returned.
pub(super) fn build_level(level: u8, below: &mut [Node], old: &[Node]) -> (Vec<Node>, Vec<u32>) {
    let mut built: Vec<Node> = Vec::new();
    let mut changed = Vec::new();
    let mut encoder = InnerEncoder::default();
    let mut start = 0;
    let mut kept = old.iter().peekable();
    for end in 1..=below.len() {
        encoder.push(&below[end - 1].first, below[end - 1].id, below[end - 1].entries);
        let whole = match below.get(end) {
            Some(next) => shape::ends_before(level, encoder.len(), &next.first),
            None => true,
        };
        if !whole {
            continue;
        }
        let index = u32::try_from(built.len()).unwrap_or(u32::MAX);
        let bytes = encoder.finish(level);
        let children = &mut below[start..end];
        let entries = children.iter().map(|child| child.entries).sum();
        for child in children.iter_mut() {
            child.parent = index;
        }
        let first = children[0].first.clone();
        while kept.next_if(|node| node.first < first).is_some() {}
        let same = kept.next_if(|node| node.first == first && *node.bytes == bytes[..]);
        let mut node = match same {
            Some(node) => fresh(first, node.id, entries, node.bytes.clone()),
            None => {
                changed.push(index);
                fresh(first, ContentId([0; 32]), entries, bytes.into())
            }
        };
        node.start = u32::try_from(start).unwrap_or(u32::MAX);
        built.push(node);
        start = end;
    }
    (built, changed)
}
