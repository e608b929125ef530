//! Values kept once per thread, so that threads which count don't share cache lines; read by adding them up.
//!
//! Invariant: a thread always gets the same place; more than [`PLACES`] threads share places, which must therefore be
//! correct when shared (atomics, locks), only slower.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;

/// Threads that get a place of their own.
const PLACES: usize = 64;

/// One `T` per thread, each on its own cache lines.
#[derive(Debug)]
pub(super) struct Sharded<T>(Box<[CachePadded<T>]>);

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Sharded((0..PLACES).map(|_| CachePadded::default()).collect())
    }
}

impl<T> Sharded<T> {
    /// The calling thread's.
    #[inline]
    pub(super) fn mine(&self) -> &T {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PLACES;
        }
        // While the thread ends its place may be gone already; any other will do.
        &self.0[PLACE.try_with(|place| *place).unwrap_or(0)]
    }

    /// Everybody's.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|value| &**value)
    }
}
