//! The store as its callers see it: visibility, durability, roots, reopening, fullness.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::testing::{self, data};
use super::*;
use crate::device::sim::{Effect, Faults, On, Rule, SimDevice};
use crate::error::Error;
use crate::format::{Domain, Kind};
use crate::limits::{EXTENT_BYTES_MAX, FRAME_BYTES_MAX, ROOT_DATA_BYTES_MAX, ROOT_NAME_BYTES_MAX};

fn set(name: &str, expect: Expect, data: &[u8]) -> RootUpdate {
    RootUpdate {
        kind: RootKind::Branch,
        name: Arc::from(name.as_bytes()),
        expect,
        change: RootChange::Set {
            target: None,
            data: Bytes::copy_from_slice(data),
        },
    }
}

pub(super) async fn put(store: &Store, contents: &[Bytes]) -> Result<Ack> {
    let mut batch = store.batch();
    batch.put(contents.iter().map(data).collect()).await?;
    batch.submit().await
}

pub(super) fn contents(count: usize, len: usize) -> Vec<Bytes> {
    (0..count)
        .map(|number| {
            let mut bytes = vec![u8::try_from(number % 251).expect("below 251"); len];
            bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
            Bytes::from(bytes)
        })
        .collect()
}

/// Goal: contents that many put at the same time are stored once, also where they come in large groups that nobody has stored
/// when they are offered. Method: threads that put the same groups in step; the bytes that went into frames. A thread that
/// loses its core between its last look and its part stores that part again, so a busy machine stores some of them twice; where
/// nobody looks again, most are.
#[test]
fn equal_puts_in_flight_are_stored_once() {
    const THREADS: usize = 4;
    let device = testing::device(512 << 20);
    let store = testing::create(&device, 2);
    let together = std::sync::Barrier::new(THREADS);
    let put_all = |store: &Store| {
        for group in 0..8 {
            let contents: Vec<Bytes> = (0..16u64)
                .map(|number| {
                    let mut bytes = vec![7; 256 << 10];
                    bytes[..8].copy_from_slice(&(group * 1000 + number).to_le_bytes());
                    bytes.into()
                })
                .collect();
            together.wait();
            store.block_on(put(store, &contents)).expect("there is room");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| put_all(&store));
        }
    });
    store.block_on(store.flush()).expect("durable");
    let (written, once) = (store.stats().frame_bytes, 8 * 16 * (256 << 10));
    assert!(
        written < once + once / 2,
        "{written} bytes were written for {once}"
    );
    store.close().unwrap();
}

/// Goal: what was put is read back, visible at once and durable later, whatever its length.
/// Method: lengths around units and alignment, read before and after the acknowledgement and after reopening.
#[test]
fn contents_survive_visibility_durability_and_reopening() {
    let device = testing::device(256 << 20);
    let store = testing::create(&device, 2);
    let lengths = [
        0,
        1,
        100,
        4095,
        4096,
        4097,
        8192,
        32 << 10,
        (32 << 10) + 1,
        1 << 20,
    ];
    let all: Vec<Bytes> = lengths
        .iter()
        .map(|len| Bytes::from((0..*len).map(|at| (at % 251) as u8).collect::<Vec<_>>()))
        .collect();
    let keys: Vec<Key> = all.iter().map(|bytes| data(bytes).key).collect();
    let ack = store.block_on(put(&store, &all)).unwrap();
    let check = |store: &Store| {
        for (answer, expected) in store.block_on(store.get_many(&keys)).into_iter().zip(&all) {
            assert_eq!(answer.unwrap(), *expected);
        }
    };
    check(&store);
    store.block_on(ack.durable()).unwrap();
    check(&store);
    assert!(store.contains(&keys).into_iter().all(|known| known));
    store.close().unwrap();
    let store = testing::open(&device, 2);
    check(&store);
    assert_eq!(store.health().replayed_frames, 0);
    store.close().unwrap();
}

