//! The mark: from leases and roots along all references, until nothing is grey.
//!
//! Interior extents are read in batches sorted by place (`get_many`); data is only marked. The stack is a list of
//! names, so its memory is bounded by the number of interior extents.
//!
//! Others make new extents meanwhile, and each node among them is work for the mark. Invariant: it ends whatever they do, and
//! what waits for it stays short. So it takes a larger share of the reactor the more waits, and keeps it until it ends
//! ([`share_for`]): at the smallest share a thousand commits a second made more than it could follow. And it takes up what is
//! new before what is old, while the bytes are still in memory: later each node would be a read, on a device that is busy.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::barrier::Grey;
use super::{Found, Phase, Trace, Tracing, keys_of};
use crate::error::{Error, Result};
use crate::format::Domain;
use crate::reactor::Local;
use crate::store::Store;
use crate::store::api::{Key, Root, RootKind};
use crate::store::index::{Flag, Raised};
use crate::store::pace::{Pace, Share};

/// Extents read and followed together.
const BATCH: usize = 64;
/// New extents taken up together, of each sort.
const NEWEST: usize = 8;
/// An attempt to end that was in vain counts as so many extents that wait.
const IN_VAIN: usize = 0x40;
/// Grey extents that are followed while everybody waits, to come to an end at all under load.
const FINISH_MAX: usize = 256;

/// Extents read and followed together while others use the store.
fn batch_for(share: Share) -> usize {
    match share {
        Share::Least => 3,
        Share::Some => 8,
        Share::Half => BATCH,
        Share::Most => 8 * BATCH,
    }
}

/// The share of a reactor that a mark takes for which so many new references wait.
fn share_for(waiting: usize) -> Share {
    match waiting {
        0..0x200 => Share::Least,
        0x200..0x800 => Share::Some,
        0x800..0x2000 => Share::Half,
        _ => Share::Most,
    }
}

struct Marker<'a> {
    store: &'a Store,
    tracing: Arc<dyn Tracing>,
    /// Marked, and their references not followed yet.
    grey: Vec<Key>,
    marked: u64,
    read_bytes: u64,
    /// Marks since the last breath.
    steps: usize,
    pace: Pace,
    /// Of `grey`, how many at its end are others' and were no longer in memory when they were taken up.
    late: usize,
    failed: Option<Error>,
    /// Answers about roots and about what is held, that did not come at once.
    asked: Vec<(Domain, String, Asked)>,
    /// Kept for its memory.
    found: Found,
}

type Asked = Pin<Box<dyn Future<Output = Result<Found>> + Send>>;

/// Marks everything alive and turns the barrier to `after`; returns how many extents were marked, and the bytes of those
/// that were read for it.
pub(super) async fn mark(
    local: &Local,
    store: &Store,
    trace: &dyn Trace,
    after: Phase,
) -> Result<(u64, u64)> {
    let shared = store.shared();
    let mut marker = Marker {
        store,
        tracing: trace.begin(store),
        grey: Vec::new(),
        marked: 0,
        read_bytes: 0,
        steps: 0,
        pace: Pace::new(local, Share::Least),
        late: 0,
        failed: None,
        asked: Vec::new(),
        found: Vec::new(),
    };
    // Leases first: what one holds may be in a root by the time it is dropped.
    for key in shared.leases.held() {
        marker.held(key);
    }
    for kind in RootKind::all() {
        for root in store.roots(kind) {
            marker.root(root);
            marker.answers().await?;
            marker.breathe(local).await?;
        }
    }
    let mut in_vain = 0;
    loop {
        marker.pace.hurry(share_for(in_vain));
        marker.answers().await?;
        marker.follow(local).await?;
        if shared.barrier.end_marking(after, |grey| marker.finish(grey)) {
            return Ok((marker.marked, marker.read_bytes));
        }
        if let Some(error) = marker.failed.take() {
            return Err(error);
        }
        in_vain += IN_VAIN;
    }
}

