//! Files of a working tree, for programs that have no directory: open one on a branch, read and change it in steps, commit.
//!
//! Owns the vocabulary ([`OpenFiles`], [`FileStep`], [`FileResult`]) and [`Files`], which carries it out. Steps come many at a
//! time; bytes travel beside them, in the order of the steps. Nothing of a working tree is in the store before it commits,
//! except contents that are many or large; dropping it leaves no trace.
//!
//! Invariants: the steps of one call run in order, and the first that fails ends the call, so what comes after it has not
//! happened; paths are relative to the top of the tree and never leave it; a tree keeps a bounded part of the directories it has
//! read, and what else steps want in memory they ask for ([`Room`]).

mod large;
mod patch;
mod room;
mod run;

use serde::{Deserialize, Serialize};

use super::{ByteString, Durability, Failure};
use crate::format::ContentId;
use crate::trees::{EntryKind, FileTime};

pub use room::{Room, Unbounded};
pub use run::Files;

/// Most steps in one call.
pub const STEPS_MAX: usize = 10_000;

/// Opens a working tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFiles {
    /// The branch to start from.
    pub branch: ByteString,
    /// Makes this branch there first, and works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<ByteString>,
    /// When the branch made goes by itself: nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ns: Option<u64>,
    /// Makes `branch` with the first commit, if there is no such branch.
    #[serde(default)]
    pub create: bool,
    /// Author of its commits.
    #[serde(default)]
    pub author: String,
    /// Leaves modification times out, so that equal contents give equal trees whenever they were written.
    #[serde(default)]
    pub no_times: bool,
}

impl FileStep {
    /// Whether it changes nothing.
    pub fn only_looks(&self) -> bool {
        matches!(
            self,
            FileStep::Read { .. } | FileStep::Stat { .. } | FileStep::List { .. }
        )
    }
}

/// A working tree that was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesOpened {
    /// The branch its commits go to.
    pub branch: ByteString,
    /// The commit it starts from; absent before the first one.
    pub commit: Option<ContentId>,
    /// Files and links in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One text to be replaced by another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// What is there.
    pub old: ByteString,
    /// What is to be there.
    pub new: ByteString,
    /// Everywhere; otherwise it must be there exactly once.
    #[serde(default)]
    pub all: bool,
}

/// One thing to be done with a working tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum FileStep {
    /// Gives the bytes of a file, or the target of a link.
    Read {
        /// Which.
        path: ByteString,
        /// First byte.
        #[serde(default)]
        offset: u64,
        /// Bytes at most; absent: to the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length: Option<u64>,
    },
    /// Writes a file: a new one, or the whole of one that is there, or a part of it.
    Write {
        /// Which.
        path: ByteString,
        /// Bytes of it that came with the call.
        bytes: u64,
        /// Where they go; what lies before it and is missing becomes zeroes. Absent: they are the whole file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// Makes missing directories above it.
        #[serde(default)]
        parents: bool,
        /// Permission bits; absent: those it has, or 0644.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u16>,
    },
    /// Writes behind the end of a file, which is made if it is missing.
    Append {
        /// Which.
        path: ByteString,
        /// Bytes of it that came with the call.
        bytes: u64,
    },
    /// Cuts a file, or makes it longer with zeroes.
    Truncate {
        /// Which.
        path: ByteString,
        /// Its new length.
        size: u64,
    },
    /// Replaces texts in a file, one after the other. All are replaced or none.
    Patch {
        /// Which.
        path: ByteString,
        /// What by what.
        replace: Vec<Replacement>,
    },
    /// Gives a file or directory another name; a file may replace a file.
    Rename {
        /// Present path.
        from: ByteString,
        /// New path.
        to: ByteString,
    },
    /// Removes a file, or a directory with everything in it.
    Remove {
        /// Which.
        path: ByteString,
        /// It need not be there.
        #[serde(default)]
        missing_ok: bool,
    },
    /// Makes a directory.
    Mkdir {
        /// Which.
        path: ByteString,
        /// Also those above it that are missing; it may be there already.
        #[serde(default)]
        parents: bool,
    },
    /// Makes a symbolic link.
    Symlink {
        /// Where.
        path: ByteString,
        /// What it points at; never followed here.
        target: ByteString,
    },
    /// Sets permission bits.
    SetMode {
        /// Of which.
        path: ByteString,
        /// The bits, at most 0o7777.
        mode: u16,
    },
    /// Says what a path is.
    Stat {
        /// Which; empty: the top directory.
        path: ByteString,
    },
    /// Lists a directory, by name.
    List {
        /// Which; empty: the top directory.
        path: ByteString,
    },
    /// Records the state on the branch.
    Commit {
        /// Why.
        #[serde(default)]
        message: String,
        /// When the answer comes.
        #[serde(default)]
        durability: Durability,
        /// The branch must be at this commit; absent: at the one this tree started from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect: Option<ContentId>,
    },
    /// Drops every change since the last commit.
    Reset {
        /// Starts again from the head of the branch, wherever that is now.
        #[serde(default)]
        to_head: bool,
    },
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// Its last name; empty for the top directory.
    pub name: ByteString,
    /// File, directory, link or something else.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u16,
    /// Bytes of a file or link target.
    pub size: u64,
    /// Id of the content; absent for directories and for what has changed since the last commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ContentId>,
    /// When it was changed last: nanoseconds since 1970, before the epoch negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime_ns: Option<i64>,
    /// It, or something below it, has changed since the last commit.
    pub changed: bool,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
pub enum FileResult {
    /// Of `read`; the bytes come beside the results, in the order of the steps.
    Read {
        /// How many.
        bytes: u64,
        /// Size of the whole file.
        size: u64,
    },
    /// Of `write`, `append`, `truncate` and `patch`.
    Written {
        /// Size of the file now.
        size: u64,
    },
    /// Of `stat`.
    Stat(FileStat),
    /// Of `list`.
    Listed {
        /// What is in the directory.
        entries: Vec<FileStat>,
    },
    /// Of `commit`.
    Committed {
        /// The head of the branch now.
        commit: ContentId,
        /// Nothing had changed, and nothing was committed.
        unchanged: bool,
        /// Files and links in the tree.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Of the others.
    Done,
}

/// What came of a call: the results of the steps that were done, and why the next one failed, if one did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileResults {
    /// In the order of the steps.
    pub results: Vec<FileResult>,
    /// Why the step behind them failed; those after it were not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
    /// Something has changed since the last commit.
    pub changed: bool,
}

/// Times that 64 bits of nanoseconds cannot say, 292 years from 1970, become the nearest that they can.
fn mtime_ns(time: FileTime) -> i64 {
    let nanoseconds = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod tests;
