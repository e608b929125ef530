//! A history of steps, each of which follows from a seed: whoever opens the store can tell what must be in it.
//!
//! The same test is the writer whose power is cut, the one who looks afterwards, and whoever goes on with a store that
//! something else has written: it first verifies that everything acknowledged so far is there, byte for byte, and then
//! writes on.
//!
//! | variable | is |
//! | --- | --- |
//! | `HELIOS_HW_SEED` | what all contents follow from; 1 unless told |
//! | `HELIOS_HW_ACKNOWLEDGED` | a number for each branch, with commas: that step must be there; absent: the store is made |
//! | `HELIOS_HW_STEPS` | how many steps to write in each branch; absent: until somebody ends it |
//!
//! A step is acknowledged, when its commit is durable, by a line `acknowledged BRANCH STEP.` on standard output; the full
//! stop tells a whole line from a torn one.

use std::io::Write;
use std::path::Path;

use super::store::{Store, bytes};
use super::*;

/// Written at once, so that commits of several share what they write.
const BRANCHES: [&str; 2] = ["first", "second"];
/// Files of a state; each step writes one of them anew.
const FILES: u64 = 7;
/// Steps between two collections, so that segments are used again.
const STEPS_PER_COLLECTION: u64 = 16;

/// What step `step` of branch `branch` writes: between 0 and 100,000 bytes.
fn content(seed: u64, branch: usize, step: u64) -> Vec<u8> {
    let number = seed
        .wrapping_mul(1_000_003)
        .wrapping_add(step * BRANCHES.len() as u64 + branch as u64);
    bytes(number, number.wrapping_mul(7919) as usize % 100_000)
}

fn file(step: u64) -> String {
    format!("file{}", step % FILES)
}

fn message(seed: u64, step: u64) -> String {
    format!("seed {seed}, step {step}")
}

/// Writes the state before step `next` into a directory.
fn state(directory: &Path, seed: u64, branch: usize, next: u64) {
    for step in next.saturating_sub(FILES)..next {
        std::fs::write(directory.join(file(step)), content(seed, branch, step)).expect("file");
    }
}

/// The next step of a branch, once every one before it was found to be there and whole.
fn verify(store: &Store, seed: u64, branch: usize, acknowledged: Option<u64>) -> u64 {
    let name = BRANCHES[branch];
    let commits = store.history(name);
    let next = commits.len() as u64;
    let wanted = acknowledged.map_or(0, |step| step + 1);
    assert!(
        next >= wanted,
        "{name}: {wanted} steps were acknowledged, {next} are there"
    );
    for (commit, step) in commits.iter().zip((0..next).rev()) {
        assert_eq!(commit.message, message(seed, step), "{name}");
        let found = store.cat(&format!("{}:{}", commit.commit, file(step)));
        assert!(
            found == content(seed, branch, step),
            "{name}: other bytes in step {step}"
        );
    }
    println!("{name}: {wanted} steps were acknowledged, {next} are there and whole");
    next
}

/// Goal: what was acknowledged is there, whatever has happened since, and the store can be written on. Method: see the
/// module.
#[test]
#[ignore = "needs a device: README.md"]
fn history_goes_on() {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let seed = variable("HELIOS_HW_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let steps: Option<u64> = variable("HELIOS_HW_STEPS").map(|steps| steps.parse().expect("a number"));
    let acknowledged: Option<Vec<Option<u64>>> = variable("HELIOS_HW_ACKNOWLEDGED").map(|numbers| {
        let number = |text: &str| (text != "none").then(|| text.parse().expect("a number, or none"));
        numbers.split(',').map(number).collect()
    });
    let address = address();
    let store = Store::at(address.to_string());
    let next: Vec<u64> = match &acknowledged {
        None => {
            let size = match &address {
                Address::Path(path) => Some(std::fs::metadata(path).expect("the file").len()),
                _ => None,
            };
            store.init(size);
            vec![0; BRANCHES.len()]
        }
        Some(numbers) => {
            assert_eq!(numbers.len(), BRANCHES.len(), "one for each branch");
            store.is_whole();
            let each = numbers.iter().enumerate();
            each.map(|(branch, number)| verify(&store, seed, branch, *number))
                .collect()
        }
    };
    println!("writing on");
    std::thread::scope(|scope| {
        for (branch, first) in next.into_iter().enumerate() {
            let store = &store;
            scope.spawn(move || write_on(store, seed, branch, first, steps));
        }
    });
    store.close();
}

fn write_on(store: &Store, seed: u64, branch: usize, first: u64, steps: Option<u64>) {
    let directory = tempfile::tempdir().expect("directory");
    state(directory.path(), seed, branch, first);
    let name = BRANCHES[branch];
    for step in (first..).take(steps.map_or(usize::MAX, |steps| steps as usize)) {
        std::fs::write(directory.path().join(file(step)), content(seed, branch, step)).expect("file");
        store.commit_to(name, message(seed, step), directory.path());
        let mut output = std::io::stdout().lock();
        writeln!(output, "acknowledged {name} {step}.").expect("standard output");
        output.flush().expect("standard output");
        drop(output);
        if step % STEPS_PER_COLLECTION == STEPS_PER_COLLECTION - 1 {
            store.collect();
        }
    }
}
