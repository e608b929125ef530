//! Hundreds of agents at once, each with a connection of its own: a fork of a large tree, ten edits and a commit, again and again.
//!
//! `HELIOS_CROWD_SECONDS` (60) says how long; an hour is the long run. `cargo bench --bench serve -- agents` measures the same.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use helios::client::Client;
use helios::ops::{Durability, ExpireRequest, Request};
use helios::wire::message::Call;

use crate::owner::{Owner, commit, open, passing_fork, read, write};
use crate::sandbox::Sandbox;

const CLIENTS: usize = 850;
const FILES: usize = 28_000;
const EDITS: usize = 10;
/// Threads that move the clients.
const THREADS: usize = 8;
/// A branch of an agent goes after this time.
const STAYS: Duration = Duration::from_secs(15);
const ROUND: Duration = Duration::from_secs(1);

fn seconds() -> u64 {
    let asked = std::env::var("HELIOS_CROWD_SECONDS");
    asked.ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// Path of a file: 50 in each directory.
fn path(number: usize) -> String {
    format!("d{}/f{number}", number / 50)
}

fn edited(agent: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..EDITS).map(move |edit| (agent * 331 + round * 17 + edit * 2801) % FILES)
}

fn content(agent: usize, round: usize, file: usize) -> String {
    format!("agent {agent}, round {round}, file {file}")
}

fn populate(client: &mut Client) {
    let tree = open(client, "main", None);
    for first in (0..FILES).step_by(500) {
        let texts: Vec<String> = (first..first + 500).map(|file| format!("file {file}")).collect();
        let steps = (first..)
            .zip(&texts)
            .map(|(file, text)| write(&path(file), text.len()));
        let (results, _) = client
            .files(tree, steps.collect(), texts.concat())
            .expect("an answer");
        assert_eq!(results.failed, None);
    }
    let steps = vec![commit(Durability::Durable)];
    let (results, _) = client.files(tree, steps, "").expect("an answer");
    assert_eq!(results.failed, None);
}

struct Agent {
    number: usize,
    round: usize,
    client: Client,
    tree: Option<u64>,
}

impl Agent {
    /// Leaves the branch of the last round, makes one, and works on it.
    fn work(&mut self) {
        if let Some(tree) = self.tree.take() {
            let closed = self.client.call(&Call::CloseFiles { tree }, "");
            closed.expect("it was open");
        }
        self.round += 1;
        let fork = format!("agent-{}-{}", self.number, self.round);
        let request = passing_fork("main", &fork, STAYS);
        let tree = self.client.open_files(request).expect("a fork");
        self.tree = Some(tree);
        let texts: Vec<(usize, String)> = edited(self.number, self.round)
            .map(|file| (file, content(self.number, self.round, file)))
            .collect();
        let body: String = texts.iter().map(|(_, text)| text.as_str()).collect();
        let writes = texts.iter().map(|(file, text)| write(&path(*file), text.len()));
        let steps = writes.chain([commit(Durability::Visible)]).collect();
        let (results, _) = self.client.files(tree, steps, body).expect("an answer");
        assert_eq!(results.failed, None);
    }

    /// What it wrote last is there, and what it did not write is as it was.
    fn look(&mut self) {
        let tree = self.tree.expect("it has worked");
        let files: Vec<usize> = edited(self.number, self.round).collect();
        let steps = files.iter().map(|file| read(&path(*file))).collect();
        let (results, bytes) = self.client.files(tree, steps, "").expect("an answer");
        assert_eq!(results.failed, None);
        let expected: String = files
            .iter()
            .map(|file| content(self.number, self.round, *file))
            .collect();
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        let other = (0..FILES)
            .find(|file| !files.contains(file))
            .expect("few are edited");
        let (_, bytes) = self
            .client
            .files(tree, vec![read(&path(other))], "")
            .expect("an answer");
        assert_eq!(String::from_utf8_lossy(&bytes), format!("file {other}"));
    }
}

/// One thread's agents, each at its moment of every second; what cannot be done in time is done late.
#[allow(clippy::disallowed_methods, reason = "clients of another process")]
fn drive(owner: &Owner, thread: usize, rounds: &AtomicUsize) {
    let mut agents: Vec<Agent> = (thread..CLIENTS)
        .step_by(THREADS)
        .map(|number| Agent {
            number,
            round: 0,
            client: owner.client(),
            tree: None,
        })
        .collect();
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < Duration::from_secs(seconds()) {
        for agent in &mut agents {
            let moment = ROUND * round + ROUND.mul_f64(agent.number as f64 / CLIENTS as f64);
            if let Some(early) = moment.checked_sub(began.elapsed()) {
                std::thread::sleep(early);
            }
            agent.work();
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        round += 1;
    }
    agents.iter_mut().for_each(Agent::look);
}

/// Goal: 850 agents work at once without an error, each sees its own changes and nobody else's, what the server holds for them
/// does not grow, and the store is sound afterwards. Method: real connections to a server in a process of its own, which is asked
/// every second what it holds; branches of rounds before go by themselves.
#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "somebody looks at another process every second"
)]
fn hundreds_of_agents_work_at_once() {
    let sandbox = Sandbox::bare();
    sandbox.run(["init", "--size", "16G"]);
    let owner = sandbox.serve();
    let mut first = owner.client();
    populate(&mut first);
    let rounds = AtomicUsize::new(0);
    let mut held = Vec::new();
    std::thread::scope(|scope| {
        let drivers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (owner, rounds) = (&owner, &rounds);
                scope.spawn(move || drive(owner, thread, rounds))
            })
            .collect();
        while !drivers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(ROUND);
            let request = Request::Expire(ExpireRequest { dry_run: false });
            first.call(&Call::Run { request }, "").expect("it sweeps");
            held.push(
                owner
                    .metrics()
                    .sum("helios_client_memory_bytes", &[])
                    .expect("a gauge"),
            );
        }
        for driver in drivers {
            driver.join().expect("no agent sees an error");
        }
    });
    let rounds = rounds.load(Ordering::Relaxed);
    assert!(rounds >= CLIENTS, "{rounds} rounds");
    // Once all agents have a tree, nothing is added to it.
    let most = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
    let (early, late) = held.split_at(held.len() / 2);
    assert!(
        most(late) <= most(early) * 1.25,
        "what clients hold grows: {held:?}"
    );
    println!(
        "{rounds} rounds of {CLIENTS} agents, {} operations each",
        EDITS + 3
    );
    drop(first);
    owner.comes_to_rest();
    owner.end();
    sandbox.run(["check"]);
}
