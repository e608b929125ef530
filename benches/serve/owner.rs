//! A server in a process of its own, and clients of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use helios::client::Client;
use helios::engine::ops::Durability;
use helios::engine::ops::files::{FileStep, OpenFiles};

/// The program.
pub const HELIOS: &str = env!("CARGO_BIN_EXE_helios");

/// A running server; ended when dropped.
pub struct Owner {
    child: Child,
    /// Where it listens.
    pub socket: PathBuf,
}

impl Owner {
    /// Makes a store and serves it.
    pub fn of_new_store(store: &Path, size: &str) -> Owner {
        let made = Command::new(HELIOS)
            .args(["init", "-q", "--size", size, "--store"])
            .arg(store)
            .status();
        assert!(made.expect("the program runs").success());
        let mut child = Command::new(HELIOS)
            .args(["serve", "--store"])
            .arg(store)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("it says where it listens");
        let (_, socket) = line.trim().rsplit_once(" at unix:").expect("it serves");
        Owner {
            child,
            socket: PathBuf::from(socket),
        }
    }

    /// A connection.
    pub fn client(&self) -> Client {
        Client::connect(&self.socket).expect("it listens")
    }

    /// Memory it has in use, in MiB.
    pub fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("its size");
        let kib = line.split_ascii_whitespace().nth(1).expect("a number");
        kib.parse::<u64>().expect("a number") >> 10
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Opens a branch, made if it is missing, or a fork of it.
pub fn open(client: &mut Client, branch: &str, fork: Option<&str>) -> u64 {
    let request = OpenFiles {
        branch: branch.into(),
        fork: fork.map(Into::into),
        create: fork.is_none(),
        ..OpenFiles::default()
    };
    client.open_files(request).expect("a tree")
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
        message: String::new(),
        durability,
        expect: None,
    }
}

/// Makes a tree of that many files in directories of 50 on `main`.
pub fn populate(client: &mut Client, files: usize) {
    let tree = open(client, "main", None);
    for first in (0..files).step_by(500) {
        let numbers = first..files.min(first + 500);
        let contents: Vec<String> = numbers
            .clone()
            .map(|number| format!("content of file {number}"))
            .collect();
        let steps = numbers
            .zip(&contents)
            .map(|(number, content)| write(&path(number), content.len()))
            .collect();
        let (results, _) = client.files(tree, steps, contents.concat()).expect("it works");
        assert_eq!(results.failed, None);
    }
    let (results, _) = client
        .files(tree, vec![commit(Durability::Durable)], "")
        .expect("it works");
    assert_eq!(results.failed, None);
}

/// Path of a file of [`populate`].
pub fn path(number: usize) -> String {
    format!("d{}/f{number}", number / 50)
}
