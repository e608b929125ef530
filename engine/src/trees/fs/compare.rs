//! A scanned directory against a tree, name by name.
//!
//! Goes down both together, one level of directories after the other, so that each level is one batch of reads.
//! Subdirectories that the stat cache knows to be a node of the tree are passed over whole. What either side does not
//! keep (times of a tree committed without them, say) is not a difference.

use std::sync::Arc;

use bytes::Bytes;

use super::control::Control;
use super::ignore_rules::Rules;
use super::scan::Scan;
use crate::access::Access;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::trees::{Change, Changed, Difference, Entry, EntryKind, TreePath, diff, entries_many};

/// A directory that at least one side has.
pub(super) struct Pair {
    /// From the root.
    pub(super) path: TreePath,
    /// The tree's entry.
    pub(super) want: Option<Entry>,
    /// Index in the scan's listing.
    pub(super) have: Option<usize>,
    /// Is below one of the paths that were asked for, or one of them.
    pub(super) inside: bool,
    /// Rules that hold in it.
    rules: Arc<Rules>,
}

/// A name that differs.
pub(super) struct Delta {
    /// Directory that holds it; for the root directory itself, the root.
    pub(super) pair: usize,
    /// Name in it; empty for the root directory itself.
    pub(super) name: Bytes,
    /// The tree's entry.
    pub(super) want: Option<Entry>,
    /// The directory's, with its place in the listing.
    pub(super) have: Option<(Entry, (usize, usize))>,
    /// What differs, if both are of one kind.
    pub(super) changed: Changed,
    /// The pair of the subdirectory, if it is one on either side.
    pub(super) child: Option<usize>,
}

/// Everything that differs.
pub(super) struct Comparison {
    /// Directories that were compared, each after the one that holds it.
    pub(super) pairs: Vec<Pair>,
    pub(super) deltas: Vec<Delta>,
    /// Names of the tree that rules or special files of the directory stand against.
    pub(super) shielded: Vec<TreePath>,
}

/// What to compare.
pub(super) struct Scope<'a> {
    /// Only these and what is below them; with none, everything.
    pub(super) paths: &'a [TreePath],
    /// Names that the directory ignores or that the scan left out are no differences.
    pub(super) shield: bool,
}

impl Scope<'_> {
    fn has(&self, path: &TreePath) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|wanted| wanted.contains(path))
    }

    fn leads_on(&self, path: &TreePath) -> bool {
        self.has(path) || self.paths.iter().any(|wanted| path.contains(wanted))
    }
}

/// Compares a scan with the tree under `root`.
pub(super) fn compare(
    store: &Access,
    scan: &Scan,
    root: &Entry,
    scope: &Scope<'_>,
    control: &Control,
) -> Result<Comparison> {
    if root.kind != EntryKind::Directory {
        return Err(Error::invalid("tree", "is not a directory"));
    }
    let mut comparison = Comparison {
        pairs: Vec::new(),
        deltas: Vec::new(),
        shielded: Vec::new(),
    };
    let Some(top) = scan.listing.directories.first() else {
        return Ok(comparison);
    };
    let inside = scope.has(&TreePath::root());
    comparison.pairs.push(Pair {
        path: TreePath::root(),
        want: Some(root.clone()),
        have: Some(0),
        inside,
        rules: Arc::clone(&top.rules),
    });
    if inside && let Some(own) = scan.root_entry() {
        let changed = changes(scan, root, &own);
        if changed != Changed::default() {
            comparison.deltas.push(Delta {
                pair: 0,
                name: Bytes::new(),
                want: Some(root.clone()),
                have: Some((own, (0, usize::MAX))),
                changed,
                child: Some(0),
            });
        }
    }
    let mut level: Vec<usize> = vec![0];
    while !level.is_empty() {
        control.check()?;
        level.retain(|&index| !same_node(scan, &comparison.pairs[index]));
        let wanted: Vec<(usize, ContentId)> = level
            .iter()
            .filter_map(|&index| {
                comparison.pairs[index]
                    .want
                    .as_ref()
                    .map(|entry| (index, entry.id))
            })
            .collect();
        let ids: Vec<ContentId> = wanted.iter().map(|(_, id)| *id).collect();
        let listed = store.block_on(entries_many(store, scan.form.domain, &ids))?;
        let mut listed = wanted.into_iter().zip(listed).peekable();
        let mut next = Vec::new();
        for index in level {
            let entries = listed.next_if(|((of, _), _)| *of == index);
            let entries = entries.map(|(_, entries)| entries).unwrap_or_default();
            comparison.merge(scan, index, entries, scope, &mut next);
        }
        level = next;
    }
    Ok(comparison)
}

/// Whether the directory is known to be the tree's.
fn same_node(scan: &Scan, pair: &Pair) -> bool {
    let node = pair.have.and_then(|index| scan.listing.directories[index].node);
    node.is_some() && node == pair.want.as_ref().map(|entry| entry.id)
}

