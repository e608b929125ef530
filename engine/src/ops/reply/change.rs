//! Replies about what differs between two states.

use serde::{Deserialize, Serialize};

use super::directory::Warnings;
use crate::format::ContentId;
use crate::ops::ByteString;
use crate::trees::EntryKind;

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

/// What differs between two states.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// By path.
    pub changes: Vec<Change>,
    /// What was skipped or odd while reading a real directory.
    pub warnings: Warnings,
}
