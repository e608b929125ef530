//! Stores for the tests of this crate: on a simulated device, with real reactor threads.

use std::sync::Arc;

use bytes::Bytes;

use super::segments::{Places, SegmentUse};
use super::{CreateOptions, Extent, Key, OpenOptions, Store};
use crate::device::sim::SimDevice;
use crate::format::frame::Descriptor;
use crate::format::segment::{Trailer, encode_footer};
use crate::format::superblock::Superblock;
use crate::format::{Domain, Kind};
use crate::hash;
use crate::limits::UNIT_BYTES;
use crate::reactor::{Config, Runtime};

/// A simulated device that obeys all rules.
pub(crate) fn device(bytes: u64) -> Arc<SimDevice> {
    SimDevice::new(1, bytes)
}

fn runtime(device: &Arc<SimDevice>, reactors: usize) -> Runtime {
    let config = Config {
        reactors,
        pin: false,
        ..Config::default()
    };
    Runtime::threads(device.clone(), &config).expect("a runtime on a simulated device")
}

/// Makes a store on a device and opens it.
pub(crate) fn create(device: &Arc<SimDevice>, reactors: usize) -> Store {
    let maker = runtime(device, 1);
    Store::create_on(&maker, "sim:1", &CreateOptions::default()).expect("a new store");
    maker.shutdown();
    open(device, reactors)
}

/// Opens the store on a device.
pub(crate) fn open(device: &Arc<SimDevice>, reactors: usize) -> Store {
    let options = OpenOptions {
        cache_bytes: 0,
        ..OpenOptions::default()
    };
    Store::open_on(&runtime(device, reactors), "sim:1", &options).expect("a store on the device")
}

/// Ends a store as the end of its process would: nothing is flushed, nothing is closed.
pub(crate) fn abandon(store: Store) {
    let runtime = store.runtime().clone();
    drop(store);
    runtime.shutdown();
}

/// An empty store in memory.
pub(crate) fn store() -> Store {
    create(&device(256 << 20), 1)
}

/// An extent of user data.
pub(crate) fn data(bytes: &Bytes) -> Extent {
    let key = Key {
        domain: Domain(0),
        kind: Kind::Data,
        id: hash::content_id(bytes),
    };
    Extent {
        key,
        bytes: bytes.clone(),
    }
}

/// Makes and opens a store that runs without threads, in virtual time.
pub(crate) fn create_driven(device: &Arc<SimDevice>, reactors: usize, seed: u64) -> Store {
    let config = Config {
        reactors,
        pin: false,
        seed,
        ..Config::default()
    };
    let runtime = Runtime::driver(device.clone(), &config).expect("a runtime without threads");
    let options = CreateOptions {
        seed: Some(seed),
        ..CreateOptions::default()
    };
    Store::create_on(&runtime, "sim:driven", &options).expect("a new store");
    Store::open_on(&runtime, "sim:driven", &OpenOptions::default()).expect("the store just made")
}

/// A simulated device whose misbehaviour follows from a seed.
pub(crate) fn device_seeded(seed: u64, bytes: u64) -> Arc<SimDevice> {
    SimDevice::new(seed, bytes)
}

/// Opens the store on a device without threads, in virtual time.
pub(crate) fn open_driven(
    device: &Arc<SimDevice>,
    reactors: usize,
    seed: u64,
) -> crate::error::Result<Store> {
    let config = Config {
        reactors,
        pin: false,
        seed,
        ..Config::default()
    };
    let runtime = Runtime::driver(device.clone(), &config)?;
    let options = OpenOptions {
        cache_bytes: 0,
        ..OpenOptions::default()
    };
    Store::open_on(&runtime, "sim:driven", &options)
}

/// Rewrites a footer after `change`, as the store itself would have written it.
pub(super) fn rewrite_footer(
    device: &SimDevice,
    block: &Superblock,
    at: SegmentUse,
    change: impl Fn(&mut [Descriptor]),
) {
    let places = Places::of(block);
    let segment = device.peek(
        places.offset(at.segment, 0),
        usize::try_from(places.segment_bytes()).unwrap(),
    );
    let last = &segment[segment.len() - UNIT_BYTES..];
    let trailer = Trailer::decode(last, places.segment_units, &block.secret()).unwrap();
    let start = trailer.first_unit.get() as usize * UNIT_BYTES;
    let mut descriptors = trailer.descriptors(&segment[start..]).unwrap().to_vec();
    change(&mut descriptors);
    let footer = encode_footer(&descriptors, trailer, places.segment_units, &block.secret());
    device.poke(places.offset(at.segment, start as u64), &footer);
}
