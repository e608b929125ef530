//! What a store does by itself: checkpoints before replay grows long, cleaning and collection before space runs out.
//!
//! A log that seals a segment looks whether care is due; the next batch that is submitted starts it as a job, so a
//! store that nobody writes to does nothing. A batch that finds the store full waits for one attempt to make room
//! before it is refused.
//! A collection is due as well when memory is short ([`memory`]).
//! A checkpoint frees what is empty. A collection finds what nothing refers to any more; it reads every node, so it
//! runs by itself only if much was written since the last one, but then before cleaning, which would else move what is
//! dead already. Cleaning moves what is thin.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Store;
use super::collect::{self, Scope};
use super::log::Log;
use super::shared::Shared;
use super::{checkpoint, clean, memory};
use crate::error::{Error, Result};
use crate::reactor::{Local, Nanos};

/// Log bytes after which a checkpoint is taken: bounds replay.
const REPLAY_BYTES_MAX: u64 = 256 << 20;
/// Free space below which cleaning begins, and up to which it goes, in thousandths of the store. What is kept free is
/// room that dead extents cannot fill before they have to be cleaned away: it costs amplification.
const FREE_PER_MILLE: [u64; 2] = [3, 8];
/// The same in segments, for small stores.
const FREE_SEGMENTS: [u64; 2] = [1, 3];
/// Part of the store that must have been written since the last collection for another to begin: less than cleaning
/// frees at a time, or every second time it would move what is dead.
const WRITTEN_PART: u64 = 200;
/// And how many times what that collection had to read.
const WRITTEN_PER_READ: u64 = 4;

/// After an attempt to make room that made none, the next one waits this long unless something was written.
const PAUSE_IN_VAIN: Duration = Duration::from_secs(1);

/// Whether care is due.
pub(super) fn is_due(shared: &Shared) -> bool {
    shared.counters.bytes_to_replay() >= REPLAY_BYTES_MAX || wanted(shared, 0) > 0 || memory::is_due(shared)
}

/// Segments that are to become free: as many as cleaning begins at (0) or ends at (1), less those that are.
fn wanted(shared: &Shared, bound: usize) -> u64 {
    let table = shared.segments.lock();
    let free = (table.len() as u64 * FREE_PER_MILLE[bound] / 1000).max(FREE_SEGMENTS[bound]);
    free.saturating_sub(table.free_for_logs() as u64)
}

impl Store {
    /// Starts what [`is_due`] has found, unless it runs already.
    pub(super) fn take_care(&self) {
        let shared = self.shared();
        if shared.care_due.load(Ordering::Relaxed) && shared.care_due.swap(false, Ordering::AcqRel) {
            self.start_job(|local, store| async move {
                if let Err(error) = care(&local, &store).await {
                    tracing::warn!(store = store.name(), %error, "maintenance");
                }
            });
        }
    }

    /// Makes room for a batch that found none in its log; true if there may be some now.
    pub(super) async fn make_room(&self, log: &Arc<Log>) -> Result<bool> {
        let log = log.clone();
        let _waiting = Waiting::begin(self.shared());
        self.maintain(move |local, store| async move {
            let shared = store.shared();
            // A checkpoint gives a log a segment when there is one, so free segments alone say nothing.
            let has_room = || !log.room.is_exhausted();
            if has_room() {
                return Ok(true);
            }
            let written = shared.counters.frame_bytes.load(Ordering::Relaxed);
            let now = local.clock().now();
            let in_vain = |(bytes, at): &(u64, Nanos)| *bytes == written && now.since(*at) < PAUSE_IN_VAIN;
            if shared.made_room_in_vain.lock().as_ref().is_some_and(in_vain) {
                return Ok(false);
            }
            care(&local, &store).await?;
            let made = has_room();
            *shared.made_room_in_vain.lock() = (!made).then_some((written, now));
            Ok(made)
        })
        .await
    }
}

/// A batch that waits for room: maintenance does not rest meanwhile.
struct Waiting<'a>(&'a Shared);

impl Waiting<'_> {
    fn begin(shared: &Shared) -> Waiting<'_> {
        shared.waiting_for_room.fetch_add(1, Ordering::Relaxed);
        Waiting(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting_for_room.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn care(local: &Local, store: &Store) -> Result<()> {
    let shared = store.shared();
    if memory::is_due(shared) {
        collect(local, store, shared.generations.wanted()).await?;
    }
    if wanted(shared, 0) == 0 {
        // Jobs may have queued up meanwhile; the first has done what was due.
        let long = shared.counters.bytes_to_replay() >= REPLAY_BYTES_MAX;
        if long || checkpoint::gives_room(shared) {
            checkpoint::take(local, store).await?;
        }
        return Ok(());
    }
    if much_written(shared) {
        collect(local, store, shared.generations.wanted()).await?;
    }
    clean::clean(local, store, wanted(shared, 1)).await?;
    // Before anybody is refused, everything is looked at that may have died.
    let unknown = !shared.generations.all_known() || shared.counters.written_since_collection() > 0;
    if unknown && shared.segments.lock().free_for_logs() == 0 {
        collect(local, store, Scope::All).await?;
        clean::clean(local, store, wanted(shared, 1)).await?;
    }
    Ok(())
}

/// Whether so much was written since the last collection that another one is worth it: cleaning moves what is dead and
/// not known to be.
fn much_written(shared: &Shared) -> bool {
    let capacity = shared.places.segment_bytes() * u64::from(shared.places.segment_count);
    let cost = shared.counters.collection_bytes.load(Ordering::Relaxed);
    shared.counters.written_since_collection() >= (capacity / WRITTEN_PART).max(cost * WRITTEN_PER_READ)
}

/// Collects, if a layer above has said what extents refer to, as far as that can be done; looks at everything after all if
/// few of the young had died.
async fn collect(local: &Local, store: &Store, wanted: Scope) -> Result<()> {
    let shared = store.shared();
    let Some(trace) = shared.trace.get() else {
        return Ok(());
    };
    if let Err(error) = trace.prune(store).await {
        // What is left of them costs space and nothing else.
        tracing::warn!(store = store.name(), %error, "removing what has expired");
    }
    let written = shared.counters.written_since_collection();
    let mut collected = collect::collect(local, store, &**trace, wanted, false).await;
    if let Ok(young) = &collected
        && young.scope == Scope::Young
        && !shared.generations.paid(young.swept_bytes, written)
    {
        collected = collect::collect(local, store, &**trace, Scope::All, false).await;
    }
    match collected {
        Ok(collected) => tracing::info!(store = store.name(), ?collected, "collected"),
        Err(Error::Closed) => return Err(Error::Closed),
        // Damage keeps it from its end; what is known to be dead can be cleaned away all the same.
        Err(error) => tracing::warn!(store = store.name(), %error, "collecting"),
    }
    Ok(())
}
