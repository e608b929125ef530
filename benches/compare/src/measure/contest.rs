//! Several subjects do the same work in turns: A B C, A B C, ... What slows the machine for a while slows all of them.
//!
//! Invariants: a subject that fails or panics becomes a row that says so, and the others go on; it has no figures then,
//! not even of the rounds before. Each turn is one round of the figures.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hdrhistogram::Histogram;

use super::figures::{Figures, Quantity, Round};
use super::{Class, Outcome, Scale};
use crate::report::row::{Result as RowResult, Role, Row};

/// Who takes part, and as what.
#[derive(Debug, Clone)]
pub struct Who {
    /// Name of the program or way.
    pub name: String,
    /// Peer, Helios or ceiling.
    pub role: Role,
    /// What it promises; a ceiling has the class of those it limits.
    pub class: Class,
    /// How it is set up, and what is not equal.
    pub note: String,
    /// Its turns run on a thread of their own that stays on the last core, while reactors start with the first. Not for
    /// those who start threads or programs: these would have to stay there too.
    pub pinned: bool,
}

impl Who {
    /// Helios.
    pub fn helios(class: Class, note: impl Into<String>) -> Who {
        Who::new("helios", Role::Helios, class, note)
    }

    /// Somebody to compare with.
    pub fn peer(name: impl Into<String>, class: Class, note: impl Into<String>) -> Who {
        Who::new(name, Role::Peer, class, note)
    }

    /// A limit of the hardware.
    pub fn ceiling(name: impl Into<String>, class: Class, note: impl Into<String>) -> Who {
        Who::new(name, Role::Ceiling, class, note)
    }

    fn new(name: impl Into<String>, role: Role, class: Class, note: impl Into<String>) -> Who {
        Who {
            name: name.into(),
            role,
            class,
            note: note.into(),
            pinned: false,
        }
    }

    /// The same by another name, where several ways are compared.
    pub fn named(mut self, name: impl Into<String>) -> Who {
        self.name = name.into();
        self
    }

    /// The same, on a core of its own.
    pub fn pinned(mut self) -> Who {
        self.pinned = true;
        self
    }
}

/// A turn.
pub type Turn<'a> = Box<dyn FnMut(&mut Round) -> Outcome + Send + 'a>;

struct Entry<'a> {
    who: Who,
    turn: Result<Turn<'a>, RowResult>,
    rounds: Vec<Round>,
}

/// See the module.
pub struct Contest<'a> {
    workload: &'static str,
    case: String,
    entries: Vec<Entry<'a>>,
}

impl<'a> Contest<'a> {
    /// Nobody takes part yet.
    pub fn new(workload: &'static str, case: impl Into<String>) -> Contest<'a> {
        Contest {
            workload,
            case: case.into(),
            entries: Vec::new(),
        }
    }

    /// Sets a subject up and lets it take part.
    pub fn enter(&mut self, who: Who, set_up: impl FnOnce() -> Outcome<Turn<'a>>) {
        let turn = guarded(set_up).map_err(|why| RowResult::Failed { why });
        self.entries.push(Entry {
            who,
            turn,
            rounds: Vec::new(),
        });
    }

    /// A subject that cannot take part here, and why.
    pub fn skip(&mut self, who: Who, why: impl Into<String>) {
        self.entries.push(Entry {
            who,
            turn: Err(RowResult::Skipped { why: why.into() }),
            rounds: Vec::new(),
        });
    }

    /// Runs all rounds.
    pub fn run(mut self, scale: &Scale) -> Vec<Row> {
        for round in 1..=scale.repetitions {
            eprint!(
                "\r  {}: {}, round {round} of {} ",
                self.workload, self.case, scale.repetitions
            );
            for entry in &mut self.entries {
                entry.take_turn();
            }
        }
        eprintln!();
        let rows = self
            .entries
            .into_iter()
            .flat_map(|entry| entry.rows(self.workload, &self.case));
        rows.collect()
    }
}

impl Entry<'_> {
    fn take_turn(&mut self) {
        let Ok(turn) = &mut self.turn else { return };
        let mut round = Round::default();
        let pinned = self.who.pinned;
        let outcome = guarded(|| {
            if !pinned {
                return turn(&mut round);
            }
            std::thread::scope(|scope| {
                let turn = scope.spawn(|| {
                    pin_to_last();
                    turn(&mut round)
                });
                turn.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        });
        match outcome {
            Ok(()) => self.rounds.push(round),
            Err(why) => self.turn = Err(RowResult::Failed { why }),
        }
    }

    fn rows(self, workload: &str, case: &str) -> Vec<Row> {
        let row = |quantity: Option<Quantity>, result| Row {
            workload: workload.to_owned(),
            case: case.to_owned(),
            class: self.who.class,
            quantity: quantity.map_or("all", |quantity| quantity.name).to_owned(),
            unit: quantity.map(|quantity| quantity.unit),
            subject: self.who.name.clone(),
            role: self.who.role,
            note: self.who.note.clone(),
            result,
            times_best_peer: None,
            best_peer: None,
            of_ceiling: None,
            ceiling: None,
        };
        if let Err(result) = self.turn {
            return vec![row(None, result)];
        }
        let mut by_quantity: Vec<(Quantity, Vec<Histogram<u64>>)> = Vec::new();
        for (quantity, samples) in self.rounds.into_iter().flat_map(Round::into_samples) {
            match by_quantity.iter_mut().find(|(known, _)| *known == quantity) {
                Some((_, rounds)) => rounds.push(samples),
                None => by_quantity.push((quantity, vec![samples])),
            }
        }
        if by_quantity.is_empty() {
            let why = "it ran and measured nothing".to_owned();
            return vec![row(None, RowResult::Failed { why })];
        }
        by_quantity
            .into_iter()
            .map(|(quantity, rounds)| {
                let figures = Figures::of(quantity.unit, &rounds);
                row(Some(quantity), RowResult::Measured(figures))
            })
            .collect()
    }
}

/// What failed or panicked, in words.
fn guarded<T>(work: impl FnOnce() -> Outcome<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(|problem| problem.to_string()),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(said.unwrap_or_else(|| "it panicked".to_owned()))
        }
    }
}

