//! Loading: fills the index and counts what is alive, from dead sets and the descriptors of all segments.
//!
//! Sealed segments are shared out over all reactors: each runs a few *lanes*, and a lane takes the next segment nobody
//! has taken, reads its footer and enters what it says. So reading and hashing overlap, on every core.
//! Invariant: what comes out does not depend on who loads what, or when. Counts commute; of two copies of an extent
//! the one farther back in the store is kept, whichever is met first; what died and what was damaged is collected and
//! put in order at the end. So a store opens the same with any number of reactors, and a simulated one repeats.
//! Rejected: partial indexes per reactor, merged at the end (twice the memory, and the merge is the same work again);
//! stripes shared out over reactors (each footer would go through all of them, by mail).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::footers;
use super::index::{self, Index, IndexKey, Slot, Widths};
use super::recovery::Damage;
use super::replay;
use super::segments::{Places, SegmentState, SegmentTable, SegmentUse};
use super::usage::{Place, Usage};
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::format::checkpoint::Checkpoint;
use crate::format::frame::Descriptor;
use crate::format::superblock::Superblock;
use crate::format::{Kind, SegmentId};
use crate::limits::UNIT_BYTES;
use crate::reactor::{Handle, Local, oneshot};

/// Segments that one reactor loads at once: while one is entered, others are read.
const LANES: usize = 3;
/// Descriptors entered between two turns of the reactor, which lets the reads of the other lanes go on.
const AT_ONCE: usize = 4096;

/// A segment to be loaded.
struct Sealed {
    at: SegmentUse,
    end_unit: u32,
    footer_unit: u32,
}

/// What cannot be applied before everything is loaded.
#[derive(Default)]
struct Found {
    /// Copies that another one is preferred to. Where they lie may not be counted yet.
    died: Vec<Place>,
    /// Extents in places that no log writes to: whoever wrote them was no Helios.
    beyond: Vec<Place>,
    damage: Vec<Damage>,
}

/// An index and its counts, being filled.
pub(super) struct Loading {
    name: String,
    superblock: Superblock,
    segment_bytes: u64,
    secret: index::Secret,
    widths: Widths,
    index: Index,
    usage: Usage,
    /// Offsets of the extents in each segment that are not to be known again, in order.
    dead: HashMap<SegmentId, Vec<u32>>,
    sealed: Vec<Sealed>,
    /// The next of `sealed` that nobody has taken.
    next: AtomicUsize,
    found: Mutex<Found>,
}

/// What loading has made.
pub(super) struct Loaded {
    pub index: Index,
    pub usage: Usage,
    pub damage: Vec<Damage>,
}

impl Loading {
    /// Of a store with these segments; `None` if the checkpoint's dead sets contradict them.
    pub fn new(
        name: &str,
        superblock: &Superblock,
        table: &SegmentTable,
        checkpoint: &Checkpoint,
    ) -> Option<Loading> {
        let usage = Usage::new(table.len());
        let mut dead = HashMap::new();
        for (segment, generation, offsets) in &checkpoint.dead {
            let segment = SegmentId(*segment);
            table.get(segment).filter(|(_, known)| known == generation)?;
            if canary::is(Canary::ForgottenDeadSets) {
                continue;
            }
            usage.restore_dead(segment, offsets.clone());
            let mut offsets = offsets.clone();
            offsets.sort_unstable();
            dead.insert(segment, offsets);
        }
        let sealed: Vec<Sealed> = table
            .find(|state| matches!(state, SegmentState::Sealed { .. }))
            .into_iter()
            .filter_map(|at| match table.get(at.segment)?.0 {
                SegmentState::Sealed {
                    end_unit,
                    footer_unit,
                    ..
                } => Some(Sealed {
                    at,
                    end_unit,
                    footer_unit,
                }),
                _ => None,
            })
            .collect();
        let places = Places::of(superblock);
        let known = known(&places, &sealed, checkpoint);
        Some(Loading {
            name: name.to_owned(),
            superblock: superblock.clone(),
            segment_bytes: places.segment_bytes(),
            secret: index::Secret::derive(&superblock.secret),
            widths: places.widths(),
            index: Index::with_room(places.widths(), known),
            usage,
            dead,
            sealed,
            next: AtomicUsize::new(0),
            found: Mutex::default(),
        })
    }

    /// Loads all sealed segments, on all these reactors.
    ///
    /// # Errors
    /// `Closed` if a reactor has ended; else what a lane failed with, after all have ended.
    pub async fn load_sealed(self: &Arc<Self>, handles: &[Handle]) -> Result<()> {
        let lanes = (handles.len() * LANES).min(self.sealed.len());
        let mut ends = Vec::with_capacity(lanes);
        for handle in handles.iter().cycle().take(lanes) {
            let (sender, receiver) = oneshot::oneshot();
            let loading = self.clone();
            handle.spawn(move |local| async move {
                let ended = lane(local, loading).await;
                // Who no longer waits has given up.
                let _ = sender.send(ended);
            });
            ends.push(receiver);
        }
        let mut outcome = Ok(());
        for end in ends {
            let ended = end.await.unwrap_or(Err(Error::Closed));
            outcome = outcome.and(ended);
        }
        outcome
    }

