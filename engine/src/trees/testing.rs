//! Small trees for the tests of this layer.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::commit::{CommitOptions, CommitOutcome, TreeCounts};
use super::entry::{Attributes, Entry, EntryKind};
use super::path::TreePath;
use super::{PendingDirectory, Trees, build_many, ids, node};
use crate::error::Result;
use crate::format::{ContentId, Domain};
use crate::reactor::block_on;
use crate::store::{Expect, Extent, RootChange, RootKind, RootUpdate};

/// Trees of an empty store in memory.
pub(super) fn trees() -> Trees {
    Trees::new(crate::store::testing::store(), Domain(0))
}

/// A moment after everything before and before everything after: the clock of the store moves on, as every change of
/// a root takes time.
pub(super) fn tick(trees: &Trees) -> u64 {
    let change = |change| {
        let mut batch = trees.store.batch();
        let name = b"tick"[..].into();
        batch.set_root(RootUpdate {
            kind: RootKind::Pin,
            name,
            expect: Expect::Any,
            change,
        });
        block_on(batch.submit()).unwrap();
    };
    change(RootChange::Set {
        target: None,
        data: Bytes::new(),
    });
    let now_ns = trees.store.now_ns();
    change(RootChange::Delete);
    now_ns
}

/// A file with this content.
pub(super) fn file(name: &[u8], content: &[u8]) -> Entry {
    Entry {
        name: Bytes::copy_from_slice(name),
        kind: EntryKind::File,
        mode: 0o644,
        size: content.len() as u64,
        id: ids::content_ids(&[content])[0],
        attributes: Attributes::default(),
    }
}

/// A directory with this node.
pub(super) fn directory(name: &[u8], id: ContentId) -> Entry {
    Entry {
        name: Bytes::copy_from_slice(name),
        kind: EntryKind::Directory,
        mode: 0o755,
        size: 0,
        id,
        attributes: Attributes::default(),
    }
}

/// Entries (by path; the name in each is filled in) and the bytes of their contents, as one tree.
pub(super) struct Plan {
    pub entries: BTreeMap<TreePath, Entry>,
    pub contents: Vec<Bytes>,
}

impl Plan {
    /// Files by path and content; a path that ends in `/` is an empty directory.
    pub fn of(files: &[(&str, &str)]) -> Plan {
        let mut plan = Plan {
            entries: BTreeMap::new(),
            contents: Vec::new(),
        };
        for (path, content) in files {
            let entry = match path.strip_suffix('/') {
                Some(_) => directory(b"", ContentId([0; 32])),
                None => file(b"", content.as_bytes()),
            };
            plan.contents.push(Bytes::copy_from_slice(content.as_bytes()));
            plan.entries.insert(TreePath::new(path).unwrap(), entry);
        }
        plan
    }

    /// Builds all directories, deepest first. The top directory, its size and everything to be stored.
    pub fn build(mut self) -> (Entry, TreeCounts, Vec<Extent>) {
        let mut extents: Vec<Extent> = Vec::new();
        let ids = ids::content_ids(&self.contents.iter().map(|bytes| &bytes[..]).collect::<Vec<_>>());
        for (id, bytes) in ids.into_iter().zip(&self.contents) {
            extents.push(Extent {
                key: node::data_key(Domain(0), id),
                bytes: bytes.clone(),
            });
        }
        let mut counts = TreeCounts::default();
        for (path, entry) in self.entries.clone() {
            if entry.kind != EntryKind::Directory {
                counts.files += 1;
                counts.bytes += entry.size;
            }
            let mut at = path;
            while let Some(parent) = at.parent() {
                self.entries
                    .entry(parent.clone())
                    .or_insert_with(|| directory(b"", ContentId([0; 32])));
                at = parent;
            }
        }
        self.entries
            .entry(TreePath::root())
            .or_insert_with(|| directory(b"", ContentId([0; 32])));
        let mut paths: Vec<TreePath> = self.entries.keys().cloned().collect();
        paths.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for path in paths {
            if self.entries[&path].kind != EntryKind::Directory {
                continue;
            }
            let inside = self
                .entries
                .iter()
                .filter(|(inner, _)| inner.parent().as_ref() == Some(&path));
            let named = inside.map(|(inner, entry)| Entry {
                name: Bytes::copy_from_slice(inner.name().unwrap()),
                ..entry.clone()
            });
            let pending = PendingDirectory {
                entries: named.collect(),
            };
            let ids = build_many(Domain(0), vec![pending], &mut extents).unwrap();
            self.entries.get_mut(&path).unwrap().id = ids[0];
        }
        (self.entries.remove(&TreePath::root()).unwrap(), counts, extents)
    }
}

/// Commits these files to `branch`.
pub(super) fn commit(
    trees: &Trees,
    branch: &str,
    files: &[(&str, &str)],
    options: &CommitOptions,
) -> Result<CommitOutcome> {
    let (root, counts, extents) = Plan::of(files).build();
    block_on(async {
        let mut batch = trees.store.batch();
        batch.put(extents).await?;
        trees.commit_tree(batch, branch, root, counts, options).await
    })
}
