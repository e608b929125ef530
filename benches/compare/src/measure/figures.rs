//! Quantities and their distributions.
//!
//! Invariant: `worse` quantiles are on the side that hurts: the P95 of a rate is what 95 % of the samples reached.

use hdrhistogram::Histogram;

/// What the numbers of a quantity are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Less is better.
    Nanoseconds,
    /// Less is better.
    Bytes,
    /// Operations; more is better.
    PerSecond,
    /// More is better.
    BytesPerSecond,
}

impl Unit {
    /// Whether a larger number is the better one.
    pub fn more_is_better(self) -> bool {
        matches!(self, Unit::PerSecond | Unit::BytesPerSecond)
    }

    /// A number of this unit for people.
    pub fn show(self, value: f64) -> String {
        const TIMES: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "us"), (0.0, "ns")];
        const BYTES: [(f64, &str); 4] = [
            (1073741824.0, "GiB"),
            (1048576.0, "MiB"),
            (1024.0, "KiB"),
            (0.0, "B"),
        ];
        const COUNTS: [(f64, &str); 3] = [(1e6, "M/s"), (1e3, "k/s"), (0.0, "/s")];
        let scaled = |steps: &[(f64, &'static str)]| {
            let step = steps.iter().find(|(from, _)| value >= *from);
            let (divisor, name) = step.copied().unwrap_or((0.0, steps[steps.len() - 1].1));
            let number = value / divisor.max(1.0);
            let digits = if number >= 100.0 {
                0
            } else if number >= 10.0 {
                1
            } else {
                2
            };
            format!("{number:.digits$} {name}")
        };
        match self {
            Unit::Nanoseconds => scaled(&TIMES),
            Unit::Bytes => scaled(&BYTES),
            Unit::PerSecond => scaled(&COUNTS),
            Unit::BytesPerSecond => format!("{}/s", scaled(&BYTES)),
        }
    }
}

/// Something that is measured, by a name that is the same for all who are compared in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quantity {
    /// Its name in reports.
    pub name: &'static str,
    /// Its unit.
    pub unit: Unit,
}

impl Quantity {
    /// A time.
    pub const fn time(name: &'static str) -> Quantity {
        let unit = Unit::Nanoseconds;
        Quantity { name, unit }
    }

    /// A size.
    pub const fn bytes(name: &'static str) -> Quantity {
        let unit = Unit::Bytes;
        Quantity { name, unit }
    }

    /// Operations per second.
    pub const fn rate(name: &'static str) -> Quantity {
        let unit = Unit::PerSecond;
        Quantity { name, unit }
    }

    /// Bytes per second.
    pub const fn throughput(name: &'static str) -> Quantity {
        let unit = Unit::BytesPerSecond;
        Quantity { name, unit }
    }
}

/// What one turn of one subject gave.
#[derive(Default)]
pub struct Round(Vec<(Quantity, Histogram<u64>)>);

impl Round {
    /// Adds a sample.
    pub fn record(&mut self, quantity: Quantity, value: u64) {
        self.of(quantity).record(value).expect("histograms grow");
    }

    /// Adds a number of operations done in some time, as a rate.
    pub fn record_rate(&mut self, quantity: Quantity, amount: u64, ns: u64) {
        let rate = amount as f64 * 1e9 / ns.max(1) as f64;
        self.record(quantity, rate as u64);
    }

    /// What was recorded.
    pub fn into_samples(self) -> Vec<(Quantity, Histogram<u64>)> {
        self.0
    }

    fn of(&mut self, quantity: Quantity) -> &mut Histogram<u64> {
        let at = match self.0.iter().position(|(known, _)| *known == quantity) {
            Some(at) => at,
            None => {
                self.0.push((quantity, crate::report_lines::histogram()));
                self.0.len() - 1
            }
        };
        &mut self.0[at].1
    }
}

/// All rounds of one subject in one quantity.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Figures {
    /// Samples.
    pub samples: u64,
    /// Half of the samples are better.
    pub median: f64,
    /// 95 % of the samples are at least as good.
    pub p95: f64,
    /// 99 % of the samples are at least as good.
    pub p99: f64,
    /// The medians of the rounds, in order of time.
    pub rounds: Vec<f64>,
    /// Highest less lowest of the rounds' medians, for each unit of `median`.
    pub spread: f64,
}

impl Figures {
    /// Of all rounds that have samples.
    pub fn of(unit: Unit, rounds: &[Histogram<u64>]) -> Figures {
        let mut all = crate::report_lines::histogram();
        for round in rounds {
            all.add(round).expect("histograms grow");
        }
        let at = |quantile: f64| {
            let quantile = if unit.more_is_better() {
                // Less what rounding adds, which would be the next sample.
                1.0 - quantile - 1e-9
            } else {
                quantile
            };
            all.value_at_quantile(quantile) as f64
        };
        let rounds: Vec<f64> = rounds
            .iter()
            .map(|round| round.value_at_quantile(0.5) as f64)
            .collect();
        let lowest = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = rounds.iter().copied().fold(0.0, f64::max);
        let median = at(0.5);
        Figures {
            samples: all.len(),
            median,
            p95: at(0.95),
            p99: at(0.99),
            spread: (highest - lowest) / median.max(1.0),
            rounds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = crate::report_lines::histogram();
        for value in values {
            histogram.record(value).expect("in range");
        }
        histogram
    }

    /// Goal: tails are on the side that hurts. Method: the same hundred numbers as times and as rates.
    #[test]
    fn tails_are_on_the_bad_side() {
        let rounds = [of(1..=50), of(51..=100)];
        let times = Figures::of(Unit::Nanoseconds, &rounds);
        let rates = Figures::of(Unit::PerSecond, &rounds);
        assert_eq!((times.p95, times.p99, times.samples), (95.0, 99.0, 100));
        assert_eq!((rates.p95, rates.p99), (5.0, 1.0));
        assert_eq!(times.rounds, [25.0, 75.0]);
        assert_eq!(times.spread, 50.0 / times.median);
    }

    /// Goal: numbers are shown in a unit that fits. Method: both sides of the limits.
    #[test]
    fn numbers_are_shown_in_a_unit_that_fits() {
        assert_eq!(Unit::Nanoseconds.show(999.0), "999 ns");
        assert_eq!(Unit::Nanoseconds.show(1_500.0), "1.50 us");
        assert_eq!(Unit::Bytes.show(0.0), "0.00 B");
        assert_eq!(Unit::Bytes.show(1048576.0), "1.00 MiB");
        assert_eq!(Unit::BytesPerSecond.show(2.5 * 1073741824.0), "2.50 GiB/s");
        assert_eq!(Unit::PerSecond.show(69_000.0), "69.0 k/s");
    }
}
