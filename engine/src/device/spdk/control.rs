//! The thread that looks after one controller: attaches it, polls its admin queue, resets it, detaches it.
//!
//! Owns everything that may wait for the controller, so that no reactor ever does: reactors send orders and go on, or
//! wait for the answer within a bound. Keep-alives and asynchronous events are a matter of polling the admin queue, which
//! happens a few times a second whether the store is in use or not.
//!
//! A controller that fails is *down*: all queue pairs are taken from their lanes first (so that no other thread uses the
//! controller, as SPDK asks of a reset), then it is reset until it works or the bound is over; then it is *dead*, and all
//! commands end with the reason. A namespace that is gone, or is another than before, is the same. Over a network a queue
//! pair is ended as it is taken, by hanging up. A local one is ended by commands to the controller, which is the one that
//! fails: so it is put aside until a reset has stopped the device, which until then may still move its buffers.
//!
//! A device that is pulled out is dead at once, and detached at once: the kernel waits for that before it lets it go.
//! Mostly it still works at that time, and is left in good order.
//!
//! Ends when nobody has a [`Control`] any more; queues have one each. Who drops the last waits for the detachment,
//! within a bound; if the controller hangs, thread and memory stay behind.
//! Rejected: polling the admin queue on a reactor; the reactor would wait for a reset, and a sleeping one would have to
//! be woken for keep-alives.

use std::io::{self, ErrorKind};
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bounds::{Bounds, now};
use super::controller::{Attached, Event};
use super::environment::{self, Memory};
use super::lane::Lane;
use super::memory::Pool;
use super::namespace::Shape;
use super::pair::Pair;
use super::transport::Transport;

/// Pause between two looks at the admin queue, and between two attempts to reset.
const LOOK: Duration = Duration::from_millis(200);
/// Pieces a queue pair has at a time for each command of its queue; more wait in the lane.
const PIECES_PER_COMMAND: u32 = 2;
/// Pieces of a queue pair at most.
const PIECES_MAX: u32 = 1024;

/// A lane as it is shared between its reactor and the control thread.
pub(super) type SharedLane = Arc<Mutex<Lane>>;

enum Order {
    Open {
        depth: u32,
        pool: Pool,
        answer: SyncSender<io::Result<SharedLane>>,
    },
    Close {
        lane: SharedLane,
        answer: SyncSender<()>,
    },
    Abort(SharedLane),
    Recover(SharedLane, String),
}

/// A controller and its thread; see the module.
pub(super) struct Control {
    /// `None` while it ends.
    orders: Option<Sender<Order>>,
    /// Hangs up when the thread has ended.
    ended: Mutex<Receiver<()>>,
    bounds: Bounds,
    name: String,
}

impl Control {
    /// Attaches the controller and looks at the namespace.
    pub(super) fn start(
        transport: Transport,
        namespace: u32,
        bounds: Bounds,
    ) -> io::Result<(Arc<Control>, Shape)> {
        let name = transport.to_string();
        let (orders, to_obey) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let (ready, attached) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("helios-nvme".into())
            .spawn(move || {
                match Body::attach(transport, namespace, bounds) {
                    Ok(body) => {
                        let shape = body.shape;
                        if ready.send(Ok(shape)).is_ok() {
                            body.serve(&to_obey);
                        } else {
                            body.end();
                        }
                    }
                    // Who no longer waits needs no answer.
                    Err(error) => drop(ready.send(Err(error))),
                }
                drop(end);
            })?;
        let control = Control {
            orders: Some(orders),
            ended: Mutex::new(ended),
            bounds,
            name,
        };
        match attached.recv_timeout(bounds.order()) {
            Ok(shape) => shape.map(|shape| (Arc::new(control), shape)),
            Err(_) => {
                let error = control.hangs("attach it");
                // Its thread may never end: it is not waited for.
                mem::forget(control);
                Err(error)
            }
        }
    }

    /// A lane with a queue pair for `depth` commands.
    pub(super) fn open(&self, depth: u32, pool: Pool) -> io::Result<SharedLane> {
        let (answer, opened) = mpsc::sync_channel(1);
        self.order(Order::Open { depth, pool, answer });
        match opened.recv_timeout(self.bounds.order()) {
            Ok(lane) => lane,
            Err(_) => Err(self.hangs("open a queue")),
        }
    }

    /// Ends a lane. Whatever it still had with the device stays there.
    pub(super) fn close(&self, lane: SharedLane) {
        let (answer, closed) = mpsc::sync_channel(1);
        self.order(Order::Close { lane, answer });
        if closed.recv_timeout(self.bounds.order()).is_err() {
            tracing::error!("{}: a queue could not be closed in time", self.name);
        }
    }

    /// Has commands of the lane aborted that take too long.
    pub(super) fn abort(&self, lane: &SharedLane) {
        self.order(Order::Abort(lane.clone()));
    }

