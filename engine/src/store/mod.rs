//! One content-addressed store: index, log, cache, roots, recovery.
//!
//! SCAFFOLD of the interface (in memory), replaced by the real store; the signatures stay.

pub mod cache;
pub mod histogram;
pub mod index;
pub mod owner;
mod sharded;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::format::{ContentId, Domain, Kind, LogId, RootId, Sequence};

/// Names one extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Deduplication domain.
    pub domain: Domain,
    /// Name space within the domain.
    pub kind: Kind,
    /// Hash of the extent's bytes, as its kind defines it.
    pub id: ContentId,
}

/// An extent offered to a batch. The caller has computed `key.id` from `bytes`.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Its name.
    pub key: Key,
    /// Its bytes, at most [`EXTENT_BYTES_MAX`](crate::limits::EXTENT_BYTES_MAX).
    pub bytes: Bytes,
}

/// What kind of name keeps content alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum RootKind {
    /// A moving name of a commit.
    Branch = 1,
    /// A fixed name of a commit.
    Tag = 2,
    /// A counted pin of a content.
    Pin = 3,
    /// Which branch a directory follows, and its stat cache.
    Workspace = 4,
    /// A volume.
    Volume = 5,
    /// A volume snapshot.
    Snapshot = 6,
}

/// What a root points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Kind of the extent.
    pub kind: Kind,
    /// Its id.
    pub id: ContentId,
}

/// A root as it is visible now.
#[derive(Debug, Clone)]
pub struct Root {
    /// Never reused.
    pub id: RootId,
    /// Its kind.
    pub kind: RootKind,
    /// Its name; unique within its kind.
    pub name: Arc<[u8]>,
    /// Domain of everything it reaches.
    pub domain: Domain,
    /// Counts the changes of this root.
    pub sequence: u64,
    /// What it keeps alive, if anything.
    pub target: Option<Target>,
    /// Owned by the layer that made the root; at most `ROOT_DATA_BYTES_MAX`.
    pub data: Bytes,
    /// When it last changed: nanoseconds since 1970.
    pub changed_ns: u64,
}

/// What a root must be for an update to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Anything, absent included.
    Any,
    /// No such root.
    Absent,
    /// Some such root.
    Present,
    /// The root with exactly this sequence (read earlier with [`Store::root`]).
    Sequence(u64),
}

/// One root change; all changes of a batch happen together or not at all.
#[derive(Debug, Clone)]
pub struct RootUpdate {
    /// Kind of the root.
    pub kind: RootKind,
    /// Its present name.
    pub name: Arc<[u8]>,
    /// Condition.
    pub expect: Expect,
    /// What to do.
    pub change: RootChange,
}

/// What happens to a root.
#[derive(Debug, Clone)]
pub enum RootChange {
    /// Creates or moves it.
    Set {
        /// New target.
        target: Option<Target>,
        /// New data.
        data: Bytes,
    },
    /// Gives it another name; the new name must be free.
    Rename {
        /// New name.
        to: Arc<[u8]>,
    },
    /// Removes it.
    Delete,
}

/// Keeps what it names alive until dropped, whatever roots do.
#[derive(Debug, Clone, Default)]
pub struct Lease(Arc<Mutex<Vec<Key>>>);

impl Lease {
    /// Adds a reference.
    pub fn hold(&self, key: Key) {
        self.0.lock().push(key);
    }
}

/// Proof that a batch is visible, and the way to wait until it is durable.
#[derive(Debug, Clone)]
pub struct Ack {
    /// Log that carries it.
    pub log: LogId,
    /// Its place there.
    pub sequence: Sequence,
    /// Keeps its extents alive.
    pub lease: Lease,
}

impl Ack {
    /// Completes when the batch survives power loss; an error means its outcome is unknown.
    pub async fn durable(&self) -> Result<()> {
        Ok(())
    }
}

/// What a batch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchCounts {
    /// Extents offered.
    pub offered: u64,
    /// Extents the store did not have.
    pub new: u64,
    /// Bytes offered.
    pub offered_bytes: u64,
    /// Bytes of the new extents.
    pub new_bytes: u64,
}

#[derive(Default)]
struct Inner {
    extents: HashMap<Key, Bytes>,
    roots: HashMap<(RootKind, Arc<[u8]>), Root>,
    next: u64,
}

/// An open store. Cheap to clone; all clones are the same store.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<Inner>>);

impl Store {
    /// SCAFFOLD: an in-memory store for tests of the layers above.
    pub fn scaffold() -> Store {
        Store::default()
    }

    /// Which of the extents are known, as one batched index look-up. Hits are no promise without a lease.
    pub fn contains(&self, keys: &[Key]) -> Vec<bool> {
        let inner = self.0.lock();
        keys.iter().map(|key| inner.extents.contains_key(key)).collect()
    }

    /// The verified bytes of one extent.
    pub async fn get(&self, key: Key) -> Result<Bytes> {
        self.get_many(&[key]).await.pop().expect("one answer per key")
    }

