//! What the index costs: bytes per extent at every size, and (by hand, in release) time.
//!
//! `cargo test --release -p helios-engine index::memory_tests -- --ignored --nocapture --test-threads 1` prints the
//! figures of `ARCHITECTURE.md`.

use std::hint::black_box;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::model_tests::{key, secret, widths};
use super::*;
use crate::format::SegmentId;

/// The promise of the README, in bytes per extent.
const ENTRY_BYTES_MAX: u64 = 25;

fn slot(number: u64) -> Slot {
    Slot::Stored {
        segment: SegmentId((number >> 14) as u32),
        offset: (number as u32 & 0x3fff) << 12,
        stored_len: 4096,
    }
}

/// Inserts `from..to`; the keys are distinct.
fn fill(index: &Index, secret: &Secret, from: u64, to: u64) {
    for number in from..to {
        assert_eq!(index.insert_if_absent(&key(secret, number), slot(number)), Ok(()));
    }
}

fn check_memory(index: &Index) -> f64 {
    let (count, bytes) = (index.len(), index.memory_bytes());
    assert!(
        bytes <= ENTRY_BYTES_MAX * count,
        "{bytes} bytes for {count} extents"
    );
    assert!(
        bytes <= memory_for(count, widths()),
        "memory_for({count}) says {}",
        memory_for(count, widths())
    );
    bytes as f64 / count as f64
}

/// Goal: at most 25 bytes per extent from 1 M on, not on average. Method: check after every 2 % of growth over more
/// than one doubling, so that every phase of splitting is met (phases repeat with each doubling).
#[test]
fn memory_stays_bounded_through_a_doubling() {
    let (index, secret) = (Index::new(widths()), secret());
    let (mut count, mut worst) = (1_000_000, 0f64);
    fill(&index, &secret, 0, count);
    while count < 2_100_000 {
        worst = worst.max(check_memory(&index));
        let next = count + count / 50;
        fill(&index, &secret, count, next);
        count = next;
    }
    println!("worst {worst:.2} bytes per extent between 1 M and {count}");
}

/// Goal: removal gives memory back for reuse, and the bound holds for entries that come and go. Method: replace the
/// whole population three times; memory grows by no more than the spread of occupancies.
#[test]
fn memory_is_reused_when_entries_come_and_go() {
    let (index, secret) = (Index::new(widths()), secret());
    let count = 300_000;
    fill(&index, &secret, 0, count);
    let before = index.memory_bytes();
    for number in 0..3 * count {
        assert!(index.remove_if(&key(&secret, number), slot(number)));
        fill(&index, &secret, number + count, number + count + 1);
    }
    let after = index.memory_bytes();
    assert_eq!(index.len(), count);
    assert!(after < before + before / 4, "{before} bytes became {after}");
    for number in 3 * count..4 * count {
        assert!(index.remove_if(&key(&secret, number), slot(number)));
    }
    assert!(index.is_empty());
    fill(&index, &secret, 0, count);
    assert!(
        index.memory_bytes() <= after + after / 10,
        "{after} bytes were not enough again"
    );
}

/// Resident memory of the process, in bytes.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|field| field.parse().ok())
        .expect("statm has fields");
    pages * 4096
}

/// Nanoseconds per operation of `work`, which does `count`.
#[allow(clippy::disallowed_methods, reason = "a measurement of real time")]
fn timed(count: u64, work: impl FnOnce()) -> f64 {
    let start = std::time::Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / count as f64
}

/// The figures of several runs of `work`, which does `count`: on a machine shared with others the least says what
/// the code costs, the median what it was like.
struct Runs(Vec<f64>);

impl Runs {
    fn of(count: u64, mut work: impl FnMut()) -> Runs {
        let mut runs: Vec<f64> = (0..9).map(|_| timed(count, &mut work)).collect();
        runs.sort_by(f64::total_cmp);
        Runs(runs)
    }
}

impl std::fmt::Display for Runs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} ns (median {:.0})", self.0[0], self.0[self.0.len() / 2])
    }
}

