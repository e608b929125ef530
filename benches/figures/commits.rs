//! Commits of a sandbox's working tree: 2,000 files in 40 directories, 1 and 50 files of 4 KiB changed per commit.

use std::time::Duration;

use helios_engine::format::Domain;
use helios_engine::hash;
use helios_engine::trees::Trees;

use crate::report;
use crate::sandbox::{Sandbox, time};
use crate::steps::{edits, step, tree};

/// Runs the section.
pub fn run() {
    report::heading(
        "commits: how long is an agent's step (writes and commit) until it is visible?",
        "BLAKE3 of the same bytes as one batch",
        "visible 50 edits P95 < 70 us, 1 edit P95 < 15 us, branch P95 < 2 us (on AVX-512; the hash rate decides)",
    );
    let sandbox = Sandbox::new();
    let store = sandbox.store("commits.helios", 16 << 30, 1, 64 << 20);
    let mut tree = tree(&store);
    let mut seed = 0;
    for (count, name) in [(1u64, "1 edit, visible"), (50, "50 edits, visible")] {
        // Half the rate at which such commits become durable, so that the pending table never fills.
        let mut rate = report::histogram();
        for _ in 0..100 {
            let edits = edits(count, &mut seed);
            rate.record(step(&store, &mut tree, &edits, true))
                .expect("in range");
        }
        let pause = Duration::from_nanos(rate.value_at_quantile(0.5) * 2);
        let (mut visible, mut hashing) = (report::histogram(), report::histogram());
        for round in 0..2200u64 {
            let edits = edits(count, &mut seed);
            let contents: Vec<&[u8]> = edits.iter().map(|(_, bytes)| bytes.as_slice()).collect();
            let (hash_taken, _) = time(|| std::hint::black_box(hash::content_ids(&contents)));
            let taken = step(&store, &mut tree, &edits, false);
            if round >= 200 {
                visible.record(taken).expect("in range");
                hashing.record(hash_taken).expect("in range");
            }
            crate::sandbox::pause(pause);
        }
        report::row(name, &visible);
        report::row("  BLAKE3 of the same bytes, batched", &hashing);
        report::ratio("  commit / BLAKE3", &visible, &hashing);
        let waits = store.stats().pending_waits;
        let mut saturated = report::histogram();
        for _ in 0..2000 {
            let edits = edits(count, &mut seed);
            saturated
                .record(step(&store, &mut tree, &edits, false))
                .expect("in range");
        }
        report::row("  the same without pauses (saturated)", &saturated);
        println!(
            "  {} commits waited for room in the pending table",
            store.stats().pending_waits - waits
        );
        store.block_on(store.flush()).expect("durable");
    }
    let trees = Trees::new(store.clone(), Domain(0));
    let head = tree.base().expect("it has commits");
    for (pause, name) in [
        (0, "branch of the whole tree, visible"),
        (50, "  the same, one every 50 us"),
    ] {
        let mut branch = report::histogram();
        for number in 0..4000u64 {
            let name = format!("agent-{pause}-{number}");
            let (taken, _) = time(|| {
                store
                    .block_on(trees.create_branch(&name, head))
                    .expect("a branch")
            });
            if number >= 200 {
                branch.record(taken).expect("in range");
            }
            crate::sandbox::pause(Duration::from_micros(pause));
        }
        report::row(name, &branch);
    }
    drop(tree);
    store.close().expect("a clean close");
}
