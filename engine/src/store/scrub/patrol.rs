//! The patrol: scrubs the whole store again and again beside the daily work, a segment at a time, so slowly that a round
//! takes as long as it may (DESIGN P7; the name is that of disk arrays).
//!
//! Owns where it is and what it has found. The place is a setting root, noted now and then, so that processes that
//! come and go get around too. What it finds is repaired where the cache has a copy; the rest is in the log and in
//! `health`, and `helios scrub` names the paths that lead there.
//! Invariant: it holds no store: one that is dropped is gone.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::format::SegmentId;
use crate::reactor::Local;
use crate::store::recovery::Damage;
use crate::store::{Expect, Inner, RootChange, RootKind, RootUpdate, Store};

/// Setting that says which segment is next.
const PLACE: &[u8] = b"patrol";
/// Segments between two notes of the place.
const SEGMENTS_PER_NOTE: u32 = 16;
/// Findings that are kept.
const FOUND_MAX: usize = 64;

/// What a patrol has found in this opening.
#[derive(Debug, Default)]
pub(in crate::store) struct Patrol(Mutex<Vec<Damage>>);

impl Patrol {
    /// What was damaged and could not be repaired.
    pub fn found(&self) -> Vec<Damage> {
        self.0.lock().clone()
    }

    fn add(&self, damage: Damage) {
        let mut found = self.0.lock();
        if found.len() < FOUND_MAX && !found.contains(&damage) {
            found.push(damage);
        }
    }
}

/// Goes round for as long as the store is open; a round takes `round`.
pub(in crate::store) async fn patrol(local: Local, store: Weak<Inner>, round: Duration) {
    let Some(count) = store.upgrade().map(|inner| inner.shared.places.segment_count) else {
        return;
    };
    let pause = round / count.max(1);
    let mut next = None;
    loop {
        local.sleep(pause).await;
        let Some(store) = store.upgrade().map(Store) else {
            return;
        };
        if store.shared().is_closing() || store.shared().check_writable().is_err() {
            return;
        }
        let segment = *next.get_or_insert_with(|| place(&store)) % count;
        match step(&local, &store, SegmentId(segment)).await {
            Ok(()) => {}
            Err(Error::Closed) => return,
            Err(error) => tracing::warn!(store = store.name(), %error, "patrol"),
        }
        next = Some(segment + 1);
        if (segment + 1).is_multiple_of(SEGMENTS_PER_NOTE) || segment + 1 == count {
            note(&store, (segment + 1) % count).await;
        }
    }
}

/// Scrubs one segment; before the first one, what everything hangs on.
async fn step(local: &Local, store: &Store, segment: SegmentId) -> Result<()> {
    let patrol = &store.shared().patrol;
    if segment.0 == 0 {
        store.scrub_anchors().await?;
    }
    let Some(scrubbed) = store.scrub_segment(segment, |_| true).await? else {
        return Ok(());
    };
    let counters = &store.shared().counters;
    counters
        .patrolled_bytes
        .fetch_add(scrubbed.bytes, Ordering::Relaxed);
    for extent in scrubbed.damaged {
        tracing::error!(
            store = store.name(),
            segment = segment.0,
            offset = extent.offset,
            "{} {}: {}",
            extent.key.kind,
            extent.key.id,
            extent.what
        );
        patrol.add(Damage {
            segment,
            offset: extent.offset.into(),
            what: format!("{} {}: {}", extent.key.kind, extent.key.id, extent.what),
        });
    }
    // Others of this reactor come first.
    local.yield_now().await;
    Ok(())
}

fn place(store: &Store) -> u32 {
    let noted = store.root(RootKind::Setting, PLACE);
    noted
        .and_then(|root| Some(u32::from_le_bytes(root.data[..].try_into().ok()?)))
        .unwrap_or(0)
}

async fn note(store: &Store, next: u32) {
    let mut batch = store.batch();
    batch.set_root(RootUpdate {
        kind: RootKind::Setting,
        name: PLACE.into(),
        expect: Expect::Any,
        change: RootChange::Set {
            target: None,
            data: next.to_le_bytes().to_vec().into(),
        },
    });
    if let Err(error) = batch.submit().await {
        tracing::warn!(store = store.name(), %error, "patrol");
    }
}