/// Nanoseconds to read one random cache line out of `bytes`, many at once: what a look-up cannot beat, per line.
fn line_read(bytes: usize, probes: u64) -> Runs {
    let mut map = memmap2::MmapOptions::new().len(bytes).map_anon().expect("memory");
    let _ = map.advise(memmap2::Advice::HugePage);
    map.fill(1);
    let mut rng = SmallRng::seed_from_u64(2);
    let places: Vec<u32> = (0..probes)
        .map(|_| rng.random_range(0..bytes as u64 / 64) as u32)
        .collect();
    Runs::of(probes, || {
        let sum: u64 = places
            .iter()
            .map(|place| u64::from(map[*place as usize * 64]))
            .sum();
        black_box(sum);
    })
}

fn figures(millions: u64) {
    const PROBES: u64 = 2_000_000;
    const BATCH: usize = 256;
    let count = millions * 1_000_000;
    let before = resident_bytes();
    let (index, secret) = (Index::new(widths()), secret());
    let insert = timed(count, || fill(&index, &secret, 0, count));
    let bytes = check_memory(&index);
    let resident = (resident_bytes() - before) as f64 / count as f64;
    println!(
        "{millions} M: {} to read one random line",
        line_read(index.memory_bytes() as usize, PROBES)
    );
    // Keys are drawn and hashed outside the clock.
    let mut rng = SmallRng::seed_from_u64(1);
    let hits: Vec<IndexKey> = (0..PROBES)
        .map(|_| key(&secret, rng.random_range(0..count)))
        .collect();
    let misses: Vec<IndexKey> = (0..PROBES)
        .map(|_| key(&secret, count + rng.random_range(0..count)))
        .collect();
    let mut slots = Vec::with_capacity(BATCH);
    for (what, keys) in [("hit", &hits), ("miss", &misses)] {
        let single = Runs::of(PROBES, || {
            keys.iter().for_each(|key| _ = black_box(index.get(key)))
        });
        let batched = Runs::of(PROBES, || {
            for keys in keys.chunks(BATCH) {
                index.get_many(keys, &mut slots);
                black_box(&slots);
            }
        });
        println!("{millions} M, {what}: single {single}, batched by {BATCH} {batched}");
    }
    let replace = Runs::of(PROBES, || {
        for key in &hits {
            black_box(index.upsert(key, slot(7)));
        }
    });
    let mut fresh: Vec<IndexKey> = (count..count + 500_000)
        .map(|number| key(&secret, number))
        .collect();
    let put = timed(fresh.len() as u64, || {
        for keys in fresh.chunks(50) {
            index.get_many(keys, &mut slots);
            for key in keys {
                let _ = black_box(index.insert_if_absent(key, slot(8)));
            }
        }
    });
    fresh.clear();
    let naming = Runs::of(PROBES, || {
        (0..PROBES).for_each(|number| _ = black_box(key(&secret, number)))
    });
    println!(
        "{millions} M: {bytes:.2} bytes per extent counted, {resident:.2} resident; insert {insert:.0} ns (key \
         included), replace {replace}, probe and insert {put:.0} ns, key {naming}; {:?}",
        index.work()
    );
    assert!(
        resident <= ENTRY_BYTES_MAX as f64,
        "{resident} bytes per extent are resident"
    );
}

/// Goal: the figures at 1 M and 10 M. Method: fill, then time look-ups of random keys; memory is asserted.
#[test]
#[ignore = "takes a minute in release"]
fn figures_at_one_and_ten_million() {
    figures(1);
    figures(10);
}

/// Goal: the figures at 50 M (1 GB). Method: as above.
#[test]
#[ignore = "needs 1 GB and minutes in release"]
fn figures_at_fifty_million() {
    figures(50);
}

/// Goal: an index made for what it will hold keeps the bound, and splits few buckets. Method: sizes through one
/// doubling, against an index that grows.
#[test]
fn an_index_made_to_measure_splits_little() {
    let secret = secret();
    for count in [1_000_000, 1_120_000, 1_500_000, 1_750_000] {
        let (made, grown) = (Index::with_room(widths(), count), Index::new(widths()));
        fill(&made, &secret, 0, count);
        fill(&grown, &secret, 0, count);
        check_memory(&made);
        let (made, grown) = (made.work().splits, grown.work().splits);
        assert!(made * 2 < grown, "{count}: {made} splits instead of {grown}");
    }
}
