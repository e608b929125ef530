//! Replies about what keeps what, and what that costs.

use serde::{Deserialize, Serialize};

use crate::format::ContentId;
use crate::ops::ByteString;

/// What kind of name keeps something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperKind {
    /// A branch, with its history and its remembered earlier states.
    Branch,
    /// A tag, with its history.
    Tag,
    /// A pinned content.
    Pin,
    /// What the store remembers of a directory.
    Workspace,
    /// A commit by itself, without its history.
    Revision,
}

/// What keeps an extent alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its id.
    pub id: ContentId,
    /// `data`, `manifest`, `tree node` or `commit`.
    pub kind: String,
    /// Stored bytes.
    pub bytes: u64,
    /// Names that keep it, with one path each; empty: nothing does.
    pub keepers: Vec<Keeper>,
    /// Keepers that are not listed.
    pub more: u64,
}

/// One way from a name to an extent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// What kind of name.
    pub kind: KeeperKind,
    /// The name; for a pin the id, for a directory its path.
    pub name: ByteString,
    /// The newest commit of the name that holds it; absent for pins and directories.
    pub commit: Option<ContentId>,
    /// How many commits of the name hold it.
    pub commits: u64,
    /// Where it is in that commit; `.` is the top directory. Absent if it is the commit itself, or there is none.
    pub path: Option<ByteString>,
}

/// Extents and their stored bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Stored bytes.
    pub bytes: u64,
    /// Extents.
    pub extents: u64,
}

/// What names keep alive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// One for each name asked for.
    pub rows: Vec<UsageRow>,
    /// Everything that any name of the store keeps, counted once.
    pub total: Amount,
}

/// What one name keeps alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// What kind of name.
    pub kind: KeeperKind,
    /// The name; absent for all pins, and all directories, together.
    pub name: Option<ByteString>,
    /// Everything it reaches.
    pub all: Amount,
    /// What no other name reaches: goes when the name goes. For a revision: what no other commit holds.
    pub unique: Amount,
    /// What others reach too.
    pub shared: Amount,
}

/// Quotas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    /// By prefix.
    pub quotas: Vec<QuotaRow>,
}

/// One quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaRow {
    /// It is for branches whose names begin with this.
    pub prefix: ByteString,
    /// Most that they may use.
    pub limit_bytes: u64,
    /// What they reached when that was measured, and what commits on them have stored since.
    pub used_bytes: u64,
    /// When it was measured.
    pub measured_ns: u64,
}
