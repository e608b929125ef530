//! What the pending table has room for: slots and bytes, and who waits for some.
//!
//! Invariant: whoever waits was refused by the very state that it waits in; everything that is given back wakes all who
//! wait then. So nobody sleeps while there is room.
//! Rejected: atomic counters beside a lock-free list of slots; an attempt that takes one and gives it back for want of
//! the other refuses a second attempt at that moment, both may sleep, and nobody is left to wake them.

use std::task::{Context, Poll, Waker};

use super::Mutex;

/// Room for batches.
pub(super) struct Budget {
    bytes_max: usize,
    state: Mutex<State>,
}

struct State {
    free: Vec<u32>,
    bytes: usize,
    closed: bool,
    waiters: Vec<Waker>,
}

impl Budget {
    /// Room for `slots` batches of together `bytes_max` bytes.
    pub fn new(slots: u32, bytes_max: usize) -> Budget {
        Budget {
            bytes_max,
            state: Mutex::new(State {
                free: (0..slots).rev().collect(),
                bytes: 0,
                closed: false,
                waiters: Vec::new(),
            }),
        }
    }

    /// A slot for a batch of that many bytes, if there is room. One batch always fits, however small the table.
    pub fn try_take(&self, bytes: usize) -> Option<u32> {
        take(&mut self.state.lock(), bytes, self.bytes_max)
    }

    /// The same for one who waits; `None` once the table is closed.
    pub fn poll_take(&self, bytes: usize, context: &Context<'_>) -> Poll<Option<u32>> {
        let mut state = self.state.lock();
        if state.closed {
            return Poll::Ready(None);
        }
        let taken = take(&mut state, bytes, self.bytes_max);
        if taken.is_none() {
            state.waiters.push(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(taken)
    }

    /// Takes a slot and its bytes back.
    pub fn give_back(&self, slot: u32, bytes: usize) {
        self.change(|state| {
            debug_assert!(!state.free.contains(&slot), "a slot is given back once");
            state.free.push(slot);
            state.bytes -= bytes;
        });
    }

    /// Whoever waits waits in vain.
    pub fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// Bytes taken.
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes as u64
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let waiters = {
            let mut state = self.state.lock();
            change(&mut state);
            std::mem::take(&mut state.waiters)
        };
        waiters.into_iter().for_each(Waker::wake);
    }
}

fn take(state: &mut State, bytes: usize, bytes_max: usize) -> Option<u32> {
    if state.bytes > 0 && state.bytes + bytes > bytes_max {
        return None;
    }
    let slot = state.free.pop()?;
    state.bytes += bytes;
    Some(slot)
}
