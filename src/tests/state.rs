//! commit, status, branch, tag, log, ls, cat, diff, restore, materialize.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::Value;

use crate::sandbox::{Sandbox, pattern};
use crate::snapshot;

fn paths(changes: &Value) -> Vec<(String, String)> {
    changes
        .as_array()
        .expect("a list of changes")
        .iter()
        .map(|change| {
            let text = |field: &str| change[field].as_str().expect("text").to_owned();
            (text("change"), text("path"))
        })
        .collect()
}

fn ids(history: &Value) -> Vec<String> {
    let commits = history["commits"].as_array().expect("a list of commits");
    commits
        .iter()
        .map(|commit| commit["commit"].as_str().expect("an id").to_owned())
        .collect()
}

/// Goal: a directory comes back exactly. Method: one of everything, compared by all the file system says.
#[test]
fn a_directory_comes_back_exactly() {
    let sandbox = Sandbox::new();
    sandbox.populate();
    let _ = rustix::fs::setxattr(
        sandbox.work().join("README.md"),
        "user.helios.test",
        b"value",
        rustix::fs::XattrFlags::empty(),
    );
    let before = snapshot::take(&sandbox.work());
    let reply = sandbox.json(["commit", "-m", "first"]);
    assert_eq!(reply["branch"], "main");
    assert_eq!(reply["unchanged"], false);
    assert_eq!(reply["parent"], Value::Null);
    let copy = sandbox.path("copy");
    sandbox.run(["materialize".as_ref(), "main".as_ref(), copy.as_os_str()]);
    snapshot::assert_same(&before, &snapshot::take(&copy));
    snapshot::assert_same(&before, &snapshot::take(&sandbox.work()));
}

/// Goal: an unchanged directory is not read and makes nothing; a changed file is the only one that is read. Method:
/// files that changed within the clock's granularity of a scan are read once more by design, so commit until none is.
#[test]
fn a_commit_reads_only_what_changed() {
    let sandbox = Sandbox::new();
    for number in 0..300 {
        sandbox.write(format!("dir{}/file{number}", number % 10), pattern(1000, number));
    }
    sandbox.commit("first");
    let settled = (0..100).map(|_| sandbox.json(["commit"])).find(|reply| {
        assert_eq!(reply["unchanged"], true, "{reply}");
        assert_eq!(reply["new_objects"], 0, "{reply}");
        reply["files_read"] == 0
    });
    assert!(settled.is_some(), "unchanged files are read again and again");
    sandbox.write("dir3/file3", "changed");
    let changed = sandbox.json(["commit"]);
    assert_eq!(changed["unchanged"], false, "{changed}");
    assert_eq!(changed["files_read"], 1, "{changed}");
}

