//! What the server counts, and who may read it.
//!
//! Invariants: a line of counters has one writer, the thread of its reactor (plain load and store, no locked instruction), and
//! whoever wants a figure adds the reactors up; a call is counted once, when it is answered, refused or abandoned. All relaxed:
//! counters order nothing.
//! Rejected: counters of each connection (the scraper would need a list of all connections behind a lock, and the totals of those
//! that have gone); one line for all reactors (every call of every client would write it).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use helios_engine::ops::{Class, Failure, Host, Request};
use helios_engine::reactor::Nanos;

use super::Server;
pub use super::admission::GateState;
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
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Calls of one kind on one reactor.
#[derive(Debug, Default)]
struct Calls {
    outcomes: [Counter; OUTCOMES.len()],
    /// By the first bound that is not exceeded; the last place is for those beyond all bounds.
    durations: [Counter; BOUNDS_NS.len() + 1],
    sum_ns: Counter,
}

/// What happens on one reactor; written by its thread alone.
#[derive(Debug)]
#[repr(align(128))]
struct Reactor {
    received_bytes: Counter,
    sent_bytes: Counter,
    trees_opened: Counter,
    trees_closed: Counter,
    calls: [Calls; KINDS.len()],
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
    reactors: Box<[Reactor]>,
    /// Clients sent away; written by the reactor that accepts.
    turned_away: [Counter; TURNED_AWAY.len()],
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
        Tally {
            counters: Arc::clone(counters),
            reactor: local.id().0,
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

/// Calls of one kind, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindCalls {
    /// How many ended in each of [`OUTCOMES`].
    pub outcomes: [u64; OUTCOMES.len()],
    /// How many took at most as long as each of [`BOUNDS_NS`].
    pub within: [u64; BOUNDS_NS.len()],
    /// How many there were.
    pub count: u64,
    /// What they took together, in nanoseconds.
    pub sum_ns: u64,
}

/// What a server has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// Clients that are here.
    pub connections: u64,
    /// Clients that came in.
    pub accepted: u64,
    /// Clients sent away, for each of [`TURNED_AWAY`].
    pub turned_away: [u64; TURNED_AWAY.len()],
    /// Calls under way.
    pub calls_under_way: u64,
    /// Calls of each of [`KINDS`].
    pub calls: Vec<KindCalls>,
    /// Bytes of whole frames from clients, passed memory included.
    pub received_bytes: u64,
    /// Bytes of frames for clients, passed memory included.
    pub sent_bytes: u64,
    /// Working trees that are open.
    pub trees_open: u64,
    /// Working trees opened so far.
    pub trees_opened: u64,
    /// Threads that run whole requests.
    pub workers: u64,
    /// Those at work.
    pub workers_busy: u64,
    /// Requests that wait for one.
    pub requests_waiting: u64,
    /// What the gate of each reactor looks like.
    pub gates: Vec<GateState>,
    /// Bytes of memory that clients hold: working trees, calls that wait, what is read, answers that wait.
    pub memory_held: u64,
    /// Bytes that they may hold together.
    pub memory_limit: u64,
    /// How often something was refused because of that, or because a connection held all that one may.
    pub memory_refused: u64,
}

/// A server as those see it that only look at it.
#[derive(Clone)]
pub struct Observed(pub(super) Arc<Server>);

impl Observed {
    /// Who owns the store.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// Whether no new calls are taken any more.
    pub fn is_ending(&self) -> bool {
        self.0.is_ending()
    }

    /// What the server has done so far: figures read one after the other, each of which is right.
    pub fn served(&self) -> Served {
        let server = &self.0;
        let reactors = &server.counters.reactors;
        let sum =
            |read: &dyn Fn(&Reactor) -> &Counter| reactors.iter().map(|reactor| read(reactor).get()).sum();
        // Closed before opened, so that no tree is closed that was never open.
        let trees_closed: u64 = sum(&|reactor| &reactor.trees_closed);
        let trees_opened: u64 = sum(&|reactor| &reactor.trees_opened);
        let load = server.workers.load();
        let memory = server.memory.figures();
        Served {
            connections: server.connections.load(Relaxed) as u64,
            accepted: server.accepted.load(Relaxed),
            turned_away: std::array::from_fn(|why| server.counters.turned_away[why].get()),
            calls_under_way: server.calls.load(Relaxed) as u64,
            calls: (0..KINDS.len()).map(|kind| calls(reactors, kind)).collect(),
            received_bytes: sum(&|reactor| &reactor.received_bytes),
            sent_bytes: sum(&|reactor| &reactor.sent_bytes),
            trees_open: trees_opened.saturating_sub(trees_closed),
            trees_opened,
            workers: load.threads,
            workers_busy: load.busy,
            requests_waiting: load.waiting,
            gates: server.gates.iter().map(|gate| gate.state()).collect(),
            memory_held: memory.held,
            memory_limit: memory.limit,
            memory_refused: memory.refused,
        }
    }
}

fn calls(reactors: &[Reactor], kind: usize) -> KindCalls {
    let sum = |read: &dyn Fn(&Calls) -> &Counter| {
        reactors
            .iter()
            .map(|reactor| read(&reactor.calls[kind]).get())
            .sum::<u64>()
    };
    let mut count = 0;
    let within = std::array::from_fn(|bound| {
        count += sum(&|calls| &calls.durations[bound]);
        count
    });
    // Counted from the buckets and nothing else, so that they agree whenever they are read.
    count += sum(&|calls| &calls.durations[BOUNDS_NS.len()]);
    KindCalls {
        outcomes: std::array::from_fn(|outcome| sum(&|calls| &calls.outcomes[outcome])),
        within,
        count,
        sum_ns: sum(&|calls| &calls.sum_ns),
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

    /// Goal: durations land in the right bucket, the bound itself included, and buckets agree with the count.
    #[test]
    fn durations_are_counted_within_their_bounds() {
        let reactors = [Reactor::default(), Reactor::default()];
        let counters = Arc::new(Counters {
            reactors: reactors.into(),
            turned_away: Default::default(),
        });
        let took = [0, 10_000, 10_001, 60_000_000_000, 60_000_000_001];
        for (number, took) in took.into_iter().enumerate() {
            let tally = Tally {
                counters: Arc::clone(&counters),
                reactor: number % 2,
                _stays: std::marker::PhantomData,
            };
            let call = Timed {
                kind: CallKind(2),
                began: Nanos(5),
            };
            tally.ended(call, Nanos(5 + took), Outcome::OK);
        }
        let found = calls(&counters.reactors, 2);
        assert_eq!(found.count, 5);
        assert_eq!((found.within[0], found.within[1]), (2, 3));
        assert_eq!(found.within[BOUNDS_NS.len() - 1], 4);
        assert_eq!(found.outcomes[0], 5);
        assert_eq!(found.sum_ns, took.into_iter().sum::<u64>());
        assert_eq!(calls(&counters.reactors, 3), KindCalls::default());
    }
}
