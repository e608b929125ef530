//! Bad input: every one of these answers with an error that says what, where and what to do; none harms the store.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

use crate::sandbox::{Sandbox, pattern};
use crate::snapshot;

/// Commands that open the store, reading and writing.
const OPENING: [&[&str]; 8] = [
    &["info"],
    &["stats"],
    &["check"],
    &["log"],
    &["branch"],
    &["commit"],
    &["put", "/dev/null"],
    &["ls"],
];

/// Goal: a store that is missing, empty, too short or something else is refused by every command, unchanged.
#[test]
fn what_is_no_store_is_refused() {
    let sandbox = Sandbox::bare();
    for arguments in OPENING {
        let message = sandbox.fails(3, arguments);
        assert!(message.contains("helios init"), "{message}");
    }
    assert!(!sandbox.store().exists(), "a failing command made a store");

    let foreign: [(&str, Vec<u8>); 4] = [
        ("empty", Vec::new()),
        ("short", pattern(100, 1)),
        ("foreign", pattern(4 << 20, 2)),
        ("zeroes", vec![0; 4 << 20]),
    ];
    for (name, bytes) in foreign {
        fs::write(sandbox.store(), &bytes).expect("a file");
        for arguments in OPENING {
            let message = sandbox.fails(7, arguments);
            assert!(message.contains("store.helios"), "{name}: {message}");
        }
        assert!(
            fs::read(sandbox.store()).expect("a file") == bytes,
            "{name}: a refused file was changed"
        );
    }
    fs::remove_file(sandbox.store()).expect("removed");
    fs::create_dir(sandbox.store()).expect("a directory");
    for arguments in OPENING {
        let output = sandbox
            .helios()
            .args(arguments)
            .output()
            .expect("the program runs");
        assert!(!output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("panicked"));
    }
}

/// Goal: a truncated store is refused with a message, at every length that cuts something.
#[test]
fn a_truncated_store_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.populate();
    sandbox.commit("first");
    let length = fs::metadata(sandbox.store()).expect("the store").len();
    for length in [length - 4096, length / 2, 8 << 20, 4096, 100] {
        File::options()
            .write(true)
            .open(sandbox.store())
            .expect("the store")
            .set_len(length)
            .expect("cut");
        sandbox.fails(7, ["info"]);
        sandbox.fails(7, ["commit"]);
    }
}

/// Goal: a flipped byte in the first superblock is survived through the second; with both damaged it is refused.
#[test]
fn one_damaged_superblock_is_survived() {
    let sandbox = Sandbox::new();
    sandbox.populate();
    let commit = sandbox.commit("first");
    let file = File::options()
        .read(true)
        .write(true)
        .open(sandbox.store())
        .expect("the store");
    let length = file.metadata().expect("the store").len();
    let flip = |offset: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("a byte");
        file.write_all_at(&[byte[0] ^ 0x10], offset).expect("a byte");
    };
    flip(64);
    let log = sandbox.json(["log"]);
    assert_eq!(log["commits"][0]["commit"], commit.as_str());
    flip(length - 4096 + 64);
    sandbox.fails(7, ["log"]);
    flip(length - 4096 + 64);
    assert_eq!(sandbox.json(["log"])["commits"][0]["commit"], commit.as_str());
}

/// Goal: a second process is told who uses the store, with an exit code of its own, and works when the first is done.
#[test]
fn a_store_in_use_names_its_owner() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "x");
    let mut owner = sandbox.spawn(["put", "-q"]);
    let mut input = owner.stdin.take().expect("a pipe");
    // More than the pipe and one read hold, so the owner has opened the store when the write returns.
    input.write_all(&pattern(4 << 20, 1)).expect("the owner reads");
    let message = sandbox.fails(5, ["commit"]);
    assert!(message.contains(&owner.id().to_string()), "{message}");
    drop(input);
    assert!(owner.wait_with_output().expect("the owner ends").status.success());
    sandbox.commit("first");
}

/// Goal: an owner that was killed does not keep others out.
#[test]
fn a_dead_owner_is_no_owner() {
    let sandbox = Sandbox::new();
    let mut owner = sandbox.spawn(["put", "-q"]);
    let mut input = owner.stdin.take().expect("a pipe");
    input.write_all(&pattern(4 << 20, 1)).expect("the owner reads");
    owner.kill().expect("killed");
    owner.wait().expect("gone");
    sandbox.write("file", "x");
    sandbox.commit("first");
    assert_eq!(
        sandbox.json(["check", "--read-data"])["damage"],
        serde_json::json!([])
    );
}