fn pin_to_last() {
    if let Some(core) = core_affinity::get_core_ids().and_then(|cores| cores.into_iter().last()) {
        core_affinity::set_for_current(core);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Quantity = Quantity::time("time");

    fn scale(repetitions: usize) -> Scale {
        Scale {
            quick: true,
            repetitions,
            seed: 1,
        }
    }

    /// Goal: subjects take turns. Method: each writes its name down.
    #[test]
    fn subjects_take_turns() {
        let order = std::sync::Mutex::new(String::new());
        let mut contest = Contest::new("test", "turns");
        for name in ["a", "b", "c"] {
            let order = &order;
            contest.enter(Who::peer(name, Class::Read, ""), || {
                Ok(Box::new(move |round: &mut Round| {
                    order.lock().expect("nobody panics").push_str(name);
                    round.record(TIME, 1);
                    Ok(())
                }))
            });
        }
        assert_eq!(contest.run(&scale(3)).len(), 3);
        assert_eq!(*order.lock().expect("nobody panics"), "abcabcabc");
    }

    /// Goal: whoever fails is a row, and the others go on. Method: one fails at first, one panics later, one is missing.
    #[test]
    fn whoever_fails_is_a_row_and_the_others_go_on() {
        let mut contest = Contest::new("test", "failures");
        contest.enter(
            Who::peer("setup", Class::Read, ""),
            || Err("no such thing".into()),
        );
        let mut turns = 0;
        contest.enter(Who::peer("panic", Class::Read, "").pinned(), || {
            Ok(Box::new(move |round: &mut Round| {
                turns += 1;
                round.record(TIME, 1);
                assert!(turns < 2, "at the second turn");
                Ok(())
            }))
        });
        contest.enter(Who::peer("silent", Class::Read, ""), || {
            Ok(Box::new(|_: &mut Round| Ok(())))
        });
        contest.skip(Who::peer("missing", Class::Read, ""), "not here");
        contest.enter(Who::helios(Class::Read, ""), || {
            Ok(Box::new(|round: &mut Round| {
                round.record(TIME, 7);
                Ok(())
            }))
        });
        let rows = contest.run(&scale(3));
        let words: Vec<String> = rows.iter().map(|row| row.result.to_string()).collect();
        assert!(words[0].contains("no such thing"), "{words:?}");
        assert!(words[1].contains("at the second turn"), "{words:?}");
        assert!(words[2].contains("measured nothing"), "{words:?}");
        assert!(words[3].contains("not here"), "{words:?}");
        let RowResult::Measured(figures) = &rows[4].result else {
            panic!("{words:?}")
        };
        assert_eq!((figures.samples, figures.median), (3, 7.0));
    }
}
