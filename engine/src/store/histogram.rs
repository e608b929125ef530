//! How long the operations of a store take, by class.
//!
//! Owns one histogram per class and thread (made when first used, 36 KiB each), merged when read. Values are kept to
//! two digits (1 %), from one nanosecond to an hour; longer ones count as an hour.
//! Rejected: one histogram behind a lock (every reactor and caller would wait for it), `hdrhistogram`'s
//! `SyncHistogram` (its recorders hand over at phases, so a reader waits for idle threads).

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::sharded::Sharded;

/// What was timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A commit, until other clients see it.
    VisibleCommit,
    /// A commit, until it survives power loss.
    DurableCommit,
    /// A get answered from memory.
    GetHit,
    /// A get that read a device.
    GetDevice,
    /// A put.
    Put,
}

impl Class {
    /// All of them, in the order of their declaration.
    pub const ALL: [Class; 5] = [
        Class::VisibleCommit,
        Class::DurableCommit,
        Class::GetHit,
        Class::GetDevice,
        Class::Put,
    ];
}

/// The latencies of one class, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// Operations recorded.
    pub count: u64,
    /// Half took at most this long.
    pub us_p50: f64,
    /// 95 of 100 took at most this long.
    pub us_p95: f64,
    /// 99 of 100 took at most this long.
    pub us_p99: f64,
    /// The longest.
    pub us_max: f64,
}

/// How the latencies of one class are spread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Operations recorded.
    pub count: u64,
    /// What they took together, in nanoseconds, to 1 %.
    pub sum_ns: u64,
    /// For each bound that was asked for: the operations that took at most as long.
    pub within: Vec<u64>,
}

const NANOSECONDS_MAX: u64 = 3_600_000_000_000;
const DIGITS: u8 = 2;

type Histograms = [Option<Box<Histogram<u64>>>; Class::ALL.len()];

/// Records latencies from any thread.
#[derive(Default)]
pub struct Latencies(Sharded<Mutex<Histograms>>);

impl Latencies {
    /// Nothing recorded yet.
    pub fn new() -> Latencies {
        Latencies::default()
    }

    /// Adds one operation.
    #[inline]
    pub fn record(&self, class: Class, nanoseconds: u64) {
        let mut mine = self.0.mine().lock();
        mine[class as usize]
            .get_or_insert_with(|| Box::new(empty()))
            .saturating_record(nanoseconds);
    }

    /// The latencies of a class over all threads. Takes well under a millisecond.
    pub fn summary(&self, class: Class) -> Summary {
        let merged = self.merged(class);
        let micros = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        Summary {
            count: merged.len(),
            us_p50: micros(merged.value_at_quantile(0.50)),
            us_p95: micros(merged.value_at_quantile(0.95)),
            us_p99: micros(merged.value_at_quantile(0.99)),
            us_max: micros(merged.max()),
        }
    }

    /// How the latencies of a class are spread, by bounds in nanoseconds that ascend. A value that its two digits leave on both
    /// sides of a bound counts as longer. Every figure only ever grows.
    pub fn distribution(&self, class: Class, bounds_ns: &[u64]) -> Distribution {
        let merged = self.merged(class);
        let mut spread = Distribution {
            within: vec![0; bounds_ns.len()],
            ..Distribution::default()
        };
        for step in merged.iter_recorded() {
            let (value, count) = (step.value_iterated_to(), step.count_at_value());
            spread.count += count;
            let each = merged.median_equivalent(value);
            spread.sum_ns = spread.sum_ns.saturating_add(each.saturating_mul(count));
            let at = bounds_ns.partition_point(|bound| *bound < value);
            spread.within[at..].iter_mut().for_each(|within| *within += count);
        }
        spread
    }

    fn merged(&self, class: Class) -> Histogram<u64> {
        let mut merged = empty();
        for place in self.0.all() {
            if let Some(histogram) = &place.lock()[class as usize] {
                merged.add(&**histogram).expect("all have the same bounds");
            }
        }
        merged
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NANOSECONDS_MAX, DIGITS).expect("the bounds are in order")
}

#[cfg(test)]
#[path = "histogram_tests.rs"]
mod tests;
