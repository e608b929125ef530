//! Commands about directories while another process owns the store: they read and write files themselves, and send what the
//! owner lacks.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Output};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

use crate::owner::Owner;
use crate::sandbox::{STORE_SIZE, Sandbox, pattern};

/// Somebody else.
const OTHER: u32 = 65534;

/// Bytes that a server has received, the question for them included.
fn received(owner: &Owner) -> u64 {
    let bytes = owner.metrics().sum("helios_received_bytes_total", &[]);
    bytes.expect("a counter") as u64
}

/// Waits until a server has received so much, or the client that sends it has ended.
fn await_bytes(owner: &Owner, client: &mut Child, bytes: u64) {
    while received(owner) < bytes && client.try_wait().expect("ours").is_none() {
        std::thread::yield_now();
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), signal).expect("ours");
}

/// Runs a command on a store; what it said.
fn run(sandbox: &Sandbox, store: &Path, arguments: &[&str]) -> Output {
    sandbox
        .helios()
        .arg("--store")
        .arg(store)
        .args(arguments)
        .output()
        .expect("the program runs")
}

/// The text with its times (`2026-11-22T01:50:58Z`) made equal.
fn timeless(text: &str) -> String {
    const FORM: &[u8] = b"0000-00-00T00:00:00Z";
    let is_time = |bytes: &[u8]| {
        bytes.iter().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        })
    };
    let mut bytes = text.as_bytes().to_vec();
    for at in 0..=bytes.len().saturating_sub(FORM.len()) {
        if bytes.len() - at >= FORM.len() && is_time(&bytes[at..at + FORM.len()]) {
            bytes[at..at + FORM.len()].copy_from_slice(FORM);
        }
    }
    String::from_utf8(bytes).expect("digits for digits")
}

/// What two runs of a command have in common: ids of commits hold the time of the commit, everything else is to be equal.
fn common(output: &Output, commits: &mut Vec<String>) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut said = text(&output.stdout);
    if let Ok(reply) = serde_json::from_str::<Value>(&said) {
        for field in ["commit", "parent", "backup", "head"] {
            commits.extend(reply[field].as_str().map(str::to_owned));
        }
    }
    let mut told = text(&output.stderr);
    for commit in commits {
        for (long, short) in [(&commit[..], "COMMIT"), (&commit[..12], "COMMIT")] {
            said = said.replace(long, short);
            told = told.replace(long, short);
        }
    }
    (output.status.code(), timeless(&said), told)
}

