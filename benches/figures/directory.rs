//! A real directory of 35,000+ files: first commit beside git, second commit beside walking it, materialize beside cp.
//!
//! The tree is the sources of cargo's registry, copied until there are enough files, or `HELIOS_BENCH_TREE`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report;
use crate::sandbox::{Sandbox, time};
use crate::walk::walk;

const FILES_MIN: u64 = 35_000;
const ROUNDS: usize = 3;

/// Runs a program to its end, quietly; it must succeed.
fn run_program(program: &str, arguments: &[&str], store: &Path) -> u64 {
    let (taken, status) = time(|| {
        Command::new(program)
            .args(arguments)
            .env("HELIOS_STORE", store)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", store.parent().expect("the store lies in the sandbox"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    });
    let status = status.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {arguments:?} ended with {status}");
    taken
}

/// A tree with enough files inside the sandbox.
fn tree(sandbox: &Sandbox) -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))?;
    let source =
        std::env::var_os("HELIOS_BENCH_TREE").map_or_else(|| home.join("registry/src"), PathBuf::from);
    if !source.is_dir() || walk(&source) == 0 {
        return None;
    }
    let tree = sandbox.path("tree");
    std::fs::create_dir(&tree).expect("a directory");
    let mut copies = 0;
    while walk(&tree) < FILES_MIN {
        let copy = tree.join(format!("copy-{copies}"));
        let paths = [&source, &copy].map(|path| path.to_string_lossy().into_owned());
        run_program("cp", &["-a", &paths[0], &paths[1]], &sandbox.path("none"));
        copies += 1;
    }
    Some(tree)
}

/// Runs the section.
pub fn run() {
    report::heading(
        "directory: how do commit and materialize of a real directory compare?",
        "walk and stat on one thread (second commit); git add -A && git commit (first); cp -a (materialize)",
        "second commit at most 1.5x the walk; first at least 3x faster than git; materialize not slower than cp -a",
    );
    let sandbox = Sandbox::new();
    let Some(tree) = tree(&sandbox) else {
        println!("  no tree to commit: set HELIOS_BENCH_TREE to a directory");
        return;
    };
    let helios = env!("CARGO_BIN_EXE_helios");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (mut walks, mut seconds, mut firsts, mut gits, mut outs, mut copies) = (
        report::histogram(),
        report::histogram(),
        report::histogram(),
        report::histogram(),
        report::histogram(),
        report::histogram(),
    );
    println!("  {} files", walk(&tree));
    for round in 0..ROUNDS {
        let store = sandbox.path(&format!("{round}.helios"));
        let record = |times: &mut hdrhistogram::Histogram<u64>, taken| times.record(taken).expect("in range");
        run_program(helios, &["init", "--size", "8G", "-q"], &store);
        // The page cache is warm: `tree` or the round before has just read everything.
        let commit = ["commit", &text(&tree), "-b", "main", "-q"];
        record(&mut firsts, run_program(helios, &commit, &store));
        let git_dir = sandbox.path(&format!("{round}.git"));
        let git = [
            "--git-dir",
            &text(&git_dir),
            "--work-tree",
            &text(&tree),
            "-c",
            "user.name=b",
            "-c",
            "user.email=b",
        ];
        run_program("git", &[&git[..], &["init", "-q"]].concat(), &store);
        let added = run_program("git", &[&git[..], &["add", "-A"]].concat(), &store);
        let committed = run_program("git", &[&git[..], &["commit", "-q", "-m", "x"]].concat(), &store);
        record(&mut gits, added + committed);
        for _ in 0..5 {
            record(&mut walks, time(|| walk(&tree)).0);
            record(&mut seconds, run_program(helios, &commit, &store));
        }
        let (out, copy) = (
            sandbox.path(&format!("out-{round}")),
            sandbox.path(&format!("copy-{round}")),
        );
        record(
            &mut copies,
            run_program("cp", &["-a", &text(&tree), &text(&copy)], &store),
        );
        record(
            &mut outs,
            run_program(helios, &["materialize", "main", &text(&out), "-q"], &store),
        );
        for leftover in [&out, &copy, &git_dir] {
            std::fs::remove_dir_all(leftover).expect("what was just made");
        }
        std::fs::remove_file(&store).expect("the store of this round");
    }
    report::row("walk and stat, one thread", &walks);
    report::row("second commit, nothing changed", &seconds);
    report::ratio("  second commit / walk", &seconds, &walks);
    report::row("git add -A && git commit, new repository", &gits);
    report::row("first commit, new store", &firsts);
    report::ratio("  git / first commit", &gits, &firsts);
    report::row("cp -a", &copies);
    report::row("materialize", &outs);
    report::ratio("  materialize / cp -a", &outs, &copies);
}
