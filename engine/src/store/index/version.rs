//! The sequence lock of a bucket: readers look without writing, and look again if a writer came by.
//!
//! Invariants: the version is odd exactly while a writer changes the bucket and never goes back, also when the
//! bucket's memory is used for another bucket. Everything it protects is atomic and accessed `Relaxed`, so that a
//! read which loses the race yields wrong words, not undefined behaviour. (Boehm, "Can seqlocks get along with
//! programming language memory models?", 2012, section 4.) Writers exclude each other by the stripe's lock.

use super::atomic::{AtomicU64, Ordering, fence};

/// Starts a read: the version to hand to [`unchanged`], or `None` while a writer is at work.
#[inline]
pub(super) fn begin_read(version: &AtomicU64) -> Option<u64> {
    let seen = version.load(Ordering::Acquire);
    (seen & 1 == 0).then_some(seen)
}

/// Ends a read: whether everything read since `begin_read` belongs together.
#[inline]
pub(super) fn unchanged(version: &AtomicU64, seen: u64) -> bool {
    // Orders the data loads before the load below: whoever saw a later write sees the odd version it came with.
    fence(Ordering::Acquire);
    version.load(Ordering::Relaxed) == seen
}

/// Runs `change` as a write. The caller holds the lock that excludes other writers.
#[inline]
pub(super) fn write<R>(version: &AtomicU64, change: impl FnOnce() -> R) -> R {
    let before = version.load(Ordering::Relaxed);
    debug_assert!(before & 1 == 0, "two writers");
    version.store(before + 1, Ordering::Relaxed);
    // Orders the odd version before the data stores, for readers that fence after their data loads.
    fence(Ordering::Release);
    let result = change();
    version.store(before + 2, Ordering::Release);
    result
}
