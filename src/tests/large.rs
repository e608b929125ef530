//! A directory of the size people have: at least 20,000 files and 300 MB, killed in the middle of a second commit.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::XattrFlags;
use rustix::process::Signal;

use crate::crash::{pause, signal};
use crate::sandbox::{Sandbox, pattern};
use crate::snapshot;

const FILES: usize = 20_000;
const BYTES: u64 = 300_000_000;
/// Milliseconds after which a second commit is killed.
const MOMENTS: [u64; 4] = [20, 60, 150, 300];

/// Goal: contents, modes, times, attributes and links of a large real directory survive a kill during a second
/// commit. Method: the sources of Rust packages (filled up where there are too few) with links, odd modes and
/// attributes; commit; change a tenth and kill the commit of that at several moments; reopen; materialize; compare.
#[test]
fn a_large_directory_survives_a_kill() {
    let sandbox = Sandbox::bare();
    sandbox.run(["init", "--size", "8G", "-q"]);
    let (files, bytes) = fill(&sandbox);
    println!("{files} files, {bytes} bytes");
    let first = sandbox.commit("the first");
    let before = snapshot::take(&sandbox.work());

    let mut killed = 0;
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        for number in 0..FILES / 10 {
            let name = format!("changed/{}/{number}", number % 50);
            sandbox.write(name, pattern(10_000, (round * FILES + number) as u64));
        }
        let mut child = sandbox.spawn(["commit", "-m", "the one that is killed"]);
        pause(moment);
        signal(&child, Signal::KILL);
        killed += u32::from(!child.wait().expect("it ends").success());
    }
    assert!(
        killed > 0,
        "no commit was killed before its end; the test has shown nothing"
    );

    let copy = sandbox.path("copy");
    sandbox.run(["materialize".as_ref(), first.as_ref(), copy.as_os_str()]);
    snapshot::assert_same(&before, &snapshot::take(&copy));
    assert_eq!(sandbox.json(["check"])["damage"], serde_json::json!([]));
}

/// Makes the directory; answers how many files and bytes it has.
fn fill(sandbox: &Sandbox) -> (usize, u64) {
    let (mut files, mut bytes) = (0, 0);
    for package in packages() {
        if files >= FILES && bytes >= BYTES {
            break;
        }
        let copied = Command::new("cp")
            .arg("-a")
            .arg(&package)
            .arg(sandbox.work())
            .status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "cp -a {}",
            package.display()
        );
        let name = package.file_name().expect("a name");
        count(&sandbox.work().join(name), &mut files, &mut bytes);
    }
    let missing_files = FILES.saturating_sub(files);
    let missing_bytes = BYTES.saturating_sub(bytes);
    let fillers = missing_files.max(usize::try_from(missing_bytes.div_ceil(100_000)).expect("a count"));
    if let Some(length) = usize::try_from(missing_bytes)
        .expect("a length")
        .checked_div(fillers)
    {
        let length = length + 1;
        for number in 0..fillers {
            sandbox.write(
                format!("fill/{}/{number}", number % 300),
                pattern(length, number as u64),
            );
        }
        files += fillers;
        bytes += (fillers * length) as u64;
    }
    let work = sandbox.work();
    for number in 0..50 {
        let path = work.join(format!("special/file{number}"));
        sandbox.write(&path, format!("special {number}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400 + number * 3 % 0o400)).expect("a mode");
        fs::hard_link(&path, work.join(format!("special/twin{number}"))).expect("a link");
        symlink(
            format!("file{number}"),
            work.join(format!("special/link{number}")),
        )
        .expect("a link");
        // Not every file system has attributes; the comparison takes what is there.
        let _ = rustix::fs::setxattr(
            &path,
            "user.helios.test",
            format!("value {number}").as_bytes(),
            XattrFlags::empty(),
        );
    }
    (files + 100, bytes)
}

/// Sources of Rust packages on this machine.
fn packages() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let Some(registries) = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok()) else {
        return Vec::new();
    };
    let mut packages: Vec<PathBuf> = registries
        .filter_map(|registry| fs::read_dir(registry.ok()?.path()).ok())
        .flatten()
        .filter_map(|package| Some(package.ok()?.path()))
        .collect();
    packages.sort();
    packages
}

fn count(path: &Path, files: &mut usize, bytes: &mut u64) {
    let metadata = fs::symlink_metadata(path).expect("a name that was copied");
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            count(&entry.expect("an entry").path(), files, bytes);
        }
    } else {
        *files += 1;
        *bytes += metadata.len();
    }
}
