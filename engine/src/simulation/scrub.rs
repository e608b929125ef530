//! Scrub under the eyes of the oracle: it finds nothing where nothing is wrong, and exactly what was damaged otherwise.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::client::Stage;
use super::model::Violation;
use crate::device::sim::Random;
use crate::error::{Error, Result};
use crate::format::SegmentId;
use crate::store::{DamagedExtent, Extent, Key, Store};

/// What going over the whole store found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub extents: u64,
    pub repaired: u64,
    pub damaged: Vec<DamagedExtent>,
    pub footers_damaged: u64,
}

/// Scrubs every segment; extents for which `wanted` is false are left out.
pub(super) async fn scrub(
    store: &Store,
    wanted: impl Fn(&Key) -> bool + Clone + Send + 'static,
) -> Result<Found> {
    let mut found = Found::default();
    for segment in 0..store.segment_count() {
        if let Some(scrubbed) = store.scrub_segment(SegmentId(segment), wanted.clone()).await? {
            found.extents += scrubbed.extents;
            found.repaired += scrubbed.repaired;
            found.damaged.extend(scrubbed.damaged);
            found.footers_damaged += u64::from(scrubbed.footer_damaged);
        }
    }
    Ok(found)
}

/// A scrub of a store that nobody damaged.
pub(super) fn judge(found: &Found) -> Result<(), Violation> {
    match found.damaged.is_empty() && found.repaired == 0 && found.footers_damaged == 0 {
        true => Ok(()),
        false => Violation::new(format!("scrub found damage and none was done: {found:?}")),
    }
}

/// Damages `count` extents, and has them found and repaired, while nobody else works.
pub(super) async fn rot(stage: &Stage, random: &mut Random, count: u64) -> Result<(), Violation> {
    match try_rot(stage, random, count).await {
        Ok(outcome) => outcome,
        // Repairing takes room.
        Err(Error::Full { .. } | Error::DiskFull { .. }) => Ok(()),
        Err(error) => Violation::new(format!("scrub: {error}")),
    }
}

async fn try_rot(stage: &Stage, random: &mut Random, count: u64) -> Result<Result<(), Violation>> {
    let store = &stage.store;
    let all: Arc<Mutex<Vec<Key>>> = Arc::default();
    let listed = all.clone();
    scrub(store, move |key| {
        listed.lock().push(*key);
        false
    })
    .await?;
    let mut all = std::mem::take(&mut *all.lock());
    random.shuffle(&mut all);
    let mut sources = Vec::new();
    for key in all {
        let Some(place) = store.device_range(&key).filter(|place| !place.is_empty()) else {
            continue;
        };
        let bytes = store.get(key).await?;
        stage
            .device
            .flip(place.start + random.below(place.end - place.start), 3);
        sources.push(Extent { key, bytes });
        if sources.len() as u64 == count {
            break;
        }
    }
    let name = |key: &Key| (key.domain.0, key.kind as u8, key.id.0);
    let done: BTreeSet<_> = sources.iter().map(|extent| name(&extent.key)).collect();
    let found = scrub(store, |_| true).await?;
    let seen: BTreeSet<_> = found.damaged.iter().map(|damaged| name(&damaged.key)).collect();
    // Those in the cache are repaired at once.
    let whole = seen.is_subset(&done) && seen.len() as u64 + found.repaired == done.len() as u64;
    if !whole || found.footers_damaged > 0 {
        return Ok(Violation::new(format!(
            "{} extents were damaged, and scrub found {found:?}",
            done.len()
        )));
    }
    stage.tally.lock().add("extents rotten", done.len() as u64);
    stage.tally.lock().add("repaired from the cache", found.repaired);
    sources.retain(|extent| seen.contains(&name(&extent.key)));
    let repaired = store.repair(sources).await?;
    if repaired != seen.len() as u64 {
        return Ok(Violation::new(format!(
            "{repaired} of {} extents were repaired",
            seen.len()
        )));
    }
    Ok(judge(&scrub(store, |_| true).await?))
}
