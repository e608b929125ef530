//! The waiting receiver of a mailbox: how senders wake it, at once or lazily.
//!
//! The receiver registers, fences, and looks for messages once more; a sender pushes, fences, and looks for the
//! receiver. One of the two sees the other.
//!
//! A lazy sender does not wake the task: a task woken without a doorbell would swallow the next urgent wake-up (it
//! counts as scheduled, so nobody would ring). It asks the reactor to wake the task at its next turn instead, once
//! per turn however many lazy messages come.

use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

use super::atomic::{AtomicBool, Ordering, fence};
use super::shared::{Remote, Shared};

#[derive(Default)]
pub(super) struct Receiving {
    waits: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// A request to wake the receiver is in the reactor's remote queue.
    requested: AtomicBool,
}

impl Receiving {
    /// The caller looks for messages once more afterwards.
    pub(super) fn register(&self, waker: &Waker) {
        let mut place = self.waker.lock();
        match place.as_mut() {
            Some(present) => present.clone_from(waker),
            None => *place = Some(waker.clone()),
        }
        drop(place);
        self.waits.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Called after a message was pushed or the last sender has gone.
    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.waits.load(Ordering::Relaxed) && self.waits.swap(false, Ordering::AcqRel) {
            let waker = self.waker.lock().take();
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Called after a message was pushed that may wait for the reactor's next turn.
    pub(super) fn wake_lazily(self: &Arc<Self>, reactor: &Shared) {
        fence(Ordering::SeqCst);
        // If the request is there already, the reactor has yet to take it, and will see the message when it does.
        if self.waits.load(Ordering::Relaxed) && !self.requested.swap(true, Ordering::AcqRel) {
            reactor.push_lazily(Remote::Wake(Arc::clone(self)));
        }
    }

    /// The reactor takes the request.
    pub(super) fn grant(&self) {
        self.requested.swap(false, Ordering::AcqRel);
        self.wake();
    }
}
