//! What a store answers.
//!
//! The field names are what `--json` prints and therefore stable: fields are added, never renamed or reused.
//! Sizes are bytes, times are nanoseconds since 1970 (`*_ns`), ids are 64 hexadecimal digits, and names follow
//! [`ByteString`](super::ByteString).

mod change;
mod content;
mod directory;
mod forget;
mod history;
mod merge;
mod space;
mod store;
mod upkeep;

use serde::{Deserialize, Serialize};

pub use change::{Change, ChangeKind, Compared, Node, Part, Status};
pub use content::{Content, Found, PinCount, Pinned, Presence};
pub use directory::{
    Committed, Headcount, Materialized, Restored, RestoredEntry, RestoredHow, Warning, Warnings,
};
pub use forget::{Expired, Forgot, ForgotBranch};
pub use history::{CommitRecord, History, Listed, ListedEntry, Reference, References};
pub use merge::{Conflict, ConflictKind, MergeOutcome, Merged};
pub use space::{Amount, Keeper, KeeperKind, Kept, QuotaRow, Quotas, Usage, UsageRow};
pub use store::{CacheStats, Checked, Created, Damage, Info, Latency, Stats, Totals};
pub use upkeep::{Collected, DamagedExtent, Scrubbed};

/// The answer to a [`Request`](super::Request).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To `Init`.
    Created(Created),
    /// To `Info`.
    Info(Info),
    /// To `Stats`.
    Stats(Stats),
    /// To `Check`.
    Checked(Checked),
    /// To `Collect`.
    Collected(Collected),
    /// To `Scrub`.
    Scrubbed(Scrubbed),
    /// To `Put`, `Get` and `Cat`.
    Content(Content),
    /// To `Exists`.
    Found(Found),
    /// To `Pin` and `Unpin`.
    Pinned(Pinned),
    /// To `Commit`.
    Committed(Committed),
    /// To `Status`.
    Status(Status),
    /// To `Branch` and `Tag`.
    References(References),
    /// To `Forget`.
    Forgot(Forgot),
    /// To `Expire`.
    Expired(Expired),
    /// To `Quota`.
    Quotas(Quotas),
    /// To `Why`.
    Kept(Kept),
    /// To `Usage`.
    Usage(Usage),
    /// To `Log`.
    History(History),
    /// To `List`.
    Listed(Listed),
    /// To `Diff`.
    Compared(Compared),
    /// To `Merge`.
    Merged(Merged),
    /// To `Restore`.
    Restored(Restored),
    /// To `Materialize`.
    Materialized(Materialized),
}
