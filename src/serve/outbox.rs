//! What goes back to one client: sent at once where the socket takes it, otherwise by one task, in order.
//!
//! Invariant: what waits here, what is in passed memory that the client has not taken yet, and what is being read for it
//! ([`Outbox::reserve`]) is bounded together: whoever has more to say waits for room first. Frames that answer calls go in without
//! waiting, because their number is bounded by the calls.
//! Passed memory is ours until the client has it, and a socket holds hundreds of such frames; all of it counts until the socket is
//! empty ([`is_taken`]).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use helios_engine::reactor::{Local, Watched};

use super::counters::Tally;
use super::memory::Held;
use super::{OUTBOX_BYTES, STALL_PATIENCE};
use crate::wire::frame::Frame;
use crate::wire::stream::Departing;
use crate::wire::untaken::is_taken;

/// See the module.
pub struct Outbox {
    socket: Rc<Watched<UnixStream>>,
    tally: Tally,
    waiting: RefCell<VecDeque<Departing>>,
    /// Of what waits.
    bytes: Cell<usize>,
    /// In passed memory that is on its way.
    passed: Cell<usize>,
    /// To come.
    reserved: Cell<usize>,
    /// All of that for whoever counts memory.
    held: Held,
    /// The sending task, while it has nothing to do.
    sender: RefCell<Option<Waker>>,
    /// Those who wait for room.
    full: RefCell<Vec<Waker>>,
    closed: Cell<bool>,
}

impl Outbox {
    /// Of a client's socket; a task of `local` sends what the socket does not take at once.
    pub fn new(local: &Local, socket: Rc<Watched<UnixStream>>, tally: Tally, held: Held) -> Rc<Outbox> {
        let outbox = Rc::new(Outbox {
            socket,
            tally,
            waiting: RefCell::default(),
            bytes: Cell::new(0),
            passed: Cell::new(0),
            reserved: Cell::new(0),
            held,
            sender: RefCell::default(),
            full: RefCell::default(),
            closed: Cell::new(false),
        });
        local.spawn(send_all(local.clone(), Rc::clone(&outbox)));
        outbox
    }

    /// Sends frames behind those that wait. They are lost if the client is gone.
    pub fn push(&self, frames: impl IntoIterator<Item = Frame>) {
        frames
            .into_iter()
            .for_each(|frame| self.depart(|| Departing::new(frame)));
    }

    /// The same for a frame whose body is in parts.
    pub fn push_parts(&self, frame: Frame, parts: &[Bytes]) {
        self.depart(|| Departing::of_parts(frame, parts));
    }

    fn depart(&self, departing: impl FnOnce() -> Departing) {
        if self.closed.get() {
            return;
        }
        let mut departing = departing();
        let mut waiting = self.waiting.borrow_mut();
        // In most cases nothing waits and the socket takes all of it: no task needs to run.
        if waiting.is_empty() && matches!(departing.send(self.socket.socket()), Ok(true)) {
            return self.has_gone(&departing);
        }
        add(&self.bytes, departing.weight());
        self.count();
        waiting.push_back(departing);
        wake(self.sender.borrow_mut().take());
    }

    /// All of a frame is on its way.
    fn has_gone(&self, departing: &Departing) {
        self.tally.sent(departing.weight());
        if departing.passed() > 0 {
            add(&self.passed, departing.passed());
            self.count();
            wake(self.sender.borrow_mut().take());
        }
    }

    /// Whether there is room now.
    pub fn has_room(&self) -> bool {
        self.bytes.get() + self.passed.get() + self.reserved.get() < OUTBOX_BYTES
    }

    /// Waits until there is room, and keeps it for so many bytes that are to be pushed; nothing if the client is gone.
    pub async fn reserve(&self, bytes: usize) -> Option<Reserved<'_>> {
        if !self.room().await {
            return None;
        }
        add(&self.reserved, bytes);
        self.count();
        Some(Reserved { outbox: self, bytes })
    }

    /// Waits until there is room; false if the client is gone.
    pub async fn room(&self) -> bool {
        poll_fn(|context| {
            if self.closed.get() {
                return Poll::Ready(false);
            }
            if self.has_room() {
                return Poll::Ready(true);
            }
            self.full.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits until everything is sent or the client is gone.
    pub async fn sent(&self) {
        poll_fn(|context| {
            if self.closed.get() || self.waiting.borrow().is_empty() {
                return Poll::Ready(());
            }
            self.full.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Forgets what waits: the client is gone.
    pub fn close(&self) {
        self.closed.set(true);
        self.waiting.borrow_mut().clear();
        self.bytes.set(0);
        self.passed.set(0);
        self.count();
        wake(self.sender.borrow_mut().take());
        self.wake_waiting();
    }

    fn count(&self) {
        self.held
            .resize(self.bytes.get() + self.passed.get() + self.reserved.get());
    }

    /// Sends the first frame that waits.
    fn send_first(&self, socket: &UnixStream) -> io::Result<()> {
        let mut waiting = self.waiting.borrow_mut();
        let Some(first) = waiting.front_mut() else {
            return Ok(());
        };
        if first.send(socket)? {
            self.bytes.set(self.bytes.get() - first.weight());
            self.count();
            self.has_gone(first);
            waiting.pop_front();
        }
        Ok(())
    }

    /// Forgets passed memory once the client has it. What cannot be told of a socket is told by the next frame.
    fn forget_taken(&self, socket: &UnixStream) -> io::Result<()> {
        if !is_taken(socket).unwrap_or(true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.passed.set(0);
        self.count();
        Ok(())
    }

    /// Waits for a frame to send, or until passed memory is forgotten.
    async fn something(&self) {
        let mut taken = pin!(self.socket.writing(|socket| self.forget_taken(socket)));
        poll_fn(|context| {
            if self.closed.get() || !self.waiting.borrow().is_empty() {
                return Poll::Ready(());
            }
            *self.sender.borrow_mut() = Some(context.waker().clone());
            match self.passed.get() {
                0 => Poll::Pending,
                _ => taken.as_mut().poll(context).map(|_| ()),
            }
        })
        .await;
    }

    fn wake_waiting(&self) {
        let waiting = std::mem::take(&mut *self.full.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn add(cell: &Cell<usize>, more: usize) {
    cell.set(cell.get() + more);
}

/// Room in an outbox, until it is dropped.
pub struct Reserved<'a> {
    outbox: &'a Outbox,
    bytes: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let reserved = &self.outbox.reserved;
        reserved.set(reserved.get() - self.bytes);
        self.outbox.count();
        self.outbox.wake_waiting();
    }
}

async fn send_all(local: Local, outbox: Rc<Outbox>) {
    while !outbox.closed.get() {
        outbox.something().await;
        if !outbox.closed.get() && !outbox.waiting.borrow().is_empty() {
            let step = outbox.socket.writing(|socket| outbox.send_first(socket));
            match super::within(&local, STALL_PATIENCE, step).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    if error.kind() != io::ErrorKind::BrokenPipe {
                        tracing::debug!("a client cannot be answered: {error}");
                    }
                    outbox.close();
                }
                None => {
                    tracing::warn!("a client takes nothing of what it asked for; its connection ends");
                    outbox.close();
                }
            }
        }
        outbox.wake_waiting();
    }
}
