//! The root table: every branch, tag, pin, workspace, as it is visible now.
//!
//! Owns compare-and-swap and the numbering of roots and of their changes. An update takes its sequence in the same
//! critical section that makes it visible.
//! Invariant: an update depends on the batch that made the state it replaces, also when that state is "no such root"
//! (a deletion or rename that freed the name): recovery can therefore never see two roots of one name.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::api::{Expect, Root, RootChange, RootKind, RootUpdate};
use super::name_hash::NameHash;
use crate::error::{Error, Result};
use crate::format::root_record::RootRecord;
use crate::format::{Domain, LogId, RootId};

/// Where in the logs a state was made.
pub(super) type Origin = (LogId, u64);

struct Entry {
    root: Root,
    origin: Option<Origin>,
}

impl Entry {
    /// The root changes once more, made by `origin`; what the change depends on.
    fn change(&mut self, now_ns: u64, origin: Origin) -> Option<Origin> {
        self.root.sequence += 1;
        self.root.changed_ns = now_ns.max(self.root.changed_ns);
        self.origin.replace(origin)
    }
}

/// Why a root that goes or is renamed is there.
const CHECKED: &str = "`check` has found it, under the same lock";

/// The names of one kind.
#[derive(Default)]
struct Names {
    live: HashMap<Arc<[u8]>, Entry, NameHash>,
    /// Freed by batches that may not be durable yet.
    freed: HashMap<Arc<[u8]>, Origin, NameHash>,
}

/// All roots of a store.
#[derive(Default)]
pub(super) struct RootTable {
    /// By kind.
    names: [Names; RootKind::COUNT],
    next_root: u64,
    /// By log: the last batch whose changes are in the table.
    applied: Vec<u64>,
}

/// What an accepted set of updates needs from the log.
pub(super) struct Accepted {
    /// One record per update.
    pub records: Vec<RootRecord>,
    /// Origins of the states that were replaced.
    pub depends_on: Vec<Origin>,
    /// The roots as they are now, if they were asked for.
    pub roots: Vec<Root>,
}

impl RootTable {
    /// The roots that recovery found.
    pub fn restore(roots: Vec<Root>, next_root: u64) -> RootTable {
        let mut table = RootTable {
            names: Default::default(),
            next_root: next_root.max(1),
            applied: Vec::new(),
        };
        for root in roots {
            let live = &mut table.names[root.kind.number()].live;
            live.insert(root.name.clone(), Entry { root, origin: None });
        }
        table
    }

    fn find(&self, kind: RootKind, name: &[u8]) -> Option<&Root> {
        self.names[kind.number()].live.get(name).map(|entry| &entry.root)
    }

    /// The root of that kind and name.
    pub fn get(&self, kind: RootKind, name: &[u8]) -> Option<Root> {
        self.find(kind, name).cloned()
    }

    /// All roots of a kind, by name.
    pub fn of_kind(&self, kind: RootKind) -> Vec<Root> {
        let live = self.names[kind.number()].live.values();
        let mut roots: Vec<Root> = live.map(|entry| entry.root.clone()).collect();
        roots.sort_by(|a, b| a.name.cmp(&b.name));
        roots
    }

    /// All roots.
    pub fn all(&self) -> impl Iterator<Item = &Root> {
        let entries = self.names.iter().flat_map(|names| names.live.values());
        entries.map(|entry| &entry.root)
    }

    /// Number of roots.
    pub fn len(&self) -> usize {
        self.names.iter().map(|names| names.live.len()).sum()
    }

    /// Number the next new root gets.
    pub fn next_root(&self) -> u64 {
        self.next_root
    }