/// Goal: a durable acknowledgement survives the end of the process without a close, with any number of reactors.
/// Method: put, wait, drop the store, reopen with other reactor counts, five times over.
#[test]
fn durable_batches_survive_a_store_that_was_never_closed() {
    let device = testing::device(256 << 20);
    let mut store = testing::create(&device, 1);
    let mut keys = Vec::new();
    for round in 0..5usize {
        let all: Vec<Bytes> = contents(200, 5000 + round);
        let ack = store.block_on(put(&store, &all)).unwrap();
        let mut batch = store.batch();
        batch.set_root(set(&format!("branch-{round}"), Expect::Absent, b"x"));
        let root = store.block_on(batch.submit()).unwrap();
        store.block_on(ack.durable()).unwrap();
        store.block_on(root.durable()).unwrap();
        keys.extend(all.iter().map(|bytes| data(bytes).key));
        let written = store.stats().frames;
        testing::abandon(store);
        store = testing::open(&device, 1 + round % 3);
        // P6: what was replayed before is in the checkpoint, and is not read again.
        let replayed = store.health().replayed_frames;
        assert!(
            replayed > 0 && replayed <= written,
            "round {round}: {replayed} of {written}"
        );
        assert!(store.health().damage.is_empty());
        for answer in store.block_on(store.get_many(&keys)) {
            answer.unwrap();
        }
        assert_eq!(store.roots(RootKind::Branch).len(), round + 1);
    }
    store.close().unwrap();
    let store = testing::open(&device, 2);
    assert!(
        store
            .block_on(store.get_many(&keys))
            .into_iter()
            .all(|answer| answer.is_ok())
    );
}

/// Goal: equal bytes are stored once, within a batch, across batches and across reopening.
#[test]
fn equal_extents_are_stored_once() {
    let device = testing::device(256 << 20);
    let store = testing::create(&device, 2);
    let all = contents(10, 4096);
    let twice: Vec<Bytes> = all.iter().chain(&all).cloned().collect();
    for (round, expected) in [(0, 10), (1, 0)] {
        let mut batch = store.batch();
        store
            .block_on(batch.put(twice.iter().map(data).collect()))
            .unwrap();
        assert_eq!(
            (batch.counts().offered, batch.counts().new),
            (20, expected),
            "round {round}"
        );
        let ack = store.block_on(batch.submit()).unwrap();
        store.block_on(ack.durable()).unwrap();
    }
    assert_eq!(store.stats().index_entries, 10);
    // Another domain and another kind are other extents.
    let mut other = data(&all[0]);
    other.key.domain = Domain(7);
    assert_eq!(store.contains(&[other.key]), [false]);
    other.key = Key {
        kind: Kind::Node,
        ..data(&all[0]).key
    };
    assert_eq!(store.contains(&[other.key]), [false]);
}

/// Goal: root updates are atomic compare-and-swap. Method: every expectation met and unmet, and a batch half of
/// which cannot be done.
#[test]
fn root_updates_happen_together_or_not_at_all() {
    let store = testing::store();
    let submit = |updates: Vec<RootUpdate>| {
        let mut batch = store.batch();
        updates.into_iter().for_each(|update| batch.set_root(update));
        store.block_on(batch.submit())
    };
    submit(vec![set("a", Expect::Absent, b"1")]).unwrap();
    let root = store.root(RootKind::Branch, b"a").unwrap();
    assert!(matches!(
        submit(vec![set("a", Expect::Absent, b"2")]),
        Err(Error::Exists { .. })
    ));
    assert!(matches!(
        submit(vec![set("b", Expect::Present, b"2")]),
        Err(Error::NotFound { .. })
    ));
    submit(vec![set("a", Expect::Sequence(root.sequence), b"2")]).unwrap();
    let stale = submit(vec![
        set("c", Expect::Absent, b""),
        set("a", Expect::Sequence(root.sequence), b"3"),
    ]);
    assert!(matches!(stale, Err(Error::Conflict { .. })));
    assert!(
        store.root(RootKind::Branch, b"c").is_none(),
        "half a batch became visible"
    );
    let rename = RootUpdate {
        change: RootChange::Rename {
            to: Arc::from(&b"z"[..]),
        },
        ..set("a", Expect::Present, b"")
    };
    submit(vec![rename]).unwrap();
    let renamed = store.root(RootKind::Branch, b"z").unwrap();
    assert_eq!((renamed.id, &renamed.data[..]), (root.id, &b"2"[..]));
    let delete = RootUpdate {
        change: RootChange::Delete,
        ..set("z", Expect::Present, b"")
    };
    submit(vec![delete]).unwrap();
    submit(vec![set("z", Expect::Absent, b"new")]).unwrap();
    assert_ne!(
        store.root(RootKind::Branch, b"z").unwrap().id,
        root.id,
        "root ids are never reused"
    );
}

