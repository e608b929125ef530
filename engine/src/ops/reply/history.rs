//! Replies about names, commits and what they hold.

use serde::{Deserialize, Serialize};

use super::change::Node;
use crate::format::ContentId;
use crate::ops::ByteString;

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
    /// When it goes by itself; absent: never.
    #[serde(default)]
    pub expires_ns: Option<u64>,
    /// Time of the oldest commit of its history if older ones were forgotten.
    #[serde(default)]
    pub history_from_ns: Option<u64>,
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
