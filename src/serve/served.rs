//! What a server has done so far, added up from what its reactors count.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use helios_engine::ops::Host;

use super::Server;
pub use super::admission::GateState;
use super::counters::{BOUNDS_NS, Calls, Counter, KINDS, OUTCOMES, Reactor, TURNED_AWAY};

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
    /// Whole requests that may run at once, each on a thread.
    pub workers: u64,
    /// Those that run.
    pub workers_busy: u64,
    /// Requests that wait for a thread.
    pub requests_waiting: u64,
    /// Requests that wait for their own clients and have lent their places to others.
    pub requests_stalled: u64,
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
            workers: load.places,
            workers_busy: load.busy,
            requests_waiting: load.waiting,
            requests_stalled: load.lent,
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
    use helios_engine::reactor::Nanos;

    use super::super::counters::{CallKind, Counters, Outcome, Tally, Timed};
    use super::*;
    use crate::wire::message::Call;

    /// Goal: durations land in the right bucket, the bound itself included, and buckets agree with the count.
    #[test]
    fn durations_are_counted_within_their_bounds() {
        let counters = Counters::new(2);
        let took = [0, 10_000, 10_001, 60_000_000_000, 60_000_000_001];
        for (number, took) in took.into_iter().enumerate() {
            let tally = Tally::of_reactor(&counters, number % 2);
            let call = Timed {
                kind: CallKind::of(&Call::Files {
                    tree: 1,
                    steps: Vec::new(),
                }),
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
