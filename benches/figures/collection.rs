//! Collection: what it does to gets that go on beside it, and how soon the space of deleted branches is back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hdrhistogram::Histogram;
use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{Collected, Key, Store};
use helios_engine::trees::{CommitOptions, ExpectHead, TreeTrace, Trees, WorkingOptions, WorkingTree};

use crate::report;
use crate::sandbox::{Sandbox, content, time};

const DIRECTORIES: u64 = 280;
const BYTES: usize = 4096;
/// Files each branch has of its own.
const EDITS: u64 = 5;
/// Branches made and deleted before each round, so that collecting and cleaning have something to do.
const LITTER: u64 = 20;
const CLIENTS: u64 = 32;
/// Length of one measurement. Short, and many in turns: on a machine with neighbours the tail of any one is theirs.
const WINDOW: Duration = Duration::from_millis(1000);
const ROUNDS: u64 = 21;
const REACTORS: usize = 2;

/// Runs the section; `HELIOS_FILES` (28,000) and `HELIOS_BRANCHES` (850) say how large the tree is.
pub fn run() {
    report::heading(
        "collection: what does it do to gets, and when is the space of deleted branches back?",
        "the same gets without it, in turns; reading the nodes of all trees once",
        "P99 of gets at half load at most 1.10 times as long; 850 deletions and a collection within a second",
    );
    let number = |name: &str, otherwise: u64| {
        let asked = std::env::var(name).ok().and_then(|text| text.parse().ok());
        asked.unwrap_or(otherwise)
    };
    let (files, branches) = (number("HELIOS_FILES", 28_000), number("HELIOS_BRANCHES", 850));
    let sandbox = Sandbox::new();
    let store = sandbox.store("collection.helios", 2 << 30, REACTORS, 0);
    let trees = Trees::new(store.clone(), Domain(0));
    let main = build(&store, &trees, files);
    let mut seed = files;
    let names: Vec<String> = (0..branches).map(|branch| format!("agent-{branch}")).collect();
    for name in &names {
        edited(&store, &main, name, files, &mut seed);
    }
    store.block_on(store.flush()).expect("durable");
    let stats = store.stats();
    println!(
        "  {files} files of {BYTES} bytes, {branches} branches with {EDITS} edits each: {} extents, {} MiB on the device; \
         cache off, hit rate 0",
        stats.index_entries,
        store.space().live_bytes >> 20
    );
    gets_beside(&store, &trees, &main, files, &mut seed);
    deletions(&store, &trees, &names);
    drop(main);
    store.close().expect("a clean close");
}

fn path(number: u64) -> String {
    format!("directory-{:03}/file-{number:05}", number % DIRECTORIES)
}

fn commit(store: &Store, tree: &mut WorkingTree, durable: bool) {
    let options = CommitOptions {
        durable,
        message: "step".into(),
        ..CommitOptions::default()
    };
    store.block_on(tree.commit_with(&options)).expect("a commit");
}

fn build(store: &Store, trees: &Trees, files: u64) -> WorkingTree {
    let mut tree = trees
        .open_new("main", WorkingOptions::default())
        .expect("a new branch");
    store.block_on(async {
        for directory in 0..DIRECTORIES {
            let name = format!("directory-{directory:03}");
            tree.create_directory(name).await.expect("a directory");
        }
        for number in 0..files {
            tree.write(path(number), content(number, BYTES))
                .await
                .expect("a file");
        }
    });
    commit(store, &mut tree, true);
    tree
}

/// A branch with a few files of its own.
fn edited(store: &Store, main: &WorkingTree, name: &str, files: u64, seed: &mut u64) {
    let mut tree = store.block_on(main.fork(name)).expect("a branch");
    for _ in 0..EDITS {
        *seed += 1;
        let which = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % files;
        store
            .block_on(tree.write(path(which), content(*seed + (1 << 32), BYTES)))
            .expect("a file");
    }
    commit(store, &mut tree, false);
}

fn collect(store: &Store) -> Collected {
    store
        .block_on(store.collect(Arc::new(TreeTrace), false))
        .expect("a collection")
}

/// What goes on beside the gets.
const BESIDE: [(&str, bool); 2] = [("collection", false), ("collection and cleaning", true)];

/// Gets at half of the rate the store can do, with collection beside them, with collection and cleaning, and without, in
/// turns.
fn gets_beside(store: &Store, trees: &Trees, main: &WorkingTree, files: u64, seed: &mut u64) {
    let keys: Arc<[Key]> = (0..files)
        .map(|number| Key {
            domain: Domain(0),
            kind: Kind::Data,
            id: hash::content_id(&content(number, BYTES)),
        })
        .collect();
    let peak = (gets(store, &keys, None).len() as f64 / WINDOW.as_secs_f64()) as u64;
    println!("  peak {peak} gets/s with {CLIENTS} at once; half of it from now on");
    let mut alone = Tails::default();
    let mut besides = BESIDE.map(|_| Tails::default());
    let mut meanwhile = BESIDE.map(|_| (0, 0));
    for _ in 0..ROUNDS {
        alone.add(&gets(store, &keys, Some(peak / 2)));
        for (((_, cleans), tails), meanwhile) in BESIDE.into_iter().zip(&mut besides).zip(&mut meanwhile) {
            for _ in 0..LITTER {
                edited(store, main, "litter", files, seed);
                let gone = store.block_on(trees.delete_branch("litter", ExpectHead::Any));
                gone.expect("a branch");
            }
            let (times, collections, moved) = beside(store, cleans, || gets(store, &keys, Some(peak / 2)));
            tails.add(&times);
            meanwhile.0 += collections;
            meanwhile.1 += moved;
        }
    }
    report::row("gets at half load, alone", &alone.all);
    for (((name, _), tails), (collections, moved)) in BESIDE.into_iter().zip(&besides).zip(meanwhile) {
        report::row(&format!("{name} beside"), &tails.all);
        println!("  meanwhile {collections} collections, {} MiB moved", moved >> 20);
        let mut ratios: Vec<f64> = tails
            .p99
            .iter()
            .zip(&alone.p99)
            .map(|(beside, alone)| beside / alone)
            .collect();
        report::spread(&format!("P99 with {name} / alone, by round"), &mut ratios);
        let (beside, alone) = (tails.typical(), alone.typical());
        println!(
            "  median of the P99s of the rounds {:.1} us, alone {:.1} us: {:.2} times as long",
            beside / 1e3,
            alone / 1e3,
            beside / alone
        );
    }
}

