//! Hundreds of agents at once: each has a connection of its own, and every second makes a branch and works on it.
//!
//! The agents' seconds do not begin together: each has its moment, as agents that do not know each other have. The branches go
//! by themselves after a while, so that a long run measures a store of constant size.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use helios::client::Client;
use helios::engine::ops::Durability;
use helios::engine::ops::{ExpireRequest, Request};
use helios::wire::message::Call;

use crate::echo::Echo;
use crate::owner::{self, Owner, commit, open, passing_fork, path, populate, read, write};
use crate::report;
use crate::sandbox::{Sandbox, pause, time};

const FILES: usize = 28_000;
const EDITS: usize = 10;
/// Threads that drive the clients.
const THREADS: usize = 16;
/// Time between two looks at how much memory the server has.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between two rounds of one agent.
const ROUND: Duration = Duration::from_secs(1);
/// How long a branch of an agent stays.
const BRANCHES_STAY: Duration = Duration::from_secs(10);
/// What an agent does in a round: the tree of the last one is closed, a fork opened, files written, a commit made.
const OPERATIONS: u64 = 1 + 1 + EDITS as u64 + 1;
/// Looks at memory that are printed, about.
const ROWS_PRINTED: usize = 30;

fn asked(name: &str, otherwise: usize) -> usize {
    let asked = std::env::var(name).ok().and_then(|number| number.parse().ok());
    asked.unwrap_or(otherwise)
}

/// Reads of one client, one after the other, and as many bare round trips: what the machine makes any client wait.
#[allow(
    clippy::disallowed_methods,
    reason = "a client that waits leaves its core to others"
)]
fn reads(
    client: &mut Client,
    tree: u64,
    mut go_on: impl FnMut() -> bool,
) -> [hdrhistogram::Histogram<u64>; 2] {
    let mut times = [report::histogram(), report::histogram()];
    let mut echo = Echo::new();
    let mut number = 0;
    while go_on() {
        number += 1;
        let step = vec![read(&path(number * 101 % FILES))];
        let (ns, answer) = time(|| client.files(tree, step, ""));
        assert_eq!(answer.expect("it answers").0.failed, None);
        times[0].record(ns).expect("a time");
        times[1].record(echo.round_trip()).expect("a time");
        std::thread::sleep(Duration::from_millis(1));
    }
    times
}

/// Runs the section.
pub fn run() {
    let clients = asked("HELIOS_BENCH_CLIENTS", 850);
    let seconds = asked("HELIOS_BENCH_SECONDS", 60);
    report::heading(
        &format!(
            "agents: {clients} clients, each with its own connection; each second every one forks {FILES} files, makes {EDITS} \
             edits and a visible commit, for {seconds} s"
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
    let operations = AtomicU64::new(0);
    let mut memory = Vec::new();
    let mut all = Times::default();
    let mut loaded = [report::histogram(), report::histogram()];
    let (took, ()) = time(|| {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (owner, operations) = (&owner, &operations);
                    scope.spawn(move || agents(owner, thread, clients, seconds, operations))
                })
                .collect();
            let stop = &stop;
            let reading = scope.spawn(move || reads(&mut reader, tree, || !stop.load(Ordering::Relaxed)));
            while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                pause(LOOK_EVERY);
                memory.push(Memory::of(&owner));
                sweep(&mut first);
            }
            for worker in workers {
                all.add(&worker.join().expect("no client fails"));
            }
            stop.store(true, Ordering::Relaxed);
            loaded = reading.join().expect("no read fails");
        });
    });
    report::row("open a fork", &all.forks);
    report::row("ten edits and a visible commit", &all.steps);
    report::row("begun after its moment", &all.late);
    report::row("read, one client alone", &unloaded[0]);
    report::row("read, beside the agents", &loaded[0]);
    report::ratio("beside : alone", &loaded[0], &unloaded[0]);
    report::row("bare round trip, alone", &unloaded[1]);
    report::row("bare round trip, beside the agents", &loaded[1]);
    report::ratio("beside : alone", &loaded[1], &unloaded[1]);
    let done = operations.load(Ordering::Relaxed);
    println!(
        "  {done} operations in {:.1} s: {:.0} a second ({} were offered); 0 errors",
        took as f64 / 1e9,
        done as f64 * 1e9 / took as f64,
        clients as u64 * OPERATIONS
    );
    report_memory(&memory);
}

/// What the server says of its memory, in bytes.
struct Memory([f64; Memory::PARTS.len()]);

impl Memory {
    /// What is printed of it: all that is resident, then parts.
    const PARTS: [(&str, &str); 5] = [
        ("resident", "helios_resident_bytes"),
        ("index", "helios_index_bytes"),
        ("cache", "helios_cache_bytes"),
        ("pending", "helios_pending_bytes"),
        ("clients", "helios_client_memory_bytes"),
    ];

