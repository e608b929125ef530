//! Every user operation as a value: a [`Request`] that says what is wanted, a [`Reply`] that says what happened.
//!
//! Owns the vocabulary between the engine and everything that drives it. Command line, servers and bindings
//! build requests and render replies; none of them calls the layers below. All values serialise, so that the
//! same request can be run in this process ([`Local`]) or carried to the process that owns the store.
//!
//! Bytes do not travel in requests and replies. A `put` reads its content from the [`Exchange`] of the call, a
//! `get` or `cat` writes to it, in pieces, so that no content has to fit in memory; progress, warnings and
//! cancellation take the same way.
//!
//! Invariants: a request means the same wherever it runs, so every directory in it is an absolute path and
//! every time an absolute one. A failed call answers with a [`Failure`], which carries its class, its message
//! and what to do, and therefore crosses a socket with the same exit code.
//! Rejected: one trait method per operation; each would have to be written again for every transport.

mod bytestring;
mod exchange;
mod failure;
pub mod files;
mod local;
mod reply;
mod request;

pub use bytestring::ByteString;
pub use exchange::{Exchange, Reporter, Silent, Stage, Step};
pub use failure::{Class, Failure};
pub use local::{Desk, Host, Local, StoreOptions, owner_socket};
pub use reply::{
    Amount, CacheStats, Change, ChangeKind, Checked, Collected, CommitRecord, Committed, Compared, Conflict,
    ConflictKind, Content, Created, Damage, DamagedExtent, Expired, Forgot, ForgotBranch, Found, Headcount,
    History, Info, Keeper, KeeperKind, Kept, Latency, Listed, ListedEntry, Materialized, MergeOutcome,
    Merged, Node, Part, PinCount, Pinned, Presence, QuotaRow, Quotas, Reference, References, Reply, Restored,
    RestoredEntry, RestoredHow, Scrubbed, Stats, Status, Totals, Usage, UsageRow, Warning, Warnings,
};
pub use request::{
    BranchRequest, CatRequest, CheckRequest, CollectRequest, CommitRequest, ContentRequest, DiffRequest,
    Durability, ExpireRequest, ExtraFiles, ForgetRequest, GetRequest, InitRequest, ListRequest, LogRequest,
    MaterializeRequest, MergeRequest, PutRequest, QuotaRequest, Request, RestoreRequest, ScrubRequest, Side,
    StatusRequest, TagRequest, UsageRequest, WhyRequest,
};

pub use crate::device::Backend;
pub use crate::reactor::Polling;
pub use crate::trees::fs::Cancel;

/// Runs requests: in this process, or wherever the store is owned.
pub trait Client {
    /// Runs `request` to its end. Bytes, progress and warnings go through `exchange` while it runs.
    ///
    /// Changes are all or nothing: after a [`Failure`] the store is as it was, except that a failure of class
    /// [`Class::Io`] leaves the outcome of the operation unknown.
    fn call(&self, request: Request, exchange: &mut dyn Exchange) -> Result<Reply, Failure>;
}

#[cfg(test)]
mod names_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
#[path = "ops_tests.rs"]
mod tests;
#[cfg(test)]
mod upkeep_tests;
