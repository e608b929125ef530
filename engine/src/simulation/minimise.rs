//! Makes a failing plan smaller: leaves out whatever it fails without.
//!
//! Whole rounds first, then clients, then runs of operations of halving length, then faults and other complications.
//! Any violation counts as the same failure: the smallest plan that fails at all is the one to look at.

use super::plan::{EndAt, Ending, Operation, Plan};
use super::{Violation, run};

/// The smallest plan found, how it fails, and how many plans were run. Runs at most `runs_max`.
pub fn minimise(plan: &Plan, violation: Violation, runs_max: usize) -> (Plan, Violation, usize) {
    let mut search = Search {
        plan: plan.clone(),
        violation,
        runs: 0,
        runs_max,
    };
    loop {
        let before = search.runs;
        let progress = search.rounds() | search.clients() | search.operations() | search.details();
        if !progress || search.runs >= search.runs_max || search.runs == before {
            return (search.plan, search.violation, search.runs);
        }
    }
}

struct Search {
    plan: Plan,
    violation: Violation,
    runs: usize,
    runs_max: usize,
}

impl Search {
    /// Keeps the change if the plan still fails with it.
    fn attempt(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        if self.runs >= self.runs_max {
            return false;
        }
        let mut plan = self.plan.clone();
        change(&mut plan);
        self.runs += 1;
        match run(&plan).violation {
            Some(violation) => {
                self.plan = plan;
                self.violation = violation;
                true
            }
            None => false,
        }
    }

    fn rounds(&mut self) -> bool {
        let mut progress = false;
        for round in (0..self.plan.rounds.len()).rev() {
            progress |= self.attempt(|plan| drop(plan.rounds.remove(round)));
        }
        progress
    }

    fn clients(&mut self) -> bool {
        let mut progress = false;
        for round in 0..self.plan.rounds.len() {
            for client in (0..self.plan.rounds[round].clients.len()).rev() {
                progress |= self.attempt(|plan| drop(plan.rounds[round].clients.remove(client)));
            }
        }
        progress
    }

    fn operations(&mut self) -> bool {
        let mut progress = false;
        for round in 0..self.plan.rounds.len() {
            for client in 0..self.plan.rounds[round].clients.len() {
                progress |= self.operations_of(round, client);
            }
        }
        progress
    }

    fn operations_of(&mut self, round: usize, client: usize) -> bool {
        let mut progress = false;
        let mut span = self.operations_at(round, client).len().div_ceil(2);
        while span > 0 {
            let mut from = 0;
            while from < self.operations_at(round, client).len() {
                let to = (from + span).min(self.operations_at(round, client).len());
                let without = |plan: &mut Plan| {
                    plan.rounds[round].clients[client].operations.drain(from..to);
                };
                match self.attempt(without) {
                    true => progress = true,
                    false => from = to,
                }
                if self.runs >= self.runs_max {
                    return progress;
                }
            }
            span /= 2;
        }
        progress
    }

    fn operations_at(&self, round: usize, client: usize) -> &[Operation] {
        &self.plan.rounds[round].clients[client].operations
    }

    fn details(&mut self) -> bool {
        let mut progress = false;
        for number in 0..self.plan.rounds.len() {
            let round = self.plan.rounds[number].clone();
            for fault in (0..round.faults.len()).rev() {
                progress |= self.attempt(|plan| {
                    plan.rounds[number].faults.remove(fault);
                });
            }
            if round.cut_recovery.is_some() {
                progress |= self.attempt(|plan| plan.rounds[number].cut_recovery = None);
            }
            if round.reactors > 1 {
                progress |= self.attempt(|plan| plan.rounds[number].reactors -= 1);
            }
            if round.cache_bytes > 0 {
                progress |= self.attempt(|plan| plan.rounds[number].cache_bytes = 0);
            }
            if round.zero_ahead {
                progress |= self.attempt(|plan| plan.rounds[number].zero_ahead = false);
            }
            if round.by_itself {
                progress |= self.attempt(|plan| plan.rounds[number].by_itself = false);
            }
            if round.rotten > 0 {
                progress |= self.attempt(|plan| plan.rounds[number].rotten /= 2);
            }
            if round.quota.is_some() {
                progress |= self.attempt(|plan| plan.rounds[number].quota = None);
            }
            if round.end_at != EndAt::Done {
                progress |= self.attempt(|plan| plan.rounds[number].end_at = EndAt::Done);
            }
            if round.ending != Ending::PowerCut {
                progress |= self.attempt(|plan| plan.rounds[number].ending = Ending::PowerCut);
            }
            for client in 0..round.clients.len() {
                if round.clients[client].on_reactor {
                    progress |= self.attempt(|plan| plan.rounds[number].clients[client].on_reactor = false);
                }
            }
            for client in 0..self.plan.rounds[number].clients.len() {
                for operation in 0..self.operations_at(number, client).len() {
                    progress |= self.shorten(number, client, operation);
                }
            }
        }
        progress
    }

    /// Fewer edits or contents in one operation.
    fn shorten(&mut self, round: usize, client: usize, operation: usize) -> bool {
        let mut progress = false;
        loop {
            let items = match &self.operations_at(round, client)[operation] {
                Operation::Commit { edits, .. } | Operation::CommitMain(edits, _) => edits.len(),
                Operation::Put(contents, _) => contents.len(),
                _ => 0,
            };
            if items < 2 {
                return progress;
            }
            let half = |plan: &mut Plan| match &mut plan.rounds[round].clients[client].operations[operation] {
                Operation::Commit { edits, .. } | Operation::CommitMain(edits, _) => {
                    edits.truncate(items / 2)
                }
                Operation::Put(contents, _) => contents.truncate(items / 2),
                _ => {}
            };
            if !self.attempt(half) {
                return progress;
            }
            progress = true;
        }
    }
}