/// Goal: every command about a directory prints the same, with the same code, whether its store is open here or owned by a
/// server. Method: one directory and two stores, one of them served; the same commands on both by turns, failures included. Trees
/// have the same ids.
#[test]
fn directory_commands_are_the_same_with_an_owner() {
    let sandbox = Sandbox::new();
    let alone = sandbox.path("alone.helios");
    let made = run(&sandbox, &alone, &["init", "--size", STORE_SIZE, "-q"]);
    assert!(made.status.success());
    let owner = sandbox.serve();
    sandbox.populate();
    let change = |step: usize| match step {
        1 => sandbox.write("README.md", "one\n2\nthree\n"),
        2 => sandbox.write("src/new.rs", "// new\n"),
        3 => fs::remove_file(sandbox.work().join("src/empty")).expect("it was there"),
        _ => sandbox.write("src/main.rs", format!("fn main() {{ {step} }}\n")),
    };
    let commands: &[(usize, &[&str])] = &[
        (0, &["status", "--json"]),
        (0, &["commit", "-m", "first", "--json"]),
        (0, &["commit", "-m", "nothing new", "--json"]),
        (1, &["status", "--json"]),
        (1, &["diff", "main", "--json"]),
        (1, &["diff", "main", "-p"]),
        (1, &["commit", "-m", "second", "--exclude", "big.bin", "--json"]),
        (2, &["status"]),
        (
            2,
            &[
                "commit", "-m", "third", "-b", "work", "--expect", "main", "--json",
            ],
        ),
        (2, &["commit", "-m", "third", "-b", "work", "--json"]),
        (3, &["diff", "work", "--name-status"]),
        (0, &["restore", "work", "-n", "--json"]),
        (0, &["restore", "work", "--json"]),
        (0, &["status", "--json"]),
        (0, &["log", "-n", "5"]),
        (0, &["ls", "-R"]),
        (0, &["branch"]),
        (0, &["branch", "copy"]),
        (0, &["restore", "main", "--", "README.md"]),
        (0, &["materialize", "work", "TARGET", "--json"]),
        (0, &["materialize", "work", "TARGET", "--json"]),
        (0, &["materialize", "nothing", "elsewhere", "--json"]),
        (0, &["commit", "absent", "--json"]),
        (0, &["commit", "-b", "a..b", "--json"]),
        (0, &["diff", "main", "work", "--stat"]),
        (0, &["forget", "work", "--keep-last", "1"]),
        (4, &["commit", "-m", "after", "-b", "work", "--json"]),
        (5, &["restore", "main", "--json"]),
        (5, &["status", "--json"]),
        (5, &["commit", "-m", "back", "--json"]),
        (5, &["quota", "work", "1000"]),
        (6, &["commit", "-m", "too much", "-b", "work", "--json"]),
        (6, &["commit", "-m", "elsewhere", "-b", "free", "--json"]),
        (0, &["check", "--read-data", "--json"]),
    ];
    // What a command does to the directory is undone before the other store has its turn.
    let saved = sandbox.path("saved");
    let mut codes = BTreeSet::new();
    let (mut here, mut there, mut changes) = (Vec::new(), Vec::new(), 0);
    for (step, command) in commands {
        if *step > changes {
            changes = *step;
            change(changes);
        }
        copy(&sandbox.work(), &saved);
        let target = |name: &str| {
            let words = command.iter().map(|word| match *word {
                "TARGET" => name.to_owned(),
                word => word.to_owned(),
            });
            words.collect::<Vec<String>>()
        };
        let name = sandbox.path("made").display().to_string();
        let words = target(&name);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let without = common(&run(&sandbox, &alone, &words), &mut here);
        let written = tree(&sandbox.work());
        let made = tree(&sandbox.path("made"));
        if command[0] == "restore" {
            copy(&saved, &sandbox.work());
        }
        if command[0] == "materialize" && without.0 == Some(0) {
            fs::remove_dir_all(sandbox.path("made")).expect("it was made");
        }
        let with = common(&run(&sandbox, &sandbox.store(), &words), &mut there);
        assert_eq!(without, with, "{command:?}");
        codes.extend(with.0);
        assert_eq!(written, tree(&sandbox.work()), "{command:?}");
        assert_eq!(made, tree(&sandbox.path("made")), "{command:?}");
    }
    // Done, malformed, not found, not as expected, over quota.
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), [0, 2, 3, 4, 9]);
    owner.end();
    for store in [&alone, &sandbox.store()] {
        let checked = run(&sandbox, store, &["check", "--read-data"]);
        assert!(String::from_utf8_lossy(&checked.stdout).contains("0 damaged"));
    }
}

/// Puts into `to` what is in `from`, and nothing else; the directory itself stays the same one.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for name in fs::read_dir(to).expect("a directory") {
        let path = name.expect("a name").path();
        let data = fs::symlink_metadata(&path).expect("is there");
        let removed = match data.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.expect("ours");
    }
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to)
        .status();
    assert!(status.expect("cp runs").success());
}

/// Everything below a directory: mode, time of files, content.
fn tree(root: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(data) = fs::symlink_metadata(&path) else {
            continue;
        };
        let mut content = Vec::new();
        if data.is_dir() {
            let names = fs::read_dir(&path).expect("a directory");
            open.extend(names.map(|name| name.expect("a name").path()));
        } else if data.is_symlink() {
            content = fs::read_link(&path)
                .expect("a link")
                .into_os_string()
                .into_encoded_bytes();
        } else {
            content = fs::read(&path).expect("a file");
            content.extend_from_slice(&data.mtime().to_le_bytes());
        }
        found.push((path, data.mode(), content));
    }
    found.sort();
    found
}

