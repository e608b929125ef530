//! An agent's step: 50 of 2,000 files of 4 KiB written and committed, until the commit is visible.
//!
//! The timer runs over writes and commit. Steps come at half the rate at which such commits become durable, which is measured
//! first, so that none of them waits for memory. Beside each of them the same bytes are hashed, which is what a commit cannot
//! do without.

use std::time::Duration;

use helios_engine::hash;
use helios_engine::ops::Failure;
use serde_json::json;

use super::report::{Goal, Row};
use super::run::Run;
use crate::workloads::samples::{Samples, Summary};
use crate::workloads::steps::{edits, step, tree};

pub const GOALS: [Goal; 1] = [Goal {
    name: "visible commit",
    goal: "50 of 2,000 files, P95 < 70 us",
}];

const P95_US_MAX: f64 = 70.0;
const EDITS: u64 = 50;
const STORE_BYTES: u64 = 8 << 30;
const CACHE_BYTES: u64 = 64 << 20;

pub fn measure(run: &Run) -> Result<Vec<Row>, Failure> {
    let store = run.store("commits.helios", STORE_BYTES, CACHE_BYTES)?;
    let mut tree = store.block_on(tree(&store, "main"))?;
    let mut seed = 0;
    let mut durable = Samples::default();
    for _ in 0..run.sized(100, 10) {
        run.step(0.0)?;
        let edits = edits(EDITS, &mut seed);
        let (ns, done) = run.time(|| store.block_on(step(&mut tree, &edits, true)));
        done?;
        durable.record(ns);
    }
    let durable = summary(&durable)?;
    let pause = Duration::from_secs_f64(durable.median_us * 2.0 / 1e6);
    let (rounds, warm_up) = (run.sized(2000, 50), run.sized(200, 10));
    let (mut visible, mut hashed) = (Samples::default(), Samples::default());
    let waits = store.stats().pending_waits;
    for round in 0..warm_up + rounds {
        run.step(round as f64 / (warm_up + rounds) as f64)?;
        let edits = edits(EDITS, &mut seed);
        let contents: Vec<&[u8]> = edits.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let (hash_ns, _) = run.time(|| std::hint::black_box(hash::content_ids(&contents)));
        let (ns, done) = run.time(|| store.block_on(step(&mut tree, &edits, false)));
        done?;
        if round >= warm_up {
            visible.record(ns);
            hashed.record(hash_ns);
        }
        run.pause(pause);
    }
    let waits = store.stats().pending_waits - waits;
    drop(tree);
    store.close()?;
    let (visible, hashed) = (summary(&visible)?, summary(&hashed)?);
    Ok(vec![GOALS[0].row(
        visible.p95_us < P95_US_MAX,
        format!("{:.1} us", visible.p95_us),
        format!(
            "median {:.1} us; BLAKE3 of the same bytes P95 {:.1} us",
            visible.median_us, hashed.p95_us
        ),
        json!({
            "visible": visible,
            "blake3_of_the_same_bytes": hashed,
            "durable": durable,
            "pause_us": pause.as_secs_f64() * 1e6,
            "waited_for_memory": waits,
        }),
    )])
}

/// What samples say, of which there are some.
pub fn summary(samples: &Samples) -> Result<Summary, Failure> {
    let nothing = || Failure::new(helios_engine::ops::Class::Failed, "nothing was measured");
    samples.summary().ok_or_else(nothing)
}
