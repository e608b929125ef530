//! Gets: of 16 KiB out of the cache, and of 4 KiB from the device beside reads of the device itself.
//!
//! From the cache it is the calling thread that gets. From the device it is a task of the reactor, as it is for clients of a server;
//! its reads take turns with direct reads of as much of the same file through the same adapter, on a queue of their own that is
//! polled without a pause: the least that anybody waits for this device. Both run on the reactor's core, because a device
//! answers the core that its interrupts go to sooner than others.

use std::ops::Range;
use std::sync::mpsc;

use helios_engine::device::{self, Address, Command, Operation, Queue};
use helios_engine::ops::{Class, Failure};
use helios_engine::store::{Key, Store};
use serde_json::json;

use super::commits::summary;
use super::report::{Goal, Row};
use super::run::Run;
use crate::workloads::put;
use crate::workloads::samples::Samples;

pub const GOALS: [Goal; 2] = [
    Goal {
        name: "get from cache",
        goal: "16 KiB, P95 < 5 us",
    },
    Goal {
        name: "get from device",
        goal: "4 KiB, P95 < 25 us or < 1.1 x the device",
    },
];

const CACHED_P95_US_MAX: f64 = 5.0;
const DEVICE_P95_US_MAX: f64 = 25.0;
const DEVICE_RATIO_MAX: f64 = 1.1;
const STORE_BYTES: u64 = 2 << 30;
const CACHED_CONTENTS: u64 = 256;
const CACHED_BYTES: usize = 16 << 10;
const CACHE_BYTES: u64 = 64 << 20;
const BLOCK: usize = 4096;
/// Gets in a turn, and reads of the device in the next.
const TURN: u64 = 32;
/// Where the data of a store begins at the earliest; see FORMAT.md.
const DATA_BEGINS: u64 = 2 << 20;

pub fn measure(run: &Run) -> Result<Vec<Row>, Failure> {
    Ok(vec![cached(run)?, uncached(run)?])
}

fn cached(run: &Run) -> Result<Row, Failure> {
    let store = run.store("cached.helios", STORE_BYTES, CACHE_BYTES)?;
    let keys = store.block_on(put(&store, 0..CACHED_CONTENTS, CACHED_BYTES))?;
    store.block_on(store.flush())?;
    let mut random = Random(1);
    let mut times = Samples::default();
    // Everything twice, so that it is in the cache to stay.
    for key in keys.iter().chain(&keys) {
        store.block_on(store.get(*key))?;
    }
    let hits = store.stats().cache.hits;
    let count = run.sized(50_000, 1000);
    for number in 0..count {
        if number % 1000 == 0 {
            run.step(0.2 * number as f64 / count as f64)?;
        }
        let key = keys[random.below(CACHED_CONTENTS) as usize];
        let (ns, got) = run.time(|| store.block_on(store.get(key)));
        std::hint::black_box(got?);
        times.record(ns);
    }
    let hits = store.stats().cache.hits - hits;
    store.close()?;
    let times = summary(&times)?;
    Ok(GOALS[0].row(
        times.p95_us < CACHED_P95_US_MAX && hits == count,
        format!("{:.2} us", times.p95_us),
        format!(
            "median {:.2} us; {hits} of {count} out of the cache",
            times.median_us
        ),
        json!({ "get": times, "hits": hits }),
    ))
}

fn uncached(run: &Run) -> Result<Row, Failure> {
    let store = run.store("device.helios", STORE_BYTES, 0)?;
    let contents = run.sized(25_000, 1000);
    let keys = store.block_on(put(&store, 0..contents, BLOCK))?;
    store.block_on(store.flush())?;
    let end = DATA_BEGINS + contents * BLOCK as u64 * 4 / 5;
    let mut raw = Raw::open(run, "device.helios", DATA_BEGINS..end)?;
    let mut random = Random(1);
    let (mut gets, mut reads) = (Samples::default(), Samples::default());
    let turns = run.sized(400, 10);
    for turn in 0..turns {
        run.step(0.2 + 0.8 * turn as f64 / turns as f64)?;
        let wanted: Vec<Key> = (0..TURN).map(|_| keys[random.below(contents) as usize]).collect();
        gets.extend(get_on_reactor(&store, wanted)?);
        let core = store.runtime().handles()[0].core();
        on_core(core, || {
            (0..TURN).try_for_each(|_| -> Result<(), Failure> {
                reads.record(raw.read(run, &mut random)?);
                Ok(())
            })
        })?;
    }
    let from_device = store.stats().reads;
    drop(raw);
    store.close()?;
    let (gets, reads) = (summary(&gets)?, summary(&reads)?);
    let ratio = gets.p95_us / reads.p95_us;
    Ok(GOALS[1].row(
        gets.p95_us < DEVICE_P95_US_MAX || ratio < DEVICE_RATIO_MAX,
        format!("{:.1} us, {ratio:.2} x", gets.p95_us),
        format!(
            "the device itself P95 {:.1} us; medians {:.1} and {:.1} us, {:.2} x",
            reads.p95_us,
            gets.median_us,
            reads.median_us,
            gets.median_us / reads.median_us
        ),
        json!({ "get": gets, "device": reads, "ratio_p95": ratio, "reads_of_the_store": from_device }),
    ))
}

