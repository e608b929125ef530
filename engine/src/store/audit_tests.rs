//! The audit must fail where index, counts, dead sets and footers contradict each other, or its silence proves nothing.

use bytes::Bytes;
use zerocopy::little_endian::U32;

use super::*;
use crate::store::testing::{self, data};

/// A store with `count` durable extents, and their keys.
fn filled(count: u32, len: usize) -> (Store, Vec<Key>) {
    let store = testing::create_driven(&testing::device_seeded(1, 96 << 20), 1, 1);
    let extents: Vec<_> = (0..count)
        .map(|number| {
            let mut bytes = vec![7; len];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            data(&Bytes::from(bytes))
        })
        .collect();
    let keys = extents.iter().map(|extent| extent.key).collect();
    for some in extents.chunks(64) {
        store.block_on(async {
            let mut batch = store.batch();
            batch.put(some.to_vec()).await.unwrap();
            batch.submit().await.unwrap();
        });
    }
    store.block_on(store.flush()).unwrap();
    (store, keys)
}

fn place_of(store: &Store, key: &Key) -> Place {
    let shared = store.shared();
    let slot = shared.index.get(&shared.index_key(key)).expect("known");
    Place::of(slot).expect("durable")
}

#[track_caller]
fn says(store: &Store, expected: &[&str]) {
    let found = store.block_on(store.audit()).unwrap();
    assert_eq!(found.wrong, expected.len() as u64, "{found:?}");
    for (said, expected) in found.first_wrong.iter().zip(expected) {
        assert!(said.contains(expected), "{found:?}");
    }
}

/// Goal: a whole store has no contradictions, with dead extents too. Method: some die as they do when swept.
#[test]
fn a_whole_store_has_no_contradictions() {
    let (store, keys) = filled(40, 3000);
    says(&store, &[]);
    let shared = store.shared();
    for key in &keys[..10] {
        let place = place_of(&store, key);
        assert!(shared.index.remove_if(&shared.index_key(key), place.slot()));
        shared.usage.died([place]);
    }
    says(&store, &[]);
    let found = store.block_on(store.audit()).unwrap();
    assert_eq!((found.live, found.dead, found.live_bytes), (30, 10, 30 * 3000));
}

/// Goal: each way in which the counts and the index can part is found. Method: change one and not the other.
#[test]
fn what_the_index_and_the_counts_disagree_about_is_found() {
    let (store, keys) = filled(10, 3000);
    let shared = store.shared();
    let place = place_of(&store, &keys[3]);
    assert!(shared.index.remove_if(&shared.index_key(&keys[3]), place.slot()));
    says(&store, &["neither referred to", "are counted"]);

    let (store, keys) = filled(10, 3000);
    store.shared().usage.died([place_of(&store, &keys[3])]);
    says(
        &store,
        &[
            "is referred to and dead",
            "the index refers to 10 extents on the device, which has 9",
        ],
    );

    let (store, keys) = filled(10, 3000);
    let place = place_of(&store, &keys[3]);
    store.shared().usage.born([(place, 0)]);
    says(&store, &["are counted"]);
}

/// Goal: an entry that names no extent is found, and one that names a wrong place. Method: an entry for an extent that
/// was never written; another that is moved by a byte.
#[test]
fn entries_without_an_extent_are_found() {
    let (store, keys) = filled(10, 3000);
    let shared = store.shared();
    let place = place_of(&store, &keys[0]);
    let unknown = data(&Bytes::from_static(b"never written")).key;
    assert!(
        shared
            .index
            .insert_if_absent(&shared.index_key(&unknown), place.slot())
            .is_ok()
    );
    says(
        &store,
        &["the index refers to 11 extents on the device, which has 10"],
    );

    let (store, keys) = filled(10, 3000);
    let shared = store.shared();
    let place = place_of(&store, &keys[0]);
    let moved = Place {
        offset: place.offset + 1,
        ..place
    };
    assert!(
        shared
            .index
            .replace_if(&shared.index_key(&keys[0]), place.slot(), moved.slot())
    );
    says(
        &store,
        &[
            "neither referred to",
            "are counted",
            "the index refers to 10 extents on the device, which has 9",
        ],
    );
}

/// Goal: footers that name the same bytes twice, or bytes behind the segment's end, are found. Method: footers written
/// anew with one descriptor changed.
#[test]
fn impossible_places_in_footers_are_found() {
    type Change = fn(&mut [Descriptor]);
    let changes: [(Change, &str); 2] = [
        (
            |descriptors| descriptors[4].stored_len = U32::new(descriptors[4].stored_len.get() + 5000),
            "overlaps what is before it",
        ),
        (
            |descriptors| descriptors[4].offset = U32::new(u32::MAX - 4000),
            "beyond unit",
        ),
    ];
    for (change, expected) in changes {
        let device = testing::device_seeded(1, 96 << 20);
        let store = testing::create_driven(&device, 1, 1);
        for number in 0..200u32 {
            let mut bytes = vec![7; 40_000];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            store.block_on(async {
                let mut batch = store.batch();
                batch.put(vec![data(&Bytes::from(bytes))]).await.unwrap();
                batch.submit().await.unwrap();
            });
        }
        store.block_on(store.flush()).unwrap();
        says(&store, &[]);
        let sealed = store
            .shared()
            .segments
            .lock()
            .find(|state| matches!(state, SegmentState::Sealed { .. }));
        let block = store.0.superblock.lock().clone();
        testing::rewrite_footer(&device, &block, sealed[0], change);
        let found = store.block_on(store.audit()).unwrap();
        assert!(
            found.first_wrong.iter().any(|said| said.contains(expected)),
            "{found:?}"
        );
    }
}
