//! Counts of what happened, for reports.

use std::collections::BTreeMap;

use crate::device::sim::{Effect, Event};

/// Numbers by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// Counts one.
    pub fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    /// Counts several.
    pub fn add(&mut self, what: &str, count: u64) {
        match self.0.get_mut(what) {
            Some(known) => *known += count,
            None => drop(self.0.insert(what.to_owned(), count)),
        }
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Tally) {
        for (what, count) in &other.0 {
            self.add(what, *count);
        }
    }

    /// All counts, by name.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, count)| (what.as_str(), *count))
    }

    /// One count.
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Counts the faults among the commands of a device.
    pub(super) fn faults(&mut self, events: &[Event]) {
        for event in events {
            let Some(effect) = event.fault else { continue };
            let word = match effect {
                Effect::Fail(_) => "failed",
                Effect::Lose => "lost",
                Effect::Tear => "torn",
                Effect::Misdirect => "misdirected",
                Effect::Flip => "flipped",
                Effect::Rot => "rotten",
                Effect::Stale => "stale",
                Effect::Slow(_) => "slow",
            };
            self.count(&format!("fault: {word} {:?}", event.kind).to_lowercase());
        }
    }
}
