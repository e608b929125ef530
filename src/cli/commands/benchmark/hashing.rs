//! BLAKE3 of one content: its time up to 16 KiB, its rate above, beside the highest rate that this run has seen.
//!
//! Sizes take turns, so that what disturbs the machine disturbs all of them.

use helios_engine::hash;
use helios_engine::ops::Failure;
use serde_json::json;

use super::commits::summary;
use super::report::{Goal, Row};
use super::run::Run;
use crate::workloads::content;
use crate::workloads::samples::{Samples, Summary};

pub const GOALS: [Goal; 2] = [
    Goal {
        name: "hash, small",
        goal: "up to 16 KiB, P95 < 10 us",
    },
    Goal {
        name: "hash, large",
        goal: "above, >= 90 % of the peak rate",
    },
];

const SMALL_P95_US_MAX: f64 = 10.0;
const PART_OF_PEAK_MIN: f64 = 0.9;
const KIB: usize = 1 << 10;
const SMALL: [usize; 4] = [KIB, 4 * KIB, 8 * KIB, 16 * KIB];
/// Up to the longest extent. Longer contents are hashed as their chunks are, and a turn that long is often interrupted.
const LARGE: [usize; 5] = [32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, 1024 * KIB];
/// Small contents hashed in one turn.
const TURN: usize = 20;

pub fn measure(run: &Run) -> Result<Vec<Row>, Failure> {
    let bytes = content(1, LARGE[LARGE.len() - 1]);
    let mut times: Vec<(usize, Samples)> = SMALL
        .into_iter()
        .chain(LARGE)
        .map(|len| (len, Samples::default()))
        .collect();
    let rounds = run.sized(1000, 20);
    for round in 0..rounds {
        run.step(round as f64 / rounds as f64)?;
        for (len, times) in &mut times {
            let turn = if *len <= SMALL[SMALL.len() - 1] { TURN } else { 1 };
            for _ in 0..turn {
                let content = std::hint::black_box(&bytes[..*len]);
                let (ns, id) = run.time(|| hash::content_id(content));
                std::hint::black_box(id);
                times.record(ns);
            }
        }
    }
    let measured: Vec<(usize, Summary)> = times
        .iter()
        .map(|(len, times)| Ok((*len, summary(times)?)))
        .collect::<Result<_, Failure>>()?;
    let (small, large) = measured.split_at(SMALL.len());
    let rate = |(len, times): &(usize, Summary)| *len as f64 / times.median_us / 1000.0;
    let peak = measured.iter().map(rate).fold(0.0, f64::max);
    let slowest = small.iter().map(|(_, times)| times.p95_us).fold(0.0, f64::max);
    let lowest = large.iter().map(rate).fold(f64::INFINITY, f64::min);
    let figures = |of: &[(usize, Summary)]| {
        let figure =
            |sized: &(usize, Summary)| json!({ "bytes": sized.0, "hash": sized.1, "gb_per_s": rate(sized) });
        json!({ "sizes": of.iter().map(figure).collect::<Vec<_>>(), "peak_gb_per_s": peak })
    };
    let medians: Vec<String> = small
        .iter()
        .map(|(len, times)| format!("{} KiB {:.2}", len / KIB, times.median_us))
        .collect();
    Ok(vec![
        GOALS[0].row(
            slowest < SMALL_P95_US_MAX,
            format!("{slowest:.2} us"),
            format!("medians in us: {}", medians.join(", ")),
            figures(small),
        ),
        GOALS[1].row(
            lowest >= PART_OF_PEAK_MIN * peak,
            format!("{:.0} %", 100.0 * lowest / peak),
            format!("lowest {lowest:.2} GB/s, peak {peak:.2} GB/s, by medians"),
            figures(large),
        ),
    ])
}
