//! The fuzz targets over the kept corpus and mutations of it, on any toolchain.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{TARGETS, seeds};

#[path = "../tests/mutation.rs"]
mod mutation;

/// Mutations of each file of the corpus.
const MUTATIONS: u64 = 1_000;
/// The same for `configuration`, where the whole command line is built for each.
const MUTATIONS_OF_FILES: u64 = 60;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("engine/fuzz/corpus")
        .join(target)
}

/// Goal: no input makes a decoder of the server panic. Method: every file of the corpus and mutations of each.
#[test]
fn the_corpus_and_its_mutations_end_without_a_panic() {
    for (name, run) in TARGETS {
        let directory = corpus(name);
        let files =
            std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no corpus");
        let mutations = if name == "configuration" {
            MUTATIONS_OF_FILES
        } else {
            MUTATIONS
        };
        for file in files {
            let bytes = std::fs::read(&file).expect("a file");
            for mutation in 0..=mutations {
                let mut random = SmallRng::seed_from_u64(mutation);
                let input = if mutation == 0 {
                    bytes.clone()
                } else {
                    mutation::mutate(&bytes, &mut random)
                };
                if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
                    let input = String::from_utf8_lossy(&input).into_owned();
                    panic!(
                        "target {name}: {}, mutation {mutation}; the input: {input:?}",
                        file.display()
                    );
                }
            }
        }
    }
}

/// Goal: the corpus has valid inputs of today's protocol for each target. Method: the seeds must lie in it.
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
            "{} is not what the program writes; write it with HELIOS_CORPUS=write",
            path.display()
        );
    }
    let names: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(covered, names, "some target has no seed");
}