/// How long each of the gets took, one after the other on the reactor.
fn get_on_reactor(store: &Store, keys: Vec<Key>) -> Result<Vec<u64>, Failure> {
    let (sender, receiver) = mpsc::channel();
    let owned = store.clone();
    store.runtime().handles()[0].spawn(move |local| async move {
        let mut times = Vec::with_capacity(keys.len());
        let mut outcome = Ok(());
        for key in keys {
            let start = local.clock().now();
            if let Err(error) = owned.get(key).await {
                outcome = Err(error);
                break;
            }
            let took = local.clock().now().since(start);
            times.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
        // Before the answer: who gets it may close the store.
        drop(owned);
        let _ = sender.send(outcome.map(|()| times));
    });
    let gone = |_| Failure::new(Class::Failed, "the reactor has ended");
    Ok(receiver.recv().map_err(gone)??)
}

/// Does something on a core, if there is one to be on; the reactor whose core it is has nothing to do meanwhile.
fn on_core<T>(core: Option<usize>, work: impl FnOnce() -> T) -> T {
    let before = rustix::thread::sched_getaffinity(None);
    let (Some(core), Ok(before)) = (core, before) else {
        return work();
    };
    let mut only = rustix::thread::CpuSet::new();
    only.set(core);
    // Where it is refused, the work is done wherever it may be.
    let _ = rustix::thread::sched_setaffinity(None, &only);
    let result = work();
    let _ = rustix::thread::sched_setaffinity(None, &before);
    result
}

/// Direct reads of a file by whatever drives the store's own device.
struct Raw {
    queue: Box<dyn Queue>,
    places: Range<u64>,
    buffer: Option<device::DmaBuffer>,
}

impl Raw {
    fn open(run: &Run, name: &str, places: Range<u64>) -> Result<Raw, Failure> {
        let options = device::OpenOptions {
            read_only: true,
            ..device::OpenOptions::default()
        };
        let device = device::open(&Address::Path(run.path(name)), &options).map_err(failed)?;
        let mut queue = device.open_queue(1).map_err(failed)?;
        let buffer = queue.buffer(BLOCK).map_err(failed)?;
        Ok(Raw {
            queue,
            places,
            buffer: Some(buffer),
        })
    }

    /// Reads a block at a random place; nanoseconds.
    fn read(&mut self, run: &Run, random: &mut Random) -> Result<u64, Failure> {
        let block = BLOCK as u64;
        let blocks = (self.places.end - self.places.start) / block;
        let offset = self.places.start + random.below(blocks) * block;
        let lost = || failed(std::io::Error::other("a buffer did not come back"));
        let operation = Operation::Read {
            offset,
            buffer: self.buffer.take().ok_or_else(lost)?,
            range: 0..BLOCK,
        };
        let mut completed = Vec::with_capacity(1);
        let start = run.clock.now();
        let refused = |_| failed(std::io::Error::other("the queue is full"));
        self.queue
            .submit(Command { token: 0, operation })
            .map_err(refused)?;
        while completed.is_empty() {
            self.queue.poll(&mut completed);
            std::hint::spin_loop();
        }
        let took = run.since(start);
        let completion = completed.remove(0);
        completion.result.map_err(failed)?;
        self.buffer = completion.buffer;
        Ok(took)
    }
}

fn failed(error: std::io::Error) -> Failure {
    Failure::new(Class::Io, format!("read the device: {error}"))
}

/// Random numbers, good enough to choose a place.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % bound
    }
}
