//! The limits of the hardware by themselves: what the other workloads' ceilings can be held against.

use std::num::NonZero;

use crate::fio::Job;
use crate::lab::Lab;
use crate::measure::contest::{Contest, Turn, Who};
use crate::measure::figures::{Quantity, Round};
use crate::measure::{Class, Outcome};
use crate::raw::{Raw, UNIT};
use crate::report::row::Row;
use crate::sandbox::{content, time};

use super::Workload;

const NAME: &str = "raw";
const MIB: usize = 1 << 20;
const OPERATIONS: Quantity = Quantity::rate("operations");
const BYTES: Quantity = Quantity::throughput("bytes");
const LATENCY: Quantity = Quantity::time("one at a time");

/// See the module.
pub const WORKLOAD: Workload = Workload {
    name: NAME,
    question: "what can the device, the processor and the memory do?",
    goals: &[],
    run,
};

fn run(lab: &Lab) -> Outcome<Vec<Row>> {
    let mut rows = device(lab)?;
    let mut contest = Contest::new(NAME, "durable write of 4 KiB");
    let writes = lab.scale.pick(2000, 20);
    let raw = Raw::new(&lab.sandbox.path("raw"), 1, writes);
    contest.enter(
        Who::ceiling("RWF_DSYNC", Class::Durable, "to written space").pinned(),
        || {
            Ok(Box::new(move |round: &mut Round| {
                for number in 0..writes {
                    round.record(LATENCY, raw.write(number));
                }
                Ok(())
            }))
        },
    );
    rows.extend(lab.run(contest));
    rows.extend(processor(lab));
    crate::measure::disk::remove(&lab.sandbox.path("raw"))?;
    Ok(rows)
}

/// fio at the blocks and depths of the other workloads.
fn device(lab: &Lab) -> Outcome<Vec<Row>> {
    let path = lab.sandbox.path("fio");
    let size = lab.scale.pick(1 << 30, 16 << 20);
    lay_out(&path, size)?;
    let mut rows = Vec::new();
    for (kind, class, durable) in [
        ("randread", Class::Read, false),
        ("randwrite", Class::Durable, true),
    ] {
        for &block in lab.scale.pick(&[4096, 64 << 10, MIB][..], &[4096][..]) {
            let mut contest = Contest::new(NAME, format!("{kind} of {} KiB", block / 1024));
            for depth in [1, 32] {
                let job = Job {
                    kind,
                    durable,
                    size,
                    ..Job::reads(&path, block, depth, 1)
                };
                let who = Who::ceiling(
                    format!("fio, {depth} in flight"),
                    class,
                    "io_uring, direct, one core",
                );
                lab.enter(&mut contest, who, Some("fio"), || Ok(fio(job)));
            }
            rows.extend(lab.run(contest));
        }
    }
    crate::measure::disk::remove(&path)?;
    Ok(rows)
}

/// A turn of fio.
pub fn fio<'a>(job: Job) -> Turn<'a> {
    Box::new(move |round| {
        let load = job.run()?;
        round.record(OPERATIONS, load.per_second as u64);
        Ok(())
    })
}

/// A file of that many bytes, all of them written.
pub fn lay_out(path: &std::path::Path, bytes: u64) -> Outcome {
    use std::io::Write;
    let mut file = std::fs::File::create(path)?;
    let block = content(1, MIB);
    for _ in 0..bytes / MIB as u64 {
        file.write_all(&block)?;
    }
    Ok(file.sync_all()?)
}

/// Hashing and copying.
fn processor(lab: &Lab) -> Vec<Row> {
    let mut rows = Vec::new();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let amount = lab.scale.pick(256 << 20, 8 << 20);
    for (case, block) in [("BLAKE3 of 4 KiB, in batches", 4096), ("BLAKE3 of 1 MiB", MIB)] {
        let mut contest = Contest::new(NAME, case);
        for threads in [1, cores] {
            let who = Who::ceiling(
                if threads == 1 {
                    "1 thread".to_owned()
                } else {
                    format!("{threads} threads")
                },
                Class::Read,
                "the engine's own batches",
            );
            contest.enter(who, || {
                Ok(Box::new(move |round: &mut Round| {
                    let ns = hash_on(threads, block, amount);
                    round.record_rate(BYTES, amount as u64, ns);
                    Ok(())
                }))
            });
            if cores == 1 {
                break;
            }
        }
        rows.extend(lab.run(contest));
    }
    let mut contest = Contest::new(NAME, "memcpy");
    for (name, block) in [("4 KiB, in cache", UNIT), ("64 MiB, from memory", 64 << 20)] {
        contest.enter(Who::ceiling(name, Class::Read, "one thread").pinned(), || {
            let (from, mut to) = (content(1, block), vec![0; block]);
            Ok(Box::new(move |round: &mut Round| {
                let times = (amount * 4 / block).max(1);
                let (ns, ()) = time(|| {
                    for _ in 0..times {
                        std::hint::black_box(&mut to).copy_from_slice(std::hint::black_box(&from));
                    }
                });
                round.record_rate(BYTES, (times * block) as u64, ns);
                Ok(())
            }))
        });
    }
    rows.extend(lab.run(contest));
    rows
}

/// Time in which so many threads hash that many bytes in contents of `block` bytes.
pub fn hash_on(threads: usize, block: usize, amount: usize) -> u64 {
    let bytes = content(2, (amount / threads).min(64 << 20));
    let (ns, ()) = time(|| {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut left = amount / threads;
                    while left > 0 {
                        for batch in bytes.chunks(block * 32) {
                            let contents: Vec<&[u8]> = batch.chunks(block).collect();
                            std::hint::black_box(helios_engine::hash::content_ids(&contents));
                            left = left.saturating_sub(batch.len());
                            if left == 0 {
                                break;
                            }
                        }
                    }
                });
            }
        });
    });
    ns
}
