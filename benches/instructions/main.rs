//! How many instructions the hot paths take, under callgrind: figures that repeat, on a machine that is never quiet.
//!
//! `scripts/instructions` runs this and compares with [`budget.toml`](budget.toml); `scripts/test` fails by it. Question: has a
//! change made a hot path longer? Ceiling: the budget, which is what was counted when it was last accepted. Prediction: within
//! 3 % of it.
//!
//! Counts repeat because there is no thread, no timer and no chance: a store made from a seed, on the simulated device, under
//! `Runtime::driver`, in virtual time. What is left is the seed that the standard library draws for its hash maps. Valgrind
//! has no AVX-512, so AVX2 is what is counted, and only on a machine that has it. Instructions are not time: a miss of the cache
//! costs one here.
#![allow(missing_docs, reason = "gungraun's macros make public items")]

mod fixture;

#[path = "../../src/workloads/content.rs"]
mod content;
#[path = "../../src/workloads/steps.rs"]
mod steps;

use std::hint::black_box;

use bytes::Bytes;
use fixture::{Frame, Gets, Steps};
use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use helios_engine::format::node::LeafEncoder;
use helios_engine::format::{ContentId, Domain};
use helios_engine::hash;
use helios_engine::store::index::{Index, IndexKey};
use helios_engine::trees::{PendingDirectory, build_many};

#[library_benchmark]
#[bench::of_4_kib(setup = fixture::contents, args = (64, 4096))]
#[bench::of_1_kib(setup = fixture::contents, args = (64, 1024))]
fn hash_64(contents: Vec<Bytes>) -> (Vec<Bytes>, Vec<ContentId>) {
    let ids = hash::content_ids(&contents.iter().map(|bytes| &bytes[..]).collect::<Vec<_>>());
    (contents, ids)
}

#[library_benchmark]
#[bench::hits(setup = fixture::index_and_hits)]
#[bench::misses(setup = fixture::index_and_misses)]
fn probe_64((index, keys): (Index, Vec<IndexKey>)) -> (Index, Vec<IndexKey>, usize) {
    let mut slots = Vec::with_capacity(keys.len());
    index.get_many(black_box(&keys), &mut slots);
    let found = slots.iter().flatten().count();
    (index, keys, found)
}

#[library_benchmark]
#[bench::of_16_entries(setup = fixture::entries, args = (16))]
fn encode_leaf(entries: fixture::Records) -> (fixture::Records, Vec<u8>) {
    let mut leaf = LeafEncoder::default();
    for (name, record) in &entries {
        leaf.push_raw(name, record, &[]);
    }
    let bytes = leaf.finish();
    (entries, bytes)
}

#[library_benchmark]
#[bench::of_500_entries(setup = fixture::directory, args = (500))]
fn build_directory(directory: PendingDirectory) -> (Vec<ContentId>, usize) {
    let mut extents = Vec::new();
    let ids = build_many(Domain(0), vec![directory], &mut extents).expect("sound entries");
    (ids, extents.len())
}

#[library_benchmark]
#[bench::of_64_extents(setup = fixture::queued, args = (64))]
fn write_frame(frame: Frame) -> Frame {
    frame.becomes_durable()
}

#[library_benchmark]
#[bench::of_1_edit(setup = fixture::steps, args = (1))]
#[bench::of_50_edits(setup = fixture::steps, args = (50))]
fn commit_visible(steps: Steps) -> Steps {
    steps.step()
}

#[library_benchmark]
#[bench::of_2000_files(setup = fixture::forks, args = (1))]
fn fork(steps: Steps) -> Steps {
    steps.fork()
}

// What a fork copies of its tree with its first change is counted here.
#[library_benchmark]
#[bench::of_10_edits(setup = fixture::forks, args = (10))]
fn first_commit_of_fork(steps: Steps) -> Steps {
    steps.step_of_fork()
}

#[library_benchmark]
#[bench::from_cache(setup = fixture::cached, args = (64))]
#[bench::from_device(setup = fixture::uncached, args = (64))]
#[bench::from_device_together(setup = fixture::uncached_together, args = (64))]
fn get_64(gets: Gets) -> Gets {
    gets.get()
}

library_benchmark_group!(
    name = paths,
    benchmarks = [
        hash_64,
        probe_64,
        encode_leaf,
        build_directory,
        write_frame,
        commit_visible,
        fork,
        first_commit_of_fork,
        get_64
    ]
);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = paths
);
