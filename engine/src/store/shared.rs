//! What the reactors' tasks and the callers' threads share of one open store.

use std::sync::Arc;
use std::sync::OnceLock;

use parking_lot::{Mutex, RwLock};

use super::api::Key;
use super::cache::Cache;
use super::counters::Counters;
use super::histogram::Latencies;
use super::index::{self, Index, IndexKey};
use super::leases::Leases;
use super::log::Log;
use super::pending::PendingTable;
use super::recovery::Damage;
use super::roots::RootTable;
use super::segments::{Places, SegmentTable};
use crate::error::{Error, Result};
use crate::format::{LogId, Secret};

/// One open store, without the threads that drive it.
pub(super) struct Shared {
    /// Address, for messages.
    pub name: String,
    /// Random name of the store.
    pub store: [u8; 16],
    pub secret: Secret,
    index_secret: index::Secret,
    /// This opening's number.
    pub incarnation: u64,
    pub created_ns: u64,
    pub places: Places,
    /// Segments are zero-written ahead of the frames.
    pub zero_ahead: bool,
    pub index: Index,
    pub cache: Cache,
    pub pending: PendingTable,
    pub segments: Mutex<SegmentTable>,
    pub roots: RwLock<RootTable>,
    pub leases: Leases,
    pub counters: Counters,
    pub latencies: Latencies,
    /// Why no writes are taken, if so from the start.
    pub read_only: Option<String>,
    /// What recovery could not read.
    pub damage: Vec<Damage>,
    logs: OnceLock<Vec<Arc<Log>>>,
}

impl Shared {
    /// A store without logs yet.
    #[allow(
        clippy::too_many_arguments,
        reason = "one constructor for the fields recovery has found"
    )]
    pub fn new(
        name: String,
        identity: ([u8; 16], Secret, u64, u64),
        places: Places,
        zero_ahead: bool,
        (index, cache, pending): (Index, Cache, PendingTable),
        (segments, roots, counters): (SegmentTable, RootTable, Counters),
        read_only: Option<String>,
        damage: Vec<Damage>,
    ) -> Shared {
        let (store, secret, incarnation, created_ns) = identity;
        Shared {
            name,
            store,
            secret,
            index_secret: index::Secret::derive(&secret.0),
            incarnation,
            created_ns,
            places,
            zero_ahead,
            index,
            cache,
            pending,
            segments: Mutex::new(segments),
            roots: RwLock::new(roots),
            leases: Leases::default(),
            counters,
            latencies: Latencies::new(),
            read_only,
            damage,
            logs: OnceLock::new(),
        }
    }

    /// The index key of an extent.
    pub fn index_key(&self, key: &Key) -> IndexKey {
        IndexKey::new(&self.index_secret, key.domain, key.kind, &key.id)
    }

    /// Gives the store its logs, once.
    pub fn set_logs(&self, logs: Vec<Arc<Log>>) {
        assert!(self.logs.set(logs).is_ok(), "the logs of a store are set once");
    }

    /// The logs; none when read-only.
    pub fn logs(&self) -> &[Arc<Log>] {
        self.logs.get().map_or(&[], Vec::as_slice)
    }

    /// Highest acknowledged sequence of a log; everything of logs that are no more is durable.
    pub fn acknowledged(&self, log: LogId) -> u64 {
        self.logs()
            .get(usize::from(log.0))
            .map_or(u64::MAX, |log| log.acknowledged())
    }

    /// Asks a log to write up to `sequence` now.
    pub fn hurry(&self, log: LogId, sequence: u64) {
        if let Some(log) = self.logs().get(usize::from(log.0)) {
            log.hurry_to(sequence);
        }
    }

    /// Wakes the logs whose head frame waits for another log.
    pub fn ring_waiting_logs(&self, not: LogId) {
        self.logs()
            .iter()
            .filter(|log| log.id != not)
            .for_each(|log| log.ring_if_waiting());
    }

    /// Ends all logs: a write failed and its outcome is unknown.
    pub fn fence_all(&self, reason: &str) {
        tracing::error!(store = self.name, reason, "the store takes no more writes");
        self.logs().iter().for_each(|log| log.fence(reason));
        self.pending.close();
    }

    /// Refuses writes where they cannot be kept.
    pub fn check_writable(&self) -> Result<()> {
        if let Some(reason) = &self.read_only {
            return Err(Error::ReadOnly {
                store: self.name.clone(),
                reason: reason.clone(),
            });
        }
        match self.logs().iter().find_map(|log| log.fenced()) {
            None => Ok(()),
            Some(reason) => Err(Error::ReadOnly {
                store: self.name.clone(),
                reason: format!(
                    "an earlier write failed ({reason}); check the device, then open the store again"
                ),
            }),
        }
    }
}
