//! The pace of maintenance: short steps, and rests between them while somebody else uses the store.
//!
//! A job shares a reactor and a device with everybody's reads and commits. It works for a slice, gives the others a
//! turn, and rests in proportion to what the slice took, its waiting for the device included, if others are busy: how long
//! says the job ([`Share`]). What takes a share of a reactor makes everybody else's queue there longer by more than that
//! share, so that a job that may wait takes very little.
//! Whether they are is seen in the rest: then nobody but them asks for anything. In a store that nobody uses, and while a
//! batch waits for room, a job goes at full speed, but for a look round now and then.
//! Rejected: a fixed rate (it is too fast for one machine and too slow for another); a priority in the queue of the
//! device (what is with the device already cannot be overtaken).

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::shared::Shared;
use crate::error::{Error, Result};
use crate::reactor::{Local, Nanos};

/// Work between two turns of the reactor.
const SLICE: Duration = Duration::from_micros(20);
/// The same in steps, for a clock that stands still while work is done.
const STEPS: usize = 512;

/// How much of a reactor a job takes while others use the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Share {
    /// Nobody waits for it before space is short: 1/25.
    Least,
    /// Somebody waits for its end, or uses up what it gives: 1/7.
    Some,
    /// Others make work for it faster than it is done: a half.
    Half,
    /// Every second turn, and no rest.
    Most,
}

impl Share {
    /// A rest, in lengths of the slice before it.
    fn rest(self) -> u32 {
        match self {
            Share::Least => 24,
            Share::Some => 6,
            Share::Half => 1,
            Share::Most => 0,
        }
    }
}

/// Longest rest.
const REST_MAX: Duration = Duration::from_millis(20);
/// Slices between two looks round while nobody was seen, and how long a look takes.
const SLICES_PER_LOOK: u32 = 16;
const LOOK: Duration = Duration::from_micros(100);

/// Turns of work that nobody may put off: it gives others theirs, and never rests.
pub(super) struct Turns {
    began: Nanos,
    steps: usize,
}

impl Turns {
    /// Of work that begins now.
    pub fn new(local: &Local) -> Turns {
        Turns {
            began: local.clock().now(),
            steps: 0,
        }
    }

    /// So many steps were done: lets others have their turn when it is time.
    pub async fn breathe(&mut self, local: &Local, steps: usize) {
        self.steps += steps;
        if is_over(local, self.began, self.steps).is_some() {
            local.yield_now().await;
            *self = Turns::new(local);
        }
    }
}

/// How long a slice took, if it is over.
fn is_over(local: &Local, began: Nanos, steps: usize) -> Option<Duration> {
    let took = local.clock().now().since(began);
    (took >= SLICE || steps >= STEPS).then_some(took)
}

/// The pace of one job.
pub(super) struct Pace {
    share: Share,
    began: Nanos,
    steps: usize,
    slices: u32,
    /// Others were seen in the last rest.
    is_shared: bool,
}

impl Pace {
    /// Of a job that begins now.
    pub fn new(local: &Local, share: Share) -> Pace {
        Pace {
            share,
            began: local.clock().now(),
            steps: 0,
            // The first look comes soon.
            slices: SLICES_PER_LOOK,
            is_shared: false,
        }
    }

    /// Whether others use the store, so that steps had better be small.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// What it takes while others use the store.
    pub fn share(&self) -> Share {
        self.share
    }

    /// From now on it takes that share, unless it has a larger one.
    pub fn hurry(&mut self, share: Share) {
        self.share = self.share.max(share);
    }

    /// So many steps were done: lets others have their turn when it is time.
    ///
    /// # Errors
    /// `Closed` when the store is being closed: the job ends here.
    pub async fn breathe(&mut self, local: &Local, shared: &Shared, steps: usize) -> Result<()> {
        self.steps += steps;
        let Some(took) = is_over(local, self.began, self.steps) else {
            return Ok(());
        };
        if shared.is_closing() {
            return Err(Error::Closed);
        }
        self.slices += 1;
        let rest = match shared.waiting_for_room.load(Ordering::Relaxed) > 0 {
            true => Duration::ZERO,
            false if self.is_shared => (took * self.share.rest()).min(REST_MAX),
            false if self.slices >= SLICES_PER_LOOK => LOOK,
            false => Duration::ZERO,
        };
        if rest.is_zero() {
            local.yield_now().await;
        } else {
            let before = shared.counters.asked();
            local.sleep(rest).await;
            self.is_shared = shared.counters.asked() != before;
            self.slices = 0;
        }
        self.steps = 0;
        self.began = local.clock().now();
        Ok(())
    }
}
