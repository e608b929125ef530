//! Plans of faults: which commands suffer what, by chance or by script.

use std::ops::Range;
use std::time::Duration;

use super::random::Random;
use crate::device::Operation;

/// Kinds of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum On {
    /// `Operation::Read`.
    Read,
    /// `Operation::Write`.
    Write,
    /// `Operation::Flush`.
    Flush,
    /// `Operation::Discard`.
    Discard,
    /// `Operation::WriteZeroes`.
    WriteZeroes,
    /// `Operation::Allocate`.
    Allocate,
}

impl On {
    pub(super) fn of(operation: &Operation) -> On {
        match operation {
            Operation::Read { .. } => On::Read,
            Operation::Write { .. } => On::Write,
            Operation::Flush => On::Flush,
            Operation::Discard { .. } => On::Discard,
            Operation::WriteZeroes { .. } => On::WriteZeroes,
            Operation::Allocate { .. } => On::Allocate,
        }
    }
}

/// What befalls a command; the fault model at the top of the module says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Answered with this `errno`. Any command.
    Fail(i32),
    /// Acknowledged and never done. Writes, zero-writes, discards, flushes.
    Lose,
    /// Acknowledged and done in part. Writes.
    Tear,
    /// Done at another place. Reads and writes.
    Misdirect,
    /// One bit differs. Reads (in the answer) and writes (on the media).
    Flip,
    /// One bit of the place read has changed on the media. Reads.
    Rot,
    /// Answered with the contents before the last write. Reads.
    Stale,
    /// Takes this much longer. Any command.
    Slow(Duration),
}

impl Effect {
    fn befalls(self, on: On) -> bool {
        match self {
            Effect::Fail(_) | Effect::Slow(_) => true,
            Effect::Lose => matches!(on, On::Write | On::WriteZeroes | On::Discard | On::Flush),
            Effect::Tear => on == On::Write,
            Effect::Misdirect | Effect::Flip => matches!(on, On::Read | On::Write),
            Effect::Rot | Effect::Stale => on == On::Read,
        }
    }
}

/// One line of a plan. Without conditions it befalls every command of its kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    on: On,
    effect: Effect,
    chance: f64,
    nth: Option<u64>,
    within: Option<Range<u64>>,
    times_max: u64,
    /// Commands that met the place condition.
    seen: u64,
    /// How often it has struck.
    times: u64,
}

impl Rule {
    /// Commands of the kind `on` suffer `effect`.
    ///
    /// # Panics
    /// If the effect has no meaning for the kind.
    pub fn new(on: On, effect: Effect) -> Rule {
        assert!(effect.befalls(on), "{effect:?} does not befall {on:?}");
        Rule {
            on,
            effect,
            chance: 1.0,
            nth: None,
            within: None,
            times_max: u64::MAX,
            seen: 0,
            times: 0,
        }
    }

    /// Each with this probability.
    pub fn chance(mut self, probability: f64) -> Rule {
        self.chance = probability;
        self
    }

    /// Only the `nth` of them, from 1 (counted among those that touch the place of [`within`](Self::within)).
    pub fn nth(mut self, nth: u64) -> Rule {
        self.nth = Some(nth);
        self
    }

    /// Only those that touch a byte of this range of the device. Never a flush.
    pub fn within(mut self, range: Range<u64>) -> Rule {
        self.within = Some(range);
        self
    }

    /// At most this many times.
    pub fn times(mut self, times: u64) -> Rule {
        self.times_max = times;
        self
    }

    fn strikes(&mut self, on: On, place: Option<&Range<u64>>, random: &mut Random) -> bool {
        if self.on != on {
            return false;
        }
        if let Some(within) = &self.within
            && !place.is_some_and(|place| place.start < within.end && within.start < place.end)
        {
            return false;
        }
        self.seen += 1;
        if self.times >= self.times_max || self.nth.is_some_and(|nth| nth != self.seen) {
            return false;
        }
        let strikes = self.chance >= 1.0 || random.chance(self.chance);
        self.times += u64::from(strikes);
        strikes
    }
}

/// A plan: a command suffers the first rule that strikes it. Empty by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    rules: Vec<Rule>,
    space: Option<u64>,
}

impl Faults {
    /// No faults.
    pub fn none() -> Faults {
        Faults::default()
    }

    /// Adds a rule, after those that are there.
    pub fn with(mut self, rule: Rule) -> Faults {
        self.rules.push(rule);
        self
    }

    /// Bounds the space of the device: allocating or writing units beyond this many bytes in all fails with "no
    /// space". Units that are not zero when the plan is set count as taken; discarding gives units back.
    pub fn space(mut self, bytes: u64) -> Faults {
        self.space = Some(bytes);
        self
    }

    pub(super) fn space_max(&self) -> Option<u64> {
        self.space
    }

    pub(super) fn reads_stale(&self) -> bool {
        self.rules.iter().any(|rule| rule.effect == Effect::Stale)
    }

    pub(super) fn draw(&mut self, on: On, place: Option<&Range<u64>>, random: &mut Random) -> Option<Effect> {
        self.rules
            .iter_mut()
            .find_map(|rule| rule.strikes(on, place, random).then_some(rule.effect))
    }
}
