//! A batch: extents and root changes on their way into the store.
//!
//! Extents are probed when they are offered. Misses are kept; a frame's worth of them is handed to the log at once
//! (then `put` may wait for room), the rest together with the root changes by `submit`. All parts go to one log in
//! order, so the last part's acknowledgement covers all of them.
//! Invariant: nothing becomes visible before space for it has been taken, and root changes become visible only
//! after every extent they need.
//! A batch is boxed from the start: it goes through the futures of every layer of a commit, each of which would copy it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Store;
use super::api::{BatchCounts, Extent, Key, Payload, RootChange, RootKind, RootUpdate, Target};
use super::collect::{Phase, Section};
use super::histogram::Class;
use super::index::{IndexKey, KeySet, Slot};
use super::leases::Lease;
use super::log::{Log, Queued, cost_of};
use super::pending::{NO_SLOT, PendingBatch, PendingExtent};
use super::room::Exhausted;
use super::shared::Shared;
use crate::error::{Error, Result};
use crate::format::{Domain, LogId, Sequence};
use crate::limits::FRAME_BYTES_MAX;
use crate::reactor::Nanos;

/// Cost at which a part goes to the log on its own, if at least half as much is still to follow in the same put. The writer
/// puts several of them into one frame; what is smaller leaves less behind at the end of a segment. What would be left is
/// not worth a part: a step of 50 files of 4 KiB, with its nodes, is one.
const PART_COST: u64 = 256 << 10;

/// Extents for which a put takes memory at once: more than a part has when contents are of 4 KiB.
const EXTENTS_AT_ONCE: usize = 128;

/// How often a batch has room made before it is refused.
const ROOM_ATTEMPTS_MAX: u32 = 4;

/// Extents and root changes that go into the store together.
pub struct Batch {
    store: Store,
    /// None when the store takes no writes.
    log: Option<Arc<Log>>,
    domain: Domain,
    extents: Vec<PendingExtent>,
    collected: KeySet,
    cost: u64,
    depends_on: Vec<(LogId, u64)>,
    roots: Vec<RootUpdate>,
    counts: BatchCounts,
    lease: Lease,
    /// The last extent that `hold_one` found: held, so it stays.
    found: Option<Key>,
    /// A store that is full makes room first.
    makes_room: bool,
    last: Option<u64>,
    /// Everything in hand was looked up in the put that goes on, and nothing has been waited for since.
    fresh: bool,
    /// When `submit` was called.
    started: Nanos,
}

/// Proof that a batch is visible, and the way to wait until it is durable.
#[derive(Clone)]
pub struct Ack {
    /// Log that carries it.
    pub log: LogId,
    /// Its place there; 0 if nothing had to be written.
    pub sequence: Sequence,
    /// Keeps its extents alive.
    pub lease: Lease,
    store: Store,
    depends_on: Vec<(LogId, u64)>,
}

impl std::fmt::Debug for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ack({}, {})", self.log, self.sequence)
    }
}

impl Ack {
    /// Completes when the batch survives power loss; an error means its outcome is unknown.
    pub async fn durable(&self) -> Result<()> {
        let logs = self.store.shared().logs();
        for (log, sequence) in &self.depends_on {
            logs[usize::from(log.0)].durable(*sequence).await?;
        }
        match logs.get(usize::from(self.log.0)) {
            Some(log) => log.durable(self.sequence.0).await,
            None => Ok(()),
        }
    }
}

impl Batch {
    pub(super) fn new(store: Store, log: Option<Arc<Log>>) -> Box<Batch> {
        let lease = store.lease();
        Box::new(Batch {
            store,
            log,
            domain: Domain::default(),
            extents: Vec::new(),
            collected: KeySet::default(),
            cost: cost_of(std::iter::empty(), std::iter::empty()),
            depends_on: Vec::new(),
            roots: Vec::new(),
            counts: BatchCounts::default(),
            lease,
            found: None,
            makes_room: true,
            last: None,
            fresh: false,
            started: Nanos(0),
        })
    }

