//! Device commands of one reactor: from a call to its completion.
//!
//! Every command has a place in a slab; its key is the token. The buffer travels with the command and comes back
//! into the place, whether or not anybody still waits: dropping a future in flight only marks the place, so the
//! device never writes into memory that has another owner. No allocation per command once the slab has grown.
//!
//! A command is handed to the queue when the call is made, not when its future is first polled: a task can start
//! several and then await them one by one. When the queue is full, commands wait in a FIFO.
//!
//! A read may instead be for a [`Reader`], which is told the outcome before any task runs again, together with all that
//! the same poll of the device has brought: work that is cheaper for many than for each is done there, and nothing is
//! waited for.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::device::{Command, Completion, DmaBuffer, Operation, Queue};

use super::clock::Nanos;
use super::executor::Core;
use super::slab::{Slab, SlabKey};

enum Slot {
    /// Submitted or in the backlog.
    Pending(Option<Waker>),
    Done(Option<DmaBuffer>, io::Result<()>),
    /// Nobody waits; the completion frees the place.
    Abandoned,
    /// The completion answers whoever asked, and frees the place.
    Owed(Answer),
}

/// Who is told the outcome of a read, on the reactor's thread. Neither call may wait or block.
pub trait Reader: Send + Sync {
    /// The filled buffer, or why there is none; `None` when the reactor has ended and there never will be.
    fn arrived(self: Arc<Self>, outcome: Option<io::Result<DmaBuffer>>);

    /// Called once after any number of readers, of which this was one, have been told: no more has come by now.
    fn settle(&self);
}

/// Tells a reader the outcome, once: dropped, that there will be none.
pub struct Answer(Option<Arc<dyn Reader>>);

impl Answer {
    /// The answer that `reader` waits for.
    pub fn new(reader: Arc<dyn Reader>) -> Answer {
        Answer(Some(reader))
    }

    /// Tells it, and gives the reader that is to settle.
    pub(crate) fn tell(mut self, outcome: io::Result<DmaBuffer>) -> Option<Arc<dyn Reader>> {
        let reader = self.0.take();
        if let Some(reader) = reader.clone() {
            reader.arrived(Some(outcome));
        }
        reader
    }

    /// Tells a single one.
    pub(super) fn tell_alone(self, outcome: io::Result<DmaBuffer>) {
        if let Some(reader) = self.tell(outcome) {
            reader.settle();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(reader) = self.0.take() {
            reader.arrived(None);
        }
    }
}

pub(super) struct Io {
    queue: Box<dyn Queue>,
    slots: Slab<Slot>,
    backlog: VecDeque<Command>,
    /// Reused by every poll.
    completed: Vec<Completion>,
}

impl Io {
    pub(super) fn new(queue: Box<dyn Queue>) -> Io {
        Io {
            queue,
            slots: Slab::new(),
            backlog: VecDeque::new(),
            completed: Vec::new(),
        }
    }

    /// Commands the device has not completed.
    pub(super) fn in_flight(&self) -> u32 {
        self.queue.in_flight()
    }

    /// When the device completes something next, for devices in virtual time.
    pub(super) fn next_completion(&self) -> Option<Nanos> {
        self.queue.next_completion_ns().map(Nanos)
    }

    pub(super) fn queue(&mut self) -> &mut dyn Queue {
        self.queue.as_mut()
    }

    /// Hands waiting commands to the queue while it takes them.
    fn submit_backlog(&mut self) -> u64 {
        let mut submitted = 0;
        while let Some(command) = self.backlog.pop_front() {
            if let Err(command) = self.queue.submit(command) {
                self.backlog.push_front(command);
                break;
            }
            submitted += 1;
        }
        submitted
    }
}

fn ended() -> io::Error {
    io::Error::other("the reactor has ended")
}

/// The buffer lent to an operation, if it has one.
fn buffer_of(operation: Operation) -> Option<DmaBuffer> {
    match operation {
        Operation::Read { buffer, .. } | Operation::Write { buffer, .. } => Some(buffer),
        _ => None,
    }
}

impl Core {
    /// Starts a command.
    pub(super) fn start(self: &Rc<Self>, operation: Operation) -> Pending {
        let key = if self.has_ended() {
            let done = Slot::Done(buffer_of(operation), Err(ended()));
            self.io.borrow_mut().slots.insert_with(|_| done)
        } else {
            self.submit(operation, Slot::Pending(None))
        };
        Pending {
            core: Rc::clone(self),
            key: Some(key),
        }
    }

    /// Starts a read whose outcome goes to `answer`.
    pub(super) fn start_read_for(&self, offset: u64, buffer: DmaBuffer, range: Range<usize>, answer: Answer) {
        if self.has_ended() {
            return answer.tell_alone(Err(ended()));
        }
        let operation = Operation::Read {
            offset,
            buffer,
            range,
        };
        self.submit(operation, Slot::Owed(answer));
    }

    /// Gives the operation a place, and to the queue as soon as that has room.
    fn submit(&self, operation: Operation, slot: Slot) -> SlabKey {
        let mut io = self.io.borrow_mut();
        if self.clock.is_virtual() {
            // The command starts now, not when the queue was last polled.
            io.queue.advance(self.clock.now().0);
        }
        let key = io.slots.insert_with(|_| slot);
        let token = key.token();
        let command = Command { token, operation };
        let refused = if io.backlog.is_empty() {
            io.queue.submit(command).err()
        } else {
            Some(command)
        };
        let submitted = match refused {
            None => 1,
            Some(command) => {
                io.backlog.push_back(command);
                io.submit_backlog()
            }
        };
        let counters = &self.shared.counters.own;
        counters.io_submitted.add(submitted);
        counters.io_backlogged.add(u64::from(submitted == 0));
        key
    }