/// Fills a store with extents of `len` bytes until it refuses; what it took, and the refusal.
fn fill(store: &Store, len: usize) -> (Vec<Key>, Error) {
    let mut kept: Vec<Key> = Vec::new();
    for number in 0..60_000u64 {
        let mut bytes = vec![7; len];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let extent = data(&Bytes::from(bytes));
        let key = extent.key;
        let mut batch = store.batch();
        let done = store.block_on(async {
            batch.put(vec![extent]).await?;
            batch.submit().await
        });
        match done {
            Ok(_) => kept.push(key),
            Err(error) => return (kept, error),
        }
    }
    panic!("{} extents of {len} bytes and still not full", kept.len());
}

/// Goal: a full store or host disk refuses clearly, keeps what it took, still deletes, closes and opens (P8).
/// Method: fill a small store, and a large one on a small disk, to the brim with one-megabyte and small extents.
#[test]
fn a_full_store_refuses_and_keeps_what_it_took() {
    for (len, disk) in [
        (1 << 20, None),
        (6000, None),
        (1 << 20, Some(64)),
        (6000, Some(64)),
    ] {
        let device = testing::device(if disk.is_some() { 1 << 30 } else { 64 << 20 });
        let store = testing::create(&device, 1);
        if let Some(mib) = disk {
            device.set_faults(Faults::none().space(mib << 20));
        }
        let mut batch = store.batch();
        batch.set_root(set("doomed", Expect::Absent, b""));
        store.block_on(batch.submit()).unwrap();
        let (kept, refused) = fill(&store, len);
        match disk {
            Some(_) => assert!(matches!(refused, Error::DiskFull { .. }), "{refused:?}"),
            None => assert!(matches!(refused, Error::Full { .. }), "{refused:?}"),
        }
        assert!(
            kept.len() * len > 20 << 20,
            "only {} x {len} bytes fitted into 64 MiB",
            kept.len()
        );
        store.block_on(store.flush()).unwrap();
        // What lets content go: a branch that stays where it is, a setting that says so, a removal.
        let changes = [
            set("doomed", Expect::Present, b"shorter"),
            RootUpdate {
                kind: RootKind::Setting,
                ..set("floors", Expect::Absent, b"")
            },
            RootUpdate {
                change: RootChange::Delete,
                ..set("doomed", Expect::Present, b"")
            },
        ];
        for change in changes {
            let mut batch = store.batch();
            batch.set_root(change);
            let ack = store.block_on(batch.submit()).unwrap();
            store.block_on(ack.durable()).unwrap();
        }
        store.close().unwrap();
        let store = testing::open(&device, 1);
        assert!(store.roots(RootKind::Branch).is_empty());
        for group in kept.chunks(64) {
            store
                .block_on(store.get_many(group))
                .into_iter()
                .for_each(|answer| drop(answer.unwrap()));
        }
    }
}

/// Goal: a log that leaves a segment while its last piece is still being zeroed goes on; nobody waits for ever.
/// Method: zeroing takes a second. Two frames leave the segment with a piece at its end to zero, one comes short of
/// that piece, and the next does not fit any more; then the log has nothing to do, with the zeroing still under way.
#[test]
fn a_segment_is_left_while_its_end_is_being_zeroed() {
    let device = testing::device(64 << 20);
    let slow = Effect::Slow(Duration::from_secs(1));
    device.set_faults(Faults::none().with(Rule::new(On::WriteZeroes, slow)));
    let store = testing::create_driven(&device, 1, 1);
    let all = contents(5, 1 << 20);
    let durable = |contents: &[Bytes]| {
        store.block_on(async {
            let mut last = None;
            for content in contents {
                last = Some(put(&store, std::slice::from_ref(content)).await.unwrap());
            }
            last.unwrap().durable().await.unwrap();
        });
    };
    durable(&all[..2]);
    let zeroed = |device: &SimDevice| {
        device
            .log()
            .iter()
            .filter(|event| event.kind == On::WriteZeroes)
            .count()
    };
    let before = zeroed(&device);
    durable(&all[2..4]);
    assert_eq!(zeroed(&device), before, "the frames did not overtake the zeroing");
    durable(&all[4..]);
    for content in &all {
        let read = store.block_on(store.get(data(content).key)).unwrap();
        assert_eq!(read, *content);
    }
    store.close().unwrap();
}

