//! What polling costs: processor time and latency with reactors that sleep and with reactors that never do.

use std::time::Duration;

use helios_engine::reactor::Polling;

use crate::load::{Outcome, closed, paced};
use crate::report;
use crate::subject::Subject;

const SECONDS: u64 = 1;
const ROUNDS: u64 = 7;
const DEPTH: usize = 32;
/// Part of the peak rate that is light load.
const LIGHT: f64 = 0.1;
const MODES: [(Polling, &str); 2] = [(Polling::Busy, "busy"), (Polling::Adaptive, "adaptive")];

/// Runs the section.
pub fn run(subject: &Subject) {
    report::heading(
        &format!("power: what does polling {} cost?", subject.address),
        "the same reactor that never sleeps, interleaved; gets of 4 KiB without a cache",
        "adaptive: at most half the processor time at 10 % load, at most 15 % more median latency at peak",
    );
    let mut peak = Comparison::default();
    let mut light = Comparison::default();
    for round in 0..ROUNDS {
        let mut rate = 0.0;
        for (mode, (polling, _)) in MODES.into_iter().enumerate() {
            let store = subject.open(polling);
            let outcome = closed(subject, &store, DEPTH, SECONDS, round);
            // Both get the same light load.
            if mode == 0 {
                rate = outcome.rate * LIGHT;
            }
            peak.add(mode, &outcome);
            light.add(mode, &paced(subject, &store, rate, SECONDS, round));
            store.close().expect("a clean close");
        }
    }
    peak.report(&format!("peak, {DEPTH} in flight"));
    light.report("10 % of peak");
}

#[derive(Default)]
struct Comparison([Vec<Measured>; 2]);

struct Measured {
    cpu: Duration,
    median: u64,
    p95: u64,
    rate: f64,
}

impl Comparison {
    fn add(&mut self, mode: usize, outcome: &Outcome) {
        self.0[mode].push(Measured {
            cpu: outcome.cpu_per_get,
            median: outcome.times.value_at_quantile(0.5),
            p95: outcome.times.value_at_quantile(0.95),
            rate: outcome.rate,
        });
    }

    fn report(&self, load: &str) {
        for ((_, name), runs) in MODES.iter().zip(&self.0) {
            let median =
                |of: fn(&Measured) -> f64| report::median(&mut runs.iter().map(of).collect::<Vec<_>>());
            println!(
                "  {load}, {name}: {:.0} gets/s, {:.2} CPU-seconds per million, median {:.1} us, P95 {:.1} us",
                median(|run| run.rate),
                median(|run| run.cpu.as_secs_f64() * 1e6),
                median(|run| run.median as f64 / 1000.0),
                median(|run| run.p95 as f64 / 1000.0),
            );
        }
        let ratios = |of: fn(&Measured) -> f64| -> Vec<f64> {
            let [busy, adaptive] = &self.0;
            busy.iter()
                .zip(adaptive)
                .map(|(busy, adaptive)| of(adaptive) / of(busy))
                .collect()
        };
        report::spread(
            "adaptive / busy, processor time",
            &mut ratios(|run| run.cpu.as_secs_f64()),
        );
        report::spread(
            "adaptive / busy, median latency",
            &mut ratios(|run| run.median as f64),
        );
        report::spread("adaptive / busy, P95 latency", &mut ratios(|run| run.p95 as f64));
    }
}
