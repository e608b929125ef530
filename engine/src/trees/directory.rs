//! Building whole directories: from sorted entries to nodes, many directories at once.
//!
//! All nodes of one level, across all directories given, are hashed as one batch: small inputs hash several
//! times faster together. Children come before parents because an entry needs its directory's id; the caller
//! goes through its levels from the deepest and calls [`build_many`] once for each. Reading is in
//! `directory_read`.

use bytes::Bytes;

pub use super::directory_read::{entries, entries_many, find, list_from};
use super::entry::Entry;
use super::{ids, node, shape};
use crate::error::{Error, Result};
use crate::format::node::{InnerEncoder, LeafEncoder};
use crate::format::{ContentId, Domain};
use crate::store::Extent;

/// A directory about to be built.
#[derive(Debug, Clone, Default)]
pub struct PendingDirectory {
    /// What is in it, in any order (sorted input is fastest), names unique. Subdirectories carry the ids that
    /// an earlier [`build_many`] returned.
    pub entries: Vec<Entry>,
}

/// A node seen from the level above.
struct Child {
    first: Bytes,
    id: ContentId,
    entries: u64,
}

/// Encodes and hashes `directories`, pushes their nodes (and extended attributes too large for a node) to
/// `extents`, and returns their ids in the order given. Nodes the store already has are pushed too: the batch
/// finds out with one look-up.
///
/// # Errors
/// `Invalid` for a name that no directory can hold, a name given twice, or fields that a kind cannot have;
/// `extents` may have grown then.
pub fn build_many(
    domain: Domain,
    mut directories: Vec<PendingDirectory>,
    extents: &mut Vec<Extent>,
) -> Result<Vec<ContentId>> {
    for directory in &mut directories {
        check_entries(&mut directory.entries)?;
    }
    let far = build_far_xattrs(domain, &directories, extents)?;
    let mut far = far.into_iter();
    let mut level = Level::default();
    let mut leaf = LeafEncoder::default();
    for (index, directory) in directories.iter().enumerate() {
        let mut first = 0;
        for (position, entry) in directory.entries.iter().enumerate() {
            if shape::ends_before(0, leaf.len(), &entry.name) {
                level.push(
                    index,
                    &directory.entries[first].name,
                    leaf.len() as u64,
                    leaf.finish(),
                );
                first = position;
            }
            let own = if node::far_xattrs(entry)?.is_some() {
                far.next()
            } else {
                None
            };
            node::push_entry(&mut leaf, entry, own)?;
        }
        let name = directory.entries.get(first).map(|entry| entry.name.clone());
        level.push(index, &name.unwrap_or_default(), leaf.len() as u64, leaf.finish());
    }
    let mut children = level.hash(domain, directories.len(), extents);
    let mut ids = vec![ContentId([0; 32]); directories.len()];
    for height in 1.. {
        let mut level = Level::default();
        let mut inner = InnerEncoder::default();
        for (index, children) in children.iter().enumerate() {
            match &children[..] {
                [] => continue,
                [root] => ids[index] = root.id,
                many => build_inner(height, index, many, &mut inner, &mut level),
            }
        }
        if level.nodes.is_empty() {
            break;
        }
        children = level.hash(domain, directories.len(), extents);
    }
    Ok(ids)
}

/// Id and bytes of the node of a directory without entries.
pub fn empty_directory() -> (ContentId, Bytes) {
    let bytes = Bytes::from(LeafEncoder::default().finish());
    (ids::node_ids(&[&bytes])[0], bytes)
}

/// Sorts entries by name if they are not, and checks the names.
fn check_entries(entries: &mut [Entry]) -> Result<()> {
    if !entries.is_sorted_by(|a, b| a.name < b.name) {
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Error::invalid(
                node::describe(&pair[0].name),
                "given twice in one directory",
            ));
        }
    }
    entries.iter().try_for_each(|entry| node::check_name(&entry.name))
}

/// Extents for extended attributes that do not stay in their nodes; (id, length) in the order of the entries.
fn build_far_xattrs(
    domain: Domain,
    directories: &[PendingDirectory],
    extents: &mut Vec<Extent>,
) -> Result<Vec<(ContentId, u32)>> {
    let mut sets = Vec::new();
    for entry in directories.iter().flat_map(|directory| &directory.entries) {
        sets.extend(node::far_xattrs(entry)?);
    }
    if sets.is_empty() {
        return Ok(Vec::new());
    }
    let ids = ids::content_ids(&sets.iter().map(|set| &set[..]).collect::<Vec<_>>());
    let described = ids
        .iter()
        .zip(&sets)
        .map(|(id, set)| (*id, u32::try_from(set.len()).unwrap_or(u32::MAX)));
    let described = described.collect();
    extents.extend(ids.into_iter().zip(sets).map(|(id, bytes)| Extent {
        key: node::data_key(domain, id),
        bytes,
    }));
    Ok(described)
}

fn build_inner(height: u8, index: usize, children: &[Child], inner: &mut InnerEncoder, level: &mut Level) {
    let mut first = 0;
    let mut entries = 0;
    for (position, child) in children.iter().enumerate() {
        if shape::ends_before(height, inner.len(), &child.first) {
            level.push(index, &children[first].first, entries, inner.finish(height));
            (first, entries) = (position, 0);
        }
        inner.push(&child.first, child.id, child.entries);
        entries += child.entries;
    }
    level.push(index, &children[first].first, entries, inner.finish(height));
}

/// The nodes of one level of all directories, before they have ids.
#[derive(Default)]
struct Level {
    nodes: Vec<LevelNode>,
}

struct LevelNode {
    directory: usize,
    first: Bytes,
    entries: u64,
    bytes: Bytes,
}

impl Level {
    fn push(&mut self, directory: usize, first: &Bytes, entries: u64, bytes: Vec<u8>) {
        self.nodes.push(LevelNode {
            directory,
            first: first.clone(),
            entries,
            bytes: bytes.into(),
        });
    }

    /// Hashes all nodes as one batch; per directory what the next level has to name.
    fn hash(self, domain: Domain, directories: usize, extents: &mut Vec<Extent>) -> Vec<Vec<Child>> {
        let contents: Vec<&[u8]> = self.nodes.iter().map(|node| &node.bytes[..]).collect();
        let ids = ids::node_ids(&contents);
        let mut children: Vec<Vec<Child>> = Vec::new();
        children.resize_with(directories, Vec::new);
        extents.reserve(ids.len());
        for (id, node) in ids.into_iter().zip(self.nodes) {
            children[node.directory].push(Child {
                first: node.first,
                id,
                entries: node.entries,
            });
            extents.push(node::node_extent(domain, id, node.bytes));
        }
        children
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