    /// The domain that roots made by this batch get (0 unless set).
    pub fn in_domain(mut self: Box<Self>, domain: Domain) -> Box<Batch> {
        self.domain = domain;
        self
    }

    /// Is refused by a store that is full, rather than wait until it has made room: for what is itself part of that.
    pub fn without_making_room(mut self: Box<Self>) -> Box<Batch> {
        self.makes_room = false;
        self
    }

    /// Offers extents; those the store has cost one look-up and are held by the batch's lease. Says of each whether it is
    /// new: neither in the store nor offered before.
    pub async fn put<P: Payload>(&mut self, extents: Vec<Extent<P>>) -> Result<Vec<bool>> {
        let shared = self.store.shared().clone();
        let keys = shared.index_keys(extents.iter().map(|extent| &extent.key));
        // Says what is known, and then what is new.
        let mut answers = self.probe(&shared, extents.iter().map(|extent| extent.key), &keys);
        self.fresh = self.extents.is_empty();
        let mut to_follow: u64 = extents.iter().map(|extent| extent.len() as u64).sum();
        let new = answers.iter().filter(|known| !**known).count();
        self.collected.reserve(new);
        self.extents.reserve(new.min(EXTENTS_AT_ONCE));
        for ((extent, index_key), answer) in extents.into_iter().zip(keys).zip(&mut answers) {
            extent.check()?;
            self.counts.offered += 1;
            let bytes = extent.len();
            self.counts.offered_bytes += bytes as u64;
            to_follow -= bytes as u64;
            *answer = !*answer && self.collected.insert(index_key);
            if !*answer {
                continue;
            }
            self.counts.new += 1;
            self.counts.new_bytes += bytes as u64;
            let cost = cost_of(std::iter::once(bytes), std::iter::empty());
            if self.cost + cost > FRAME_BYTES_MAX as u64 {
                Box::pin(self.send_part(Vec::new())).await?;
            }
            self.cost += cost - cost_of(std::iter::empty(), std::iter::empty());
            self.extents.push(PendingExtent {
                index_key,
                key: extent.key,
                bytes: extent.bytes.into_bytes(),
                moved_from: None,
            });
            let limit = match to_follow < PART_COST / 2 {
                true => PART_COST + PART_COST / 2,
                false => PART_COST,
            };
            if self.cost > limit {
                Box::pin(self.send_part(Vec::new())).await?;
            }
        }
        Ok(answers)
    }

    /// Holds extents the caller knows by id and will reference; false for those the store does not have.
    pub fn hold(&mut self, keys: &[Key]) -> Vec<bool> {
        let shared = self.store.shared().clone();
        let index_keys = shared.index_keys(keys);
        let known = self.probe(&shared, keys.iter().copied(), &index_keys);
        let collected = &self.collected;
        index_keys
            .iter()
            .zip(known)
            .map(|(index_key, known)| known || collected.contains(index_key))
            .collect()
    }

    /// [`hold`](Self::hold) for one extent: nothing is allocated for a list of it.
    pub fn hold_one(&mut self, key: Key) -> bool {
        let shared = self.store.shared().clone();
        let index_key = shared.index_key(&key);
        let section = shared.barrier.enter();
        self.lease.hold(key);
        let slot = shared.index.get(&index_key);
        let known = slot.is_some()
            && shared.is_alive(&section, &index_key)
            && self.refer(&shared, &key, &index_key, slot);
        if known {
            section.shade(std::iter::once(key));
            self.found = Some(key);
        }
        known || self.collected.contains(&index_key)
    }

    /// Which of the extents the store has; holds them, and notes what the batch then depends on.
    fn probe(
        &mut self,
        shared: &Shared,
        keys: impl Iterator<Item = Key> + Clone,
        index_keys: &[IndexKey],
    ) -> Vec<bool> {
        let section = shared.barrier.enter();
        self.lease.hold_many(keys.clone());
        self.look_up(shared, &section, keys, index_keys)
    }

