//! How a reactor goes to sleep without losing a wake-up.
//!
//! Two sides. The reactor (sleeper) and any thread that has work for it (waker):
//!
//! ```text
//! sleeper                                   waker
//! S1  state = LIGHT or DEEP                 W1  push work to the remote queue
//! S2  fence(SeqCst)                         W2  fence(SeqCst)
//! S3  remote queue empty? else state=AWAKE  W3  state asleep? claim it: swap to AWAKE
//! S4  wait in the kernel for the doorbell   W4  if the claim was ours, ring the doorbell
//! S5  state = AWAKE, clear the doorbell
//! ```
//!
//! No wake-up is lost: the two fences are ordered one way or the other in the single order of all SeqCst
//! operations. If W2 comes first, S3 sees the pushed work and does not sleep. If S2 comes first, W3 sees the state
//! of S1 and rings. The doorbell counts, so a ring between S3 and S4 makes S4 return at once; the waits of all
//! adapters are level-triggered. A claim whose ring is late (W3, then a long pause, then W4) costs one wake-up
//! without reason at most: the work itself was pushed at W1, before the claim, and whoever sleeps next checks the
//! queue at S3 after a fence of its own.
//!
//! One ring per sleep: only the waker whose swap saw the sleeping state rings (an `eventfd` write is a system
//! call). An awake reactor costs a waker one fence and one load of a line that is written only on sleeping.
//!
//! A *lazy* waker (work that may wait for the light sleep to end) skips W3 and W4 in the state LIGHT, which is a
//! timed sleep of a few milliseconds, and takes part in full in the state DEEP.

use super::atomic::{AtomicU8, Ordering, fence};

const AWAKE: u8 = 0;
const LIGHT: u8 = 1;
const DEEP: u8 = 2;

/// How a reactor sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// For a few milliseconds: lazy wakers need not ring.
    Light,
    /// Until something happens.
    Deep,
}

/// The state both sides share; on a cache line of its own.
#[repr(align(128))]
pub(super) struct Doze(AtomicU8);

impl Doze {
    pub(super) fn new() -> Doze {
        Doze(AtomicU8::new(AWAKE))
    }

    /// S1 and S2. The caller checks its queues next and calls [`wake_up`](Self::wake_up) in any case.
    pub(super) fn announce(&self, depth: Depth) {
        let state = match depth {
            Depth::Light => LIGHT,
            Depth::Deep => DEEP,
        };
        self.0.store(state, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// S5. True when a waker claimed the sleep (and has rung or will ring).
    pub(super) fn wake_up(&self) -> bool {
        self.0.swap(AWAKE, Ordering::Relaxed) == AWAKE
    }

    /// W2 and W3, after the work was pushed. True when the caller must ring.
    pub(super) fn claim(&self, lazy: bool) -> bool {
        fence(Ordering::SeqCst);
        let asleep = |state| state == DEEP || state == LIGHT && !lazy;
        if !asleep(self.0.load(Ordering::Relaxed)) {
            return false;
        }
        // The sleeper may have gone from one depth to the other in between; a ring too many is harmless.
        self.0.swap(AWAKE, Ordering::Relaxed) != AWAKE
    }
}