/// Goal: a full store says so with a code of its own, keeps what it had, and takes deletions.
#[test]
fn a_full_store_says_so() {
    let sandbox = Sandbox::bare();
    sandbox.run(["init", "--size", "64M"]);
    sandbox.write("small", "kept");
    let first = sandbox.commit("first");
    for number in 0..20 {
        sandbox.write(format!("large/{number}"), pattern(8 << 20, number));
    }
    let message = sandbox.fails(6, ["commit"]);
    assert!(
        message.contains("full") && message.contains("hint: "),
        "{message}"
    );
    assert_eq!(sandbox.json(["log"])["commits"][0]["commit"], first.as_str());
    assert_eq!(sandbox.run(["cat", "main:small"]), "kept");
    sandbox.run(["branch", "other"]);
    sandbox.run(["branch", "-d", "other"]);
    assert_eq!(
        sandbox.json(["check", "--read-data"])["damage"],
        serde_json::json!([])
    );
}

/// Goal: a store that outgrows the disk below it says so at once, keeps what it had, and takes what still fits.
/// Method: a sparse store far larger than the file system it is on; only root can make such a file system.
#[test]
fn a_full_disk_below_the_store_says_so() {
    let disk = match SmallDisk::new(24) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("not tested, no small file system can be made: {reason}");
            return;
        }
    };
    let sandbox = Sandbox::on_disk(disk.0.path());
    sandbox.run(["init", "--size", "1G"]);
    sandbox.write("small", "kept");
    let first = sandbox.commit("first");
    for number in 0..5 {
        sandbox.write(format!("large/{number}"), pattern(8 << 20, number));
    }
    let message = sandbox.fails(6, ["commit"]);
    assert!(
        message.contains("disk below") && message.contains("hint: free some space"),
        "{message}"
    );
    assert_eq!(sandbox.json(["log"])["commits"][0]["commit"], first.as_str());
    std::fs::remove_dir_all(sandbox.work().join("large")).expect("removed");
    sandbox.write("small", "changed");
    sandbox.commit("second");
    assert_eq!(sandbox.run(["cat", "main:small"]), "changed");
    assert_eq!(
        sandbox.json(["check", "--read-data"])["damage"],
        serde_json::json!([])
    );
}

/// A file system in memory of a few MiB, until it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(mib: u32) -> Result<SmallDisk, String> {
        let place = tempfile::tempdir().expect("a directory");
        let options = format!("size={mib}m");
        let made = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(place.path())
            .output()
            .map_err(|error| error.to_string())?;
        if made.status.success() {
            Ok(SmallDisk(place))
        } else {
            Err(String::from_utf8_lossy(&made.stderr).into_owned())
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

/// Goal: paths cannot leave the tree or the target, however they are written.
#[test]
fn paths_stay_inside() {
    let sandbox = Sandbox::new();
    sandbox.populate();
    sandbox.commit("first");
    fs::write(sandbox.path("secret"), "untouched").expect("a file");
    for path in ["main:../secret", "main:/etc/passwd", "main:src/../../secret"] {
        let output = sandbox
            .helios()
            .args(["cat", path])
            .output()
            .expect("the program runs");
        assert!(
            matches!(output.status.code(), Some(2 | 3)),
            "{path}: {:?}",
            output.status
        );
    }
    for path in ["../secret", "/etc/passwd"] {
        sandbox.fails(2, ["restore", "main", "--", path]);
        sandbox.fails(2, ["diff", "main", "main", "--", path]);
    }
    // A directory of the state is a link to outside now: nothing may be written through it.
    let outside = sandbox.path("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::remove_dir_all(sandbox.work().join("src")).expect("removed");
    symlink(&outside, sandbox.work().join("src")).expect("a link");
    sandbox.run(["restore", "main"]);
    assert_eq!(
        fs::read_dir(&outside).expect("a directory").count(),
        0,
        "restore wrote through a link"
    );
    assert_eq!(sandbox.read("src/main.rs"), b"fn main() {}\n");
    assert_eq!(fs::read(sandbox.path("secret")).expect("a file"), b"untouched");
}

/// Goal: `/` and the home directory are refused unless forced; the store is never part of a commit.
#[test]
fn the_home_is_refused_and_the_store_left_out() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("home/file"), "x").expect("a file");
    for directory in [sandbox.path("home"), "/".into()] {
        let message = sandbox.fails(2, ["commit".as_ref(), directory.as_os_str()]);
        assert!(message.contains("--force"), "{message}");
    }
    sandbox.run([
        "commit".as_ref(),
        sandbox.path("home").as_os_str(),
        "--force".as_ref(),
    ]);
    // The parent of the working directory holds the store.
    sandbox.run([
        "commit".as_ref(),
        sandbox.path("").as_os_str(),
        "-b".as_ref(),
        "all".as_ref(),
    ]);
    let names = sandbox.run(["ls", "all"]);
    assert!(!names.lines().any(|name| name == "store.helios"), "{names}");
    assert!(names.lines().any(|name| name == "home/"), "{names}");
}

