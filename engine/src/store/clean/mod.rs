//! Cleaning: moves what lives in thinly populated segments together, so that those become free.
//!
//! Segments are chosen by cost and benefit ([`choose`]). Survivors are verified, copied to the cleaner's own log (old
//! data stays apart from new), and the index is pointed at the copies once they are durable; then a checkpoint frees
//! the segments. A reader who still holds an old place reads again from the new one (`read`).
//! Invariant: a segment is freed only when the index refers to nothing in it, whatever happened to its extents while
//! they were copied.

mod choose;
mod mover;

pub(super) use mover::Mover;

use std::sync::atomic::Ordering;

use super::Store;
use super::api::Key;
use super::checkpoint;
use super::index::IndexKey;
use super::living::living;
use super::pace::{Pace, Share};
use super::pending::PendingExtent;
use super::segments::SegmentUse;
use super::usage::Place;
use crate::error::{Error, Result};
use crate::reactor::Local;

/// Bytes read together.
const PART_BYTES: u64 = 512 << 10;
/// Steps that one of them counts for: each is followed by a turn for others.
const STEPS_PER_PART: usize = 512;

/// What cleaning did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cleaned {
    /// Segments that were emptied.
    pub victims: u64,
    /// Extents that were moved.
    pub moved: u64,
    /// Their bytes.
    pub moved_bytes: u64,
    /// Segments that became free, those that held nothing alive included.
    pub segments_freed: u64,
    /// Extents that cannot be read: their segments cannot be freed. `scrub` names them.
    pub unreadable: u64,
}

impl Store {
    /// Cleans until `segments` more are free than now, or nothing is to be gained any more.
    ///
    /// # Errors
    /// What [`checkpoint`](Store::checkpoint) answers.
    pub async fn clean(&self, segments: u64) -> Result<Cleaned> {
        self.maintain(move |local, store| async move { clean(&local, &store, segments).await })
            .await
    }
}

/// Cleaning, as part of a maintenance job.
pub(super) async fn clean(local: &Local, store: &Store, segments: u64) -> Result<Cleaned> {
    let shared = store.shared();
    let mut cleaned = Cleaned::default();
    if checkpoint::gives_room(shared) {
        // What is empty costs nothing.
        cleaned.segments_freed = checkpoint::take(local, store).await?.segments_freed;
    }
    let Some(log) = shared.cleaner_log().cloned() else {
        return Ok(cleaned);
    };
    let segment_bytes = shared.places.segment_bytes();
    let mut pace = Pace::new(local, Share::Some);
    // Bytes of segments that became free, less those that copies took.
    let mut gained = (cleaned.segments_freed * segment_bytes) as i64;
    let wanted = segments.saturating_mul(segment_bytes).min(i64::MAX as u64) as i64;
    while gained < wanted {
        let missing = (wanted - gained) as u64 / segment_bytes;
        let victims = choose::victims(shared, store.now_ns(), missing as i64);
        if victims.is_empty() {
            break;
        }
        let before = cleaned.moved_bytes;
        let room_before = shared.counters.moved_room();
        let mut pass = Pass {
            store,
            mover: Mover::new(shared, &log),
            cleaned: &mut cleaned,
            pace: &mut pace,
        };
        let mut full = false;
        for victim in victims {
            match pass.empty(local, victim).await {
                Ok(()) => pass.cleaned.victims += 1,
                Err(Error::Full { .. } | Error::DiskFull { .. }) => {
                    full = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        pass.mover.finish().await?;
        let freed = checkpoint::take(local, store).await?.segments_freed;
        cleaned.segments_freed += freed;
        shared
            .counters
            .moved_bytes
            .fetch_add(cleaned.moved_bytes - before, Ordering::Relaxed);
        // As it is and not as it was expected: else a pass could seem to gain something, again and again.
        let used = shared.counters.moved_room() - room_before;
        let gain = (freed * segment_bytes) as i64 - used as i64;
        gained += gain;
        // A pass that gains nothing would be followed by others of its kind, without end. One that found its own log full
        // may go on if the checkpoint has given that log another segment.
        if gain <= 0 || (full && log.room.is_exhausted()) {
            break;
        }
    }
    Ok(cleaned)
}

/// Moves everything that lives in a segment elsewhere, whatever that costs, and has a checkpoint free it; as part of a
/// maintenance job.
pub(super) async fn empty_segment(local: &Local, store: &Store, victim: SegmentUse) -> Result<()> {
    let shared = store.shared();
    let Some(log) = shared.cleaner_log().cloned() else {
        return Ok(());
    };
    let mut cleaned = Cleaned::default();
    let mut pass = Pass {
        store,
        mover: Mover::new(shared, &log),
        cleaned: &mut cleaned,
        pace: &mut Pace::new(local, Share::Some),
    };
    pass.empty(local, victim).await?;
    pass.mover.finish().await?;
    shared
        .counters
        .moved_bytes
        .fetch_add(cleaned.moved_bytes, Ordering::Relaxed);
    checkpoint::take(local, store).await?;
    Ok(())
}

/// One pass over some victims.
struct Pass<'a> {
    store: &'a Store,
    mover: Mover<'a>,
    cleaned: &'a mut Cleaned,
    pace: &'a mut Pace,
}

impl Pass<'_> {
    /// Copies everything that lives in a segment.
    async fn empty(&mut self, local: &Local, victim: SegmentUse) -> Result<()> {
        let Some(living) = living(local, self.store, victim.segment).await? else {
            return Ok(());
        };
        let mut living = living.extents;
        while !living.is_empty() {
            let mut bytes = 0;
            let fits = living
                .iter()
                .take_while(|(_, _, place)| {
                    // Of small extents descriptors are most, and what does not fit a segment any more is lost.
                    bytes += u64::from(place.len) + choose::DESCRIPTORS_BYTES;
                    bytes <= PART_BYTES
                })
                .count();
            let rest = living.split_off(fits.max(1));
            self.copy(&living).await?;
            living = rest;
            self.pace
                .breathe(local, self.store.shared(), STEPS_PER_PART)
                .await?;
        }
        Ok(())
    }

    /// Copies some extents of one segment.
    async fn copy(&mut self, extents: &[(Key, IndexKey, Place)]) -> Result<()> {
        let keys: Vec<Key> = extents.iter().map(|(key, ..)| *key).collect();
        let read = self.store.get_many(&keys).await;
        let mut copies = Vec::with_capacity(extents.len());
        for ((key, index_key, place), bytes) in extents.iter().zip(read) {
            match bytes {
                Ok(bytes) => copies.push(PendingExtent {
                    index_key: *index_key,
                    key: *key,
                    bytes,
                    moved_from: Some(*place),
                }),
                // Removed meanwhile.
                Err(Error::NotFound { .. }) => {}
                Err(Error::Closed) => return Err(Error::Closed),
                Err(error) => {
                    tracing::warn!(%error, "an extent cannot be moved");
                    self.cleaned.unreadable += 1;
                }
            }
        }
        if copies.is_empty() {
            return Ok(());
        }
        self.cleaned.moved += copies.len() as u64;
        self.cleaned.moved_bytes += copies.iter().map(|copy| copy.bytes.len() as u64).sum::<u64>();
        self.mover.copy(self.store.runtime().clock().now(), copies).await
    }
}
