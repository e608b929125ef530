//! The ids of what a commit writes: the one place where trees meet the hash functions.

use crate::format::{ContentId, Kind};
use crate::hash;

/// Ids of user contents (plain BLAKE3), as one batch.
pub(super) fn content_ids(contents: &[&[u8]]) -> Vec<ContentId> {
    hash::content_ids(contents)
}

/// Ids of tree nodes, as one batch.
pub(super) fn node_ids(nodes: &[&[u8]]) -> Vec<ContentId> {
    hash::typed_ids(Kind::Node, nodes)
}

/// Id of a commit.
pub(super) fn commit_id(commit: &[u8]) -> ContentId {
    hash::typed_id(Kind::Commit, commit)
}