    /// Has the controller reset, and the lane connected again.
    pub(super) fn recover(&self, lane: &SharedLane, reason: String) {
        self.order(Order::Recover(lane.clone(), reason));
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends only when nobody can send; if it panicked, the bounds of who waits will tell.
            let _ = orders.send(order);
        }
    }

    fn hangs(&self, what: &str) -> io::Error {
        io::Error::new(
            ErrorKind::TimedOut,
            format!(
                "{} did not let us {what} within {:?}; restart it, and this program",
                self.name,
                self.bounds.order()
            ),
        )
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.orders = None;
        // Nothing is ever sent: it hangs up, or the time is over.
        if let Err(RecvTimeoutError::Timeout) = self.ended.get_mut().recv_timeout(self.bounds.order()) {
            tracing::error!("{} could not be detached in time", self.name);
        }
    }
}

/// How the controller is.
enum State {
    Up,
    Down { since: Instant, reason: String },
    Dead(String),
}

/// What the thread has.
struct Body {
    transport: Transport,
    namespace: u32,
    bounds: Bounds,
    shape: Shape,
    state: State,
    lanes: Vec<(SharedLane, u32)>,
    /// Queue pairs of a local controller that is down. Before `attached`.
    aside: Vec<Pair>,
    /// `None` when it was pulled out, and is dead.
    attached: Option<Arc<Attached>>,
}

impl Body {
    fn attach(transport: Transport, namespace: u32, bounds: Bounds) -> io::Result<Body> {
        let id = transport.reach(bounds.greeting())?;
        environment::start(if transport.is_local() {
            Memory::Huge
        } else {
            Memory::Ordinary
        })?;
        let admin = transport.is_local().then(|| bounds.abort());
        let attached = Attached::connect(&id, bounds.greeting(), admin)?;
        let facts = attached.facts(namespace)?;
        let shape = facts.shape(&format!("namespace {namespace} of {transport}"))?;
        tracing::debug!(
            controller = attached.describe(),
            ?facts,
            "{transport} is attached"
        );
        Ok(Body {
            transport,
            namespace,
            bounds,
            shape,
            state: State::Up,
            lanes: Vec::new(),
            aside: Vec::new(),
            attached: Some(Arc::new(attached)),
        })
    }

    fn attached(&self) -> &Arc<Attached> {
        self.attached
            .as_ref()
            .expect("only a dead controller is detached")
    }

