//! *Fork*: agents that each have a branch of one tree of 28,000 files, edit ten of them and commit; in Helios, and in worktrees of git.
//!
//! Bytes are what the kernel counts for the processes that write ([`io_counter`](super::io_counter)); the tables and the journal of
//! the file system are in neither figure, and a git worktree has 28,000 files in them. Helios commits durably, 850 times; of git's
//! worktrees a few are made, and all cost the same. Deduplication is measured over the same branches: bytes in them, against bytes
//! in the log of the store, the first import and all metadata included.

use std::fs;
use std::ops::Range;
use std::path::Path;

use helios_engine::format::Domain;
use helios_engine::ops::{Class, Failure};
use helios_engine::store::Store;
use helios_engine::trees::{CommitOptions, Trees, WorkingOptions};
use serde_json::{Value, json};

use super::io_counter::written_here;
use super::programs::git;
use super::report::{Goal, Row};
use super::run::Run;
use crate::cli::commands::sink;
use crate::workloads::content;

pub const GOALS: [Goal; 2] = [
    Goal {
        name: "written on fork",
        goal: "> 99 % less than git worktrees",
    },
    Goal {
        name: "deduplication on fork",
        goal: "> 90 %",
    },
];

const LESS_MIN: f64 = 0.99;
const DEDUP_MIN: f64 = 0.9;
const STORE_BYTES: u64 = 8 << 30;
const EDITS: u64 = 10;
const FILES_A_DIRECTORY: u64 = 50;
/// Contents of edits have numbers from here on.
const EDITED: u64 = 1 << 32;

/// How much is done.
struct Size {
    files: u64,
    branches: u64,
    worktrees: u64,
}

/// Path of a file, and the bytes it has: as many files of 256 to 511 bytes as of 512 to 1023, and so on up to 32 KiB.
fn file(number: u64) -> (String, usize) {
    let drawn = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let base = 256u64 << (drawn % 7);
    let len = base + (drawn / 7) % base;
    let path = format!("d{}/f{number}", number / FILES_A_DIRECTORY);
    (path, usize::try_from(len).expect("32 KiB at most"))
}

/// What one branch changes: contents that nobody else has, as long as what they replace.
fn edits(branch: u64, files: u64) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..EDITS).map(move |edit| {
        let (path, len) = file((branch * 331 + edit * 2801) % files);
        (path, content(EDITED + branch * EDITS + edit, len))
    })
}

