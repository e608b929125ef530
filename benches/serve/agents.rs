//! Hundreds of agents at once: each has a connection and a branch of its own, and works on it every second.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use helios::client::Client;
use helios::engine::ops::Durability;

use crate::owner::{self, Owner, commit, open, path, populate, read, write};
use crate::report;
use crate::sandbox::{Sandbox, pause, time};

const FILES: usize = 28_000;
const EDITS: usize = 10;
/// Threads that drive the clients.
const THREADS: usize = 16;
/// Time between two looks at how much memory the server has.
const LOOK_EVERY: Duration = Duration::from_secs(5);

fn asked(name: &str, otherwise: usize) -> usize {
    let asked = std::env::var(name).ok().and_then(|number| number.parse().ok());
    asked.unwrap_or(otherwise)
}

/// Reads of one client, one after the other.
fn reads(client: &mut Client, tree: u64, mut go_on: impl FnMut() -> bool) -> hdrhistogram::Histogram<u64> {
    let mut times = report::histogram();
    let mut number = 0;
    while go_on() {
        number += 1;
        let step = vec![read(&path(number * 101 % FILES))];
        let (ns, answer) = time(|| client.files(tree, step, ""));
        assert_eq!(answer.expect("it answers").0.failed, None);
        times.record(ns).expect("a time");
        pause(Duration::from_millis(1));
    }
    times
}

/// Runs the section.
pub fn run() {
    let clients = asked("HELIOS_BENCH_CLIENTS", 850);
    let seconds = asked("HELIOS_BENCH_SECONDS", 60);
    report::heading(
        &format!(
            "agents: {clients} clients, each with its own connection: a fork of {FILES} files, then {EDITS} edits and a visible \
             commit a second, for {seconds} s"
        ),
        "reads of one client alone",
        "no error, 10,000 operations a second, P99 of a read at most 3x, memory flat after the first minute",
    );
    let sandbox = Sandbox::new();
    let owner = owner::of_new_store(&sandbox.path("served"), "20G");
    let mut first = owner.client();
    populate(&mut first, FILES);
    let mut reader = owner.client();
    let tree = open(&mut reader, "main", Some("reader"));
    let mut left = 2000;
    let unloaded = reads(&mut reader, tree, || {
        left -= 1;
        left > 0
    });
    let stop = AtomicBool::new(false);
    let (operations, late) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut memory = Vec::new();
    let mut forks = report::histogram();
    let mut steps = report::histogram();
    let mut loaded = report::histogram();
    let ((), took) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (owner, operations, late) = (&owner, &operations, &late);
                scope.spawn(move || agents(owner, thread, clients, seconds, operations, late))
            })
            .collect();
        let stop = &stop;
        let reading = scope.spawn(move || reads(&mut reader, tree, || !stop.load(Ordering::Relaxed)));
        let (ns, ()) = time(|| {
            while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                pause(LOOK_EVERY.min(Duration::from_secs(1)));
                memory.push(owner.resident_mib());
            }
        });
        for worker in workers {
            let (made, done) = worker.join().expect("no client fails");
            forks.add(&made).expect("times");
            steps.add(&done).expect("times");
        }
        stop.store(true, Ordering::Relaxed);
        loaded.add(reading.join().expect("no read fails")).expect("times");
        ((), ns)
    });
    report::row("open a fork", &forks);
    report::row("ten edits and a visible commit", &steps);
    report::row("read, one client alone", &unloaded);
    report::row("read, beside the agents", &loaded);
    report::ratio("beside : alone", &loaded, &unloaded);
    let done = operations.load(Ordering::Relaxed);
    println!(
        "  {done} operations in {:.1} s: {:.0} a second; {} rounds began late; 0 errors",
        took as f64 / 1e9,
        done as f64 * 1e9 / took as f64,
        late.load(Ordering::Relaxed)
    );
    let middle = memory.len() / 2;
    println!(
        "  memory of the server in MiB: {} at first, {} half way, {} at the end, {} at most",
        memory.first().unwrap_or(&0),
        memory.get(middle).unwrap_or(&0),
        memory.last().unwrap_or(&0),
        memory.iter().max().unwrap_or(&0)
    );
}

type Times = hdrhistogram::Histogram<u64>;

/// One thread's share of the clients: each does its step once a second.
fn agents(
    owner: &Owner,
    thread: usize,
    clients: usize,
    seconds: usize,
    operations: &AtomicU64,
    late: &AtomicU64,
) -> (Times, Times) {
    let (mut forks, mut steps) = (report::histogram(), report::histogram());
    let mut own: Vec<(Client, u64)> = Vec::new();
    for number in (thread..clients).step_by(THREADS) {
        let mut client = owner.client();
        let (ns, tree) = time(|| open(&mut client, "main", Some(&format!("agent-{number}"))));
        forks.record(ns).expect("a time");
        operations.fetch_add(1, Ordering::Relaxed);
        own.push((client, tree));
    }
    for round in 0..seconds {
        let (ns, ()) = time(|| {
            for (number, (client, tree)) in own.iter_mut().enumerate() {
                let contents: Vec<String> = (0..EDITS)
                    .map(|edit| format!("{thread} {number} {round} {edit}"))
                    .collect();
                let at = |edit: usize| path((number * 331 + round * 17 + edit * 2801) % FILES);
                let mut work: Vec<_> = (0..EDITS)
                    .map(|edit| write(&at(edit), contents[edit].len()))
                    .collect();
                work.push(commit(Durability::Visible));
                let (ns, answer) = time(|| client.files(*tree, work, contents.concat()));
                assert_eq!(answer.expect("it answers").0.failed, None);
                steps.record(ns).expect("a time");
                operations.fetch_add(EDITS as u64 + 1, Ordering::Relaxed);
            }
        });
        match Duration::from_secs(1).checked_sub(Duration::from_nanos(ns)) {
            Some(rest) => pause(rest),
            None => {
                late.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    (forks, steps)
}
