//! A server of a new store, and what is in it.

use std::path::Path;
use std::process::{Command, Stdio};

use helios::client::Client;
use helios::engine::ops::Durability;

pub use crate::server::{Owner, commit, open, passing_fork, read, write};

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
