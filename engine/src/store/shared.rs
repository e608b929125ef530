//! What the reactors' tasks and the callers' threads share of one open store.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::api::Key;
use super::cache::Cache;
use super::collect::{Barrier, Generations, Phase, Section, Trace};
use super::counters::Counters;
use super::fences::Fences;
use super::histogram::Latencies;
use super::index::{self, Index, IndexKey, Slot};
use super::leases::Leases;
use super::log::{Log, LogEnd};
use super::memory::{Growth, MemoryLimit};
use super::pending::{PendingExtent, PendingTable};
use super::recovery::Damage;
use super::roots::RootTable;
use super::scrub::Patrol;
use super::segments::{Places, SegmentTable};
use super::usage::{Place, Usage};
use crate::error::{Error, Result};
use crate::format::{LogId, Secret};
use crate::reactor::Nanos;

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
    pub usage: Usage,
    pub roots: RwLock<RootTable>,
    pub leases: Leases,
    pub barrier: Barrier,
    pub generations: Generations,
    /// What makes memory short.
    pub memory_limit: MemoryLimit,
    pub growth: Growth,
    pub counters: Counters,
    pub latencies: Latencies,
    /// Where the logs of a store that takes no writes stand.
    pub standing: Vec<LogEnd>,
    /// Why no writes are taken, if so from the start.
    pub read_only: Option<String>,
    /// What recovery could not read.
    pub damage: Vec<Damage>,
    /// Where writes have failed since.
    pub fences: Fences,
    /// What the patrol has found.
    pub patrol: Patrol,
    /// Checkpoints that failed since the last good one.
    pub failed_checkpoints: AtomicU32,
    logs: OnceLock<Vec<Arc<Log>>>,
    closing: AtomicBool,
    /// Somebody should look after the store.
    pub care_due: AtomicBool,
    /// Batches that wait until room is made.
    pub waiting_for_room: AtomicU32,
    /// When an attempt to make room made none: log bytes written by then, and the time.
    pub made_room_in_vain: Mutex<Option<(u64, Nanos)>>,
    /// What extents refer to, once a layer above has said it.
    pub trace: OnceLock<Arc<dyn Trace>>,
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
        (segments, usage, roots, counters): (SegmentTable, Usage, RootTable, Counters),
        (read_only, standing): (Option<String>, Vec<LogEnd>),
        damage: Vec<Damage>,
    ) -> Shared {
        let (store, secret, incarnation, created_ns) = identity;
        Shared {
            growth: Growth::since_opening(index.len()),
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
            usage,
            roots: RwLock::new(roots),
            leases: Leases::default(),
            barrier: Barrier::default(),
            generations: Generations::default(),
            memory_limit: MemoryLimit::default(),
            counters,
            latencies: Latencies::new(),
            read_only,
            standing,
            damage,
            fences: Fences::default(),
            patrol: Patrol::default(),
            failed_checkpoints: AtomicU32::new(0),
            logs: OnceLock::new(),
            closing: AtomicBool::new(false),
            care_due: AtomicBool::new(false),
            waiting_for_room: AtomicU32::new(0),
            made_room_in_vain: Mutex::default(),
            trace: OnceLock::new(),
        }
    }

    /// The index key of an extent.
    pub fn index_key(&self, key: &Key) -> IndexKey {
        IndexKey::new(&self.index_secret, key.domain, key.kind, &key.id)
    }

    /// The index keys of many extents, several times as fast.
    pub fn index_keys<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Key, IntoIter: ExactSizeIterator>,
    ) -> Vec<IndexKey> {
        let names = keys.into_iter().map(|key| (key.domain, key.kind, &key.id));
        IndexKey::many(&self.index_secret, names)
    }

    /// Whether an entry may be referred to: while a collection sweeps, one without a mark is as good as gone.
    pub fn is_alive(&self, section: &Section<'_>, key: &IndexKey) -> bool {
        section.phase() != Phase::Sweeping || self.index.is_marked(key) == Some(true)
    }

    /// The bytes of an extent if they are in memory.
    pub fn in_memory(&self, key: &Key) -> Option<Bytes> {
        let index_key = self.index_key(key);
        match self.index.get(&index_key)? {
            Slot::Pending { slot, item, .. } => {
                let batch = self.pending.find(slot, item, key)?;
                Some(batch.extents[item as usize].bytes.clone())
            }
            Slot::Stored { .. } => self.cache.get(&index_key),
        }
    }

    /// Makes new extents visible. Where somebody else's equal extent has come first, this copy is never referred to.
    pub fn enter_extents(
        &self,
        section: &Section<'_>,
        extents: &[PendingExtent],
        entries: &[(IndexKey, Slot)],
    ) {
        match section.phase() {
            Phase::Idle => self.index.insert_many_if_absent(entries),
            Phase::Marking => {
                self.index.insert_many_if_absent(entries);
                let with_references = extents.iter().filter(|extent| extent.key.kind.has_references());
                section.shade_born(with_references.map(|extent| extent.key));
            }
            Phase::Sweeping => {
                let taken_over = entries
                    .iter()
                    .filter_map(|(key, slot)| self.index.insert_or_take_over(key, *slot).ok().flatten());
                self.usage.died(taken_over.filter_map(Place::of));
            }
        }
    }

    /// Gives the store its logs, once.
    pub fn set_logs(&self, logs: Vec<Arc<Log>>) {
        assert!(self.logs.set(logs).is_ok(), "the logs of a store are set once");
    }

    /// The logs, the cleaner's last; none when read-only.
    pub fn logs(&self) -> &[Arc<Log>] {
        self.logs.get().map_or(&[], Vec::as_slice)
    }

    /// The logs that take what callers write.
    pub fn writing_logs(&self) -> &[Arc<Log>] {
        self.logs().split_last().map_or(&[], |(_, logs)| logs)
    }

    /// The log that takes what cleaning moves.
    pub fn cleaner_log(&self) -> Option<&Arc<Log>> {
        self.logs().last()
    }

    /// From now on maintenance ends at its next step.
    pub fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether the store is being closed.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
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

    /// Ends all logs: writes fail, and nowhere is left to try.
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
                reason: format!("writing failed ({reason}); check the device, then open the store again"),
            }),
        }
    }
}