/// Goal: only contents that the owner lacks travel. Method: two thousand files; bytes the owner receives for the first commit, for
/// one of the same state read anew, and for one with a few changes.
#[test]
fn only_what_the_owner_lacks_is_sent() {
    let sandbox = Sandbox::new();
    let owner = sandbox.serve();
    let mut bytes = 0;
    for number in 0..2000u64 {
        let content = pattern(500 + number as usize, number);
        bytes += content.len() as u64;
        sandbox.write(format!("project/{}/{number}", number % 20), content);
    }
    let sent = |arguments: &[&str]| {
        let before = received(&owner);
        let reply = sandbox.json(arguments);
        (received(&owner) - before, reply)
    };
    let (first, reply) = sent(&["commit", "project", "-m", "first"]);
    assert!(
        first > bytes && first < bytes * 13 / 10,
        "{first} for {bytes} bytes"
    );
    assert_eq!(reply["files_read"], 2000);
    // Ids and nodes only: a copy is another directory, and all its files are read.
    copy(&sandbox.work().join("project"), &sandbox.work().join("twin"));
    let (again, reply) = sent(&["commit", "twin", "-m", "the same", "-b", "twin", "--no-times"]);
    assert_eq!(reply["files_read"], 2000);
    assert!(again < bytes / 4, "{again} for contents that are there");
    for number in [3, 500, 1999] {
        sandbox.write(format!("project/{}/{number}", number % 20), "changed");
    }
    let (changed, reply) = sent(&["commit", "project", "-m", "second"]);
    assert!(changed < bytes / 5, "{changed} for three files");
    // Those written in the moment before the first commit are read again: their times prove nothing.
    assert!(reply["files_read"].as_u64() < Some(1000), "{reply}");
    owner.end();
}

/// A command as another user, who has a home and a place of their own.
fn as_other(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    sandbox
        .process("setpriv")
        .args([
            &format!("--reuid={OTHER}"),
            &format!("--regid={OTHER}"),
            "--clear-groups",
        ])
        .arg(assert_cmd::cargo::cargo_bin!("helios"))
        .args(arguments)
        .env("HOME", sandbox.path("other"))
        .current_dir(sandbox.path("other"))
        .output()
        .expect("setpriv runs")
}

