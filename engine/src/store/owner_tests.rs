//! Ownership among real processes: this test program starts itself again to hold stores and be killed.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;

const HOLD: &str = "HELIOS_TEST_HOLD";

/// A process that has a store.
struct Other {
    child: Child,
    /// Kept open: the other process still prints its result.
    _output: BufReader<ChildStdout>,
}

impl Other {
    /// Starts one, which must get it.
    fn start(subject: &Subject, access: Access) -> Other {
        let what = match subject {
            Subject::Path(path) => format!("path {}", path.display()),
            Subject::Address(address) => format!("address {address}"),
        };
        let mut child = Command::new(std::env::current_exe().expect("tests have a program"))
            .args([
                "--exact",
                "store::owner::tests::hold_a_store",
                "--ignored",
                "--nocapture",
            ])
            .env(HOLD, format!("{access:?} {what}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test program starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut lines = output.by_ref().lines().map_while(io::Result::ok);
        let held = lines.any(|line| line.contains("held"));
        assert!(held, "the other process did not get {what}");
        Other {
            child,
            _output: output,
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Lets it drop the store and end.
    fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("it ends").success());
    }
}

/// The other process: holds what the environment says until its input ends.
#[test]
#[ignore = "a part of the other tests, which start it"]
fn hold_a_store() {
    let Ok(wanted) = std::env::var(HOLD) else { return };
    let mut words = wanted.splitn(3, ' ');
    let mut word = || words.next().expect("three words");
    let access = if word() == "Shared" {
        Access::Shared
    } else {
        Access::Exclusive
    };
    let subject = match word() {
        "path" => Subject::Path(word().into()),
        _ => Subject::Address(word().into()),
    };
    let owner = Owner::acquire(&subject, access).expect("the store is free");
    owner
        .publish(Some(Path::new("/run/control socket")))
        .expect("publishing");
    println!("held");
    io::stdout().flush().expect("a pipe");
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

/// A directory with a store in it.
fn store() -> (tempfile::TempDir, Subject, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    fs::write(&path, b"bytes").expect("a file");
    (directory, Subject::Path(path.clone()), path)
}

fn assert_in_use_by(result: Result<Owner>, expected: u32) {
    match result {
        Err(Error::InUse { pid, .. }) => assert_eq!(pid, expected),
        other => panic!("expected the store to be in use by {expected}, got {other:?}"),
    }
}

/// Goal: a second process is refused and told the first one's id; after a clean end the store is free and the
/// directory as it was. Method: two processes.
#[test]
fn one_process_owns_a_store() {
    let (directory, subject, _) = store();
    let other = Other::start(&subject, Access::Exclusive);
    assert_in_use_by(Owner::acquire(&subject, Access::Exclusive), other.pid());
    assert_in_use_by(Owner::acquire(&subject, Access::Shared), other.pid());
    let found = holder(&subject).expect("readable").expect("it has an owner");
    assert_eq!(
        (found.pid, found.socket),
        (other.pid(), Some("/run/control socket".into()))
    );
    other.stop();
    assert_eq!(holder(&subject).expect("readable"), None);
    assert_eq!(
        fs::read_dir(directory.path()).expect("readable").count(),
        1,
        "a lock file was left"
    );
    Owner::acquire(&subject, Access::Exclusive).expect("it is free");
}

/// Goal: the lock of a killed owner is no obstacle, and its record is not believed. Method: `SIGKILL`, twice in a row.
#[test]
fn a_killed_owner_does_not_block() {
    let (directory, subject, _) = store();
    for _ in 0..2 {
        let other = Other::start(&subject, Access::Exclusive);
        other.kill();
        assert!(
            directory.path().join("store.lock").exists(),
            "the kill left the lock file"
        );
        assert_eq!(holder(&subject).expect("readable"), None);
    }
    let owner = Owner::acquire(&subject, Access::Exclusive).expect("a dead owner owns nothing");
    let found = decode(&owner.lock.as_ref().expect("owners have one").0).expect("a whole record");
    assert_eq!(found.pid, std::process::id());
}

/// Goal: readers get along with each other and exclude owners, also when killed. Method: three processes.
#[test]
fn readers_share_and_exclude_owners() {
    let (_directory, subject, _) = store();
    let (first, second) = (
        Other::start(&subject, Access::Shared),
        Other::start(&subject, Access::Shared),
    );
    let mine = Owner::acquire(&subject, Access::Shared).expect("readers share");
    drop(mine);
    second.stop();
    assert_in_use_by(Owner::acquire(&subject, Access::Exclusive), first.pid());
    first.kill();
    Owner::acquire(&subject, Access::Exclusive).expect("no readers are left");
}

/// Goal: one store under several names is one store. Method: symbolic link to the file, to its directory, hard link.
#[test]
fn links_to_a_store_are_the_store() {
    let (directory, subject, path) = store();
    let (soft, hard) = (directory.path().join("soft"), directory.path().join("hard"));
    symlink(&path, &soft).expect("a link");
    fs::hard_link(&path, &hard).expect("a link");
    let around = tempfile::tempdir().expect("a directory");
    symlink(directory.path(), around.path().join("dir")).expect("a link");
    let names = [soft, hard, around.path().join("dir/store")];
    let other = Other::start(&subject, Access::Exclusive);
    for name in &names {
        assert_in_use_by(
            Owner::acquire(&Subject::Path(name.clone()), Access::Exclusive),
            other.pid(),
        );
        assert_in_use_by(
            Owner::acquire(&Subject::Path(name.clone()), Access::Shared),
            other.pid(),
        );
    }
    other.stop();
    for name in names {
        Owner::acquire(&Subject::Path(name), Access::Exclusive).expect("it is free");
    }
}

/// Goal: opening a store twice in one process is refused too. Method: do it.
#[test]
fn one_process_cannot_own_a_store_twice() {
    let (_directory, subject, _) = store();
    let owner = Owner::acquire(&subject, Access::Exclusive).expect("it is free");
    assert_in_use_by(Owner::acquire(&subject, Access::Exclusive), std::process::id());
    drop(owner);
    Owner::acquire(&subject, Access::Exclusive).expect("it is free again");
}

/// Goal: addresses outside the file system are owned as well, and different ones don't collide. Method: two processes
/// and a name nobody else uses.
#[test]
fn addresses_are_owned_by_name() {
    let unique = |what: &str| Subject::Address(format!("test:{}/{what}", std::process::id()));
    let other = Other::start(&unique("one"), Access::Exclusive);
    assert_in_use_by(Owner::acquire(&unique("one"), Access::Exclusive), other.pid());
    assert_in_use_by(Owner::acquire(&unique("one"), Access::Shared), other.pid());
    Owner::acquire(&unique("two"), Access::Exclusive).expect("another store");
    other.kill();
    Owner::acquire(&unique("one"), Access::Exclusive).expect("its owner is dead");
}

/// Goal: a record with a pid that another process has by now is not believed. Method: our pid with another start.
#[test]
fn a_reused_process_id_is_no_owner() {
    let mine = Holder {
        pid: std::process::id(),
        started: started(std::process::id()).expect("we run"),
        socket: None,
    };
    assert!(is_alive(&mine));
    assert!(!is_alive(&Holder {
        started: mine.started + 1,
        ..mine
    }));
}

/// Goal: torn, empty, foreign and damaged records are no records. Method: every truncation, every flipped bit.
#[test]
fn damaged_records_are_refused() {
    let holder = Holder {
        pid: 4_000_000,
        started: 77,
        socket: Some("/a b/c".into()),
    };
    let record = encode(&holder).expect("it fits").into_bytes();
    let decoded = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("writable");
        decode(&file)
    };
    assert_eq!(decoded(&record), Some(holder.clone()));
    for length in 0..record.len() - 1 {
        assert_eq!(decoded(&record[..length]), None, "{length} bytes");
    }
    for bit in 0..(record.len() - 1) * 8 {
        let mut bytes = record.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decoded(&bytes), None, "bit {bit}");
    }
    // A longer record before it may leave its end behind for a moment.
    assert_eq!(decoded(&[&record, &record[20..]].concat()), Some(holder));
}

/// Goal: what cannot be locked is said clearly, and readers need no writable directory. Method: a missing store, a
/// directory, a directory without write permission (its lock file replaced by a directory, which stops root too).
#[test]
fn what_cannot_be_locked_is_named() {
    let (directory, subject, path) = store();
    let missing = Subject::Path(directory.path().join("missing"));
    assert!(matches!(
        Owner::acquire(&missing, Access::Exclusive),
        Err(Error::NotFound { .. })
    ));
    let folder = Subject::Path(directory.path().into());
    assert!(matches!(
        Owner::acquire(&folder, Access::Exclusive),
        Err(Error::NotAStore { .. })
    ));

    fs::create_dir(directory.path().join("store.lock")).expect("a directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o555)).expect("ours");
    let error = Owner::acquire(&subject, Access::Exclusive).expect_err("there is no place for a lock");
    let text = error.to_string();
    assert!(
        text.contains("create the lock file") && text.contains("store.lock"),
        "{text}"
    );
    Owner::acquire(&subject, Access::Shared).expect("readers leave no trace");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("ours");
    assert!(path.exists());
}

/// Goal: a block device is owned under all its names, and its lock lies in the runtime directory. Method: as root, a
/// loop device and a symbolic link to it; skipped with a note otherwise.
#[test]
fn a_block_device_is_owned_under_all_its_names() {
    let (directory, _, path) = store();
    fs::write(&path, vec![0; 1 << 20]).expect("a file");
    let made = Command::new("losetup")
        .args(["--find", "--show"])
        .arg(&path)
        .output();
    let Some(made) = made.ok().filter(|output| output.status.success()) else {
        println!("skipped: no loop device can be made here (needs root)");
        return;
    };
    let device = PathBuf::from(String::from_utf8(made.stdout).expect("a path").trim());
    let link = directory.path().join("link");
    symlink(&device, &link).expect("a link");
    let subjects = [Subject::Path(device.clone()), Subject::Path(link)];
    let outcome = std::panic::catch_unwind(|| {
        let other = Other::start(&subjects[0], Access::Exclusive);
        for subject in &subjects {
            assert_in_use_by(Owner::acquire(subject, Access::Exclusive), other.pid());
            assert_in_use_by(Owner::acquire(subject, Access::Shared), other.pid());
        }
        other.kill();
        for subject in &subjects {
            Owner::acquire(subject, Access::Exclusive).expect("its owner is dead");
            Owner::acquire(subject, Access::Shared).expect("nobody has it");
        }
        assert!(
            !Path::new(&format!("{}.lock", device.display())).exists(),
            "a lock file in /dev"
        );
    });
    let _ = Command::new("losetup").arg("--detach").arg(&device).status();
    outcome.expect("the assertions above hold");
}