    /// Whether all updates would be accepted now.
    pub fn check(&self, updates: &[RootUpdate]) -> Result<()> {
        let mut touched = HashSet::new();
        for update in updates {
            let found = self.find(update.kind, &update.name);
            let fits = match update.expect {
                Expect::Any => true,
                Expect::Absent => found.is_none(),
                Expect::Present => found.is_some(),
                Expect::Sequence(sequence) => found.is_some_and(|root| root.sequence == sequence),
            };
            if !fits {
                return Err(conflict(update, found));
            }
            let mut new_name = None;
            if let RootChange::Rename { to } = &update.change {
                if self.find(update.kind, to).is_some() {
                    return Err(Error::Exists {
                        what: display(update.kind, to),
                    });
                }
                new_name = Some(to);
            }
            if matches!(update.change, RootChange::Rename { .. } | RootChange::Delete) && found.is_none() {
                return Err(Error::not_found(display(update.kind, &update.name)));
            }
            if updates.len() == 1 {
                // A new name is not the old one, which exists.
                break;
            }
            for name in std::iter::once(&update.name).chain(new_name) {
                if !touched.insert((update.kind, name)) {
                    return Err(Error::invalid(
                        display(update.kind, name),
                        "changed twice in one batch",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Makes updates visible that [`check`](Self::check) has accepted under the same lock.
    pub fn apply(
        &mut self,
        updates: Vec<RootUpdate>,
        now_ns: u64,
        domain: Domain,
        origin: Origin,
        keep_roots: bool,
    ) -> Accepted {
        let log = usize::from(origin.0.0);
        if self.applied.len() <= log {
            self.applied.resize(log + 1, 0);
        }
        self.applied[log] = self.applied[log].max(origin.1);
        let mut accepted = Accepted {
            records: Vec::with_capacity(updates.len()),
            depends_on: Vec::new(),
            roots: Vec::new(),
        };
        for update in updates {
            let (kind, name) = (update.kind, update.name);
            let Names { live, freed } = &mut self.names[kind.number()];
            // Either way the name is looked up once: a commit and a fork wait for this.
            let entry = match update.change {
                RootChange::Set { target, data } => {
                    let entry = match live.entry(name) {
                        Occupied(entry) => entry.into_mut(),
                        Vacant(place) => {
                            let root = new_root(&mut self.next_root, kind, place.key(), domain);
                            let origin = match freed.is_empty() {
                                true => None,
                                false => freed.remove(place.key()),
                            };
                            place.insert(Entry { root, origin })
                        }
                    };
                    entry.root.target = target;
                    entry.root.data = data;
                    accepted.depends_on.extend(entry.change(now_ns, origin));
                    entry
                }
                RootChange::Delete => {
                    let mut entry = live.remove(&name).expect(CHECKED);
                    accepted.depends_on.extend(entry.change(now_ns, origin));
                    accepted.records.push(entry.root.record(true));
                    freed.insert(name, origin);
                    continue;
                }
                RootChange::Rename { to } => {
                    let mut entry = live.remove(&name).expect(CHECKED);
                    accepted.depends_on.extend(entry.change(now_ns, origin));
                    accepted.depends_on.extend(freed.remove(&to));
                    freed.insert(name, origin);
                    entry.root.name = to.clone();
                    live.entry(to).insert_entry(entry).into_mut()
                }
            };
            accepted.records.push(entry.root.record(false));
            if keep_roots {
                accepted.roots.push(entry.root.clone());
            }
        }
        accepted
    }

    /// Sequence of the last batch of a log whose changes are in the table.
    pub fn applied(&self, log: LogId) -> u64 {
        self.applied.get(usize::from(log.0)).copied().unwrap_or(0)
    }

    /// Forgets origins that are durable: `durable` gives the highest acknowledged sequence of a log.
    pub fn settle(&mut self, durable: impl Fn(LogId) -> u64) {
        for names in &mut self.names {
            names.freed.retain(|_, (log, sequence)| *sequence > durable(*log));
        }
    }

    /// Names freed and not known to be durable.
    pub fn unsettled(&self) -> usize {
        self.names.iter().map(|names| names.freed.len()).sum()
    }
}

/// A root without a state yet.
fn new_root(next: &mut u64, kind: RootKind, name: &Arc<[u8]>, domain: Domain) -> Root {
    let id = RootId(*next);
    *next += 1;
    Root {
        id,
        kind,
        name: name.clone(),
        domain,
        sequence: 0,
        target: None,
        data: Bytes::new(),
        changed_ns: 0,
    }
}

fn display(kind: RootKind, name: &[u8]) -> String {
    let kind = match kind {
        RootKind::Branch => "branch",
        RootKind::Tag => "tag",
        RootKind::Pin => "pin",
        RootKind::Workspace => "workspace",
        RootKind::Volume => "volume",
        RootKind::Snapshot => "snapshot",
        RootKind::Setting => "setting",
    };
    format!("{kind} {}", String::from_utf8_lossy(name))
}

fn conflict(update: &RootUpdate, found: Option<&Root>) -> Error {
    let root = display(update.kind, &update.name);
    if update.expect == Expect::Absent {
        return Error::Exists { what: root };
    }
    let Some(found) = found else {
        return match update.expect {
            Expect::Sequence(sequence) => Error::Conflict {
                root,
                expected: format!("change {sequence}"),
                found: "no such name".into(),
            },
            _ => Error::not_found(root),
        };
    };
    let expected = match update.expect {
        Expect::Sequence(sequence) => format!("change {sequence}"),
        Expect::Any | Expect::Present | Expect::Absent => "another state".into(),
    };
    Error::Conflict {
        root,
        expected,
        found: format!("change {}", found.sequence),
    }
}
