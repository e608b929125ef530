//! How things are measured: in turns, as distributions, with the kernel's own counters beside the clock.

pub mod caches;
pub mod child;
pub mod contest;
pub mod counters;
pub mod disk;
pub mod figures;
pub mod machine;
pub mod memory;

/// Why something could not be measured; it becomes a row of the report.
pub type Problem = Box<dyn std::error::Error + Send + Sync>;

/// What measuring answers.
pub type Outcome<T = ()> = Result<T, Problem>;

/// What a subject has promised when its call returns. Rows of different classes are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Others see it; power loss may undo it.
    Visible,
    /// It survives power loss.
    Durable,
    /// Nothing is changed, or nothing is promised: reads, removals, sizes.
    Read,
}

impl Class {
    /// Its word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Class::Visible => "visible",
            Class::Durable => "durable",
            Class::Read => "read",
        }
    }
}

/// How large everything is, and how often.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Whether sizes are those of a smoke test: figures mean nothing then.
    pub quick: bool,
    /// Rounds of every contest.
    pub repetitions: usize,
    /// What contents and choices are made from.
    pub seed: u64,
}

impl Scale {
    /// One of two sizes.
    pub fn pick<T>(&self, real: T, quick: T) -> T {
        if self.quick { quick } else { real }
    }
}
