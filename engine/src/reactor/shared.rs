//! The part of a reactor that other threads touch: its remote queue, its doorbell, its end.
//!
//! Invariants:
//! - A runnable task is in exactly one place: the local queue, the remote queue, or being run. A wake-up on the
//!   reactor's own thread uses the local queue and no atomic; any other goes through the remote queue.
//! - Once `closed` is set no task exists any more, and nothing stays in the remote queue: whoever pushes after the
//!   last drain sees `closed` and drains again.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

use crossbeam::queue::SegQueue;
use parking_lot::Mutex;

use crate::device::Doorbell;

use super::counters::Counters;
use super::current;
use super::doze::Doze;
use super::handle::ReactorId;
use super::local::Local;
use super::receiving::Receiving;
use super::slab::SlabKey;

/// A task ready to be polled; it knows its place among the reactor's tasks.
pub(super) type Runnable = async_task::Runnable<SlabKey>;
/// Starts a task on the reactor's thread.
pub(super) type Start = Box<dyn FnOnce(Local) + Send>;
/// What a panicking task threw.
pub(super) type Payload = Box<dyn Any + Send>;

/// Work from other threads.
pub(super) enum Remote {
    Run(Runnable),
    Start(Start),
    Wake(Arc<Receiving>),
}

/// No core.
const UNPINNED: usize = usize::MAX;

pub(super) struct Shared {
    pub(super) id: ReactorId,
    pub(super) counters: Counters,
    pub(super) doze: Doze,
    pub(super) doorbell: Doorbell,
    remote: SegQueue<Remote>,
    core: AtomicUsize,
    closing: AtomicBool,
    closed: AtomicBool,
    /// The first panic of a task of this runtime.
    failure: Arc<Mutex<Option<Payload>>>,
}

impl Shared {
    pub(super) fn new(
        id: ReactorId,
        doorbell: Doorbell,
        failure: Arc<Mutex<Option<Payload>>>,
    ) -> Arc<Shared> {
        Arc::new(Shared {
            id,
            counters: Counters::default(),
            doze: Doze::new(),
            doorbell,
            remote: SegQueue::new(),
            core: AtomicUsize::new(UNPINNED),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            failure,
        })
    }

    /// Queues a task that was woken: locally on the reactor's own thread, remotely elsewhere.
    pub(super) fn schedule(self: &Arc<Self>, runnable: Runnable) {
        if let Err(runnable) = current::push_local(self, runnable) {
            self.push(Remote::Run(runnable));
        }
    }

    /// Queues work from any thread and wakes the reactor if it sleeps.
    pub(super) fn push(&self, work: Remote) {
        self.push_and_claim(work, false);
    }

    /// Queues work that can wait until a light sleep ends by itself.
    pub(super) fn push_lazily(&self, work: Remote) {
        self.push_and_claim(work, true);
    }

    fn push_and_claim(&self, work: Remote, lazy: bool) {
        self.remote.push(work);
        self.counters.remote.remote.fetch_add(1, Ordering::Relaxed);
        // The fence in `claim` also orders the push before the load of `closed`.
        if self.doze.claim(lazy) {
            self.ring();
        }
        if self.closed.load(Ordering::Relaxed) {
            self.drop_remote();
        }
    }

    fn ring(&self) {
        self.counters.remote.doorbells.fetch_add(1, Ordering::Relaxed);
        self.doorbell.ring();
    }

    pub(super) fn pop(&self) -> Option<Remote> {
        if self.remote.is_empty() {
            return None;
        }
        self.remote.pop()
    }

    pub(super) fn has_remote(&self) -> bool {
        !self.remote.is_empty()
    }

    /// Asks the reactor to end.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.ring();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The reactor's last act: from now on work is dropped by who brings it.
    pub(super) fn set_closed(&self) {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.drop_remote();
    }

    /// Only tasks not yet started can be left (all started ones have ended), so any thread may drop them.
    fn drop_remote(&self) {
        while let Some(work) = self.remote.pop() {
            drop(work);
        }
    }

    pub(super) fn core(&self) -> Option<usize> {
        Some(self.core.load(Ordering::Relaxed)).filter(|&core| core != UNPINNED)
    }

    pub(super) fn set_core(&self, core: usize) {
        self.core.store(core, Ordering::Relaxed);
    }

    /// Keeps the first panic of the runtime for [`Runtime::shutdown`](super::Runtime::shutdown).
    pub(super) fn fail(&self, payload: Payload) {
        self.counters.own.panics.add(1);
        let message = panic_message(payload.as_ref());
        tracing::error!(reactor = self.id.0, "a task panicked: {message}");
        self.failure.lock().get_or_insert(payload);
    }
}

/// The text of a panic, where it has one.
pub(super) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}
