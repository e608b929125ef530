//! How long a wait spins before the thread sleeps.
//!
//! Owns the guess, learnt from the waits before: after one that ended soon the next spin covers twice its time, after a
//! long one it halves, down to almost nothing. So waits of a kind that spinning serves are spun for, and a thread whose
//! waits are all longer than its longest spin stops paying for what it does not get: at a tenth of the load a device can
//! bear, nearly all of a fixed spin is wasted.
//!
//! Rejected: spinning longer when the last wait *would* have been covered by it (Linux' `haltpoll`, which only grows by
//! that): at low load it spins for the whole pause between two commands.

use std::time::Duration;

/// Shortest spin; a wait that is over at once should not need the kernel.
const SHORTEST: Duration = Duration::from_micros(5);

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spin {
    next: Duration,
    longest: Duration,
}

impl Spin {
    /// Spins for at most `longest`, and that long as long as nothing was learnt.
    pub(super) const fn new(longest: Duration) -> Spin {
        Spin {
            next: longest,
            longest,
        }
    }

    /// How long the next wait spins.
    pub(super) fn limit(&self) -> Duration {
        self.next
    }

    /// A wait took `waited`, asleep or not.
    pub(super) fn learn(&mut self, waited: Duration) {
        let next = if waited <= self.longest {
            (waited * 2).max(self.next / 2)
        } else {
            self.next / 2
        };
        self.next = next.max(SHORTEST).min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(200);

    fn after(waits: &[u64]) -> Duration {
        let mut spin = Spin::new(LONGEST);
        for &wait in waits {
            spin.learn(Duration::from_micros(wait));
        }
        spin.limit()
    }

    /// Goal: short waits are covered, long ones are given up, and one short wait after many long ones is enough to spin
    /// again. Method: sequences of waits.
    #[test]
    fn spins_for_what_spinning_serves() {
        assert_eq!(after(&[]), LONGEST);
        assert_eq!(after(&[30; 8]), Duration::from_micros(60));
        assert_eq!(after(&[150; 8]), LONGEST);
        assert_eq!(after(&[1000; 8]), SHORTEST);
        assert_eq!(
            after(&[1000, 1000, 1000, 1000, 1000, 1000, 30]),
            Duration::from_micros(60)
        );
    }

    /// Goal: a thread that must not spin never does, whatever it learns.
    #[test]
    fn no_spin_stays_no_spin() {
        let mut spin = Spin::new(Duration::ZERO);
        for wait in [Duration::ZERO, Duration::from_micros(3), Duration::from_secs(1)] {
            spin.learn(wait);
            assert_eq!(spin.limit(), Duration::ZERO);
        }
    }
}
