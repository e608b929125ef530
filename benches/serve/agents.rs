//! Hundreds of agents at once, as [`helios::workloads::agents`] has them, and what a client beside them sees.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use helios::client::Client;
use helios::engine::reactor::Clock;
use helios::workloads::agents::{EDITS, FILES, Load, OPERATIONS, Times, sweep};
use helios::workloads::samples::Samples;

use crate::echo::Echo;
use crate::owner::{self, Owner, open, path, populate, read};
use crate::report;
use crate::sandbox::{Sandbox, pause, time};

/// Time between two looks at how much memory the server has.
const LOOK_EVERY: Duration = Duration::from_secs(1);
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
    let load = Load {
        clients,
        rounds: seconds,
        files: FILES,
    };
    let shares = load
        .connect(|| Ok(owner.client()))
        .expect("the server lets all in");
    let clock = Clock::real();
    let (took, ()) = time(|| {
        let began = clock.now();
        std::thread::scope(|scope| {
            let workers: Vec<_> = shares
                .into_iter()
                .map(|share| {
                    let (clock, operations) = (&clock, &operations);
                    scope.spawn(move || load.drive(share, (clock, began), &|| true, operations))
                })
                .collect();
            let stop = &stop;
            let reading = scope.spawn(move || reads(&mut reader, tree, || !stop.load(Ordering::Relaxed)));
            while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                pause(LOOK_EVERY);
                memory.push(Memory::of(&owner));
                sweep(&mut first).expect("it sweeps");
            }
            for worker in workers {
                all.add(&worker.join().expect("no client panics").expect("no call fails"));
            }
            stop.store(true, Ordering::Relaxed);
            loaded = reading.join().expect("no read fails");
        });
    });
    report::row("open a fork", &times(&all.forks));
    report::row("ten edits and a visible commit", &times(&all.steps));
    report::row("begun after its moment", &times(&all.late));
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

fn times(samples: &Samples) -> hdrhistogram::Histogram<u64> {
    let mut times = report::histogram();
    for time in samples.iter() {
        times.record(time).expect("a time");
    }
    times
}
