//! RocksDB's part: as many operations in a round as everybody has, by its own load generator.

use std::path::Path;

use super::{CACHE_BYTES, DEPTH, Put, RATE, asked, count, kept};
use crate::lab::Lab;
use crate::measure::Class;
use crate::measure::contest::{Contest, Who};
use crate::measure::figures::Round;
use crate::peers::helios;
use crate::peers::rocksdb::{Database, Load, PROGRAM, settings};

const NAME: &str = "rocksdb";

fn load(lab: &Lab, operations: u64, threads: usize) -> Load {
    Load {
        operations,
        threads: threads as u64,
        seed: lab.scale.seed << 32,
    }
}

pub fn puts<'a>(lab: &'a Lab, contest: &mut Contest<'a>, top: &Path, class: Class, kind: Put, len: usize) {
    let (path, keys) = (top.join(NAME), count(lab, len));
    let note = match kind {
        Put::One | Put::InFlight => settings(class).to_owned(),
        Put::Duplicate => format!("{}: overwrites", settings(class)),
    };
    lab.enter(contest, Who::peer(NAME, class, note), Some(PROGRAM), || {
        let database = Database::new(&path, &lab.home(), len, helios::CACHE_BYTES, keys)?;
        let mut load = load(lab, keys, if kind == Put::InFlight { DEPTH } else { 1 });
        Ok(Box::new(move |round: &mut Round| {
            load.seed += 1;
            let rate = match kind {
                Put::One | Put::InFlight => database.put(class, load)?,
                Put::Duplicate => database.put_again(class, load, keys, DEPTH)?,
            };
            round.record(RATE, rate);
            Ok(())
        }))
    });
}

pub fn gets<'a>(lab: &'a Lab, contest: &mut Contest<'a>, top: &Path, cold: bool, depth: usize, len: usize) {
    let (path, keys) = (top.join(NAME), kept(lab, len, cold));
    let (note, cache) = if cold {
        let note = "db_bench, BlobDB; opened anew, page cache emptied, reads are direct";
        (note, helios::CACHE_BYTES)
    } else {
        ("db_bench, BlobDB; from its own cache", CACHE_BYTES)
    };
    let who = Who::peer(NAME, Class::Read, note);
    lab.enter(contest, who, Some(PROGRAM), || {
        let database = Database::new(&path, &lab.home(), len, cache, keys)?;
        let mut load = load(lab, asked(lab, len, cold, depth), depth);
        Ok(Box::new(move |round: &mut Round| {
            load.seed += 1;
            let rate = if cold {
                lab.empty_caches();
                database.get_cold(load, keys)?
            } else {
                database.get_cached(load, keys)?
            };
            round.record(RATE, rate);
            Ok(())
        }))
    });
}
