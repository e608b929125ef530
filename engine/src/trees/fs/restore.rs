//! Making a directory that is there equal to a tree, writing only what differs.
//!
//! In two steps, so that the caller can commit the present state in between (which makes a restore undoable) or stop
//! after the first: [`Restore::plan`] compares a scan with the tree, [`Restore::apply`] does what was planned. What is
//! ignored, in the directory or by the rules that hold there, is never touched; nor is what the scan left out. Extra
//! files go by default if the whole tree is restored, and stay if only some paths are (see [`RestoreOptions::delete`]).
//!
//! A file is written under a temporary name beside its place and renamed, so that each name is either old or new at
//! any moment, and a repetition finishes what was interrupted. Before something is replaced or removed it must be
//! what the scan saw; if someone has changed it since, the restore stops with an error that names it. (Between that look
//! and the rename a few microseconds remain.) Everything is relative to open directories and single names, links never
//! followed. Metadata alone is changed in place only for files with one name, through the very file that was looked at:
//! a second name could lie outside the directory.

use std::path::PathBuf;

use super::apply::Applying;
use super::compare::{self, Comparison, Delta, Scope};
use super::control::{Control, Doubt, Phase, SharedWarnings, Warnings};
use super::platform;
use super::scan::Scan;
use super::writer::{Keep, Writer};
use crate::access::Access;
use crate::error::Result;
use crate::objects::Objects;
use crate::trees::{Changed, Entry, EntryKind, TreePath};

/// What of a tree is restored, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Only these paths and what is below them; with none, everything.
    pub paths: Vec<TreePath>,
    /// Whether files that the tree does not have are removed. By default they are when everything is restored, and are
    /// not when paths are given, as people who bring back single files expect.
    pub delete: Option<bool>,
    /// Create device nodes. Without it they are left out with a counted warning.
    pub devices: bool,
}

/// What happens to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RestoreStep {
    /// Removed, with what is below it listed by itself.
    Remove,
    /// Made.
    Create,
    /// Written anew.
    Replace,
    /// Its mode, time, owner or attributes are set.
    Metadata,
}

/// One planned change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreAction {
    /// Where.
    pub path: TreePath,
    /// What.
    pub step: RestoreStep,
    /// Kind of what is removed or made.
    pub kind: EntryKind,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Names made or written anew.
    pub written: u64,
    /// Bytes of these.
    pub written_bytes: u64,
    /// Names whose metadata alone was set.
    pub adjusted: u64,
    /// Names removed.
    pub removed: u64,
    /// What was left alone or could not be brought back.
    pub warnings: Warnings,
}

/// A planned restore of one scanned directory.
pub struct Restore<'a> {
    pub(super) store: &'a Access,
    pub(super) scan: &'a Scan,
    options: RestoreOptions,
    pub(super) comparison: Comparison,
    /// By difference, in the order in which they are taken.
    pub(super) steps: Vec<Vec<RestoreStep>>,
}

impl<'a> Restore<'a> {
    /// Compares the scanned directory with the tree under `root`.
    ///
    /// # Errors
    /// `Invalid` if `root` is not a directory; `Unreadable` never (the scan has said so); whatever reading the tree
    /// answers; `Cancelled`.
    pub fn plan(
        store: &'a Access,
        scan: &'a Scan,
        root: &Entry,
        options: &RestoreOptions,
        control: &Control,
    ) -> Result<Restore<'a>> {
        let scope = Scope {
            paths: &options.paths,
            shield: true,
        };
        let comparison = compare::compare(store, scan, root, &scope, control)?;
        let delete = options.delete.unwrap_or(options.paths.is_empty());
        let user = platform::effective_user();
        let steps = comparison
            .deltas
            .iter()
            .map(|delta| steps(delta, scan, delete, user));
        Ok(Restore {
            store,
            scan,
            options: options.clone(),
            steps: steps.collect(),
            comparison,
        })
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(Vec::is_empty)
    }

    /// What would be done, in the order of paths.
    pub fn actions(&self) -> Vec<RestoreAction> {
        let mut actions = Vec::new();
        for (delta, steps) in self.comparison.deltas.iter().zip(&self.steps) {
            for &step in steps {
                let entry = match step {
                    RestoreStep::Remove => delta.have.as_ref().map(|(entry, _)| entry),
                    _ => delta.want.as_ref(),
                };
                actions.push(RestoreAction {
                    path: self.path(delta),
                    step,
                    kind: entry.map_or(EntryKind::File, |entry| entry.kind),
                });
            }
        }
        actions.sort_by(|a, b| a.path.cmp(&b.path).then(a.step.cmp(&b.step)));
        actions
    }

    /// Does what was planned.
    ///
    /// # Errors
    /// `Path` with the first name that could not be removed, made or set, or that has changed since the scan; the
    /// store's; `Cancelled`. What has been done by then is done; the same restore may be repeated.
    pub fn apply(&self, control: &Control) -> Result<Restored> {
        let warnings = SharedWarnings::default();
        for path in &self.comparison.shielded {
            let root = self.scan.listing.directories.first();
            let shown = || root.map_or_else(PathBuf::new, |root| root.folder.path(path.as_bytes()));
            warnings.add(Doubt::IgnoredKept, shown, "is ignored here");
        }
        let writes = self
            .steps
            .iter()
            .filter(|steps| steps.iter().any(|step| *step != RestoreStep::Remove));
        let counter = control.phase(Phase::Write, writes.count() as u64, 0);
        let objects = Objects::new(self.store.clone()).in_domain(self.scan.form.domain);
        let keep = Keep {
            owner: true,
            times: true,
            xattrs: self.scan.form.xattrs,
            devices: self.options.devices,
        };
        let writer = Writer::new(&objects, keep, false, &warnings, control, &counter);
        let done = Applying::new(self, writer, control).run()?;
        Ok(Restored {
            warnings: warnings.into_inner(),
            ..done
        })
    }

    fn path(&self, delta: &Delta) -> TreePath {
        match delta.name.is_empty() {
            true => TreePath::root(),
            false => self.comparison.pairs[delta.pair].path.join(&delta.name),
        }
    }
}

/// What is to be done about a difference.
fn steps(delta: &Delta, scan: &Scan, delete: bool, user: u32) -> Vec<RestoreStep> {
    match (&delta.want, &delta.have) {
        (None, Some(_)) if delete => vec![RestoreStep::Remove],
        (None, _) => Vec::new(),
        (Some(_), None) => vec![RestoreStep::Create],
        (Some(want), Some((have, _))) if want.kind != have.kind => {
            vec![RestoreStep::Remove, RestoreStep::Create]
        }
        (Some(want), Some((_, (directory, item)))) => {
            let changed = Changed {
                // Only root may give files away; a difference that can't be mended is none.
                owner: delta.changed.owner && user == 0,
                ..delta.changed
            };
            if changed == Changed::default() {
                return Vec::new();
            }
            let in_place = match want.kind {
                EntryKind::Directory => true,
                EntryKind::File => {
                    let links = scan.listing.directories[*directory].items[*item].stat.links;
                    !changed.content && !changed.links && links == 1
                }
                _ => false,
            };
            vec![if in_place {
                RestoreStep::Metadata
            } else {
                RestoreStep::Replace
            }]
        }
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
