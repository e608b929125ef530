//! Bounded queue of messages to one receiver, with backpressure, from any thread.
//!
//! A message costs the sender one slot of a lock-free ring, one fence and one load; only when the receiver waits is
//! its task woken, and only when its reactor sleeps is the doorbell rung.
//!
//! Waiting on either side uses the same pattern as `doze`: the waiter registers, fences, and looks again; the other
//! side acts, fences, and looks for waiters. One of the two sees the other. The receiver's side is `receiving`.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use super::handle::Handle;
use super::receiving::Receiving;
use super::{ArrayQueue, Mutex};

/// A message that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError<T> {
    /// The mailbox is full.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

/// Senders waiting for room, longest first.
#[derive(Default)]
struct Blocked {
    count: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<(u64, Waker)>,
    next: u64,
}

impl Blocked {
    fn register(&self, waker: &Waker) -> u64 {
        let mut waiting = self.waiting.lock();
        waiting.next += 1;
        let number = waiting.next;
        waiting.queue.push_back((number, waker.clone()));
        self.count.store(waiting.queue.len(), Ordering::Relaxed);
        drop(waiting);
        fence(Ordering::SeqCst);
        number
    }

    /// False when the waiter had been woken already.
    fn unregister(&self, number: u64) -> bool {
        let mut waiting = self.waiting.lock();
        let place = waiting.queue.iter().position(|(waiter, _)| *waiter == number);
        let entry = place.and_then(|place| waiting.queue.remove(place));
        self.count.store(waiting.queue.len(), Ordering::Relaxed);
        drop(waiting);
        entry.is_some()
    }

    /// Lets up to `room` senders try again.
    fn wake(&self, room: usize) {
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut waiting = self.waiting.lock();
        let count = room.min(waiting.queue.len());
        let woken: Vec<(u64, Waker)> = waiting.queue.drain(..count).collect();
        self.count.store(waiting.queue.len(), Ordering::Relaxed);
        drop(waiting);
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// Whether a sleeping reactor is woken for a message.
#[derive(Clone, Copy)]
enum Urgency {
    Now,
    Lazy,
}

struct Mailbox<T> {
    ring: ArrayQueue<T>,
    handle: Handle,
    receiving: Arc<Receiving>,
    blocked: Blocked,
    senders: AtomicUsize,
    closed: AtomicBool,
}

impl<T> Mailbox<T> {
    fn push(&self, message: T, urgency: Urgency) -> Result<(), SendError<T>> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(SendError::Closed(message));
        }
        self.ring.push(message).map_err(SendError::Full)?;
        match urgency {
            Urgency::Now => self.receiving.wake(),
            Urgency::Lazy => self.receiving.wake_lazily(&self.handle.0),
        }
        // After the fence of the wake-up: either this sees the receiver's end, or its last drain saw the message.
        if self.closed.load(Ordering::Relaxed) {
            self.drop_messages();
        }
        Ok(())
    }

    fn pop(&self) -> Option<T> {
        let message = self.ring.pop()?;
        // In half-ring steps, so that a full mailbox does not cost a wake-up per message.
        if self.ring.len() <= self.ring.capacity() / 2 {
            self.blocked.wake(self.ring.capacity() - self.ring.len());
        }
        Some(message)
    }

    fn drop_messages(&self) {
        while let Some(message) = self.ring.pop() {
            drop(message);
        }
    }
}

/// A mailbox of a task on `handle`'s reactor, holding at most `capacity` messages (at least one).
pub fn mailbox<T: Send>(handle: &Handle, capacity: usize) -> (Sender<T>, Receiver<T>) {
    let mailbox = Arc::new(Mailbox {
        ring: ArrayQueue::new(capacity.max(1)),
        handle: handle.clone(),
        receiving: Arc::default(),
        blocked: Blocked::default(),
        senders: AtomicUsize::new(1),
        closed: AtomicBool::new(false),
    });
    (Sender(Arc::clone(&mailbox)), Receiver(mailbox))
}

/// Puts messages in.
pub struct Sender<T>(Arc<Mailbox<T>>);

