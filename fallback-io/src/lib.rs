//! Completion-based direct I/O on a regular file or a block device.
//!
//! [`Target`] is the opened file; [`Uring`] and [`Threads`] are two queues of asynchronous commands on it with
//! one shape, [`Queue`]. `Threads` is for places where io_uring is missing or forbidden (default container
//! profiles forbid it): it gives the same answers, slower.
//!
//! Memory lent to the kernel cannot be freed while the kernel has it: a command takes its [`Buffer`] by value
//! and the completion gives it back; a queue that is dropped first waits for what is in flight. Positions and
//! lengths are checked before the kernel sees them, so that a wrong command is an error and never a panic.
//!
//! Rejected: borrowing buffers (`&mut [u8]` in a command). A leaked queue would then leave the kernel writing
//! into memory its owner believes it has back.

mod command;
mod error;
mod memory;
mod queue;
#[cfg(test)]
mod queue_tests;
mod target;
mod threads;
mod uring;

pub use command::{Command, Completion, Operation};
pub use error::Error;
pub use memory::{Buffer, Mapping};
pub use queue::Queue;
pub use target::{Options, Target, create_sparse};
pub use threads::Threads;
pub use uring::Uring;

/// Result of every call that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;
