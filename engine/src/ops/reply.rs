//! What a store answers.
//!
//! The field names are what `--json` prints and therefore stable: fields are added, never renamed or reused.
//! Sizes are bytes, times are nanoseconds since 1970 (`*_ns`), ids are 64 hexadecimal digits, and names follow
//! [`ByteString`].

use serde::{Deserialize, Serialize};

use super::bytestring::ByteString;
use crate::format::ContentId;
use crate::trees::EntryKind;

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
    /// To `Log`.
    History(History),
    /// To `List`.
    Listed(Listed),
    /// To `Diff`.
    Compared(Compared),
    /// To `Restore`.
    Restored(Restored),
    /// To `Materialize`.
    Materialized(Materialized),
}

/// A new store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Address.
    pub store: String,
    /// Capacity.
    pub size: u64,
    /// What the index of a full store takes in memory.
    pub ram_full_bytes: u64,
    /// The mean extent size that figure assumes.
    pub ram_full_extent_bytes: u64,
}

/// Health and space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Address.
    pub store: String,
    /// `ok`, or what is wrong.
    pub health: String,
    /// Facts about the health worth reading, one sentence each.
    pub notes: Vec<String>,
    /// Version of the on-device format.
    pub format_version: u32,
    /// Capacity.
    pub size: u64,
    /// Bytes in segments that hold something.
    pub used: u64,
    /// Bytes new content can still take.
    pub free: u64,
    /// Segments in all.
    pub segments: u64,
    /// Segments free.
    pub segments_free: u64,
    /// Extents stored.
    pub extents: u64,
    /// Memory of the index now.
    pub index_bytes: u64,
    /// What the index of a full store takes in memory.
    pub ram_full_bytes: u64,
    /// Branches.
    pub branches: u64,
    /// Tags.
    pub tags: u64,
    /// Pinned contents.
    pub pins: u64,
    /// Directories whose branch and file states the store remembers.
    pub workspaces: u64,
}

/// Counters since the store was opened by the process that answers, and totals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// How long that has been, in milliseconds. Counters and latencies cover this time only.
    pub open_ms: u64,
    /// Cache of extents.
    pub cache: CacheStats,
    /// Commits that asked for visibility.
    pub visible: Latency,
    /// Commits that asked for durability.
    pub durable: Latency,
    /// Extents stored that the store did not have.
    pub new_objects: u64,
    /// Bytes of those.
    pub new_bytes: u64,
    /// Bytes offered divided by bytes stored; 1 where nothing was saved.
    pub dedup_ratio: f64,
    /// Share of the offered bytes that needed no writing.
    pub io_reduction_percent: f64,
    /// Extents in the index: the whole store, not only this run.
    pub index_entries: u64,
    /// Memory of the index now.
    pub index_bytes: u64,
    /// The same since the store was made.
    pub totals: Totals,
}

/// Totals since a store was made, as of its last clean close and what this process added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Commits.
    pub commits: u64,
    /// Extents stored that the store did not have.
    pub new_objects: u64,
    /// Bytes of those.
    pub new_bytes: u64,
    /// Bytes offered.
    pub offered_bytes: u64,
    /// Bytes offered divided by bytes stored.
    pub dedup_ratio: f64,
}

/// Cache of extents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// Reads it answered.
    pub hits: u64,
    /// Reads it did not.
    pub misses: u64,
    /// Extents it dropped to make room.
    pub evictions: u64,
    /// Bytes it holds.
    pub size: u64,
    /// Extents it holds.
    pub items: u64,
}

/// Latencies of one class of commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub commits: u64,
    /// Half took at most this long, in microseconds.
    pub commit_latency_us_p50: f64,
    /// 95 of 100 took at most this long.
    pub commit_latency_us_p95: f64,
    /// 99 of 100 took at most this long.
    pub commit_latency_us_p99: f64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Branches, tags and pins followed to their ends.
    pub roots: u64,
    /// Extents verified.
    pub extents: u64,
    /// Bytes read and verified.
    pub bytes: u64,
    /// Everything that is wrong; empty in a sound store.
    pub damage: Vec<Damage>,
}