    /// Enters what these descriptors of a segment say.
    pub fn enter(&self, segment: SegmentId, descriptors: &[Descriptor], newest_ns: u64) {
        let dead = self.dead.get(&segment).map_or(&[][..], Vec::as_slice);
        let mut names = Vec::with_capacity(descriptors.len());
        let mut slots = Vec::with_capacity(descriptors.len());
        let mut beyond = Vec::new();
        for descriptor in descriptors {
            let Some(kind) = descriptor.kind().filter(|kind| *kind != Kind::Root) else {
                continue;
            };
            let place = Place {
                segment,
                offset: descriptor.offset.get(),
                len: descriptor.stored_len.get(),
            };
            let end = u64::from(place.offset) + u64::from(place.len);
            if end > self.segment_bytes || !self.widths.can_hold(place.slot()) {
                beyond.push(place);
                continue;
            }
            if place.len > 0 && !dead.is_empty() && dead.binary_search(&place.offset).is_ok() {
                continue;
            }
            names.push((descriptor.domain(), kind, &descriptor.id));
            slots.push(place.slot());
        }
        let keys = IndexKey::many(&self.secret, names);
        let entries: Vec<(IndexKey, Slot)> = keys.into_iter().zip(slots).collect();
        let mut before = Vec::with_capacity(entries.len());
        self.index.upsert_many_if(&entries, is_farther, &mut before);
        let mut born = (0, 0);
        let mut died = Vec::new();
        for ((_, slot), before) in entries.iter().zip(before) {
            // The same descriptor again.
            if before == Some(*slot) {
                continue;
            }
            born.0 += 1;
            born.1 += Place::of(*slot).map_or(0, |place| u64::from(place.len));
            if let Some(before) = before {
                let loser = if is_farther(before, *slot) { before } else { *slot };
                died.extend(Place::of(loser));
            }
        }
        self.usage.restore_live(segment, born, newest_ns);
        if !died.is_empty() || !beyond.is_empty() {
            let mut found = self.found.lock();
            found.died.append(&mut died);
            found.beyond.append(&mut beyond);
        }
    }

    /// The index and the counts. Everything has been entered.
    pub fn finish(self: Arc<Self>) -> Loaded {
        let loading = Arc::into_inner(self).expect("all lanes have ended");
        let Found {
            mut died,
            mut beyond,
            mut damage,
        } = loading.found.into_inner();
        died.sort_by_key(order);
        loading.usage.died(died);
        beyond.sort_by_key(order);
        // Stable: the damage within one segment was found in its order.
        damage.sort_by_key(|damage| damage.segment);
        damage.extend(beyond.iter().map(|place| Damage {
            segment: place.segment,
            offset: place.offset.into(),
            what: format!("an extent of {} bytes where none can be", place.len),
        }));
        Loaded {
            index: loading.index,
            usage: loading.usage,
            damage,
        }
    }

    async fn load(&self, local: &Local, sealed: &Sealed) -> Result<()> {
        let Sealed {
            at,
            end_unit,
            footer_unit,
        } = sealed;
        let footer = footers::footer(local, &self.superblock, *at, *footer_unit).await?;
        let scanned;
        let (descriptors, newest_ns) = match &footer {
            Some(footer) => (footer.descriptors(), footer.newest_ns()),
            None => {
                let mut damage = vec![Damage {
                    segment: at.segment,
                    offset: 0,
                    what: "the footer is damaged; the segment was read frame by frame".into(),
                }];
                let (name, block) = (&self.name, &self.superblock);
                scanned = replay::scan_segment(local, name, block, *at, *end_unit, &mut damage).await?;
                self.found.lock().damage.append(&mut damage);
                (&scanned[..], 0)
            }
        };
        for descriptors in descriptors.chunks(AT_ONCE) {
            self.enter(at.segment, descriptors, newest_ns);
            local.yield_now().await;
        }
        Ok(())
    }
}

/// Loads one segment after another until none is left, or a lane has failed.
async fn lane(local: Local, loading: Arc<Loading>) -> Result<()> {
    while let Some(sealed) = loading.sealed.get(loading.next.fetch_add(1, Ordering::Relaxed)) {
        if let Err(error) = loading.load(&local, sealed).await {
            loading.next.store(loading.sealed.len(), Ordering::Relaxed);
            return Err(error);
        }
    }
    Ok(())
}

/// About how many extents the index will hold: descriptors known to exist less those known to be dead.
fn known(places: &Places, sealed: &[Sealed], checkpoint: &Checkpoint) -> u64 {
    let in_unit = (UNIT_BYTES / size_of::<Descriptor>()) as u64;
    let footers: u64 = sealed
        .iter()
        .map(|sealed| {
            let footer = places.segment_units.saturating_sub(sealed.footer_unit);
            // Each descriptor is in a frame too, whatever the checkpoint says about the footer.
            u64::from(footer.min(sealed.footer_unit)) * in_unit
        })
        .sum();
    let open: usize = checkpoint.open_segments.iter().map(|(_, open)| open.len()).sum();
    let dead: usize = checkpoint.dead.iter().map(|(_, _, dead)| dead.len()).sum();
    (footers + open as u64).saturating_sub(dead as u64)
}

/// Whether the second of two places is to be kept: the one farther back, a rule that needs no order of events.
fn is_farther(before: Slot, slot: Slot) -> bool {
    Place::of(before).map(|place| order(&place)) < Place::of(slot).map(|place| order(&place))
}

fn order(place: &Place) -> (SegmentId, u32, u32) {
    (place.segment, place.offset, place.len)
}

#[cfg(test)]
#[path = "loading_tests.rs"]
mod tests;
