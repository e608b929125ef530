//! How many calls may change something at once, on one reactor: learnt from how soon a call gets its turn.
//!
//! A reactor takes its tasks in turns, so a call that has just been taken waits for every task that is ready. That wait is what
//! a reader feels, it is measured for every call, and it does not depend on what the call does: of few calls that compute it is
//! long, of many that wait for the device it is short. Additive increase, multiplicative decrease, as a congestion window
//! (Jacobson 1988), with a delay for a loss (Vegas, 1995).
//!
//! Invariant: at least one may, at most [`MOST`].
//! Rejected: the time calls take (a durable commit takes as long as the device, however few there are); the load of the cores
//! (a full core is no harm to anybody by itself).

use std::time::Duration;

/// A call gets its turn within this time.
pub const TARGET: Duration = Duration::from_micros(250);
/// Calls between two decisions.
const WINDOW: u32 = 32;
/// Fewer than one in so many of a window may miss the target.
const MISSES: u32 = 10;
/// To begin with.
const FIRST: usize = 8;
/// More would wait in the store, where they cannot take turns.
pub const MOST: usize = 256;

/// See the module.
#[derive(Debug)]
pub struct Limit {
    allowed: usize,
    seen: u32,
    missed: u32,
    /// Somebody had to wait because of the limit.
    was_felt: bool,
}

impl Default for Limit {
    fn default() -> Limit {
        Limit {
            allowed: FIRST,
            seen: 0,
            missed: 0,
            was_felt: false,
        }
    }
}

impl Limit {
    /// How many may.
    pub fn allowed(&self) -> usize {
        self.allowed
    }

    /// Somebody waits because of the limit.
    pub fn is_felt(&mut self) {
        self.was_felt = true;
    }

    /// A call got its turn after this time.
    pub fn observe(&mut self, waited: Duration) {
        self.seen += 1;
        self.missed += u32::from(waited > TARGET);
        if self.seen < WINDOW {
            return;
        }
        if self.missed * MISSES > self.seen {
            self.allowed = (self.allowed * 3 / 4).max(1);
        } else if self.was_felt && self.missed * MISSES * 2 <= self.seen {
            // Nobody knows what a limit is good for that is not reached.
            self.allowed = (self.allowed + 1).min(MOST);
        }
        (self.seen, self.missed, self.was_felt) = (0, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(limit: &mut Limit, windows: u32, waited: impl Fn(usize) -> Duration, felt: bool) -> usize {
        for _ in 0..windows * WINDOW {
            if felt {
                limit.is_felt();
            }
            let waited = waited(limit.allowed());
            limit.observe(waited);
        }
        limit.allowed()
    }

    /// Goal: the limit goes to where the target is just kept, from either side. Method: a machine on which each change under way
    /// costs everybody 20 us, then one on which it costs 2, then 100.
    #[test]
    fn it_finds_the_target() {
        let mut limit = Limit::default();
        let costs = |each: u64| move |allowed: usize| Duration::from_micros(each * allowed as u64);
        let found = after(&mut limit, 200, costs(20), true);
        assert!(
            (8..=13).contains(&found),
            "12 keep the target, {found} were allowed"
        );
        let found = after(&mut limit, 400, costs(2), true);
        assert!(
            (90..=126).contains(&found),
            "125 keep the target, {found} were allowed"
        );
        let found = after(&mut limit, 200, costs(100), true);
        assert!(
            (1..=3).contains(&found),
            "2 keep the target, {found} were allowed"
        );
    }

    /// Goal: no load, however bad, stops changes for ever, and none moves a limit that nobody meets.
    #[test]
    fn it_stays_within_its_bounds() {
        let mut limit = Limit::default();
        assert_eq!(after(&mut limit, 100, |_| Duration::from_secs(1), true), 1);
        assert_eq!(after(&mut limit, 10_000, |_| Duration::ZERO, true), MOST);
        let mut limit = Limit::default();
        assert_eq!(after(&mut limit, 100, |_| Duration::ZERO, false), FIRST);
    }
}