impl Marker<'_> {
    /// Marks an extent if it is there; one with references is to be followed. False if it is not there.
    fn shade(&mut self, key: Key) -> bool {
        let shared = self.store.shared();
        self.steps += 1;
        match shared.index.raise(&shared.index_key(&key), Flag::Marked) {
            Raised::Absent => false,
            Raised::Already => true,
            Raised::Now => {
                self.marked += 1;
                if key.kind.has_references() {
                    self.grey.push(key);
                }
                true
            }
        }
    }

    /// Takes up what has become grey, and follows it as far as it is in memory and little. True if nothing is left.
    fn finish(&mut self, grey: Grey) -> bool {
        let little = grey.len() <= FINISH_MAX;
        if let Err(error) = self.take_up(grey, little) {
            self.failed = Some(error);
            return false;
        }
        self.grey.is_empty() && self.asked.is_empty()
    }

    fn take_up(&mut self, grey: Grey, follow: bool) -> Result<()> {
        for key in grey.hits {
            self.held(key);
        }
        for root in grey.roots {
            self.root(root);
        }
        // Mostly they know, and at once.
        for (domain, referrer, mut asked) in std::mem::take(&mut self.asked) {
            match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(found) => self.found_from(domain, &referrer, found?)?,
                Poll::Pending => self.asked.push((domain, referrer, asked)),
            }
        }
        for key in grey.born {
            match self.store.shared().in_memory(&key).filter(|_| follow) {
                Some(bytes) => self.references(&key, &bytes)?,
                None => {
                    self.grey.push(key);
                    self.late += 1;
                }
            }
        }
        Ok(())
    }

    /// Marks what an extent refers to.
    fn references(&mut self, key: &Key, bytes: &Bytes) -> Result<()> {
        let mut found = std::mem::take(&mut self.found);
        self.read_bytes += bytes.len() as u64;
        self.tracing.references(key.kind, bytes, &mut found)?;
        for reference in keys_of(key.domain, &mut found) {
            if !self.shade(reference) {
                return Err(missing(&reference, &format!("{} {}", key.kind, key.id)));
            }
        }
        self.found = found;
        Ok(())
    }

    fn root(&mut self, root: Root) {
        let (domain, name) = (root.domain, String::from_utf8_lossy(&root.name).into_owned());
        self.asked.push((domain, name, self.tracing.clone().root(root)));
    }

    /// Something held by name. It may not be there yet, or have gone since: then it is new when it comes.
    fn held(&mut self, key: Key) {
        if self.shade(key) && key.kind.has_references() {
            let asked = self.tracing.clone().held(key);
            self.asked.push((key.domain, key.id.to_string(), asked));
        }
    }

    /// Waits for the answers that did not come at once.
    async fn answers(&mut self) -> Result<()> {
        for (domain, referrer, asked) in std::mem::take(&mut self.asked) {
            self.found_from(domain, &referrer, asked.await?)?;
        }
        Ok(())
    }

    fn found_from(&mut self, domain: Domain, referrer: &str, mut found: Found) -> Result<()> {
        for key in keys_of(domain, &mut found) {
            if !self.shade(key) {
                return Err(missing(&key, referrer));
            }
        }
        Ok(())
    }

    /// Follows references until none is left. While some are read from the device, new ones are followed.
    async fn follow(&mut self, local: &Local) -> Result<()> {
        while self.follow_newest(local).await? || !self.grey.is_empty() {
            let together = match self.pace.is_shared() {
                true => batch_for(self.pace.share()),
                false => BATCH,
            };
            let batch = self.grey.split_off(self.grey.len().saturating_sub(together));
            self.late = self.late.saturating_sub(together);
            let store = self.store;
            let mut reading = pin!(store.get_many(&batch));
            let read = loop {
                match poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
                    Poll::Ready(read) => break read,
                    Poll::Pending if self.follow_newest(local).await? => {}
                    Poll::Pending => break reading.await,
                }
            };
            for (key, bytes) in batch.iter().zip(read) {
                self.references(key, &bytes?)?;
                self.breathe(local).await?;
            }
        }
        Ok(())
    }

    /// Follows some of what others have made since, as far as it is in memory. False if there was nothing.
    async fn follow_newest(&mut self, local: &Local) -> Result<bool> {
        let newest = self.store.shared().barrier.take_newest(NEWEST);
        if newest.len() == 0 {
            return Ok(false);
        }
        self.take_up(newest, true)?;
        self.answers().await?;
        self.breathe(local).await?;
        Ok(true)
    }

    async fn breathe(&mut self, local: &Local) -> Result<()> {
        let steps = std::mem::take(&mut self.steps);
        let shared = self.store.shared();
        self.pace.hurry(share_for(shared.barrier.waiting() + self.late));
        self.pace.breathe(local, shared, steps).await
    }
}

fn missing(key: &Key, referrer: &str) -> Error {
    Error::not_found(format!(
        "{} {}, which {referrer} refers to; nothing is collected before it is repaired or what refers to it is \
         deleted: it",
        key.kind, key.id
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what waits for a mark never makes it slower.
    #[test]
    fn more_that_waits_gets_no_smaller_share() {
        let shares: Vec<Share> = (0..20).map(|bit| share_for(1 << bit)).collect();
        assert!(shares.is_sorted());
        assert_eq!(shares.last(), Some(&Share::Most));
        assert_eq!(share_for(0), Share::Least);
    }
}
