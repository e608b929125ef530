//! Who goes next: work of many clients on few cores.
//!
//! Each reactor has a [`Gate`] that calls on its working trees go through, in two lanes: calls that only look, and calls that
//! change something. How many change something at once is learnt ([`limit`]): as many as leave a call that was just taken its
//! turn within a target. What does not fit waits, and clients take turns ([`fair`]); a call that would wait too long is refused
//! with the time after which it is worth coming again. Whole requests, which have threads of their own
//! ([`workers`](super::workers)), wait in such a queue too.
//!
//! A client is a connection. Rejected: a process (what stands for hundreds of agents behind one connection has one turn either
//! way, and what opens many connections is known by none of them); a user (all are the same one).
//! Rejected: a fixed rate of changes (right for one machine and one kind of work); a priority without a limit (what runs already
//! is what keeps the others waiting).

mod fair;
mod gate;
mod limit;

pub(super) use fair::Fair;
pub use gate::GateState;
pub(super) use gate::{Gate, Lane, Pass};

/// Names a client: the number of its connection.
pub(super) type ClientNumber = u64;
