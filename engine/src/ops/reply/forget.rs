//! Replies about histories that were cut and branches that expired.

use serde::{Deserialize, Serialize};

use super::history::Reference;
use crate::format::ContentId;
use crate::ops::ByteString;

/// What forgetting did, or with a dry run would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgot {
    /// Nothing was changed.
    pub dry_run: bool,
    /// By name.
    pub branches: Vec<ForgotBranch>,
}

/// The history of one branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgotBranch {
    /// The branch.
    pub name: ByteString,
    /// Commits that stay in its history.
    pub kept: u64,
    /// Commits that left it.
    pub forgotten: u64,
    /// The oldest commit of what is left without a gap; tagged ones may be older.
    pub oldest: ContentId,
    /// When that was made.
    pub oldest_ns: u64,
}

/// Branches that have expired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Nothing was changed.
    pub dry_run: bool,
    /// The branches as they were, by name.
    pub removed: Vec<Reference>,
}
