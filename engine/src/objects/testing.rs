//! What the tests of the content store share.

use bytes::Bytes;

use super::{Blocking, Objects};
use crate::format::manifest::{Manifest, Piece};
use crate::format::{ContentId, Kind};
use crate::store::testing;

/// The contents of a new store on a simulated device.
pub(super) fn objects() -> Blocking {
    Objects::new(testing::store()).blocking()
}

/// Bytes that look random, from a seed.
pub(super) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes()[2..8]);
    }
    out.truncate(bytes);
    out
}

/// The root manifest of a stored content.
pub(super) fn manifest(objects: &Blocking, id: ContentId) -> Manifest {
    objects
        .store()
        .block_on(objects.manifest(id))
        .expect("a large content")
}

/// The chunks and holes of a content whose manifest has one level.
pub(super) fn pieces(objects: &Blocking, id: ContentId) -> Vec<Piece> {
    let manifest = manifest(objects, id);
    assert_eq!(manifest.level(), 0);
    manifest.pieces().collect()
}

/// Puts an extent as it is, whatever its key says, and returns when it is on the device.
pub(super) fn plant(objects: &Blocking, kind: Kind, id: ContentId, bytes: impl Into<Bytes>) {
    let store = objects.store();
    let mut batch = store.batch();
    let extent = crate::store::Extent {
        key: objects.key_of(kind, id),
        bytes: bytes.into(),
    };
    store.block_on(async {
        batch.put(vec![extent]).await.expect("room");
        let ack = batch.submit().await.expect("visible");
        ack.durable().await.expect("durable");
    });
}
