//! What goes back to one client: sent at once where the socket takes it, otherwise by one task, in order.
//!
//! Invariant: what waits is bounded: whoever has more to say waits for room first ([`Outbox::room`]). Frames that answer calls go
//! in without waiting, because their number is bounded by the calls.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use helios_engine::reactor::{Local, Watched};

use super::counters::Tally;
use super::memory::Held;
use super::{OUTBOX_BYTES, STALL_PATIENCE};
use crate::wire::frame::Frame;
use crate::wire::stream::Departing;

/// See the module.
pub struct Outbox {
    socket: Rc<Watched<UnixStream>>,
    tally: Tally,
    waiting: RefCell<VecDeque<Departing>>,
    bytes: Cell<usize>,
    /// The same for whoever counts memory.
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
            return self.tally.sent(departing.weight());
        }
        self.set_bytes(self.bytes.get() + departing.weight());
        waiting.push_back(departing);
        wake(self.sender.borrow_mut().take());
    }

    /// Whether there is room now.
    pub fn has_room(&self) -> bool {
        self.bytes.get() < OUTBOX_BYTES
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
        self.set_bytes(0);
        wake(self.sender.borrow_mut().take());
        self.wake_waiting();
    }

    fn set_bytes(&self, bytes: usize) {
        self.bytes.set(bytes);
        self.held.resize(bytes);
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

async fn send_all(local: Local, outbox: Rc<Outbox>) {
    while !outbox.closed.get() {
        let idle = poll_fn(|context| {
            if outbox.closed.get() || !outbox.waiting.borrow().is_empty() {
                return Poll::Ready(());
            }
            *outbox.sender.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        });
        idle.await;
        let step = outbox.socket.writing(|socket| {
            let mut waiting = outbox.waiting.borrow_mut();
            let Some(first) = waiting.front_mut() else {
                return Ok(());
            };
            if first.send(socket)? {
                outbox.set_bytes(outbox.bytes.get() - first.weight());
                outbox.tally.sent(first.weight());
                waiting.pop_front();
            }
            Ok(())
        });
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
        outbox.wake_waiting();
    }
}
