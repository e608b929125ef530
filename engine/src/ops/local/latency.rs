//! How long commits take, by class, from the moment everything is read and hashed to the acknowledgement asked for.

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::ops::{Durability, Latency};

/// Longest commit told apart from longer ones, in microseconds: one hour.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Latencies of the commits of one opening.
#[derive(Default)]
pub(super) struct Latencies {
    visible: Mutex<Option<Histogram<u64>>>,
    durable: Mutex<Option<Histogram<u64>>>,
}

impl Latencies {
    fn class(&self, durability: Durability) -> &Mutex<Option<Histogram<u64>>> {
        match durability {
            Durability::Visible => &self.visible,
            Durability::Durable => &self.durable,
        }
    }

    /// Counts a commit.
    pub fn record(&self, durability: Durability, nanoseconds: u64) {
        let mut slot = self.class(durability).lock();
        if slot.is_none() {
            // The bounds are constants within what the histogram takes; without one there is nothing to count in.
            *slot = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).ok();
        }
        if let Some(histogram) = slot.as_mut() {
            histogram.saturating_record((nanoseconds / 1000).clamp(1, LATENCY_US_MAX));
        }
    }

    /// The percentiles of a class.
    pub fn summary(&self, durability: Durability) -> Latency {
        match self.class(durability).lock().as_ref() {
            None => Latency::default(),
            Some(histogram) => Latency {
                commits: histogram.len(),
                commit_latency_us_p50: histogram.value_at_quantile(0.50),
                commit_latency_us_p95: histogram.value_at_quantile(0.95),
                commit_latency_us_p99: histogram.value_at_quantile(0.99),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: classes are apart, percentiles are those of what was recorded. Method: 1 to 100 microseconds.
    #[test]
    fn percentiles_by_class() {
        let latencies = Latencies::default();
        for us in 1..=100 {
            latencies.record(Durability::Visible, us * 1000);
        }
        latencies.record(Durability::Durable, u64::MAX);
        let visible = latencies.summary(Durability::Visible);
        assert_eq!((visible.commits, visible.commit_latency_us_p50), (100, 50));
        assert_eq!((visible.commit_latency_us_p95, visible.commit_latency_us_p99), (95, 99));
        assert_eq!(latencies.summary(Durability::Durable).commits, 1);
        assert!(latencies.summary(Durability::Durable).commit_latency_us_p50 >= LATENCY_US_MAX - LATENCY_US_MAX / 1000);
    }
}
