//! Where the time of a commit goes. Run with
//! `cargo test --release -p helios-engine hot_path -- --ignored --nocapture`.
//!
//! Question: what does a commit cost besides hashing? Ceiling: hashing the same bytes in the same batches, measured in
//! the same run. The store is the one in memory of the tests, timed apart.
#![allow(clippy::disallowed_methods, reason = "measures real time")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::format::Kind;
use crate::reactor::block_on;
use crate::trees::testing::trees;
use crate::trees::{CommitOptions, FileTime, ids};

const DIRECTORIES: usize = 40;
const FILES: usize = 50;

fn path(number: usize) -> String {
    format!("package-{:02}/module_{:02}.rs", number / FILES, number % FILES)
}

#[derive(Default)]
struct Phases(Vec<(&'static str, Vec<Duration>)>);

impl Phases {
    fn add(&mut self, name: &'static str, took: Duration) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(took),
            None => self.0.push((name, vec![took])),
        }
    }

    fn print(&mut self, title: &str) {
        println!("{title}");
        for (name, all) in &mut self.0 {
            all.sort();
            let at = |percent: usize| all[all.len() * percent / 100].as_nanos() as f64 / 1000.0;
            println!(
                "  {name:24} p10 {:7.2}   p50 {:7.2}   p95 {:7.2} us",
                at(10),
                at(50),
                at(95)
            );
        }
    }
}

async fn planted(trees: &Trees) -> WorkingTree {
    let mut tree = trees.open_new("main", WorkingOptions::default()).unwrap();
    for number in 0..DIRECTORIES * FILES {
        if number % FILES == 0 {
            tree.create_directories(path(number).split('/').next().unwrap())
                .await
                .unwrap();
        }
        tree.write(path(number), path(number)).await.unwrap();
    }
    tree.commit("start").await.unwrap();
    tree
}

/// Memory that the rounds will use, touched and freed again: the store of the tests frees nothing, and fresh pages from
/// the kernel cost more than what is measured here. The last piece stays, so that the heap does not shrink.
fn touched_memory(bytes: usize) -> Vec<u8> {
    let pieces: Vec<Vec<u8>> = (0..bytes / 4096).map(|_| vec![1; 4000]).collect();
    let last = vec![1; 64];
    drop(std::hint::black_box(pieces));
    last
}

fn measure(writes: usize, size: usize, rounds: usize) {
    let trees = trees();
    let mut rng = StdRng::seed_from_u64(7);
    let mut phases = Phases::default();
    let heap = touched_memory(rounds * writes * (size + 4096) + (32 << 20));
    block_on(async {
        let mut tree = planted(&trees).await;
        let paths: Vec<String> = (0..DIRECTORIES * FILES).map(path).collect();
        for round in 0..rounds {
            let mut contents: Vec<Bytes> = Vec::new();
            for _ in 0..writes {
                let mut bytes = vec![0; size];
                rng.fill(&mut bytes[..]);
                contents.push(bytes.into());
            }
            let targets: Vec<&String> = (0..writes)
                .map(|_| &paths[rng.random_range(0..paths.len())])
                .collect();

            let given: Vec<Bytes> = contents.clone();
            let start = Instant::now();
            for (target, bytes) in targets.iter().zip(given) {
                tree.write(target, bytes).await.unwrap();
            }
            let written = start.elapsed();
            phases.add("writes", written);
            if round % 2 == 0 {
                let start = Instant::now();
                let done = tree.commit("step").await.unwrap();
                let committed = start.elapsed();
                drop(done);
                phases.add("commit", committed);
                phases.add("writes + commit", written + committed);
                continue;
            }
            // The commit in parts: planning does not change the tree.
            let planning = Instant::now();
            let plan = tree.plan(Some(FileTime::from_ns(trees.store.now_ns()))).unwrap();
            let planned = planning.elapsed();
            let of_kind = |kind: Kind| plan.extents.iter().filter(move |extent| extent.key.kind == kind);
            let nodes: Vec<&[u8]> = of_kind(Kind::Node).map(|extent| &extent.bytes[..]).collect();
            let slices: Vec<&[u8]> = of_kind(Kind::Data).map(|extent| &extent.bytes[..]).collect();
            let hashing = Instant::now();
            std::hint::black_box(ids::node_ids(&nodes));
            let hash_nodes = hashing.elapsed();
            let hashing = Instant::now();
            std::hint::black_box(ids::content_ids(&slices));
            let hash_contents = hashing.elapsed();
            let mut batch = trees.batch();
            let extents = plan.extents.clone();
            let putting = Instant::now();
            batch.put(extents).await.unwrap();
            let put = putting.elapsed();
            tree.commit("step").await.unwrap();
            phases.add("hash contents, batch", hash_contents);
            phases.add("hash nodes, one batch", hash_nodes);
            phases.add("plan (with hashing)", planned);
            phases.add("plan, net", planned.saturating_sub(hash_contents + hash_nodes));
            phases.add("put, in-memory store", put);
        }
    });
    drop(heap);
    phases.print(&format!(
        "{writes} writes of {size} bytes and a commit, {} files",
        DIRECTORIES * FILES
    ));
}

/// Goal: the cost of a commit of 50 changed files. Method: medians of many rounds, phase by phase.
#[test]
#[ignore = "a measurement, for release builds"]
fn hot_path_of_fifty() {
    measure(50, 4096, 600);
}

/// Goal: the cost of everything but hashing. Method: next to nothing to hash.
#[test]
#[ignore = "a measurement, for release builds"]
fn hot_path_of_fifty_tiny() {
    measure(50, 16, 2_000);
}

/// Goal: the cost of a commit of one changed file. Method: as with fifty.
#[test]
#[ignore = "a measurement, for release builds"]
fn hot_path_of_one() {
    measure(1, 4096, 3_000);
}

/// Goal: waiting for a common operation copies little: its future is copied when it is passed on, each time to memory that
/// has left the caches. Method: sizes of futures that never run, against what they are now and an eighth more.
#[test]
fn futures_stay_small() {
    let trees = trees();
    let mut tree = block_on(planted(&trees));
    let options = CommitOptions::default();
    let write = size_of_val(&tree.write("file", Bytes::new()));
    let commit = size_of_val(&tree.commit_with(&options));
    let fork = size_of_val(&tree.fork("other"));
    for (operation, bytes, now) in [
        ("write", write, 400),
        ("commit", commit, 2080),
        ("fork", fork, 1104),
    ] {
        assert!(bytes <= now + now / 8, "{operation}: {bytes} bytes");
    }
}
