//! A store opens the same however many reactors load it, and whatever order they come in.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use zerocopy::FromZeros;
use zerocopy::little_endian::U32;

use super::*;
use crate::device::sim::{Image, SimDevice};
use crate::format::ContentId;
use crate::reactor::{Config, Runtime};
use crate::store::open::on_reactor;
use crate::store::testing::{self, data};
use crate::store::usage::Alive;
use crate::store::{Key, OpenOptions, Store};

/// What an opening has made of a device.
#[derive(Debug, Clone, PartialEq)]
struct View {
    /// By key.
    entries: BTreeMap<String, Slot>,
    live: Vec<Alive>,
    dead: BTreeMap<SegmentId, Vec<u32>>,
    damage: Vec<Damage>,
}

fn view(index: &Index, usage: &Usage, damage: &[Damage]) -> View {
    let entries = (0..index::STRIPES).flat_map(|stripe| index.entries(stripe));
    View {
        entries: entries
            .map(|entry| (format!("{:?}", entry.key), entry.slot))
            .collect(),
        live: usage.live(),
        dead: usage.dead(),
        damage: damage.to_vec(),
    }
}

fn seen(store: &Store) -> View {
    let shared = store.shared();
    let mut seen = view(&shared.index, &shared.usage, &shared.damage);
    // What a log has not sealed counts as new when the store is opened.
    seen.live.iter_mut().for_each(|alive| alive.newest_ns = 0);
    seen
}

fn put(store: &Store, log: usize, contents: impl Iterator<Item = u64>) -> Vec<Key> {
    let extents: Vec<_> = contents
        .map(|number| {
            let mut bytes = vec![1; 100 + (number % 5_000) as usize];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            data(&Bytes::from(bytes))
        })
        .collect();
    let keys = extents.iter().map(|extent| extent.key).collect();
    let mut batch = store.batch_on(log);
    store.block_on(async {
        batch.put(extents).await.unwrap();
        batch.submit().await.unwrap();
    });
    keys
}

/// What sweeping does to an extent.
fn forget(store: &Store, key: &Key) {
    let shared = store.shared();
    let index_key = shared.index_key(key);
    let slot = shared.index.get(&index_key).unwrap();
    assert!(shared.index.remove_if(&index_key, slot));
    shared.usage.died(Place::of(slot));
}

/// A device as a crash left it: sealed segments of two logs with dead extents, some extents twice, two footers damaged
/// and one of those segments with unreadable frames too, extents that reach beyond their segment, and a log to replay.
fn crowded() -> Image {
    let device = testing::device(256 << 20);
    let store = testing::create(&device, 2);
    let mut keys = Vec::new();
    for group in 0..300 {
        keys.extend(put(&store, group as usize % 2, group * 64..(group + 1) * 64));
    }
    store.block_on(store.flush()).unwrap();
    for key in keys.iter().step_by(7) {
        forget(&store, key);
    }
    store.block_on(store.checkpoint()).unwrap();
    put(&store, 0, 1_000_000..1_000_400);
    put(&store, 1, 2_000_000..2_000_400);
    store.block_on(store.flush()).unwrap();
    let block = store.0.superblock.lock().clone();
    let sealed = store
        .shared()
        .segments
        .lock()
        .find(|state| matches!(state, SegmentState::Sealed { .. }));
    assert!(sealed.len() >= 8, "only {} sealed segments", sealed.len());
    testing::abandon(store);
    let device = device.restart();
    // Extents of other segments, some of them dead there, some three times.
    for (number, at) in sealed[1..6].iter().enumerate() {
        testing::rewrite_footer(&device, &block, *at, |descriptors| {
            for (place, descriptor) in descriptors.iter_mut().enumerate().step_by(11 + number) {
                descriptor.id = keys[place].id;
            }
            descriptors[1].offset = U32::new(u32::MAX - 9);
        });
    }
    let places = Places::of(&block);
    for at in [sealed[0], sealed[6]] {
        device.flip(places.offset(at.segment, places.segment_bytes() - 10), 3);
    }
    device.flip(places.offset(sealed[6].segment, UNIT_BYTES as u64 + 20), 1);
    device.image()
}

