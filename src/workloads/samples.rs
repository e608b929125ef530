//! Measured times, and what they say together.

use serde::Serialize;

/// Nanoseconds of single operations.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<u64>);

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// How many were measured.
    pub count: u64,
    /// Half took at most this.
    pub median_us: f64,
    /// 95 of 100 took at most this.
    pub p95_us: f64,
    /// 99 of 100 took at most this.
    pub p99_us: f64,
    /// The shortest.
    pub min_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Samples {
    /// One more.
    pub fn record(&mut self, nanoseconds: u64) {
        self.0.push(nanoseconds);
    }

    /// All of another's.
    pub fn add(&mut self, other: &Samples) {
        self.0.extend_from_slice(&other.0);
    }

    /// Each of them, in nanoseconds.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().copied()
    }

    /// `None` where nothing was measured.
    pub fn summary(&self) -> Option<Summary> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        // The smallest time that at least so many of a hundred do not exceed.
        let at = |percent: usize| (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        let us = |place: usize| sorted[place] as f64 / 1000.0;
        Some(Summary {
            count: sorted.len() as u64,
            median_us: us(at(50)),
            p95_us: us(at(95)),
            p99_us: us(at(99)),
            min_us: us(0),
            max_us: us(last),
        })
    }
}

impl Extend<u64> for Samples {
    fn extend<T: IntoIterator<Item = u64>>(&mut self, times: T) {
        self.0.extend(times);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: percentiles are those of the definition. Method: the numbers to 100, in no order, and a single one.
    #[test]
    fn percentiles() {
        let mut samples = Samples::default();
        assert_eq!(samples.summary(), None);
        samples.extend((1..=100).map(|number| number * 37 % 101 * 1000));
        let summary = samples.summary().expect("there are some");
        let seen = [
            summary.min_us,
            summary.median_us,
            summary.p95_us,
            summary.p99_us,
            summary.max_us,
        ];
        assert_eq!(seen, [1.0, 50.0, 95.0, 99.0, 100.0]);
        let mut one = Samples::default();
        one.record(7000);
        let summary = one.summary().expect("there is one");
        assert_eq!([summary.median_us, summary.p95_us, summary.max_us], [7.0; 3]);
    }
}
