//! A durable put of one small content beside one raw durable write of the same bytes.

use std::os::unix::fs::OpenOptionsExt;

use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{Extent, Key};
use rustix::io::{IoSlice, ReadWriteFlags};

use crate::report;
use crate::sandbox::{Sandbox, content, time};

const ROUNDS: u64 = 4000;
const BYTES: usize = 4096;

/// Memory aligned for direct I/O.
#[repr(align(4096))]
struct Aligned([u8; 2 * BYTES]);

/// Runs the section.
pub fn run() {
    report::heading(
        "durable: how much does the engine add to one durable write?",
        "one RWF_DSYNC write of 8 KiB (head and content) to written space of a file beside the store",
        "within 1.5x at P95",
    );
    let sandbox = Sandbox::new();
    let store = sandbox.store("durable.helios", 4 << 30, 1, 0);
    let raw = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("a flag"))
        .open(sandbox.path("raw"))
        .expect("a raw file");
    let mut block = Box::new(Aligned([7; 2 * BYTES]));
    for at in 0..ROUNDS {
        rustix::io::pwrite(&raw, &block.0, at * 2 * BYTES as u64)
            .expect("the raw file is written once before");
    }
    rustix::fs::fdatasync(&raw).expect("the raw file is durable");
    let (mut engine, mut ceiling) = (report::histogram(), report::histogram());
    for number in 0..ROUNDS + 200 {
        let bytes = bytes::Bytes::from(content(number, BYTES));
        let (taken, ()) = time(|| {
            let key = Key {
                domain: Domain(0),
                kind: Kind::Data,
                id: hash::content_id(&bytes),
            };
            store.block_on(async {
                let mut batch = store.batch();
                batch.put(vec![Extent { key, bytes }]).await.expect("room");
                batch
                    .submit()
                    .await
                    .expect("room")
                    .durable()
                    .await
                    .expect("a durable write");
            });
        });
        block.0[..8].copy_from_slice(&number.to_le_bytes());
        let offset = number % ROUNDS * 2 * BYTES as u64;
        let (raw_taken, ()) = time(|| {
            rustix::io::pwritev2(&raw, &[IoSlice::new(&block.0)], offset, ReadWriteFlags::DSYNC)
                .expect("a raw write");
        });
        if number >= 200 {
            engine.record(taken).expect("in range");
            ceiling.record(raw_taken).expect("in range");
        }
    }
    report::row("raw RWF_DSYNC write, 8 KiB", &ceiling);
    report::row("durable put of 4 KiB", &engine);
    report::ratio("put / raw", &engine, &ceiling);
    store.close().expect("a clean close");
}
