//! RocksDB with its values in blob files (BlobDB), by its own load generator `db_bench`: the library takes an hour to build.
//!
//! Blobs of any size, without compression, of bytes that cannot be compressed; everything else is as it comes. Durable:
//! `sync=1`, the log is synced before a put returns, and whoever waits at that time is synced with it. Visible: `sync=0`, the
//! log is in the page cache. Its tool hashes nothing and keys are numbers of 32 bytes, which is kinder to it than to the
//! others. Of single calls it only counts how many took from 250 to 380 us, from 380 to 580 us and so on: rates are taken,
//! times are not.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Class, Outcome, child};

/// What has to be installed.
pub const PROGRAM: &str = "db_bench";
/// Keys that unique puts are taken from at random: so many that none comes twice.
const KEYS_UNIQUE: u64 = 1 << 40;

/// The settings of a class, as a note.
pub fn settings(class: Class) -> &'static str {
    match class {
        Class::Durable => "db_bench, BlobDB, sync=1; hashes nothing",
        _ => "db_bench, BlobDB, sync=0; hashes nothing",
    }
}

/// Its version.
pub fn version() -> Option<String> {
    child::first_line(PROGRAM, &["--version"])
}

/// Work of one run.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Operations, by all threads together.
    pub operations: u64,
    /// Threads, each with one operation in flight.
    pub threads: u64,
    /// What keys are chosen by.
    pub seed: u64,
}

impl Load {
    fn arguments(self, count: &str) -> Vec<String> {
        let Load {
            operations,
            threads,
            seed,
        } = self;
        let each = (operations / threads).max(1);
        // Zero would be the time of day.
        let seed = seed + 1;
        vec![
            format!("--{count}={each}"),
            format!("--threads={threads}"),
            format!("--seed={seed}"),
        ]
    }
}

/// A database of contents of one size.
#[derive(Debug, Clone)]
pub struct Database {
    at: PathBuf,
    home: PathBuf,
    bytes: usize,
    cache_bytes: u64,
}

impl Database {
    /// A new one with keys from 0 to `keys`, all in blob files.
    pub fn new(at: &Path, home: &Path, bytes: usize, cache_bytes: u64, keys: u64) -> Outcome<Database> {
        let (at, home) = (at.to_owned(), home.to_owned());
        let database = Database {
            at,
            home,
            bytes,
            cache_bytes,
        };
        let mut command = database.command("filluniquerandom,flush");
        command.arg(format!("--num={keys}")).arg("--disable_wal=1");
        child::answer(&mut command)?;
        Ok(database)
    }

    /// Puts under new keys; operations per second.
    pub fn put(&self, class: Class, load: Load) -> Outcome<u64> {
        self.run("overwrite", class, KEYS_UNIQUE, &load.arguments("writes"))
    }

    /// Overwrites some of the `keys`, `together` in one batch; operations per second.
    pub fn put_again(&self, class: Class, load: Load, keys: u64, together: usize) -> Outcome<u64> {
        let mut arguments = load.arguments("writes");
        arguments.push(format!("--batch_size={together}"));
        self.run("overwrite", class, keys, &arguments)
    }

    /// Gets past the page cache; operations per second.
    pub fn get_cold(&self, load: Load, keys: u64) -> Outcome<u64> {
        let mut arguments = load.arguments("reads");
        arguments.push("--use_direct_reads=1".to_owned());
        self.run("readrandom", Class::Read, keys, &arguments)
    }

    /// Gets after everything was read once into its own cache; operations per second.
    pub fn get_cached(&self, load: Load, keys: u64) -> Outcome<u64> {
        let mut arguments = load.arguments("reads");
        let shared = ["--use_blob_cache=1", "--use_shared_block_and_blob_cache=1"];
        arguments.extend(shared.map(str::to_owned));
        self.run("readtocache,readrandom", Class::Read, keys, &arguments)
    }

    /// Runs loads on the database that is there; operations per second of the last.
    fn run(&self, loads: &str, class: Class, keys: u64, arguments: &[String]) -> Outcome<u64> {
        let mut command = self.command(loads);
        command
            .args(["--use_existing_db=1", "--progress_reports=0"])
            .arg(format!("--num={keys}"))
            .arg(format!("--sync={}", u8::from(class == Class::Durable)))
            .args(arguments);
        let last = loads.rsplit(',').next().unwrap_or(loads);
        rate(&child::answer(&mut command)?, last)
    }

    fn command(&self, loads: &str) -> Command {
        let mut command = child::command(PROGRAM, &self.home);
        command
            .arg(format!("--benchmarks={loads}"))
            .arg(format!("--db={}", self.at.display()))
            .arg(format!("--value_size={}", self.bytes))
            .arg(format!("--cache_size={}", self.cache_bytes))
            .args([
                "--key_size=32",
                "--compression_type=none",
                "--compression_ratio=1",
            ])
            .args(["--enable_blob_files=1", "--min_blob_size=0"]);
        command
    }
}

/// Operations per second that a report gives for a load; every key must have been there.
///
/// `readrandom   :       2.572 micros/op 385832 ops/sec 0.001 seconds 512 operations; 1518.9 MB/s (512 of 512 found)`
fn rate(report: &str, load: &str) -> Outcome<u64> {
    let told = |why: &str| format!("db_bench {load}: {why}");
    let line = report.lines().find_map(|line| {
        let (name, figures) = line.split_once(':')?;
        (name.trim() == load).then_some(figures)
    });
    let line = line.ok_or_else(|| told("its report has no such line"))?;
    if let Some((_, found)) = line.rsplit_once('(')
        && let Some((some, all)) = found.split_once(" of ")
        && all.strip_suffix(" found)") != Some(some)
    {
        return Err(told(&format!("contents are missing: ({found}")).into());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let pair = words.windows(2).find(|pair| pair[1] == "ops/sec");
    let rate = pair.and_then(|pair| pair[0].parse().ok());
    Ok(rate.ok_or_else(|| told(&format!("no rate in {line}")))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
DB path: [/tmp/db]
readtocache  :      10.673 micros/op 93469 ops/sec 0.022 seconds 2048 operations;  368.0 MB/s
DB path: [/tmp/db]
readrandom   :       2.572 micros/op 385832 ops/sec 0.001 seconds 512 operations; 1518.9 MB/s (512 of 512 found)

";

    /// Goal: the rate of the load that is asked for. Method: a report of release 7.8 with two of them.
    #[test]
    fn the_rate_of_the_load_is_read() {
        assert_eq!(rate(REPORT, "readrandom").ok(), Some(385_832));
        assert_eq!(rate(REPORT, "readtocache").ok(), Some(93_469));
    }

    /// Goal: what is no rate is none. Method: another load, a line that is cut, contents that were not found, a load that the
    /// program has left out.
    #[test]
    fn what_is_no_rate_is_an_error() {
        assert!(rate(REPORT, "overwrite").is_err());
        assert!(rate("readrandom : 2.5 micros/op", "readrandom").is_err());
        assert!(rate(&REPORT.replace("(512 of", "(500 of"), "readrandom").is_err());
        assert!(rate("overwrite : skipped (--use_existing_db is true)", "overwrite").is_err());
    }

    /// Goal: threads share the operations. Method: 64 among 32, and fewer than there are threads.
    #[test]
    fn threads_share_the_operations() {
        let load = |operations| Load {
            operations,
            threads: 32,
            seed: 0,
        };
        assert_eq!(
            load(64).arguments("reads"),
            ["--reads=2", "--threads=32", "--seed=1"]
        );
        assert_eq!(load(8).arguments("writes")[0], "--writes=1");
    }
}
