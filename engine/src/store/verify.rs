//! Proof that bytes are what their key names, found by hashing them.
//!
//! Hashing several small contents together takes a third of the time of hashing them one by one, because one alone
//! fills half of the SIMD lanes or fewer. A single read on a reactor therefore waits for one turn of it: whatever
//! else has arrived by then is judged with it, by the first that is polled again. Nothing is waited for beyond that
//! turn, so a lone read is not slower.
//!
//! Rejected: a verifying task for each reactor (one more wake-up per read); hashing on the reactor what other
//! threads have asked for (it would keep the reactor from its device).

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use bytes::Bytes;

use super::api::Key;
use crate::canary::{self, Canary};
use crate::format::{ContentId, Kind, manifest};
use crate::hash;
use crate::reactor::{Local, YieldNow};

/// Contents from this size on fill all lanes by themselves.
const ALONE_BYTES: usize = 32 << 10;

/// For each item, whether its bytes are what its key names.
pub(super) fn hold(items: &[(Key, Bytes)]) -> Vec<bool> {
    let mut holds = vec![canary::is(Canary::SkippedChecksum); items.len()];
    for kind in [Kind::Data, Kind::Node, Kind::Commit, Kind::VolumeNode] {
        let of_kind = |item: &&(Key, Bytes)| item.0.kind == kind;
        let contents: Vec<&[u8]> = items.iter().filter(of_kind).map(|item| &item.1[..]).collect();
        if contents.is_empty() {
            continue;
        }
        let ids: Vec<ContentId> = hash::typed_ids(kind, &contents);
        let places = (0..items.len()).filter(|at| items[*at].0.kind == kind);
        for (at, id) in places.zip(ids) {
            holds[at] |= id == items[at].0.id;
        }
    }
    for (holds, (key, bytes)) in holds.iter_mut().zip(items) {
        if key.kind == Kind::Manifest {
            // Stored under the content's id: it has a checksum of its own, and its chunks are verified one by one.
            *holds = manifest::is_whole(bytes);
        }
    }
    holds
}

/// Whether these bytes are what the key names; on a reactor, judged together with what arrived in the same turn.
pub(super) async fn holds(key: Key, bytes: &Bytes) -> bool {
    if bytes.len() < ALONE_BYTES && Local::is_any() {
        let case = Case::open(key, bytes.clone());
        YieldNow::default().await;
        if let Some(verdict) = case.verdict() {
            return verdict;
        }
    }
    hold(&[(key, bytes.clone())])[0]
}

thread_local! {
    /// What has arrived on this thread's reactor and is not judged yet.
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
}

struct Open {
    item: (Key, Bytes),
    verdict: Arc<Verdict>,
}

/// What was found about one item.
#[derive(Default)]
struct Verdict(AtomicU8);

const UNKNOWN: u8 = 0;
const HOLDS: u8 = 1;
const DAMAGED: u8 = 2;

impl Verdict {
    fn give(&self, holds: bool) {
        self.0.store(if holds { HOLDS } else { DAMAGED }, Relaxed);
    }

    fn known(&self) -> Option<bool> {
        match self.0.load(Relaxed) {
            UNKNOWN => None,
            verdict => Some(verdict == HOLDS),
        }
    }
}

/// One reader's item among the open ones; leaves them when dropped.
struct Case(Arc<Verdict>);

impl Case {
    fn open(key: Key, bytes: Bytes) -> Case {
        let verdict = Arc::<Verdict>::default();
        let item = (key, bytes);
        OPEN.with_borrow_mut(|open| {
            open.push(Open {
                item,
                verdict: verdict.clone(),
            })
        });
        Case(verdict)
    }

    /// The verdict, judging all that is open if need be; `None` if the case was opened on another thread.
    fn verdict(&self) -> Option<bool> {
        if self.0.known().is_none() {
            let (items, verdicts): (Vec<_>, Vec<_>) = OPEN
                .take()
                .into_iter()
                .map(|open| (open.item, open.verdict))
                .unzip();
            for (verdict, holds) in verdicts.iter().zip(hold(&items)) {
                verdict.give(holds);
            }
        }
        self.0.known()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if self.0.known().is_none() {
            // The thread may be ending and its locals gone.
            let _ = OPEN.try_with(|open| {
                open.borrow_mut()
                    .retain(|open| !Arc::ptr_eq(&open.verdict, &self.0));
            });
        }
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
