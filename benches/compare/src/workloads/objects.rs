//! Contents put and got by their ids: unique and duplicate, one and 32 in flight, cold and cached.
//!
//! Everybody hashes what is put (BLAKE3) and keeps what it has once, but for RocksDB, whose own load generator does neither.
//! With one in flight the time of each call is measured, with 32 only how many are done in a second. "32 in flight" is 32 clients for those who take several writers, and one
//! transaction of 32 contents for those who take one (SQLite, redb), which is the kinder way for them.

mod rocksdb;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use helios_engine::hash;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::fio::Job;
use crate::goals::{Goal, Target};
use crate::lab::Lab;
use crate::measure::contest::{Contest, Turn, Who};
use crate::measure::figures::{Quantity, Round};
use crate::measure::{Class, Outcome};
use crate::peers::{Content, Objects, files, helios, redb, sqlite};
use crate::raw::{Raw, UNIT};
use crate::report::row::Row;
use crate::sandbox::{content, time};

use super::Workload;
use super::raw::{fio, lay_out};

const NAME: &str = "objects";
const DEPTH: usize = 32;
const TIME: Quantity = Quantity::time("one at a time");
const RATE: Quantity = Quantity::rate("operations");
const SIZES: [usize; 3] = [4096, 64 << 10, 1 << 20];
/// Memory for caches where a row says cached: all contents fit.
const CACHE_BYTES: u64 = 1 << 30;
const FIO: &str = "fio";
const HASHING: &str = "BLAKE3 of the same batches, one core";

/// See the module.
pub const WORKLOAD: Workload = Workload {
    name: NAME,
    question: "how long do puts and gets of contents take, and how many are done in a second?",
    goals: &[
        goal(
            "put 4 KiB unique, 32 in flight",
            Class::Durable,
            RATE,
            Target::TimesBetter("rocksdb", 3.0),
        ),
        goal(
            "put 4 KiB unique, 32 in flight",
            Class::Durable,
            RATE,
            Target::OfCeiling(FIO, 0.8),
        ),
        goal(
            "put 4 KiB duplicate, 32 in a batch",
            Class::Visible,
            RATE,
            Target::OfCeiling(HASHING, 0.9),
        ),
        goal(
            "get 4 KiB cold, 32 in flight",
            Class::Read,
            RATE,
            Target::OfCeiling(FIO, 0.9),
        ),
        goal(
            "get 4 KiB cold, 32 in flight",
            Class::Read,
            RATE,
            Target::TimesBetter("rocksdb", 2.0),
        ),
        goal(
            "get 4 KiB cold, 32 in flight",
            Class::Read,
            RATE,
            Target::TimesBetter("redb", 2.0),
        ),
        goal(
            "get 4 KiB cached, 1 in flight",
            Class::Read,
            TIME,
            Target::P95Below(1000.0),
        ),
    ],
    run,
};

const fn goal(case: &'static str, class: Class, quantity: Quantity, target: Target) -> Goal {
    Goal {
        workload: NAME,
        case,
        class,
        quantity: quantity.name,
        target,
    }
}

/// Opens a store of contents, or makes it: where, what for, and with how much memory for its cache.
type Open = fn(&Path, Class, u64) -> Outcome<Box<dyn Objects>>;

/// Everybody, by name.
fn subjects(class: Class) -> Vec<(Who, Open)> {
    let helios: Open = |path, class, cache| Ok(Box::new(helios::Contents::new(path, class, cache)?));
    let redb: Open = |path, class, cache| {
        Ok(Box::new(redb::Contents::new(
            path,
            class,
            usize::try_from(cache)?,
        )?))
    };
    let sqlite: Open = |path, class, _| Ok(Box::new(sqlite::Contents::new(path, class, DEPTH)?));
    let files: Open = |path, class, _| Ok(Box::new(files::Contents::new(path, class)?));
    vec![
        (Who::helios(class, ""), helios),
        (Who::peer("redb", class, redb::settings(class)), redb),
        (Who::peer("sqlite", class, sqlite::settings(class)), sqlite),
        (Who::peer("files", class, files::settings(class)), files),
    ]
}

fn run(lab: &Lab) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for &bytes in lab.scale.pick(&SIZES[..], &SIZES[..1]) {
        for class in [Class::Visible, Class::Durable] {
            for kind in [Put::One, Put::InFlight, Put::Duplicate] {
                rows.extend(puts(lab, bytes, class, kind)?);
            }
        }
        for cold in [true, false] {
            for depth in [1, DEPTH] {
                rows.extend(gets(lab, bytes, cold, depth)?);
            }
        }
    }
    Ok(rows)
}

