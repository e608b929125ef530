//! The gate of one reactor: calls on working trees come in by one of two lanes, and leave when they are done.
//!
//! Invariants: at most so many are inside as their lane allows; what waits is bounded, by number and by the time it is likely to
//! wait; a pass that nobody takes goes to the next. The lock is the reactor's own thread's but for whoever counts, and is held
//! for a few instructions.

use std::sync::Arc;
use std::time::Duration;

use helios_engine::ops::Failure;
use helios_engine::reactor::{Clock, Nanos, oneshot};
use parking_lot::Mutex;

use super::limit::Limit;
use super::{ClientNumber, Fair};

/// Calls that only look, inside at once: enough to keep a device busy, so few that clients take turns.
const LOOKING_MAX: usize = 64;
/// Calls that wait in one lane.
const WAITING_MAX: usize = 4096;
/// A call that is likely to wait longer is refused.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// It only looks.
    Looks,
    /// It changes something, or may.
    Changes,
}

impl Lane {
    /// Of what only looks, or does not.
    pub fn of(only_looks: bool) -> Lane {
        if only_looks { Lane::Looks } else { Lane::Changes }
    }
}

/// See the module.
pub struct Gate {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lanes: [Inside; 2],
    limit: Limit,
}

#[derive(Default)]
struct Inside {
    count: usize,
    waiting: Fair<oneshot::Sender<Pass>>,
    /// How long a call is inside, on average over some dozens.
    stay_ns: u64,
    refused: u64,
}

/// What the gate looks like from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateState {
    /// Calls that may change something at once.
    pub allowed: u64,
    /// Calls that wait: those that only look, and those that change something.
    pub waiting: [u64; 2],
    /// Calls that were refused, of either kind.
    pub refused: [u64; 2],
}

impl State {
    fn has_room(&self, lane: Lane) -> bool {
        let allowed = match lane {
            Lane::Looks => LOOKING_MAX,
            Lane::Changes => self.limit.allowed(),
        };
        self.lanes[lane as usize].count < allowed
    }

    /// How long a call of this client would wait.
    fn wait_of(&self, client: ClientNumber, lane: Lane) -> Duration {
        let inside = &self.lanes[lane as usize];
        let ahead = inside.waiting.ahead_of(client) as u64 + 1;
        Duration::from_nanos(ahead * inside.stay_ns / (inside.count as u64).max(1))
    }
}

impl Gate {
    /// Nobody is inside.
    pub fn new(clock: Clock) -> Arc<Gate> {
        Arc::new(Gate {
            clock,
            state: Mutex::default(),
        })
    }

    /// A call was taken at `began` and has its first turn now.
    pub fn has_turn(&self, began: Nanos) {
        let waited = self.clock.now().since(began);
        self.state.lock().limit.observe(waited);
    }

    /// Waits until a call of this client may go on.
    ///
    /// # Errors
    /// Class `Busy`: it would wait too long.
    pub async fn enter(self: &Arc<Self>, client: ClientNumber, lane: Lane) -> Result<Pass, Failure> {
        let turn = {
            let mut state = self.state.lock();
            if state.has_room(lane) && state.lanes[lane as usize].waiting.is_empty() {
                state.lanes[lane as usize].count += 1;
                drop(state);
                return Ok(self.pass(lane));
            }
            let wait = state.wait_of(client, lane);
            let inside = &mut state.lanes[lane as usize];
            if wait > WAIT_MAX || inside.waiting.len() >= WAITING_MAX {
                inside.refused += 1;
                let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
                return Err(Failure::busy(
                    "the owner of the store has more to do than it can do in time",
                    retry_after_ms,
                ));
            }
            let (sender, receiver) = oneshot();
            inside.waiting.push(client, sender);
            if lane == Lane::Changes {
                state.limit.is_felt();
            }
            receiver
        };
        match turn.await {
            Some(pass) => Ok(pass),
            None => Err(Failure::busy("the owner of the store is ending", 100)),
        }
    }

    fn pass(self: &Arc<Self>, lane: Lane) -> Pass {
        Pass {
            gate: Some(Arc::clone(self)),
            lane,
            entered: self.clock.now(),
        }
    }

    /// Lets in whoever is next, as long as there is room.
    fn admit(self: &Arc<Self>, lane: Lane) {
        loop {
            let next = {
                let mut state = self.state.lock();
                if !state.has_room(lane) {
                    return;
                }
                let inside = &mut state.lanes[lane as usize];
                let Some((_, next)) = inside.waiting.pop() else {
                    return;
                };
                inside.count += 1;
                next
            };
            if let Err(unwanted) = next.send(self.pass(lane)) {
                // Whoever waited has gone.
                unwanted.give_back();
            }
        }
    }

    /// What it looks like now.
    pub fn state(&self) -> GateState {
        let state = self.state.lock();
        let each = |read: &dyn Fn(&Inside) -> u64| [read(&state.lanes[0]), read(&state.lanes[1])];
        GateState {
            allowed: state.limit.allowed() as u64,
            waiting: each(&|inside| inside.waiting.len() as u64),
            refused: each(&|inside| inside.refused),
        }
    }
}

