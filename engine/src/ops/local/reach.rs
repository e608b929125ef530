//! Going from roots to everything they keep alive: the walk behind `check`, `why` and `du`.
//!
//! Nodes, commits and manifests are read, because what they refer to is found in them; contents are only looked up,
//! or read too where the visitor wants it. Reads come in batches, and what waits is bounded by depth times the width
//! of a batch. What has been seen is the visitor's to remember: 40 bytes or more for each extent, never its bytes.
//! Damage never ends a walk: what hangs on a damaged extent is not reached, and the visitor is told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;

use super::open::Engine;
use crate::error::{Error, Result};
use crate::format::Kind;
use crate::ops::{Exchange, Reporter, Stage, Step};
use crate::store::{Key, Root, RootKind};
use crate::trees::{Histories, commit_parents, extent_references, root_starts};

/// Bytes read at once; at least one extent.
const READ_BYTES: u64 = 16 << 20;
/// Extents looked up at once.
const LOOK_UPS: usize = 4096;

/// Takes note of what a walk finds.
pub(super) trait Visit {
    /// `parent` (nothing: the root) refers to `child`, whose history has this floor if it is a commit. Answers whether
    /// the walk has to go through `child`: the first time, and again when the floor is lower than before.
    fn reach(&mut self, parent: Option<&Key>, child: &Key, floor_ns: u64) -> bool;

    /// The walk is through with an extent: it is there, and these are its bytes if they were read.
    fn passed(&mut self, key: &Key, bytes: Option<&Bytes>);

    /// The root, or an extent it reaches, cannot be followed.
    fn damaged(&mut self, root: &Root, error: &Error);
}

/// What a visitor has seen that needs to know no more.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<Key, u64>);

impl Seen {
    /// Whether a walk has been at an extent.
    pub fn has(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// Whether the walk has to go through `child`.
    pub fn reach(&mut self, child: &Key, floor_ns: u64) -> bool {
        match self.0.entry(*child) {
            Entry::Vacant(new) => {
                new.insert(floor_ns);
                true
            }
            Entry::Occupied(mut lowest) => {
                let again = child.kind == Kind::Commit && floor_ns < *lowest.get();
                if again {
                    lowest.insert(floor_ns);
                }
                again
            }
        }
    }
}

/// An extent to go through, and the floor of the history it is in.
type Waiting = (Key, u64);

/// A walk.
pub(super) struct Reach<'a> {
    engine: &'a Engine,
    read_data: bool,
    reporter: Reporter,
    step: Step,
}

impl Engine {
    /// All roots that keep something alive, in the order in which a walk takes the fewest steps.
    pub(super) fn all_roots(&self) -> Vec<Root> {
        let kinds = [
            RootKind::Branch,
            RootKind::Tag,
            RootKind::Pin,
            RootKind::Workspace,
        ];
        let mut roots: Vec<Root> = kinds.iter().flat_map(|kind| self.store.roots(*kind)).collect();
        Histories::order(&mut roots);
        roots
    }
}

impl<'a> Reach<'a> {
    /// A walk that has been nowhere; with `read_data` it also reads contents.
    pub fn new(engine: &'a Engine, read_data: bool, stage: Stage, exchange: &dyn Exchange) -> Reach<'a> {
        Reach {
            engine,
            read_data,
            reporter: exchange.reporter(),
            step: Step::begin(stage),
        }
    }

    /// Goes from `root` to everything it keeps alive that the visitor has not seen.
    ///
    /// # Errors
    /// `Cancelled`.
    pub fn root(&mut self, root: &Root, visit: &mut impl Visit, exchange: &dyn Exchange) -> Result<()> {
        let starts = match root_starts(root) {
            Ok(starts) => starts,
            Err(error) => {
                visit.damaged(root, &error);
                return Ok(());
            }
        };
        let mut waiting: Vec<Waiting> = Vec::new();
        for start in starts {
            let key = Key {
                domain: root.domain,
                kind: start.kind,
                id: start.id,
            };
            if visit.reach(None, &key, start.floor_ns) {
                waiting.push((key, start.floor_ns));
            }
        }
        while !waiting.is_empty() {
            if exchange.cancel().is_cancelled() {
                return Err(Error::Cancelled);
            }
            let batch = self.batch(&mut waiting);
            if self.reads(&batch[0].0) {
                self.read(root, &batch, visit, &mut waiting);
            } else {
                self.look_up(root, &batch, visit);
            }
            (self.reporter)(self.step);
        }
        Ok(())
    }

    fn reads(&self, key: &Key) -> bool {
        self.read_data || key.kind != Kind::Data
    }

    /// The next extents, all treated alike and together not too large.
    fn batch(&self, waiting: &mut Vec<Waiting>) -> Vec<Waiting> {
        let mut batch: Vec<Waiting> = Vec::new();
        let mut bytes = 0;
        while let Some((key, _)) = waiting.last() {
            let alike = batch
                .first()
                .is_none_or(|(first, _)| self.reads(first) == self.reads(key));
            let length = if self.reads(key) {
                u64::from(self.engine.store.length(*key).unwrap_or(0))
            } else {
                0
            };
            if !alike || batch.len() == LOOK_UPS || (bytes + length > READ_BYTES && !batch.is_empty()) {
                break;
            }
            bytes += length;
            batch.extend(waiting.pop());
        }
        batch
    }

    fn look_up(&mut self, root: &Root, batch: &[Waiting], visit: &mut impl Visit) {
        let keys: Vec<Key> = batch.iter().map(|(key, _)| *key).collect();
        for (key, found) in keys.iter().zip(self.engine.store.contains(&keys)) {
            if found {
                self.step.items += 1;
                visit.passed(key, None);
            } else {
                visit.damaged(root, &missing(key));
            }
        }
    }

    fn read(&mut self, root: &Root, batch: &[Waiting], visit: &mut impl Visit, waiting: &mut Vec<Waiting>) {
        let keys: Vec<Key> = batch.iter().map(|(key, _)| *key).collect();
        let read = self.engine.store.block_on(self.engine.store.get_many(&keys));
        for ((key, floor_ns), bytes) in batch.iter().zip(read) {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(Error::NotFound { .. }) => {
                    visit.damaged(root, &missing(key));
                    continue;
                }
                Err(error) => {
                    visit.damaged(root, &error);
                    continue;
                }
            };
            self.step.items += 1;
            self.step.bytes += bytes.len() as u64;
            visit.passed(key, Some(&bytes));
            if let Err(error) = follow(key, &bytes, *floor_ns, visit, waiting) {
                visit.damaged(
                    root,
                    &Error::invalid(format!("{} {}", key.kind, key.id), error.to_string()),
                );
            }
        }
    }
}

/// Tells the visitor what an extent refers to; what it wants to see waits.
fn follow(
    key: &Key,
    bytes: &Bytes,
    floor_ns: u64,
    visit: &mut impl Visit,
    waiting: &mut Vec<Waiting>,
) -> Result<()> {
    let mut found = Vec::new();
    extent_references(key.kind, bytes, &mut found)?;
    if key.kind == Kind::Commit {
        let parents = commit_parents(bytes, floor_ns)?;
        found.extend(parents.into_iter().map(|id| (Kind::Commit, id)));
    }
    for (kind, id) in found {
        let child = Key {
            domain: key.domain,
            kind,
            id,
        };
        if visit.reach(Some(key), &child, floor_ns) {
            waiting.push((child, floor_ns));
        }
    }
    Ok(())
}

fn missing(key: &Key) -> Error {
    Error::not_found(format!("{} {}, which the store refers to,", key.kind, key.id))
}
