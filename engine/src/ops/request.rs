//! What can be asked of a store.
//!
//! Invariants: directories are absolute, times are nanoseconds since 1970, revisions are as the user wrote them
//! (they are resolved where the store is). Defaults that depend on the caller's surroundings (environment,
//! working directory, terminal) are filled in before a request is made.

use serde::{Deserialize, Serialize};

use super::bytestring::ByteString;
use crate::format::ContentId;

/// One operation on a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Request {
    /// Makes a new store. Answered by [`Reply::Created`](super::Reply::Created).
    Init(InitRequest),
    /// Health and space. Answered by [`Reply::Info`](super::Reply::Info).
    Info,
    /// Counters. Answered by [`Reply::Stats`](super::Reply::Stats).
    Stats,
    /// Verifies the store. Answered by [`Reply::Checked`](super::Reply::Checked).
    Check(CheckRequest),
    /// Forgets what nothing keeps alive and gives its space back. Answered by
    /// [`Reply::Collected`](super::Reply::Collected).
    Collect(CollectRequest),
    /// Verifies every extent on the device. Answered by [`Reply::Scrubbed`](super::Reply::Scrubbed).
    Scrub(ScrubRequest),
    /// Stores one content read from the exchange. Answered by [`Reply::Content`](super::Reply::Content).
    Put(PutRequest),
    /// Writes a content to the exchange. Answered by [`Reply::Content`](super::Reply::Content).
    Get(GetRequest),
    /// Asks which contents are stored. Answered by [`Reply::Found`](super::Reply::Found).
    Exists(ContentRequest),
    /// Adds a pin to each content. Answered by [`Reply::Pinned`](super::Reply::Pinned).
    Pin(ContentRequest),
    /// Takes a pin from each content. Answered by [`Reply::Pinned`](super::Reply::Pinned).
    Unpin(ContentRequest),
    /// Records the state of a directory. Answered by [`Reply::Committed`](super::Reply::Committed).
    Commit(CommitRequest),
    /// Compares a directory with the branch it follows. Answered by [`Reply::Status`](super::Reply::Status).
    Status(StatusRequest),
    /// Lists or changes branches. Answered by [`Reply::References`](super::Reply::References).
    Branch(BranchRequest),
    /// Lists or changes tags. Answered by [`Reply::References`](super::Reply::References).
    Tag(TagRequest),
    /// Drops old commits from the histories of branches. Answered by [`Reply::Forgot`](super::Reply::Forgot).
    Forget(ForgetRequest),
    /// Removes branches that have expired. Answered by [`Reply::Expired`](super::Reply::Expired).
    Expire(ExpireRequest),
    /// Lists, changes or measures quotas. Answered by [`Reply::Quotas`](super::Reply::Quotas).
    Quota(QuotaRequest),
    /// Asks what keeps an extent alive. Answered by [`Reply::Kept`](super::Reply::Kept).
    Why(WhyRequest),
    /// Asks what names cost. Answered by [`Reply::Usage`](super::Reply::Usage).
    Usage(UsageRequest),
    /// Walks a history. Answered by [`Reply::History`](super::Reply::History).
    Log(LogRequest),
    /// Lists a directory of a revision. Answered by [`Reply::Listed`](super::Reply::Listed).
    List(ListRequest),
    /// Writes a file of a revision to the exchange. Answered by [`Reply::Content`](super::Reply::Content).
    Cat(CatRequest),
    /// Compares two states. Answered by [`Reply::Compared`](super::Reply::Compared).
    Diff(DiffRequest),
    /// Merges a revision into a branch. Answered by [`Reply::Merged`](super::Reply::Merged), conflicts included.
    Merge(MergeRequest),
    /// Brings a directory back to a revision. Answered by [`Reply::Restored`](super::Reply::Restored).
    Restore(RestoreRequest),
    /// Makes a new directory from a revision. Answered by [`Reply::Materialized`](super::Reply::Materialized).
    Materialize(MaterializeRequest),
}

impl Request {
    /// Whether it changes nothing of the store that a name leads to, so that others may go on as if it were not there.
    pub fn only_looks(&self) -> bool {
        match self {
            Request::Info | Request::Stats | Request::Check(_) => true,
            Request::Get(_) | Request::Cat(_) | Request::Exists(_) => true,
            Request::Log(_) | Request::List(_) | Request::Why(_) | Request::Usage(_) => true,
            Request::Branch(BranchRequest::List) | Request::Tag(TagRequest::List) => true,
            Request::Diff(_) | Request::Status(_) => true,
            Request::Restore(request) => request.dry_run,
            Request::Merge(request) => request.dry_run,
            Request::Forget(request) => request.dry_run,
            Request::Expire(request) => request.dry_run,
            Request::Quota(QuotaRequest::List) => true,
            _ => false,
        }
    }

