//! What is done, one file each. Everything is made from the seed.

pub mod directory;
pub mod forks;
pub mod history;
pub mod ingest;
pub mod objects;
pub mod raw;
pub mod steps;

use crate::goals::Goal;
use crate::lab::Lab;
use crate::measure::Outcome;
use crate::report::row::Row;

/// A workload.
pub struct Workload {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it asks.
    pub question: &'static str,
    /// What the project wants of it.
    pub goals: &'static [Goal],
    /// Runs it. What fails for one subject is a row; an error is one of the workload itself.
    pub run: fn(&Lab) -> Outcome<Vec<Row>>,
}

/// All workloads, in the order in which they run.
pub const ALL: [Workload; 7] = [
    raw::WORKLOAD,
    steps::WORKLOAD,
    forks::WORKLOAD,
    objects::WORKLOAD,
    directory::WORKLOAD,
    ingest::WORKLOAD,
    history::WORKLOAD,
];