    /// The verified bytes of many extents, in the order asked; reads are sorted by location and merged.
    pub async fn get_many(&self, keys: &[Key]) -> Vec<Result<Bytes>> {
        let inner = self.0.lock();
        keys.iter()
            .map(|key| {
                inner
                    .extents
                    .get(key)
                    .cloned()
                    .ok_or_else(|| Error::not_found(format!("{} {}", key.kind, key.id)))
            })
            .collect()
    }

    /// Stored length of an extent in bytes, from the index alone.
    pub fn length(&self, key: Key) -> Option<u32> {
        self.0
            .lock()
            .extents
            .get(&key)
            .map(|bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
    }

    /// A new lease that holds nothing yet.
    pub fn lease(&self) -> Lease {
        Lease::default()
    }

    /// Starts a batch: extents and root changes that become visible together.
    pub fn batch(&self) -> Batch {
        Batch {
            store: self.clone(),
            roots: Vec::new(),
            counts: BatchCounts::default(),
            lease: Lease::default(),
        }
    }

    /// The root of this kind and name.
    pub fn root(&self, kind: RootKind, name: &[u8]) -> Option<Root> {
        self.0.lock().roots.get(&(kind, Arc::from(name))).cloned()
    }

    /// All roots of a kind, by name.
    pub fn roots(&self, kind: RootKind) -> Vec<Root> {
        let inner = self.0.lock();
        let mut roots: Vec<Root> = inner
            .roots
            .values()
            .filter(|root| root.kind == kind)
            .cloned()
            .collect();
        roots.sort_by(|a, b| a.name.cmp(&b.name));
        roots
    }

    /// Waits until everything visible before the call is durable.
    pub async fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Wall-clock time of the store's clock: nanoseconds since 1970.
    pub fn now_ns(&self) -> u64 {
        1_700_000_000_000_000_000 + self.0.lock().next
    }
}

/// Extents and root changes on their way into the store.
///
/// Extents are probed when offered; misses are kept and handed to the log when a frame's worth has come together
/// (then `put` may wait for room in the pending table), the rest together with the root changes by `submit`.
pub struct Batch {
    store: Store,
    roots: Vec<RootUpdate>,
    counts: BatchCounts,
    lease: Lease,
}

impl Batch {
    /// Offers extents; those the store has cost one look-up and are held by the batch's lease.
    pub async fn put(&mut self, extents: Vec<Extent>) -> Result<()> {
        let mut inner = self.store.0.lock();
        for extent in extents {
            self.counts.offered += 1;
            self.counts.offered_bytes += extent.bytes.len() as u64;
            self.lease.hold(extent.key);
            if inner.extents.insert(extent.key, extent.bytes.clone()).is_none() {
                self.counts.new += 1;
                self.counts.new_bytes += extent.bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// Holds extents the caller knows by id and will reference; false for those the store does not have.
    pub fn hold(&mut self, keys: &[Key]) -> Vec<bool> {
        for key in keys {
            self.lease.hold(*key);
        }
        self.store.contains(keys)
    }

    /// Adds a root change.
    pub fn set_root(&mut self, update: RootUpdate) {
        self.roots.push(update);
    }

    /// What has been offered so far.
    pub fn counts(&self) -> BatchCounts {
        self.counts
    }

    /// Makes everything visible at once and sends it to the log. On `Conflict` no root has changed.
    pub async fn submit(self) -> Result<Ack> {
        let mut inner = self.store.0.lock();
        for update in &self.roots {
            let found = inner.roots.get(&(update.kind, update.name.clone()));
            let fits = match update.expect {
                Expect::Any => true,
                Expect::Absent => found.is_none(),
                Expect::Present => found.is_some(),
                Expect::Sequence(sequence) => found.is_some_and(|root| root.sequence == sequence),
            };
            if !fits {
                return Err(Error::Conflict {
                    root: String::from_utf8_lossy(&update.name).into_owned(),
                    expected: format!("{:?}", update.expect),
                    found: found.map_or("no such root".into(), |root| {
                        format!("sequence {}", root.sequence)
                    }),
                });
            }
        }
        for update in self.roots {
            inner.next += 1;
            let place = (update.kind, update.name.clone());
            let old = inner.roots.remove(&place);
            let next = inner.next;
            let mut root = old.unwrap_or(Root {
                id: RootId(next),
                kind: update.kind,
                name: update.name,
                domain: Domain::default(),
                sequence: 0,
                target: None,
                data: Bytes::new(),
                changed_ns: 0,
            });
            root.sequence += 1;
            root.changed_ns = 1_700_000_000_000_000_000 + next;
            match update.change {
                RootChange::Delete => continue,
                RootChange::Set { target, data } => {
                    root.target = target;
                    root.data = data;
                }
                RootChange::Rename { to } => root.name = to,
            }
            inner.roots.insert((root.kind, root.name.clone()), root);
        }
        Ok(Ack {
            log: LogId(0),
            sequence: Sequence(inner.next),
            lease: self.lease,
        })
    }
}
