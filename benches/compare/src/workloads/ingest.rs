//! A large file of random bytes, put by the programs as their users put it.
//!
//! The file is in the page cache, and every round begins with an empty store, which is not in the figures; the start and the
//! end of the program are. Ceilings are measured in the same turns: what the device takes in order, and what all cores cut and
//! hash. Directories are in `directory`.

use std::num::NonZero;
use std::path::Path;

use helios_engine::hash;
use helios_engine::objects::{Chunker, Step};
use rustix::fs::FallocateFlags;

use crate::fio::Job;
use crate::goals::{Goal, Target};
use crate::lab::Lab;
use crate::measure::child::{self, Ran};
use crate::measure::contest::{Contest, Who};
use crate::measure::figures::{Quantity, Round};
use crate::measure::{Class, Outcome, caches, disk};
use crate::peers::copies::Way;
use crate::peers::restic;
use crate::report::row::Row;
use crate::sandbox::{content, time};

use super::Workload;
use super::raw::lay_out;

const NAME: &str = "ingest";
const CASE: &str = "a file of random bytes";
const RATE: Quantity = Quantity::throughput("bytes");
const CLASS: Class = Class::Durable;
const MIB: u64 = 1 << 20;
/// More than is written in a round.
const NEW_SPACE: u64 = 8 << 30;
/// Chunks are hashed so many at a time.
const BATCH: usize = 32;

/// See the module.
pub const WORKLOAD: Workload = Workload {
    name: NAME,
    question: "how fast is a large file of new bytes taken in?",
    goals: &[
        goal(Target::TimesBetter("restic", 5.0)),
        goal(Target::OfLowestCeiling(0.8)),
    ],
    run,
};

const fn goal(target: Target) -> Goal {
    Goal {
        workload: NAME,
        case: CASE,
        class: CLASS,
        quantity: RATE.name,
        target,
    }
}

fn run(lab: &Lab) -> Outcome<Vec<Row>> {
    let top = lab.fresh(NAME)?;
    let size = lab.scale.pick(1024 * MIB, 16 * MIB);
    let file = top.join("file");
    write_random(&file, size, lab.scale.seed)?;
    let mut contest = Contest::new(NAME, CASE);
    programs(lab, &mut contest, &top, &file, size);
    ceilings(lab, &mut contest, &top, size)?;
    let rows = lab.run(contest);
    lab.fresh(NAME)?;
    Ok(rows)
}

fn write_random(path: &Path, bytes: u64, seed: u64) -> Outcome {
    use std::io::Write;
    let mut file = std::fs::File::create(path)?;
    for number in 0..bytes / MIB {
        file.write_all(&content(number ^ (seed << 40), MIB as usize))?;
    }
    Ok(file.sync_all()?)
}

fn record(round: &mut Round, bytes: u64, ran: Ran) {
    round.record_rate(RATE, bytes, ran.ns);
    ran.record_memory(round);
}

fn programs<'a>(lab: &'a Lab, contest: &mut Contest<'a>, top: &Path, file: &'a Path, size: u64) {
    let who = Who::helios(CLASS, "put, into a new store of the default size");
    match lab.helios() {
        Err(why) => contest.skip(who, why),
        Ok(helios) => {
            let store = top.join("store.helios");
            contest.enter(who, || {
                Ok(Box::new(move |round: &mut Round| {
                    disk::clear(&store)?;
                    helios.init(&store, "100G")?;
                    let mut put = helios.command(&store, &["put", "-q"]);
                    record(round, size, child::watch(put.arg(file))?);
                    disk::remove(&store)
                }))
            });
        }
    }
    let note = format!("new repository, compression off; {}", restic::NOTE);
    let who = Who::peer("restic", CLASS, note);
    lab.enter(contest, who, Some(restic::PROGRAM), || {
        let at = top.join("restic");
        Ok(Box::new(move |round: &mut Round| {
            let repository = restic::Repository::new(&at, &lab.home())?;
            record(round, size, repository.backup(file, false)?);
            disk::remove(&at)
        }))
    });
    let who = Who::peer(
        "cp -a",
        CLASS,
        "then syncfs; finds nothing equal, verifies nothing",
    );
    lab.enter(contest, who, Some("cp"), || {
        let to = top.join("copy");
        Ok(Box::new(move |round: &mut Round| {
            disk::clear(&to)?;
            let mut ran = Way::Whole.watch(file, &to, &lab.home())?;
            let (ns, synced) = time(|| caches::sync_file_system(&to));
            synced?;
            ran.ns += ns;
            record(round, size, ran);
            disk::remove(&to)
        }))
    });
}