/// A place inside; dropping it lets in the next.
pub struct Pass {
    /// Absent once the place is given back.
    gate: Option<Arc<Gate>>,
    lane: Lane,
    entered: Nanos,
}

impl Pass {
    /// Gives the place back without letting anybody in: the caller does.
    fn give_back(mut self) {
        if let Some(gate) = self.gate.take() {
            gate.state.lock().lanes[self.lane as usize].count -= 1;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        let stay = u64::try_from(gate.clock.now().since(self.entered).as_nanos()).unwrap_or(u64::MAX);
        {
            let mut state = gate.state.lock();
            let inside = &mut state.lanes[self.lane as usize];
            inside.count -= 1;
            inside.stay_ns = inside.stay_ns - inside.stay_ns / 32 + stay / 32;
        }
        gate.admit(self.lane);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::super::limit::MOST;
    use super::*;

    type Entering = std::pin::Pin<Box<dyn Future<Output = Result<Pass, Failure>>>>;

    fn entering(gate: &Arc<Gate>, client: ClientNumber, lane: Lane) -> Entering {
        let gate = Arc::clone(gate);
        Box::pin(async move { gate.enter(client, lane).await })
    }

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    /// Fills the lane of changes with calls of client 0.
    fn full(gate: &Arc<Gate>) -> Vec<Pass> {
        let allowed = usize::try_from(gate.state().allowed).expect("few");
        let fill = |_| {
            now(entering(gate, 0, Lane::Changes))
                .expect("at once")
                .expect("a pass")
        };
        (0..allowed).map(fill).collect()
    }

    /// Goal: when the lane of changes is full, changes wait and those who only look do not; who waits is served by turns of
    /// clients; a waiting call that goes away loses nobody else's place. Method: the futures polled by hand.
    #[test]
    fn changes_wait_before_looks_and_clients_take_turns() {
        let gate = Gate::new(Clock::real());
        let mut inside = full(&gate);
        let mut waiting: Vec<(u64, Entering)> = [1, 1, 1, 2, 3]
            .into_iter()
            .map(|client| (client, entering(&gate, client, Lane::Changes)))
            .collect();
        for (_, call) in &mut waiting {
            assert!(now(call.as_mut()).is_none());
        }
        assert!(now(entering(&gate, 1, Lane::Looks)).is_some_and(|pass| pass.is_ok()));
        assert_eq!(gate.state().waiting, [0, 5]);
        // The call of client 2 goes away.
        drop(waiting.remove(3));
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(inside.pop().expect("somebody is inside"));
            let ready = waiting.iter_mut().position(|(_, call)| match now(call.as_mut()) {
                Some(pass) => {
                    inside.insert(0, pass.expect("a pass"));
                    true
                }
                None => false,
            });
            order.push(waiting.remove(ready.expect("one was let in")).0);
        }
        assert_eq!(order, [1, 3, 1, 1]);
        drop(inside);
        assert_eq!(gate.state().waiting, [0, 0]);
        assert_eq!(
            gate.state.lock().lanes.each_ref().map(|inside| inside.count),
            [0, 0]
        );
    }

    /// Goal: a pass that was given and never taken is not lost. Method: the future is dropped after its turn has come.
    #[test]
    fn a_pass_that_nobody_takes_goes_to_the_next() {
        let gate = Gate::new(Clock::real());
        let mut inside = full(&gate);
        let mut first = entering(&gate, 1, Lane::Changes);
        let mut second = entering(&gate, 2, Lane::Changes);
        assert!(now(first.as_mut()).is_none() && now(second.as_mut()).is_none());
        drop(inside.pop());
        drop(first);
        assert!(now(second.as_mut()).is_some_and(|pass| pass.is_ok()));
    }

    /// Goal: nobody is kept waiting without end: a client that has asked for more than can be done in time is refused and told
    /// when to come again, and another client is not. Method: calls that stay a second each.
    #[test]
    fn what_would_wait_too_long_is_refused() {
        let gate = Gate::new(Clock::real());
        let inside = full(&gate);
        gate.state.lock().lanes[Lane::Changes as usize].stay_ns = 1_000_000_000;
        let mut waiting = Vec::new();
        let refused = loop {
            let mut call = entering(&gate, 1, Lane::Changes);
            match now(call.as_mut()) {
                None => waiting.push(call),
                Some(outcome) => break outcome.err().expect("no pass is left"),
            }
            assert!(waiting.len() <= MOST * 4, "nobody is refused");
        };
        assert_eq!(waiting.len(), 2 * inside.len(), "two seconds' worth wait");
        assert!(
            refused.retry_after_ms.is_some_and(|after| after > 2000),
            "{refused:?}"
        );
        assert!(
            now(entering(&gate, 2, Lane::Changes)).is_none(),
            "another client waits for its turn"
        );
        assert_eq!(gate.state().refused, [0, 1]);
    }
}
