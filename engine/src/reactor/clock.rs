//! Time, real or virtual: the only place that reads clocks.
//!
//! Invariant: `now` never goes back, on any thread. Virtual time moves only when the driver moves it, so a run is
//! a function of its seed.
#![allow(
    clippy::disallowed_methods,
    reason = "the one module that reads the system's clocks"
)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in monotonic time: nanoseconds since the clock was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Time passed since `earlier`; zero if that is later.
    pub fn since(self, earlier: Nanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This point plus `duration`, at most the end of time.
    pub fn after(self, duration: Duration) -> Nanos {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Nanos(self.0.saturating_add(nanos))
    }
}

/// Virtual runs begin at this wall-clock time (14 November 2023), so that time stamps look like time stamps.
const VIRTUAL_WALL_START_NS: u64 = 1_700_000_000_000_000_000;

#[derive(Clone)]
enum Source {
    Real(Instant),
    Virtual(Arc<AtomicU64>),
}

/// Tells the time. Clones agree with each other.
#[derive(Clone)]
pub struct Clock(Source);

impl Clock {
    /// The system's clocks.
    pub fn real() -> Clock {
        Clock(Source::Real(Instant::now()))
    }

    /// A clock at zero that only [`advance_to`](Self::advance_to) moves.
    pub(super) fn virtual_time() -> Clock {
        Clock(Source::Virtual(Arc::new(AtomicU64::new(0))))
    }

    /// Monotonic time.
    pub fn now(&self) -> Nanos {
        match &self.0 {
            Source::Real(start) => Nanos(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)),
            // The driver is one thread; other readers only want some recent value.
            Source::Virtual(now) => Nanos(now.load(Ordering::Relaxed)),
        }
    }

    /// Wall-clock time in nanoseconds since 1970. May jump; never used to measure.
    pub fn wall_ns(&self) -> u64 {
        match &self.0 {
            Source::Real(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
            Source::Virtual(now) => VIRTUAL_WALL_START_NS + now.load(Ordering::Relaxed),
        }
    }

    /// True when time is virtual.
    pub fn is_virtual(&self) -> bool {
        matches!(self.0, Source::Virtual(_))
    }

    /// Moves virtual time forward to `to`, never back. Real time moves by itself.
    pub(super) fn advance_to(&self, to: Nanos) {
        if let Source::Virtual(now) = &self.0 {
            now.fetch_max(to.0, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_virtual() { "virtual" } else { "real" };
        write!(f, "Clock({kind}, {} ns)", self.now().0)
    }
}
