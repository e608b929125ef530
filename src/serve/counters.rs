//! What the server counts, and who may read it.
//!
//! Invariants: a line of counters has one writer, the thread of its reactor (plain load and store, no locked instruction), and
//! whoever wants a figure adds the reactors up; a call is counted once, when it is answered, refused or abandoned. All relaxed:
//! counters order nothing.
//! Rejected: counters of each connection (the scraper would need a list of all connections behind a lock, and the totals of those
//! that have gone); one line for all reactors (every call of every client would write it).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use helios_engine::ops::{Class, Failure, Request};
use helios_engine::reactor::Nanos;

use crate::wire::message::Call;

/// Kinds of calls, as they are named where they are counted: those of working trees, each operation of `run`, those of
/// the server, and all questions about extents and roots together.
pub const KINDS: [&str; 34] = [
    "ping",
    "open_files",
    "files",
    "fork_files",
    "close_files",
    "init",
    "info",
    "stats",
    "check",
    "collect",
    "scrub",
    "put",
    "get",
    "exists",
    "pin",
    "unpin",
    "commit",
    "status",
    "branch",
    "tag",
    "forget",
    "expire",
    "quota",
    "why",
    "usage",
    "log",
    "list",
    "cat",
    "diff",
    "merge",
    "restore",
    "materialize",
    "observe",
    "store",
];

/// What comes of calls: an answer, the class of a failure, or nobody who wanted to know.
pub const OUTCOMES: [&str; 14] = [
    "ok",
    "failed",
    "invalid",
    "not_found",
    "conflict",
    "in_use",
    "full",
    "quota",
    "damaged",
    "io",
    "cancelled",
    "busy",
    "abandoned",
    "other",
];

/// Kinds of calls on working trees, as they wait for their turn: those that only look, and those that change something.
pub const LANES: [&str; 2] = ["looks", "changes"];

/// Bounds of the histograms of calls, in nanoseconds; what took longer is in none of them.
pub const BOUNDS_NS: [u64; 20] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// A kind of call: its place in [`KINDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallKind(usize);

impl CallKind {
    pub(super) fn of(call: &Call) -> CallKind {
        CallKind(match call {
            Call::Ping => 0,
            Call::OpenFiles(_) => 1,
            Call::Files { .. } => 2,
            Call::ForkFiles { .. } => 3,
            Call::CloseFiles { .. } => 4,
            Call::Observe => 32,
            Call::Store(_) => 33,
            Call::Run { request } => match request {
                Request::Init(_) => 5,
                Request::Info => 6,
                Request::Stats => 7,
                Request::Check(_) => 8,
                Request::Collect(_) => 9,
                Request::Scrub(_) => 10,
                Request::Put(_) => 11,
                Request::Get(_) => 12,
                Request::Exists(_) => 13,
                Request::Pin(_) => 14,
                Request::Unpin(_) => 15,
                Request::Commit(_) => 16,
                Request::Status(_) => 17,
                Request::Branch(_) => 18,
                Request::Tag(_) => 19,
                Request::Forget(_) => 20,
                Request::Expire(_) => 21,
                Request::Quota(_) => 22,
                Request::Why(_) => 23,
                Request::Usage(_) => 24,
                Request::Log(_) => 25,
                Request::List(_) => 26,
                Request::Cat(_) => 27,
                Request::Diff(_) => 28,
                Request::Merge(_) => 29,
                Request::Restore(_) => 30,
                Request::Materialize(_) => 31,
            },
        })
    }
}

/// What came of a call: its place in [`OUTCOMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome(usize);

impl Outcome {
    pub(super) const OK: Outcome = Outcome(0);
    pub(super) const BUSY: Outcome = Outcome(11);
    pub(super) const ABANDONED: Outcome = Outcome(12);

    pub(super) fn of(failure: &Failure) -> Outcome {
        match failure.class {
            Class::Failed => Outcome(1),
            Class::Invalid => Outcome(2),
            Class::NotFound => Outcome(3),
            Class::Conflict => Outcome(4),
            Class::InUse => Outcome(5),
            Class::Full => Outcome(6),
            Class::Quota => Outcome(7),
            Class::Damaged => Outcome(8),
            Class::Io => Outcome(9),
            Class::Cancelled => Outcome(10),
            Class::Busy => Outcome::BUSY,
            _ => Outcome(13),
        }
    }
}

/// A call from its first word on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timed {
    pub(super) kind: CallKind,
    pub(super) began: Nanos,
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Calls of one kind on one reactor.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) outcomes: [Counter; OUTCOMES.len()],
    /// By the first bound that is not exceeded; the last place is for those beyond all bounds.
    pub(super) durations: [Counter; BOUNDS_NS.len() + 1],
    pub(super) sum_ns: Counter,
}

