//! Opening after a crash: how long, and what it depends on.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{Extent, Key, Store};

use crate::report;
use crate::sandbox::{Sandbox, open, time};

/// Bytes of each content: small, so that descriptors are what counts.
const LEN: usize = 64;
/// Contents hashed and put together.
const AT_ONCE: u64 = 4096;
/// Bytes that a descriptor takes in a footer.
const DESCRIPTOR_BYTES: u64 = 64;

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

/// Puts the contents with these numbers.
fn fill(store: &Store, from: u64, to: u64) {
    let mut at = from;
    while at < to {
        let end = (at + AT_ONCE).min(to);
        let contents: Vec<Bytes> = (at..end).map(small).collect();
        let ids = hash::content_ids(&contents.iter().map(|bytes| &bytes[..]).collect::<Vec<_>>());
        let extents = ids.into_iter().zip(contents).map(|(id, bytes)| Extent {
            key: Key {
                domain: Domain(0),
                kind: Kind::Data,
                id,
            },
            bytes,
        });
        let extents: Vec<Extent> = extents.collect();
        store.block_on(async {
            let mut batch = store.batch();
            batch.put(extents).await.expect("room");
            batch.submit().await.expect("room");
        });
        at = end;
    }
}

fn small(number: u64) -> Bytes {
    let mut bytes = vec![7; LEN];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Bytes::from(bytes)
}

/// Time of reading that many bytes of a file past the page cache.
fn raw_read(path: &Path, bytes: u64) -> u64 {
    #[repr(align(4096))]
    struct Aligned([u8; 1 << 20]);
    let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("a flag");
    let mut file = File::options()
        .read(true)
        .custom_flags(direct)
        .open(path)
        .expect("the store");
    let mut block = Box::new(Aligned([0; 1 << 20]));
    let (took, ()) = time(|| {
        let mut left = bytes;
        while left > 0 {
            let read = file.read(&mut block.0).expect("readable") as u64;
            assert!(read > 0, "the store is shorter than what it holds");
            left = left.saturating_sub(read);
        }
    });
    took
}
