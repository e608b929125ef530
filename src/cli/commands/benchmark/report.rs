//! Goals, what was measured of them, and the verdict.

use std::io;
use std::time::Duration;

use helios_engine::ops::Failure;
use serde::Serialize;
use serde_json::{Value, json};

use super::run::Run;
use crate::cli::exit::Exit;
use crate::cli::output::{Ink, Output};
use crate::workloads::machine::Machine;

/// What is to be reached.
pub struct Goal {
    pub name: &'static str,
    pub goal: &'static str,
}

/// What was reached.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub goal: &'static str,
    pub met: bool,
    /// The figure that decides; empty if there is none.
    pub measured: String,
    /// What was measured beside it, or why nothing was.
    pub beside: String,
    /// Everything that was measured.
    pub figures: Value,
}

impl Goal {
    /// The row of this goal.
    pub fn row(&self, met: bool, measured: String, beside: String, figures: Value) -> Row {
        Row {
            name: self.name,
            goal: self.goal,
            met,
            measured,
            beside,
            figures,
        }
    }

    /// What cannot be measured is not met.
    pub fn unmeasured(&self, failure: &Failure) -> Row {
        let why = failure.message.clone();
        self.row(false, String::new(), why, Value::Null)
    }
}

/// How a validation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every goal is met.
    Go,
    /// One is not.
    NoGo,
    /// It was too little work to say.
    NotValid,
}

impl Verdict {
    fn of(rows: &[Row], quick: bool) -> Verdict {
        match rows.iter().all(|row| row.met) && !rows.is_empty() {
            _ if quick => Verdict::NotValid,
            true => Verdict::Go,
            false => Verdict::NoGo,
        }
    }

    fn exit(self) -> Exit {
        match self {
            Verdict::Go => Exit::Success,
            Verdict::NoGo | Verdict::NotValid => Exit::NoGo,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Verdict::Go => "go",
            Verdict::NoGo => "no-go",
            Verdict::NotValid => "not valid as a go: --quick measures too little",
        }
    }
}

/// All rows, and where they come from.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    verdict: Verdict,
    quick: bool,
    version: &'static str,
    commit: &'static str,
    machine: Machine,
    /// Reactors of the stores in this process, and of the server.
    reactors: Value,
    seconds: f64,
    rows: Vec<Row>,
}

impl Report {
    pub fn new(machine: Machine, run: &Run, took: Duration, rows: Vec<Row>) -> Report {
        let served = run.reactors.unwrap_or(machine.cores);
        Report {
            verdict: Verdict::of(&rows, run.quick),
            quick: run.quick,
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("HELIOS_COMMIT"),
            machine,
            reactors: json!({ "in_process": 1, "served": served }),
            seconds: took.as_secs_f64(),
            rows,
        }
    }

    pub fn exit(&self) -> Exit {
        self.verdict.exit()
    }

    pub fn print(&self, out: &mut Output) -> io::Result<()> {
        if out.json {
            return out.json(self);
        }
        out.remark(format!("{}; {:.0} s", self.machine, self.seconds))?;
        let cells: Vec<[&str; 4]> = std::iter::once(["", "goal", "measured", "beside"])
            .chain(
                self.rows
                    .iter()
                    .map(|row| [row.name, row.goal, row.measured.as_str(), row.beside.as_str()]),
            )
            .collect();
        let width = |column: usize| {
            let widths = cells.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2)];
        for (number, row) in cells.iter().enumerate() {
            let mark = match number.checked_sub(1).map(|row| self.rows[row].met) {
                None => " ".repeat(5),
                Some(true) => out.ink(Ink::Added, "go   "),
                Some(false) => out.ink(Ink::Removed, "no-go"),
            };
            let [name, goal, measured, beside] = row;
            let [first, second, third] = widths;
            let line = format!("{mark}  {name:first$}  {goal:second$}  {measured:third$}  {beside}");
            out.line(line.trim_end())?;
        }
        let ink = match self.verdict {
            Verdict::Go => Ink::Added,
            Verdict::NoGo | Verdict::NotValid => Ink::Removed,
        };
        let verdict = out.ink(ink, self.verdict.words());
        out.line(format!("verdict: {verdict}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a go needs every goal met and all the work done; the exit code says the same. Method: all combinations.
    #[test]
    fn verdicts_and_exit_codes() {
        let goal = Goal {
            name: "a goal",
            goal: "< 1",
        };
        let row = |met| goal.row(met, String::new(), String::new(), Value::Null);
        for (rows, quick, verdict, exit) in [
            (vec![row(true), row(true)], false, Verdict::Go, Exit::Success),
            (vec![row(true), row(false)], false, Verdict::NoGo, Exit::NoGo),
            (vec![row(false), row(false)], false, Verdict::NoGo, Exit::NoGo),
            (vec![], false, Verdict::NoGo, Exit::NoGo),
            (vec![row(true)], true, Verdict::NotValid, Exit::NoGo),
            (vec![row(false)], true, Verdict::NotValid, Exit::NoGo),
        ] {
            let found = Verdict::of(&rows, quick);
            assert_eq!((found, found.exit()), (verdict, exit), "{rows:?}, {quick}");
        }
    }

    /// Goal: what could not be measured is not met, and says why.
    #[test]
    fn unmeasured_is_not_met() {
        let goal = Goal {
            name: "a goal",
            goal: "< 1",
        };
        let row = goal.unmeasured(&Failure::new(helios_engine::ops::Class::NotFound, "no git"));
        assert!(!row.met && row.beside == "no git");
    }
}