/// The times of all rounds, and the P99 of each.
struct Tails {
    all: Histogram<u64>,
    p99: Vec<f64>,
}

impl Default for Tails {
    fn default() -> Tails {
        Tails {
            all: report::histogram(),
            p99: Vec::new(),
        }
    }
}

impl Tails {
    fn add(&mut self, times: &Histogram<u64>) {
        self.p99.push(times.value_at_quantile(0.99) as f64);
        self.all.add(times).expect("equal histograms");
    }

    /// The P99 of most rounds.
    fn typical(&self) -> f64 {
        report::median(&mut self.p99.clone())
    }
}

/// What `work` gives while somebody collects again and again, and cleans if asked to; how often, and the bytes moved.
#[allow(
    clippy::disallowed_methods,
    reason = "whoever collects is a client like any other"
)]
fn beside<T>(store: &Store, cleans: bool, work: impl FnOnce() -> T) -> (T, u64, u64) {
    let ending = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let (mut collections, mut moved) = (0, 0);
            while !ending.load(Ordering::Relaxed) {
                collect(store);
                if cleans {
                    moved += store.block_on(store.clean(2)).expect("cleaned").moved_bytes;
                }
                collections += 1;
            }
            (collections, moved)
        });
        let result = work();
        ending.store(true, Ordering::Relaxed);
        let (collections, moved) = collector.join().expect("a collector");
        (result, collections, moved)
    })
}

/// Times of random gets by clients on all reactors: as fast as they can, or so many in a second. A paced get counts
/// from when it was due, so that one that is late does not hide those behind it.
fn gets(store: &Store, keys: &Arc<[Key]>, a_second: Option<u64>) -> Histogram<u64> {
    let (sender, receiver) = mpsc::channel();
    let interval = a_second.map(|rate| Duration::from_nanos(CLIENTS * 1_000_000_000 / rate.max(1)));
    for client in 0..CLIENTS {
        let (store, keys, sender) = (store.clone(), keys.clone(), sender.clone());
        let handles = store.runtime().handles();
        let handle = handles[client as usize % handles.len()].clone();
        handle.spawn(move |local| async move {
            let mut times = report::histogram();
            let mut state = 0x1234_5678_9abc_def1u64 + client * 7;
            let mut due = local.clock().now();
            let end = due.after(WINDOW);
            if let Some(interval) = interval {
                due = due.after(interval.mul_f64(client as f64 / CLIENTS as f64));
            }
            while due < end {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let early = Duration::from_nanos(due.0.saturating_sub(local.clock().now().0));
                if !early.is_zero() {
                    local.sleep(early).await;
                }
                let key = keys[(state % keys.len() as u64) as usize];
                store.get(key).await.expect("a get");
                let now = local.clock().now();
                times.record(now.0.saturating_sub(due.0)).expect("in range");
                due = interval.map_or(now, |interval| due.after(interval));
            }
            sender.send(times).expect("somebody waits");
        });
    }
    drop(sender);
    let mut all = report::histogram();
    for times in receiver {
        all.add(times).expect("equal histograms");
    }
    all
}

/// Deletes all branches, then collects until their space can be used again.
fn deletions(store: &Store, trees: &Trees, names: &[String]) {
    collect(store);
    let mut times = report::histogram();
    let before = store.space();
    let (all, ()) = time(|| {
        for name in names {
            let (took, gone) = time(|| store.block_on(trees.delete_branch(name, ExpectHead::Any)));
            gone.expect("a branch");
            times.record(took).expect("in range");
        }
        store.block_on(store.flush()).expect("durable");
    });
    report::row("deleting a branch", &times);
    let (collecting, collected) = time(|| collect(store));
    let between = store.space();
    let dead = between.sealed_bytes.saturating_sub(between.live_bytes) / between.segment_bytes;
    let (cleaning, cleaned) = time(|| store.block_on(store.clean(dead)).expect("cleaned"));
    let after = store.space();
    let ms = |ns: u64| ns as f64 / 1e6;
    println!(
        "  {} deletions, durable: {:.1} ms; collection {:.1} ms (mark {:.1}, sweep {:.1}), {} extents of {} KiB forgotten",
        names.len(),
        ms(all),
        ms(collecting),
        ms(collected.mark_ns),
        ms(collected.sweep_ns),
        collected.swept,
        collected.swept_bytes >> 10
    );
    println!(
        "  then cleaning {:.1} ms, {} segments emptied, {} KiB moved",
        ms(cleaning),
        cleaned.victims,
        cleaned.moved_bytes >> 10
    );
    for (when, space) in [("before", before), ("collected", between), ("cleaned", after)] {
        println!(
            "  {when:<10} {:>5} of {} segments free, {:>7.1} MiB can be written, {:>7.1} MiB alive",
            space.segments_free,
            space.segments,
            space.free as f64 / f64::from(1 << 20),
            space.live_bytes as f64 / f64::from(1 << 20)
        );
    }
}
