//! A checkpoint of a store that works: replay begins anew, and segments in which nothing lives become free.
//!
//! While roots stand still for a moment, their values are copied and each log is asked for the place after what has
//! changed them ([`Log::request_cut`](crate::store::log::Log::request_cut)). Only when everything before these places
//! is acknowledged is the checkpoint written: so it never says more than what is durable, and what comes after it is
//! in the logs.
//! Rejected: stopping the logs (commits would wait for the device); remembering the last durable value of each root
//! (a second table that every commit writes).

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::{Contents, store_checkpoint};
use crate::error::{Error, Result};
use crate::format::SegmentId;
use crate::reactor::{Local, oneshot};
use crate::store::Store;
use crate::store::log::LogEnd;
use crate::store::roots::RootTable;
use crate::store::segments::{SegmentState, SegmentUse};
use crate::store::shared::Shared;

/// What a checkpoint did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CheckpointReport {
    /// Bytes of one copy.
    pub bytes: u64,
    /// Segments that became free.
    pub segments_freed: u64,
    /// Time it took, in nanoseconds.
    pub took_ns: u64,
}

impl Store {
    /// Takes a checkpoint now: the next opening after a crash replays only what comes after it, and segments in which
    /// nothing lives become free.
    ///
    /// # Errors
    /// `Full` if there is no room for a checkpoint; a device error if writing fails, `ReadOnly` if it has failed so often
    /// that the store takes no more writes.
    pub async fn checkpoint(&self) -> Result<CheckpointReport> {
        self.maintain(|local, store| async move { take(&local, &store).await })
            .await
    }
}

/// Takes a checkpoint, as part of a maintenance job.
pub(in crate::store) async fn take(local: &Local, store: &Store) -> Result<CheckpointReport> {
    let shared = store.shared();
    shared.check_writable()?;
    let began = local.clock().now();
    let (roots, counters, cuts) = {
        let table = shared.roots.read();
        let cuts = request_cuts(shared, &table);
        let records = table.all().map(|root| root.record(false)).collect();
        (records, shared.counters.record(table.next_root()), cuts)
    };
    let before = shared.counters.checkpoint_begins();
    let ends = await_cuts(shared, cuts).await?;
    shared.usage.settle_rivals(&shared.index);
    let freed = lifeless(shared, &ends);
    let segments_freed = freed.len() as u64;
    let offers = offers(shared, &ends, &freed);
    let contents = Contents {
        ends,
        roots,
        counters,
        freed,
        offers: offers.clone(),
    };
    let mut block = store.0.superblock.lock().clone();
    let sequence = block.sequence;
    let table = (&shared.segments, &shared.usage);
    let stored = store_checkpoint(local, &shared.name, &mut block, table, contents).await;
    let bytes = match stored {
        Ok(bytes) => bytes,
        Err(error) if block.sequence == sequence => {
            // The old one is in force.
            let mut table = shared.segments.lock();
            for (_, at) in offers {
                table.unreserve(at);
            }
            drop(table);
            failed(store, &error, before);
            return Err(error);
        }
        Err(error) => {
            // Either is in force, and either is right, because nothing that only one of them needs is given up.
            let mut known = store.0.superblock.lock();
            known.sequence = block.sequence;
            known.checkpoint_sequence = block.checkpoint_sequence;
            drop(known);
            failed(store, &error, before);
            return Err(error);
        }
    };
    shared.failed_checkpoints.store(0, Ordering::Relaxed);
    *store.0.superblock.lock() = block;
    for (log, at) in offers {
        shared.logs()[usize::from(log.0)].offer(at);
    }
    shared.counters.checkpoint_ends(bytes, segments_freed);
    Ok(CheckpointReport {
        bytes,
        segments_freed,
        took_ns: local.clock().now().0.saturating_sub(began.0),
    })
}

/// Failed checkpoints in a row after which the store takes no more writes.
const FAILED_MAX: u32 = 4;

