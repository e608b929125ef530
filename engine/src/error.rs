//! The engine's error: variants say what the caller can do next, fields carry the facts.
//!
//! Broken invariants are not errors; they `assert!`.

use std::path::PathBuf;

use crate::format::{ContentId, Kind, SegmentId};

/// Result of every engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation was not done, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No room: nothing of the operation was kept. Delete branches or grow the store.
    #[error(
        "{device} is full: {needed} bytes needed, {free} free; delete branches or tags, or use a larger store"
    )]
    Full {
        /// Device address.
        device: String,
        /// Bytes the operation needs.
        needed: u64,
        /// Bytes left for it.
        free: u64,
    },
    /// A quota does not allow what a commit would store. Nothing was committed.
    #[error(
        "branch {branch} may not store {needed} more bytes: branches that begin with `{prefix}` use {used} of {limit}; \
         delete or forget some of them and measure again, or raise the quota"
    )]
    OverQuota {
        /// The branch.
        branch: String,
        /// Of the quota.
        prefix: String,
        /// Most that its branches may use, in bytes.
        limit: u64,
        /// What they use, in bytes.
        used: u64,
        /// What the commit would add, in bytes.
        needed: u64,
    },
    /// The file system or device below a store that grows has no more space: nothing of the operation was kept.
    #[error(
        "the disk below {device} is full: {needed} bytes needed, {free} left in what the store already has; free \
         some space on it"
    )]
    DiskFull {
        /// Device address.
        device: String,
        /// Bytes the operation needs.
        needed: u64,
        /// Bytes left for it in the segments that have their space.
        free: u64,
    },
    /// The bytes of an extent are not what was written. Restore them from another copy.
    #[error("{kind} {id} is damaged in segment {segment} at byte {offset}: {damage}")]
    Damaged {
        /// Which extent.
        id: ContentId,
        /// Its kind.
        kind: Kind,
        /// Logical segment that holds it.
        segment: SegmentId,
        /// Byte offset in the segment.
        offset: u64,
        /// What was wrong.
        damage: String,
    },
    /// What was read back does not fit together: a manifest, or the chunks it lists. Restore it from another copy.
    #[error("{kind} {id} does not hold together: {damage}")]
    Inconsistent {
        /// Content the extents belong to.
        id: ContentId,
        /// What it was read as.
        kind: Kind,
        /// What was wrong, and where.
        damage: String,
    },
    /// The reader or writer that a caller handed over failed.
    #[error("{operation} failed: {source}")]
    Stream {
        /// What was done with it: `reading the content`, ...
        operation: &'static str,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// The store holds no such content, branch, tag, revision or path.
    #[error("{what} not found")]
    NotFound {
        /// What was looked for, ready to print.
        what: String,
    },
    /// An abbreviation fits several things.
    #[error("{what} is ambiguous: it could be {candidates}")]
    Ambiguous {
        /// What was given.
        what: String,
        /// What it fits, ready to print.
        candidates: String,
    },
    /// A name that should be new exists.
    #[error("{what} already exists")]
    Exists {
        /// What exists, ready to print.
        what: String,
    },
    /// Compare-and-swap failed: the root is not what the caller expected.
    #[error("{root} has moved: expected {expected}, found {found}")]
    Conflict {
        /// Root name.
        root: String,
        /// What the caller expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Another process owns the store.
    #[error("store {store} is in use by process {pid}; stop it, or wait for it to finish")]
    InUse {
        /// Store address.
        store: String,
        /// The owner.
        pid: u32,
    },
    /// The address holds no Helios store, or one damaged beyond its superblocks.
    #[error("{store} is not a usable Helios store: {reason}")]
    NotAStore {
        /// Store address.
        store: String,
        /// What was found and what to do.
        reason: String,
    },
    /// The store uses a feature this program does not know.
    #[error(
        "store {store} needs features this version does not know (incompatible bits {bits:#x}); use a newer helios"
    )]
    Unsupported {
        /// Store address.
        store: String,
        /// Unknown bits.
        bits: u64,
    },
    /// Device input or output failed.
    #[error("{operation} on {device} at byte {offset}: {source}")]
    Device {
        /// Device address.
        device: String,
        /// `read`, `write`, ...
        operation: &'static str,
        /// Byte offset on the device.
        offset: u64,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file or directory outside the store could not be used.
    #[error("{operation} {}: {source}", path.display())]
    Path {
        /// What was tried: `read`, `create`, ...
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An argument is malformed or out of bounds.
    #[error("{what}: {reason}")]
    Invalid {
        /// The argument.
        what: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Refused for safety; the message names the option that insists.
    #[error("{what}")]
    Refused {
        /// What was refused, why, and how to insist.
        what: String,
    },
    /// The store takes no writes (opened read-only, or fenced after a failed write).
    #[error("store {store} is read-only: {reason}")]
    ReadOnly {
        /// Store address.
        store: String,
        /// Why.
        reason: String,
    },
    /// The write that carried this operation failed; its outcome after a crash is unknown.
    #[error("write to {device} failed ({reason}); the outcome of this operation is unknown")]
    Fenced {
        /// Device address.
        device: String,
        /// What the device said.
        reason: String,
    },
    /// Files of a directory could not be read, or kept changing while they were: nothing was committed.
    #[error(
        "{count} of the files can't be committed: {list}; make them readable, exclude them, or skip what can't be read"
    )]
    Unreadable {
        /// How many.
        count: u64,
        /// The first of them with what the system said, ready to print.
        list: String,
    },
    /// An answer that needs everything in the store can't be given, because some of it is missing or damaged.
    #[error("the answer would be incomplete: {first}, and {more} more problems; `helios check` lists them")]
    Incomplete {
        /// The first problem, ready to print.
        first: String,
        /// How many more there are.
        more: u64,
    },
    /// The process that owns the store, asked over a link, has refused or failed, or is gone.
    #[error("{said}")]
    Owner {
        /// What it said, or what became of it; `ops` makes a failure of it again.
        said: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The caller asked the operation to end. What it had begun is undone or can be repeated.
    #[error("cancelled")]
    Cancelled,
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// A file-system failure at `path` while doing `operation`.
    pub fn path(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Error::Path {
            operation,
            path: path.into(),
            source: source.into(),
        }
    }

    /// `what` does not exist.
    pub fn not_found(what: impl Into<String>) -> Self {
        Error::NotFound { what: what.into() }
    }

    /// `what` is wrong because of `reason`.
    pub fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Invalid {
            what: what.into(),
            reason: reason.into(),
        }
    }
}