fn options() -> OpenOptions {
    OpenOptions {
        read_only: true,
        cache_bytes: 0,
        ..OpenOptions::default()
    }
}

fn config(reactors: usize, seed: u64) -> Config {
    Config {
        reactors,
        pin: false,
        seed,
        ..Config::default()
    }
}

/// Goal: index, counts, dead sets and the list of damage are the same however many reactors load a store. Method: open
/// a crowded device with 1, 2 and 3 threads, several times, and without threads in orders drawn from seeds.
#[test]
fn a_store_opens_the_same_with_any_number_of_reactors() {
    let image = crowded();
    let mut first: Option<View> = None;
    for turn in 0..12 {
        let config = config(1 + turn % 3, turn as u64);
        let device = SimDevice::from_image(1, image.clone());
        let runtime = if turn < 9 {
            Runtime::threads(device, &config)
        } else {
            Runtime::driver(device, &config)
        };
        let store = Store::open_on(&runtime.unwrap(), "sim:1", &options()).unwrap();
        let seen = seen(&store);
        testing::abandon(store);
        let first = first.get_or_insert_with(|| {
            let whole = seen.damage.iter().filter(|damage| damage.offset == 0).count();
            assert_eq!(whole, 2, "damaged footers: {:?}", seen.damage);
            assert!(seen.damage.len() > 2 + 5 - 1, "{:?}", seen.damage);
            assert!(seen.entries.len() > 10_000 && !seen.dead.is_empty());
            seen.clone()
        });
        assert!(*first == seen, "turn {turn} differs");
    }
}

/// Goal: a reactor that has ended is an error of the opening, not a wait without end. Method: one of two is the reactor
/// of a runtime that was shut down.
#[test]
fn a_reactor_that_has_ended_is_an_error() {
    let image = crowded();
    let runtime = || Runtime::threads(SimDevice::from_image(1, image.clone()), &config(1, 0)).unwrap();
    let (runtime, gone) = (runtime(), runtime());
    gone.shutdown();
    let handles = vec![runtime.handles()[0].clone(), gone.handles()[0].clone()];
    let outcome = on_reactor(&runtime, move |local| async move {
        crate::store::recovery::recover(&local, "sim:1", &handles)
            .await
            .map(drop)
    });
    assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
    runtime.shutdown();
}

