//! What clients of a server ask for when they work on files.

use std::time::Duration;

use helios_engine::ops::Durability;
use helios_engine::ops::files::{FileStep, OpenFiles};
use helios_engine::reactor::Clock;

/// Opens a branch, made if it is missing, or a fork of it.
pub fn opening(branch: &str, fork: Option<&str>) -> OpenFiles {
    OpenFiles {
        branch: branch.into(),
        fork: fork.map(Into::into),
        create: fork.is_none(),
        ..OpenFiles::default()
    }
}

/// A fork that goes by itself after a while.
pub fn passing_fork(branch: &str, fork: &str, stays: Duration) -> OpenFiles {
    let stays = u64::try_from(stays.as_nanos()).unwrap_or(u64::MAX);
    OpenFiles {
        expires_ns: Some(Clock::real().wall_ns().saturating_add(stays)),
        ..opening(branch, Some(fork))
    }
}

/// Writes a whole file.
pub fn write(path: &str, bytes: usize) -> FileStep {
    FileStep::Write {
        path: path.into(),
        bytes: bytes as u64,
        offset: None,
        parents: true,
        mode: None,
    }
}

/// Reads a whole file.
pub fn read(path: &str) -> FileStep {
    FileStep::Read {
        path: path.into(),
        offset: 0,
        length: None,
    }
}

/// Commits.
pub fn commit(durability: Durability) -> FileStep {
    FileStep::Commit {
        message: "a step".into(),
        durability,
        expect: None,
    }
}
