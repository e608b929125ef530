//! Memory and time of opening against the number of extents.

use crate::many::{DESCRIPTOR_BYTES, fill, raw_read};
use crate::report;
use crate::sandbox::{Sandbox, open, time};

const ROUNDS: usize = 3;

/// Runs the section; `HELIOS_EXTENTS` says how many extents, in growing order (1000000,10000000,50000000).
pub fn run() {
    let asked = std::env::var("HELIOS_EXTENTS").unwrap_or_else(|_| "1000000,10000000,50000000".to_owned());
    let counts: Vec<u64> = asked
        .split(',')
        .map(|count| count.trim().parse().expect("numbers"))
        .collect();
    report::heading(
        "extents: what do extents cost in memory, and when a store that was closed is opened?",
        "reading as many bytes as their descriptors have, directly, 1 MiB at a time",
        "at most 40 bytes each at every size; opening in proportion to them",
    );
    println!("   extents  index B each  resident B each    open ms  raw read ms");
    let sandbox = Sandbox::new();
    let path = sandbox.path("extents.helios");
    let bytes = counts.iter().max().map_or(0, |most| most * 512).max(16 << 30);
    let mut store = sandbox.store("extents.helios", bytes, 2, 0);
    let mut have = 0;
    for count in counts {
        fill(&store, have, count.max(have));
        have = have.max(count);
        for _ in 0..ROUNDS {
            store.close().expect("a clean close");
            let before = resident_bytes();
            let raw = raw_read(&path, have * DESCRIPTOR_BYTES);
            let (took, opened) = time(|| open(&path, 2, 0));
            let stats = opened.stats();
            println!(
                "{have:>10} {:>13.1} {:>16.1} {:>10.1} {:>12.1}",
                stats.index_bytes as f64 / stats.index_entries as f64,
                resident_bytes().saturating_sub(before) as f64 / stats.index_entries as f64,
                took as f64 / 1e6,
                raw as f64 / 1e6
            );
            store = opened;
        }
    }
    store.close().expect("a clean close");
}

/// Memory of this process that is in use.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a file of Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
}