/// One thing that is wrong in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The branch, tag or path that reaches it, where known.
    pub reached_from: Option<ByteString>,
    /// What is wrong and where.
    pub message: String,
}

/// One content that was stored or read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its id, as `b3sum` prints it.
    pub id: ContentId,
    /// Its size.
    pub size: u64,
    /// Bytes that went through the exchange.
    pub bytes: u64,
    /// The store did not have it before; false for reads.
    pub new: bool,
}

/// Which contents are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// In the order asked.
    pub contents: Vec<Presence>,
}

/// Whether one content is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Which.
    pub id: ContentId,
    /// Whether it is there.
    pub exists: bool,
}

/// Pins after a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// In the order asked.
    pub contents: Vec<PinCount>,
}

/// Pins of one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinCount {
    /// Which.
    pub id: ContentId,
    /// How many now.
    pub pins: u64,
}

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

/// A directory against the branch it follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The directory.
    pub directory: ByteString,
    /// The branch it follows.
    pub branch: ByteString,
    /// The head of the branch.
    pub head: ContentId,
    /// What differs, by path.
    pub changes: Vec<Change>,
    /// What was skipped or odd.
    pub warnings: Warnings,
}

/// What happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Only the new side has it.
    Added,
    /// Only the old side has it.
    Removed,
    /// The content or link target differs.
    Modified,
    /// It is another kind of thing now.
    Retyped,
    /// The same content with another mode, owner, time or attribute.
    Metadata,
}

/// What of an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Bytes of a file, target of a link.
    Content,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// Time of last change.
    Mtime,
    /// Extended attributes, ACLs among them.
    Xattrs,
    /// Device numbers.
    Device,
    /// Which names are links to one file.
    Links,
}

/// One side of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u16,
    /// Size of a file or link target.
    pub size: u64,
    /// Content of a file or link, tree of a directory; absent where there is none, or where it is not stored
    /// (a file of a real directory).
    pub id: Option<ContentId>,
    /// Last change, where kept.
    pub mtime_ns: Option<i64>,
    /// Owner, where kept.
    pub uid: Option<u32>,
    /// Group, where kept.
    pub gid: Option<u32>,
}

/// One name that differs between two states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Relative to the compared directories; `.` for these themselves.
    pub path: ByteString,
    /// What happened.
    pub change: ChangeKind,
    /// What differs, for `modified` and `metadata`.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// Before; absent for `added`.
    pub from: Option<Node>,
    /// After; absent for `removed`.
    pub to: Option<Node>,
}

/// Branches or tags: all of them, or those that were made, moved or removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    /// By name.
    pub references: Vec<Reference>,
}

/// One branch or tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: ByteString,
    /// The commit it names; for a removed one, the commit it named.
    pub commit: ContentId,
    /// When it last moved.
    pub changed_ns: u64,
}

/// Commits, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// In order.
    pub commits: Vec<CommitRecord>,
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// Its id.
    pub commit: ContentId,
    /// Its tree.
    pub tree: ContentId,
    /// The commits before it.
    pub parents: Vec<ContentId>,
    /// When it was made.
    pub time_ns: u64,
    /// Who made it; may be empty.
    pub author: String,
    /// Its message; may be empty.
    pub message: String,
    /// The commit whose state this one took back, for the automatic commits of restores.
    pub replaces: Option<ContentId>,
}

/// A directory of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The commit.
    pub commit: ContentId,
    /// In order of their paths.
    pub entries: Vec<ListedEntry>,
}

/// One name of a listed directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedEntry {
    /// Relative to the listed directory.
    pub path: ByteString,
    /// What it is.
    #[serde(flatten)]
    pub node: Node,
    /// Where a symbolic link points.
    pub target: Option<ByteString>,
}

/// What differs between two states.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// By path.
    pub changes: Vec<Change>,
    /// What was skipped or odd while reading a real directory.
    pub warnings: Warnings,
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
