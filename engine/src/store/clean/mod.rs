//! Cleaning: moves what lives in thinly populated segments together, so that those become free.
//!
//! Segments are chosen by cost and benefit ([`choose`]). Survivors are verified, copied to the cleaner's own log (old
//! data stays apart from new), and the index is pointed at the copies once they are durable; then a checkpoint frees
//! the segments. A reader who still holds an old place reads again from the new one (`read`).
//! Invariant: a segment is freed only when the index refers to nothing in it, whatever happened to its extents while
//! they were copied.

mod choose;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Store;
use super::api::Key;
use super::checkpoint;
use super::index::IndexKey;
use super::log::{Log, Queued, cost_of};
use super::pending::{NO_SLOT, PendingBatch, PendingExtent};
use super::recovery;
use super::segments::{SegmentState, SegmentUse};
use super::usage::Place;
use crate::error::{Error, Result};
use crate::format::Kind;
use crate::reactor::Local;

/// Bytes read and copied together.
const PART_BYTES: u64 = 512 << 10;
/// Parts on their way to the device.
const PARTS_IN_FLIGHT: usize = 3;

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
    let mut cleaned = Cleaned {
        // What is empty costs nothing.
        segments_freed: checkpoint::take(local, store).await?.segments_freed,
        ..Cleaned::default()
    };
    let Some(log) = shared.cleaner_log().cloned() else {
        return Ok(cleaned);
    };
    let mut gained = cleaned.segments_freed as i64;
    while gained < segments as i64 {
        let victims = choose::victims(shared, store.now_ns(), segments as i64 - gained);
        if victims.is_empty() {
            break;
        }
        let before = cleaned.moved_bytes;
        let mut pass = Pass {
            store,
            log: &log,
            cleaned: &mut cleaned,
            in_flight: VecDeque::new(),
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
        pass.finish().await?;
        let freed = checkpoint::take(local, store).await?.segments_freed;
        cleaned.segments_freed += freed;
        shared
            .counters
            .moved_bytes
            .fetch_add(cleaned.moved_bytes - before, Ordering::Relaxed);
        let used = (cleaned.moved_bytes - before).div_ceil(shared.places.segment_bytes());
        gained += freed as i64 - used as i64;
        if full || freed == 0 {
            break;
        }
    }
    Ok(cleaned)
}

/// One pass over some victims.
struct Pass<'a> {
    store: &'a Store,
    log: &'a Arc<Log>,
    cleaned: &'a mut Cleaned,
    /// Sequences not yet durable.
    in_flight: VecDeque<u64>,
}

impl Pass<'_> {
    /// Copies everything that lives in a segment.
    async fn empty(&mut self, local: &Local, victim: SegmentUse) -> Result<()> {
        let mut living = self.living(local, victim).await?;
        while !living.is_empty() {
            if self.store.shared().is_closing() {
                return Err(Error::Closed);
            }
            let mut bytes = 0;
            let fits = living
                .iter()
                .take_while(|(_, _, place)| {
                    bytes += u64::from(place.len);
                    bytes <= PART_BYTES
                })
                .count();
            let rest = living.split_off(fits.max(1));
            self.copy(&living).await?;
            living = rest;
            local.yield_now().await;
        }
        Ok(())
    }

    /// What the index refers to in a segment, in the order of the device.
    async fn living(&self, local: &Local, victim: SegmentUse) -> Result<Vec<(Key, IndexKey, Place)>> {
        let shared = self.store.shared();
        let Some((
            SegmentState::Sealed {
                end_unit,
                footer_unit,
                ..
            },
            _,
        )) = shared.segments.lock().get(victim.segment)
        else {
            return Ok(Vec::new());
        };
        let superblock = self.store.0.superblock.lock().clone();
        let found =
            recovery::descriptors(local, &shared.name, &superblock, victim, (footer_unit, end_unit)).await?;
        let mut living: Vec<(Key, IndexKey, Place)> = found
            .iter()
            .filter_map(|descriptor| {
                let kind = descriptor.kind().filter(|kind| *kind != Kind::Root)?;
                let key = Key {
                    domain: descriptor.domain(),
                    kind,
                    id: descriptor.id,
                };
                let place = Place {
                    segment: victim.segment,
                    offset: descriptor.offset.get(),
                    len: descriptor.stored_len.get(),
                };
                Some((key, shared.index_key(&key), place))
            })
            .collect();
        let keys: Vec<IndexKey> = living.iter().map(|(_, key, _)| *key).collect();
        let mut slots = Vec::with_capacity(keys.len());
        shared.index.get_many(&keys, &mut slots);
        let mut slots = slots.into_iter();
        living.retain(|(_, _, place)| slots.next().flatten() == Some(place.slot()));
        Ok(living)
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
        let lengths = copies.iter().map(|copy| copy.bytes.len());
        let cost = cost_of(lengths.clone(), std::iter::empty());
        let bytes: usize = lengths.sum();
        let shared = self.store.shared();
        if let Err(no_room) = self.log.room.take(cost, false, || self.log.hurry()).await {
            shared.check_writable()?;
            return Err(no_room.error(&shared.name, cost));
        }
        self.cleaned.moved += copies.len() as u64;
        self.cleaned.moved_bytes += bytes as u64;
        let since = self.store.runtime().clock().now();
        let log = self.log.id;
        let place = |sequence| {
            let batch = Arc::new(PendingBatch {
                log,
                sequence,
                slot: NO_SLOT,
                extents: copies,
                bytes,
            });
            let queued = Queued {
                batch,
                records: Vec::new(),
                depends_on: Vec::new(),
                cost,
                is_commit: false,
                since,
            };
            (queued, ())
        };
        let (sequence, ()) = self.log.append(place)?;
        self.log.hurry_to(sequence);
        self.in_flight.push_back(sequence);
        if self.in_flight.len() > PARTS_IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            self.log.durable(oldest).await?;
        }
        Ok(())
    }

    /// Waits until all copies are durable.
    async fn finish(self) -> Result<()> {
        match self.in_flight.back() {
            Some(last) => self.log.durable(*last).await,
            None => Ok(()),
        }
    }
}
