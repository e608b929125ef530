//! Proof that bytes are what their key names, found by hashing them.
//!
//! Hashing several small contents together takes half the time of hashing them one by one, because one alone fills half
//! of the SIMD lanes or fewer. A reactor therefore verifies together what one poll of its device has brought (`reading`):
//! nothing is waited for, so a lone read is not slower. A call for many extents verifies together what has arrived for it.
//!
//! Rejected: hashing on the reactor what other threads have asked for (it would keep the reactor from its device).

use super::api::{Extent, Key};
use crate::canary::{self, Canary};
use crate::format::{ContentId, Kind, manifest};
use crate::hash;

/// Contents from this size on fill all lanes by themselves.
pub(super) const ALONE_BYTES: usize = 32 << 10;

/// For each extent, whether its bytes are what its key names, as far as they can say it of themselves.
pub fn verify(extents: &[Extent]) -> Vec<bool> {
    let items: Vec<(Key, &[u8])> = extents
        .iter()
        .map(|extent| (extent.key, &extent.bytes[..]))
        .collect();
    hold(&items)
}

/// For each item, whether its bytes are what its key names.
pub(super) fn hold(items: &[(Key, &[u8])]) -> Vec<bool> {
    if let [(key, bytes)] = items {
        return vec![holds(key, bytes)];
    }
    let mut holds = vec![canary::is(Canary::SkippedChecksum); items.len()];
    let mut contents = Vec::with_capacity(items.len());
    for kind in [Kind::Data, Kind::Node, Kind::Commit, Kind::VolumeNode] {
        contents.clear();
        contents.extend(
            items
                .iter()
                .filter(|(key, _)| key.kind == kind)
                .map(|(_, bytes)| *bytes),
        );
        if contents.is_empty() {
            continue;
        }
        let ids: Vec<ContentId> = hash::typed_ids(kind, &contents);
        let of_kind = items
            .iter()
            .zip(&mut holds)
            .filter(|((key, _), _)| key.kind == kind);
        for (((key, _), holds), id) in of_kind.zip(ids) {
            *holds |= id == key.id;
        }
    }
    for ((key, bytes), holds) in items.iter().zip(&mut holds) {
        if key.kind == Kind::Manifest {
            *holds = manifest::is_whole(bytes);
        }
    }
    holds
}

/// Whether the bytes are what the key names.
pub(super) fn holds(key: &Key, bytes: &[u8]) -> bool {
    if key.kind == Kind::Manifest {
        // Stored under the content's id: it has a checksum of its own, and its chunks are verified one by one.
        return manifest::is_whole(bytes);
    }
    canary::is(Canary::SkippedChecksum) || hash::typed_id(key.kind, bytes) == key.id
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
