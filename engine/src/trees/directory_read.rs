//! Reading directories back: whole, one name, or a page of names.
//!
//! Reads go level by level, all nodes of a level (across all directories asked for) in one `get_many`, which the
//! store sorts by location and merges. Nodes are checked against what their parent says (level, first name,
//! number of entries), so that a damaged or hostile tree ends in an error and never in a loop or a blow-up.

use std::collections::HashMap;

use bytes::Bytes;

use super::entry::Entry;
use super::node::{self, Decoded, malformed};
use crate::access::Access;
use crate::error::Result;
use crate::format::node::{InnerView, LeafView, NodeDamage, NodeView};
use crate::format::{ContentId, Domain};
use crate::store::Key;

/// What a parent says about a node.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub level: u8,
    pub first: Bytes,
    pub entries: u64,
}

/// A node fetched and checked.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub id: ContentId,
    pub bytes: Bytes,
}

impl Fetched {
    /// Checks `bytes` as a node that fits `expected`; without it, as the root of a directory.
    pub fn check(id: ContentId, bytes: Bytes, expected: Option<&Expected>) -> Result<Fetched> {
        let view = NodeView::decode(&bytes).map_err(|damage| malformed(id, damage))?;
        let fits = match expected {
            Some(expected) => {
                view.level() == expected.level
                    && view.entries() == expected.entries
                    && view.first() == Some(&expected.first[..])
            }
            None => !matches!(view, NodeView::Inner(inner) if inner.len() < 2),
        };
        if fits {
            Ok(Fetched { id, bytes })
        } else {
            Err(malformed(id, "it does not fit where the tree refers to it"))
        }
    }

    /// The node. It was checked when it came in; the second check is part of what makes views cheap to hold.
    pub fn view(&self) -> Result<NodeView<'_>> {
        NodeView::decode(&self.bytes).map_err(|damage| malformed(self.id, damage))
    }

    /// What the inner node says about its children.
    pub fn children(&self, inner: &InnerView<'_>) -> Vec<(ContentId, Expected)> {
        let child = |index| self.child(inner, index);
        (0..inner.len()).map(child).collect()
    }

    /// What the inner node says about child `index`.
    pub fn child(&self, inner: &InnerView<'_>, index: usize) -> (ContentId, Expected) {
        let record = &inner.records()[index];
        let expected = Expected {
            level: inner.level() - 1,
            first: self.bytes.slice_ref(inner.name(index)),
            entries: record.entries.get(),
        };
        (record.id, expected)
    }

    fn decode(&self, leaf: &LeafView<'_>) -> Result<Vec<Decoded>> {
        node::decode_leaf(&self.bytes, leaf).map_err(|damage| malformed(self.id, damage))
    }
}

/// Fetches and checks nodes as one batch.
pub(super) async fn fetch(
    store: &Access,
    domain: Domain,
    wanted: &[(ContentId, Option<Expected>)],
) -> Result<Vec<Fetched>> {
    let keys: Vec<Key> = wanted.iter().map(|(id, _)| node::node_key(domain, *id)).collect();
    let answers = store.get_many(&keys).await;
    let checked = wanted
        .iter()
        .zip(answers)
        .map(|((id, expected), bytes)| Fetched::check(*id, bytes?, expected.as_ref()));
    checked.collect()
}

/// All entries of directory `id`, in order of names.
///
/// # Errors
/// `NotFound` or `Damaged` from the store; `Invalid` for nodes that do not make a directory.
pub async fn entries(store: &Access, domain: Domain, id: ContentId) -> Result<Vec<Entry>> {
    Ok(entries_many(store, domain, &[id])
        .await?
        .pop()
        .unwrap_or_default())
}

/// All entries of many directories, in the order asked, with one batch of reads per level.
///
/// # Errors
/// As [`entries`], for the first directory that cannot be read.
pub async fn entries_many(store: &Access, domain: Domain, ids: &[ContentId]) -> Result<Vec<Vec<Entry>>> {
    let mut directories: Vec<Vec<Decoded>> = Vec::new();
    directories.resize_with(ids.len(), Vec::new);
    let mut frontier: Vec<(usize, (ContentId, Option<Expected>))> = ids
        .iter()
        .enumerate()
        .map(|(index, id)| (index, (*id, None)))
        .collect();
    while !frontier.is_empty() {
        let (owners, wanted): (Vec<usize>, Vec<_>) = frontier.into_iter().unzip();
        let nodes = fetch(store, domain, &wanted).await?;
        frontier = Vec::new();
        for (owner, node) in owners.into_iter().zip(nodes) {
            match node.view()? {
                NodeView::Inner(inner) => {
                    let children = node.children(&inner);
                    frontier.extend(
                        children
                            .into_iter()
                            .map(|(id, expected)| (owner, (id, Some(expected)))),
                    );
                }
                NodeView::Leaf(leaf) => {
                    let before = directories[owner].last().map(|last| &last.entry.name[..]);
                    if before.is_some_and(|before| !leaf.is_empty() && before >= leaf.name(0)) {
                        return Err(malformed(node.id, NodeDamage::Order));
                    }
                    directories[owner].extend(node.decode(&leaf)?);
                }
            }
        }
    }
    resolve_many(store, domain, directories).await
}

