//! User space only: no mounts, namespaces, cgroups, kernel modules or capabilities, in the source and at run time. The one
//! exception is `helios device`, by which root prepares a machine; it has the system's own programs do such things, and
//! no other part starts programs but `helios benchmark`, which measures git and a server beside itself.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::pattern;

/// System calls that need a privilege, or make a name space.
const FORBIDDEN_CALLS: &[&str] = &[
    "acct",
    "bpf",
    "capset",
    "chroot",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "reboot",
    "sethostname",
    "setdomainname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "umount",
    "umount2",
    "unshare",
    "userfaultfd",
];

/// Words that have no place in a program without privileges.
const FORBIDDEN_WORDS: &[&str] = &[
    "mount",
    "umount",
    "umount2",
    "unshare",
    "setns",
    "pivot_root",
    "chroot",
    "init_module",
    "finit_module",
    "fsopen",
    "fsmount",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "CLONE_NEWNS",
    "CLONE_NEWUSER",
    "CLONE_NEWPID",
    "CAP_SYS_ADMIN",
    "overlayfs",
    "overlay",
    "fuse",
    "fuser",
    "libfuse",
    "cgroup",
    "cgroups",
    "capset",
    "prctl",
    "ioperm",
    "iopl",
    "setuid",
    "setgid",
    "setresuid",
    "setresgid",
    "sudo",
];

/// Packages that exist to do such things.
const FORBIDDEN_PACKAGES: &[&str] = &[
    "fuser",
    "fuse3",
    "polyfuse",
    "libmount",
    "sys-mount",
    "caps",
    "capctl",
    "unshare",
    "cgroups-rs",
];

/// Goal: no source file uses a privileged operation. Method: every word of every line of code, comments and texts
/// left out; the tests are not part of the program.
#[test]
fn the_source_asks_for_no_privilege() {
    let mut files = 0;
    let mut found = Vec::new();
    for path in sources() {
        files += 1;
        let text = fs::read_to_string(&path).expect("a source file");
        for (number, line) in text.lines().enumerate() {
            for word in words(line) {
                if FORBIDDEN_WORDS.contains(&word.as_str()) {
                    found.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(files > 40, "only {files} source files were found");
    assert!(found.is_empty(), "privileged operations:\n{}", found.join("\n"));
}

/// The files of the program; tests are not part of it.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting: Vec<PathBuf> = ["src", "engine/src", "fallback-io/src"]
        .map(|name| root.join(name))
        .into();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "tests") {
                waiting.extend(
                    fs::read_dir(&path)
                        .expect("a directory")
                        .map(|entry| entry.expect("an entry").path()),
                );
            }
            continue;
        }
        let name = path.to_string_lossy();
        if name.ends_with(".rs") && !name.ends_with("_tests.rs") {
            found.push(path);
        }
    }
    found
}

/// Identifiers of a line of code: what follows `//` and what is between double quotes is text.
fn words(line: &str) -> Vec<String> {
    let mut code = String::new();
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\\' if quoted => {
                characters.next();
            }
            '"' => {
                quoted = !quoted;
                code.push(' ');
            }
            '/' if !quoted && characters.peek() == Some(&'/') => break,
            _ if quoted => {}
            c => code.push(c),
        }
    }
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .map(str::to_owned)
        .collect()
}

/// Goal: the privileged operations of other programs are asked for in one place. Method: only that file starts programs, and one
/// that starts git and this program.
#[test]
fn two_files_start_programs() {
    const STARTS: [&str; 2] = [
        "engine/src/device/pci/host.rs",
        "src/cli/commands/benchmark/programs.rs",
    ];
    let mut found: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .filter(|path| {
            let text = fs::read_to_string(path).expect("a source file");
            text.contains("process::Command") || text.contains("Command::new(")
        })
        .collect();
    found.sort();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let allowed = STARTS.map(|name| root.join(name));
    assert_eq!(found, allowed, "the files that start programs");
}

/// Goal: the scan sees what it should see.
#[test]
fn the_scan_finds_a_planted_call() {
    assert!(words("    rustix::mount::mount(source, target)?; // harmless").contains(&"mount".to_owned()));
    assert!(!words("    // never mount anything").contains(&"mount".to_owned()));
    assert!(!words(r#"    say("no \"mount\" here");"#).contains(&"mount".to_owned()));
}

/// Goal: no dependency exists to do privileged things.
#[test]
fn no_package_asks_for_a_privilege() {
    let lock =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).expect("the lock file");
    let names: BTreeSet<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    assert!(names.contains("helios"));
    for package in FORBIDDEN_PACKAGES {
        assert!(!names.contains(package), "{package} is a dependency");
    }
}

/// Goal: a whole working day needs no privilege and makes no privileged call. Method: run it under strace as a user
/// without any capability (when root), and look at every system call of every thread.
#[test]
fn the_program_asks_for_no_privilege() {
    let required = std::env::var_os("HELIOS_REQUIRE_STRACE").is_some();
    let probe = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        assert!(!required, "strace does not work");
        println!("strace is missing or forbidden: the running program was not traced");
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let program = root.path().join("helios");
    fs::copy(assert_cmd::cargo::cargo_bin!("helios"), &program).expect("a copy");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    let work = root.path().join("work");
    for number in 0..50 {
        let path = work.join(format!("d{}/f{number}", number % 5));
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, pattern(number * 1000, number as u64)).expect("a file");
    }
    let as_root = rustix::process::geteuid().is_root();
    if as_root {
        give_away(root.path(), 65534);
    }
    let script = "set -e
        helios init --size 256M; helios commit work -m first; helios branch 'agent-{n}' --count 10
        echo changed > work/d1/f1; helios commit work -b agent-3; helios diff main agent-3 -p; helios status work
        helios log; helios ls main -lR; helios cat main:d1/f6 > /dev/null; helios restore main work
        helios materialize main copy; id=$(helios put -q helios); helios get $id > /dev/null; helios pin $id
        helios check --read-data; helios info; helios stats";
    let log = root.path().join("calls");
    let mut command = if as_root {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
            "--bounding-set=-all",
        ]);
        command.args(["--no-new-privs", "strace"]);
        command
    } else {
        Command::new("strace")
    };
    let output = command
        .args(["-f", "-qq", "-o"])
        .arg(&log)
        .args(["bash", "-c", script])
        .env_clear()
        .env(
            "PATH",
            format!("{}:/usr/local/bin:/usr/bin:/bin", root.path().display()),
        )
        .env("HOME", root.path())
        .env("HELIOS_STORE", root.path().join("store.helios"))
        .current_dir(root.path())
        .output()
        .expect("strace runs");
    assert!(
        output.status.success(),
        "the working day failed without privileges: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let calls = fs::read_to_string(&log).expect("the trace");
    let mut seen = BTreeSet::new();
    for line in calls.lines() {
        // "PID name(arguments) = result"
        let Some(call) = line
            .split_whitespace()
            .nth(1)
            .and_then(|rest| rest.split('(').next())
        else {
            continue;
        };
        seen.insert(call);
        assert!(!line.contains("CLONE_NEW"), "a name space: {line}");
        assert!(!FORBIDDEN_CALLS.contains(&call), "a privileged call: {line}");
    }
    for expected in ["execve", "openat", "exit_group"] {
        assert!(
            seen.contains(expected),
            "the trace shows no {expected}: it is not what it should be"
        );
    }
}

fn give_away(path: &Path, owner: u32) {
    chown(path, Some(owner), Some(owner)).expect("an owner");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            give_away(&entry.expect("an entry").path(), owner);
        }
    }
}
