//! Programs that are run and timed.
//!
//! They run in an environment of their own: no configuration of the user, no language, a home that is the sandbox.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Outcome, Problem};
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
