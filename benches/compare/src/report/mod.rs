//! What a run has found, and its three forms: a table, JSON, one page of HTML.

pub mod compare;
pub mod html;
pub mod plots;
pub mod row;
pub mod table;

use crate::goals::Judged;
use crate::measure::machine::Machine;
use row::Row;

/// Everything that a run has found. Its JSON is this, field by field.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// Grows when fields change their meaning.
    pub version: u32,
    /// Whether sizes were those of a smoke test.
    pub quick: bool,
    /// What contents and choices were made from.
    pub seed: u64,
    /// Rounds of every contest.
    pub repetitions: usize,
    /// What it ran on.
    pub machine: Machine,
    /// In the order in which they were measured.
    pub rows: Vec<Row>,
    /// The project's goals, met or missed.
    pub goals: Vec<Judged>,
}

/// Version of the JSON.
pub const VERSION: u32 = 1;
