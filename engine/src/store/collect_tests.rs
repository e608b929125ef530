//! Online checkpoints, collection and cleaning: what goes, what stays, what a crash leaves.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::testing::{self, data};
use super::*;
use crate::error::Error;
use crate::format::{ContentId, Domain, Kind};
use crate::hash;

/// A node is a list of ids of data extents, or of nodes if the first byte is 1.
pub(super) struct Lists;

impl Trace for Lists {
    fn begin(&self, _: &Store) -> Arc<dyn Tracing> {
        Arc::new(Lists)
    }
}

impl Tracing for Lists {
    fn root(self: Arc<Self>, root: Root) -> Pin<Box<dyn Future<Output = Result<Found>> + Send>> {
        let found = root.target.map(|target| (target.kind, target.id));
        Box::pin(async move { Ok(found.into_iter().collect()) })
    }

    fn held(self: Arc<Self>, _: Key) -> Pin<Box<dyn Future<Output = Result<Found>> + Send>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn references(&self, _: Kind, bytes: &Bytes, found: &mut Found) -> Result<()> {
        let kind = if bytes[0] == 1 { Kind::Node } else { Kind::Data };
        let ids = bytes[1..].chunks_exact(32);
        found.extend(ids.map(|id| (kind, ContentId(id.try_into().expect("32 bytes")))));
        Ok(())
    }
}

pub(super) fn list(kind: u8, keys: &[Key]) -> Extent {
    let mut bytes = vec![kind];
    keys.iter().for_each(|key| bytes.extend_from_slice(&key.id.0));
    let bytes = Bytes::from(bytes);
    let key = Key {
        domain: Domain(0),
        kind: Kind::Node,
        id: hash::typed_id(Kind::Node, &bytes),
    };
    Extent { key, bytes }
}