/// Goal: many threads putting equal and different extents end with every one readable and durable.
/// Method: threads over a shared set of contents on several reactors, so that batches depend on other logs.
#[test]
fn concurrent_batches_depend_on_each_other_and_all_become_durable() {
    let device = testing::device(256 << 20);
    let store = testing::create(&device, 3);
    let all = contents(600, 3000);
    std::thread::scope(|scope| {
        for thread in 0..6usize {
            let (store, all) = (&store, &all);
            scope.spawn(move || {
                for round in 0..50 {
                    let from = (thread * 37 + round * 11) % 560;
                    let ack = store.block_on(put(store, &all[from..from + 40])).unwrap();
                    if round % 5 == 0 {
                        store.block_on(ack.durable()).unwrap();
                    }
                }
            });
        }
    });
    store.block_on(store.flush()).unwrap();
    let keys: Vec<Key> = all.iter().map(|bytes| data(bytes).key).collect();
    let known = store.contains(&keys).into_iter().filter(|known| *known).count();
    testing::abandon(store);
    let store = testing::open(&device, 2);
    assert_eq!(
        store.contains(&keys).into_iter().filter(|known| *known).count(),
        known
    );
}

/// Goal: the same engine runs with no threads at all, and the same seed gives the same bytes.
/// Method: a workload under the single-threaded driver with virtual time, twice; the images must be equal.
#[test]
fn the_engine_runs_without_threads_and_repeats_itself() {
    let run = |seed: u64| {
        let device = testing::device(64 << 20);
        let store = testing::create_driven(&device, 2, seed);
        let mut keys = Vec::new();
        for round in 0..20usize {
            let all = contents(10, 1000 + round * 500);
            keys.extend(all.iter().map(|bytes| data(bytes).key));
            let mut batch = store.batch_on(round);
            let ack = store.block_on(async {
                batch.put(all.iter().map(data).collect()).await?;
                batch.set_root(set(&format!("b{round}"), Expect::Absent, b""));
                batch.submit().await
            });
            if round % 3 == 0 {
                store.block_on(ack.unwrap().durable()).unwrap();
            }
        }
        store
            .block_on(store.get_many(&keys))
            .into_iter()
            .for_each(|answer| drop(answer.unwrap()));
        store.close().unwrap();
        device.image()
    };
    let first = run(7);
    assert!(first == run(7), "the same seed gave another image");
}

/// Goal: a collection can ask what leases hold: a batch's extents until its acknowledgement is dropped.
#[test]
fn leases_hold_until_they_are_dropped() {
    let store = testing::store();
    let all = contents(3, 100);
    let keys: Vec<Key> = all.iter().map(|bytes| data(bytes).key).collect();
    let ack = store.block_on(put(&store, &all)).unwrap();
    assert_eq!(store.leased(), keys);
    let other = store.lease();
    other.hold(keys[0]);
    drop(ack);
    assert_eq!((store.leased(), store.stats().leases), (vec![keys[0]], 1));
}

/// Goal: one extent is held as many are. Method: a durable, a visible, an offered and an unknown one, asked for either way.
#[test]
fn one_extent_is_held_as_many_are() {
    let store = testing::store();
    let all = contents(4, 100);
    let keys: Vec<Key> = all.iter().map(|bytes| data(bytes).key).collect();
    let durable = store.block_on(put(&store, &all[..1])).unwrap();
    store.block_on(durable.durable()).unwrap();
    let visible = store.block_on(put(&store, &all[1..2])).unwrap();
    let mut batch = store.batch();
    store.block_on(batch.put(vec![data(&all[2])])).unwrap();
    let one_by_one: Vec<bool> = keys.iter().map(|key| batch.hold_one(*key)).collect();
    drop((durable, visible));
    let held = store.leased();
    assert!(keys.iter().all(|key| held.contains(key)), "{held:?}");
    assert_eq!(one_by_one, [true, true, true, false]);
    assert_eq!(one_by_one, batch.hold(&keys));
}