    /// Obeys until nobody can send orders.
    fn serve(mut self, orders: &Receiver<Order>) {
        loop {
            match orders.recv_timeout(LOOK) {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            self.look();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Open { depth, pool, answer } => {
                let opened = self.open(depth, pool);
                if let Err(mpsc::SendError(Ok(lane))) = answer.send(opened) {
                    self.close(&lane);
                }
            }
            Order::Close { lane, answer } => {
                self.close(&lane);
                // Who no longer waits needs no answer.
                let _ = answer.send(());
            }
            Order::Abort(lane) => lane.lock().abort_overdue(),
            // Another lane's order may have brought it a new queue pair meanwhile.
            Order::Recover(lane, reason) => {
                if matches!(self.state, State::Up) && lane.lock().is_recovering() {
                    self.down(&reason);
                }
            }
        }
    }

    fn open(&mut self, depth: u32, pool: Pool) -> io::Result<SharedLane> {
        let (State::Down { reason, .. } | State::Dead(reason)) = &self.state else {
            self.transport.greets(self.bounds.greeting())?;
            let pieces = depth.saturating_mul(PIECES_PER_COMMAND).min(PIECES_MAX);
            let mut lane = Lane::new(self.shape, self.bounds, pool)?;
            lane.connect(self.pair(pieces)?);
            let lane = Arc::new(Mutex::new(lane));
            self.lanes.push((lane.clone(), pieces));
            return Ok(lane);
        };
        Err(io::Error::new(ErrorKind::NotConnected, reason.clone()))
    }

    fn pair(&self, pieces: u32) -> io::Result<Pair> {
        Pair::open(self.attached(), self.namespace, self.shape.block, pieces)
    }

    fn close(&mut self, lane: &SharedLane) {
        disconnect(lane, "the queue was closed");
        self.lanes.retain(|(other, _)| !Arc::ptr_eq(other, lane));
    }

    /// Polls the admin queue, or tries to bring the controller back.
    fn look(&mut self) {
        match &self.state {
            State::Dead(_) => {}
            _ if self.attached().is_removed() || !self.transport.is_present() => self.pulled_out(),
            State::Up => {
                if let Err(code) = self.attached().poll_admin() {
                    let error = io::Error::from_raw_os_error(-code);
                    self.down(&format!("the connection to the controller is lost ({error})"));
                }
                while let Some(event) = self.attached().event() {
                    self.note(event);
                }
            }
            State::Down { since, reason } => {
                let (since, reason) = (*since, reason.clone());
                match self.bring_back() {
                    Ok(()) => {
                        tracing::warn!("{} works again", self.transport);
                        self.state = State::Up;
                    }
                    Err(error) if now().duration_since(since) >= self.bounds.absence() => {
                        self.die(&format!("{reason}, and it did not come back: {error}"));
                    }
                    Err(error) => tracing::debug!(%error, "{} is still down", self.transport),
                }
            }
        }
    }

    fn note(&mut self, Event { kind, info, log_page }: Event) {
        match (kind, info) {
            // A notice that attributes of a namespace have changed.
            (2, 0) => {
                if let Err(error) = self.check_namespace() {
                    self.die(&error.to_string());
                }
            }
            (0 | 1, _) => tracing::warn!(
                kind,
                info,
                log_page,
                "{} reports {}",
                self.transport,
                if kind == 0 { "an error" } else { "its health" }
            ),
            _ => tracing::debug!(kind, info, log_page, "{} reports an event", self.transport),
        }
    }

    /// Whether the namespace is still the one that commands are cut for.
    fn check_namespace(&self) -> io::Result<()> {
        let name = format!("namespace {} of {}", self.namespace, self.transport);
        let shape = self.attached().facts(self.namespace)?.shape(&name)?;
        if shape.block != self.shape.block
            || shape.capacity < self.shape.capacity
            || shape.piece < self.shape.piece
        {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("{name} is not what it was: it was resized or formatted; open the store anew"),
            ));
        }
        Ok(())
    }

    fn down(&mut self, reason: &str) {
        let reason = format!("{}: {reason}", self.transport);
        tracing::warn!("{reason}; resetting the controller");
        if self.transport.is_local() {
            self.set_aside(&reason);
        } else {
            self.disconnect_all(&reason);
        }
        self.state = State::Down { since: now(), reason };
    }

    fn bring_back(&mut self) -> io::Result<()> {
        self.transport.greets(self.bounds.greeting())?;
        self.attached().reset()?;
        for pair in mem::take(&mut self.aside) {
            // Their commands have ended already.
            pair.close(|_, _| {});
        }
        self.check_namespace()?;
        let lanes = self.lanes.clone();
        for (lane, pieces) in lanes {
            match self.pair(pieces) {
                Ok(pair) => lane.lock().connect(pair),
                Err(error) => {
                    self.disconnect_all(&error.to_string());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn disconnect_all(&mut self, reason: &str) {
        for (lane, _) in &self.lanes {
            disconnect(lane, reason);
        }
    }

    /// Takes the queue pairs from their lanes, whose commands end, and keeps them.
    fn set_aside(&mut self, reason: &str) {
        for (lane, _) in &self.lanes {
            let mut lane = lane.lock();
            self.aside.extend(lane.take_pair());
            lane.disconnected(Vec::new(), reason);
        }
    }

    fn pulled_out(&mut self) {
        let reason = format!("{} was pulled out", self.transport);
        tracing::error!("{reason}; it is not used any more");
        // A device that the kernel does not know any more has been switched off by it, whatever its registers read like.
        if !self.transport.is_present() || self.attached().is_gone() {
            self.set_aside(&reason);
            self.attached().removed();
        }
        self.aside.clear();
        self.bury(&reason);
        self.attached = None;
    }

    fn die(&mut self, reason: &str) {
        tracing::error!("{}: {reason}; it is not used any more", self.transport);
        // From now on nothing waits for it.
        self.attached().fail();
        self.aside.clear();
        self.bury(reason);
    }

    fn bury(&mut self, reason: &str) {
        self.disconnect_all(reason);
        for (lane, _) in &self.lanes {
            lane.lock().die(reason);
        }
        self.state = State::Dead(reason.to_owned());
    }

    /// Detaches.
    fn end(mut self) {
        for (lane, _) in mem::take(&mut self.lanes) {
            disconnect(&lane, "the device was closed");
        }
        // A controller that does not answer would be waited for.
        if let Some(attached) = &self.attached
            && (!matches!(self.state, State::Up) || self.transport.greets(self.bounds.greeting()).is_err())
        {
            attached.fail();
        }
        // `self.attached` is the last: queue pairs are in lanes, and theirs are ended.
    }
}

/// Ends the queue pair of a lane, and with `reason` what was under way. The lock is not held while the controller is
/// waited for: the reactor must be able to give up on its commands.
fn disconnect(lane: &SharedLane, reason: &str) {
    let pair = lane.lock().take_pair();
    let mut finished = Vec::new();
    if let Some(pair) = pair {
        pair.close(|slot, status| finished.push((slot, status)));
    }
    lane.lock().disconnected(finished, reason);
}
