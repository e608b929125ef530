//! Random gets of 4 KiB without a cache, beside the device's own ceiling at the same depth.

use helios_engine::reactor::Polling;

use crate::load::closed;
use crate::report;
use crate::subject::Subject;

const SECONDS: u64 = 1;
const ROUNDS: u64 = 9;

/// Runs the section.
pub fn run(subject: &Subject) {
    report::heading(
        &format!(
            "gets: how close do random 4 KiB gets come to {}?",
            subject.address
        ),
        &format!(
            "{}, random 4 KiB reads at the same depth, interleaved",
            subject.ceiling.name()
        ),
        "at least 85 % at depths 1 and 32",
    );
    for depth in [1, 32] {
        let mut all = report::histogram();
        let mut ratios = Vec::new();
        for round in 0..ROUNDS {
            // The device is the ceiling's alone for its turn.
            let ceiling = subject.ceiling.rate(depth, SECONDS);
            let store = subject.open(Polling::Adaptive);
            let outcome = closed(subject, &store, depth, SECONDS, round);
            store.close().expect("a clean close");
            all.add(&outcome.times).expect("equal histograms");
            let Some(ceiling) = ceiling else { continue };
            println!(
                "  depth {depth:>2}: {:>8.0} gets/s, ceiling {ceiling:>8.0} reads/s",
                outcome.rate
            );
            ratios.push(100.0 * outcome.rate / ceiling);
        }
        report::row(&format!("one get, {depth} in flight"), &all);
        report::spread("of the ceiling, percent", &mut ratios);
    }
}