    /// Whether it reads or writes a directory of the machine, and so is run by the process whose permissions count; see
    /// [`Desk`](super::Desk).
    pub fn uses_directories(&self) -> bool {
        match self {
            Request::Commit(_) | Request::Status(_) | Request::Restore(_) | Request::Materialize(_) => true,
            Request::Diff(request) => matches!(request.to, Side::Directory(_)),
            _ => false,
        }
    }
}

/// When a change counts as done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Others see it; it reaches the device within milliseconds.
    Visible,
    /// It survives power loss.
    #[default]
    Durable,
}

/// Makes a new store at the client's address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitRequest {
    /// Bytes; absent: what the address has, or the default for a new file.
    pub size: Option<u64>,
    /// Overwrites what the address holds.
    pub force: bool,
}

/// Verifies the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRequest {
    /// Also reads and verifies every extent, not only what roots and nodes say.
    pub read_data: bool,
}

/// Stores one content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    /// Pins it in the same step, so that nothing can collect it before the caller refers to it.
    pub pin: bool,
    /// When the call returns.
    #[serde(default)]
    pub durability: Durability,
}

/// Reads one content, or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRequest {
    /// Which.
    pub id: ContentId,
    /// First byte.
    #[serde(default)]
    pub offset: u64,
    /// Bytes at most; absent: to the end.
    #[serde(default)]
    pub length: Option<u64>,
}

/// Names contents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRequest {
    /// Which, in the order answered.
    pub ids: Vec<ContentId>,
}

/// Records the state of a directory on a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRequest {
    /// Absolute path.
    pub directory: ByteString,
    /// Absent: the branch the directory follows, or `main`.
    pub branch: Option<ByteString>,
    /// Free text.
    #[serde(default)]
    pub message: String,
    /// Who commits; free text.
    #[serde(default)]
    pub author: String,
    /// Glob patterns of paths to leave out, as in ignore files.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Also honours `.gitignore` files.
    #[serde(default)]
    pub gitignore: bool,
    /// Leaves modification times out, so that equal contents give equal trees whenever they were written.
    #[serde(default)]
    pub no_times: bool,
    /// The branch must be at this revision; otherwise the commit is a conflict and nothing changes.
    #[serde(default)]
    pub expect: Option<ByteString>,
    /// When the call returns.
    #[serde(default)]
    pub durability: Durability,
    /// Also takes directories that are refused by default (`/`, the home directory).
    #[serde(default)]
    pub force: bool,
}

/// Compares a directory with the branch it follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRequest {
    /// Absolute path.
    pub directory: ByteString,
}

/// Lists or changes branches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum BranchRequest {
    /// All of them, by name.
    List,
    /// Makes new ones.
    Create {
        /// Name; with `count`, a pattern where `{n}` counts from 0, or a prefix the number is put after.
        name: ByteString,
        /// Where they start; absent: the branch `directory` follows, or `main`.
        revision: Option<ByteString>,
        /// Absolute path of the caller's working directory.
        directory: ByteString,
        /// How many; absent: one, with exactly this name.
        count: Option<u32>,
        /// Moves branches that exist.
        force: bool,
        /// When they go by themselves: nanoseconds since 1970; 0: never. With it and without `revision`, `count` and
        /// `force`, a branch that exists only changes in this.
        #[serde(default)]
        expires_ns: Option<u64>,
    },
    /// Removes them; their commits stay reachable through other branches, tags and history only.
    Delete {
        /// Which; all must exist.
        names: Vec<ByteString>,
    },
    /// Gives one another name.
    Rename {
        /// Present name.
        from: ByteString,
        /// New name; must be free.
        to: ByteString,
    },
}

/// Lists or changes tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum TagRequest {
    /// All of them, by name.
    List,
    /// Makes a new one.
    Create {
        /// Name.
        name: ByteString,
        /// What it names; absent: the branch `directory` follows, or `main`.
        revision: Option<ByteString>,
        /// Absolute path of the caller's working directory.
        directory: ByteString,
        /// Moves a tag that exists.
        force: bool,
    },
    /// Removes them.
    Delete {
        /// Which; all must exist.
        names: Vec<ByteString>,
    },
}

/// Forgets what nothing keeps alive, expired branches first, and gives its space back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectRequest {
    /// Only says what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Reads and verifies every extent on the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubRequest {
    /// At most this many bytes in a second.
    #[serde(default)]
    pub bytes_per_second: Option<u64>,
    /// Begins at the beginning, where an earlier one was ended in the middle.
    #[serde(default)]
    pub restart: bool,
    /// Files, directories and stores that may have copies of what is damaged; absolute paths.
    #[serde(default)]
    pub repair_from: Vec<ByteString>,
}