/// Contents from a number on.
fn contents(lab: &Lab, from: u64, count: u64, len: usize) -> Arc<[Content]> {
    let make = |number: u64| {
        let bytes = Bytes::from(content(number ^ (lab.scale.seed << 40), len));
        let id = hash::content_id(&bytes);
        Content { number, id, bytes }
    };
    (from..from + count).map(make).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Put {
    One,
    InFlight,
    Duplicate,
}

/// Contents of a round.
fn count(lab: &Lab, len: usize) -> u64 {
    let real = match len {
        4096 => 2048,
        65536 => 512,
        _ => 64,
    };
    lab.scale.pick(real, 32)
}

/// Contents that are there for gets. With 32 in flight all are got, which takes about as long as fio's second: a device
/// needs some milliseconds to give its best.
fn kept(lab: &Lab, len: usize, cold: bool) -> u64 {
    let real = match (cold, len) {
        (false, _) => 8 * count(lab, len),
        (true, 4096) => 65536,
        (true, 65536) => 8192,
        (true, _) => 512,
    };
    lab.scale.pick(real, 256)
}

/// Gets of a round, of different contents.
fn asked(lab: &Lab, len: usize, cold: bool, depth: usize) -> u64 {
    match depth {
        1 => 4 * count(lab, len),
        _ => kept(lab, len, cold),
    }
}

fn puts(lab: &Lab, len: usize, class: Class, kind: Put) -> Outcome<Vec<Row>> {
    let case = match kind {
        Put::One => format!("put {} KiB unique, 1 in flight", len / 1024),
        Put::InFlight => format!("put {} KiB unique, {DEPTH} in flight", len / 1024),
        Put::Duplicate => format!("put {} KiB duplicate, {DEPTH} in a batch", len / 1024),
    };
    let top = lab.fresh(NAME)?;
    let count = count(lab, len);
    let mut contest = Contest::new(NAME, case);
    for (who, open) in subjects(class) {
        let path = top.join(&who.name);
        lab.enter(&mut contest, who, None, || {
            let store = open(&path, class, helios::CACHE_BYTES)?;
            if kind == Put::Duplicate {
                store.put(&contents(lab, 0, count, len))?;
            }
            Ok(put_turn(lab, store, kind, count, len))
        });
    }
    rocksdb::puts(lab, &mut contest, &top, class, kind, len);
    put_ceiling(lab, &mut contest, &top, class, kind, len)?;
    let rows = lab.run(contest);
    lab.fresh(NAME)?;
    Ok(rows)
}

fn put_turn<'a>(lab: &'a Lab, store: Box<dyn Objects>, kind: Put, count: u64, len: usize) -> Turn<'a> {
    let mut from = 0;
    Box::new(move |round: &mut Round| {
        let all = contents(lab, from, count, len);
        match kind {
            Put::One => {
                from += count;
                one_by_one(round, all.chunks(1), |one| store.put(one))?;
            }
            Put::InFlight => {
                from += count;
                let (ns, done) = time(|| store.put_in_flight(&all, DEPTH));
                done?;
                round.record_rate(RATE, count, ns);
            }
            Put::Duplicate => {
                let (ns, done) = time(|| all.chunks(DEPTH).try_for_each(|batch| store.put(batch)));
                done?;
                round.record_rate(RATE, count, ns);
            }
        }
        Ok(())
    })
}

/// Does something with each of all, and records the times and how many are done in a second of these.
fn one_by_one<T>(
    round: &mut Round,
    all: impl ExactSizeIterator<Item = T>,
    mut work: impl FnMut(T) -> Outcome,
) -> Outcome {
    let (count, mut sum) = (all.len() as u64, 0);
    for one in all {
        let (ns, done) = time(|| work(one));
        done?;
        round.record(TIME, ns);
        sum += ns;
    }
    round.record_rate(RATE, count, sum);
    Ok(())
}

