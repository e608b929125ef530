//! Whether a server does what it should, and if not, why.
//!
//! Three questions with different consequences: is it alive (if not, restart it), is it ready (if not, send nobody there), is
//! it degraded (if so, somebody should look). [`judge`] answers them from facts alone.
//! Rejected: one word for all of it (whatever watches a server would restart a store for a damaged extent).

use std::time::Duration;

use helios_engine::reactor::ReactorId;

use super::http::Page;
use super::pulse::Pulse;
use crate::serve::served::Observed;
use crate::wire::message::{self, Health as Told};

/// A reactor that has said nothing for so long hangs. Its longest turn is some milliseconds.
const PULSE_PATIENCE: Duration = Duration::from_secs(2);
/// Messages told of one condition; of more only the number is.
const MESSAGES_MAX: usize = 8;
/// A store with less than this part of its capacity free is nearly full.
const NEARLY_FULL_PART: u64 = 20;

/// What is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// A reactor does not turn.
    ReactorSilent,
    /// The server ends.
    Ending,
    /// The store takes no writes.
    ReadOnly,
    /// Something on the device cannot be read.
    Damaged,
    /// Writes have failed; what they left in doubt was written anew elsewhere.
    Fenced,
    /// A task of a reactor has panicked.
    Panicked,
    /// Little room is left.
    NearlyFull,
}

/// What a condition does to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It works, and somebody should look.
    Degraded,
    /// It does not do all of its work.
    NotReady,
    /// It does nothing any more.
    NotLive,
}

impl Condition {
    /// All of them.
    pub const ALL: [Condition; 7] = [
        Condition::ReactorSilent,
        Condition::Ending,
        Condition::ReadOnly,
        Condition::Damaged,
        Condition::Fenced,
        Condition::Panicked,
        Condition::NearlyFull,
    ];

    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Condition::ReactorSilent => "reactor_silent",
            Condition::Ending => "ending",
            Condition::ReadOnly => "read_only",
            Condition::Damaged => "damaged",
            Condition::Fenced => "fenced",
            Condition::Panicked => "panicked",
            Condition::NearlyFull => "nearly_full",
        }
    }

    /// What it does to the server.
    pub fn effect(self) -> Effect {
        match self {
            Condition::ReactorSilent => Effect::NotLive,
            Condition::Ending | Condition::ReadOnly => Effect::NotReady,
            Condition::Damaged | Condition::Fenced | Condition::Panicked | Condition::NearlyFull => {
                Effect::Degraded
            }
        }
    }
}

/// What is known of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Reactors that do not answer.
    pub silent: Vec<ReactorId>,
    /// Whether it ends.
    pub is_ending: bool,
    /// Why the store takes no writes, if it takes none.
    pub read_only: Option<String>,
    /// What cannot be read, one text each.
    pub damage: Vec<String>,
    /// Where writes failed, one text each.
    pub fences: Vec<String>,
    /// What the first task to panic said.
    pub panic: Option<String>,
    /// Bytes of the device.
    pub capacity: u64,
    /// Bytes that can still be written.
    pub free: u64,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Which.
    pub condition: Condition,
    /// The facts, for people.
    pub message: String,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Everything that is not as it should be; empty in a healthy server.
    pub reasons: Vec<Reason>,
}

/// Draws the conclusions.
pub fn judge(facts: &Facts) -> Health {
    let mut reasons = Vec::new();
    let mut add = |condition, messages: &[String]| {
        for message in messages.iter().take(MESSAGES_MAX) {
            reasons.push(Reason {
                condition,
                message: message.clone(),
            });
        }
        if let Some(more) = messages.len().checked_sub(MESSAGES_MAX + 1) {
            let message = format!("and {} more; `helios info` lists them all", more + 1);
            reasons.push(Reason { condition, message });
        }
    };
    let silent = facts.silent.iter();
    let silent: Vec<String> = silent
        .map(|reactor| {
            format!(
                "reactor {reactor} has said nothing for {} s; calls on it hang",
                PULSE_PATIENCE.as_secs()
            )
        })
        .collect();
    add(Condition::ReactorSilent, &silent);
    if facts.is_ending {
        add(
            Condition::Ending,
            &["the server ends; no new calls are taken".into()],
        );
    }
    add(Condition::ReadOnly, facts.read_only.as_slice());
    add(Condition::Damaged, &facts.damage);
    add(Condition::Fenced, &facts.fences);
    if let Some(panic) = &facts.panic {
        add(Condition::Panicked, &[format!("a task has panicked: {panic}")]);
    }
    if facts.free < facts.capacity / NEARLY_FULL_PART {
        let message = format!(
            "{} of {} bytes are free; delete branches or `helios forget`, then `helios gc`",
            facts.free, facts.capacity
        );
        add(Condition::NearlyFull, &[message]);
    }
    Health { reasons }
}

