//! A durable put of one small content, and an agent's durable commit of one file, each beside one raw durable write of the
//! same bytes.

use std::fs::File;
use std::path::Path;

use hdrhistogram::Histogram;
use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{Extent, Key, Store};
use rustix::io::{IoSlice, ReadWriteFlags};

use crate::report;
use crate::sandbox::{Sandbox, content, raw_file, time};
use crate::steps::{edits, step, tree};

const ROUNDS: u64 = 4000;
const WARM_UP: u64 = 200;
const BYTES: usize = 4096;
const UNIT: usize = 4096;
const UNITS_MAX: usize = 16;

/// Memory aligned for direct I/O.
#[repr(align(4096))]
struct Aligned([u8; UNITS_MAX * UNIT]);

/// Runs the section.
pub fn run() {
    report::heading(
        "durable: how much does the engine add to one durable write?",
        "one RWF_DSYNC write of as many bytes as the frame has, to written space of a file beside the store",
        "within 1.5x at P95",
    );
    let sandbox = Sandbox::new();
    let store = sandbox.store("durable.helios", 4 << 30, 1, 0);
    beside_raw_writes("put of 4 KiB", &store, &sandbox, |number| {
        let bytes = bytes::Bytes::from(content(number, BYTES));
        let (taken, ()) = time(|| put(&store, bytes));
        taken
    });
    let mut tree = tree(&store);
    let mut seed = 0;
    beside_raw_writes("commit of 1 edit", &store, &sandbox, |_| {
        let edits = edits(1, &mut seed);
        step(&store, &mut tree, &edits, true)
    });
    drop(tree);
    store.close().expect("a clean close");
}

fn put(store: &Store, bytes: bytes::Bytes) {
    let key = Key {
        domain: Domain(0),
        kind: Kind::Data,
        id: hash::content_id(&bytes),
    };
    store.block_on(async {
        let mut batch = store.batch();
        batch.put(vec![Extent { key, bytes }]).await.expect("room");
        let ack = batch.submit().await.expect("room");
        ack.durable().await.expect("a durable write");
    });
}

/// Times `operation`, which makes one frame durable, and a raw write of the frame's size, in turn.
fn beside_raw_writes(name: &str, store: &Store, sandbox: &Sandbox, mut operation: impl FnMut(u64) -> u64) {
    let frame_bytes = || store.stats().totals.frame_bytes;
    let before = frame_bytes();
    for number in 0..WARM_UP {
        operation(number);
    }
    let units = usize::try_from((frame_bytes() - before) / WARM_UP)
        .expect("small")
        .div_ceil(UNIT);
    let raw = Raw::new(&sandbox.path("raw"), units);
    let (mut engine, mut ceiling) = (report::histogram(), report::histogram());
    for number in 0..ROUNDS {
        engine.record(operation(WARM_UP + number)).expect("in range");
        raw.write(number, &mut ceiling);
    }
    report::row(
        &format!("raw RWF_DSYNC write, {} KiB", units * UNIT / 1024),
        &ceiling,
    );
    report::row(&format!("durable {name}"), &engine);
    report::ratio(&format!("{name} / raw"), &engine, &ceiling);
}

/// The ceiling: a file whose space has been written once.
struct Raw {
    file: File,
    block: Box<Aligned>,
    len: usize,
}

impl Raw {
    fn new(path: &Path, units: usize) -> Raw {
        let file = raw_file(path);
        let (block, len) = (Box::new(Aligned([7; UNITS_MAX * UNIT])), units * UNIT);
        for at in 0..ROUNDS {
            rustix::io::pwrite(&file, &block.0[..len], at * len as u64).expect("a first write");
        }
        rustix::fs::fdatasync(&file).expect("a durable file");
        Raw { file, block, len }
    }

    fn write(&self, number: u64, times: &mut Histogram<u64>) {
        let (taken, written) = time(|| {
            let block = [IoSlice::new(&self.block.0[..self.len])];
            let offset = number * self.len as u64;
            rustix::io::pwritev2(&self.file, &block, offset, ReadWriteFlags::DSYNC)
        });
        assert_eq!(written.expect("a raw write"), self.len);
        times.record(taken).expect("in range");
    }
}
