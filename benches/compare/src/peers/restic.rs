//! restic, which keeps deduplicated and encrypted snapshots of directories.
//!
//! Its repository is a local directory, whose files it syncs: durable. Its cache of what the repository has lies in the
//! sandbox, and it finds the snapshot before by itself, both as it comes. It derives its key from the password each time it
//! starts, which is in the times. Compression is as it comes (`auto`), or off where nothing can be compressed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::child::{self, Ran};
use crate::measure::{Outcome, disk};

/// What has to be installed.
pub const PROGRAM: &str = "restic";
/// What is not equal.
pub const NOTE: &str = "local repository; encrypts, and derives its key each time";

/// A repository.
#[derive(Debug, Clone)]
pub struct Repository {
    at: PathBuf,
    home: PathBuf,
}

impl Repository {
    /// An empty one; what was there is removed.
    pub fn new(at: &Path, home: &Path) -> Outcome<Repository> {
        disk::clear(at)?;
        let repository = Repository::known(at, home);
        child::run(repository.command().arg("init"))?;
        Ok(repository)
    }

    /// One that is there.
    pub fn known(at: &Path, home: &Path) -> Repository {
        let (at, home) = (at.to_owned(), home.to_owned());
        Repository { at, home }
    }

    /// A snapshot of a file or of what is in a directory; without compression it takes less time where there is none to gain.
    pub fn backup(&self, what: &Path, compression: bool) -> Outcome<Ran> {
        let mut command = self.command();
        command.args(["backup", "--quiet", "--host=compare"]);
        if !compression {
            command.arg("--compression=off");
        }
        if what.is_dir() {
            // Paths in the snapshot begin inside the directory.
            command.current_dir(what).arg(".");
        } else {
            command.arg(what);
        }
        child::watch(&mut command)
    }

    /// The ids of all snapshots, oldest first.
    pub fn snapshots(&self) -> Outcome<Vec<String>> {
        ids(&child::answer(self.command().args(["snapshots", "--json"]))?)
    }

    /// Makes a directory from a snapshot.
    pub fn restore(&self, snapshot: &str, to: &Path) -> Outcome<u64> {
        let mut command = self.command();
        child::run(command.args(["restore", "--quiet", snapshot, "--target"]).arg(to))
    }

    fn command(&self) -> Command {
        let mut command = child::command(PROGRAM, &self.home);
        command
            .env("RESTIC_PASSWORD", "compare")
            .env("RESTIC_REPOSITORY", &self.at);
        command
    }
}

/// Ids in a list of snapshots, by their times.
fn ids(list: &str) -> Outcome<Vec<String>> {
    let list: Vec<serde_json::Value> = serde_json::from_str(list)?;
    let mut snapshots = Vec::new();
    for snapshot in &list {
        let field = |name: &str| snapshot[name].as_str().ok_or("a snapshot without id or time");
        snapshots.push((field("time")?.to_owned(), field("id")?.to_owned()));
    }
    // Times of one clock in one form: their text is in their order.
    snapshots.sort();
    Ok(snapshots.into_iter().map(|(_, id)| id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: snapshots in the order of their times. Method: a list of release 0.14 out of order; one without an id; no list.
    #[test]
    fn snapshots_are_ordered_by_time() {
        let list = r#"[{"time":"2026-11-22T08:31:05.2Z","tree":"t","paths":["/x"],"id":"bb","short_id":"b"},
                       {"time":"2026-11-22T08:31:04.1Z","tree":"t","paths":["/x"],"id":"aa","short_id":"a"}]"#;
        assert_eq!(ids(list).expect("a list"), ["aa", "bb"]);
        assert!(ids(r#"[{"time":"2026-11-22T08:31:04.1Z"}]"#).is_err());
        assert!(ids("null").is_err());
    }
}