/// Goal: status, diff and their letters agree on every kind of change.
#[test]
fn changes_are_named_by_kind() {
    let sandbox = Sandbox::new();
    sandbox.populate();
    sandbox.commit("first");
    assert_eq!(paths(&sandbox.json(["status"])["changes"]), []);

    sandbox.write("new file", "new");
    sandbox.write("src/main.rs", "fn main() { loop {} }\n");
    fs::remove_file(sandbox.work().join("big.bin")).expect("removed");
    fs::set_permissions(sandbox.work().join("bin/run"), fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::remove_file(sandbox.work().join("src/empty")).expect("removed");
    symlink("elsewhere", sandbox.work().join("src/empty")).expect("a link");

    let expected = [
        ("removed", "big.bin"),
        ("metadata", "bin/run"),
        ("added", "new file"),
        ("retyped", "src/empty"),
        ("modified", "src/main.rs"),
    ]
    .map(|(change, path)| (change.to_owned(), path.to_owned()));
    let files = |value: &Value| -> Vec<(String, String)> {
        // Times of directories change with their entries; the files are what this test is about.
        paths(value)
            .into_iter()
            .filter(|(_, path)| ![".", "src", "bin"].contains(&path.as_str()))
            .collect()
    };
    assert_eq!(files(&sandbox.json(["status"])["changes"]), expected);
    assert_eq!(files(&sandbox.json(["diff", "main"])["changes"]), expected);
    sandbox.commit("second");
    assert_eq!(
        files(&sandbox.json(["diff", "main~1", "main"])["changes"]),
        expected
    );
    let back: Vec<_> = files(&sandbox.json(["diff", "main", "main~1"])["changes"]);
    assert!(back.contains(&("added".to_owned(), "big.bin".to_owned())));
    assert!(back.contains(&("removed".to_owned(), "new file".to_owned())));

    let text = sandbox.run(["diff", "main~1", "main", "--name-status", "--", "src", "big.bin"]);
    let lines: Vec<&str> = text.lines().filter(|line| !line.ends_with("\tsrc")).collect();
    assert_eq!(lines, ["D\tbig.bin", "T\tsrc/empty", "M\tsrc/main.rs"]);
    sandbox
        .helios()
        .args(["diff", "main~1", "main", "--exit-code"])
        .assert()
        .code(1);
    sandbox
        .helios()
        .args(["diff", "main", "main", "--exit-code"])
        .assert()
        .code(0);
}

/// Goal: branches are made, counted, moved, renamed, deleted; a name that exists is a conflict.
#[test]
fn branches_have_a_life() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "one");
    let first = sandbox.commit("first");
    sandbox.write("file", "two");
    let second = sandbox.commit("second");

    let made = sandbox.json(["branch", "agent-{n}", "--count", "100"]);
    assert_eq!(made["references"].as_array().map(Vec::len), Some(100));
    assert_eq!(made["references"][99]["name"], "agent-99");
    assert_eq!(made["references"][99]["commit"], second.as_str());
    let prefixed = sandbox.json(["branch", "worker", "main~1", "--count", "2"]);
    assert_eq!(prefixed["references"][1]["name"], "worker-1");
    assert_eq!(prefixed["references"][1]["commit"], first.as_str());
    assert_eq!(
        sandbox.json(["branch"])["references"].as_array().map(Vec::len),
        Some(103)
    );

    sandbox.fails(4, ["branch", "agent-7"]);
    sandbox.run(["branch", "-f", "agent-7", "main~1"]);
    assert_eq!(ids(&sandbox.json(["log", "agent-7"])), [first.as_str()]);
    sandbox.run(["branch", "-m", "agent-7", "seven"]);
    sandbox.fails(3, ["log", "agent-7"]);
    sandbox.fails(4, ["branch", "-m", "seven", "agent-8"]);
    sandbox.run(["branch", "-d", "seven", "agent-8"]);
    sandbox.fails(3, ["branch", "-d", "seven"]);
    assert_eq!(
        sandbox.json(["branch"])["references"].as_array().map(Vec::len),
        Some(101)
    );
    sandbox.fails(3, ["branch", "other", "no-such-revision"]);
    sandbox.fails(2, ["branch", "-f"]);
}

/// Goal: tags stay where they are put.
#[test]
fn tags_stay() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "one");
    let first = sandbox.commit("first");
    sandbox.run(["tag", "v1"]);
    sandbox.write("file", "two");
    let second = sandbox.commit("second");
    let list = sandbox.json(["tag"]);
    assert_eq!(list["references"][0]["name"], "v1");
    assert_eq!(list["references"][0]["commit"], first.as_str());
    sandbox.fails(4, ["tag", "v1"]);
    sandbox.run(["tag", "-f", "v1", "main"]);
    assert_eq!(sandbox.json(["tag"])["references"][0]["commit"], second.as_str());
    sandbox.run(["tag", "-d", "v1"]);
    sandbox.fails(3, ["tag", "-d", "v1"]);
}

