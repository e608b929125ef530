//! A server of a new store, and what is in it.

use std::path::Path;
use std::process::{Command, Stdio};

pub use helios::workloads::agents::path;

pub use crate::server::{Owner, commit, open, read, write};

/// The program.
pub const HELIOS: &str = env!("CARGO_BIN_EXE_helios");

/// Makes a store and serves it.
pub fn of_new_store(store: &Path, size: &str) -> Owner {
    let made = Command::new(HELIOS)
        .args(["init", "-q", "--no-config", "--size", size, "--store"])
        .arg(store)
        .status();
    assert!(made.expect("the program runs").success());
    let mut command = Command::new(HELIOS);
    command
        .args(["serve", "--json", "--no-config", "--store"])
        .arg(store)
        .stdout(Stdio::piped());
    Owner::of(command)
}

/// Makes a tree of that many files on `main`.
pub fn populate(client: &mut helios::client::Client, files: usize) {
    helios::workloads::agents::populate(client, files).expect("it works");
}
