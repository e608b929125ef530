//! Replies about merges.

use serde::{Deserialize, Serialize};

use super::change::{Change, Node};
use crate::format::ContentId;
use crate::ops::ByteString;

/// What a merge did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// How it ended.
    pub outcome: MergeOutcome,
    /// The branch.
    pub branch: ByteString,
    /// The head of the branch before.
    pub ours: ContentId,
    /// The commit merged into it.
    pub theirs: ContentId,
    /// The newest of the best common ancestors; absent where an empty base was taken.
    pub base: Option<ContentId>,
    /// All of them, newest first; several where the branches were merged into each other.
    pub bases: Vec<ContentId>,
    /// The head of the branch now; absent where a dry run would have made a commit.
    pub commit: Option<ContentId>,
    /// What the merge changes on the branch, by path; empty with conflicts.
    pub changes: Vec<Change>,
    /// Names that both sides have changed in different ways, by path.
    pub conflicts: Vec<Conflict>,
    /// Extents the store did not have.
    pub new_objects: u64,
    /// Bytes of those.
    pub new_bytes: u64,
    /// Nothing was touched.
    pub dry_run: bool,
}

/// How a merge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeOutcome {
    /// The branch has had it already.
    UpToDate,
    /// The branch was moved to it.
    FastForward,
    /// A commit with two parents was made.
    Merged,
    /// Nothing has happened: names are in conflict.
    Conflicts,
}

/// One name in conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Relative to the top of the tree; `.` for the top itself.
    pub path: ByteString,
    /// Why.
    pub conflict: ConflictKind,
    /// In the common ancestor; absent where it has no such name.
    pub base: Option<Node>,
    /// On the branch; absent where it was removed or never was.
    pub ours: Option<Node>,
    /// In the merged revision; absent where it was removed or never was.
    pub theirs: Option<Node>,
}

/// Why a name is in conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Changed on both sides.
    BothChanged,
    /// Made on both sides.
    BothAdded,
    /// Removed on the branch, changed in the merged revision.
    OursRemoved,
    /// Changed on the branch, removed in the merged revision.
    TheirsRemoved,
    /// One of several links to a file that would have different contents; the base is not given.
    Links,
}
