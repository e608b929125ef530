//! One value, from one task or thread to another.
//!
//! A small mutex around the state rather than an atomic state machine with raw memory: it is held for a few
//! instructions, never across anything that waits, and uncontended it costs what the atomics would.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Mutex;

enum State<T> {
    Empty,
    Awaited(Waker),
    Sent(T),
    /// The sender is gone without a value, or the receiver is gone or has the value.
    Closed,
}

/// Gives the value; dropping it instead tells the receiver that none will come.
pub struct Sender<T>(Arc<Mutex<State<T>>>);

/// Waits for the value: `None` when the sender was dropped without sending.
pub struct Receiver<T>(Arc<Mutex<State<T>>>);

/// A sender and its receiver.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let state = Arc::new(Mutex::new(State::Empty));
    (Sender(Arc::clone(&state)), Receiver(state))
}

impl<T> Sender<T> {
    /// Hands the value over and wakes the receiver; gives it back when nobody waits for it any more.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut state = self.0.lock();
        if matches!(*state, State::Closed) {
            return Err(value);
        }
        let before = std::mem::replace(&mut *state, State::Sent(value));
        drop(state);
        if let State::Awaited(waker) = before {
            waker.wake();
        }
        Ok(())
    }

    /// True when the receiver is gone.
    pub fn is_closed(&self) -> bool {
        matches!(*self.0.lock(), State::Closed)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if matches!(*state, State::Empty | State::Awaited(_)) {
            let before = std::mem::replace(&mut *state, State::Closed);
            drop(state);
            if let State::Awaited(waker) = before {
                waker.wake();
            }
        }
    }
}

impl<T> Receiver<T> {
    /// The value, if it has arrived; does not wait.
    pub fn try_take(&mut self) -> Option<T> {
        let mut state = self.0.lock();
        if !matches!(*state, State::Sent(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Closed) {
            State::Sent(value) => Some(value),
            _ => None,
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Closed) {
            State::Sent(value) => Poll::Ready(Some(value)),
            State::Closed => Poll::Ready(None),
            State::Awaited(waker) if waker.will_wake(context.waker()) => {
                *state = State::Awaited(waker);
                Poll::Pending
            }
            State::Empty | State::Awaited(_) => {
                *state = State::Awaited(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // The value (and whatever its destructor does) goes outside the lock.
        let before = std::mem::replace(&mut *self.0.lock(), State::Closed);
        drop(before);
    }
}
