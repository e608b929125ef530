//! One device read on its way from a reactor to whoever asked for it.
//!
//! Owns the state both sides share, in one allocation: the reactor's side is a [`Reader`], the asker's a future.
//! A reading that says what its bytes must be is verified on the reactor before its asker wakes, together with all that
//! the same poll of the device has brought (`verify`); one that does not, or is too large to gain by that, is handed over
//! as it came.
//! Invariant: a reading ends once; an asker that has gone is told nothing, and the buffer goes home.
//! Rejected: verifying in the first task that wakes (a turn of the reactor, two wake-ups and three allocations for each
//! get, so that others may arrive in the same turn); a oneshot beside a claim (another allocation).

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::api::Key;
use super::verify;
use crate::device::DmaBuffer;
use crate::reactor::{Answer, Reader};

/// What some of the bytes of a reading must be.
pub(super) struct Claim {
    pub key: Key,
    /// In the buffer.
    pub range: Range<usize>,
}

/// How a reading has ended.
pub(super) struct End {
    pub read: io::Result<DmaBuffer>,
    /// Whether the bytes are what the claim says, if that has been looked at.
    pub holds: Option<bool>,
}

enum State {
    Asked,
    Awaited(Waker),
    Ended(End),
    /// Nobody waits, or nothing will come, or it was taken.
    Over,
}

struct Reading {
    claim: Option<Claim>,
    state: Mutex<State>,
}

/// A reading and its answer.
pub(super) fn reading(claim: Option<Claim>) -> (Answer, Awaiting) {
    let reading = Arc::new(Reading {
        claim: claim.filter(|claim| claim.range.len() < verify::ALONE_BYTES),
        state: Mutex::new(State::Asked),
    });
    let awaiting = Awaiting {
        reading: reading.clone(),
        over: false,
    };
    (Answer::new(reading), awaiting)
}

impl Reading {
    fn end(&self, end: Option<End>) {
        let mut state = self.state.lock();
        if matches!(*state, State::Over) {
            // Destructors run outside the lock.
            drop(state);
            return;
        }
        let before = std::mem::replace(&mut *state, end.map_or(State::Over, State::Ended));
        drop(state);
        if let State::Awaited(waker) = before {
            waker.wake();
        }
    }
}

thread_local! {
    /// What has arrived in the present poll of this thread's reactor and has a claim.
    static ARRIVED: RefCell<Vec<Arrived>> = const { RefCell::new(Vec::new()) };
}

/// Ends its reading when dropped, so that no asker waits for what a panic has swept away.
struct Arrived {
    reading: Arc<Reading>,
    /// `None` once the reading has ended.
    buffer: Option<DmaBuffer>,
}

impl Arrived {
    fn claimed(&self) -> (Key, &[u8]) {
        let claim = self.reading.claim.as_ref().expect("only such as claim something");
        let buffer = self.buffer.as_ref().expect("not ended yet");
        (claim.key, &buffer[claim.range.clone()])
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        if self.buffer.is_some() {
            self.reading.end(None);
        }
    }
}

impl Reader for Reading {
    fn arrived(self: Arc<Self>, outcome: Option<io::Result<DmaBuffer>>) {
        match outcome {
            Some(Ok(buffer)) if self.claim.is_some() => ARRIVED.with_borrow_mut(|arrived| {
                arrived.push(Arrived {
                    reading: self,
                    buffer: Some(buffer),
                });
            }),
            Some(read) => self.end(Some(End { read, holds: None })),
            None => self.end(None),
        }
    }

    fn settle(&self) {
        let mut arrived = ARRIVED.take();
        let claimed: Vec<(Key, &[u8])> = arrived.iter().map(Arrived::claimed).collect();
        let verdicts = verify::hold(&claimed);
        for (mut arrived, holds) in arrived.drain(..).zip(verdicts) {
            let end = arrived.buffer.take().map(|buffer| End {
                read: Ok(buffer),
                holds: Some(holds),
            });
            arrived.reading.end(end);
        }
        // Wakers may have run anything; what they left there stays.
        ARRIVED.with_borrow_mut(|list| {
            if list.is_empty() {
                *list = arrived;
            }
        });
    }
}

/// The asker's side; `None` when the reactor has ended and nothing will come.
pub(super) struct Awaiting {
    reading: Arc<Reading>,
    /// The end has been taken.
    over: bool,
}

impl Awaiting {
    /// The end, if it has come; does not wait.
    pub fn try_take(&mut self) -> Option<End> {
        let mut state = self.reading.state.lock();
        if !matches!(*state, State::Ended(_)) {
            return None;
        }
        self.over = true;
        match std::mem::replace(&mut *state, State::Over) {
            State::Ended(end) => Some(end),
            _ => None,
        }
    }
}

impl Future for Awaiting {
    type Output = Option<End>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<End>> {
        let this = &mut *self;
        let mut state = this.reading.state.lock();
        match &mut *state {
            State::Asked => *state = State::Awaited(context.waker().clone()),
            State::Awaited(waker) => waker.clone_from(context.waker()),
            State::Ended(_) | State::Over => {
                this.over = true;
                return Poll::Ready(match std::mem::replace(&mut *state, State::Over) {
                    State::Ended(end) => Some(end),
                    _ => None,
                });
            }
        }
        Poll::Pending
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        if !self.over {
            // The buffer, and whatever its destructor does, goes outside the lock.
            let before = std::mem::replace(&mut *self.reading.state.lock(), State::Over);
            drop(before);
        }
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
