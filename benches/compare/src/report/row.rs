//! One subject in one quantity of one case.

use std::fmt;

use crate::measure::Class;
use crate::measure::figures::{Figures, Unit};

/// As what a subject takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The project's own.
    Helios,
    /// What would be used instead.
    Peer,
    /// A limit of the hardware, which nobody can pass.
    Ceiling,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Result {
    /// It ran to its end.
    Measured(Figures),
    /// It failed, and how.
    Failed {
        /// In its own words.
        why: String,
    },
    /// It is not here.
    Skipped {
        /// What is missing.
        why: String,
    },
}

impl fmt::Display for Result {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Result::Measured(figures) => write!(formatter, "{} samples", figures.samples),
            Result::Failed { why } => write!(formatter, "FAILED: {why}"),
            Result::Skipped { why } => write!(formatter, "skipped: {why}"),
        }
    }
}

/// See the module.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    /// The workload.
    pub workload: String,
    /// What exactly was done. Rows of one case, class and quantity are comparable, no others.
    pub case: String,
    /// What was promised.
    pub class: Class,
    /// What was measured; `all` where nothing was.
    pub quantity: String,
    /// Unit of the figures.
    pub unit: Option<Unit>,
    /// Who.
    pub subject: String,
    /// As what.
    pub role: Role,
    /// How it was set up, and what is not equal.
    pub note: String,
    /// The figures, or why there are none.
    #[serde(flatten)]
    pub result: Result,
    /// How many times better than the best other peer, by medians; below 1: worse.
    pub times_best_peer: Option<f64>,
    /// Which that is.
    pub best_peer: Option<String>,
    /// The part of the lowest measured ceiling that is reached, by medians; 1: all.
    pub of_ceiling: Option<f64>,
    /// Which that is.
    pub ceiling: Option<String>,
}

impl Row {
    /// Its figures, if there are any.
    pub fn figures(&self) -> Option<&Figures> {
        match &self.result {
            Result::Measured(figures) => Some(figures),
            _ => None,
        }
    }

    /// Whether two rows may be compared.
    pub fn is_comparable(&self, other: &Row) -> bool {
        let key = |row: &Row| (row.class, row.unit);
        key(self) == key(other)
            && self.workload == other.workload
            && self.case == other.case
            && self.quantity == other.quantity
    }
}
