//! One content-addressed store: index, log, cache, roots, recovery.
//!
//! [`Store`] is the handle; [`Batch`] is the only way in and [`Store::get_many`] the only way out. The life of a
//! batch: probe ([`index`]), admission by space and memory (`room`, `pending`), place and visibility (`log`), frame
//! and acknowledgement (`log::writer`). Opening is `recovery`, `loading`, `replay` and `take_over`, closing writes a checkpoint
//! (`checkpoint`). What runs beside them, as
//! jobs (`maintenance`): checkpoints, collection (`collect`), cleaning (`clean`), and when (`care`).

mod api;
mod audit;
mod batch;
mod budget;
pub mod cache;
mod care;
mod checkpoint;
mod clean;
mod collect;
mod counters;
mod create;
mod fences;
mod footers;
pub mod histogram;
pub mod index;
mod leases;
mod living;
mod loading;
mod log;
mod maintenance;
mod memory;
mod name_hash;
mod open;
pub mod owner;
mod pace;
mod pending;
mod read;
mod reading;
mod recovery;
mod replay;
mod room;
mod roots;
mod scrub;
mod segments;
mod sharded;
mod shared;
mod stats;
mod superblocks;
mod take_over;
#[cfg(test)]
pub(crate) mod testing;
mod usage;
mod verify;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use api::{BatchCounts, Expect, Extent, Key, Payload, Root, RootChange, RootKind, RootUpdate, Target};
pub use audit::Audit;
pub use batch::{Ack, Batch};
pub use checkpoint::CheckpointReport;
pub use clean::Cleaned;
pub use collect::{Collected, Found, Scope, Trace, Tracing};
pub use counters::Totals;
pub use create::CreateOptions;
pub use fences::Fence;
pub use leases::{Keeper, Lease};
pub use memory::MemoryLimit;
pub use open::OpenOptions;
pub(crate) use open::subject;
pub use recovery::Damage;
pub use scrub::{DamagedExtent, Scrubbed};
pub use stats::{Health, Space, Stats};
pub(crate) use verify::verify;

use crate::error::Result;
use crate::format::superblock::Superblock;
use crate::reactor::{Runtime, mailbox};
// Under this name `budget` and `room` find either this or, in a model, `loom`'s.
use index::Slot;
use parking_lot::Mutex;
use read::ReadRequest;
use shared::Shared;

/// An open store. Cheap to clone; all clones are the same store.
///
/// [`close`](Store::close) it for a quick next opening. A store that is dropped without it loses nothing durable:
/// the next opening replays its logs.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    runtime: Runtime,
    readers: Vec<mailbox::Sender<ReadRequest>>,
    jobs: mailbox::Sender<maintenance::Job>,
    writers: parking_lot::Mutex<Option<open::Writers>>,
    superblock: parking_lot::Mutex<Superblock>,
    replayed_frames: u64,
    owner: Option<owner::Owner>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.0.shared.name)
    }
}

/// Threads are spread over reactors in the order in which they come.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed));
}

/// Makes the calling thread pass for another one, and returns which one it was. The simulation runs many callers on
/// one thread, and threads of a process are numbered in an order that no seed decides.
pub(crate) fn act_as_thread(number: usize) -> usize {
    THREAD.replace(number)
}

impl Store {
    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    fn reader(&self) -> &mailbox::Sender<ReadRequest> {
        let readers = &self.0.readers;
        &readers[THREAD.get() % readers.len()]
    }

