//! 850 clients at once, each with a connection of its own, to a server that is a process of its own.
//!
//! Every second each of them opens a fork of 28,000 files, writes ten of them and commits ([`agents`]): 13 operations, so that 11,050
//! are offered. A server that does not keep up gets fewer done in the time that all rounds take.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use helios_engine::ops::{Class, Failure};
use serde_json::json;

use super::commits::summary;
use super::programs::Server;
use super::report::{Goal, Row};
use super::run::{Run, sleep};
use crate::client::{CallError, Client};
use crate::workloads::agents::{self, Load, OPERATIONS, Times};

pub const GOALS: [Goal; 1] = [Goal {
    name: "clients of a server",
    goal: "850 at once, >= 10,000 operations/s",
}];

const OPERATIONS_PER_S_MIN: f64 = 10_000.0;
const STORE_BYTES: u64 = 16 << 30;
/// No answer takes this long where the server lives.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks at how far the agents are.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks between two sweeps of branches that have had their time.
const LOOKS_A_SWEEP: u64 = 10;

pub fn measure(run: &Run) -> Result<Vec<Row>, Failure> {
    let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
    let load = Load {
        clients: count(run.sized(850, 40)),
        rounds: count(run.sized(20, 2)),
        files: count(run.sized(agents::FILES as u64, 1000)),
    };
    let store = run.path("served.helios");
    let server = Server::start(run, &store, STORE_BYTES)?;
    let connect = || {
        let mut client = Client::connect(&server.socket)?;
        client.conversation().socket().set_read_timeout(Some(PATIENCE))?;
        Ok(client)
    };
    let mut first = connect().map_err(failed)?;
    agents::populate(&mut first, load.files).map_err(failed)?;
    run.step(0.1)?;
    let shares = load.connect(connect).map_err(failed)?;
    let (operations, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let goes_on = || !stop.load(Ordering::Relaxed);
    let (ns, outcome) = run.time(|| {
        let began = run.clock.now();
        std::thread::scope(|scope| {
            let workers: Vec<_> = shares
                .into_iter()
                .map(|share| {
                    let (clock, operations, goes_on) = (&run.clock, &operations, &goes_on);
                    scope.spawn(move || load.drive(share, (clock, began), goes_on, operations))
                })
                .collect();
            let watched = watch(
                run,
                &load,
                &mut first,
                &|| workers.iter().all(|worker| worker.is_finished()),
                &operations,
            );
            stop.store(watched.is_err(), Ordering::Relaxed);
            let mut all = Times::default();
            for worker in workers {
                let times = worker
                    .join()
                    .map_err(|_| Failure::new(Class::Failed, "a client panicked"))?;
                all.add(&times.map_err(failed)?);
            }
            watched.map(|()| all)
        })
    });
    let times = outcome?;
    server.end()?;
    let (forks, steps, late) = (
        summary(&times.forks)?,
        summary(&times.steps)?,
        summary(&times.late)?,
    );
    let seconds = ns as f64 / 1e9;
    let done = operations.load(Ordering::Relaxed);
    let rate = done as f64 / seconds;
    let offered = load.clients as u64 * OPERATIONS;
    Ok(vec![GOALS[0].row(
        rate >= OPERATIONS_PER_S_MIN,
        format!("{rate:.0} /s"),
        format!(
            "{offered} /s offered for {} s; fork P95 {:.2} ms, 10 edits and commit P95 {:.2} ms",
            load.rounds,
            forks.p95_us / 1000.0,
            steps.p95_us / 1000.0
        ),
        json!({
            "clients": load.clients,
            "files": load.files,
            "offered_per_s": offered,
            "operations": done,
            "operations_per_s": rate,
            "seconds": seconds,
            "open_a_fork": forks,
            "ten_edits_and_a_commit": steps,
            "begun_late": late,
        }),
    )])
}

/// Shows progress and sweeps until all agents are done.
fn watch(
    run: &Run,
    load: &Load,
    client: &mut Client,
    is_over: &dyn Fn() -> bool,
    operations: &AtomicU64,
) -> Result<(), Failure> {
    let all = (load.clients * load.rounds) as f64 * OPERATIONS as f64;
    let mut looks = 0;
    while !is_over() {
        run.step(0.1 + 0.9 * operations.load(Ordering::Relaxed) as f64 / all)?;
        looks += 1;
        if looks % LOOKS_A_SWEEP == 0 {
            agents::sweep(client).map_err(failed)?;
        }
        sleep(LOOK_EVERY);
    }
    Ok(())
}

fn failed(error: CallError) -> Failure {
    match error {
        CallError::Failed(failure) => failure,
        error => Failure::new(Class::Failed, error.to_string()),
    }
}
