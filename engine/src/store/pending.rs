//! Batches that are visible and not yet durable: readers are served from memory until the device has them.
//!
//! Owns a bounded set of slots, one per batch with extents; `budget` counts them and their bytes. The index names
//! (slot, item); a slot is reused only after the index stopped naming it, and a reader that comes late finds another
//! key there and looks again.
//! Invariant: a slot is filled before the index names it and emptied after.
//! Bytes stay until durable, not until written: a failed write loses nothing that was visible.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::api::Key;
use super::budget::Budget;
use super::index::{IndexKey, Slot};
use super::usage::Place;
use crate::format::LogId;

/// One new extent.
#[derive(Debug, Clone)]
pub(super) struct PendingExtent {
    pub index_key: IndexKey,
    pub key: Key,
    pub bytes: Bytes,
    /// For a copy of an extent that stays readable where it is until the copy is durable: that place.
    pub moved_from: Option<Place>,
}

/// The extents of one batch, in the place the log gave it.
#[derive(Debug)]
pub(super) struct PendingBatch {
    pub log: LogId,
    pub sequence: u64,
    pub slot: u32,
    pub extents: Vec<PendingExtent>,
    /// Bytes of the extents.
    pub bytes: usize,
}

impl PendingBatch {
    /// How the index names one of the extents until it is durable.
    pub fn slot_of(&self, item: u32) -> Slot {
        if let Some(place) = self.extents[item as usize].moved_from {
            return place.slot();
        }
        Slot::Pending {
            slot: self.slot,
            item,
            generation: (self.sequence & 0xffff) as u16,
        }
    }
}

/// The slot of a batch that has no extents, or only copies that readers do not need.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// The pending table of a store.
pub(super) struct PendingTable {
    slots: Vec<Mutex<Option<Arc<PendingBatch>>>>,
    budget: Budget,
    waits: AtomicU64,
}

impl PendingTable {
    /// Room for `slots` batches of together about `bytes_max` bytes.
    pub fn new(slots: u32, bytes_max: usize) -> PendingTable {
        PendingTable {
            slots: (0..slots).map(|_| Mutex::new(None)).collect(),
            budget: Budget::new(slots, bytes_max),
            waits: AtomicU64::new(0),
        }
    }

    /// A slot for a batch of that many bytes; waits while the table is full, and counts the wait. `None` once the
    /// table is closed.
    pub async fn reserve(&self, bytes: usize) -> Option<u32> {
        if let Some(slot) = self.budget.try_take(bytes) {
            return Some(slot);
        }
        self.waits.fetch_add(1, Ordering::Relaxed);
        poll_fn(|context| self.budget.poll_take(bytes, context)).await
    }

    /// Gives back a slot that was never filled.
    pub fn cancel(&self, slot: u32, bytes: usize) {
        self.budget.give_back(slot, bytes);
    }

    /// Fills a slot, before the index names it.
    pub fn fill(&self, batch: Arc<PendingBatch>) {
        let old = self.slots[batch.slot as usize].lock().replace(batch);
        assert!(old.is_none(), "a pending slot was filled twice");
    }

    /// Empties a slot, after the index stopped naming it.
    pub fn release(&self, batch: &PendingBatch) {
        let old = self.slots[batch.slot as usize].lock().take();
        assert!(
            old.is_some_and(|old| old.sequence == batch.sequence),
            "a pending slot was emptied twice"
        );
        self.cancel(batch.slot, batch.bytes);
    }

    /// Nothing will become durable any more: whoever waits for room waits in vain.
    pub fn close(&self) {
        self.budget.close();
    }

    /// The batch in a slot if its item is the extent `key`; `None` when the slot has moved on.
    pub fn find(&self, slot: u32, item: u32, key: &Key) -> Option<Arc<PendingBatch>> {
        let batch = self.slots.get(slot as usize)?.lock().clone()?;
        (batch.extents.get(item as usize)?.key == *key).then_some(batch)
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.budget.bytes()
    }

    /// How often a batch had to wait for room.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }
}
