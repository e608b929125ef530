//! Opening after a crash: how long, and what it depends on.

use crate::extents::{DESCRIPTOR_BYTES, LEN, fill, raw_read};
use crate::report;
use crate::sandbox::{Sandbox, open, time};

/// Runs the section; `HELIOS_EXTENTS` says how many extents (1,000,000).
pub fn run() {
    let asked = std::env::var("HELIOS_EXTENTS").ok();
    let all: u64 = asked.and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    report::heading(
        "recovery: how long does an opening after a crash take?",
        "reading as many bytes as the footers and the log since the checkpoint have, directly, 1 MiB at a time",
        "linear in the log since the checkpoint and in the extents; below 4 s for 10 million extents",
    );
    println!("   extents  since checkpoint    open ms  frames replayed  raw read ms  share");
    let sandbox = Sandbox::new();
    let path = sandbox.path("recovery.helios");
    let mut store = sandbox.store("recovery.helios", 16 << 30, 2, 0);
    let mut have = 0;
    // A quarter of the extents, then all; each with nothing, some and more to be replayed.
    for extents in [all / 4, all] {
        for since in [0, 50_000, 200_000] {
            fill(&store, have, extents.max(have));
            have = have.max(extents);
            store.block_on(store.checkpoint()).expect("room");
            fill(&store, have, have + since);
            have += since;
            store.block_on(store.flush()).expect("durable");
            let runtime = store.runtime().clone();
            drop(store);
            runtime.shutdown();
            let log_bytes = since * (LEN as u64 + 2 * DESCRIPTOR_BYTES);
            let raw = raw_read(&path, have * DESCRIPTOR_BYTES + log_bytes);
            let (took, opened) = time(|| open(&path, 2, 0));
            println!(
                "{have:>10} {since:>17} {:>10.1} {:>16} {:>12.1} {:>5.0} %",
                took as f64 / 1e6,
                opened.health().replayed_frames,
                raw as f64 / 1e6,
                raw as f64 * 100.0 / took as f64
            );
            store = opened;
        }
    }
    store.close().expect("closed");
}
