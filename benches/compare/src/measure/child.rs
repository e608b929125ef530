//! Programs that are run and timed.
//!
//! They run in an environment of their own: no configuration of the user, no language, a home that is the sandbox.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::figures::{Quantity, Round};
use super::{Outcome, Problem, memory};
use crate::sandbox::time;

/// A program that is there, or why it is not.
pub fn find(program: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file());
    found.ok_or_else(|| format!("{program} is not installed"))
}

/// The first line that a program prints.
pub fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}

/// A command with the environment described above.
pub fn command(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("HOME", home)
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("HELIOS_CONFIG", "")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Runs a command to its end; it must succeed. Answers nanoseconds.
pub fn run(command: &mut Command) -> Outcome<u64> {
    let (ns, output) = time(|| command.output());
    check(command, output?)?;
    Ok(ns)
}

/// A program that has ended well.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    /// Nanoseconds.
    pub ns: u64,
    /// The most memory that it had in use; none, if it was too quick to be seen.
    pub peak_bytes: Option<u64>,
}

/// See [`Ran::peak_bytes`].
const MEMORY: Quantity = Quantity::bytes("memory of the program at most");

impl Ran {
    /// Records the memory, if it was seen.
    pub fn record_memory(self, round: &mut Round) {
        if let Some(bytes) = self.peak_bytes {
            round.record(MEMORY, bytes);
        }
    }
}

/// Runs a command to its end and watches its memory; it must succeed.
pub fn watch(command: &mut Command) -> Outcome<Ran> {
    let (ns, ended) = time(|| -> Outcome<_> {
        let child = command.spawn()?;
        let (peak_bytes, output) = memory::watched(child.id(), || child.wait_with_output());
        Ok((peak_bytes, output?))
    });
    let (peak_bytes, output) = ended?;
    check(command, output)?;
    Ok(Ran { ns, peak_bytes })
}

/// Runs a command to its end; it must succeed. Answers what it printed.
pub fn answer(command: &mut Command) -> Outcome<String> {
    let output = command.stdout(Stdio::piped()).output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    check(command, output)?;
    Ok(printed)
}

fn check(command: &Command, output: std::process::Output) -> Outcome {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim().lines().last().unwrap_or("nothing said").to_owned();
    let problem: Problem = format!("{} ended with {}: {last}", name(command), output.status).into();
    Err(problem)
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let first = command
        .get_args()
        .find(|argument| !argument.to_string_lossy().starts_with('-'));
    format!(
        "{} {}",
        program.to_string_lossy(),
        first.unwrap_or_default().to_string_lossy()
    )
    .trim()
    .to_owned()
}
