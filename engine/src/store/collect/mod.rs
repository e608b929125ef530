//! Collection: finds what no root and no lease reaches, and forgets it.
//!
//! A full mark in the style of a concurrent tracing collector (snapshot at the beginning, with a barrier for what
//! changes: Yuasa 1990; grey on every new reference), then a sweep of the index stripe by stripe, then a checkpoint:
//! that makes the dead sets durable and frees the segments in which nothing lives. Everything else goes on meanwhile.
//!
//! Why nothing alive is lost, whatever crashes: what is swept was reached by no root value since marking began.
//! Until the checkpoint is durable nothing of it is overwritten, and a crash brings it back. The checkpoint's root
//! values are younger than the beginning of the mark, and so is whatever replay adds to them.
//!
//! A collection of the young leaves the marks of the one before up and reads only what has come since ([`generations`]).
//!
//! The store does not know what extents mean: a [`Trace`] from the layers above says what they refer to.

mod barrier;
mod generations;
mod mark;
mod sweep;

pub use generations::Scope;

pub(super) use barrier::{Barrier, Phase, Section};
pub(super) use generations::Generations;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Store;
use super::api::{Key, Root};
use super::checkpoint;
use super::index::Flag;
use super::pace::{Pace, Share};
use crate::error::Result;
use crate::format::{ContentId, Kind};
use crate::reactor::Local;

/// What a root or an extent refers to, in its own domain.
pub type Found = Vec<(Kind, ContentId)>;

/// Says what roots and extents refer to; from the layers above, which know.
pub trait Trace: Send + Sync {
    /// Begins the trace of one collection.
    fn begin(&self, store: &Store) -> Arc<dyn Tracing>;

    /// Removes roots that nobody needs any more, before a collection that the store does by itself. Part of a
    /// maintenance job: its batches do not have room made ([`Batch::without_making_room`](super::Batch)).
    fn prune<'a>(&'a self, store: &'a Store) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>> {
        let _ = store;
        Box::pin(async { Ok(()) })
    }
}

/// The trace of one collection; may remember what it has been asked.
pub trait Tracing: Send + Sync {
    /// What a root keeps alive; what an earlier answer had may be left out. Errors if the root makes no sense, or if
    /// something that belongs to it cannot be read.
    fn root(self: Arc<Self>, root: Root) -> Pin<Box<dyn Future<Output = Result<Found>> + Send>>;

    /// What an extent that is held by name keeps alive besides what it refers to.
    fn held(self: Arc<Self>, key: Key) -> Pin<Box<dyn Future<Output = Result<Found>> + Send>>;

    /// Appends what an extent refers to. Never asked about data.
    ///
    /// # Errors
    /// If its bytes make no sense.
    fn references(&self, kind: Kind, bytes: &Bytes, found: &mut Found) -> Result<()>;
}

/// Steps that a stripe of the index counts for.
const STRIPE_STEPS: usize = 16;

/// What a collection did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Collected {
    /// What it looked at.
    pub scope: Scope,
    /// Extents that are alive; of the young those that were found to be.
    pub marked: u64,
    /// Bytes of the extents among them that refer to others: those had to be read.
    pub read_bytes: u64,
    /// Extents that were forgotten.
    pub swept: u64,
    /// Their bytes.
    pub swept_bytes: u64,
    /// Segments that became free at once.
    pub segments_freed: u64,
    /// Time of the mark, in nanoseconds.
    pub mark_ns: u64,
    /// Time of the sweep, in nanoseconds.
    pub sweep_ns: u64,
}

impl Store {
    /// Collects: forgets every extent that no root and no lease reaches, and frees the segments in which nothing
    /// lives then. Reads, writes and commits go on meanwhile. With `dry_run` only counts.
    ///
    /// # Errors
    /// `Damaged` or `NotFound` if something on the way from a root cannot be read: what it refers to is unknown, so
    /// nothing is forgotten until it is repaired or its roots are deleted. What [`checkpoint`](Store::checkpoint)
    /// answers.
    pub async fn collect(&self, trace: Arc<dyn Trace>, dry_run: bool) -> Result<Collected> {
        self.maintain(move |local, store| async move {
            collect(&local, &store, &*trace, Scope::All, dry_run).await
        })
        .await
    }

    /// Collects among what has come since the last collection of this opening, and takes everything older to be alive: a
    /// small part of the work where most dies young. Looks at everything if there was none, or it did not come to its end.
    ///
    /// # Errors
    /// The same as [`collect`](Store::collect).
    pub async fn collect_young(&self, trace: Arc<dyn Trace>) -> Result<Collected> {
        self.maintain(move |local, store| async move {
            collect(&local, &store, &*trace, Scope::Young, false).await
        })
        .await
    }
}

/// A collection, as part of a maintenance job.
pub(super) async fn collect(
    local: &Local,
    store: &Store,
    trace: &dyn Trace,
    wanted: Scope,
    dry_run: bool,
) -> Result<Collected> {
    let shared = store.shared();
    shared.check_writable()?;
    // What is on its way to the device now would be left by the sweep, and what it refers to would not.
    checkpoint::cut_all(store).await?;
    let clock = local.clock();
    let began = clock.now();
    let written = shared.counters.written();
    let scope = shared.generations.begin(wanted);
    if scope == Scope::All {
        let mut pace = Pace::new(local, Share::Least);
        for stripe in 0..super::index::STRIPES {
            shared.index.lower(stripe, Flag::Marked);
            pace.breathe(local, shared, STRIPE_STEPS).await?;
        }
    }
    let mut entries = 0;
    shared.barrier.change(Phase::Marking, || {
        shared.index.set_born_marked(true);
        entries = shared.index.len();
    });
    let after = if dry_run { Phase::Idle } else { Phase::Sweeping };
    let marked = mark::mark(local, store, trace, after).await;
    let mut collected = Collected {
        scope,
        mark_ns: clock.now().0.saturating_sub(began.0),
        ..Collected::default()
    };
    let swept = match marked {
        Ok(marked) => {
            shared.generations.marked(scope);
            (collected.marked, collected.read_bytes) = marked;
            shared
                .counters
                .collection_bytes
                .store(collected.read_bytes, Ordering::Relaxed);
            sweep::sweep(local, shared, dry_run).await
        }
        Err(error) => Err(error),
    };
    shared
        .barrier
        .change(Phase::Idle, || shared.index.set_born_marked(false));
    drop(shared.barrier.take());
    if !dry_run {
        // What came meanwhile may be dead, and counts as growth. One that could not end would fail again at once, so it waits
        // for growth as well.
        let forgotten = swept.as_ref().map_or(0, |swept| swept.extents);
        shared.growth.collected(entries.saturating_sub(forgotten));
    }
    let swept = swept?;
    collected.swept = swept.extents;
    collected.swept_bytes = swept.bytes;
    collected.sweep_ns = clock.now().0.saturating_sub(began.0) - collected.mark_ns;
    if !dry_run {
        shared.counters.collected(swept.extents, swept.bytes, written);
        collected.segments_freed = checkpoint::take(local, store).await?.segments_freed;
    }
    Ok(collected)
}

/// The keys of what an extent or root of a domain refers to.
fn keys_of(domain: crate::format::Domain, found: &mut Found) -> impl Iterator<Item = Key> {
    found.drain(..).map(move |(kind, id)| Key { domain, kind, id })
}
