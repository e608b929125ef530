//! The ids of what a commit writes: the one place where trees meet the hash functions.

use crate::format::{ContentId, Kind};

/// Ids of user contents (plain BLAKE3), as one batch.
pub(super) fn content_ids(contents: &[&[u8]]) -> Vec<ContentId> {
    contents
        .iter()
        .map(|bytes| ContentId(*blake3::hash(bytes).as_bytes()))
        .collect()
}

/// Ids of tree nodes, as one batch.
pub(super) fn node_ids(nodes: &[&[u8]]) -> Vec<ContentId> {
    typed_ids(Kind::Node, nodes)
}

/// Id of a commit.
pub(super) fn commit_id(commit: &[u8]) -> ContentId {
    typed_ids(Kind::Commit, &[commit])[0]
}

fn typed_ids(kind: Kind, extents: &[&[u8]]) -> Vec<ContentId> {
    let context = if kind == Kind::Node {
        "helios 2026 tree node"
    } else {
        "helios 2026 commit"
    };
    let hasher = blake3::Hasher::new_derive_key(context);
    let id = |bytes: &&[u8]| ContentId(*hasher.clone().update(bytes).finalize().as_bytes());
    extents.iter().map(id).collect()
}
