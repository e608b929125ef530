//! `diff`.

use super::desk::Desk;
use super::translate::node;
use crate::error::Result;
use crate::ops::{
    ByteString, Change, ChangeKind, Compared, DiffRequest, Exchange, Part, Side, Stage, Step, Warnings,
};
use crate::trees::{self, Changed, Difference, Entry, TreePath};

impl Desk {
    pub(super) fn diff(&self, request: &DiffRequest, exchange: &mut dyn Exchange) -> Result<Compared> {
        let paths = tree_paths(&request.paths)?;
        let (_, old) = self.directory(&request.from)?;
        match &request.to {
            Side::Revision(revision) => {
                (exchange.reporter())(Step::begin(Stage::Comparing));
                let (_, new) = self.directory(revision)?;
                // The tops have no names of their own, whatever they are called where they are.
                let (old, new) = (unnamed(old), unnamed(new));
                let found = self.store.block_on(self.trees.diff(&old, &new, &paths))?;
                Ok(Compared {
                    changes: changes(found),
                    warnings: Warnings::default(),
                })
            }
            Side::Directory(directory) => self.compare_directory(&unnamed(old), directory, &paths, exchange),
        }
    }
}

fn unnamed(mut entry: Entry) -> Entry {
    entry.name = bytes::Bytes::new();
    entry
}

/// Paths of a request as paths in a tree.
pub(super) fn tree_paths(paths: &[ByteString]) -> Result<Vec<TreePath>> {
    paths.iter().map(|path| TreePath::new(path.as_bytes())).collect()
}

/// A path as replies show it.
pub(super) fn shown_path(path: &TreePath) -> ByteString {
    match path.is_root() {
        true => ByteString::from("."),
        false => path.as_bytes().into(),
    }
}

/// Differences as replies list them: a name that is another kind of thing now is one change.
pub(super) fn changes(found: Vec<Difference>) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::with_capacity(found.len());
    for difference in found {
        let path = shown_path(&difference.path);
        let change = match difference.change {
            trees::Change::Added(entry) => {
                if let Some(last) = changes.last_mut()
                    && last.path == path
                    && last.change == ChangeKind::Removed
                {
                    last.change = ChangeKind::Retyped;
                    last.to = Some(node(&entry));
                    continue;
                }
                Change {
                    path,
                    change: ChangeKind::Added,
                    parts: Vec::new(),
                    from: None,
                    to: Some(node(&entry)),
                }
            }
            trees::Change::Removed(entry) => Change {
                path,
                change: ChangeKind::Removed,
                parts: Vec::new(),
                from: Some(node(&entry)),
                to: None,
            },
            trees::Change::Modified { old, new, changed } => Change {
                path,
                change: match changed.content || changed.device {
                    true => ChangeKind::Modified,
                    false => ChangeKind::Metadata,
                },
                parts: parts(changed),
                from: Some(node(&old)),
                to: Some(node(&new)),
            },
        };
        changes.push(change);
    }
    changes
}

fn parts(changed: Changed) -> Vec<Part> {
    [
        (changed.content, Part::Content),
        (changed.mode, Part::Mode),
        (changed.owner, Part::Owner),
        (changed.mtime, Part::Mtime),
        (changed.xattrs, Part::Xattrs),
        (changed.device, Part::Device),
        (changed.links, Part::Links),
    ]
    .into_iter()
    .filter_map(|(differs, part)| differs.then_some(part))
    .collect()
}
