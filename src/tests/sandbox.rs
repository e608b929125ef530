//! A home directory, a store and a place to work, gone when the test ends.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use crate::owner::Owner;

/// Capacity of test stores; the files are sparse.
pub const STORE_SIZE: &str = "1G";

pub struct Sandbox {
    root: TempDir,
    store: PathBuf,
}

impl Sandbox {
    /// With an empty store.
    pub fn new() -> Sandbox {
        let sandbox = Sandbox::bare();
        sandbox.run(["init", "--size", STORE_SIZE, "-q"]);
        sandbox
    }

    /// Without a store.
    pub fn bare() -> Sandbox {
        let root = tempfile::tempdir().expect("a temporary directory");
        for name in ["home", "work"] {
            fs::create_dir(root.path().join(name)).expect("a new directory");
        }
        let store = root.path().join("store.helios");
        Sandbox { root, store }
    }

    /// Without a store, which is to be on the file system of `disk`.
    pub fn on_disk(disk: &Path) -> Sandbox {
        Sandbox {
            store: disk.join("store.helios"),
            ..Sandbox::bare()
        }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(name)
    }

    /// The working directory of commands.
    pub fn work(&self) -> PathBuf {
        self.path("work")
    }

    pub fn store(&self) -> PathBuf {
        self.store.clone()
    }

    /// The program, ready to get arguments. Nothing of the caller's environment reaches it.
    pub fn helios(&self) -> Command {
        let mut command = assert_cmd::cargo::cargo_bin_cmd!("helios");
        command
            .env_clear()
            .env("HOME", self.path("home"))
            .env("HELIOS_STORE", self.store())
            // Nor does a configuration file of the machine.
            .env("HELIOS_CONFIG", "")
            .env("TERM", "dumb")
            .current_dir(self.work());
        command
    }

    /// The program as a process to be watched or ended.
    pub fn spawn<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> std::process::Child {
        self.process(assert_cmd::cargo::cargo_bin!("helios"))
            .args(arguments)
            .spawn()
            .expect("the program starts")
    }

    /// Serves the store.
    pub fn serve(&self) -> Owner {
        self.serve_with(&[])
    }

    /// Serves the store with more arguments.
    pub fn serve_with(&self, more: &[&str]) -> Owner {
        let mut command = self.process(assert_cmd::cargo::cargo_bin!("helios"));
        command.args(["serve", "--json"]).args(more);
        Owner::of(command)
    }

    /// Python with the client of this repository, and the caller's idea of where programs are.
    pub fn python(&self) -> std::process::Command {
        let mut command = self.process("python3");
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env(
                "PYTHONPATH",
                concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/client"),
            )
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Any program, ready to get arguments, with pipes; nothing of the caller's environment reaches it.
    pub fn process(&self, program: impl AsRef<OsStr>) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        command
            .env_clear()
            .env("HOME", self.path("home"))
            .env("HELIOS_STORE", self.store())
            .env("HELIOS_CONFIG", "")
            .current_dir(self.work())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command that must succeed; answers what it printed.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let output = self
            .helios()
            .args(arguments)
            .assert()
            .success()
            .get_output()
            .stdout
            .clone();
        String::from_utf8(output).expect("text output")
    }

    /// Runs a command that must succeed, with `--json`; answers the one value it printed.
    pub fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Value {
        let output = self.helios().args(arguments).arg("--json").assert().success();
        serde_json::from_slice(&output.get_output().stdout).expect("one JSON value")
    }

    /// Runs a command that must fail with this code; answers the error line and checks its form.
    pub fn fails<S: AsRef<OsStr>>(&self, code: i32, arguments: impl IntoIterator<Item = S>) -> String {
        let arguments: Vec<_> = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned())
            .collect();
        let output = self.helios().args(&arguments).output().expect("the program runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        assert!(
            output.stdout.is_empty(),
            "{arguments:?} printed results besides failing"
        );
        assert!(
            stderr
                .lines()
                .any(|line| line.starts_with("helios: ") || line.starts_with("error: ")),
            "{arguments:?}: the message does not say who speaks: {stderr}"
        );
        stderr
    }

    /// Writes a file below the working directory, directories included.
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.work().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory");
        }
        fs::write(path, bytes).expect("a file");
    }

    pub fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.work().join(name)).expect("a file")
    }

    /// A small directory with one of everything the command line should keep.
    pub fn populate(&self) {
        self.write("README.md", "one\ntwo\nthree\n");
        self.write("src/main.rs", "fn main() {}\n");
        self.write("src/empty", "");
        self.write("bin/run", "#!/bin/sh\n");
        self.write("big.bin", pattern(3 << 20, 7));
        fs::create_dir_all(self.work().join("empty/inner")).expect("directories");
        fs::set_permissions(self.work().join("bin/run"), fs::Permissions::from_mode(0o750)).expect("a mode");
        symlink("src/main.rs", self.work().join("link")).expect("a link");
        fs::hard_link(self.work().join("README.md"), self.work().join("twin")).expect("a hard link");
    }

    /// Commits the working directory and answers the id of the commit.
    pub fn commit(&self, message: &str) -> String {
        let reply = self.json(["commit", "-m", message]);
        reply["commit"].as_str().expect("an id").to_owned()
    }
}

/// Bytes that do not repeat within a chunk and differ by seed.
pub fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}
