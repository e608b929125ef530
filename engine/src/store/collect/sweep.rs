//! The sweep: forgets every extent without a mark, a stripe of the index at a time.
//!
//! What is still on its way to the device is left for the next collection, and so are extents without bytes: they
//! cannot be in a dead set (`usage`).

use crate::error::Result;
use crate::reactor::Local;
use crate::store::index::STRIPES;
use crate::store::pace::{Pace, Share};
use crate::store::shared::Shared;
use crate::store::usage::Place;

/// Entries between two breaths.
const ENTRIES: usize = 64;

/// What was swept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Swept {
    pub extents: u64,
    pub bytes: u64,
}

/// Forgets what is not marked, or only counts it.
pub(super) async fn sweep(local: &Local, shared: &Shared, dry_run: bool) -> Result<Swept> {
    let mut swept = Swept::default();
    let mut pace = Pace::new(local, Share::Least);
    for stripe in 0..STRIPES {
        let mut died = Vec::new();
        for (number, entry) in (1..).zip(shared.index.entries(stripe)) {
            if number % ENTRIES == 0
                && let Err(closed) = pace.breathe(local, shared, ENTRIES).await
            {
                // They are forgotten already.
                shared.usage.died(died);
                return Err(closed);
            }
            let Some(place) = Place::of(entry.slot).filter(|place| !entry.marked && place.len > 0) else {
                continue;
            };
            if !dry_run {
                if !shared.index.remove_unmarked(&entry.key, entry.slot) {
                    continue;
                }
                shared.cache.remove(&entry.key);
                died.push(place);
            }
            swept.extents += 1;
            swept.bytes += u64::from(place.len);
        }
        shared.usage.died(died);
        pace.breathe(local, shared, ENTRIES).await?;
    }
    Ok(swept)
}
