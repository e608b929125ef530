//! The audit: what is on the device and what is in memory say the same.
//!
//! Every extent in a segment that is not free is either where the index says it is, or in the dead set; nothing
//! overlaps; the counts of what lives where are those of the index; no entry names a place that holds no extent. Reads
//! footers, not the extents themselves (that is `scrub`).

use std::collections::{BTreeMap, HashSet};

use super::Store;
use super::api::Key;
use super::checkpoint;
use super::footers;
use super::index::STRIPES;
use super::segments::SegmentState;
use super::usage::Place;
use crate::error::Result;
use crate::format::frame::Descriptor;
use crate::format::{Kind, SegmentId};
use crate::limits::UNIT_BYTES;
use crate::reactor::Local;

/// Contradictions that are listed; more are counted.
const LISTED_MAX: usize = 100;

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Audit {
    /// Segments looked at.
    pub segments: u64,
    /// Extents that the index knows.
    pub live: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Extents that nothing refers to, in segments not yet free.
    pub dead: u64,
    /// Contradictions in all.
    pub wrong: u64,
    /// The first of them.
    pub first_wrong: Vec<String>,
}

impl Audit {
    fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.wrong += 1;
        if self.first_wrong.len() < LISTED_MAX {
            self.first_wrong.push(what());
        }
    }
}

impl Store {
    /// Compares what is on the device with what is in memory. Meant for a store that nobody writes to meanwhile:
    /// changes under way show as contradictions.
    ///
    /// # Errors
    /// If a footer cannot be read.
    pub async fn audit(&self) -> Result<Audit> {
        self.maintain(|local, store| async move { audit(&local, &store).await })
            .await
    }
}

async fn audit(local: &Local, store: &Store) -> Result<Audit> {
    let shared = store.shared();
    let ends = checkpoint::cut_all(store).await?;
    shared.usage.settle_rivals(&shared.index);
    let superblock = store.0.superblock.lock().clone();
    let sealed: Vec<_> = {
        let table = shared.segments.lock();
        let sealed = table.find(|state| matches!(state, SegmentState::Sealed { .. }));
        sealed
            .into_iter()
            .filter_map(|at| match table.get(at.segment)?.0 {
                SegmentState::Sealed {
                    end_unit,
                    footer_unit,
                    ..
                } => Some((at, footer_unit, end_unit)),
                _ => None,
            })
            .collect()
    };
    let mut found = Audit::default();
    let dead = shared.usage.dead();
    let alive = shared.usage.live();
    let mut counted: BTreeMap<SegmentId, (u32, u64)> = BTreeMap::new();
    let mut look = |segment: SegmentId, end_unit: u32, descriptors: &[Descriptor], found: &mut Audit| {
        found.segments += 1;
        let dead: HashSet<u32> = dead.get(&segment).into_iter().flatten().copied().collect();
        let mut places: Vec<Place> = Vec::with_capacity(descriptors.len());
        let mut without_bytes = HashSet::new();
        for descriptor in descriptors {
            let place = Place {
                segment,
                offset: descriptor.offset.get(),
                len: descriptor.stored_len.get(),
            };
            places.push(place);
            let Some(kind) = descriptor.kind().filter(|kind| *kind != Kind::Root) else {
                continue;
            };
            let key = Key {
                domain: descriptor.domain(),
                kind,
                id: descriptor.id,
            };
            if place.len == 0 && !without_bytes.insert((key, place.offset)) {
                // The same extent twice, in the same place.
                continue;
            }
            let slot = shared.index.get(&shared.index_key(&key));
            let is_live = slot == Some(place.slot());
            let is_dead = place.len > 0 && dead.contains(&place.offset);
            match (is_live, is_dead) {
                (true, false) => {
                    found.live += 1;
                    found.live_bytes += u64::from(place.len);
                    let counts = counted.entry(segment).or_default();
                    counts.0 += 1;
                    counts.1 += u64::from(place.len);
                }
                (false, true) => found.dead += 1,
                (false, false) if place.len == 0 => {}
                (true, true) => {
                    found.wrong(|| format!("{kind} {} at {place:?} is referred to and dead", key.id))
                }
                (false, false) => {
                    found.wrong(|| {
                        format!(
                            "{kind} {} at {place:?} is neither referred to ({slot:?}) nor dead",
                            key.id
                        )
                    });
                }
            }
        }
        places.sort_by_key(|place| (place.offset, place.len));
        let mut end = UNIT_BYTES as u64;
        for place in places {
            if u64::from(place.offset) < end {
                found.wrong(|| format!("{place:?} overlaps what is before it, up to byte {end}"));
            }
            end = u64::from(place.offset) + u64::from(place.len);
        }
        if end > u64::from(end_unit.max(1)) * UNIT_BYTES as u64 {
            found.wrong(|| format!("segment {segment} has extents up to byte {end}, beyond unit {end_unit}"));
        }
    };
    for (at, footer_unit, end_unit) in sealed {
        let units = (footer_unit, end_unit);
        let (descriptors, _) = footers::descriptors(local, &shared.name, &superblock, at, units).await?;
        look(at.segment, end_unit, &descriptors, &mut found);
    }
    for open in ends.iter().filter_map(|end| end.current.as_ref()) {
        look(open.id(), open.next_unit, &open.descriptors, &mut found);
    }
    for (number, alive) in (0..).zip(&alive) {
        let counts = counted.get(&SegmentId(number)).copied().unwrap_or_default();
        if counts != (alive.live, alive.live_bytes) {
            found.wrong(|| {
                format!(
                    "segment {number} has {} extents of {} bytes that are referred to, and {} of {} are counted",
                    counts.0, counts.1, alive.live, alive.live_bytes
                )
            });
        }
    }
    let mut stored = 0;
    for stripe in 0..STRIPES {
        let entries = shared.index.entries(stripe);
        stored += entries.filter(|entry| Place::of(entry.slot).is_some()).count() as u64;
        if stripe % 32 == 0 {
            local.yield_now().await;
        }
    }
    if stored != found.live {
        let live = found.live;
        found.wrong(|| {
            format!("the index refers to {stored} extents on the device, which has {live} of them")
        });
    }
    Ok(found)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
