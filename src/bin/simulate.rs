//! Runs the engine under simulation: many seeds on all cores, or one seed again.

#![allow(
    clippy::disallowed_methods,
    reason = "the harness around the simulation measures real time and uses threads; the simulation itself does not"
)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use helios_engine::canary::Canary;
use helios_engine::simulation::exhaustive::{self, Base, Exhausted};
use helios_engine::simulation::{self, Plan, Tally, Violation};

/// A seed that takes longer than this is reported as hanging.
const HANG: Duration = Duration::from_secs(60);
/// Plans run while a failing one is made smaller.
const MINIMISE_RUNS: usize = 2000;

/// Run the whole engine deterministically, with faults and crashes, from seeds.
///
/// A seed decides everything: operations, clients, schedule, faults, crashes. Ends with exit code 1 and the command
/// that replays it when a seed fails.
#[derive(Parser)]
#[command(
    name = "simulate",
    after_help = "Examples:\n  simulate --seeds 10000            the first ten thousand seeds\n  \
                  simulate --start 10000 --hours 2  two hours of seeds from 10000 on\n  \
                  simulate --seed 4711 --trace      one seed again, with everything it does"
)]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 1000, conflicts_with_all = ["seed", "seconds", "hours"])]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Run seeds for so many seconds
    #[arg(long, conflicts_with_all = ["seed", "hours"])]
    seconds: Option<u64>,
    /// Run seeds for so many hours
    #[arg(long, conflicts_with = "seed")]
    hours: Option<f64>,
    /// Run this seed only
    #[arg(long)]
    seed: Option<u64>,
    /// Print what the seed does
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Crash every workload of up to so many operations after every write, with every subset of the last writes
    #[arg(long, value_name = "OPERATIONS", num_args = 0..=1, default_missing_value = "3",
          conflicts_with_all = ["seed", "seconds", "hours", "seeds"])]
    exhaustive: Option<usize>,
    /// Crash the recoveries as well, after every write of theirs
    #[arg(long, requires = "exhaustive")]
    crash_recovery: bool,
    /// Let a planted bug live, which must be found (needs `--features canaries`)
    #[arg(long, value_name = "NAME", value_parser = canary_named)]
    canary: Option<Canary>,
    /// Show a failing seed as it is instead of making it smaller
    #[arg(long)]
    as_is: bool,
    /// Threads; each runs one seed at a time
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.canary.is_some() && !cfg!(feature = "canaries") {
        eprintln!("this program has no planted bugs; build it with --features canaries");
        return ExitCode::from(2);
    }
    release(&arguments);
    match (arguments.exhaustive, arguments.seed) {
        (Some(length), _) => exhaust(&arguments, length),
        (_, Some(seed)) => replay(&arguments, seed),
        _ => search(&arguments),
    }
}

fn canary_named(name: &str) -> Result<Canary, String> {
    Canary::named(name).ok_or_else(|| {
        let names = Canary::ALL.map(Canary::name).join(", ");
        format!("no such bug; there are {names}")
    })
}

/// Lets the bug that was asked for live on this thread.
#[cfg(feature = "canaries")]
fn release(arguments: &Arguments) {
    helios_engine::canary::release(arguments.canary);
}

/// There is no bug in this program.
#[cfg(not(feature = "canaries"))]
fn release(_: &Arguments) {}

fn threads(arguments: &Arguments) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.threads.unwrap_or(cores).max(1)
}

/// Crashes every short workload everywhere.
fn exhaust(arguments: &Arguments, length: usize) -> ExitCode {
    let base = match Base::new(arguments.crash_recovery) {
        Ok(base) => base,
        Err(violation) => {
            println!("FAILED before the first workload: {}", violation.0);
            return ExitCode::FAILURE;
        }
    };
    let workloads = exhaustive::workloads(length);
    let next = AtomicU64::new(0);
    let total = Mutex::new(Exhausted::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads(arguments) {
            scope.spawn(|| {
                release(arguments);
                let mut own = Exhausted::default();
                while own.violation.is_none() {
                    let number = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                    let Some(workload) = workloads.get(number) else {
                        break;
                    };
                    base.exhaust(workload, &mut own);
                }
                let mut total = total.lock().expect("nobody panics with it");
                total.workloads += own.workloads;
                total.crashes += own.crashes;
                total.survivors += own.survivors;
                total.recoveries += own.recoveries;
                total.violation = total.violation.take().or(own.violation);
            });
        }
    });
    let total = total.into_inner().expect("nobody panicked with it");
    println!(
        "{} of {} workloads, {} crashes, {} survivors and {} after a cut recovery opened and compared in {:.1} s",
        total.workloads,
        workloads.len(),
        total.crashes,
        total.survivors,
        total.recoveries,
        began.elapsed().as_secs_f64()
    );
    match total.violation {
        None => ExitCode::SUCCESS,
        Some((at, violation)) => {
            println!("FAILED: {at}: {}", violation.0);
            ExitCode::FAILURE
        }
    }
}

