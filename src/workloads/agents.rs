//! Hundreds of agents at once: each has a connection of its own, and every second makes a branch and works on it.
//!
//! The agents' seconds do not begin together: each has its moment, as agents that do not know each other have. The branches go
//! by themselves after a while (somebody has to [`sweep`]), so that a long run works on a store of constant size.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use helios_engine::ops::files::FileStep;
use helios_engine::ops::{Durability, ExpireRequest, Request};
use helios_engine::reactor::{Clock, Nanos};

use super::calls::{commit, opening, passing_fork, write};
use super::samples::Samples;
use crate::client::{CallError, Client};
use crate::wire::message::Call;

/// Files in a tree of agents.
pub const FILES: usize = 28_000;
/// Files that an agent writes in a round.
pub const EDITS: usize = 10;
/// What an agent does in a round: the tree of the last one is closed, a fork opened, files written, a commit made.
pub const OPERATIONS: u64 = 1 + 1 + EDITS as u64 + 1;
/// Threads that drive the clients.
pub const THREADS: usize = 16;
/// Time between two rounds of one agent.
pub const ROUND: Duration = Duration::from_secs(1);
/// How long a branch of an agent stays.
const BRANCHES_STAY: Duration = Duration::from_secs(10);
/// Files written with one call when a tree is made.
const FILES_A_CALL: usize = 500;

/// Path of a file of [`populate`].
pub fn path(number: usize) -> String {
    format!("d{}/f{number}", number / 50)
}

/// Makes a tree of that many files in directories of 50 on `main`.
///
/// # Errors
/// Those of the calls.
pub fn populate(client: &mut Client, files: usize) -> Result<(), CallError> {
    let tree = client.open_files(opening("main", None))?;
    for first in (0..files).step_by(FILES_A_CALL) {
        let numbers = first..files.min(first + FILES_A_CALL);
        let contents: Vec<String> = numbers
            .clone()
            .map(|number| format!("content of file {number}"))
            .collect();
        let steps = numbers
            .zip(&contents)
            .map(|(number, content)| write(&path(number), content.len()))
            .collect();
        done(client, tree, steps, contents.concat())?;
    }
    done(client, tree, vec![commit(Durability::Durable)], String::new())
}

/// Runs steps, all of which must succeed.
fn done(client: &mut Client, tree: u64, steps: Vec<FileStep>, bytes: String) -> Result<(), CallError> {
    match client.files(tree, steps, bytes)?.0.failed {
        None => Ok(()),
        Some(failed) => Err(CallError::Failed(failed)),
    }
}

/// Removes the branches that have had their time.
///
/// # Errors
/// Those of the call.
pub fn sweep(client: &mut Client) -> Result<(), CallError> {
    let request = Request::Expire(ExpireRequest { dry_run: false });
    client.call(&Call::Run { request }, "").map(drop)
}

/// What agents have seen.
#[derive(Debug, Clone, Default)]
pub struct Times {
    /// Opening a fork.
    pub forks: Samples,
    /// Ten edits and a visible commit.
    pub steps: Samples,
    /// Rounds begun after their moment.
    pub late: Samples,
}

impl Times {
    /// All of another's.
    pub fn add(&mut self, other: &Times) {
        self.forks.add(&other.forks);
        self.steps.add(&other.steps);
        self.late.add(&other.late);
    }
}

/// One agent.
pub struct Agent {
    number: usize,
    client: Client,
    tree: Option<u64>,
}

/// How much there is to do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Agents.
    pub clients: usize,
    /// Rounds of each: seconds, where the server keeps up.
    pub rounds: usize,
    /// Files of the tree that [`populate`] has made.
    pub files: usize,
}

impl Load {
    /// Connects all agents, and deals them out to [`THREADS`] threads.
    ///
    /// # Errors
    /// Those of `connect`.
    pub fn connect(
        &self,
        mut connect: impl FnMut() -> Result<Client, CallError>,
    ) -> Result<Vec<Vec<Agent>>, CallError> {
        let mut shares: Vec<Vec<Agent>> = (0..THREADS.min(self.clients)).map(|_| Vec::new()).collect();
        let threads = shares.len();
        for number in 0..self.clients {
            let client = connect()?;
            shares[number % threads].push(Agent {
                number,
                client,
                tree: None,
            });
        }
        Ok(shares)
    }

    /// One thread's share of the agents, until all their rounds are over or `go_on` says no. Each adds what it has done to
    /// `operations`.
    ///
    /// # Errors
    /// The first call that fails ends it.
    pub fn drive(
        &self,
        mut share: Vec<Agent>,
        began: (&Clock, Nanos),
        go_on: &(impl Fn() -> bool + ?Sized),
        operations: &AtomicU64,
    ) -> Result<Times, CallError> {
        let mut times = Times::default();
        let (clock, began) = began;
        for round in 0..self.rounds {
            for agent in &mut share {
                let round_began = ROUND * u32::try_from(round).unwrap_or(u32::MAX);
                let moment =
                    began.after(round_began + ROUND.mul_f64(agent.number as f64 / self.clients as f64));
                pause(moment.since(clock.now()));
                if !go_on() {
                    return Ok(times);
                }
                times.late.record(nanoseconds(clock, moment));
                agent.round(round, self.files, clock, &mut times)?;
                operations.fetch_add(OPERATIONS, Ordering::Relaxed);
            }
        }
        Ok(times)
    }
}

#[allow(clippy::disallowed_methods, reason = "an agent waits for its moment")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn nanoseconds(clock: &Clock, start: Nanos) -> u64 {
    u64::try_from(clock.now().since(start).as_nanos()).unwrap_or(u64::MAX)
}

impl Agent {
    /// Closes what it had open, makes a branch, and works on it.
    fn round(
        &mut self,
        round: usize,
        files: usize,
        clock: &Clock,
        times: &mut Times,
    ) -> Result<(), CallError> {
        let number = self.number;
        if let Some(tree) = self.tree.take() {
            self.client.call(&Call::CloseFiles { tree }, "")?;
        }
        let request = passing_fork("main", &format!("agent-{number}-{round}"), BRANCHES_STAY);
        let start = clock.now();
        let tree = self.client.open_files(request)?;
        times.forks.record(nanoseconds(clock, start));
        self.tree = Some(tree);
        let contents: Vec<String> = (0..EDITS)
            .map(|edit| format!("{number} {round} {edit}"))
            .collect();
        let at = |edit: usize| path((number * 331 + round * 17 + edit * 2801) % files);
        let mut work: Vec<_> = (0..EDITS)
            .map(|edit| write(&at(edit), contents[edit].len()))
            .collect();
        work.push(commit(Durability::Visible));
        let start = clock.now();
        done(&mut self.client, tree, work, contents.concat())?;
        times.steps.record(nanoseconds(clock, start));
        Ok(())
    }
}
