//! Which faults a run has, drawn from its seed.
//!
//! Faults that damage media are kept apart from those that do not, because what can be demanded afterwards differs:
//! see [`Weather::damages`].

use std::time::Duration;

use crate::device::sim::{Effect, On, Random, Rule};

const EIO: i32 = 5;

/// The kind of misfortune of a run. Crashes come in every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weather {
    /// No faults but crashes.
    Calm,
    /// Some commands take long.
    Slow,
    /// Some commands fail, reads too.
    Failing,
    /// The device runs out of space.
    Full,
    /// Bits rot, on the media and on the way.
    Rot,
    /// Writes are lost, torn or land elsewhere; reads are stale or come from elsewhere.
    Astray,
}

impl Weather {
    /// Draws one; more than half of all runs have no media damage.
    pub fn draw(random: &mut Random) -> Weather {
        match random.below(16) {
            0..=5 => Weather::Calm,
            6 | 7 => Weather::Slow,
            8..=10 => Weather::Failing,
            11 => Weather::Full,
            12 | 13 => Weather::Rot,
            _ => Weather::Astray,
        }
    }

    /// Whether what was acknowledged may be gone: then only wrong bytes, panics and hangs are violations.
    pub fn damages(self) -> bool {
        matches!(self, Weather::Rot | Weather::Astray)
    }

    /// Faults of one round.
    pub fn rules(self, random: &mut Random) -> Vec<Rule> {
        let mut rules = Vec::new();
        let chance = [0.002, 0.01, 0.05][usize::try_from(random.below(3)).unwrap_or(0)];
        match self {
            Weather::Calm | Weather::Full => {}
            Weather::Slow => {
                let longer = Duration::from_micros(100 + random.below(40_000));
                for on in [On::Read, On::Write, On::Flush, On::WriteZeroes] {
                    if random.chance(0.6) {
                        rules.push(Rule::new(on, Effect::Slow(longer)).chance(chance * 4.0));
                    }
                }
            }
            Weather::Failing => {
                let on = [
                    On::Read,
                    On::Read,
                    On::Write,
                    On::Write,
                    On::Flush,
                    On::WriteZeroes,
                    On::Allocate,
                ][usize::try_from(random.below(7)).unwrap_or(0)];
                let rule = Rule::new(on, Effect::Fail(EIO));
                rules.push(match random.chance(0.5) {
                    true => rule.nth(1 + random.below(30)),
                    false => rule.chance(chance),
                });
            }
            Weather::Rot => {
                let (on, effect) = match random.below(3) {
                    0 => (On::Read, Effect::Rot),
                    1 => (On::Read, Effect::Flip),
                    _ => (On::Write, Effect::Flip),
                };
                rules.push(Rule::new(on, effect).chance(chance));
            }
            Weather::Astray => {
                let (on, effect) = match random.below(5) {
                    0 => (On::Write, Effect::Lose),
                    1 => (On::Write, Effect::Tear),
                    2 => (On::Write, Effect::Misdirect),
                    3 => (On::Read, Effect::Misdirect),
                    _ => (On::Read, Effect::Stale),
                };
                rules.push(Rule::new(on, effect).chance(chance));
            }
        }
        rules
    }
}
