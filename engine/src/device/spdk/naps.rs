//! How long a reactor sleeps between two looks at a device that does not wake it.
//!
//! Owns the guess when the next completion comes, learnt from the waits before: the first nap lasts for half of that
//! (half, since a nap that is too long is latency and one that is too short only another look), all later ones for an
//! eighth of what was waited so far. So a command is seen at most an eighth of its own time late, however slow the device,
//! and the looks at a command that takes ten times longer than the rest are a few dozen. (Half of the mean is what the
//! Linux kernel's hybrid polling of block devices slept before it began to poll.)
//!
//! Rejected: naps that double; the last one is as long as all before together, so a command may take twice its time.

use std::time::{Duration, Instant};

/// Waking up takes about as long.
const SHORTEST: Duration = Duration::from_micros(20);
/// A command that is lost is to be noticed.
const LONGEST: Duration = Duration::from_millis(1);
/// The part of what was waited that the next nap lasts.
const PART: u32 = 8;
/// Weight of the last wait in the guess, as one part of so many.
const WEIGHT: u32 = 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Naps {
    /// When the first nap of the present wait began.
    begin: Option<Instant>,
    /// How long waits take, from their first nap on.
    expected: Duration,
}

impl Naps {
    /// The next nap lasts for so long. Nothing has completed up to `now`.
    pub(super) fn next(&mut self, now: Instant) -> Duration {
        let waited = now.duration_since(*self.begin.get_or_insert(now));
        let nap = (self.expected / 2)
            .checked_sub(waited)
            .filter(|nap| *nap >= SHORTEST);
        nap.unwrap_or(waited / PART).clamp(SHORTEST, LONGEST)
    }

    /// Something has completed: the wait, if there was one, is over.
    pub(super) fn end(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(begin) = self.begin.take() {
            let waited = now().duration_since(begin);
            self.expected = self.expected / WEIGHT * (WEIGHT - 1) + waited / WEIGHT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::now;
    use super::*;

    /// The naps of a wait that the device ends after `takes`; how much later than that it is seen.
    fn wait(naps: &mut Naps, begin: Instant, takes: Duration) -> (u32, Duration) {
        let (mut now, mut count) = (begin, 0);
        while now < begin + takes {
            now += naps.next(now);
            count += 1;
        }
        naps.end(|| now);
        (count, now - (begin + takes))
    }

    /// Goal: few looks and little delay, for devices of any speed, from the first command on. Method: waits of one length
    /// after another in computed time.
    #[test]
    fn few_looks_and_little_delay() {
        let begin = now();
        for takes in [30, 100, 400, 1_000, 5_000].map(Duration::from_micros) {
            let mut naps = Naps::default();
            for round in 0..50 {
                let (count, late) = wait(&mut naps, begin, takes);
                assert!(late <= (takes / PART).max(SHORTEST), "{takes:?}: {late:?} late");
                assert!(count <= 45, "{takes:?}, round {round}: {count} looks");
            }
            let (count, _) = wait(&mut naps, begin, takes);
            assert!(count <= 12, "{takes:?}: {count} looks once it is known");
        }
    }

    /// Goal: a device that becomes fast is not overslept. Method: many slow waits, then fast ones.
    #[test]
    fn becoming_fast_is_learnt() {
        let begin = now();
        let mut naps = Naps::default();
        for _ in 0..50 {
            wait(&mut naps, begin, Duration::from_micros(800));
        }
        for _ in 0..40 {
            wait(&mut naps, begin, Duration::from_micros(40));
        }
        let (_, late) = wait(&mut naps, begin, Duration::from_micros(40));
        assert!(late <= SHORTEST, "{late:?} late");
    }
}