/// Goal: whoever waits for durability never waits for the 5 ms that visible data may take. Method: durable puts against
/// a reactor that dozes; were the wish lost behind the lazy ring before it, even the fastest would take the 5 ms.
#[test]
fn durability_is_not_delayed_by_the_lazy_ring_before_it() {
    let store = testing::store();
    let clock = store.runtime().clock().clone();
    let fastest = contents(200, 100).into_iter().map(|content| {
        let start = clock.now();
        let ack = store.block_on(put(&store, &[content])).unwrap();
        store.block_on(ack.durable()).unwrap();
        let end = clock.now();
        while clock.now().since(end) < std::time::Duration::from_micros(500) {
            std::thread::yield_now();
        }
        end.since(start)
    });
    let fastest = fastest.min().unwrap();
    assert!(
        fastest < std::time::Duration::from_millis(5),
        "the fastest durable put took {fastest:?}"
    );
}

/// Goal: a root change comes after everything that is put, even if it was asked for before: never with a first part.
#[test]
fn a_root_change_waits_for_what_is_put_after_it() {
    let store = testing::store();
    let extents: Vec<Extent> = contents(40, 100_000).iter().map(data).collect();
    let last = extents[extents.len() - 1].key;
    let mut batch = store.batch();
    let mut update = set("late", Expect::Absent, b"");
    update.change = RootChange::Set {
        target: Some(Target {
            kind: last.kind,
            id: last.id,
        }),
        data: Bytes::new(),
    };
    batch.set_root(update);
    store.block_on(batch.put(extents)).unwrap();
    assert!(
        store.stats().batches + store.stats().pending_bytes > 0,
        "parts are on their way"
    );
    assert!(store.root(RootKind::Branch, b"late").is_none());
    store.block_on(batch.submit()).unwrap();
    let root = store.root(RootKind::Branch, b"late").unwrap();
    assert_eq!(root.target.map(|target| target.id), Some(last.id));
}

/// Goal: what no record and no frame can carry is refused before anything is visible. Method: one byte too much of each,
/// and more roots than fit one frame, beside what does fit.
#[test]
fn what_is_too_large_is_refused() {
    let store = testing::store();
    let refused = |updates: Vec<RootUpdate>| {
        let mut batch = store.batch();
        for update in updates {
            batch.set_root(update);
        }
        let answer = store.block_on(batch.submit());
        assert!(matches!(answer, Err(Error::Invalid { .. })), "{answer:?}");
        assert!(store.roots(RootKind::Branch).is_empty());
    };
    let fits = || set("fits", Expect::Any, b"");
    refused(vec![fits(), set("", Expect::Any, b"")]);
    refused(vec![
        fits(),
        set(&"n".repeat(ROOT_NAME_BYTES_MAX + 1), Expect::Any, b""),
    ]);
    refused(vec![fits(), set("a", Expect::Any, &[0; ROOT_DATA_BYTES_MAX + 1])]);
    let to = Arc::from(vec![b'n'; ROOT_NAME_BYTES_MAX + 1]);
    refused(vec![
        fits(),
        RootUpdate {
            change: RootChange::Rename { to },
            ..fits()
        },
    ]);
    let many = FRAME_BYTES_MAX / ROOT_DATA_BYTES_MAX + 1;
    let data = [0; ROOT_DATA_BYTES_MAX];
    refused(
        (0..many)
            .map(|number| set(&format!("root {number}"), Expect::Any, &data))
            .collect(),
    );
    let large = Bytes::from(vec![1; EXTENT_BYTES_MAX + 1]);
    let key = testing::data(&large).key;
    assert!(matches!(
        store.block_on(put(&store, &[large])),
        Err(Error::Invalid { .. })
    ));
    assert_eq!(store.contains(&[key]), [false]);

    let name = "n".repeat(ROOT_NAME_BYTES_MAX);
    let mut batch = store.batch();
    batch.set_root(set(&name, Expect::Any, &data));
    store.block_on(batch.submit()).unwrap();
    let root = store.root(RootKind::Branch, name.as_bytes()).unwrap();
    assert_eq!(root.data, data[..]);
}