pub(super) fn content(tree: u64, number: u64, len: usize) -> Bytes {
    let mut bytes = vec![(tree % 251) as u8; len];
    bytes[..8].copy_from_slice(&tree.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    Bytes::from(bytes)
}

/// Stores a tree of `count` contents under one node and makes a branch of that name at it; its keys, the node last.
pub(super) fn plant(store: &Store, name: u64, contents: std::ops::Range<u64>, len: usize) -> Vec<Key> {
    let extents: Vec<Extent> = contents.map(|number| data(&content(0, number, len))).collect();
    let mut keys: Vec<Key> = extents.iter().map(|extent| extent.key).collect();
    let node = list(0, &keys);
    keys.push(node.key);
    let mut batch = store.batch();
    let ack = store.block_on(async {
        batch.put(extents).await.unwrap();
        batch.put(vec![node]).await.unwrap();
        batch.set_root(RootUpdate {
            kind: RootKind::Branch,
            name: Arc::from(name.to_string().as_bytes()),
            expect: Expect::Any,
            change: RootChange::Set {
                target: Some(Target {
                    kind: Kind::Node,
                    id: keys[keys.len() - 1].id,
                }),
                data: Bytes::new(),
            },
        });
        batch.submit().await.unwrap()
    });
    store.block_on(ack.durable()).unwrap();
    keys
}

pub(super) fn fell(store: &Store, name: u64) {
    let mut batch = store.batch();
    batch.set_root(RootUpdate {
        kind: RootKind::Branch,
        name: Arc::from(name.to_string().as_bytes()),
        expect: Expect::Present,
        change: RootChange::Delete,
    });
    store.block_on(batch.submit()).unwrap();
}

pub(super) fn all_there(store: &Store, keys: &[Key]) {
    for answer in store.block_on(store.get_many(keys)) {
        answer.unwrap();
    }
}

pub(super) fn audit(store: &Store) {
    let audit = store.block_on(store.audit()).unwrap();
    assert_eq!(audit.wrong, 0, "{audit:?}");
    assert!(audit.segments > 0 && audit.live > 0);
}

/// Goal: P6. After a checkpoint of a working store a crash replays only what came later, and nothing is lost.
/// Method: fill several segments from several logs, checkpoint, write a little more, crash, reopen; twice.
#[test]
fn replay_begins_at_the_last_checkpoint() {
    let device = testing::device(256 << 20);
    let store = testing::create(&device, 2);
    let mut keys = Vec::new();
    for tree in 0..40 {
        keys.extend(plant(&store, tree, tree * 100..tree * 100 + 20, 40_000));
    }
    let report = store.block_on(store.checkpoint()).unwrap();
    assert!(report.bytes > 0);
    keys.extend(plant(&store, 100, 9000..9010, 5000));
    let frames = store.stats().frames;
    testing::abandon(store);
    let store = testing::open(&device, 2);
    let replayed = store.health().replayed_frames;
    assert!(
        replayed > 0 && replayed * 10 < frames,
        "{replayed} of {frames} frames"
    );
    assert!(store.health().damage.is_empty());
    all_there(&store, &keys);
    audit(&store);
    assert_eq!(store.roots(RootKind::Branch).len(), 41);
    store.block_on(store.checkpoint()).unwrap();
    testing::abandon(store);
    let store = testing::open(&device, 3);
    assert_eq!(store.health().replayed_frames, 0);
    all_there(&store, &keys);
}

/// Goal: what no root reaches goes, what any root reaches stays, and so after a crash and after a close.
/// Method: trees that share halves of their contents; delete every second one.
#[test]
fn a_collection_forgets_what_no_root_reaches() {
    let device = testing::device(256 << 20);
    let store = testing::create(&device, 2);
    let mut kept = Vec::new();
    let mut gone = Vec::new();
    for tree in 0..20u64 {
        let keys = plant(&store, tree, tree * 50..tree * 50 + 100, 9000);
        if tree % 2 == 0 {
            kept.extend(keys);
        } else {
            gone.extend(keys);
        }
    }
    // A middle tree shares both its halves with its neighbours; only its node goes, and the last one's second half.
    gone.retain(|key| !kept.contains(key));
    let trace: Arc<dyn Trace> = Arc::new(Lists);
    let idle = store.block_on(store.collect(trace.clone(), false)).unwrap();
    assert_eq!(idle.swept, 0);
    (0..20)
        .filter(|tree| tree % 2 == 1)
        .for_each(|tree| fell(&store, tree));
    let dry = store.block_on(store.collect(trace.clone(), true)).unwrap();
    assert_eq!(dry.swept, gone.len() as u64);
    all_there(&store, &gone);
    let done = store.block_on(store.collect(trace.clone(), false)).unwrap();
    assert_eq!((done.swept, done.swept_bytes), (dry.swept, dry.swept_bytes));
    let check = |store: &Store| {
        audit(store);
        all_there(store, &kept);
        assert!(store.contains(&gone).into_iter().all(|known| !known));
        for answer in store.block_on(store.get_many(&gone)) {
            assert!(matches!(answer, Err(Error::NotFound { .. })));
        }
    };
    check(&store);
    testing::abandon(store);
    let store = testing::open(&device, 2);
    check(&store);
    store.close().unwrap();
    let store = testing::open(&device, 1);
    check(&store);
    // And what is gone can come again.
    for tree in 0..20 {
        plant(&store, tree, tree * 50..tree * 50 + 100, 9000);
    }
    all_there(&store, &gone);
    testing::abandon(store);
    let store = testing::open(&device, 1);
    all_there(&store, &kept);
    all_there(&store, &gone);
}

/// Goal: a collection of the young finds what died young and leaves what is older to one of all; nothing that any root
/// reaches goes, old or young, however the two refer to each other.
#[test]
fn a_collection_of_the_young_looks_at_nothing_older() {
    let device = testing::device(256 << 20);
    let store = testing::create(&device, 2);
    let trace: Arc<dyn Trace> = Arc::new(Lists);
    let young = |store: &Store| store.block_on(store.collect_young(trace.clone())).unwrap();
    let old = plant(&store, 0, 0..100, 9000);
    let old_dead = plant(&store, 1, 100..200, 9000);
    assert_eq!(young(&store).scope, Scope::All, "nothing was marked before");
    // Young trees that share contents with the old one, one of them to die.
    let kept = plant(&store, 2, 50..150, 9000);
    let dead = plant(&store, 3, 300..400, 9000);
    fell(&store, 1);
    fell(&store, 3);
    let done = young(&store);
    assert_eq!((done.scope, done.swept), (Scope::Young, dead.len() as u64));
    // Only the node of the young tree had to be read.
    assert_eq!((done.marked, done.read_bytes), (1, 100 * 32 + 1));
    all_there(&store, &old);
    all_there(&store, &kept);
    all_there(&store, &old_dead);
    assert!(store.contains(&dead).into_iter().all(|known| !known));
    audit(&store);
    // What died old goes with the next collection of all: the node and what the other trees do not have.
    let all = store.block_on(store.collect(trace.clone(), false)).unwrap();
    assert_eq!((all.scope, all.swept), (Scope::All, 51));
    for keys in [&old, &kept] {
        all_there(&store, keys);
    }
    audit(&store);
    testing::abandon(store);
    let store = testing::open(&device, 2);
    assert_eq!(young(&store).scope, Scope::All, "marks are of one opening");
    all_there(&store, &old);
    all_there(&store, &kept);
}

/// Like `Lists`, but cannot say what these nodes refer to.
struct Failing(Vec<Bytes>);

impl Trace for Failing {
    fn begin(&self, _: &Store) -> Arc<dyn Tracing> {
        Arc::new(Failing(self.0.clone()))
    }
}

impl Tracing for Failing {
    fn root(self: Arc<Self>, root: Root) -> Pin<Box<dyn Future<Output = Result<Found>> + Send>> {
        Arc::new(Lists).root(root)
    }

    fn held(self: Arc<Self>, key: Key) -> Pin<Box<dyn Future<Output = Result<Found>> + Send>> {
        Arc::new(Lists).held(key)
    }

    fn references(&self, kind: Kind, bytes: &Bytes, found: &mut Found) -> Result<()> {
        match self.0.contains(bytes) {
            true => Err(Error::invalid("node", "it makes no sense")),
            false => Lists.references(kind, bytes, found),
        }
    }
}

/// Goal: marks that a failed collection left half-way are not trusted: what a marked node refers to may have none.
#[test]
fn half_a_mark_is_not_trusted_by_a_collection_of_the_young() {
    let device = testing::device(256 << 20);
    let store = testing::create(&device, 1);
    let keys = plant(&store, 0, 0..50, 9000);
    let trace: Arc<dyn Trace> = Arc::new(Lists);
    for scope in [Scope::All, Scope::Young] {
        store.block_on(store.collect(trace.clone(), false)).unwrap();
        let later = plant(&store, 1, 100..150, 9000);
        // One root's node is marked before the other fails; which one is asked first is not known.
        let node = store.block_on(store.get(later[later.len() - 1])).unwrap();
        let failing: Arc<dyn Trace> = Arc::new(Failing(vec![node]));
        let failed = match scope {
            Scope::All => store.block_on(store.collect(failing, false)),
            Scope::Young => store.block_on(store.collect_young(failing)),
        };
        failed.unwrap_err();
        let next = store.block_on(store.collect_young(trace.clone())).unwrap();
        assert_eq!((next.scope, next.swept), (Scope::All, 0));
        all_there(&store, &keys);
        all_there(&store, &later);
        fell(&store, 1);
    }
}

/// Goal: what a lease holds stays while it lives.
#[test]
fn a_lease_keeps_what_it_holds() {
    let store = testing::store();
    let extent = data(&content(1, 1, 5000));
    let key = extent.key;
    let mut batch = store.batch();
    let ack = store.block_on(async {
        batch.put(vec![extent]).await.unwrap();
        batch.submit().await.unwrap()
    });
    store.block_on(ack.durable()).unwrap();
    let trace: Arc<dyn Trace> = Arc::new(Lists);
    assert_eq!(
        store.block_on(store.collect(trace.clone(), false)).unwrap().swept,
        0
    );
    all_there(&store, &[key]);
    drop(ack);
    assert_eq!(store.block_on(store.collect(trace, false)).unwrap().swept, 1);
    assert!(!store.contains(&[key])[0]);
}

/// Goal: a store that was full of what nobody needs any more takes as much again, with and without a crash between.
#[test]
fn a_full_store_is_empty_again_after_a_collection() {
    let device = testing::device(96 << 20);
    let mut store = testing::create(&device, 2);
    let trace: Arc<dyn Trace> = Arc::new(Lists);
    let mut first = 0;
    for round in 0..6u64 {
        let mut trees = 0;
        loop {
            let from = round * 1_000_000 + trees * 1000;
            let extents: Vec<Extent> = (from..from + 8)
                .map(|number| data(&content(9, number, 60_000)))
                .collect();
            let mut batch = store.batch_on(trees as usize);
            let done = store.block_on(async {
                batch.put(extents).await?;
                batch.submit().await
            });
            match done {
                Ok(_) => trees += 1,
                Err(Error::Full { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        if round == 0 {
            first = trees;
        }
        assert!(
            trees * 4 >= first * 3,
            "round {round}: {trees} batches, {first} at first"
        );
        store.block_on(store.flush()).unwrap();
        let done = store.block_on(store.collect(trace.clone(), false)).unwrap();
        assert!(done.segments_freed > 0, "{done:?}");
        if round % 2 == 1 {
            testing::abandon(store);
            store = testing::open(&device, 2);
            // What the logs had open was sealed half empty, and nothing is freed while a dead owner may still write.
            store.block_on(store.checkpoint()).unwrap();
        }
    }
}

/// Goal: cleaning frees segments that are mostly dead, keeps every living byte readable, and survives a crash; a store
/// filled to the brim with such segments can still be cleaned.
/// Method: trees of which one content in four is kept by a branch, on a full store; readers beside the cleaning.
#[test]
fn cleaning_moves_what_lives() {
    let device = testing::device(96 << 20);
    let store = testing::create(&device, 2);
    let trace: Arc<dyn Trace> = Arc::new(Lists);
    let mut kept = Vec::new();
    for tree in 0.. {
        let extents: Vec<Extent> = (0..8)
            .map(|number| data(&content(tree, number, 30_000)))
            .collect();
        let kept_here: Vec<Key> = extents[..2].iter().map(|extent| extent.key).collect();
        let node = list(0, &kept_here);
        let mut batch = store.batch_on(tree as usize);
        batch.set_root(RootUpdate {
            kind: RootKind::Branch,
            name: Arc::from(tree.to_string().as_bytes()),
            expect: Expect::Absent,
            change: RootChange::Set {
                target: Some(Target {
                    kind: Kind::Node,
                    id: node.key.id,
                }),
                data: Bytes::new(),
            },
        });
        let node_key = node.key;
        let done = store.block_on(async {
            batch.put(extents).await?;
            batch.put(vec![node]).await?;
            batch.submit().await
        });
        match done {
            Ok(_) => {
                kept.extend(kept_here);
                kept.push(node_key);
            }
            Err(Error::Full { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    store.block_on(store.flush()).unwrap();
    let collected = store.block_on(store.collect(trace.clone(), false)).unwrap();
    assert!(collected.swept > 0);
    let free = store.space().segments_free;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let cleaned = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                all_there(&store, &kept);
            }
        });
        let cleaned = store.block_on(store.clean(1000));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        cleaned.unwrap()
    });
    let now = store.space().segments_free;
    assert!(
        cleaned.moved > 0 && now >= free + 6,
        "{cleaned:?}: {free} free segments before, {now} after"
    );
    all_there(&store, &kept);
    audit(&store);
    testing::abandon(store);
    let store = testing::open(&device, 2);
    audit(&store);
    assert!(store.health().damage.is_empty(), "{:?}", store.health().damage);
    all_there(&store, &kept);
    assert_eq!(store.block_on(store.collect(trace, false)).unwrap().swept, 0);
    store.close().unwrap();
    let store = testing::open(&device, 2);
    all_there(&store, &kept);
}

/// Goal: a collection ends although others make nodes faster than the smallest share of a reactor can follow. Method: a thread
/// makes some twenty thousand a second until the collection has ended, and gives up long after.
#[test]
fn a_collection_keeps_up_with_those_who_make_nodes() {
    const TOGETHER: u64 = 64;
    const GIVEN_UP: u64 = 400_000;
    let store = testing::create(&testing::device(1 << 30), 1);
    let leaf = plant(&store, 1, 0..1, 100)[0];
    let node = |number: u64| {
        // What is left of the bytes after the last id names nothing.
        let bytes = [&[0], &leaf.id.0[..], &number.to_le_bytes()].concat();
        let key = Key {
            domain: Domain(0),
            kind: Kind::Node,
            id: hash::typed_id(Kind::Node, &bytes),
        };
        Extent {
            key,
            bytes: Bytes::from(bytes),
        }
    };
    let ended = std::sync::atomic::AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while written < GIVEN_UP && !ended.load(std::sync::atomic::Ordering::Relaxed) {
                let mut batch = store.batch();
                store.block_on(async {
                    batch
                        .put((written..written + TOGETHER).map(node).collect())
                        .await
                        .unwrap();
                    batch.submit().await.unwrap()
                });
                written += TOGETHER;
                std::thread::park_timeout(std::time::Duration::from_millis(3));
            }
            written
        });
        // It begins when there is something to keep up with.
        while store.stats().new_objects < 10 * TOGETHER {
            std::thread::yield_now();
        }
        store.block_on(store.collect(Arc::new(Lists), false)).unwrap();
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(
        written < GIVEN_UP,
        "it ended when there was nothing to follow any more"
    );
    audit(&store);
    store.close().unwrap();
}

/// Goal: cleaning comes to an end, and does not move again what it has just packed, however small extents are. Method:
/// stores full of extents of one size, a third of them dead; clean as far as it goes, twice, in virtual time.
#[test]
fn cleaning_ends_and_leaves_packed_segments_alone() {
    let trace = Arc::new(Lists);
    for len in [16, 64, 900, 4096, 9000, 40_000] {
        let device = testing::device(256 << 20);
        let store = testing::create_driven(&device, 2, 7);
        store.set_trace(trace.clone());
        let count = (40 << 20) / (len as u64 + 128);
        let mut kept = Vec::new();
        for group in 0..count / 300 {
            let mut batch = store.batch();
            let numbers = group * 300..group * 300 + 300;
            let extents: Vec<Extent> = numbers.map(|number| data(&content(9, number, len))).collect();
            let node = list(
                0,
                &extents[100..].iter().map(|extent| extent.key).collect::<Vec<_>>(),
            );
            kept.extend(extents[100..].iter().map(|extent| extent.key));
            let update = RootUpdate {
                kind: RootKind::Branch,
                name: group.to_le_bytes()[..].into(),
                expect: Expect::Any,
                change: RootChange::Set {
                    target: Some(Target {
                        kind: Kind::Node,
                        id: node.key.id,
                    }),
                    data: Bytes::new(),
                },
            };
            store.block_on(async {
                batch.put(extents).await.unwrap();
                batch.put(vec![node]).await.unwrap();
                batch.set_root(update);
                batch.submit().await.unwrap();
            });
        }
        store.block_on(store.flush()).unwrap();
        store.block_on(store.collect(trace.clone(), false)).unwrap();
        let alive = store.space().live_bytes;
        let first = store.block_on(store.clean(1000)).unwrap();
        assert!(
            first.moved_bytes <= 2 * alive,
            "{len}: {first:?}, {alive} bytes live"
        );
        assert!(first.segments_freed > 0, "{len}: {first:?}");
        let second = store.block_on(store.clean(1000)).unwrap();
        assert!(
            second.moved_bytes <= alive / 4,
            "{len}: {second:?} after {first:?}"
        );
        audit(&store);
        all_there(&store, &kept);
        store.close().unwrap();
    }
}