/// Goal: `--expect` is a compare-and-swap with an exit code of its own.
#[test]
fn expect_is_a_compare_and_swap() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "one");
    let first = sandbox.commit("first");
    sandbox.write("file", "two");
    sandbox.run(["commit", "--expect", &first]);
    sandbox.write("file", "three");
    let message = sandbox.fails(4, ["commit", "--expect", &first]);
    assert!(message.contains("main"), "{message}");
    assert_eq!(ids(&sandbox.json(["log"])).len(), 2);
    sandbox.run(["commit", "--expect", "main"]);
    sandbox.fails(3, ["commit", "--expect", "no-such-branch"]);
}

/// Goal: log, ls and cat show what was committed, in text and JSON.
#[test]
fn history_can_be_read() {
    let sandbox = Sandbox::new();
    sandbox.populate();
    let first = sandbox.commit("the first\n\nwith a body");
    sandbox.write("README.md", "changed\n");
    let second = sandbox.commit("the second");

    let log = sandbox.json(["log"]);
    assert_eq!(ids(&log), [second.clone(), first.clone()]);
    assert_eq!(log["commits"][0]["message"], "the second");
    assert_eq!(log["commits"][0]["parents"][0], first.as_str());
    assert_eq!(
        ids(&sandbox.json(["log", "-n", "1"])),
        std::slice::from_ref(&second)
    );
    assert_eq!(ids(&sandbox.json(["log", "--since", "1h"])).len(), 2);
    assert_eq!(ids(&sandbox.json(["log", "--since", "2500-01-01"])).len(), 0);
    let text = sandbox.run(["log"]);
    assert!(
        text.contains(&first) && text.contains("    with a body") && text.contains("(main)"),
        "{text}"
    );
    let lines = sandbox.run(["log", "--oneline"]);
    assert_eq!(lines.lines().count(), 2);

    let names: Vec<String> = sandbox.run(["ls", "main"]).lines().map(str::to_owned).collect();
    assert_eq!(
        names,
        ["README.md", "big.bin", "bin/", "empty/", "link", "src/", "twin"]
    );
    assert!(
        sandbox
            .run(["ls", "-R", "main"])
            .lines()
            .any(|line| line == "empty/inner/")
    );
    let long = sandbox.run(["ls", "-l", "main:bin"]);
    assert!(
        long.starts_with("-rwxr-x---") && long.trim_end().ends_with("run"),
        "{long}"
    );
    let listed = sandbox.json(["ls", "main"]);
    let link = &listed["entries"][4];
    assert_eq!(
        (&link["kind"], &link["target"]),
        (&"symlink".into(), &"src/main.rs".into())
    );

    assert_eq!(sandbox.run(["cat", "main:README.md"]), "changed\n");
    assert_eq!(sandbox.run(["cat", "main~1:README.md"]), "one\ntwo\nthree\n");
    sandbox.fails(3, ["cat", "main:no/such/file"]);
    sandbox.fails(2, ["cat", "main:src"]);
    sandbox.fails(3, ["ls", "main:nowhere"]);
}

/// Goal: restore brings back exactly the old state, can be undone, and with -n touches nothing.
#[test]
fn restore_can_be_undone() {
    let sandbox = Sandbox::new();
    sandbox.populate();
    sandbox.commit("first");
    let first = snapshot::take(&sandbox.work());
    sandbox.write("README.md", "changed");
    sandbox.write("never committed", "precious");
    fs::remove_dir_all(sandbox.work().join("src")).expect("removed");
    let changed = snapshot::take(&sandbox.work());

    let plan = sandbox.json(["restore", "main", "-n"]);
    assert_eq!(plan["dry_run"], true);
    snapshot::assert_same(&changed, &snapshot::take(&sandbox.work()));

    let restored = sandbox.json(["restore", "main", "--delete"]);
    let backup = restored["backup"]
        .as_str()
        .expect("the replaced state is committed")
        .to_owned();
    snapshot::assert_same(&first, &snapshot::take(&sandbox.work()));
    sandbox.run(["restore", &backup, "--delete"]);
    snapshot::assert_same(&changed, &snapshot::take(&sandbox.work()));
}

