//! The forms of output: quoting, NUL, colours, quiet, patches, readers that go away.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use crate::sandbox::{Sandbox, pattern};

/// Goal: odd names are one quoted line in text, raw with -z, lossless in JSON, and come back as they were.
#[test]
fn odd_names_survive_every_form() {
    let sandbox = Sandbox::new();
    let names: [&[u8]; 5] = [
        b"new\nline",
        b"\xff\xfe",
        b"quo\"te",
        b"-dash",
        "\u{202e}flip".as_bytes(),
    ];
    sandbox.write("plain", "x");
    sandbox.commit("first");
    for name in names {
        sandbox.write(OsStr::from_bytes(name), "x");
    }
    sandbox.commit("second");
    let text = sandbox.run(["diff", "main~1", "main", "--name-status"]);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('A')).collect();
    assert_eq!(
        lines,
        [
            "A\t-dash",
            "A\t\"new\\nline\"",
            "A\t\"quo\\\"te\"",
            "A\t\"\\342\\200\\256flip\"",
            "A\t\"\\377\\376\""
        ]
    );
    let raw = sandbox
        .helios()
        .args(["ls", "main", "-z"])
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let listed: Vec<&[u8]> = raw
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .collect();
    for name in names {
        assert!(listed.contains(&name), "{name:?}");
    }
    let json = sandbox.json(["ls", "main"]);
    let found = json["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .any(|entry| entry["path"]["hex"] == "fffe");
    assert!(found, "{json}");
    let copy = sandbox.path("copy");
    sandbox.run(["materialize".as_ref(), "main".as_ref(), copy.as_os_str()]);
    for name in names {
        assert!(copy.join(OsStr::from_bytes(name)).exists(), "{name:?}");
    }
}

/// Goal: a patch is what `git apply` takes. Method: apply it to the old state, compare with the new one.
#[test]
fn a_patch_can_be_applied() {
    let sandbox = Sandbox::new();
    let lines = |range: std::ops::Range<u32>| range.map(|n| format!("line {n}\n")).collect::<String>();
    sandbox.write("long", lines(0..100));
    sandbox.write("gone", "bye\n");
    sandbox.write("no newline", "end");
    sandbox.write("binary", b"a\0b");
    sandbox.write("latin1", b"caf\xe9\n");
    sandbox.commit("first");
    let old = sandbox.path("old");
    sandbox.run(["materialize".as_ref(), "main".as_ref(), old.as_os_str()]);
    sandbox.write("long", lines(0..50) + "inserted\n" + &lines(52..100));
    std::fs::remove_file(sandbox.work().join("gone")).expect("removed");
    sandbox.write("no newline", "end\nand more");
    sandbox.write("added/new", "hello\n");
    sandbox.write("latin1", b"th\xe9\n");
    sandbox.commit("second");

    let patch = sandbox
        .helios()
        .args(["diff", "main~1", "main", "-p"])
        .assert()
        .success();
    std::fs::write(sandbox.path("patch"), &patch.get_output().stdout).expect("a file");
    let applied = Command::new("git")
        .args(["apply", "--unsafe-paths", "--whitespace=nowarn"])
        .arg(sandbox.path("patch"))
        .current_dir(&old)
        .env("GIT_CEILING_DIRECTORIES", sandbox.path(""))
        .output();
    let Ok(applied) = applied else {
        println!("git is missing: the patch was not applied");
        return;
    };
    assert!(
        applied.status.success(),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    for name in ["long", "no newline", "added/new", "latin1"] {
        assert_eq!(
            std::fs::read(old.join(name)).expect("patched"),
            sandbox.read(name),
            "{name}"
        );
    }
    assert!(!old.join("gone").exists());

    sandbox.write("binary", b"a\0c");
    sandbox.commit("third");
    let patch = sandbox.run(["diff", "main~1", "main", "-p"]);
    assert!(
        patch.contains("Binary files a/binary and b/binary differ"),
        "{patch}"
    );
    let stat = sandbox.run(["diff", "main~2", "main~1", "--stat"]);
    assert!(stat.contains("long") && stat.contains("insertions(+)"), "{stat}");
}

/// Goal: no colours in pipes, colours when asked; `NO_COLOR` does not overrule an explicit wish.
#[test]
fn colours_only_where_wanted() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "x");
    sandbox.commit("first");
    assert!(!sandbox.run(["log"]).contains('\x1b'));
    assert!(sandbox.run(["log", "--color", "always"]).contains('\x1b'));
    assert!(!sandbox.run(["log", "--color", "never"]).contains('\x1b'));
}

/// Goal: `-q` prints results and nothing else.
#[test]
fn quiet_is_quiet() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "x");
    let output = sandbox.helios().args(["commit", "-q"]).assert().success();
    assert!(output.get_output().stderr.is_empty());
    assert_eq!(sandbox.run(["branch", "other", "-q"]), "");
    assert_eq!(sandbox.run(["materialize", "main", "copy", "-q"]), "");
}

/// Goal: a reader that goes away ends the program silently. Method: read one byte of a long output, close the pipe.
#[test]
fn a_closed_pipe_is_no_error() {
    let sandbox = Sandbox::new();
    sandbox.write("big", pattern(20 << 20, 5));
    let id = sandbox.run(["put", "-q", "big"]);
    let mut child = sandbox.spawn(["get", id.trim()]);
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0]).expect("one byte");
    drop(stdout);
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Goal: an output that takes nothing is a failure, not a success.
#[test]
fn a_full_output_is_a_failure() {
    let sandbox = Sandbox::new();
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        return;
    };
    let status = Command::new(assert_cmd::cargo::cargo_bin!("helios"))
        .env_clear()
        .env("HELIOS_STORE", sandbox.store())
        .arg("info")
        .stdout(full)
        .stderr(Stdio::null())
        .status()
        .expect("the program runs");
    assert_eq!(status.code(), Some(1));
}

/// Goal: with --json a failure is JSON too, on standard error, with class, message and hint.
#[test]
fn failures_are_json_when_asked() {
    let sandbox = Sandbox::new();
    let output = sandbox.helios().args(["log", "nope", "--json"]).assert().code(3);
    assert!(output.get_output().stdout.is_empty());
    let error: serde_json::Value = serde_json::from_slice(&output.get_output().stderr).expect("JSON");
    assert_eq!(error["error"]["class"], "not_found");
    assert!(
        error["error"]["message"]
            .as_str()
            .is_some_and(|message| message.contains("nope"))
    );
}
