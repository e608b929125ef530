//! The root table: every branch, tag, pin, workspace, as it is visible now.
//!
//! Owns compare-and-swap and the numbering of roots and of their changes. An update takes its sequence in the same
//! critical section that makes it visible.
//! Invariant: an update depends on the batch that made the state it replaces, also when that state is "no such root"
//! (a deletion or rename that freed the name): recovery can therefore never see two roots of one name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::api::{Expect, Root, RootChange, RootKind, RootUpdate};
use crate::error::{Error, Result};
use crate::format::root_record::RootRecord;
use crate::format::{Domain, LogId, RootId};

type Name = (RootKind, Arc<[u8]>);

/// Where in the logs a state was made.
pub(super) type Origin = (LogId, u64);

struct Entry {
    root: Root,
    origin: Option<Origin>,
}

/// All roots of a store.
#[derive(Default)]
pub(super) struct RootTable {
    live: HashMap<Name, Entry>,
    /// Names freed by batches that may not be durable yet.
    freed: HashMap<Name, Origin>,
    next_root: u64,
}

/// What an accepted set of updates needs from the log.
pub(super) struct Accepted {
    /// One record per update.
    pub records: Vec<RootRecord>,
    /// Origins of the states that were replaced.
    pub depends_on: Vec<Origin>,
}

impl RootTable {
    /// The roots that recovery found.
    pub fn restore(roots: Vec<Root>, next_root: u64) -> RootTable {
        let live = roots
            .into_iter()
            .map(|root| ((root.kind, root.name.clone()), Entry { root, origin: None }));
        RootTable {
            live: live.collect(),
            freed: HashMap::new(),
            next_root: next_root.max(1),
        }
    }

    /// The root of that kind and name.
    pub fn get(&self, kind: RootKind, name: &[u8]) -> Option<Root> {
        self.live
            .get(&(kind, Arc::from(name)))
            .map(|entry| entry.root.clone())
    }

    /// All roots of a kind, by name.
    pub fn of_kind(&self, kind: RootKind) -> Vec<Root> {
        let mut roots: Vec<Root> = self
            .live
            .values()
            .filter(|entry| entry.root.kind == kind)
            .map(|entry| entry.root.clone())
            .collect();
        roots.sort_by(|a, b| a.name.cmp(&b.name));
        roots
    }

    /// All roots.
    pub fn all(&self) -> impl Iterator<Item = &Root> {
        self.live.values().map(|entry| &entry.root)
    }

    /// Number of roots.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Number the next new root gets.
    pub fn next_root(&self) -> u64 {
        self.next_root
    }

    /// Whether all updates would be accepted now.
    pub fn check(&self, updates: &[RootUpdate]) -> Result<()> {
        let mut touched = HashSet::new();
        for update in updates {
            let found = self
                .live
                .get(&(update.kind, update.name.clone()))
                .map(|entry| &entry.root);
            let fits = match update.expect {
                Expect::Any => true,
                Expect::Absent => found.is_none(),
                Expect::Present => found.is_some(),
                Expect::Sequence(sequence) => found.is_some_and(|root| root.sequence == sequence),
            };
            if !fits {
                return Err(conflict(update, found));
            }
            let mut names = vec![&update.name];
            if let RootChange::Rename { to } = &update.change {
                if self.live.contains_key(&(update.kind, to.clone())) {
                    return Err(Error::Exists {
                        what: display(update.kind, to),
                    });
                }
                names.push(to);
            }
            if matches!(update.change, RootChange::Rename { .. } | RootChange::Delete) && found.is_none() {
                return Err(Error::not_found(display(update.kind, &update.name)));
            }
            for name in names {
                if !touched.insert((update.kind, name.clone())) {
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
    ) -> Accepted {
        let mut accepted = Accepted {
            records: Vec::with_capacity(updates.len()),
            depends_on: Vec::new(),
        };
        for update in updates {
            let name = (update.kind, update.name);
            let old = self.live.remove(&name);
            let freed = if old.is_none() {
                self.freed.remove(&name)
            } else {
                None
            };
            accepted
                .depends_on
                .extend(old.as_ref().and_then(|entry| entry.origin).or(freed));
            let mut root = old.map_or_else(|| self.new_root(&name, domain), |entry| entry.root);
            root.sequence += 1;
            root.changed_ns = now_ns.max(root.changed_ns);
            match update.change {
                RootChange::Delete => {
                    accepted.records.push(root.record(true));
                    self.freed.insert(name, origin);
                    continue;
                }
                RootChange::Set { target, data } => {
                    root.target = target;
                    root.data = data;
                }
                RootChange::Rename { to } => {
                    self.freed.insert(name, origin);
                    if let Some(freed) = self.freed.remove(&(root.kind, to.clone())) {
                        accepted.depends_on.push(freed);
                    }
                    root.name = to;
                }
            }
            accepted.records.push(root.record(false));
            self.live.insert(
                (root.kind, root.name.clone()),
                Entry {
                    root,
                    origin: Some(origin),
                },
            );
        }
        accepted
    }

    fn new_root(&mut self, (kind, name): &Name, domain: Domain) -> Root {
        let id = RootId(self.next_root);
        self.next_root += 1;
        Root {
            id,
            kind: *kind,
            name: name.clone(),
            domain,
            sequence: 0,
            target: None,
            data: Bytes::new(),
            changed_ns: 0,
        }
    }

    /// Forgets origins that are durable: `durable` gives the highest acknowledged sequence of a log.
    pub fn settle(&mut self, durable: impl Fn(LogId) -> u64) {
        self.freed.retain(|_, (log, sequence)| *sequence > durable(*log));
    }

    /// Names freed and not known to be durable.
    pub fn unsettled(&self) -> usize {
        self.freed.len()
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