/// What differs between a tree's entry and a directory's, of what both keep.
fn changes(scan: &Scan, want: &Entry, have: &Entry) -> Changed {
    let mut changed = diff::compare(want, have);
    let (a, b) = (&want.attributes, &have.attributes);
    changed.mtime &= a.mtime.is_some() && b.mtime.is_some();
    changed.owner = (a.uid.is_some() && b.uid.is_some() && a.uid != b.uid)
        || (a.gid.is_some() && b.gid.is_some() && a.gid != b.gid);
    changed.xattrs &= scan.form.xattrs;
    // The mode of a link means nothing.
    changed.mode &= want.kind != EntryKind::Symlink;
    changed
}

impl Comparison {
    /// Compares the names of one directory.
    fn merge(
        &mut self,
        scan: &Scan,
        index: usize,
        entries: Vec<Entry>,
        scope: &Scope<'_>,
        next: &mut Vec<usize>,
    ) {
        let have = self.pairs[index].have;
        if have.is_some_and(|have| scan.listing.directories[have].closed) {
            return; // Another file system's business.
        }
        let items = have.map_or(0, |have| scan.listing.directories[have].items.len());
        let mut item = 0;
        let mut entries = entries.into_iter().peekable();
        loop {
            let disk = have.filter(|_| item < items).map(|have| {
                let directory = &scan.listing.directories[have];
                (have, directory.name(&directory.items[item]))
            });
            let order = match (entries.peek(), &disk) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(entry), Some((_, name))) => entry.name.cmp(name),
            };
            let want = match order {
                std::cmp::Ordering::Greater => None,
                _ => entries.next(),
            };
            let found = match (order, disk) {
                (std::cmp::Ordering::Less, _) | (_, None) => None,
                (_, Some((have, _))) => {
                    item += 1;
                    Some((scan.entry(have, item - 1), (have, item - 1)))
                }
            };
            self.name(scan, index, want, found, scope, next);
        }
    }

    fn name(
        &mut self,
        scan: &Scan,
        index: usize,
        want: Option<Entry>,
        have: Option<(Entry, (usize, usize))>,
        scope: &Scope<'_>,
        next: &mut Vec<usize>,
    ) {
        let Some(name) = want
            .as_ref()
            .or(have.as_ref().map(|(entry, _)| entry))
            .map(|entry| entry.name.clone())
        else {
            return;
        };
        let pair = &self.pairs[index];
        // A path costs an allocation; most names of most directories are the same on both sides.
        let is_directory =
            |entry: Option<&Entry>| entry.is_some_and(|entry| entry.kind == EntryKind::Directory);
        let want_directory = is_directory(want.as_ref());
        let have_directory = is_directory(have.as_ref().map(|(entry, _)| entry));
        let changed = match (&want, &have) {
            (Some(want), Some((have, _))) if want.kind == have.kind => changes(scan, want, have),
            _ => Changed::default(),
        };
        let one_kind = matches!((&want, &have), (Some(want), Some((have, _))) if want.kind == have.kind);
        let differs = !one_kind || changed != Changed::default();
        if !differs && !want_directory {
            return;
        }
        let path = pair.path.join(&name);
        if !scope.leads_on(&path) {
            return;
        }
        if have.is_none() && scope.shield {
            let left_out = pair
                .have
                .is_some_and(|have| scan.listing.directories[have].left_out.contains(&name));
            if left_out || pair.rules.ignores(path.as_bytes(), want_directory) {
                self.shielded.push(path);
                return;
            }
        }
        let inside = scope.has(&path);
        let above = Arc::clone(&pair.rules);
        let child = (want_directory || have_directory).then(|| {
            let below = have
                .as_ref()
                .filter(|_| have_directory)
                .map(|(_, (directory, item))| scan.listing.directories[*directory].items[*item].child);
            let rules = match below {
                Some(below) => Arc::clone(&scan.listing.directories[below].rules),
                None => above,
            };
            let child = Pair {
                path,
                want: want.clone().filter(|_| want_directory),
                have: below,
                inside,
                rules,
            };
            self.pairs.push(child);
            next.push(self.pairs.len() - 1);
            self.pairs.len() - 1
        });
        if differs && inside {
            self.deltas.push(Delta {
                pair: index,
                name,
                want,
                have,
                changed,
                child,
            });
        }
    }

    /// The differences as they are reported: from the tree to the directory, in the order of paths.
    pub(super) fn differences(self) -> Vec<Difference> {
        let mut found = Vec::with_capacity(self.deltas.len());
        for delta in self.deltas {
            let path = match delta.name.is_empty() {
                true => TreePath::root(),
                false => self.pairs[delta.pair].path.join(&delta.name),
            };
            let mut push = |change| {
                found.push(Difference {
                    path: path.clone(),
                    change,
                });
            };
            match (delta.want, delta.have) {
                (Some(old), Some((new, _))) if old.kind == new.kind => push(Change::Modified {
                    old,
                    new,
                    changed: delta.changed,
                }),
                (old, new) => {
                    old.into_iter().for_each(|old| push(Change::Removed(old)));
                    new.into_iter().for_each(|(new, _)| push(Change::Added(new)));
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path)); // Stable: removed stays before added.
        found
    }
}