/// Goal: unreadable files are named and nothing is committed without saying so; sockets are counted.
#[test]
fn what_cannot_be_committed_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "x");
    let socket = std::os::unix::net::UnixListener::bind(sandbox.work().join("socket")).expect("a socket");
    let output = sandbox.helios().args(["commit", "--json"]).assert().code(8);
    let reply: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON");
    assert_eq!(reply["warnings"]["count"], 1, "{reply}");
    let path = reply["warnings"]["first"][0]["path"].as_str().expect("a path");
    assert!(path.ends_with("/socket"), "{reply}");
    drop(socket);
    fs::remove_file(sandbox.work().join("socket")).expect("removed");

    if rustix::process::geteuid().is_root() {
        println!("root reads everything: unreadable files are not tested");
        return;
    }
    sandbox.write("secret", "x");
    fs::set_permissions(sandbox.work().join("secret"), fs::Permissions::from_mode(0o0)).expect("a mode");
    let message = sandbox.fails(1, ["commit"]);
    assert!(message.contains("secret"), "{message}");
}

/// Goal: missing and wrong directories are named.
#[test]
fn wrong_directories_are_named() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "x");
    sandbox.commit("first");
    for arguments in [&["commit", "nowhere"][..], &["status", "nowhere"]] {
        let message = sandbox.fails(3, arguments);
        assert!(message.contains("nowhere"), "{message}");
    }
    let output = sandbox
        .helios()
        .args(["commit", "file"])
        .output()
        .expect("the program runs");
    assert!(!output.status.success());
    let output = sandbox
        .helios()
        .args(["materialize", "main", "file"])
        .output()
        .expect("the program runs");
    assert!(!output.status.success());
    assert_eq!(sandbox.read("file"), b"x");
    let output = sandbox
        .helios()
        .args(["materialize", "main", "no/such/parent"])
        .output()
        .expect("the program runs");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

/// Goal: a malformed command line is usage: code 2, and says how it is meant.
#[test]
fn malformed_command_lines_are_usage() {
    let sandbox = Sandbox::new();
    let malformed: [&[&str]; 14] = [
        &[],
        &["no-such-command"],
        &["commit", "--durability", "maybe"],
        &["init", "--size", "lots"],
        &["log", "--since", "yesterday"],
        &["log", "-n", "-1"],
        &["branch", "a", "--count", "0"],
        &["branch", "--count", "3"],
        &["branch", "-m", "only-one"],
        &["diff"],
        &["diff", "main", "main", "--stat", "-p"],
        &["restore", "main", "--delete", "--keep-extra"],
        &["materialize", "main"],
        &["info", "-q", "-v"],
    ];
    for arguments in malformed {
        let output = sandbox
            .helios()
            .args(arguments)
            .output()
            .expect("the program runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(
            stderr.contains("Usage:") || stderr.contains("--help"),
            "{arguments:?}: {stderr}"
        );
    }
}

/// Goal: bad names of branches and tags are refused, and refused names leave nothing behind.
#[test]
fn bad_names_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "x");
    sandbox.commit("first");
    let long = "x".repeat(300);
    for name in ["", "a b~1", "-x", "a:b", "a@{b", "a..b/../c", long.as_str()] {
        for what in ["branch", "tag"] {
            let output = sandbox
                .helios()
                .args([what, "--", name])
                .output()
                .expect("the program runs");
            assert_eq!(output.status.code(), Some(2), "{what} {name:?}");
        }
    }
    assert_eq!(sandbox.run(["tag"]), "");
    assert_eq!(sandbox.run(["branch"]).lines().count(), 1);
}

/// Goal: the directory is as it was after every refused restore.
#[test]
fn a_refused_restore_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.populate();
    sandbox.commit("first");
    sandbox.write("README.md", "changed");
    let before = snapshot::take(&sandbox.work());
    sandbox.fails(3, ["restore", "nope"]);
    sandbox.fails(3, ["restore", "main~5"]);
    sandbox.fails(2, ["restore", "main", "--", "../.."]);
    snapshot::assert_same(&before, &snapshot::take(&sandbox.work()));
}