/// Runs one seed.
fn replay(arguments: &Arguments, seed: u64) -> ExitCode {
    let plan = simulation::draw(seed);
    if arguments.trace {
        print!("{plan}");
    }
    let outcome = simulation::run(&plan);
    print_counts(&outcome.tally);
    println!("fingerprint {:016x}", outcome.fingerprint);
    match outcome.violation {
        None => {
            println!("seed {seed}: nothing wrong");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            report(arguments, &plan, violation);
            ExitCode::FAILURE
        }
    }
}

/// What the threads share.
struct Search {
    next: AtomicU64,
    stop: AtomicBool,
    end: u64,
    until: Option<Instant>,
    done: AtomicU64,
    tally: Mutex<Tally>,
    failure: Mutex<Option<(u64, Violation)>>,
    /// Which seed each thread is at, and since when.
    at: Vec<Mutex<Option<(u64, Instant)>>>,
}

fn search(arguments: &Arguments) -> ExitCode {
    let threads = threads(arguments);
    let time = match (arguments.seconds, arguments.hours) {
        (Some(seconds), _) => Some(Duration::from_secs(seconds)),
        (_, Some(hours)) => Some(Duration::from_secs_f64(hours.max(0.0) * 3600.0)),
        _ => None,
    };
    let began = Instant::now();
    let search = Search {
        next: AtomicU64::new(arguments.start),
        stop: AtomicBool::new(false),
        end: match time {
            Some(_) => u64::MAX,
            None => arguments.start.saturating_add(arguments.seeds),
        },
        until: time.map(|time| began + time),
        done: AtomicU64::new(0),
        tally: Mutex::default(),
        failure: Mutex::default(),
        at: (0..threads).map(|_| Mutex::default()).collect(),
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let search = &search;
                scope.spawn(move || {
                    release(arguments);
                    search.work(thread);
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            if let Some(seed) = search.hanging() {
                // Its thread cannot be stopped, so nothing after this line would be reached.
                eprintln!("seed {seed} hangs; replay it with: {}", command(seed));
                std::process::exit(1);
            }
        }
    });
    let done = search.done.load(Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    print_counts(&search.tally.lock().expect("no thread panicked"));
    println!(
        "{done} seeds in {seconds:.1} s on {threads} threads: {:.0} seeds/s",
        done as f64 / seconds
    );
    let failure = search.failure.lock().expect("no thread panicked").take();
    match failure {
        None => ExitCode::SUCCESS,
        Some((seed, violation)) => {
            report(arguments, &simulation::draw(seed), violation);
            ExitCode::FAILURE
        }
    }
}

impl Search {
    fn work(&self, thread: usize) {
        let mut tally = Tally::default();
        while !self.stop.load(Ordering::Relaxed) && self.until.is_none_or(|until| Instant::now() < until) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                break;
            }
            *self.at[thread].lock().expect("nobody panics with it") = Some((seed, Instant::now()));
            let outcome = simulation::run_seed(seed);
            tally.merge(&outcome.tally);
            self.done.fetch_add(1, Ordering::Relaxed);
            if let Some(violation) = outcome.violation {
                self.failure
                    .lock()
                    .expect("nobody panics with it")
                    .get_or_insert((seed, violation));
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        *self.at[thread].lock().expect("nobody panics with it") = None;
        self.tally.lock().expect("nobody panics with it").merge(&tally);
    }

    /// A seed that has been running for too long.
    fn hanging(&self) -> Option<u64> {
        self.at.iter().find_map(|at| {
            let at = *at.lock().expect("nobody panics with it");
            at.filter(|(_, since)| since.elapsed() > HANG)
                .map(|(seed, _)| seed)
        })
    }
}

fn command(seed: u64) -> String {
    format!("cargo run --release --bin simulate -- --seed {seed} --trace")
}

fn print_counts(tally: &Tally) {
    for (what, count) in tally.counts() {
        println!("{count:>12} {what}");
    }
}

/// Prints what is wrong and the smallest plan that shows it.
fn report(arguments: &Arguments, plan: &Plan, violation: Violation) {
    println!("seed {} FAILED: {}", plan.seed, violation.0);
    let canary = arguments
        .canary
        .map_or(String::new(), |canary| format!(" --canary {}", canary.name()));
    println!("replay it with: {}{canary}", command(plan.seed));
    if arguments.as_is {
        return;
    }
    let (smaller, violation, runs) = simulation::minimise(plan, violation, MINIMISE_RUNS);
    println!(
        "the smallest of {runs} plans, {} of {} operations, fails with: {}",
        smaller.operations(),
        plan.operations(),
        violation.0
    );
    print!("{smaller}");
}
