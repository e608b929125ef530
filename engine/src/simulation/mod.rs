//! The whole engine on one thread, in virtual time, from one seed: reactors, clients, faults, crashes, recoveries.
//!
//! # Fault model
//!
//! In every run the device completes commands out of order, after a latency drawn from the seed, and loses power (or
//! the process is killed) at any point: between two writes, at any virtual time, while a store is closed, and during
//! recovery. A power cut drops unflushed writes and writes in flight, each on its own: whole, in part (torn at 512 or
//! at 4096 bytes), or not at all. Depending on the kind of run ([`Weather`]) it also
//! - takes very long for some commands, or fails some (reads, writes, flushes, allocations);
//! - runs out of space;
//! - damages media: bits rot or flip on the way, writes are acknowledged and lost, torn or land elsewhere, reads are
//!   stale or come from elsewhere; during recovery too.
//!
//! Outside the model: flushes and durable writes that are acknowledged and do nothing. Nothing on the device tells
//! them from a power cut before they were asked for.
//!
//! # What is demanded
//!
//! - No wrong byte, no panic, no deadlock, no waiting beyond a bound of virtual time. Always.
//! - Without media damage: the store opens and reports no damage; what was answered as durable is there exactly; what
//!   was only visible is there or not, but of each client only as the state after some number of its operations, and
//!   with everything it reaches; nothing deleted comes back; what one opening found the next finds again. No
//!   operation is answered with an error that neither the device nor its space explains.
//! - Also without media damage: what forgetting leaves of a history is there, and no more is listed; a sweep takes what
//!   has expired and nothing else; a quota refuses exactly the commits that go beyond it; what a collection swept stays
//!   gone; scrub finds nothing, and after the media were damaged on purpose exactly that, which is then repaired.
//! - With media damage: errors instead of answers, or older states.
//!
//! # How
//!
//! A seed gives a [`Plan`] (`workload`), which [`run()`] does round by round: open, compare with the model
//! (`check`), let clients work (`client`, `commits`, `branches`) until the round ends. A plan that fails is made smaller by
//! leaving parts out (`minimise`). `exhaustive` does the same for every short workload and every crash.
//! Invariant: a plan always does the same, bit for bit ([`Outcome::fingerprint`]).

mod branches;
mod check;
mod client;
mod commits;
mod content;
mod crowd;
pub mod exhaustive;
mod faults;
mod forget;
mod history;
mod maintenance;
mod minimise;
mod model;
mod owned;
mod panics;
mod plan;
mod quota;
mod round;
mod scrub;
mod tally;
mod temporary;
mod workload;

#[cfg(test)]
mod tests;

pub use content::Content;
pub use faults::Weather;
pub use maintenance::Maintenance;
pub use minimise::minimise;
pub use model::Violation;
pub use plan::{ClientPlan, Edit, EndAt, Ending, Operation, Plan, Round};
pub use quota::Quota;
pub use round::{run, run_watching};
pub use tally::Tally;
pub use workload::draw;

/// What became of a plan.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What happened, in numbers.
    pub tally: Tally,
    /// Stands for everything the device was asked and answered; the same for the same plan.
    pub fingerprint: u64,
    /// What the store did wrong.
    pub violation: Option<Violation>,
}

/// Draws the plan of a seed and runs it.
pub fn run_seed(seed: u64) -> Outcome {
    run(&draw(seed))
}