fn put_ceiling<'a>(
    lab: &'a Lab,
    contest: &mut Contest<'a>,
    top: &Path,
    class: Class,
    kind: Put,
    len: usize,
) -> Outcome {
    let count = count(lab, len);
    match (kind, class) {
        (Put::Duplicate, _) => {
            let all = contents(lab, 0, count, len);
            contest.enter(Who::ceiling(HASHING, class, "").pinned(), || {
                Ok(Box::new(move |round: &mut Round| {
                    let (ns, ()) = time(|| {
                        for batch in all.chunks(DEPTH) {
                            let bytes: Vec<&[u8]> = batch.iter().map(|one| &one.bytes[..]).collect();
                            std::hint::black_box(hash::content_ids(&bytes));
                        }
                    });
                    round.record_rate(RATE, count, ns);
                    Ok(())
                }))
            });
        }
        (Put::InFlight, Class::Durable) => {
            let path = top.join(FIO);
            let size = lay_out_for(lab, &path, len)?;
            let job = Job {
                kind: "randwrite",
                durable: true,
                size,
                ..Job::reads(&path, len, DEPTH, 1)
            };
            let who = Who::ceiling(
                FIO,
                class,
                "io_uring, direct, O_DSYNC, random writes to written space",
            );
            lab.enter(contest, who, Some(FIO), || Ok(fio(job)));
        }
        (Put::One, Class::Durable) => {
            let raw = Raw::new(&top.join("raw"), len / UNIT, count);
            contest.enter(
                Who::ceiling("raw durable write", class, "RWF_DSYNC").pinned(),
                || {
                    Ok(Box::new(move |round: &mut Round| {
                        let mut all = 0;
                        for number in 0..count {
                            let ns = raw.write(number);
                            round.record(TIME, ns);
                            all += ns;
                        }
                        round.record_rate(RATE, count, all);
                        Ok(())
                    }))
                },
            );
        }
        _ => {}
    }
    Ok(())
}

fn lay_out_for(lab: &Lab, path: &Path, len: usize) -> Outcome<u64> {
    let size = lab.scale.pick(512 << 20, (8 * len as u64).max(8 << 20));
    lay_out(path, size)?;
    Ok(size)
}

fn gets(lab: &Lab, len: usize, cold: bool, depth: usize) -> Outcome<Vec<Row>> {
    let warmth = if cold { "cold" } else { "cached" };
    let top = lab.fresh(NAME)?;
    let all = contents(lab, 0, kept(lab, len, cold), len);
    let class = Class::Read;
    let mut contest = Contest::new(
        NAME,
        format!("get {} KiB {warmth}, {depth} in flight", len / 1024),
    );
    for (mut who, open) in subjects(class) {
        who.note = match (cold, who.name.as_str()) {
            (true, "helios") => "opened anew; reads are direct and verified".to_owned(),
            (true, _) => "opened anew, page cache emptied".to_owned(),
            (false, "helios") => "from its own cache".to_owned(),
            (false, "redb") => "from its own cache, copied out".to_owned(),
            (false, _) => "from the page cache".to_owned(),
        };
        let (path, all) = (top.join(&who.name), Arc::clone(&all));
        lab.enter(&mut contest, who, None, || {
            {
                let store = open(&path, Class::Visible, helios::CACHE_BYTES)?;
                all.chunks(DEPTH).try_for_each(|batch| store.put(batch))?;
            }
            get_turn(lab, open, path, all, cold, depth)
        });
    }
    rocksdb::gets(lab, &mut contest, &top, cold, depth, len);
    if cold {
        let path = top.join(FIO);
        let size = lay_out_for(lab, &path, len)?;
        let job = Job {
            size,
            ..Job::reads(&path, len, depth, 1)
        };
        let who = Who::ceiling(FIO, class, "io_uring, direct, random reads");
        if depth > 1 {
            lab.enter(&mut contest, who, Some(FIO), || Ok(fio(job)));
        }
    }
    let rows = lab.run(contest);
    lab.fresh(NAME)?;
    Ok(rows)
}

fn get_turn<'a>(
    lab: &'a Lab,
    open: Open,
    path: PathBuf,
    all: Arc<[Content]>,
    cold: bool,
    depth: usize,
) -> Outcome<Turn<'a>> {
    let len = all.first().map_or(0, |content| content.bytes.len());
    let mut random = StdRng::seed_from_u64(lab.scale.seed);
    let cache = if cold { helios::CACHE_BYTES } else { CACHE_BYTES };
    let mut warm = None;
    if !cold {
        let store = open(&path, Class::Visible, cache)?;
        store.get_in_flight(&all, 1)?;
        warm = Some(store);
    }
    Ok(Box::new(move |round: &mut Round| {
        let mut chosen = all.to_vec();
        chosen.shuffle(&mut random);
        chosen.truncate(usize::try_from(asked(lab, len, cold, depth))?);
        let chosen: Arc<[Content]> = chosen.into();
        let fresh;
        let store = match &warm {
            Some(store) => store,
            None => {
                lab.empty_caches();
                fresh = open(&path, Class::Visible, cache)?;
                &fresh
            }
        };
        if depth > 1 {
            let (ns, done) = time(|| store.get_in_flight(&chosen, depth));
            done?;
            round.record_rate(RATE, chosen.len() as u64, ns);
            return Ok(());
        }
        one_by_one(round, chosen.iter(), |content| match store.get(content)? {
            found if found == content.bytes.len() => Ok(()),
            found => Err(format!("{found} bytes instead of {}", content.bytes.len()).into()),
        })
    }))
}