/// Goal: whatever order descriptors are entered in, and from however many threads, each key has one entry, in the
/// farthest of its living places, and every other place that was known is dead. Method: few keys in many places,
/// against a map; in shuffled orders from one thread, then from three at once.
#[test]
fn entering_commutes() {
    let device = testing::device(64 << 20);
    let store = testing::create(&device, 1);
    let block = store.0.superblock.lock().clone();
    testing::abandon(store);
    let mut random = SmallRng::seed_from_u64(5);
    let segments = Places::of(&block).segment_count;
    let mut descriptors: Vec<(SegmentId, Descriptor)> = (0..4_000)
        .map(|number| {
            let mut id = [0; 32];
            id[0] = random.random_range(0..200);
            let descriptor = Descriptor {
                id: ContentId(id),
                kind: Kind::Data as u8,
                codec: 0,
                reserved: 0.into(),
                domain: 0.into(),
                key_id: 0.into(),
                plain_len: 0.into(),
                stored_len: U32::new(number % 3 * 8),
                checksum: 0.into(),
                offset: U32::new(UNIT_BYTES as u32 + number * 16),
                reserved_too: 0.into(),
            };
            (SegmentId(number % segments), descriptor)
        })
        .collect();
    let mut expected: BTreeMap<[u8; 32], (SegmentId, u32, u32)> = BTreeMap::new();
    for (segment, descriptor) in &descriptors {
        let place = (*segment, descriptor.offset.get(), descriptor.stored_len.get());
        let known = expected.entry(descriptor.id.0).or_insert(place);
        *known = place.max(*known);
    }
    let mut first: Option<View> = None;
    for turn in 0..30 {
        descriptors.shuffle(&mut random);
        let table = SegmentTable::new(segments);
        let loading = Arc::new(Loading::new("sim:1", &block, &table, &Checkpoint::default()).unwrap());
        let threads = if turn < 10 { 1 } else { 3 };
        std::thread::scope(|scope| {
            for part in descriptors.chunks(descriptors.len().div_ceil(threads)) {
                let loading = &loading;
                scope.spawn(move || {
                    for (segment, descriptor) in part {
                        loading.enter(*segment, std::slice::from_ref(descriptor), 9);
                    }
                });
            }
        });
        let secret = loading.secret.clone();
        let loaded = loading.finish();
        for (id, (segment, offset, stored_len)) in &expected {
            let key = IndexKey::new(&secret, crate::format::Domain(0), Kind::Data, &ContentId(*id));
            let slot = Slot::Stored {
                segment: *segment,
                offset: *offset,
                stored_len: *stored_len,
            };
            assert_eq!(loaded.index.get(&key), Some(slot));
        }
        let seen = view(&loaded.index, &loaded.usage, &loaded.damage);
        assert_eq!(seen.entries.len(), expected.len());
        let live: u64 = seen.live.iter().map(|alive| u64::from(alive.live)).sum();
        assert_eq!(live, expected.len() as u64);
        assert!(
            *first.get_or_insert_with(|| seen.clone()) == seen,
            "turn {turn} differs"
        );
    }
}

/// Goal: an extent where no log puts one is named as damage and not taken in, whatever its descriptor claims; the index
/// could not say where it is. Method: descriptors with one number too high or not aligned, between two that are right.
#[test]
fn extents_where_none_can_be_are_damage() {
    let device = testing::device(64 << 20);
    let store = testing::create(&device, 1);
    let block = store.0.superblock.lock().clone();
    testing::abandon(store);
    let places = Places::of(&block);
    let end = u32::try_from(places.segment_bytes()).unwrap();
    let (unit, longest) = (UNIT_BYTES as u32, 2 << 20);
    let good = [(unit, longest - 1), (unit + 1, (32 << 10) - 1)];
    let bad = [
        (unit, longest),
        (unit + 1, 32 << 10),
        (end, 0),
        (end - 1, 2),
        (u32::MAX, 0),
        (0, u32::MAX),
    ];
    let table = SegmentTable::new(places.segment_count);
    let loading = Arc::new(Loading::new("sim:1", &block, &table, &Checkpoint::default()).unwrap());
    let descriptors: Vec<Descriptor> = (0..)
        .zip(good.iter().chain(&bad))
        .map(|(number, (offset, stored_len))| {
            let mut descriptor = Descriptor::new_zeroed();
            descriptor.id = ContentId([number; 32]);
            descriptor.kind = Kind::Data as u8;
            descriptor.offset = U32::new(*offset);
            descriptor.stored_len = U32::new(*stored_len);
            descriptor
        })
        .collect();
    loading.enter(SegmentId(places.segment_count - 1), &descriptors, 9);
    let secret = loading.secret.clone();
    let loaded = loading.finish();
    assert_eq!(loaded.index.len(), good.len() as u64);
    assert_eq!(loaded.damage.len(), bad.len(), "{:?}", loaded.damage);
    for (number, (offset, stored_len)) in (0..).zip(good) {
        let id = ContentId([number; 32]);
        let key = IndexKey::new(&secret, crate::format::Domain(0), Kind::Data, &id);
        let place = Place {
            segment: SegmentId(places.segment_count - 1),
            offset,
            len: stored_len,
        };
        assert_eq!(loaded.index.get(&key), Some(place.slot()));
    }
}
