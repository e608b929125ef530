//! `helios benchmark`: what it measures depends on the machine; that it measures all, tells the truth about it and leaves nothing
//! does not. All with `--quick`, which is never a go.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::owner::PATIENCE;
use crate::sandbox::Sandbox;

/// Exit code for whatever is no go.
const NO_GO: i32 = 12;
const ROWS: [&str; 8] = [
    "visible commit",
    "written on fork",
    "deduplication on fork",
    "get from cache",
    "get from device",
    "clients of a server",
    "hash, small",
    "hash, large",
];
const QUICK: [&str; 3] = ["benchmark", "--phase0-validation", "--quick"];

/// What is in a directory.
fn names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// Processes whose command line has this path in it.
fn processes_of(path: &Path) -> Vec<String> {
    let path = path.to_string_lossy().into_owned();
    fs::read_dir("/proc")
        .expect("processes")
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&path))
        .collect()
}

/// Goal: every row is there with its figures, JSON has the machine too, exit code and verdict say what --quick is worth, and
/// neither a file nor a process is left. Method: a quick validation with git in the path.
#[test]
fn a_quick_validation_measures_everything() {
    let sandbox = Sandbox::bare();
    let mut command = sandbox.process(assert_cmd::cargo::cargo_bin!("helios"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let output = command
        .args(QUICK)
        .args(["--json", "--reactors", "1"])
        .env("PATH", path)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(NO_GO), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one value");
    assert_eq!(
        (&report["verdict"], &report["quick"]),
        (&"not-valid".into(), &true.into())
    );
    assert!(report["machine"]["cores"].as_u64() > Some(0), "{report}");
    assert_eq!(report["reactors"]["served"], 1);
    let rows = report["rows"].as_array().expect("rows");
    let found: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(found, ROWS);
    for row in rows {
        assert!(row["met"].is_boolean() && row["goal"].is_string(), "{row}");
        let is_measured = row["figures"].is_object();
        assert_eq!(is_measured, row["measured"] != "", "{row}");
        let has_git = std::process::Command::new("git")
            .arg("--version")
            .output()
            .is_ok();
        if row["name"] == "written on fork" {
            // Without git, or on a file system in memory, there is nothing to compare with, and it says so.
            assert!(
                is_measured || !row["met"].as_bool().expect("checked above"),
                "{row}, git: {has_git}"
            );
        } else {
            assert!(is_measured, "{row}");
        }
    }
    // Enough of them hold on any machine: sharing does not depend on its speed.
    assert_eq!(rows[2]["met"], true, "{}", rows[2]);
    let asked = rows[3]["figures"]["hits"].as_u64();
    assert_eq!(asked, Some(1000), "{}", rows[3]);
    assert_eq!(names(&sandbox.work()), BTreeSet::new(), "nothing is left of it");
    assert_eq!(processes_of(&sandbox.work()), Vec::<String>::new());
    assert!(!sandbox.store().exists(), "the user's store is not touched");
}

/// Goal: without git the row that needs it is not met and says why, and the others are measured; the table has all of them.
#[test]
fn without_git_one_row_says_so() {
    let sandbox = Sandbox::bare();
    let mut command = sandbox.process(assert_cmd::cargo::cargo_bin!("helios"));
    let output = command
        .args(QUICK)
        .args(["--dir", ".", "--reactors", "1"])
        .env("PATH", sandbox.path("nowhere"))
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(NO_GO));
    let table = String::from_utf8(output.stdout).expect("text");
    let line = |name: &str| {
        let lines = table.lines().find(|line| line.contains(&format!("  {name}  ")));
        lines.unwrap_or_else(|| panic!("no row {name}: {table}"))
    };
    ROWS.iter().for_each(|name| {
        line(name);
    });
    assert!(
        line("written on fork").starts_with("no-go") && line("written on fork").contains("git is missing")
    );
    assert!(line("deduplication on fork").starts_with("go"));
    assert!(table.contains("verdict: not valid as a go"), "{table}");
    assert_eq!(names(&sandbox.work()), BTreeSet::new());
}

/// Goal: ctrl-C ends it with its code, and nothing is left, whatever it was doing. Method: signals at different moments, the last of
/// them while a server of its own runs.
#[test]
fn nothing_is_left_after_a_signal() {
    for wanted in ["commits.helios", "fork.helios", "served.helios"] {
        let sandbox = Sandbox::bare();
        let mut command = sandbox.process(assert_cmd::cargo::cargo_bin!("helios"));
        let mut child = command
            .args(QUICK)
            .args(["--reactors", "1"])
            .spawn()
            .expect("the program starts");
        let mut looks = PATIENCE.as_millis() / 5;
        let place = sandbox.work().join(format!("helios-benchmark-{}", child.id()));
        while !place.join(wanted).exists() {
            looks -= 1;
            assert!(looks > 0, "it does not come to {wanted}");
            assert!(
                child.try_wait().expect("its state").is_none(),
                "it ended before {wanted}"
            );
            pause();
        }
        kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(130), "at {wanted}");
        assert_eq!(names(&sandbox.work()), BTreeSet::new(), "at {wanted}");
        assert_eq!(processes_of(&place), Vec::<String>::new(), "at {wanted}");
    }
}

#[allow(clippy::disallowed_methods, reason = "another process is waited for")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// Goal: without a mode its help is printed; what belongs to a mode is refused without it; a directory must exist.
#[test]
fn modes_and_mistakes() {
    let sandbox = Sandbox::bare();
    let help = sandbox.run(["benchmark"]);
    assert!(
        help.contains("--phase0-validation") && help.contains("Examples:"),
        "{help}"
    );
    sandbox.fails(2, ["benchmark", "--quick"]);
    let message = sandbox.fails(3, ["benchmark", "--phase0-validation", "--dir", "missing"]);
    assert!(message.contains("missing"), "{message}");
}
