//! Admission by space: a batch is accepted only when its log already has the segments to write it.
//!
//! Owns the count of bytes a log can still take in the segments attached to it. Space comes before visibility: what
//! was admitted can always be written, so a full store refuses at the door and keeps everything it took.
//! Invariant: `bytes` never counts the part of a segment that a frame may leave unused at its end, nor its header
//! and footer. That unused part of a log's last segment is what removals may still use when the store is full; a log
//! that never had a segment has none to give.
//! Rejected: one count for all logs; frames cannot be shared between logs, so it would promise too much.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use super::Mutex;
use crate::error::Error;
use crate::limits::{FRAME_BYTES_MAX, UNIT_BYTES};

/// Bytes a log can still take.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    bytes: i64,
    /// There is a segment, so there is its unused part.
    attached: bool,
    /// No further segment can be had.
    exhausted: Option<Exhausted>,
    /// Somebody waits, or was refused: another segment is wanted.
    wanted: bool,
    waiters: Vec<Waker>,
}

impl State {
    /// A fenced log stays fenced: a segment that was on its way when a write failed gives nobody hope again, who would
    /// then wait for a writer that does nothing any more.
    fn set_exhausted(&mut self, exhausted: Option<Exhausted>) {
        if self.exhausted != Some(Exhausted::Fenced) {
            self.exhausted = exhausted;
        }
    }
}

/// Why no further segment can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exhausted {
    /// No segment of the store is free.
    Store,
    /// The file system or device below the store has no space for another segment.
    Disk,
    /// A write failed: nothing is taken any more, whatever segments come or go.
    Fenced,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom {
    /// Bytes that are left for smaller batches.
    pub free: u64,
    pub reason: Exhausted,
}

impl NoRoom {
    /// The error for a batch that needs `needed` bytes.
    pub fn error(self, store: &str, needed: u64) -> Error {
        let (device, free) = (store.to_owned(), self.free);
        match self.reason {
            Exhausted::Disk => Error::DiskFull { device, needed, free },
            Exhausted::Store | Exhausted::Fenced => Error::Full { device, needed, free },
        }
    }
}

/// What a segment of this size adds to the room of a log: all of it but the header, the rounding of the footer, and
/// what the frame that does not fit any more may leave behind.
pub(super) fn usable_bytes(segment_bytes: u64) -> i64 {
    let lost = 2 * UNIT_BYTES + FRAME_BYTES_MAX;
    i64::try_from(segment_bytes).expect("a segment is below 2 GiB")
        - i64::try_from(lost).expect("a small constant")
}

impl Room {
    /// Takes `cost` bytes, waiting while another segment is on its way. `ask` tells the writer that one is wanted.
    pub async fn take(&self, cost: u64, removal: bool, ask: impl Fn()) -> Result<(), NoRoom> {
        let cost = i64::try_from(cost).expect("a batch is far below 2^63 bytes");
        poll_fn(|context| {
            let mut state = self.0.lock();
            let beyond = if removal && state.attached && state.exhausted.is_some() {
                FRAME_BYTES_MAX as i64
            } else {
                0
            };
            if state.bytes + beyond >= cost {
                state.bytes -= cost;
                return Poll::Ready(Ok(()));
            }
            state.wanted = true;
            if let Some(reason) = state.exhausted {
                let free = u64::try_from(state.bytes).unwrap_or(0);
                drop(state);
                ask();
                return Poll::Ready(Err(NoRoom { free, reason }));
            }
            state.waiters.push(context.waker().clone());
            drop(state);
            ask();
            Poll::Pending
        })
        .await
    }

    /// The log goes on in a segment that has this room left.
    pub fn go_on(&self, bytes: i64) {
        self.change(|state| {
            state.bytes += bytes;
            state.attached = true;
        });
    }

    /// Gives back what a batch did not use.
    pub fn add(&self, bytes: i64) {
        self.change(|state| state.bytes += bytes);
    }

    /// Another segment was attached.
    pub fn attach(&self, bytes: i64) {
        self.change(|state| {
            state.bytes += bytes;
            state.attached = true;
            state.set_exhausted(None);
            state.wanted = false;
        });
    }

    /// No further segment can be had.
    pub fn exhaust(&self, reason: Exhausted) {
        self.change(|state| {
            state.set_exhausted(Some(reason));
            state.wanted = false;
        });
    }

    /// A segment may be had again.
    pub fn hope(&self) {
        self.0.lock().set_exhausted(None);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let waiters = {
            let mut state = self.0.lock();
            change(&mut state);
            std::mem::take(&mut state.waiters)
        };
        waiters.into_iter().for_each(Waker::wake);
    }

    /// Whether a batch waits for another segment or was refused for want of one.
    pub fn is_wanted(&self) -> bool {
        self.0.lock().wanted
    }

    /// Whether the last attempt to have another segment failed.
    pub fn is_exhausted(&self) -> bool {
        self.0.lock().exhausted.is_some()
    }

    /// Bytes left.
    pub fn left(&self) -> u64 {
        u64::try_from(self.0.lock().bytes).unwrap_or(0)
    }
}
