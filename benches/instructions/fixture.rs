//! What the counted functions work on: made from fixed seeds, before anything is counted.

use bytes::Bytes;
use helios_engine::device::sim::SimDevice;
use helios_engine::format::node::LeafRecord;
use helios_engine::format::{ContentId, Domain, Kind, SegmentId};
use helios_engine::hash;
use helios_engine::reactor::{Config, Runtime};
use helios_engine::store::index::{Index, IndexKey, Secret, Slot, Widths};
use helios_engine::store::{Ack, CreateOptions, Extent, Key, OpenOptions, Store};
use helios_engine::trees::{Attributes, Entry, EntryKind, FileTime, PendingDirectory, WorkingTree};

use crate::content::content;
use crate::steps::{self, Edit};

const SEED: u64 = 1;
const DEVICE_BYTES: u64 = 256 << 20;
/// Entries of the index that is probed: enough that its stripes have split.
const INDEX_ENTRIES: u64 = 100_000;
const PROBES: u64 = 64;
const BYTES: usize = 4096;

/// Contents that differ.
pub fn contents(count: u64, len: usize) -> Vec<Bytes> {
    (0..count)
        .map(|number| Bytes::from(content(number, len)))
        .collect()
}

fn id(number: u64) -> ContentId {
    let bytes = content(number, size_of::<ContentId>());
    ContentId(bytes.try_into().expect("as many as asked for"))
}

fn index(first: u64, step: u64) -> (Index, Vec<IndexKey>) {
    let index = Index::new(Widths::of(64 << 20, 1 << 14));
    let secret = Secret::derive(b"counted");
    let key = |number| IndexKey::new(&secret, Domain(0), Kind::Data, &id(number));
    for number in 0..INDEX_ENTRIES {
        let number_of_segment = u32::try_from(number >> 12).expect("few");
        let slot = Slot::Stored {
            segment: SegmentId(number_of_segment),
            offset: u32::try_from(number & 0xfff).expect("few"),
            stored_len: 4096,
        };
        index.upsert(&key(number), slot);
    }
    let wanted = (0..PROBES).map(|probe| key(first + probe * step)).collect();
    (index, wanted)
}

/// An index, and keys that are in it.
pub fn index_and_hits() -> (Index, Vec<IndexKey>) {
    index(0, INDEX_ENTRIES / PROBES)
}

/// An index, and keys that are not.
pub fn index_and_misses() -> (Index, Vec<IndexKey>) {
    index(INDEX_ENTRIES, 1)
}

/// Names and records of a leaf.
pub type Records = Vec<(Vec<u8>, LeafRecord)>;

fn name(number: u64) -> String {
    format!("file-{number:05}.rs")
}

/// Entries of a leaf, without attributes.
pub fn entries(count: u64) -> Records {
    (0..count)
        .map(|number| {
            let name = name(number).into_bytes();
            let record = LeafRecord {
                id: id(number),
                size: number.into(),
                mode: 0o644.into(),
                kind: EntryKind::File as u8,
                name_bytes: u8::try_from(name.len()).expect("a short name"),
                tags: 0.into(),
                attributes_bytes: 0.into(),
            };
            (name, record)
        })
        .collect()
}

/// A directory about to be built, its files with times.
pub fn directory(count: u64) -> PendingDirectory {
    let entries = (0..count).map(|number| Entry {
        name: name(number).into(),
        kind: EntryKind::File,
        mode: 0o644,
        size: number,
        id: id(number),
        attributes: Attributes {
            mtime: Some(FileTime {
                seconds: 1_700_000_000,
                nanoseconds: 0,
            }),
            ..Attributes::default()
        },
    });
    PendingDirectory {
        entries: entries.collect(),
    }
}

/// A new store on a simulated device, driven by this thread.
fn store(cache_bytes: u64) -> Store {
    let config = Config {
        reactors: 1,
        pin: false,
        seed: SEED,
        ..Config::default()
    };
    let device = SimDevice::new(SEED, DEVICE_BYTES);
    let runtime = Runtime::driver(device.clone(), &config).expect("a queue");
    let options = CreateOptions {
        seed: Some(SEED),
        ..CreateOptions::default()
    };
    Store::create_on(&runtime, "counted", &options).expect("a new store");
    let options = OpenOptions {
        cache_bytes,
        zero_ahead: false,
        reactors: config,
        ..OpenOptions::default()
    };
    Store::open_on(&runtime, "counted", &options).expect("the store opens")
}

