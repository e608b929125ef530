//! Exit codes: the contract with scripts. Listed in `--help`, the man page and the README.

use std::process::ExitCode;

use helios_engine::ops::Class;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Failed for a reason that has no code of its own; or something is missing, for commands that look for that.
    Failure = 1,
    /// The command line or an argument is malformed, or refused for safety.
    Usage = 2,
    /// No such content, branch, tag, revision, path or device.
    NotFound = 3,
    /// `--expect` did not hold, or a name exists already.
    Conflict = 4,
    /// Another process owns the store, or drives the device.
    InUse = 5,
    /// The store, or the file system under it, is full; or there is too little memory for hugepages.
    Full = 6,
    /// The store or a content in it is damaged, or the file is no store.
    Damaged = 7,
    /// Done, but some entries had to be skipped or could not be kept exactly; they are listed.
    Partial = 8,
    /// A quota does not allow it.
    Quota = 9,
    /// Nothing was merged: names are in conflict; they are listed.
    Conflicts = 10,
    /// Too much is asked of the store at once; the same command may succeed a little later.
    Busy = 11,
    /// `benchmark`: a goal is not met, or too little was measured to say.
    NoGo = 12,
    /// Stopped by ctrl-C or SIGTERM.
    Interrupted = 130,
}

/// The table `--help` prints.
pub const HELP: &str = "Exit codes:
  0    done
  1    failed for a reason without a code of its own
  2    malformed command line or argument, or refused for safety
  3    no such store, content, branch, tag, revision, path or device
  4    --expect did not hold, or the name exists already
  5    the store or the device is in use by another process
  6    the store or the file system is full, or there is too little memory
  7    the store or a content is damaged, or the file is no store
  8    done, with warnings: some entries were skipped or not kept exactly
  9    a quota does not allow it
  10   nothing was merged: names are in conflict, and listed
  11   too much is asked of the store at once; try again
  12   no-go: a goal of `benchmark` is not met, or was not fully measured
  130  stopped by ctrl-C or SIGTERM";

impl From<Class> for Exit {
    fn from(class: Class) -> Exit {
        match class {
            Class::Invalid => Exit::Usage,
            Class::NotFound => Exit::NotFound,
            Class::Conflict => Exit::Conflict,
            Class::InUse => Exit::InUse,
            Class::Full => Exit::Full,
            Class::Quota => Exit::Quota,
            Class::Busy => Exit::Busy,
            Class::Damaged => Exit::Damaged,
            Class::Cancelled => Exit::Interrupted,
            _ => Exit::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
