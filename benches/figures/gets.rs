//! Random 4 KiB gets, 32 in flight, cache off, beside fio on the same file.

use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hdrhistogram::Histogram;
use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{Extent, Key, Store};

use crate::report;
use crate::sandbox::{Sandbox, content};

const CONTENTS: u64 = 100_000;
const BYTES: usize = 4096;
const DEPTH: usize = 32;
const SECONDS: u64 = 1;
const ROUNDS: u64 = 9;

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
                    let key = Key {
                        domain: Domain(0),
                        kind: Kind::Data,
                        id: hash::content_id(&bytes),
                    };
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
    let keys: Arc<[Key]> = keys.into();
    for round in 0..ROUNDS {
        let (rate, times) = gets(&store, &keys, round);
        report::row("one get, 32 in flight", &times);
        let Some(fio) = fio(&sandbox.path("gets.helios")) else {
            println!("  {rate:.0} gets/s; fio is not installed, so there is no ceiling");
            continue;
        };
        println!(
            "  {rate:.0} gets/s, fio {fio:.0} reads/s: {:.0} %",
            100.0 * rate / fio
        );
        ratios.push(100.0 * rate / fio);
    }
    ratios.sort_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        println!("  median of the runs: {median:.0} % of fio");
    }
    store.close().expect("a clean close");
}

/// Gets per second of 32 clients that live on the reactor, and how long each get took.
fn gets(store: &Store, keys: &Arc<[Key]>, round: u64) -> (f64, Histogram<u64>) {
    let (sender, receiver) = mpsc::channel();
    {
        for client in 0..DEPTH as u64 {
            let (store, keys, sender) = (store.clone(), keys.clone(), sender.clone());
            let handle = store.runtime().handles()[0].clone();
            handle.spawn(move |local| async move {
                let mut times = report::histogram();
                let end = local.clock().now().after(Duration::from_secs(SECONDS));
                let mut state = 0x1234_5678_9abc_def1u64 + round * 1000 + client * 7;
                loop {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let start = local.clock().now();
                    if start >= end {
                        break;
                    }
                    store
                        .get(keys[(state % keys.len() as u64) as usize])
                        .await
                        .expect("a get");
                    times.record(local.clock().now().0 - start.0).expect("in range");
                }
                sender.send(times).expect("somebody waits");
            });
        }
    }
    drop(sender);
    let mut all = report::histogram();
    for times in receiver {
        all.add(times).expect("equal histograms");
    }
    (all.len() as f64 / SECONDS as f64, all)
}

/// Reads per second of fio over the part of the file that holds the contents.
fn fio(path: &std::path::Path) -> Option<f64> {
    let output = Command::new("fio")
        .args([
            "--name=ceiling",
            "--ioengine=io_uring",
            "--direct=1",
            "--rw=randread",
            "--bs=4k",
            "--iodepth=32",
        ])
        .args([
            "--readonly",
            "--time_based",
            "--registerfiles",
            "--fixedbufs",
            "--offset=2m",
            "--size=400m",
        ])
        .args([
            format!("--runtime={SECONDS}"),
            "--output-format=terse".into(),
            "--terse-version=3".into(),
        ])
        .arg(format!("--filename={}", path.display()))
        .output()
        .ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    line.lines()
        .find(|line| line.starts_with("3;"))?
        .split(';')
        .nth(7)?
        .parse()
        .ok()
}
