//! Content ids: BLAKE3-256, one at a time, as a stream, or of a whole batch at full SIMD width.
//!
//! Every id in the engine comes from here. [`Context`] says which BLAKE3 mode names what.

mod batch;
mod context;
mod hasher;
mod kernel;
mod one;

pub use context::Context;
pub use hasher::Hasher;

use crate::format::{ContentId, Kind};
use kernel::Level;

/// The id of one user content: plain BLAKE3, as `b3sum` prints it.
pub fn content_id(bytes: &[u8]) -> ContentId {
    id(Context::Plain, bytes)
}

/// The ids of many user contents, hashed as one batch.
pub fn content_ids(contents: &[&[u8]]) -> Vec<ContentId> {
    ids(Context::Plain, contents)
}

/// The id of one extent of `kind`. For [`Kind::Manifest`] the content itself is hashed, not the manifest.
pub fn typed_id(kind: Kind, bytes: &[u8]) -> ContentId {
    id(Context::of(kind), bytes)
}

/// The ids of many extents of one kind, hashed as one batch.
pub fn typed_ids(kind: Kind, contents: &[&[u8]]) -> Vec<ContentId> {
    ids(Context::of(kind), contents)
}

/// The id of `bytes` under `context`.
pub fn id(context: Context, bytes: &[u8]) -> ContentId {
    id_at(Level::detected(), context, bytes)
}

fn id_at(level: Level, context: Context, bytes: &[u8]) -> ContentId {
    if one::suits(level, bytes.len()) {
        return ContentId(one::hash(level, &context.mode(), bytes));
    }
    match context.key() {
        None => ContentId(*blake3::hash(bytes).as_bytes()),
        Some(_) => Hasher::with_context(context).update(bytes).finish(),
    }
}

/// The ids of many contents under one context, hashed as one batch.
pub fn ids(context: Context, contents: &[&[u8]]) -> Vec<ContentId> {
    ids_at(Level::detected(), context, contents)
}

fn ids_at(level: Level, context: Context, contents: &[&[u8]]) -> Vec<ContentId> {
    let hashes = batch::hashes(level, &context.mode(), contents, |bytes| {
        id_at(level, context, bytes).0
    });
    hashes.into_iter().map(ContentId).collect()
}

#[cfg(test)]
#[path = "hash_tests.rs"]
mod tests;