    /// The runtime that drives the store; its `block_on` waits for any future of the store.
    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    /// Waits for a future on the calling thread.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.runtime.block_on(future)
    }

    /// Which of the extents are known, as one batched index look-up. Hits are no promise without a lease.
    pub fn contains(&self, keys: &[Key]) -> Vec<bool> {
        let keys = self.shared().index_keys(keys);
        let mut slots = Vec::with_capacity(keys.len());
        self.shared().index.get_many(&keys, &mut slots);
        slots.iter().map(Option::is_some).collect()
    }

    /// Stored length of an extent in bytes, from the index alone.
    pub fn length(&self, key: Key) -> Option<u32> {
        let shared = self.shared();
        let index_key = shared.index_key(&key);
        loop {
            match shared.index.get(&index_key)? {
                Slot::Stored { stored_len, .. } => return Some(stored_len),
                Slot::Pending { slot, item, .. } => {
                    if let Some(batch) = shared.pending.find(slot, item, &key) {
                        return u32::try_from(batch.extents[item as usize].bytes.len()).ok();
                    }
                }
            }
        }
    }

    /// The bytes of the device that hold an extent; none while it is only in memory.
    pub(crate) fn device_range(&self, key: &Key) -> Option<std::ops::Range<u64>> {
        let shared = self.shared();
        let place = shared
            .index
            .get(&shared.index_key(key))
            .and_then(usage::Place::of)?;
        let start = shared.places.offset(place.segment, place.offset.into());
        Some(start..start + u64::from(place.len))
    }

    /// Says what extents refer to, so that the store can collect by itself when space runs out. The first one counts.
    pub fn set_trace(&self, trace: Arc<dyn Trace>) {
        // Another one would say the same.
        let _ = self.shared().trace.set(trace);
    }

    /// A new lease that holds nothing yet.
    pub fn lease(&self) -> Lease {
        self.shared().leases.grant()
    }

    /// Everything that living leases hold: roots of a collection besides the named ones.
    pub fn leased(&self) -> Vec<Key> {
        self.shared().leases.held()
    }

    /// Starts a batch: extents and root changes that become visible together.
    ///
    /// A thread keeps to one log, so that what it writes stays in order without waiting for other logs.
    pub fn batch(&self) -> Box<Batch> {
        self.batch_on(THREAD.get())
    }

    /// Starts a batch on the log of a certain reactor (modulo their number).
    pub fn batch_on(&self, reactor: usize) -> Box<Batch> {
        let logs = self.shared().writing_logs();
        let log = (!logs.is_empty()).then(|| logs[reactor % logs.len()].clone());
        Batch::new(self.clone(), log)
    }

    /// The root of this kind and name.
    pub fn root(&self, kind: RootKind, name: &[u8]) -> Option<Root> {
        self.shared().roots.read().get(kind, name)
    }

    /// All roots of a kind, by name.
    pub fn roots(&self, kind: RootKind) -> Vec<Root> {
        self.shared().roots.read().of_kind(kind)
    }

    /// Ends `duration` after the call.
    pub async fn sleep(&self, duration: std::time::Duration) {
        let (sender, receiver) = crate::reactor::oneshot::oneshot();
        self.0.runtime.handles()[0].spawn(move |local| async move {
            local.sleep(duration).await;
            // Who no longer waits needs no answer.
            let _ = sender.send(());
        });
        receiver.await;
    }

    /// Waits until everything visible before the call is durable.
    pub async fn flush(&self) -> Result<()> {
        let ends: Vec<_> = self.shared().logs().iter().map(|log| (log, log.last())).collect();
        for (log, last) in &ends {
            log.hurry_to(*last);
        }
        for (log, last) in ends {
            log.durable(last).await?;
        }
        Ok(())
    }

    /// Wall-clock time of the store's clock: nanoseconds since 1970.
    pub fn now_ns(&self) -> u64 {
        self.0.runtime.clock().wall_ns()
    }

    /// Says in the lock file where this process listens for those who want to use the store; `None`: nowhere (any more).
    ///
    /// # Errors
    /// The path is too long or not one line of text; the lock file cannot be written.
    pub fn listens_at(&self, socket: Option<&std::path::Path>) -> Result<()> {
        match &self.0.owner {
            Some(owner) => owner.publish(socket),
            None => Ok(()),
        }
    }

    /// Address of the store, for messages.
    pub fn name(&self) -> &str {
        &self.shared().name
    }
}

#[cfg(test)]
mod broken_writer_tests;
#[cfg(test)]
mod care_tests;
#[cfg(test)]
mod collect_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod opening_tests;
#[cfg(test)]
mod parts_tests;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod store_tests;
