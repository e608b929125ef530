//! Batches that are visible and not yet durable: readers are served from memory until the device has them.
//!
//! Owns a bounded set of slots, one per batch with extents, and the count of bytes held. The index names
//! (slot, item); a slot is reused only after the index stopped naming it, and a reader that comes late finds another
//! key there and looks again.
//! Invariant: a slot is filled before the index names it and emptied after.
//! Bytes stay until durable, not until written: a failed write loses nothing that was visible.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use bytes::Bytes;
use crossbeam::queue::ArrayQueue;
use parking_lot::Mutex;

use super::api::Key;
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
    free: ArrayQueue<u32>,
    bytes: AtomicUsize,
    bytes_max: usize,
    waiters: Mutex<Vec<Waker>>,
    waits: AtomicU64,
    closed: AtomicBool,
}

impl PendingTable {
    /// Room for `slots` batches of together about `bytes_max` bytes.
    pub fn new(slots: u32, bytes_max: usize) -> PendingTable {
        let free = ArrayQueue::new(slots as usize);
        for slot in 0..slots {
            free.push(slot).expect("sized for all of them");
        }
        PendingTable {
            slots: (0..slots).map(|_| Mutex::new(None)).collect(),
            free,
            bytes: AtomicUsize::new(0),
            bytes_max,
            waiters: Mutex::default(),
            waits: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    fn try_reserve(&self, bytes: usize) -> Option<u32> {
        // One batch always fits, however small the table.
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        if before > 0 && before + bytes > self.bytes_max {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return None;
        }
        let slot = self.free.pop();
        if slot.is_none() {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        slot
    }

    /// A slot for a batch of that many bytes; waits while the table is full, and counts the wait. `None` once the
    /// table is closed.
    pub async fn reserve(&self, bytes: usize) -> Option<u32> {
        if let Some(slot) = self.try_reserve(bytes) {
            return Some(slot);
        }
        self.waits.fetch_add(1, Ordering::Relaxed);
        poll_fn(|context| {
            self.waiters.lock().push(context.waker().clone());
            if self.closed.load(Ordering::SeqCst) {
                return Poll::Ready(None);
            }
            self.try_reserve(bytes)
                .map_or(Poll::Pending, |slot| Poll::Ready(Some(slot)))
        })
        .await
    }

    /// Gives back a slot that was never filled.
    pub fn cancel(&self, slot: u32, bytes: usize) {
        self.free.push(slot).expect("a slot is given back once");
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.wake();
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
        self.closed.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        let waiters = std::mem::take(&mut *self.waiters.lock());
        waiters.into_iter().for_each(Waker::wake);
    }

    /// The batch in a slot if its item is the extent `key`; `None` when the slot has moved on.
    pub fn find(&self, slot: u32, item: u32, key: &Key) -> Option<Arc<PendingBatch>> {
        let batch = self.slots.get(slot as usize)?.lock().clone()?;
        (batch.extents.get(item as usize)?.key == *key).then_some(batch)
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed) as u64
    }

    /// How often a batch had to wait for room.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }
}