impl Health {
    /// Of a server, as it is now.
    pub fn of(observed: &Observed, pulse: &mut Pulse) -> Health {
        let store = observed.host().store();
        let is_ending = observed.is_ending();
        let (health, space) = (store.health(), store.space());
        judge(&Facts {
            // The last act of a server that ends is to stop its reactors.
            silent: if is_ending {
                Vec::new()
            } else {
                pulse.silent(PULSE_PATIENCE)
            },
            is_ending,
            read_only: health.read_only,
            damage: health
                .damage
                .iter()
                .map(|damage| {
                    format!(
                        "segment {} at byte {}: {}",
                        damage.segment, damage.offset, damage.what
                    )
                })
                .collect(),
            fences: health
                .fences
                .iter()
                .map(|fence| {
                    format!(
                        "log {}: a write failed at segment {}, byte {} ({}); it was written anew elsewhere",
                        fence.log, fence.segment, fence.offset, fence.reason
                    )
                })
                .collect(),
            panic: store.runtime().failure(),
            capacity: space.capacity,
            free: space.free,
        })
    }

    /// Whether a condition holds.
    pub fn has(&self, condition: Condition) -> bool {
        self.reasons.iter().any(|reason| reason.condition == condition)
    }

    fn has_effect(&self, effect: impl Fn(Effect) -> bool) -> bool {
        self.reasons
            .iter()
            .any(|reason| effect(reason.condition.effect()))
    }

    /// Whether it does anything; if not, only a new start helps.
    pub fn is_live(&self) -> bool {
        !self.has_effect(|effect| effect == Effect::NotLive)
    }

    /// Whether it does all of its work: takes calls, reads and writes.
    pub fn is_ready(&self) -> bool {
        !self.has_effect(|effect| effect >= Effect::NotReady)
    }

    /// Whether somebody should look.
    pub fn is_degraded(&self) -> bool {
        self.has_effect(|effect| effect == Effect::Degraded)
    }

    /// All of it; `is_well` chooses between the status codes 200 and 503.
    pub fn page(&self, is_well: impl Fn(&Health) -> bool) -> Page {
        let status = if is_well(self) { 200 } else { 503 };
        let told = serde_json::to_value(self.told()).expect("plain values");
        Page::json(status, &told)
    }

    /// As it is told to those who ask.
    pub fn told(&self) -> Told {
        let told = |reason: &Reason| message::Reason {
            reason: reason.condition.name().to_owned(),
            message: reason.message.clone(),
        };
        Told {
            live: self.is_live(),
            ready: self.is_ready(),
            degraded: self.is_degraded(),
            reasons: self.reasons.iter().map(told).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sound() -> Facts {
        Facts {
            capacity: 1000,
            free: 50,
            ..Facts::default()
        }
    }

    /// The answer and the status codes of the questions for life and readiness.
    fn asked(facts: &Facts) -> (Value, u16, u16) {
        let health = judge(facts);
        let page = health.page(Health::is_ready);
        let value = serde_json::from_slice(&page.body).expect("a value");
        (value, health.page(Health::is_live).status, page.status)
    }

    /// Goal: a server with nothing to complain of is live, ready and not degraded.
    #[test]
    fn a_sound_server_is_well() {
        let (value, live, ready) = asked(&sound());
        assert_eq!((live, ready), (200, 200));
        let expected = json!({ "live": true, "ready": true, "degraded": false, "reasons": [] });
        assert_eq!(value, expected);
    }

    /// Goal: each condition alone has its effect, its name and its facts in the answer. Method: one fact at a time.
    #[test]
    fn each_condition_has_its_effect() {
        let cases = [
            (
                Facts {
                    silent: vec![ReactorId(3)],
                    ..sound()
                },
                ("reactor_silent", "reactor 3", 503, 503, false),
            ),
            (
                Facts {
                    is_ending: true,
                    ..sound()
                },
                ("ending", "no new calls", 200, 503, false),
            ),
            (
                Facts {
                    read_only: Some("writing failed".into()),
                    ..sound()
                },
                ("read_only", "writing failed", 200, 503, false),
            ),
            (
                Facts {
                    damage: vec!["segment 7".into()],
                    ..sound()
                },
                ("damaged", "segment 7", 200, 200, true),
            ),
            (
                Facts {
                    fences: vec!["log 1".into()],
                    ..sound()
                },
                ("fenced", "log 1", 200, 200, true),
            ),
            (
                Facts {
                    panic: Some("index out of bounds".into()),
                    ..sound()
                },
                ("panicked", "index out of bounds", 200, 200, true),
            ),
            (
                Facts { free: 49, ..sound() },
                ("nearly_full", "49 of 1000", 200, 200, true),
            ),
        ];
        assert_eq!(cases.len(), Condition::ALL.len());
        for (facts, (name, text, live, ready, degraded)) in cases {
            let (value, live_status, ready_status) = asked(&facts);
            assert_eq!((live_status, ready_status), (live, ready), "{name}");
            assert_eq!(value["live"], live == 200, "{name}");
            assert_eq!(value["ready"], ready == 200, "{name}");
            assert_eq!(value["degraded"], degraded, "{name}");
            assert_eq!(value["reasons"].as_array().map(Vec::len), Some(1), "{name}");
            assert_eq!(value["reasons"][0]["reason"], name);
            let message = value["reasons"][0]["message"].as_str().expect("a text");
            assert!(message.contains(text), "{message}");
        }
    }

    /// Goal: an answer stays short however much is damaged.
    #[test]
    fn long_lists_are_cut() {
        let facts = Facts {
            damage: (0..1000).map(|number| number.to_string()).collect(),
            ..sound()
        };
        let health = judge(&facts);
        assert_eq!(health.reasons.len(), MESSAGES_MAX + 1);
        let last = health.reasons.last().expect("a reason");
        assert!(last.message.contains("and 992 more"), "{}", last.message);
    }
}