/// Goal: named paths limit what is restored, and `--keep-extra` keeps what the revision does not have.
#[test]
fn restore_spares_what_it_was_not_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.populate();
    sandbox.commit("first");
    sandbox.write("README.md", "changed");
    sandbox.write("src/main.rs", "changed");
    sandbox.write("new", "new");
    sandbox.run(["restore", "main", "--", "src"]);
    assert_eq!(sandbox.read("src/main.rs"), b"fn main() {}\n");
    assert_eq!(sandbox.read("README.md"), b"changed");
    sandbox.run(["restore", "main", "--keep-extra"]);
    assert_eq!(sandbox.read("README.md"), b"one\ntwo\nthree\n");
    assert_eq!(sandbox.read("new"), b"new");
}

/// Goal: exclusions keep paths out of commits and untouched by restores.
#[test]
fn ignored_paths_are_left_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", "kept");
    sandbox.write("target/out", "built");
    sandbox.write("notes.log", "log");
    sandbox.write(".heliosignore", "*.log\n");
    sandbox.write(".gitignore", "kept\n");
    sandbox.run(["commit", "--exclude", "target"]);
    let names: Vec<String> = sandbox
        .run(["ls", "-R", "main"])
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(names, [".gitignore", ".heliosignore", "kept"]);
    sandbox.write("notes.log", "more");
    sandbox.run(["restore", "main", "--delete", "--", "notes.log"]);
    assert_eq!(sandbox.read("notes.log"), b"more");
    sandbox.run(["commit", "--gitignore", "-b", "other"]);
    assert!(!sandbox.run(["ls", "other"]).lines().any(|line| line == "kept"));
}

/// Goal: materialize takes parts, and refuses to write over anything.
#[test]
fn materialize_takes_parts_and_refuses_to_overwrite() {
    let sandbox = Sandbox::new();
    sandbox.populate();
    sandbox.commit("first");
    let part = sandbox.path("part");
    sandbox.run(["materialize".as_ref(), "main:src".as_ref(), part.as_os_str()]);
    assert_eq!(fs::read(part.join("main.rs")).expect("a file"), b"fn main() {}\n");
    let some = sandbox.path("some");
    sandbox.run([
        "materialize".as_ref(),
        "main".as_ref(),
        some.as_os_str(),
        "--include".as_ref(),
        "*.rs".as_ref(),
        "-j".as_ref(),
        "3".as_ref(),
    ]);
    assert!(some.join("src/main.rs").exists() && !some.join("README.md").exists());

    let before = snapshot::take(&part);
    let message = sandbox.fails(4, ["materialize".as_ref(), "main".as_ref(), part.as_os_str()]);
    assert!(message.contains("part"), "{message}");
    snapshot::assert_same(&before, &snapshot::take(&part));
    let empty = sandbox.path("empty");
    fs::create_dir(&empty).expect("a directory");
    sandbox.run(["materialize".as_ref(), "main".as_ref(), empty.as_os_str()]);
}

/// Goal: a directory follows its branch, and keeps doing so after it was moved.
#[test]
fn a_directory_follows_its_branch() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "one");
    sandbox.run(["commit", "-b", "feature"]);
    sandbox.write("file", "two");
    assert_eq!(sandbox.json(["commit"])["branch"], "feature");
    assert_eq!(sandbox.json(["status"])["branch"], "feature");
    let moved = sandbox.path("moved");
    fs::rename(sandbox.work(), &moved).expect("moved");
    fs::create_dir(sandbox.work()).expect("a directory");
    fs::write(moved.join("file"), "three").expect("a file");
    let moved_commit = sandbox.json(["commit".as_ref(), moved.as_os_str()]);
    assert_eq!(
        moved_commit["unchanged"], false,
        "a move must never hide a change"
    );
}