/// Goal: a client works with its own permissions, whoever the owner is. Method: a server of root, commands of another user: a
/// directory that only they may read, one that they may not, files that they make; and a server that does not let them in.
#[test]
fn files_are_read_and_written_as_the_client() {
    if !geteuid().is_root()
        || std::process::Command::new("setpriv")
            .arg("--version")
            .output()
            .is_err()
    {
        eprintln!("skipped: only root may become another user, with setpriv");
        return;
    }
    let program = assert_cmd::cargo::cargo_bin!("helios");
    let sandbox = Sandbox::new();
    let open_way = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    open_way(&sandbox.path(""));
    fs::create_dir(sandbox.path("other")).expect("a directory");
    chown(sandbox.path("other"), Some(OTHER), Some(OTHER)).expect("root");
    // The program itself may lie where only root goes.
    let probe = std::process::Command::new("setpriv")
        .args([&format!("--reuid={OTHER}"), "--clear-groups"])
        .arg(program)
        .arg("--version")
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: another user cannot run {}", program.display());
        return;
    }
    let own = sandbox.path("other/own");
    fs::create_dir(&own).expect("a directory");
    fs::write(own.join("mine"), "private").expect("a file");
    symlink("mine", own.join("link")).expect("a link");
    for path in [&own, &own.join("mine"), &own.join("link")] {
        lchown(path, Some(OTHER), Some(OTHER)).expect("root");
    }
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).expect("ours");
    sandbox.write("secret/key", "of root");
    fs::set_permissions(sandbox.work().join("secret"), fs::Permissions::from_mode(0o700)).expect("ours");

    let owner = sandbox.serve();
    let sent_away = as_other(&sandbox, &["commit", "own"]);
    assert_eq!(sent_away.status.code(), Some(5), "{sent_away:?}");
    assert!(String::from_utf8_lossy(&sent_away.stderr).contains("--allow-uid"));
    owner.end();

    let owner = sandbox.serve_with(&["--allow-uid", &OTHER.to_string()]);
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let committed = as_other(&sandbox, &["commit", "own", "-b", "theirs", "--json"]);
    assert_eq!(committed.status.code(), Some(0), "{}", told(&committed));
    assert_eq!(sandbox.run(["cat", "theirs:mine"]), "private");
    let secret = sandbox.work().join("secret").display().to_string();
    let refused = as_other(&sandbox, &["commit", &secret]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("Permission denied"), "{}", told(&refused));
    // Their own branch is the one their directory follows, which the owner never looks at.
    let log = as_other(&sandbox, &["log", "--json"]);
    assert_eq!(log.status.code(), Some(3), "{}", told(&log));
    let made = as_other(&sandbox, &["materialize", "theirs", "made"]);
    assert_eq!(made.status.code(), Some(0), "{}", told(&made));
    let mine = fs::metadata(sandbox.path("other/made/mine")).expect("it was made");
    assert_eq!((mine.uid(), mine.gid()), (OTHER, OTHER));
    fs::write(own.join("mine"), "changed").expect("a file");
    let status = as_other(&sandbox, &["status", "own", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("one value");
    assert_eq!(status["branch"], "theirs");
    assert_eq!(status["changes"][0]["path"], "mine");
    let restored = as_other(&sandbox, &["restore", "theirs", "own"]);
    assert_eq!(restored.status.code(), Some(0), "{}", told(&restored));
    assert_eq!(fs::read(own.join("mine")).expect("a file"), b"private");
    assert_eq!(fs::metadata(own.join("mine")).expect("a file").uid(), OTHER);
    owner.end();
    assert!(sandbox.run(["check", "--read-data"]).contains("0 damaged"));
}

/// Goal: an owner that dies while a client commits is told clearly, and leaves a sound store. Method: killed at various moments of
/// commits of new files; the store opens, is sound, and takes the next commit.
#[test]
fn an_owner_that_dies_is_told() {
    let sandbox = Sandbox::new();
    let mut lost = 0;
    for round in 0..6u64 {
        for number in 0..400u64 {
            let content = pattern(20_000, round * 1000 + number);
            sandbox.write(format!("project/{number}"), content);
        }
        let owner = sandbox.serve();
        let before = received(&owner);
        let mut client = sandbox.spawn(["commit", "project", "-m", "a round"]);
        // Somewhere in the eight megabytes that the client sends.
        await_bytes(&owner, &mut client, before + round * 1_500_000);
        owner.signal(Signal::KILL);
        let output = client.wait_with_output().expect("it ends");
        drop(owner);
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && stderr.contains("the owner of the store") {
            lost += 1;
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.contains("it is gone"), "{stderr}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(sandbox.run(["check", "--read-data"]).contains("0 damaged"));
    }
    assert!(lost > 0, "no client was at work when its owner died");
    sandbox.run(["commit", "project", "-m", "at last"]);
}

/// Goal: a client that is stopped ends at once, changes no branch, and leaves nothing with the owner. Method: ctrl-C in the middle
/// of commits of new files; the owner goes on, and a collection takes what was sent.
#[test]
fn a_stopped_client_leaves_nothing() {
    let sandbox = Sandbox::new();
    let owner = sandbox.serve();
    let extents = || sandbox.json(["info"])["extents"].as_u64().expect("a number");
    let before = extents();
    let mut stopped = 0;
    for round in 0..4u64 {
        for number in 0..400u64 {
            sandbox.write(
                format!("project/{number}"),
                pattern(20_000, round * 1000 + number),
            );
        }
        let received = received(&owner);
        let mut client = sandbox.spawn(["commit", "project", "-m", "never", "-b", "never"]);
        await_bytes(&owner, &mut client, received + 500_000 + round * 1_000_000);
        if client.try_wait().expect("ours").is_none() {
            send(&client, Signal::INT);
        }
        let output = client.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(130) => stopped += 1,
            // It was done before.
            Some(0) => drop(sandbox.run(["branch", "-d", "never"])),
            code => panic!("{code:?}: {stderr}"),
        }
        sandbox.fails(3, ["log", "never"]);
    }
    assert!(stopped > 0, "no client was stopped at work");
    sandbox.run(["gc"]);
    // Whether a directory was seen is all that may be left.
    assert!(extents() <= before + 8, "{} extents are left", extents() - before);
    owner.end();
    assert!(sandbox.run(["check", "--read-data"]).contains("0 damaged"));
}
