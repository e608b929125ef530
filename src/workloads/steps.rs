//! An agent's step: writes to a working tree of 2,000 files in 40 directories, then a commit.

use bytes::Bytes;
use helios_engine::format::Domain;
use helios_engine::store::Store;
use helios_engine::trees::{CommitOptions, Trees, WorkingOptions, WorkingTree};

use super::content::content;

/// Directories of the tree.
pub const DIRECTORIES: u64 = 40;
/// Files in each of them.
pub const FILES: u64 = 50;
/// Bytes of one file.
pub const BYTES: usize = 4096;

/// A path, and what is to be there.
pub type Edit = (String, Vec<u8>);

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

/// A working tree on a new branch, with all its files committed.
///
/// # Errors
/// Those of the store.
pub async fn tree(store: &Store, branch: &str) -> helios_engine::Result<WorkingTree> {
    let trees = Trees::new(store.clone(), Domain(0));
    let mut tree = trees.open_new(branch, WorkingOptions::default())?;
    for directory in 0..DIRECTORIES {
        tree.create_directory(format!("directory-{directory:02}")).await?;
    }
    for number in 0..DIRECTORIES * FILES {
        tree.write(path(number), content(number, BYTES)).await?;
    }
    tree.commit_with(&options(true)).await?;
    Ok(tree)
}

/// Files of one commit, made before any timer runs: `count` places that `seed` chooses, and contents that were never there.
pub fn edits(count: u64, seed: &mut u64) -> Vec<Edit> {
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
///
/// # Errors
/// Those of the tree.
pub async fn step(tree: &mut WorkingTree, edits: &[Edit], durable: bool) -> helios_engine::Result<()> {
    for (path, bytes) in edits {
        tree.write(path, Bytes::copy_from_slice(bytes)).await?;
    }
    tree.commit_with(&options(durable)).await?;
    Ok(())
}
