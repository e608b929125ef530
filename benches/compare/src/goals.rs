//! The project's goals, and whether a run meets them.
//!
//! Invariants: a goal that is a ratio compares rows of one case and class, or rows that were measured in one contest; a goal
//! whose rows are not there is "not measured", never met.

use crate::measure::Class;
use crate::report::compare::times_better;
use crate::report::row::{Role, Row};

/// What is asked of a row of Helios.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// 95 % of the samples are below.
    P95Below(f64),
    /// The median is below.
    MedianBelow(f64),
    /// So many times better than a peer.
    TimesBetter(&'static str, f64),
    /// So much of a ceiling is reached.
    OfCeiling(&'static str, f64),
    /// So much of the lowest of its ceilings is reached.
    OfLowestCeiling(f64),
}

/// A goal.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// Which rows.
    pub workload: &'static str,
    /// Which rows.
    pub case: &'static str,
    /// Which rows.
    pub class: Class,
    /// Which rows.
    pub quantity: &'static str,
    /// What is asked.
    pub target: Target,
}

/// What a run says of a goal.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Judged {
    /// In words.
    pub goal: String,
    /// Met or missed; absent: not measured.
    pub met: Option<bool>,
    /// What was found, or why nothing was.
    pub found: String,
}

impl Judged {
    /// Met, missed or not measured.
    pub fn word(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        }
    }
}

/// What the rows say of all goals.
pub fn judge(goals: &[Goal], rows: &[Row]) -> Vec<Judged> {
    goals.iter().map(|goal| goal.judge(rows)).collect()
}

impl Goal {
    fn row<'r>(&self, rows: &'r [Row], wanted: impl Fn(&Row) -> bool) -> Option<&'r Row> {
        rows.iter().find(|row| {
            row.workload == self.workload
                && row.case == self.case
                && row.class == self.class
                && row.quantity == self.quantity
                && row.figures().is_some()
                && wanted(row)
        })
    }

    fn judge(&self, rows: &[Row]) -> Judged {
        let (met, found) = match self.find(rows) {
            Ok((met, found)) => (Some(met), found),
            Err(why) => (None, why),
        };
        let goal = self.words();
        Judged { goal, met, found }
    }

    fn find(&self, rows: &[Row]) -> Result<(bool, String), String> {
        let helios = self.row(rows, |row| row.role == Role::Helios);
        let helios = helios.ok_or("Helios has no figures for it")?;
        let (Some(figures), Some(unit)) = (helios.figures(), helios.unit) else {
            return Err("Helios has no figures for it".to_owned());
        };
        let against = |named: &str| {
            let other = self.row(rows, |row| row.subject == named);
            let other = other.ok_or_else(|| format!("{named} has no figures for it"))?;
            times_better(helios, other).ok_or_else(|| format!("{named} gives no ratio"))
        };
        match self.target {
            Target::P95Below(limit) => Ok((figures.p95 < limit, unit.show(figures.p95))),
            Target::MedianBelow(limit) => Ok((figures.median < limit, unit.show(figures.median))),
            Target::TimesBetter(peer, times) => {
                let ratio = against(peer)?;
                Ok((ratio >= times, format!("{ratio:.2}x")))
            }
            Target::OfCeiling(ceiling, part) => {
                let ratio = against(ceiling)?;
                Ok((ratio >= part, format!("{ratio:.2} of it")))
            }
            Target::OfLowestCeiling(part) => {
                let ratio = helios.of_ceiling.ok_or("no ceiling has figures for it")?;
                let ceiling = helios.ceiling.as_deref().unwrap_or_default();
                Ok((ratio >= part, format!("{ratio:.2} of {ceiling}")))
            }
        }
    }

    fn words(&self) -> String {
        let unit = if self.quantity.contains("bytes") {
            crate::measure::figures::Unit::Bytes
        } else {
            crate::measure::figures::Unit::Nanoseconds
        };
        let asked = match self.target {
            Target::P95Below(limit) => format!("P95 below {}", unit.show(limit)),
            Target::MedianBelow(limit) => format!("median below {}", unit.show(limit)),
            Target::TimesBetter(peer, times) => format!("at least {times}x better than {peer}"),
            Target::OfCeiling(ceiling, part) => format!("at least {part:.2} of {ceiling}"),
            Target::OfLowestCeiling(part) => format!("at least {part:.2} of its lowest ceiling"),
        };
        format!(
            "{}: {}, {}, {}: {asked}",
            self.workload,
            self.case,
            self.class.name(),
            self.quantity
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::figures::Unit;
    use crate::report::compare::fill_in;
    use crate::report::compare::tests::row;

    fn goal(target: Target) -> Goal {
        Goal {
            workload: "steps",
            case: "case",
            class: Class::Durable,
            quantity: "quantity",
            target,
        }
    }

    /// Goal: goals are met, missed or not measured for the right reasons. Method: one pair of rows, targets around it.
    #[test]
    fn goals_are_met_missed_or_not_measured() {
        let time = |subject, role, value| row(subject, role, Class::Durable, Unit::Nanoseconds, value);
        let mut rows = [
            time("helios", Role::Helios, 100),
            time("git", Role::Peer, 300),
            time("device", Role::Ceiling, 80),
            time("memory", Role::Ceiling, 50),
        ];
        let met = |target| goal(target).judge(&rows).met;
        assert_eq!(met(Target::P95Below(101.0)), Some(true));
        assert_eq!(met(Target::P95Below(100.0)), Some(false));
        assert_eq!(met(Target::TimesBetter("git", 3.0)), Some(true));
        assert_eq!(met(Target::TimesBetter("git", 3.1)), Some(false));
        assert_eq!(met(Target::TimesBetter("restic", 1.0)), None);
        assert_eq!(met(Target::OfCeiling("device", 0.8)), Some(true));
        assert_eq!(met(Target::OfCeiling("device", 0.9)), Some(false));
        assert_eq!(met(Target::OfLowestCeiling(0.8)), None);
        fill_in(&mut rows);
        let met = |target| goal(target).judge(&rows).met;
        assert_eq!(met(Target::OfLowestCeiling(0.8)), Some(true));
        assert_eq!(met(Target::OfLowestCeiling(0.9)), Some(false));
        let mut other_class = goal(Target::P95Below(101.0));
        other_class.class = Class::Visible;
        assert_eq!(other_class.judge(&rows).met, None);
    }
}
