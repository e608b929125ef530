//! Replies of operations on real directories.

use serde::{Deserialize, Serialize};

use crate::format::ContentId;
use crate::ops::ByteString;
use crate::trees::EntryKind;

/// Something skipped or odd that did not stop an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Where.
    pub path: ByteString,
    /// What, and what it means.
    pub message: String,
}

/// All warnings of an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings {
    /// How many there were.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Warning>,
}

impl Warnings {
    /// How many are kept for the reply; more are only counted.
    pub const KEPT: usize = 1000;

    /// Counts one, and keeps it while there is room.
    pub fn push(&mut self, warning: Warning) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(warning);
        }
    }

    /// Adds those of a later step.
    pub fn append(&mut self, later: Warnings) {
        self.count += later.count;
        self.first.extend(later.first);
        self.first.truncate(Self::KEPT);
    }
}

/// A commit of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Its id. Where nothing differed, the head that already says so.
    pub commit: ContentId,
    /// Its tree.
    pub tree: ContentId,
    /// The commit before; absent for the first.
    pub parent: Option<ContentId>,
    /// The branch that moved.
    pub branch: ByteString,
    /// Nothing differed from the head of the branch, so there is no new commit.
    pub unchanged: bool,
    /// What was committed.
    pub entries: Headcount,
    /// Files that had to be read because their state had changed or was unknown.
    pub files_read: u64,
    /// Bytes read from them.
    pub bytes_read: u64,
    /// Extents the store did not have.
    pub new_objects: u64,
    /// Bytes of those.
    pub new_bytes: u64,
    /// What was skipped or odd.
    pub warnings: Warnings,
}

/// What a tree holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headcount {
    /// Names other than directories.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// What a restore did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The commit the directory is at.
    pub commit: ContentId,
    /// The directory.
    pub directory: ByteString,
    /// The commit that holds the state before; absent where nothing was replaced or it was not wanted.
    pub backup: Option<ContentId>,
    /// The branch that names the backup; absent where the branch the directory follows does.
    pub backup_branch: Option<ByteString>,
    /// Nothing was touched.
    pub dry_run: bool,
    /// Names made or written anew.
    pub written: u64,
    /// Names whose mode, owner, time or attributes alone were set.
    pub adjusted: u64,
    /// Names removed.
    pub removed: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Each of them, by path.
    pub entries: Vec<RestoredEntry>,
    /// What could not be restored exactly.
    pub warnings: Warnings,
}

/// One name that a restore changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredEntry {
    /// Relative to the directory; `.` for the directory itself.
    pub path: ByteString,
    /// Kind of what is removed or made.
    pub kind: EntryKind,
    /// What happens.
    pub how: RestoredHow,
}

/// What a restore does to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestoredHow {
    /// Removed.
    Removed,
    /// Made.
    Created,
    /// Written anew.
    Replaced,
    /// Its mode, owner, time or attributes are set.
    Metadata,
}

/// A new directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Materialized {
    /// The commit it shows.
    pub commit: ContentId,
    /// The directory.
    pub directory: ByteString,
    /// What it holds.
    pub entries: Headcount,
    /// What could not be made exactly.
    pub warnings: Warnings,
}