impl<T: Send> Sender<T> {
    /// Sends without waiting; rings the doorbell if the reactor sleeps.
    pub fn try_send(&self, message: T) -> Result<(), SendError<T>> {
        self.0.push(message, Urgency::Now)
    }

    /// Sends without waiting; a reactor in its light sleep is left to find the message when that ends, at most
    /// `Config::light_sleep` later. Saves the sender the system call while the store is in use.
    pub fn try_send_lazy(&self, message: T) -> Result<(), SendError<T>> {
        self.0.push(message, Urgency::Lazy)
    }

    /// Sends, waiting for room. Gives the message back when the receiver is gone.
    pub fn send(&self, message: T) -> Sending<'_, T> {
        Sending {
            mailbox: &self.0,
            message: Some(message),
            registered: None,
        }
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.0.ring.len()
    }

    /// True when no message waits.
    pub fn is_empty(&self) -> bool {
        self.0.ring.is_empty()
    }

    /// True when the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }

    /// The reactor the messages go to.
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.receiving.wake();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({:?}, {} waiting)", self.0.handle, self.0.ring.len())
    }
}

/// A message waiting for room; made by [`Sender::send`].
#[must_use = "sends only when awaited"]
pub struct Sending<'a, T> {
    mailbox: &'a Mailbox<T>,
    /// `None` once sent or given back.
    message: Option<T>,
    registered: Option<u64>,
}

// The message is never pinned.
impl<T> Unpin for Sending<'_, T> {}

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), T>> {
        let mailbox = self.mailbox;
        if let Some(number) = self.registered.take() {
            mailbox.blocked.unregister(number);
        }
        let message = self.message.take().expect("a future is not polled after its end");
        let message = match mailbox.push(message, Urgency::Now) {
            Ok(()) => return Poll::Ready(Ok(())),
            Err(SendError::Closed(message)) => return Poll::Ready(Err(message)),
            Err(SendError::Full(message)) => message,
        };
        let number = mailbox.blocked.register(context.waker());
        match mailbox.push(message, Urgency::Now) {
            Ok(()) => {
                self.pass_on(number);
                Poll::Ready(Ok(()))
            }
            Err(SendError::Closed(message)) => {
                mailbox.blocked.unregister(number);
                Poll::Ready(Err(message))
            }
            Err(SendError::Full(message)) => {
                self.message = Some(message);
                self.registered = Some(number);
                Poll::Pending
            }
        }
    }
}

impl<T> Sending<'_, T> {
    /// Leaves the waiting line; a wake-up that had been given to this sender goes to the next one.
    fn pass_on(&self, number: u64) {
        if !self.mailbox.blocked.unregister(number) {
            self.mailbox.blocked.wake(1);
        }
    }
}

impl<T> Drop for Sending<'_, T> {
    fn drop(&mut self) {
        if let Some(number) = self.registered.take() {
            self.pass_on(number);
        }
    }
}

/// Takes messages out, in the order they came in.
pub struct Receiver<T>(Arc<Mailbox<T>>);

impl<T: Send> Receiver<T> {
    /// The next message; `None` when none will come because all senders are gone.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(message) = self.0.pop() {
            return Poll::Ready(Some(message));
        }
        self.0.receiving.register(context.waker());
        // Senders are counted before the last look at the ring: the last one to go may have sent before.
        let senders = self.0.senders.load(Ordering::Acquire);
        match self.0.pop() {
            Some(message) => Poll::Ready(Some(message)),
            None if senders == 0 => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// The next message, if one is there.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Moves the messages that are there to the end of `into`, at most `max`; gives their number.
    pub fn drain(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        for taken in 0..max {
            match self.0.pop() {
                Some(message) => into.push(message),
                None => return taken,
            }
        }
        max
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.0.ring.len()
    }

    /// True when no message waits.
    pub fn is_empty(&self) -> bool {
        self.0.ring.is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // Dropped messages tell their senders (a oneshot inside is answered with `None`).
        self.0.drop_messages();
        self.0.blocked.wake(usize::MAX);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({:?}, {} waiting)", self.0.handle, self.0.ring.len())
    }
}
