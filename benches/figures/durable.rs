//! A durable put of one small content, and an agent's durable commit of one file, each beside one raw durable write of the
//! same bytes.

use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{Extent, Key, Store};

use crate::raw::{Raw, UNIT};
use crate::report;
use crate::sandbox::{Sandbox, content, time};
use crate::steps::{edits, step, tree};

const ROUNDS: u64 = 4000;
const WARM_UP: u64 = 200;
const BYTES: usize = 4096;

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
    let raw = Raw::new(&sandbox.path("raw"), units, ROUNDS);
    let (mut engine, mut ceiling) = (report::histogram(), report::histogram());
    for number in 0..ROUNDS {
        engine.record(operation(WARM_UP + number)).expect("in range");
        ceiling.record(raw.write(number)).expect("in range");
    }
    report::row(
        &format!("raw RWF_DSYNC write, {} KiB", units * UNIT / 1024),
        &ceiling,
    );
    report::row(&format!("durable {name}"), &engine);
    report::ratio(&format!("{name} / raw"), &engine, &ceiling);
}