    /// Reaps completions and submits what waited for them. True if anything completed.
    pub(super) fn poll_device(&self) -> bool {
        let mut io = self.io.borrow_mut();
        if io.queue.in_flight() == 0 && io.backlog.is_empty() {
            return false;
        }
        if self.clock.is_virtual() {
            io.queue.advance(self.clock.now().0);
        }
        let mut completed = std::mem::take(&mut io.completed);
        io.queue.poll(&mut completed);
        let submitted = io.submit_backlog();
        drop(io);
        self.shared.counters.own.io_submitted.add(submitted);
        self.shared.counters.own.io_completed.add(completed.len() as u64);
        let any = !completed.is_empty();
        let mut told = None;
        for completion in completed.drain(..) {
            told = self.complete(completion).or(told);
        }
        self.io.borrow_mut().completed = completed;
        if let Some(reader) = told {
            self.catch(|| reader.settle());
        }
        any
    }

    /// Passes a completion on; gives the reader it was for, if it was for one.
    fn complete(&self, completion: Completion) -> Option<Arc<dyn Reader>> {
        let Completion {
            token,
            buffer,
            result,
        } = completion;
        let key = SlabKey::from_token(token);
        let mut io = self.io.borrow_mut();
        let slot = io.slots.get_mut(key);
        let slot = slot.expect("a device completes each command once, with the token it was given");
        if let Slot::Pending(waker) = slot {
            let waker = waker.take();
            *slot = Slot::Done(buffer, result);
            drop(io);
            waker.into_iter().for_each(Waker::wake);
            return None;
        }
        let before = io.slots.remove(key);
        drop(io);
        match before {
            Some(Slot::Owed(answer)) => {
                let buffer = buffer.expect("a device gives the buffer back with the completion");
                answer.tell(result.map(|()| buffer))
            }
            Some(Slot::Abandoned) => None,
            _ => unreachable!("a device completes each command once"),
        }
    }

    /// Sleeps until the device completes something, at most for `timeout`.
    pub(super) fn wait_device(&self, timeout: Option<Duration>) {
        let mut io = self.io.borrow_mut();
        let sockets = self.sockets.borrow();
        io.queue
            .wait(sockets.bell().unwrap_or(&self.shared.doorbell), timeout);
    }

    /// Waits for everything in flight; drops what was never submitted. All tasks are gone by now.
    pub(super) fn drain_device(&self) {
        let backlog = std::mem::take(&mut self.io.borrow_mut().backlog);
        for command in backlog {
            let done = self
                .io
                .borrow_mut()
                .slots
                .remove(SlabKey::from_token(command.token));
            drop((done, command));
        }
        while self.io.borrow().in_flight() > 0 {
            if self.poll_device() {
                continue;
            }
            let due = self.io.borrow().next_completion();
            match due {
                Some(due) if self.clock.is_virtual() => self.clock.advance_to(due),
                _ => {
                    self.wait_device(Some(Duration::from_millis(10)));
                    self.shared.doorbell.clear();
                }
            }
        }
    }
}

/// A command on its way.
pub(super) struct Pending {
    core: Rc<Core>,
    /// `None` once the result was handed over.
    key: Option<SlabKey>,
}

impl Pending {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Option<DmaBuffer>, io::Result<()>)> {
        let key = self.key.expect("a future is not polled after its end");
        let mut io = self.core.io.borrow_mut();
        let slot = io.slots.get_mut(key).expect("the place of a command in progress");
        if let Slot::Pending(waker) = slot {
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        self.key = None;
        match io.slots.remove(key) {
            Some(Slot::Done(buffer, result)) => Poll::Ready((buffer, result)),
            _ => unreachable!("an awaited command is pending or done"),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut io = self.core.io.borrow_mut();
        let Some(slot) = io.slots.get_mut(key) else { return };
        let before = std::mem::replace(slot, Slot::Abandoned);
        if matches!(before, Slot::Done(..)) {
            io.slots.remove(key);
        }
        drop(io);
        drop(before);
    }
}

/// A read or write on its way; gives the buffer back with the outcome. Dropped before the end, the command still
/// runs and the buffer goes home after it.
#[must_use = "the buffer comes back only when awaited"]
pub struct Transfer(pub(super) Pending);

impl Future for Transfer {
    type Output = (DmaBuffer, io::Result<()>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(context).map(|(buffer, result)| {
            let buffer = buffer.expect("a device gives the buffer back with the completion");
            (buffer, result)
        })
    }
}

/// A command without a buffer on its way.
#[must_use = "the outcome is known only when awaited"]
pub struct Plain(pub(super) Pending);

impl Future for Plain {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(context).map(|(_, result)| result)
    }
}

/// Operations as calls.
impl Core {
    pub(super) fn read(self: &Rc<Self>, offset: u64, buffer: DmaBuffer, range: Range<usize>) -> Transfer {
        Transfer(self.start(Operation::Read {
            offset,
            buffer,
            range,
        }))
    }

    pub(super) fn write(
        self: &Rc<Self>,
        offset: u64,
        buffer: DmaBuffer,
        range: Range<usize>,
        durable: bool,
    ) -> Transfer {
        Transfer(self.start(Operation::Write {
            offset,
            buffer,
            range,
            durable,
        }))
    }
}
