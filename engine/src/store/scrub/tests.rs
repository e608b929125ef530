//! Scrub against damage done on purpose.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::device::sim::SimDevice;
use crate::format::superblock::Superblock;
use crate::reactor::{Config, Runtime};
use crate::store::OpenOptions;
use crate::store::segments::SegmentState;
use crate::store::testing::{self, data};

fn put(store: &Store, from: u32, count: u32, len: usize) -> Vec<Key> {
    let mut keys = Vec::new();
    for number in from..from + count {
        let mut bytes = vec![7; len];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let extent = data(&Bytes::from(bytes));
        keys.push(extent.key);
        let outcome = store.block_on(async {
            let mut batch = store.batch();
            batch.put(vec![extent]).await?;
            batch.submit().await
        });
        outcome.expect("room");
    }
    store.block_on(store.flush()).expect("durable");
    keys
}

fn open(device: &Arc<SimDevice>, patrol: Option<Duration>) -> Store {
    let config = Config {
        reactors: 2,
        pin: false,
        ..Config::default()
    };
    let runtime = Runtime::driver(device.clone(), &config).expect("a runtime without threads");
    let options = OpenOptions {
        cache_bytes: 0,
        patrol,
        ..OpenOptions::default()
    };
    Store::open_on(&runtime, "sim:driven", &options).expect("a store")
}

/// Where extents lie on the device.
fn offset_of(store: &Store, key: &Key) -> u64 {
    let shared = store.shared();
    let place = shared
        .index
        .get(&shared.index_key(key))
        .and_then(Place::of)
        .expect("durable");
    shared.places.offset(place.segment, place.offset.into())
}

fn is_whole_after_a_power_cut(store: Store, device: &SimDevice, keys: &[Key]) {
    testing::abandon(store);
    let store = open(&device.power_cut(), None);
    assert_eq!(store.health().damage, []);
    let read = store.block_on(store.get_many(keys));
    assert!(read.into_iter().all(|bytes| bytes.is_ok()));
}

/// Goal: a damaged superblock or copy of the checkpoint is named and written anew, before the other one is lost too.
/// Method: one bit of each of the four, one after the other; then the store lives from what was written anew.
#[test]
fn anchors_are_written_anew() {
    for which in 0..4 {
        let device = testing::device_seeded(which, 96 << 20);
        let store = testing::create_driven(&device, 2, which);
        let keys = put(&store, 0, 20, 5000);
        store.block_on(store.checkpoint()).expect("room");
        assert_eq!(store.block_on(store.scrub_anchors()).expect("readable"), [""; 0]);
        let block = store.0.superblock.lock().clone();
        let places = &store.shared().places;
        let offset = |copy: usize| {
            let physical = block.checkpoints[copy].physical.get();
            // Past the header of the segment and that of the part.
            places.offset(SegmentId(physical), 4096 + 200)
        };
        let at = match which {
            0 => 100,
            1 => Superblock::second_offset(block.capacity_units.get()) + 100,
            2 => offset(0),
            _ => offset(1),
        };
        device.flip(at, 3);
        let found = store.block_on(store.scrub_anchors()).expect("readable");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains(if which < 2 { "superblock" } else { "checkpoint" }),
            "{found:?}"
        );
        assert_eq!(store.block_on(store.scrub_anchors()).expect("readable"), [""; 0]);
        is_whole_after_a_power_cut(store, &device, &keys);
    }
}

/// Goal: a segment without a footer is emptied, so that the next opening finds nothing wrong.
/// Method: the footer of a sealed segment is damaged; scrub; scrub and open again.
#[test]
fn what_has_no_footer_moves() {
    let device = testing::device_seeded(1, 96 << 20);
    let store = testing::create_driven(&device, 1, 1);
    let keys = put(&store, 0, 40, 400_000);
    store.block_on(store.checkpoint()).expect("room");
    let sealed = |state| matches!(state, SegmentState::Sealed { .. });
    let victim = store.shared().segments.lock().find(sealed)[0].segment;
    let places = &store.shared().places;
    device.flip(places.offset(victim, places.segment_bytes() - 10), 1);
    let found = store
        .block_on(store.scrub_segment(victim, |_| true))
        .expect("readable");
    assert!(found.expect("a sealed segment").footer_damaged);
    for segment in 0..store.segment_count() {
        let found = store
            .block_on(store.scrub_segment(SegmentId(segment), |_| true))
            .expect("readable");
        assert!(
            !found.is_some_and(|found| found.footer_damaged),
            "segment {segment}"
        );
    }
    is_whole_after_a_power_cut(store, &device, &keys);
}

/// Goal: a store that stays open finds damage by itself, in the time given, says so, and goes on where it was in the
/// next opening. Method: virtual time; a flipped bit in one extent; the second opening lasts a part of a round.
#[test]
fn the_patrol_goes_round() {
    let device = testing::device_seeded(1, 96 << 20);
    let store = testing::create_driven(&device, 1, 1);
    let keys = put(&store, 0, 40, 400_000);
    device.flip(offset_of(&store, &keys[0]) + 1000, 1);
    testing::abandon(store);
    let round = Duration::from_secs(3600);
    let store = open(&device, Some(round));
    store.block_on(store.sleep(round / 4 * 7));
    let health = store.health();
    assert_eq!(health.damage.len(), 1, "{health:?}");
    assert!(
        health.damage[0].what.contains(&keys[0].id.to_string()),
        "{health:?}"
    );
    assert!(store.stats().patrolled_bytes >= 39 * 400_000);
    store.close().expect("room");

    let store = open(&device, Some(round));
    let segments = store.segment_count();
    assert_eq!(place_noted(&store), 16, "of {segments}");
    // The damaged extent lies in front of the place: found by coming round again, not before.
    store.block_on(store.sleep(round / segments * (segments - 17)));
    assert_eq!(store.health().damage, []);
    store.block_on(store.sleep(round / 2));
    assert_eq!(store.health().damage.len(), 1);
}

fn place_noted(store: &Store) -> u32 {
    let root = store
        .root(crate::store::RootKind::Setting, b"patrol")
        .expect("noted");
    u32::from_le_bytes(root.data[..].try_into().expect("four bytes"))
}
