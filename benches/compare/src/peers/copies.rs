//! Copies of directories by `cp`: whole, or with hard links where edited files are replaced.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::measure::Outcome;
use crate::measure::child::{self, Ran};

/// How a directory is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `cp -a --reflink=never`
    Whole,
    /// `cp -al`
    Links,
}

impl Way {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Way::Whole => "cp -a",
            Way::Links => "cp -al",
        }
    }

    /// Copies; nanoseconds.
    pub fn copy(self, from: &Path, to: &Path, home: &Path) -> Outcome<u64> {
        child::run(&mut self.command(from, to, home))
    }

    /// The same, with its memory.
    pub fn watch(self, from: &Path, to: &Path, home: &Path) -> Outcome<Ran> {
        child::watch(&mut self.command(from, to, home))
    }

    fn command(self, from: &Path, to: &Path, home: &Path) -> Command {
        let flags: &[&str] = match self {
            Way::Whole => &["-a", "--reflink=never"],
            Way::Links => &["-al"],
        };
        let mut command = child::command("cp", home);
        command.args(flags).arg(from).arg(to);
        command
    }
}

/// Writes files in a copy so that nobody who shares them sees it: each is replaced.
pub fn replace(top: &Path, edits: &[(String, Vec<u8>)]) -> Outcome {
    for (path, bytes) in edits {
        let path = top.join(path);
        let temporary = path.with_extension("new");
        fs::write(&temporary, bytes)?;
        fs::rename(temporary, path)?;
    }
    Ok(())
}
