//! Scrub: reads every extent from the device and verifies it; repairs what there is another copy of.
//!
//! Works segment by segment, so that it can be throttled, ended and taken up again. A damaged extent of which the cache
//! has a verified copy is written anew at once. For others a caller may have another source: content addressing makes
//! any copy as good as the original ([`Store::repair`]). Copies on other devices would be asked first, here. What lives
//! in a segment without a readable footer is moved elsewhere.
//! [`anchors`] does the same for superblocks and checkpoints, [`patrol`] for everything, slowly, beside the daily work.

mod anchors;
mod patrol;

pub(super) use patrol::{Patrol, patrol};

use super::api::{Extent, Key};
use super::clean::{self, Mover};
use super::living::living;
use super::pace::{Pace, Share};
use super::pending::PendingExtent;
use super::usage::Place;
use super::{Store, checkpoint, verify};
use crate::error::{Error, Result};
use crate::format::SegmentId;
use crate::reactor::Local;

/// Bytes verified together.
const PART_BYTES: u64 = 1 << 20;

/// Steps that one of them counts for: each is followed by a turn for others.
const STEPS_PER_PART: usize = 512;

/// A damaged extent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedExtent {
    /// Which.
    pub key: Key,
    /// Segment that holds it.
    pub segment: SegmentId,
    /// First byte there.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
    /// What was found.
    pub what: String,
}

/// What scrubbing one segment found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Extents verified.
    pub extents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Damaged extents that were repaired from the cache.
    pub repaired: u64,
    /// Those that were not.
    pub damaged: Vec<DamagedExtent>,
    /// The footer is damaged: the segment was read frame by frame, and what lives there is moved elsewhere.
    pub footer_damaged: bool,
}

impl Store {
    /// Number of segments to [`scrub_segment`](Self::scrub_segment).
    pub fn segment_count(&self) -> u32 {
        self.shared().places.segment_count
    }

    /// Reads and verifies the living extents of a segment that `wanted` asks for; `None` if it is not one that holds
    /// extents.
    ///
    /// # Errors
    /// `Closed`, or that of a device that fails altogether.
    pub async fn scrub_segment(
        &self,
        segment: SegmentId,
        wanted: impl Fn(&Key) -> bool + Send + 'static,
    ) -> Result<Option<Scrubbed>> {
        self.maintain(move |local, store| async move { scrub(&local, &store, segment, wanted).await })
            .await
    }

    /// Writes extents anew whose bytes are damaged on the device. Those that are not in the store, or whose bytes do
    /// not have their id, are left out. Returns how many were written.
    ///
    /// # Errors
    /// `Full`, `ReadOnly`, or that of the device.
    pub async fn repair(&self, extents: Vec<Extent>) -> Result<u64> {
        self.maintain(move |local, store| async move { repair(&local, &store, extents).await })
            .await
    }
}

async fn scrub(
    local: &Local,
    store: &Store,
    segment: SegmentId,
    wanted: impl Fn(&Key) -> bool,
) -> Result<Option<Scrubbed>> {
    let shared = store.shared();
    let Some(mut living) = living(local, store, segment).await? else {
        return Ok(None);
    };
    living.extents.retain(|(key, ..)| wanted(key));
    let mut scrubbed = Scrubbed {
        footer_damaged: living.footer_damaged,
        ..Scrubbed::default()
    };
    let mut pace = Pace::new(local, Share::Some);
    let mut rest = &living.extents[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|(_, _, place)| {
            bytes += u64::from(place.len);
            bytes <= PART_BYTES
        });
        let (part, after) = rest.split_at(fits.count().max(1));
        rest = after;
        let part_keys: Vec<Key> = part.iter().map(|(key, ..)| *key).collect();
        let mut mend = Vec::new();
        for ((key, index_key, place), read) in part.iter().zip(store.get_many_anew(&part_keys).await) {
            scrubbed.extents += 1;
            scrubbed.bytes += u64::from(place.len);
            match read {
                Ok(_) => {}
                // Forgotten meanwhile.
                Err(Error::NotFound { .. }) => {}
                Err(Error::Closed) => return Err(Error::Closed),
                Err(error) => match shared.cache.get(index_key) {
                    Some(bytes) => mend.push(Extent { key: *key, bytes }),
                    None => scrubbed.damaged.push(DamagedExtent {
                        key: *key,
                        segment: place.segment,
                        offset: place.offset,
                        len: place.len,
                        what: error.to_string(),
                    }),
                },
            }
        }
        if !mend.is_empty() {
            scrubbed.repaired += repair(local, store, mend).await?;
        }
        pace.breathe(local, shared, STEPS_PER_PART).await?;
    }
    if scrubbed.footer_damaged && shared.check_writable().is_ok() {
        match clean::empty_segment(local, store, living.at).await {
            // Found again by the next scrub.
            Ok(()) | Err(Error::Full { .. } | Error::DiskFull { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(scrubbed))
}

async fn repair(local: &Local, store: &Store, extents: Vec<Extent>) -> Result<u64> {
    let shared = store.shared();
    shared.check_writable()?;
    let Some(log) = shared.cleaner_log() else {
        return Ok(0);
    };
    let mut mover = Mover::new(shared, log);
    let mut repaired = 0;
    for extent in extents {
        let Extent { key, bytes } = extent;
        let holds = verify::holds(&key, &bytes);
        let index_key = shared.index_key(&key);
        let place = shared.index.get(&index_key).and_then(Place::of);
        let Some(place) = place.filter(|place| holds && place.len as usize == bytes.len()) else {
            continue;
        };
        repaired += 1;
        let copy = PendingExtent {
            index_key,
            key,
            bytes,
            moved_from: Some(place),
        };
        mover.copy(store.runtime().clock().now(), vec![copy]).await?;
    }
    mover.finish().await?;
    if repaired > 0 {
        // Else an opening after a crash would find two copies, and could take the damaged one.
        checkpoint::take(local, store).await?;
    }
    Ok(repaired)
}

#[cfg(test)]
mod tests;