/// Drops old commits from the histories of branches. Only names change: what nothing else keeps becomes collectable.
///
/// A commit stays if one of the rules says so; the newest of each branch always does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetRequest {
    /// Which branches; empty: all.
    #[serde(default)]
    pub branches: Vec<ByteString>,
    /// Keeps this many of the newest commits of each branch.
    #[serde(default)]
    pub keep_last: Option<u64>,
    /// Keeps commits at most this much older than the newest of their branch, in nanoseconds.
    #[serde(default)]
    pub keep_within_ns: Option<u64>,
    /// Keeps commits with a tag whose name fits one of these glob patterns.
    #[serde(default)]
    pub keep_tags: Vec<String>,
    /// Only says what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Removes branches that have expired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpireRequest {
    /// Only says which.
    #[serde(default)]
    pub dry_run: bool,
}

/// Lists, changes or measures quotas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum QuotaRequest {
    /// All of them, by prefix.
    List,
    /// Limits the branches whose names begin with a prefix, and measures.
    Set {
        /// The prefix; empty: all branches.
        prefix: ByteString,
        /// Most that they may use; absent: no limit any more.
        limit_bytes: Option<u64>,
    },
    /// Counts anew what the branches use.
    Measure,
}

/// Asks which roots keep a content, tree node, commit or chunk alive, and along which paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyRequest {
    /// An id, a unique beginning of one (at least 4 digits), `REV` or `REV:PATH`.
    pub what: ByteString,
    /// Answers at most.
    pub limit: u64,
}

/// Asks how many bytes names keep alive, alone and together with others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRequest {
    /// Branches, tags and other revisions; empty: all branches and tags, and everything else in sums.
    #[serde(default)]
    pub revisions: Vec<ByteString>,
}

/// Walks a history, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// Where to start; absent: the branch `directory` follows, or `main`.
    pub revision: Option<ByteString>,
    /// Absolute path of the caller's working directory.
    pub directory: ByteString,
    /// Commits at most.
    pub limit: Option<u64>,
    /// Leaves out commits older than this: nanoseconds since 1970.
    pub since_ns: Option<u64>,
}

/// Lists a directory of a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRequest {
    /// `REV` or `REV:PATH`; absent: the branch `directory` follows, or `main`.
    pub revision: Option<ByteString>,
    /// Absolute path of the caller's working directory.
    pub directory: ByteString,
    /// Also everything below.
    #[serde(default)]
    pub recursive: bool,
}

/// Reads a file of a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatRequest {
    /// `REV:PATH`.
    pub revision: ByteString,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// A revision, or `REV:PATH` for a directory of one.
    Revision(ByteString),
    /// A real directory as it is now: an absolute path.
    Directory(ByteString),
}

/// Compares two states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffRequest {
    /// `REV` or `REV:PATH`.
    pub from: ByteString,
    /// What it is compared with.
    pub to: Side,
    /// Only these paths and what is below them; empty: everything.
    #[serde(default)]
    pub paths: Vec<ByteString>,
}

/// Merges a revision into a branch, name by name, from their best common ancestor. All of it happens or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeRequest {
    /// `REV`.
    pub revision: ByteString,
    /// The branch that takes it; absent: the one `directory` follows, or `main`.
    #[serde(default)]
    pub into: Option<ByteString>,
    /// Absolute path of the caller's working directory.
    pub directory: ByteString,
    /// Free text; absent: what was merged.
    #[serde(default)]
    pub message: Option<String>,
    /// Who merges; free text.
    #[serde(default)]
    pub author: String,
    /// Makes a commit even where moving the branch would do.
    #[serde(default)]
    pub no_fast_forward: bool,
    /// Takes an empty base where the histories have nothing in common, or what they have was forgotten.
    #[serde(default)]
    pub allow_unrelated: bool,
    /// Only says what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// When the call returns.
    #[serde(default)]
    pub durability: Durability,
}

/// What happens to files a restored revision does not have. Ignored ones always stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtraFiles {
    /// They go if the whole directory is restored, and stay if only some paths are.
    #[default]
    Usual,
    /// They go.
    Delete,
    /// They stay.
    Keep,
}

/// Brings a directory back to a revision, writing only what differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// `REV`.
    pub revision: ByteString,
    /// Absolute path.
    pub directory: ByteString,
    /// Only these paths and what is below them; empty: everything.
    #[serde(default)]
    pub paths: Vec<ByteString>,
    /// Only says what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// What happens to files the revision does not have.
    #[serde(default)]
    pub extra: ExtraFiles,
    /// Does not commit the present state first.
    #[serde(default)]
    pub no_backup: bool,
    /// Also takes directories that are refused by default.
    #[serde(default)]
    pub force: bool,
}

/// Makes a new directory from a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaterializeRequest {
    /// `REV` or `REV:PATH`.
    pub revision: ByteString,
    /// Absolute path; new or empty.
    pub directory: ByteString,
    /// Glob patterns of paths to write; empty: everything.
    #[serde(default)]
    pub include: Vec<String>,
    /// Worker threads; absent: one per core.
    #[serde(default)]
    pub jobs: Option<usize>,
}