pub fn measure(run: &Run) -> Result<Vec<Row>, Failure> {
    let size = Size {
        files: run.sized(28_000, 1000),
        branches: run.sized(850, 20),
        worktrees: run.sized(5, 1),
    };
    let here = in_helios(run, &size)?;
    let logical = here.tree_bytes * (size.branches + 1);
    let dedup = 1.0 - here.stored as f64 / logical as f64;
    let second = GOALS[1].row(
        dedup > DEDUP_MIN,
        format!("{:.2} %", 100.0 * dedup),
        format!(
            "{} branches with {:.1} MiB each, {:.1} MiB in the log",
            size.branches + 1,
            mib(here.tree_bytes),
            mib(here.stored)
        ),
        json!({ "branches": size.branches + 1, "tree_bytes": here.tree_bytes, "stored_bytes": here.stored }),
    );
    let first = match in_git(run, &size) {
        Ok(there) => compared(&size, &here, there)?,
        Err(failure) if failure.class == Class::Cancelled => return Err(failure),
        Err(failure) => GOALS[0].unmeasured(&failure),
    };
    Ok(vec![first, second])
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn compared(size: &Size, here: &Here, mut there: Vec<u64>) -> Result<Row, Failure> {
    there.sort_unstable();
    let median = there[there.len() / 2];
    if median == 0 || here.written == 0 {
        let nothing = "the kernel counted no written bytes; is the directory in memory?";
        return Err(Failure::new(Class::Failed, nothing));
    }
    let each = here.written as f64 / size.branches as f64;
    let less = 1.0 - each / median as f64;
    let figures = json!({
        "files": size.files,
        "edits": EDITS,
        "helios": { "forks": size.branches, "written_bytes": here.written, "bytes_per_fork": each, "seconds": here.seconds },
        "git": { "forks": size.worktrees, "bytes_per_fork": median, "each": Value::from(there.clone()) },
    });
    Ok(GOALS[0].row(
        less > LESS_MIN,
        format!("{:.3} % less", 100.0 * less),
        format!(
            "a fork with {EDITS} edits and a commit: {:.0} KiB, git {:.1} MiB ({:.1} to {:.1}, {} worktrees)",
            each / 1024.0,
            mib(median),
            mib(there[0]),
            mib(there[there.len() - 1]),
            there.len()
        ),
        figures,
    ))
}

/// What the branches have cost Helios.
struct Here {
    tree_bytes: u64,
    /// Bytes that this process wrote for the branches alone.
    written: u64,
    /// Bytes in the log, the first import included.
    stored: u64,
    seconds: f64,
}

fn in_helios(run: &Run, size: &Size) -> Result<Here, Failure> {
    let store = run.store("fork.helios", STORE_BYTES, 64 << 20)?;
    let trees = Trees::new(store.clone(), Domain(0));
    let logged = |store: &Store| store.stats().totals.frame_bytes;
    let empty = logged(&store);
    let mut tree_bytes = 0;
    let mut tree = trees.open_new("main", WorkingOptions::default())?;
    for number in 0..size.files {
        let (path, len) = file(number);
        tree_bytes += len as u64;
        store.block_on(async {
            if number % FILES_A_DIRECTORY == 0 {
                tree.create_directory(format!("d{}", number / FILES_A_DIRECTORY))
                    .await?;
            }
            tree.write(path, content(number, len)).await
        })?;
        run.step(0.1 * number as f64 / size.files as f64)?;
    }
    let durable = CommitOptions {
        durable: true,
        message: "step".into(),
        ..CommitOptions::default()
    };
    store.block_on(tree.commit_with(&durable))?;
    store.block_on(store.flush())?;
    let head = tree
        .base()
        .ok_or_else(|| Failure::new(Class::Failed, "the first commit is missing"))?;
    drop(tree);
    let before = written_here()?;
    let (ns, forked) = run.time(|| -> Result<(), Failure> {
        for branch in 0..size.branches {
            let name = format!("agent-{branch}");
            store.block_on(async {
                trees.create_branch(&name, head).await?;
                let mut tree = trees.open_branch(&name, WorkingOptions::default()).await?;
                for (path, bytes) in edits(branch, size.files) {
                    tree.write(path, bytes).await?;
                }
                tree.commit_with(&durable).await
            })?;
            run.step(0.1 + 0.1 * branch as f64 / size.branches as f64)?;
        }
        Ok(store.block_on(store.flush())?)
    });
    forked?;
    let written = written_here()? - before;
    let stored = logged(&store) - empty;
    as_committed(&store, &trees, size)?;
    store.close()?;
    Ok(Here {
        tree_bytes,
        written,
        stored,
        seconds: ns as f64 / 1e9,
    })
}

/// Figures of branches that do not have what was committed would be worthless: looks into the first and the last.
fn as_committed(store: &Store, trees: &Trees, size: &Size) -> Result<(), Failure> {
    for branch in [0, size.branches - 1] {
        store.block_on(async {
            let mut tree = trees
                .open_branch(&format!("agent-{branch}"), WorkingOptions::default())
                .await?;
            for (path, bytes) in edits(branch, size.files) {
                let read = tree.read(&path).await?;
                assert!(
                    read == bytes,
                    "{path} of branch {branch} is not what was committed"
                );
            }
            Ok::<(), helios_engine::Error>(())
        })?;
    }
    Ok(())
}

/// Bytes written for each of the worktrees.
fn in_git(run: &Run, size: &Size) -> Result<Vec<u64>, Failure> {
    let main = run.path("git");
    make_directory(&main)?;
    // Before the tree is made: without git it would be for nothing.
    git(run, &main, &["init", "-q", "-b", "main"])?;
    let part = |done: f64| run.step(0.2 + 0.8 * done);
    for number in 0..size.files {
        let (path, len) = file(number);
        let path = main.join(path);
        if let Some(directory) = path.parent().filter(|_| number % FILES_A_DIRECTORY == 0) {
            make_directory(directory)?;
        }
        write_file(&path, &content(number, len))?;
        part(0.1 * number as f64 / size.files as f64)?;
    }
    git(run, &main, &["add", "-A"])?;
    part(0.3)?;
    git(run, &main, &["commit", "-q", "-m", "all"])?;
    let mut each = Vec::new();
    for number in 0..size.worktrees {
        part(0.4 + 0.6 * number as f64 / size.worktrees as f64)?;
        let name = format!("agent-{number}");
        let directory = run.path(&name);
        let place = directory.to_string_lossy();
        // Without a checkout, which git would leave to another process.
        let made = git(
            run,
            &main,
            &["worktree", "add", "-q", "--no-checkout", "-b", &name, &place],
        )?;
        let checked_out = git(run, &directory, &["read-tree", "--reset", "-u", "HEAD"])?;
        let before = written_here()?;
        for (path, bytes) in edits(number, size.files) {
            write_file(&directory.join(path), &bytes)?;
        }
        let edited = written_here()? - before;
        let committed = git(run, &directory, &["commit", "-q", "-a", "-m", "step"])?;
        each.push(made + checked_out + edited + committed);
        check_worktree(&directory, 0..size.files)?;
        fs::remove_dir_all(&directory).map_err(|error| sink::failure("remove", &directory, &error))?;
    }
    Ok(each)
}

/// A worktree without its files would cost nothing: looks for the first and the last.
fn check_worktree(directory: &Path, numbers: Range<u64>) -> Result<(), Failure> {
    for number in [numbers.start, numbers.end - 1] {
        let path = directory.join(file(number).0);
        fs::symlink_metadata(&path).map_err(|error| sink::failure("look at", &path, &error))?;
    }
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), Failure> {
    fs::create_dir(path).map_err(|error| sink::failure("create", path, &error))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| sink::failure("write", path, &error))
}
