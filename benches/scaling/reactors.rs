//! Throughput against reactors, commands in flight, and threads.

use std::time::Duration;

use helios::workloads::put;
use helios_engine::store::{Key, Store};

use crate::load::{BYTES, Work, rate};
use crate::report;
use crate::sandbox::{Sandbox, open, time};

const CONTENTS: u64 = 50_000;
const STORE_BYTES: u64 = 8 << 30;
const TIME: Duration = Duration::from_millis(500);
const ROUNDS: u64 = 5;
/// In flight where something else varies.
const DEPTH: u64 = 32;
const DEPTHS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
const CACHED: u64 = 1000;
const CACHED_GETS: u64 = 200_000;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A store with contents, closed.
fn filled(sandbox: &Sandbox, name: &str) -> Vec<Key> {
    let store = sandbox.store(name, STORE_BYTES, 1, 0);
    let keys = store.block_on(put(&store, 0..CONTENTS, BYTES)).expect("room");
    store.block_on(store.flush()).expect("durable");
    store.close().expect("a clean close");
    keys
}

/// Rates of gets and of durable puts for each setting, in turns; a setting opens the store with so many reactors.
fn compare(name: &str, settings: &[(usize, u64)], label: impl Fn(usize, u64) -> String) {
    let sandbox = Sandbox::new();
    let keys: std::sync::Arc<[Key]> = filled(&sandbox, name).into();
    let mut gets: Vec<Vec<f64>> = vec![Vec::new(); settings.len()];
    let mut puts = gets.clone();
    let mut run = 0;
    for _ in 0..ROUNDS {
        for (place, (reactors, depth)) in settings.iter().enumerate() {
            run += 1;
            let store = open(&sandbox.path(name), *reactors, 0);
            let work = Work::Get(std::sync::Arc::clone(&keys));
            gets[place].push(rate(&store, &work, *depth, TIME) / 1000.0);
            puts[place].push(rate(&store, &Work::Put(run), *depth, TIME) / 1000.0);
            store.close().expect("a clean close");
        }
    }
    for (what, rates) in [("gets", &mut gets), ("durable puts", &mut puts)] {
        let base = report::median(&mut rates[0].clone());
        for ((reactors, depth), rates) in settings.iter().zip(rates.iter_mut()) {
            let ratio = report::median(&mut rates.clone()) / base;
            let label = label(*reactors, *depth);
            report::spread(&format!("{what}, {label}: thousands a second"), rates);
            println!("  {:<48} {ratio:.2}x the first", "");
        }
    }
}

/// Runs the section.
pub fn run() {
    report::heading(
        "reactors: what does another reactor add?",
        "one device and the cores of this machine: clients and reactors share them",
        "gets grow until the device is at its end; durable puts grow less, because one log's frames hold what waits",
    );
    let settings: Vec<(usize, u64)> = (1..=cores()).map(|reactors| (reactors, DEPTH)).collect();
    compare("reactors.helios", &settings, |reactors, depth| {
        format!("{reactors} reactors, {depth} clients each")
    });
}

/// Runs the section.
pub fn depth() {
    report::heading(
        "depth: what do more commands in flight add on one reactor?",
        "the device's own rate at each depth (`cargo bench --bench device`)",
        "gets grow with the depth until the device or the core is at its end; puts share frames and grow beyond it",
    );
    let settings = DEPTHS.map(|depth| (1, depth));
    compare("depth.helios", &settings, |_, depth| format!("{depth} in flight"));
}

/// Runs the section.
pub fn memory() {
    report::heading(
        "memory: what does another thread add where everything is in the cache?",
        "the first thread's rate times the cores",
        "in proportion: readers write no shared line",
    );
    let sandbox = Sandbox::new();
    let store = sandbox.store("memory.helios", 1 << 30, 1, 64 << 20);
    let keys = store.block_on(put(&store, 0..CACHED, BYTES)).expect("room");
    store.block_on(store.flush()).expect("durable");
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); cores()];
    for round in 0..=ROUNDS {
        for threads in 1..=cores() {
            let rate = cached_rate(&store, &keys, threads);
            // The first round fills the cache.
            if round > 0 {
                rates[threads - 1].push(rate);
            }
        }
    }
    store.close().expect("a clean close");
    let base = report::median(&mut rates[0].clone());
    for (before, rates) in rates.iter_mut().enumerate() {
        let ratio = report::median(&mut rates.clone()) / base;
        report::spread(
            &format!("cached gets, {} threads: millions a second", before + 1),
            rates,
        );
        println!("  {:<48} {ratio:.2}x the first", "");
    }
}

/// Millions a second.
fn cached_rate(store: &Store, keys: &[Key], threads: usize) -> f64 {
    let (ns, ()) = time(|| {
        std::thread::scope(|scope| {
            for thread in 0..threads as u64 {
                scope.spawn(move || {
                    store.block_on(async {
                        for number in 0..CACHED_GETS {
                            let drawn = (number + (thread << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
                            let got = store.get(keys[(drawn % CACHED) as usize]).await;
                            std::hint::black_box(got.expect("it was put"));
                        }
                    });
                });
            }
        });
    });
    (threads as u64 * CACHED_GETS) as f64 * 1000.0 / ns as f64
}