    /// The same for extents that the lease holds already.
    fn look_up(
        &mut self,
        shared: &Shared,
        section: &Section<'_>,
        keys: impl Iterator<Item = Key> + Clone,
        index_keys: &[IndexKey],
    ) -> Vec<bool> {
        let mut slots = Vec::with_capacity(index_keys.len());
        shared.index.get_many(index_keys, &mut slots);
        let known: Vec<bool> = keys
            .clone()
            .zip(index_keys)
            .zip(slots)
            .map(|((key, index_key), slot)| {
                slot.is_some()
                    && shared.is_alive(section, index_key)
                    && self.refer(shared, &key, index_key, slot)
            })
            .collect();
        let hits = keys.zip(&known).filter(|(_, known)| **known).map(|(key, _)| key);
        section.shade(hits);
        known
    }

    /// Notes what a hit depends on; false if there is no hit (any more).
    fn refer(&mut self, shared: &Shared, key: &Key, index_key: &IndexKey, mut slot: Option<Slot>) -> bool {
        loop {
            match slot {
                None => return false,
                Some(Slot::Stored { .. }) => return true,
                Some(Slot::Pending {
                    slot: number, item, ..
                }) => {
                    if let Some(batch) = shared.pending.find(number, item, key) {
                        self.depend(batch.log, batch.sequence);
                        return true;
                    }
                    slot = shared.index.get(index_key);
                }
            }
        }
    }

    fn depend(&mut self, log: LogId, sequence: u64) {
        match self.depends_on.iter_mut().find(|(known, _)| *known == log) {
            Some((_, highest)) => *highest = (*highest).max(sequence),
            None => self.depends_on.push((log, sequence)),
        }
    }

    /// Adds a root change. It comes with the last part of the batch, whatever is put after it.
    pub fn set_root(&mut self, update: RootUpdate) {
        self.roots.push(update);
    }

    /// What has been offered so far.
    pub fn counts(&self) -> BatchCounts {
        self.counts
    }

    /// The lease that keeps what the batch touches alive.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Makes everything visible at once and sends it to the log. On an error no root has changed.
    pub async fn submit(mut self: Box<Self>) -> Result<Ack> {
        let shared = self.store.shared().clone();
        self.started = self.store.runtime().clock().now();
        shared.check_writable()?;
        for update in &self.roots {
            update.check()?;
        }
        let records = self.roots.iter().map(record_bytes_max);
        let roots_cost = cost_of(std::iter::empty(), records);
        if roots_cost > FRAME_BYTES_MAX as u64 {
            let reason = format!(
                "{} root changes do not fit one frame; use several batches",
                self.roots.len()
            );
            return Err(Error::invalid("batch", reason));
        }
        if !self.roots.is_empty() {
            shared.roots.read().check(&self.roots)?;
        }
        if self.cost + roots_cost > FRAME_BYTES_MAX as u64 {
            Box::pin(self.send_part(Vec::new())).await?;
        }
        if !self.roots.is_empty() || !self.extents.is_empty() {
            self.cost += roots_cost;
            let updates = std::mem::take(&mut self.roots);
            self.send_part(updates).await?;
        }
        shared.counters.batch(&self.counts);
        self.store.take_care();
        let own = self.log.as_ref().map_or(LogId(u16::MAX), |log| log.id);
        // What was written to the own log covers everything before it there.
        let covered = self.last.is_some();
        self.depends_on
            .retain(|(log, sequence)| !(covered && *log == own) && shared.acknowledged(*log) < *sequence);
        Ok(Ack {
            log: own,
            sequence: Sequence(self.last.unwrap_or(0)),
            lease: self.lease,
            store: self.store,
            depends_on: self.depends_on,
        })
    }

