//! Durable puts of unique 1 MiB contents beside sequential durable writes and the hash rate.

use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{Extent, Key};
use rustix::io::{IoSlice, ReadWriteFlags};

use crate::report;
use crate::sandbox::{Sandbox, content, raw_file, time};

const MIB: usize = 1 << 20;
const COUNT: u64 = 1024;
const IN_FLIGHT: usize = 8;

/// Runs the section.
pub fn run() {
    report::heading(
        "puts: how close do unique 1 MiB contents come to device and hash?",
        "the slower of sequential 1 MiB durable writes (8 threads, fallocated file) and BLAKE3 on the cores used",
        "at least 80 %",
    );
    let mut ratios = Vec::new();
    for round in 0..3u64 {
        let sandbox = Sandbox::new();
        let store = sandbox.store("puts.helios", 8 << 30, 2, 0);
        let contents: Vec<bytes::Bytes> = (0..COUNT)
            .map(|number| bytes::Bytes::from(content(round * COUNT + number, MIB)))
            .collect();
        let (taken, ()) = time(|| {
            std::thread::scope(|scope| {
                for thread in 0..IN_FLIGHT {
                    let (store, contents) = (&store, &contents);
                    scope.spawn(move || {
                        for bytes in contents.iter().skip(thread).step_by(IN_FLIGHT) {
                            let key = Key {
                                domain: Domain(0),
                                kind: Kind::Data,
                                id: hash::content_id(bytes),
                            };
                            store.block_on(async {
                                let mut batch = store.batch();
                                batch
                                    .put(vec![Extent {
                                        key,
                                        bytes: bytes.clone(),
                                    }])
                                    .await
                                    .expect("room");
                                batch
                                    .submit()
                                    .await
                                    .expect("room")
                                    .durable()
                                    .await
                                    .expect("durable");
                            });
                        }
                    });
                }
            });
        });
        let rate = |nanoseconds: u64| COUNT as f64 * MIB as f64 / nanoseconds as f64;
        store.close().expect("a clean close");
        let raw = raw(&sandbox.path("raw"));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (hashed, ()) = time(|| {
            std::thread::scope(|scope| {
                for core in 0..cores {
                    let contents = &contents;
                    scope.spawn(move || {
                        for bytes in contents.iter().skip(core).step_by(cores) {
                            std::hint::black_box(hash::content_id(bytes));
                        }
                    });
                }
            });
        });
        let ceiling = rate(raw).min(rate(hashed));
        println!(
            "  puts {:.2} GB/s   raw writes {:.2} GB/s   BLAKE3 on {cores} cores {:.2} GB/s   {:.0} % of the slower",
            rate(taken),
            rate(raw),
            rate(hashed),
            100.0 * rate(taken) / ceiling
        );
        ratios.push(100.0 * rate(taken) / ceiling);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "  median of the runs: {:.0} % of the slower ceiling",
        ratios[ratios.len() / 2]
    );
}

/// Time of writing the same amount durably, as many writes in flight.
fn raw(path: &std::path::Path) -> u64 {
    #[repr(align(4096))]
    struct Aligned([u8; MIB]);
    let file = raw_file(path);
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, COUNT * MIB as u64).expect("space");
    let (taken, ()) = time(|| {
        std::thread::scope(|scope| {
            for thread in 0..IN_FLIGHT as u64 {
                let file = &file;
                scope.spawn(move || {
                    let block: Box<Aligned> = Box::new(Aligned([u8::try_from(thread).expect("few"); MIB]));
                    for number in (thread..COUNT).step_by(IN_FLIGHT) {
                        let slices = [IoSlice::new(&block.0)];
                        rustix::io::pwritev2(file, &slices, number * MIB as u64, ReadWriteFlags::DSYNC)
                            .expect("a write");
                    }
                });
            }
        });
    });
    taken
}
