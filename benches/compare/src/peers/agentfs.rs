//! agentfs, a file system for agents in one SQLite file, through its Python SDK (`agentfs.py`).
//!
//! The SDK opens its database with `synchronous=FULL` and a write-ahead log, so what it has written is durable; it has no
//! other class. Each write of a file is several transactions of its own, and there are no commits and no branches: a fork is
//! a copy of the database file, which is what its documentation says of snapshots.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::Stepper;
use crate::measure::{Class, Outcome, child};

/// The only class that the SDK has.
pub const CLASS: Class = Class::Durable;
/// What is not equal.
pub const NOTE: &str = "Python SDK; a write is several transactions; no history";

/// The Python that has the SDK.
pub fn find(cache: Option<&Path>) -> Result<PathBuf, String> {
    let python = cache.map(|cache| cache.join("python/bin/python"));
    python
        .filter(|path| path.is_file())
        .ok_or_else(|| "agentfs-sdk is not installed (scripts/compare installs it)".to_owned())
}

/// Its version.
pub fn version(cache: Option<&Path>) -> Option<String> {
    let python = find(cache).ok()?;
    let question = "from importlib.metadata import version; print(version('agentfs-sdk'))";
    child::first_line(&python.to_string_lossy(), &["-c", question])
}

/// A Python process with an open file system.
pub struct Agent {
    process: Child,
    commands: Option<BufWriter<ChildStdin>>,
    answers: BufReader<ChildStdout>,
}

impl Agent {
    /// Starts Python and opens a file system.
    pub fn start(python: &Path, database: &Path, home: &Path) -> Outcome<Agent> {
        let mut command = child::command(python, home);
        let mut process = command
            .args(["-c", include_str!("agentfs.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let commands = process.stdin.take().ok_or("no way to Python")?;
        let answers = process.stdout.take().ok_or("no way from Python")?;
        let mut agent = Agent {
            process,
            commands: Some(BufWriter::new(commands)),
            answers: BufReader::new(answers),
        };
        agent.open(database)?;
        Ok(agent)
    }

    /// Opens another file system.
    pub fn open(&mut self, database: &Path) -> Outcome {
        self.call(&format!("open {}", database.display()), &[])
    }

    /// Closes it: everything is in the one file then.
    pub fn close(&mut self) -> Outcome {
        self.call("close", &[])
    }

    /// Writes files quickly, for setting up.
    pub fn fill(&mut self, files: &[(String, Vec<u8>)]) -> Outcome {
        self.call(&format!("fill {}", files.len()), files)
    }

    fn call(&mut self, command: &str, files: &[(String, Vec<u8>)]) -> Outcome {
        let commands = self.commands.as_mut().ok_or("Python has ended")?;
        writeln!(commands, "{command}")?;
        for (path, bytes) in files {
            writeln!(commands, "{} {path}", bytes.len())?;
            commands.write_all(bytes)?;
        }
        commands.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim() {
            "ok" => Ok(()),
            "" => Err("Python ended".into()),
            why => Err(why.into()),
        }
    }
}

impl Stepper for Agent {
    fn step(&mut self, edits: &[(String, Vec<u8>)]) -> Outcome {
        self.call(&format!("step {}", edits.len()), edits)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Without commands it ends by itself.
        drop(self.commands.take());
        let _ = self.process.wait();
    }
}