/// The entry called `name` in directory `id`.
///
/// # Errors
/// As [`entries`].
pub async fn find(store: &Access, domain: Domain, id: ContentId, name: &[u8]) -> Result<Option<Entry>> {
    let mut wanted = (id, None);
    loop {
        let Some(node) = fetch(store, domain, std::slice::from_ref(&wanted)).await?.pop() else {
            return Ok(None);
        };
        match node.view()? {
            NodeView::Inner(inner) => {
                let (id, expected) = node.child(&inner, inner.child_for(name));
                wanted = (id, Some(expected));
            }
            NodeView::Leaf(leaf) => {
                let Ok(index) = leaf.find(name) else {
                    return Ok(None);
                };
                let decoded = node::decode_entry(&node.bytes, &leaf, index)
                    .map_err(|damage| malformed(node.id, damage))?;
                return Ok(resolve(store, domain, vec![decoded]).await?.pop());
            }
        }
    }
}

/// At most `limit` entries of directory `id`, in order, from the first name after `after`. Reads only the nodes
/// on the way and those that hold the answer.
///
/// # Errors
/// As [`entries`].
pub async fn list_from(
    store: &Access,
    domain: Domain,
    id: ContentId,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Entry>> {
    let mut found: Vec<Decoded> = Vec::new();
    let mut level: Vec<(ContentId, Option<Expected>)> = vec![(id, None)];
    // Entries that `level` may hold before the first one wanted are in its first node only, so a whole page lies
    // in the first node and the `limit` entries after it.
    while !level.is_empty() {
        let nodes = fetch(store, domain, &level).await?;
        let mut next = Vec::new();
        let mut reach = 0u64;
        for node in &nodes {
            match node.view()? {
                NodeView::Inner(inner) => {
                    let start = if next.is_empty() {
                        inner.child_for(after.unwrap_or_default())
                    } else {
                        0
                    };
                    for index in start..inner.len() {
                        if !next.is_empty() && reach >= limit as u64 {
                            break;
                        }
                        let (id, expected) = node.child(&inner, index);
                        reach += if next.is_empty() { 0 } else { expected.entries };
                        next.push((id, Some(expected)));
                    }
                }
                NodeView::Leaf(leaf) => {
                    let start = match after.map(|after| leaf.find(after)) {
                        None => 0,
                        Some(Ok(at)) => at + 1,
                        Some(Err(at)) => at,
                    };
                    for index in start
                        ..leaf
                            .len()
                            .min(start.saturating_add(limit - found.len().min(limit)))
                    {
                        let decoded = node::decode_entry(&node.bytes, &leaf, index);
                        found.push(decoded.map_err(|damage| malformed(node.id, damage))?);
                    }
                }
            }
        }
        level = next;
    }
    resolve(store, domain, found).await
}

/// Fetches the far attributes of `decoded` entries as one batch.
pub(super) async fn resolve(store: &Access, domain: Domain, decoded: Vec<Decoded>) -> Result<Vec<Entry>> {
    Ok(resolve_many(store, domain, vec![decoded])
        .await?
        .pop()
        .unwrap_or_default())
}

/// Fetches the far attributes of one entry.
pub(super) async fn resolve_one(store: &Access, domain: Domain, decoded: Decoded) -> Result<Entry> {
    if decoded.far.is_none() {
        return Ok(decoded.entry);
    }
    let what = node::describe(&decoded.entry.name);
    Box::pin(resolve(store, domain, vec![decoded]))
        .await?
        .pop()
        .ok_or_else(|| crate::Error::not_found(what))
}

async fn resolve_many(
    store: &Access,
    domain: Domain,
    directories: Vec<Vec<Decoded>>,
) -> Result<Vec<Vec<Entry>>> {
    let mut far: Vec<ContentId> = directories
        .iter()
        .flatten()
        .filter_map(|decoded| decoded.far)
        .collect();
    far.sort_unstable();
    far.dedup();
    let keys: Vec<Key> = far.iter().map(|id| node::data_key(domain, *id)).collect();
    let mut sets = HashMap::new();
    if !keys.is_empty() {
        for (id, bytes) in far.into_iter().zip(store.get_many(&keys).await) {
            let bytes = bytes?;
            let set = node::decode_xattrs(&bytes, &bytes).map_err(|damage| {
                crate::Error::invalid(format!("extended attributes {id}"), damage.to_string())
            })?;
            sets.insert(id, set);
        }
    }
    let finish = |decoded: Decoded| {
        let mut entry = decoded.entry;
        if let Some(set) = decoded.far.and_then(|id| sets.get(&id)) {
            entry.attributes.xattrs.clone_from(set);
        }
        entry
    };
    Ok(directories
        .into_iter()
        .map(|entries| entries.into_iter().map(finish).collect())
        .collect())
}