    /// Leaves out what somebody else has stored since it was offered.
    fn leave_out_known(&mut self, shared: &Shared) {
        let keys: Vec<Key> = self.extents.iter().map(|extent| extent.key).collect();
        let index_keys: Vec<IndexKey> = self.extents.iter().map(|extent| extent.index_key).collect();
        let section = shared.barrier.enter();
        let known = self.look_up(shared, &section, keys.into_iter(), &index_keys);
        drop(section);
        let mut known = known.into_iter();
        let (cost, counts) = (&mut self.cost, &mut self.counts);
        self.extents.retain(|extent| {
            let is_known = known.next().unwrap_or(false);
            if is_known {
                *cost -= cost_of(std::iter::once(extent.bytes.len()), std::iter::empty())
                    - cost_of(std::iter::empty(), std::iter::empty());
                counts.new -= 1;
                counts.new_bytes -= extent.bytes.len() as u64;
            }
            !is_known
        });
    }

    /// Hands what has been collected to the log, and with the last part the root changes.
    async fn send_part(&mut self, updates: Vec<RootUpdate>) -> Result<()> {
        let shared = self.store.shared().clone();
        shared.check_writable()?;
        // Others may put the same at the same time. What has just been looked up, or is only a handful of extents, is on its
        // way before they can.
        let fresh = std::mem::take(&mut self.fresh);
        if !fresh && (self.cost > PART_COST || self.last.is_some()) {
            self.leave_out_known(&shared);
            if self.extents.is_empty() && updates.is_empty() {
                self.cost = cost_of(std::iter::empty(), std::iter::empty());
                return Ok(());
            }
        }
        let extents = std::mem::take(&mut self.extents);
        let cost = std::mem::replace(&mut self.cost, cost_of(std::iter::empty(), std::iter::empty()));
        let bytes: usize = extents.iter().map(|extent| extent.bytes.len()).sum();
        let log = self.log.clone().ok_or(Error::Closed)?;
        let mut asked = log.room.take(cost, false, || log.hurry()).await;
        // Looked at only when it matters: most batches find room.
        let removal = asked.is_err()
            && extents.is_empty()
            && updates.iter().all(|update| keeps_no_more(&shared, update));
        if removal {
            asked = log.room.take(cost, true, || log.hurry()).await;
        }
        for _ in 0..ROOM_ATTEMPTS_MAX {
            // What one attempt makes may go to others.
            match asked {
                Err(no_room)
                    if no_room.reason == Exhausted::Store
                        && self.makes_room
                        && Box::pin(self.store.make_room(&log)).await? =>
                {
                    asked = log.room.take(cost, removal, || log.hurry()).await;
                }
                _ => break,
            }
        }
        if let Err(no_room) = asked {
            shared.check_writable()?;
            return Err(no_room.error(&shared.name, cost));
        }
        let mut admitted = Admitted {
            shared: &shared,
            log: &log,
            cost,
            slot: None,
            bytes,
        };
        let slot = if extents.is_empty() {
            NO_SLOT
        } else {
            let Some(slot) = shared.pending.reserve(bytes).await else {
                shared.check_writable()?;
                return Err(Error::Closed);
            };
            admitted.slot = Some(slot);
            slot
        };
        let now_ns = self.store.now_ns();
        let clock = self.store.runtime().clock();
        let depends_on: Vec<(LogId, u64)> = self.depends_on.clone();
        let moves_branch = updates
            .iter()
            .any(|update| update.kind == RootKind::Branch && matches!(update.change, RootChange::Set { .. }));
        let domain = self.domain;
        let section = shared.barrier.enter();
        for target in updates.iter().filter_map(|update| match &update.change {
            RootChange::Set { target, .. } => *target,
            _ => None,
        }) {
            self.check_target(&shared, &section, target, &extents)?;
        }
        let place = |sequence: u64| {
            let batch = Arc::new(PendingBatch {
                log: log.id,
                sequence,
                slot,
                extents,
                bytes,
            });
            if !batch.extents.is_empty() {
                shared.pending.fill(batch.clone());
                let entries: Vec<(IndexKey, Slot)> = (0..)
                    .zip(&batch.extents)
                    .map(|(item, extent)| (extent.index_key, batch.slot_of(item)))
                    .collect();
                shared.enter_extents(&section, &batch.extents, &entries);
            }
            let mut depends_on = depends_on;
            let mut records = Vec::new();
            let mut outcome = Ok(());
            if !updates.is_empty() {
                let mut roots = shared.roots.write();
                outcome = roots.check(&updates);
                if outcome.is_ok() {
                    let keep_roots = section.phase() == Phase::Marking;
                    let accepted = roots.apply(updates, now_ns, domain, (log.id, sequence), keep_roots);
                    section.shade_roots(accepted.roots);
                    depends_on.extend(accepted.depends_on);
                    records = accepted.records;
                    if roots.unsettled() > 1024 {
                        roots.settle(|log| shared.acknowledged(log));
                    }
                }
            }
            depends_on
                .retain(|(other, sequence)| *other != log.id && shared.acknowledged(*other) < *sequence);
            let since = clock.now();
            (
                Queued {
                    batch,
                    records,
                    depends_on,
                    cost,
                    is_commit: moves_branch,
                    since,
                },
                (outcome, since),
            )
        };
        let (sequence, (outcome, visible)) = log.append(place)?;
        drop(section);
        admitted.keep();
        self.last = Some(sequence);
        if outcome.is_ok() && moves_branch {
            let taken = visible.0.saturating_sub(self.started.0);
            shared.latencies.record(Class::VisibleCommit, taken);
            shared.counters.commits.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}

impl Batch {
    /// Refuses a root whose target the store does not have, or no longer.
    fn check_target(
        &self,
        shared: &Shared,
        section: &Section<'_>,
        target: Target,
        extents: &[PendingExtent],
    ) -> Result<()> {
        let key = Key {
            domain: self.domain,
            kind: target.kind,
            id: target.id,
        };
        // A branch begins at a commit that was held for it; a commit is the last extent of its own batch.
        if self.found == Some(key) || extents.iter().rev().any(|extent| extent.key == key) {
            return Ok(());
        }
        let index_key = shared.index_key(&key);
        match shared.index.get(&index_key).is_some() && shared.is_alive(section, &index_key) {
            true => Ok(()),
            false => Err(Error::not_found(format!("{} {}", key.kind, key.id))),
        }
    }
}

/// Whether a change lets content go, or at least refers to nothing new: a full store takes it, because it is how space is
/// had again. Removed roots do, branches and tags that stay where they are (what changes is how far back they go), and the
/// first word of a setting (that they do so).
fn keeps_no_more(shared: &Shared, update: &RootUpdate) -> bool {
    match &update.change {
        RootChange::Delete => true,
        RootChange::Rename { .. } => false,
        RootChange::Set { target, .. } => {
            let known = shared.roots.read().get(update.kind, &update.name);
            match update.kind {
                RootKind::Branch | RootKind::Tag => known.is_some_and(|root| root.target == *target),
                RootKind::Setting => known.is_none() && target.is_none(),
                _ => false,
            }
        }
    }
}

/// Upper bound of the bytes of an update's record.
fn record_bytes_max(update: &RootUpdate) -> usize {
    let (name, data) = match &update.change {
        RootChange::Set { data, .. } => (update.name.len(), data.len()),
        RootChange::Rename { to } => (to.len(), crate::limits::ROOT_DATA_BYTES_MAX),
        RootChange::Delete => (update.name.len(), crate::limits::ROOT_DATA_BYTES_MAX),
    };
    size_of::<crate::format::root_record::RootHeader>() + name + data
}

/// Room and slot taken for a part, given back if the part does not reach the log.
struct Admitted<'a> {
    shared: &'a Shared,
    log: &'a Log,
    cost: u64,
    slot: Option<u32>,
    bytes: usize,
}

impl Admitted<'_> {
    fn keep(mut self) {
        self.cost = 0;
        self.slot = None;
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if self.cost > 0 {
            self.log
                .room
                .add(i64::try_from(self.cost).expect("bounded by a frame"));
        }
        if let Some(slot) = self.slot {
            self.shared.pending.cancel(slot, self.bytes);
        }
    }
}
