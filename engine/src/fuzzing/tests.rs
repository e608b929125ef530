//! The fuzz targets over the kept corpus and mutations of it, on any toolchain.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::{TARGETS, Target, seeds};
use crate::device::sim::Random;

/// Mutations of each file of the corpus.
const MUTATIONS: u64 = 2_000;
/// The same for `open_image`, where each takes milliseconds.
const MUTATIONS_OF_IMAGES: u64 = 20;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// The files of a target's corpus, by name.
fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(corpus(target))
        .unwrap_or_else(|error| panic!("{}: {error}", corpus(target).display()))
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.display().to_string(), std::fs::read(&path).expect("a file")))
        .collect();
    files.sort();
    files
}

/// A few bytes changed, inserted, removed or repeated.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let place =
        |random: &mut Random, len: usize| usize::try_from(random.below(len as u64)).expect("a length");
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = place(random, bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][place(random, 5)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, bytes[at]),
            4 => {
                bytes.remove(at);
            }
            _ => {
                let from = place(random, bytes.len());
                let len = (bytes.len() - at.max(from)).min(8);
                bytes.copy_within(from..from + len, at);
            }
        }
    }
    bytes
}

fn run_target((name, run): Target, mutations: u64) {
    let files = files(name);
    assert!(!files.is_empty(), "{name} has no corpus");
    for (file, bytes) in files {
        for mutation in 0..=mutations {
            let mut random = Random::new(mutation);
            let input = if mutation == 0 {
                bytes.clone()
            } else {
                mutate(&bytes, &mut random)
            };
            if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
                panic!("target {name}: {file}, mutation {mutation}; the input: {input:02x?}");
            }
        }
    }
}

fn target(name: &str) -> Target {
    *TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target")
}

/// Goal: no input makes a decoder panic. Method: every file of the corpus and 2,000 mutations of each.
#[test]
fn the_corpus_and_its_mutations_end_without_a_panic() {
    for (name, run) in TARGETS.into_iter().filter(|(name, _)| *name != "open_image") {
        run_target((name, run), MUTATIONS);
    }
}

/// Goal: no image makes recovery, reads or upkeep panic. Method: every file of the corpus and mutations of each.
#[test]
fn images_that_were_gone_over_end_without_a_panic() {
    run_target(target("open_image"), MUTATIONS_OF_IMAGES);
}

/// Goal: the corpus has a valid input of today's format for each target. Method: the seeds must lie in it.
#[test]
fn the_corpus_holds_the_seeds() {
    let mut covered = BTreeSet::new();
    for (target, name, bytes) in seeds() {
        covered.insert(target);
        let path = corpus(target).join(&name);
        if std::env::var_os("HELIOS_CORPUS").is_some_and(|word| word == "write") {
            std::fs::create_dir_all(corpus(target)).expect("a directory");
            std::fs::write(&path, &bytes).expect("a file");
        }
        let kept = std::fs::read(&path).unwrap_or_default();
        assert!(
            kept == bytes,
            "{} is not what the engine writes; write it with HELIOS_CORPUS=write",
            path.display()
        );
    }
    let names: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(covered, names, "some target has no seed");
}
