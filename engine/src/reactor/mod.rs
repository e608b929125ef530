//! Reactors: one pinned thread per core with a task executor, a device queue, timers and mailboxes.
//!
//! Why threads per core: the path of a durable write is "fill a frame, submit, reap". Run by one thread that
//! owns its queue and its memory it takes no lock and no hop; a task never leaves its reactor, so what tasks share
//! is plain `Rc` and `RefCell`. Everything between reactors goes through a [`mailbox()`] or a [`oneshot()`].
//!
//! A [`Runtime`] has two forms with the same tasks on both:
//! - [`Runtime::threads`]: a thread per reactor. It spins for a short while after the last activity (`spin` says how
//!   short) and then sleeps in the kernel (see `doze` for the protocol that loses no wake-up), so an idle store costs no
//!   CPU; or never sleeps, if asked to ([`Polling`]).
//! - [`Runtime::driver`]: no threads and virtual time. [`Runtime::block_on`] steps all reactors on the calling
//!   thread, in an order drawn from a seed: the same seed gives the same run.
//!
//! Clocks are read in `clock` only, threads started in `thread` only. Nothing here needs `unsafe`.
//!
//! Rejected: a work-stealing executor (a task that moves between threads needs `Send` state, locks around the
//! device queue, and wakes other threads on the commit path); one executor per queue from an existing runtime
//! (none runs under a seeded driver with virtual time).

mod block_on;
mod clock;
mod config;
mod counters;
mod current;
mod doze;
mod driver;
mod executor;
mod handle;
mod io;
mod local;
pub mod mailbox;
pub mod oneshot;
mod receiving;
mod runtime;
mod shared;
mod slab;
mod sockets;
mod spin;
mod started;
mod thread;
mod timer;

// Under these names `doze`, `receiving`, `mailbox` and `oneshot` find either these or, in a model, `loom`'s.
use std::sync::atomic;

use crossbeam::queue::ArrayQueue;
use parking_lot::Mutex;

pub use block_on::block_on;
pub use clock::{Clock, Nanos};
pub use config::{Config, Polling};
pub use counters::CounterValues;
pub use handle::{Handle, ReactorId};
pub use io::{Answer, Plain, Reader, Transfer};
pub use local::{Local, YieldNow};
pub use mailbox::{Receiver, SendError, Sender, Sending, mailbox};
pub use oneshot::oneshot;
pub use runtime::Runtime;
pub use sockets::Watched;
pub use started::Started;
pub use timer::Sleep;

#[cfg(test)]
mod tests;
