//! Hundreds of agents at once, as [`helios::workloads::agents`] has them, and what a client beside them sees.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use helios::client::Client;
use helios::engine::reactor::Clock;
use helios::workloads::agents::{EDITS, FILES, Load, OPERATIONS, Times, sweep};
use helios::workloads::samples::Samples;

use crate::echo::Echo;
use crate::owner::{self, open, path, populate, read};
use crate::report;
use crate::sandbox::{Sandbox, pause, time};

/// Time between two looks at how much memory the server has.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between two that are printed.
const LOOKS_PRINTED: usize = 10;

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
                memory.push(owner.resident_mib());
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
    let every: Vec<String> = memory.iter().step_by(LOOKS_PRINTED).map(u64::to_string).collect();
    println!(
        "  memory of the server in MiB, every {} s: {}; {} at the end, {} at most",
        LOOK_EVERY.as_secs() * LOOKS_PRINTED as u64,
        every.join(", "),
        memory.last().unwrap_or(&0),
        memory.iter().max().unwrap_or(&0)
    );
    let minute = usize::try_from(60 / LOOK_EVERY.as_secs()).expect("few");
    if let (Some(after), Some(last)) = (memory.get(minute), memory.last()) {
        println!(
            "  {} MiB since the first minute: {:.0} KiB a client",
            *last as i64 - *after as i64,
            (*last as f64 - *after as f64) * 1024.0 / clients as f64
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
