//! An agent's step: writes to a working tree of 2,000 files in 40 directories, then a commit.

use bytes::Bytes;
use helios_engine::format::Domain;
use helios_engine::store::Store;
use helios_engine::trees::{CommitOptions, Trees, WorkingOptions, WorkingTree};

use crate::sandbox::{content, time};

/// Directories of the tree.
pub const DIRECTORIES: u64 = 40;
/// Files in each of them.
pub const FILES: u64 = 50;
/// Bytes of each file.
pub const BYTES: usize = 4096;

/// Where the file with this number lies.
pub fn path(number: u64) -> String {
    format!(
        "directory-{:02}/file-{:03}",
        number % DIRECTORIES,
        number / DIRECTORIES % FILES
    )
}

fn options(durable: bool) -> CommitOptions {
    CommitOptions {
        durable,
        message: "step".into(),
        ..CommitOptions::default()
    }
}

/// A working tree with all its files committed.
pub fn tree(store: &Store) -> WorkingTree {
    let trees = Trees::new(store.clone(), Domain(0));
    let mut tree = trees
        .open_new("main", WorkingOptions::default())
        .expect("a new branch");
    store.block_on(async {
        for directory in 0..DIRECTORIES {
            tree.create_directory(format!("directory-{directory:02}"))
                .await
                .expect("a directory");
        }
        for number in 0..DIRECTORIES * FILES {
            tree.write(path(number), content(number, BYTES))
                .await
                .expect("a file");
        }
        tree.commit_with(&options(true)).await.expect("the first commit");
    });
    tree
}

/// Files of one commit, made before the timer runs.
pub fn edits(count: u64, seed: &mut u64) -> Vec<(String, Vec<u8>)> {
    (0..count)
        .map(|_| {
            *seed += 1;
            let which = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            (
                path(which % (DIRECTORIES * FILES)),
                content(*seed + 1_000_000, BYTES),
            )
        })
        .collect()
}

/// Writes and commits, as one agent's step.
pub fn step(store: &Store, tree: &mut WorkingTree, edits: &[(String, Vec<u8>)], durable: bool) -> u64 {
    let (taken, ()) = time(|| {
        store.block_on(async {
            for (path, bytes) in edits {
                tree.write(path, Bytes::copy_from_slice(bytes))
                    .await
                    .expect("a write");
            }
            tree.commit_with(&options(durable)).await.expect("a commit");
        });
    });
    taken
}
