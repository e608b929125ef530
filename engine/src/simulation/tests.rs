//! The simulation itself: that it runs, that it is deterministic, that it finds what is wrong.

use super::*;
#[cfg(feature = "canaries")]
use crate::canary::{self, Canary};

/// Goal: P1, P2, P4, P8, P9. Method: the first seeds; `cargo run --release --bin simulate` runs more.
#[test]
fn the_first_seeds_find_nothing() {
    for seed in 0..60 {
        let outcome = run_seed(seed);
        assert!(
            outcome.violation.is_none(),
            "seed {seed}: {:?}; cargo run --release --bin simulate -- --seed {seed}",
            outcome.violation
        );
    }
}

/// Goal: a seed is the whole truth about its run. Method: seeds twice, on threads with different
/// histories; commands, their times, and every byte of the devices are the same.
#[test]
fn a_seed_always_does_the_same() {
    for seed in 0..25 {
        let outcome = run_watching(&draw(seed), true);
        let again = std::thread::scope(|scope| {
            let again = scope.spawn(|| run_watching(&draw(seed), true));
            again.join().expect("panics of a run are caught")
        });
        assert_eq!(outcome.fingerprint, again.fingerprint, "seed {seed}");
        assert_eq!(outcome.tally, again.tally, "seed {seed}");
    }
}

/// Goal: P1, P3: no crash of a short workload loses what was acknowledged. Method: every workload of one operation, every
/// crash, every subset of the last writes, and every crash of the recovery; `simulate --exhaustive` does those of three.
#[test]
fn short_workloads_survive_every_crash() {
    let base = exhaustive::Base::new(true).expect("a store with one branch");
    let mut exhausted = exhaustive::Exhausted::default();
    for workload in exhaustive::workloads(1) {
        base.exhaust(&workload, &mut exhausted);
    }
    assert_eq!(exhausted.violation, None);
    assert!(exhausted.survivors > exhausted.crashes && exhausted.crashes > exhausted.workloads);
    assert!(exhausted.recoveries > exhausted.survivors);
}

/// Goal: the simulation finds what it is there for. Method: each planted bug lives on its own, and some of the first
/// seeds must fail; with none they pass (`the_first_seeds_find_nothing`).
#[cfg(feature = "canaries")]
#[test]
fn planted_bugs_are_found() {
    for (planted, seeds) in PLANTED {
        canary::release(Some(planted));
        let found = (0..seeds).find(|seed| run_seed(*seed).violation.is_some());
        canary::release(None);
        assert!(
            found.is_some(),
            "{} is not found by {seeds} seeds",
            planted.name()
        );
    }
}

/// Planted bugs, and how many seeds may pass before one fails: several times what it takes.
#[cfg(feature = "canaries")]
const PLANTED: [(Canary, u64); 11] = [
    (Canary::SkippedChecksum, 150),
    (Canary::EarlyAcknowledgement, 50),
    (Canary::TornReplay, 50),
    (Canary::SkippedGap, 1500),
    (Canary::ForgottenIncarnation, 200),
    (Canary::DroppedDependency, 400),
    (Canary::LostBarrier, 3000),
    (Canary::EarlyReuse, 5000),
    (Canary::IgnoredFailure, 50),
    (Canary::MissedRewrite, 1500),
    (Canary::ForgottenDeadSets, 500),
];
