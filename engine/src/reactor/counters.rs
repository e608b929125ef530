//! What each reactor has done, readable from any thread.
//!
//! One writer per counter group: the reactor's own counters sit on lines that only it writes (plain load and store,
//! no locked instruction), the ones other threads add to on a line of their own. All relaxed: counters order
//! nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ ; $($(#[$remote_doc:meta])* $remote:ident),+) => {
        /// Written by the reactor's thread alone.
        #[derive(Default)]
        #[repr(align(128))]
        pub(super) struct Own { $(pub(super) $name: Counter),+ }

        /// Written by any thread.
        #[derive(Default)]
        #[repr(align(128))]
        pub(super) struct Remote { $(pub(super) $remote: AtomicU64),+ }

        /// A reactor's counters at one moment, each counted since its start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
        pub struct CounterValues {
            $($(#[$doc])* pub $name: u64,)+
            $($(#[$remote_doc])* pub $remote: u64,)+
        }

        impl Counters {
            /// All values, read one after the other.
            pub(super) fn values(&self) -> CounterValues {
                CounterValues {
                    $($name: self.own.$name.0.load(Relaxed),)+
                    $($remote: self.remote.$remote.load(Relaxed),)+
                }
            }
        }
    };
}

counters! {
    /// Turns of the poll loop.
    turns,
    /// Polls of tasks.
    polls,
    /// Tasks started.
    tasks_started,
    /// Tasks ended, cancelled ones included.
    tasks_ended,
    /// Times the thread slept in the kernel.
    sleeps,
    /// Sleeps ended by a doorbell.
    wakeups,
    /// Device commands given to the queue.
    io_submitted,
    /// Device commands completed.
    io_completed,
    /// Device commands that had to wait because the queue was full.
    io_backlogged,
    /// Timers fired.
    timers,
    /// Tasks that panicked.
    panics,
    /// Nanoseconds spent in turns that found work.
    busy_ns;
    /// Doorbells rung to wake the reactor.
    doorbells,
    /// Wake-ups and new tasks from other threads.
    remote
}

/// A counter with one writer.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the reactor's thread may call it.
    pub(super) fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) own: Own,
    pub(super) remote: Remote,
}