/// A checkpoint has failed; the next one that is due tries again, but not for ever: each may leave less room.
fn failed(store: &Store, error: &Error, checkpointed_at: u64) {
    let shared = store.shared();
    // Replay still begins at the last good one.
    let known = &shared.counters.checkpointed_at;
    known.store(checkpointed_at, Ordering::Relaxed);
    let failed = shared.failed_checkpoints.load(Ordering::Relaxed);
    if failed == 0 && matches!(error, Error::Full { .. } | Error::DiskFull { .. }) {
        // That is no fault of the device.
        return;
    }
    shared.failed_checkpoints.store(failed + 1, Ordering::Relaxed);
    if failed + 1 >= FAILED_MAX {
        shared.fence_all(&format!(
            "writing a checkpoint, {FAILED_MAX} times in a row: {error}"
        ));
    }
}

type Cuts = Vec<oneshot::Receiver<LogEnd>>;

fn request_cuts(shared: &Shared, roots: &RootTable) -> Cuts {
    let logs = shared.logs().iter();
    logs.map(|log| log.request_cut(roots.applied(log.id))).collect()
}

async fn await_cuts(shared: &Shared, cuts: Cuts) -> Result<Vec<LogEnd>> {
    let mut ends = Vec::with_capacity(cuts.len());
    for cut in cuts {
        let Some(end) = cut.await else {
            shared.check_writable()?;
            return Err(Error::Closed);
        };
        ends.push(end);
    }
    Ok(ends)
}

/// Where the logs are, once everything before that is acknowledged; as part of a maintenance job.
pub(in crate::store) async fn cut_all(store: &Store) -> Result<Vec<LogEnd>> {
    let shared = store.shared();
    if shared.logs().is_empty() {
        return Ok(shared.standing.clone());
    }
    let cuts = request_cuts(shared, &shared.roots.read());
    await_cuts(shared, cuts).await
}

/// Sealed segments before the cuts in which nothing lives.
pub(in crate::store) fn lifeless(shared: &Shared, ends: &[LogEnd]) -> BTreeSet<SegmentId> {
    let live = shared.usage.live();
    let table = shared.segments.lock();
    let sealed = table.find(|state| matches!(state, SegmentState::Sealed { .. }));
    let before_cut = |at: &SegmentUse| {
        let Some((_, SegmentState::Sealed { log, .. }, first)) = table.in_use(at.segment) else {
            return false;
        };
        ends.iter().find(|end| end.log == log).is_none_or(|end| {
            first < end.next_sequence && end.current.as_ref().is_none_or(|open| open.at != *at)
        })
    };
    sealed
        .into_iter()
        .filter(|at| live[at.segment.0 as usize].live == 0 && before_cut(at))
        .map(|at| at.segment)
        .collect()
}

/// Whether a checkpoint now would free segments, or give one to a log that has none to go on in.
pub(in crate::store) fn gives_room(shared: &Shared) -> bool {
    let live = shared.usage.live();
    let sealed = shared
        .segments
        .lock()
        .find(|state| matches!(state, SegmentState::Sealed { .. }));
    let empty = |at: &SegmentUse| live[at.segment.0 as usize].live == 0;
    sealed.iter().any(empty) || shared.logs().iter().any(|log| log.room.is_exhausted())
}

/// Next segments for logs that had to do without, from what is free or becomes free with the checkpoint. The cleaner's
/// comes first, and others get nothing of what is kept for it: else each segment that it empties would go to them, and
/// soon it had no room to empty another.
fn offers(
    shared: &Shared,
    ends: &[LogEnd],
    freed: &BTreeSet<SegmentId>,
) -> Vec<(crate::format::LogId, SegmentUse)> {
    let mut table = shared.segments.lock();
    let mut freed = freed.iter();
    let cleaner = shared.cleaner_log().map(|log| log.id);
    let (first, others): (Vec<&LogEnd>, Vec<&LogEnd>) = ends
        .iter()
        .filter(|end| end.next.is_none())
        .partition(|end| Some(end.log) == cleaner);
    let starving = first.into_iter().chain(others);
    starving
        .filter_map(|end| {
            let at = table.reserve_for(end.log).or_else(|| {
                if !table.spares(end.log, freed.len()) {
                    return None;
                }
                let segment = *freed.next()?;
                let (_, generation) = table.get(segment)?;
                Some(SegmentUse {
                    segment,
                    generation: generation + 1,
                })
            })?;
            Some((end.log, at))
        })
        .collect()
}