fn extents(count: u64) -> Vec<Extent> {
    contents(count, BYTES)
        .into_iter()
        .map(|bytes| Extent {
            key: Key {
                domain: Domain(0),
                kind: Kind::Data,
                id: hash::content_id(&bytes),
            },
            bytes,
        })
        .collect()
}

fn submit(store: &Store, extents: Vec<Extent>) -> Ack {
    store.block_on(async {
        let mut batch = store.batch();
        batch.put(extents).await.expect("room");
        batch.submit().await.expect("room")
    })
}

/// A batch that is visible, and waits in its log.
pub struct Frame {
    store: Store,
    ack: Ack,
}

/// Makes the batch of a frame of so many extents.
pub fn queued(count: u64) -> Frame {
    let store = store(0);
    // The log has its segment.
    store
        .block_on(submit(&store, extents(1)).durable())
        .expect("durable");
    let mut extents = extents(count + 1);
    extents.remove(0);
    let ack = submit(&store, extents);
    Frame { store, ack }
}

impl Frame {
    /// From the queue of the log to the acknowledgement: layout, descriptors, checksums, copies, one write.
    pub fn becomes_durable(self) -> Frame {
        self.store.block_on(self.ack.durable()).expect("durable");
        self
    }
}

/// A tree, its forks, and what the next step writes.
pub struct Steps {
    store: Store,
    tree: WorkingTree,
    forks: Vec<WorkingTree>,
    edits: Vec<Edit>,
}

/// The tree of 2,000 files, some steps of so many edits behind it, all of them durable.
pub fn steps(count: u64) -> Steps {
    let store = store(0);
    let mut seed = SEED;
    let tree = store.block_on(async {
        let mut tree = steps::tree(&store, "main").await.expect("a new tree");
        for _ in 0..3 {
            let edits = steps::edits(count, &mut seed);
            steps::step(&mut tree, &edits, true).await.expect("a step");
        }
        tree
    });
    let edits = steps::edits(count, &mut seed);
    let forks = Vec::with_capacity(8);
    Steps {
        store,
        tree,
        forks,
        edits,
    }
}

/// The same with some forks, which have changed nothing.
pub fn forks(count: u64) -> Steps {
    (0..4).fold(steps(count), |steps, _| steps.fork())
}

impl Steps {
    /// The next step, until it is visible.
    pub fn step(mut self) -> Steps {
        let stepped = self
            .store
            .block_on(steps::step(&mut self.tree, &self.edits, false));
        stepped.expect("a step");
        self
    }

    /// The next fork.
    pub fn fork(mut self) -> Steps {
        let name = ["a", "b", "c", "d", "e"][self.forks.len()];
        let fork = self.store.block_on(self.tree.fork(name));
        self.forks.push(fork.expect("a new branch"));
        self
    }

    /// The first step of the latest fork, until it is visible.
    pub fn step_of_fork(mut self) -> Steps {
        let fork = self.forks.last_mut().expect("a fork");
        let stepped = self.store.block_on(steps::step(fork, &self.edits, false));
        stepped.expect("a step");
        self
    }
}

/// A store, and what is wanted of it.
pub struct Gets {
    store: Store,
    keys: Vec<Key>,
    together: bool,
}

fn gets(count: u64, cache_bytes: u64, together: bool) -> Gets {
    let store = store(cache_bytes);
    let extents = extents(count);
    let keys: Vec<Key> = extents.iter().map(|extent| extent.key).collect();
    store
        .block_on(submit(&store, extents).durable())
        .expect("durable");
    let gets = Gets {
        store,
        keys,
        together,
    };
    // Twice, so that a cache has seen them come again.
    gets.get().get()
}

/// So many contents of 4 KiB, all of them in the cache.
pub fn cached(count: u64) -> Gets {
    gets(count, 64 << 20, false)
}

/// The same without a cache, got one by one.
pub fn uncached(count: u64) -> Gets {
    gets(count, 0, false)
}

/// The same, asked for in one call: neighbours are one read.
pub fn uncached_together(count: u64) -> Gets {
    gets(count, 0, true)
}

impl Gets {
    /// Gets all of them.
    pub fn get(self) -> Gets {
        let Gets {
            store,
            keys,
            together,
        } = &self;
        store.block_on(async {
            if *together {
                let got = store.get_many(keys).await;
                assert!(got.iter().all(Result::is_ok));
            } else {
                for key in keys {
                    store.get(*key).await.expect("it was put");
                }
            }
        });
        self
    }
}