    fn of(owner: &Owner) -> Memory {
        let metrics = owner.metrics();
        Memory(Memory::PARTS.map(|(_, name)| metrics.sum(name, &[]).expect("a gauge")))
    }

    /// Whatever has no part of its own: code, stacks, roots, and what the allocator keeps.
    fn rest(&self) -> f64 {
        self.0[0] - self.0[1..].iter().sum::<f64>()
    }
}

fn report_memory(memory: &[Memory]) {
    const MIB: f64 = (1 << 20) as f64;
    let step = (memory.len() / ROWS_PRINTED).max(1);
    let heads = Memory::PARTS.map(|(part, _)| format!("{part:>9}"));
    println!("  memory of the server, MiB");
    println!("  {:>9} {} {:>9}", "second", heads.concat(), "rest");
    for (look, now) in memory.iter().enumerate().step_by(step) {
        let parts = now.0.map(|bytes| format!("{:>9.0}", bytes / MIB));
        let second = look as u64 * LOOK_EVERY.as_secs();
        println!("  {second:>9} {} {:>9.0}", parts.concat(), now.rest() / MIB);
    }
    let most = |looks: &[Memory]| looks.iter().map(|now| now.0[0] / MIB).fold(0.0, f64::max);
    let minute = usize::try_from(60 / LOOK_EVERY.as_secs()).expect("few");
    if memory.len() > 2 * minute {
        let (first, later) = memory.split_at(memory.len() / 2);
        println!(
            "  at most {:.0} in the first minute, {:.0} in the first half, {:.0} in the second",
            most(&memory[..minute]),
            most(first),
            most(later)
        );
    }
}

/// Removes the branches that have had their time.
fn sweep(client: &mut Client) {
    let request = Request::Expire(ExpireRequest { dry_run: false });
    client.call(&Call::Run { request }, "").expect("it sweeps");
}

/// What the agents have seen.
struct Times {
    forks: hdrhistogram::Histogram<u64>,
    steps: hdrhistogram::Histogram<u64>,
    late: hdrhistogram::Histogram<u64>,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            forks: report::histogram(),
            steps: report::histogram(),
            late: report::histogram(),
        }
    }
}

impl Times {
    fn add(&mut self, other: &Times) {
        self.forks.add(&other.forks).expect("times");
        self.steps.add(&other.steps).expect("times");
        self.late.add(&other.late).expect("times");
    }
}

/// One agent.
struct Agent {
    number: usize,
    client: Client,
    tree: Option<u64>,
}

impl Agent {
    /// Closes what it had open, makes a branch, and works on it.
    fn round(&mut self, round: usize, times: &mut Times) {
        let number = self.number;
        if let Some(tree) = self.tree.take() {
            let closed = self.client.call(&Call::CloseFiles { tree }, "");
            closed.expect("it was open");
        }
        let request = passing_fork("main", &format!("agent-{number}-{round}"), BRANCHES_STAY);
        let (ns, tree) = time(|| self.client.open_files(request));
        times.forks.record(ns).expect("a time");
        let tree = tree.expect("a fork");
        self.tree = Some(tree);
        let contents: Vec<String> = (0..EDITS)
            .map(|edit| format!("{number} {round} {edit}"))
            .collect();
        let at = |edit: usize| path((number * 331 + round * 17 + edit * 2801) % FILES);
        let mut work: Vec<_> = (0..EDITS)
            .map(|edit| write(&at(edit), contents[edit].len()))
            .collect();
        work.push(commit(Durability::Visible));
        let (ns, answer) = time(|| self.client.files(tree, work, contents.concat()));
        assert_eq!(answer.expect("it answers").0.failed, None);
        times.steps.record(ns).expect("a time");
    }
}

/// One thread's share of the agents.
#[allow(clippy::disallowed_methods, reason = "benches measure real time")]
fn agents(owner: &Owner, thread: usize, clients: usize, seconds: usize, operations: &AtomicU64) -> Times {
    let mut times = Times::default();
    let mut own: Vec<Agent> = (thread..clients)
        .step_by(THREADS)
        .map(|number| Agent {
            number,
            client: owner.client(),
            tree: None,
        })
        .collect();
    let began = Instant::now();
    for round in 0..seconds {
        for agent in &mut own {
            let moment = ROUND * u32::try_from(round).expect("few")
                + ROUND.mul_f64(agent.number as f64 / clients as f64);
            if let Some(early) = moment.checked_sub(began.elapsed()) {
                std::thread::sleep(early);
            }
            let late = began.elapsed().saturating_sub(moment);
            times
                .late
                .record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX))
                .expect("a time");
            agent.round(round, &mut times);
            operations.fetch_add(OPERATIONS, Ordering::Relaxed);
        }
    }
    times
}