/// What happens on one reactor; written by its thread alone.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Reactor {
    pub(super) received_bytes: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) trees_opened: Counter,
    pub(super) trees_closed: Counter,
    pub(super) calls: [Calls; KINDS.len()],
}

impl Default for Reactor {
    fn default() -> Reactor {
        Reactor {
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            trees_opened: Counter::default(),
            trees_closed: Counter::default(),
            // Longer than arrays that have a default of their own.
            calls: std::array::from_fn(|_| Calls::default()),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) reactors: Box<[Reactor]>,
    /// Clients sent away; written by the reactor that accepts.
    pub(super) turned_away: [Counter; TURNED_AWAY.len()],
}

/// Why clients are sent away.
pub const TURNED_AWAY: [&str; 3] = ["not_allowed", "too_many", "failed"];

impl Counters {
    pub(super) fn new(reactors: usize) -> Arc<Counters> {
        Arc::new(Counters {
            reactors: (0..reactors).map(|_| Reactor::default()).collect(),
            turned_away: Default::default(),
        })
    }

    /// A client was sent away; called by the reactor that accepts, and no other.
    pub(super) fn turned_away(&self, why: TurnedAway) {
        self.turned_away[why as usize].add(1);
    }
}

/// Place of a reason in [`TURNED_AWAY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnedAway {
    NotAllowed,
    TooMany,
    Failed,
}

/// Counts what happens on one reactor. Not `Send`: it is that reactor's alone.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    counters: Arc<Counters>,
    reactor: usize,
    _stays: std::marker::PhantomData<std::rc::Rc<()>>,
}

impl Tally {
    /// Of the reactor `local`.
    pub(super) fn new(counters: &Arc<Counters>, local: &helios_engine::reactor::Local) -> Tally {
        Tally::of_reactor(counters, local.id().0)
    }

    /// Of the reactor of that number, to be used on its thread.
    pub(super) fn of_reactor(counters: &Arc<Counters>, reactor: usize) -> Tally {
        Tally {
            counters: Arc::clone(counters),
            reactor,
            _stays: std::marker::PhantomData,
        }
    }

    fn reactor(&self) -> &Reactor {
        &self.counters.reactors[self.reactor]
    }

    pub(super) fn received(&self, bytes: usize) {
        self.reactor().received_bytes.add(bytes as u64);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.reactor().sent_bytes.add(bytes as u64);
    }

    /// A call is over.
    pub(super) fn ended(&self, call: Timed, now: Nanos, outcome: Outcome) {
        let calls = &self.reactor().calls[call.kind.0];
        let took = now.0.saturating_sub(call.began.0);
        calls.outcomes[outcome.0].add(1);
        calls.durations[BOUNDS_NS.partition_point(|bound| *bound < took)].add(1);
        calls.sum_ns.add(took);
    }
}

/// Counts a working tree while it is open.
#[derive(Debug)]
pub(super) struct OpenTree(Tally);

impl OpenTree {
    pub(super) fn new(tally: &Tally) -> OpenTree {
        tally.reactor().trees_opened.add(1);
        OpenTree(tally.clone())
    }
}

impl Drop for OpenTree {
    fn drop(&mut self) {
        self.0.reactor().trees_closed.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a kind of call is counted under the name the protocol gives it. Method: the name in the message itself.
    #[test]
    fn kinds_are_named_as_in_the_protocol() {
        let named = |call: &Call| {
            let value = serde_json::to_value(call).expect("plain values");
            let name = value["request"]["operation"].as_str();
            name.or(value["call"].as_str()).expect("a name").to_owned()
        };
        let run = |request| Call::Run { request };
        for call in [
            Call::Ping,
            Call::OpenFiles(Default::default()),
            Call::Files {
                tree: 1,
                steps: Vec::new(),
            },
            Call::ForkFiles {
                tree: 1,
                branch: "b".into(),
            },
            Call::CloseFiles { tree: 1 },
            Call::Observe,
            Call::Store(crate::wire::extents::Ask::Flush),
            run(Request::Info),
            run(Request::Stats),
            run(Request::Commit(Default::default())),
        ] {
            assert_eq!(KINDS[CallKind::of(&call).0], named(&call));
        }
        // Any other order would shift those behind it.
        let failure = Failure::busy("later", 1);
        assert_eq!(OUTCOMES[Outcome::of(&failure).0], "busy");
        assert_eq!(OUTCOMES[Outcome::ABANDONED.0], "abandoned");
        let failure = Failure::new(Class::Cancelled, "stopped");
        assert_eq!(OUTCOMES[Outcome::of(&failure).0], "cancelled");
    }
}
