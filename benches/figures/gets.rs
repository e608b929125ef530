//! Random 4 KiB gets, 32 in flight, cache off, beside fio on the same file.

use std::process::Command;

use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{Extent, Key};

use crate::report;
use crate::sandbox::{Sandbox, content, time};

const CONTENTS: u64 = 100_000;
const BYTES: usize = 4096;
const DEPTH: usize = 32;
const SECONDS: u64 = 3;

/// Runs the section.
pub fn run() {
    report::heading(
        "gets: how close do random 4 KiB gets come to the device?",
        "fio, io_uring, O_DIRECT, random 4 KiB reads at depth 32 in the same file (needs fio)",
        "at least 85 %",
    );
    let sandbox = Sandbox::new();
    let store = sandbox.store("gets.helios", 2 << 30, 1, 0);
    let keys: Vec<Key> = (0..CONTENTS / 64)
        .flat_map(|group| {
            let extents: Vec<Extent> = (0..64)
                .map(|number| {
                    let bytes = bytes::Bytes::from(content(group * 64 + number, BYTES));
                    let key = Key { domain: Domain(0), kind: Kind::Data, id: hash::content_id(&bytes) };
                    Extent { key, bytes }
                })
                .collect();
            let keys: Vec<Key> = extents.iter().map(|extent| extent.key).collect();
            store.block_on(async {
                let mut batch = store.batch();
                batch.put(extents).await.expect("room");
                batch.submit().await.expect("room");
            });
            keys
        })
        .collect();
    store.block_on(store.flush()).expect("durable");
    let mut ratios = Vec::new();
    for round in 0..3u64 {
        let mut state = 0x1234_5678_9abc_def1u64 + round;
        let mut done = 0u64;
        let mut times = report::histogram();
        let mut total = 0;
        while total < SECONDS * 1_000_000_000 {
            let wanted: Vec<Key> = (0..DEPTH)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    keys[(state % keys.len() as u64) as usize]
                })
                .collect();
            let (taken, answers) = time(|| store.block_on(store.get_many(&wanted)));
            assert!(answers.iter().all(Result::is_ok), "a get failed");
            times.record(taken).expect("in range");
            total += taken;
            done += DEPTH as u64;
        }
        let rate = done as f64 * 1e9 / total as f64;
        report::row("32 gets of 4 KiB in one call", &times);
        let Some(fio) = fio(&sandbox.path("gets.helios")) else {
            println!("  {rate:.0} gets/s; fio is not installed, so there is no ceiling");
            continue;
        };
        println!("  {rate:.0} gets/s, fio {fio:.0} reads/s: {:.0} %", 100.0 * rate / fio);
        ratios.push(100.0 * rate / fio);
    }
    ratios.sort_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        println!("  median of the runs: {median:.0} % of fio");
    }
    store.close().expect("a clean close");
}

/// Reads per second of fio over the part of the file that holds the contents.
fn fio(path: &std::path::Path) -> Option<f64> {
    let output = Command::new("fio")
        .args(["--name=ceiling", "--ioengine=io_uring", "--direct=1", "--rw=randread", "--bs=4k", "--iodepth=32"])
        .args(["--readonly", "--time_based", "--registerfiles", "--fixedbufs", "--offset=2m", "--size=400m"])
        .args([format!("--runtime={SECONDS}"), "--output-format=terse".into(), "--terse-version=3".into()])
        .arg(format!("--filename={}", path.display()))
        .output()
        .ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    line.lines().find(|line| line.starts_with("3;"))?.split(';').nth(7)?.parse().ok()
}