fn ceilings<'a>(lab: &'a Lab, contest: &mut Contest<'a>, top: &Path, size: u64) -> Outcome {
    let written = top.join("written");
    lay_out(&written, size)?;
    device(lab, contest, "written", || Ok(()), &written, size);
    let new = top.join("new");
    let fresh = {
        let new = new.clone();
        move || new_space(&new, NEW_SPACE)
    };
    device(lab, contest, "new", fresh, &new, NEW_SPACE);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let who = Who::ceiling(
        "cut and hashed, all cores",
        CLASS,
        format!("{cores} threads, each content once as chunks and once as a whole"),
    );
    let amount = lab.scale.pick(256 * MIB, 8 * MIB);
    let part = content(lab.scale.seed, amount as usize);
    contest.enter(who, || {
        Ok(Box::new(move |round: &mut Round| {
            let ns = cut_and_hash(cores, &part);
            round.record_rate(RATE, amount * cores as u64, ns);
            Ok(())
        }))
    });
    Ok(())
}

/// What the device takes in durable writes in order, to space of a file that has been written or not: a new store is of the
/// latter kind, and a file system has to note for each write that it has been.
fn device<'a>(
    lab: &'a Lab,
    contest: &mut Contest<'a>,
    space: &str,
    prepare: impl Fn() -> Outcome + Send + 'a,
    path: &Path,
    size: u64,
) {
    let job = Job {
        kind: "write",
        durable: true,
        size,
        ..Job::reads(path, MIB as usize, 32, 2)
    };
    let note = format!("1 MiB, 32 in flight, direct, O_DSYNC, to {space} space");
    let who = Who::ceiling(format!("fio, {space} space"), CLASS, note);
    lab.enter(contest, who, Some("fio"), || {
        Ok(Box::new(move |round: &mut Round| {
            prepare()?;
            let load = job.run()?;
            round.record(RATE, (load.per_second * MIB as f64) as u64);
            Ok(())
        }))
    });
}

/// A file of that many bytes, none of them written.
fn new_space(path: &Path, bytes: u64) -> Outcome {
    disk::remove(path)?;
    let file = std::fs::File::create(path)?;
    Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?)
}

/// Time in which each of so many threads does with the bytes what a put does before it writes.
fn cut_and_hash(threads: usize, bytes: &[u8]) -> u64 {
    let (ns, ()) = time(|| {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for batch in chunks(bytes).chunks(BATCH) {
                        std::hint::black_box(hash::content_ids(batch));
                    }
                    std::hint::black_box(hash::content_id(bytes));
                });
            }
        });
    });
    ns
}

fn chunks(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut chunker, mut rest, mut chunks) = (Chunker::new(), bytes, Vec::new());
    loop {
        match chunker.next(rest, true) {
            Step::Chunk(len) | Step::Zeros(len) => {
                let (chunk, later) = rest.split_at(len);
                chunks.push(chunk);
                rest = later;
            }
            Step::Hole(_) => {}
            Step::More => return chunks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the ceiling does the whole work. Method: the chunks of some random bytes, put together.
    #[test]
    fn chunks_are_all_the_bytes() {
        let bytes = content(3, 3 << 20);
        let chunks = chunks(&bytes);
        assert!(chunks.len() > 3);
        assert!(chunks.concat() == bytes);
    }
}
