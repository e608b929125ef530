//! merge, and the other way to end a race of branches: `branch -f`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::sandbox::{Sandbox, pattern};

/// `main` with a few files, and `agent` at the same commit.
fn forked() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["both", "ours", "theirs", "dir/inner"] {
        sandbox.write(name, "one");
    }
    sandbox.commit("base");
    sandbox.run(["branch", "agent"]);
    sandbox
}

/// Commits the working directory to a branch, from the state of that branch with these files written.
fn step(sandbox: &Sandbox, branch: &str, files: &[(&str, &str)]) -> String {
    sandbox.run(["restore", branch, "--delete", "--no-backup"]);
    for (name, content) in files {
        sandbox.write(name, content);
    }
    let committed = sandbox.json(["commit", "-b", branch]);
    id(&committed["commit"])
}

fn id(value: &Value) -> String {
    value.as_str().expect("an id").to_owned()
}

fn head(sandbox: &Sandbox, branch: &str) -> String {
    id(&sandbox.json(["log", branch, "-n", "1"])["commits"][0]["commit"])
}

/// Runs a merge that must end in conflicts; answers its reply.
fn conflicts(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let output = sandbox.helios().args(arguments).arg("--json").assert().code(10);
    serde_json::from_slice(&output.get_output().stdout).expect("one JSON value")
}

/// Goal: what each side has changed comes together, on the branch and nowhere else. Method: a dry run, the merge, and
/// what the branch, its history and the directory are afterwards.
#[test]
fn a_clean_merge_takes_both_sides() {
    let sandbox = forked();
    let theirs = step(&sandbox, "agent", &[("theirs", "agent's"), ("dir/new", "new")]);
    let ours = step(&sandbox, "main", &[("ours", "main's")]);

    let planned = sandbox.json(["merge", "agent", "--into", "main", "--dry-run"]);
    assert_eq!(planned["outcome"], "merged");
    assert_eq!(
        (&planned["dry_run"], &planned["commit"]),
        (&true.into(), &Value::Null)
    );
    assert_eq!(head(&sandbox, "main"), ours, "a dry run");
    let text = sandbox.run(["merge", "agent", "-n"]);
    assert!(
        text.contains("would merge") && text.contains("A\tdir/new"),
        "{text}"
    );

    let merged = sandbox.json(["merge", "agent", "-m", "together"]);
    assert_eq!(merged["outcome"], "merged");
    assert_eq!(merged["branch"], "main");
    assert_eq!(
        (&merged["ours"], &merged["theirs"]),
        (&ours.as_str().into(), &theirs.as_str().into())
    );
    let paths: Vec<&str> = merged["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .filter_map(|change| change["path"].as_str())
        .collect();
    assert!(
        paths.contains(&"theirs") && paths.contains(&"dir/new") && !paths.contains(&"ours"),
        "{paths:?}"
    );
    assert_eq!(merged["conflicts"], serde_json::json!([]));

    let log = sandbox.json(["log", "main", "-n", "1"]);
    assert_eq!(log["commits"][0]["parents"], serde_json::json!([ours, theirs]));
    assert_eq!(log["commits"][0]["message"], "together");
    for (path, content) in [
        ("ours", "main's"),
        ("theirs", "agent's"),
        ("dir/new", "new"),
        ("both", "one"),
    ] {
        assert_eq!(sandbox.run(["cat", &format!("main:{path}")]), content, "{path}");
    }
    assert_eq!(head(&sandbox, "agent"), theirs);
    assert_eq!(sandbox.read("theirs"), b"one", "the directory is not touched");

    assert_eq!(sandbox.json(["merge", "agent"])["outcome"], "up_to_date");
    let text = sandbox.run(["merge", "agent"]);
    assert!(text.contains("has it already"), "{text}");
    let moved = sandbox.json(["merge", "main", "--into", "agent"]);
    assert_eq!(moved["outcome"], "fast_forward");
    assert_eq!(head(&sandbox, "agent"), head(&sandbox, "main"));
    assert_eq!(
        sandbox.json(["check", "--read-data"])["damage"],
        serde_json::json!([])
    );
}

/// Goal: conflicts have an exit code of their own, name every path with both sides, and leave everything as it was.
/// Method: one of each kind, in text and JSON, names with odd bytes among them.
#[test]
fn conflicts_are_listed_and_change_nothing() {
    let sandbox = Sandbox::new();
    let odd = OsStr::from_bytes(b"odd\n\xff");
    for name in ["both", "gone", "kept"] {
        sandbox.write(name, "one");
    }
    sandbox.write(odd, "one");
    sandbox.commit("base");
    sandbox.run(["branch", "agent"]);
    sandbox.write("both", "agent's");
    sandbox.write("gone", "agent's");
    sandbox.write("made", "agent's");
    sandbox.write(odd, "agent's");
    sandbox.run(["commit", "-b", "agent"]);
    sandbox.write("both", "main's");
    sandbox.write("made", "main's");
    sandbox.write(odd, "main's");
    fs::remove_file(sandbox.work().join("gone")).expect("removed");
    fs::set_permissions(sandbox.work().join("kept"), fs::Permissions::from_mode(0o600)).expect("a mode");
    sandbox.run(["commit", "-b", "main"]);
    let before = head(&sandbox, "main");

    for arguments in [
        &["merge", "agent", "--into", "main"][..],
        &["merge", "agent", "--into", "main", "-n"],
    ] {
        let reply = conflicts(&sandbox, arguments);
        assert_eq!(reply["outcome"], "conflicts");
        assert_eq!(reply["commit"], before.as_str());
        let found: Vec<(Value, Value)> = reply["conflicts"]
            .as_array()
            .expect("conflicts")
            .iter()
            .map(|conflict| (conflict["path"].clone(), conflict["conflict"].clone()))
            .collect();
        let expected: Vec<(Value, Value)> = [
            ("both".into(), "both_changed".into()),
            ("gone".into(), "ours_removed".into()),
            ("made".into(), "both_added".into()),
            (serde_json::json!({"hex": "6f64640aff"}), "both_changed".into()),
        ]
        .into();
        assert_eq!(found, expected);
        let both = &reply["conflicts"][0];
        for (side, content) in [("base", "one"), ("ours", "main's"), ("theirs", "agent's")] {
            assert_eq!(
                both[side]["id"],
                blake3::hash(content.as_bytes()).to_hex().as_str()
            );
            assert_eq!(both[side]["kind"], "file");
        }
        assert_eq!(reply["conflicts"][1]["ours"], Value::Null);
        assert_eq!(reply["conflicts"][2]["base"], Value::Null);
        assert_eq!(head(&sandbox, "main"), before);
    }

    let output = sandbox
        .helios()
        .args(["merge", "agent", "--into", "main"])
        .assert()
        .code(10);
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    let short = |content: &str| blake3::hash(content.as_bytes()).to_hex()[..12].to_owned();
    let line = text
        .lines()
        .find(|line| line.starts_with("C\tboth\t"))
        .expect("a line");
    assert!(
        line.contains(&short("main's")) && line.contains(&short("agent's")),
        "{line}"
    );
    assert!(text.contains("C\t\"odd\\n\\377\"\t"), "{text}");
    assert!(text.contains("nothing was merged into main"), "{text}");
    assert!(output.get_output().stderr.is_empty());
    assert_eq!(head(&sandbox, "main"), before);
    assert_eq!(sandbox.run(["cat", "main:both"]), "main's");
}

/// Goal: a merge commit is made where it is asked for; histories without anything in common are refused with the way
/// out; what was forgotten is said.
#[test]
fn histories_decide_what_a_merge_is() {
    let sandbox = forked();
    let theirs = step(&sandbox, "agent", &[("theirs", "agent's")]);
    let made = sandbox.json(["merge", "agent", "--into", "main", "--no-ff"]);
    assert_eq!(made["outcome"], "merged");
    assert_ne!(made["commit"], theirs.as_str());
    let log = sandbox.json(["log", "main", "-n", "1"]);
    assert_eq!(log["commits"][0]["message"], "merge agent into main");

    let apart = sandbox.path("apart");
    fs::create_dir(&apart).expect("a directory");
    fs::write(apart.join("alone"), "x").expect("a file");
    sandbox.run([
        "commit".as_ref(),
        apart.as_os_str(),
        "-b".as_ref(),
        "apart".as_ref(),
    ]);
    let message = sandbox.fails(2, ["merge", "apart", "--into", "main"]);
    assert!(
        message.contains("no history in common") && message.contains("--allow-unrelated"),
        "{message}"
    );
    let reply = sandbox
        .helios()
        .args(["merge", "apart", "--into", "main", "--allow-unrelated"])
        .output();
    let code = reply.expect("the program runs").status.code();
    assert!(matches!(code, Some(0 | 10)), "{code:?}");

    step(&sandbox, "agent", &[("theirs", "2")]);
    step(&sandbox, "agent", &[("theirs", "3")]);
    sandbox.run(["forget", "agent", "--keep-last", "1"]);
    step(&sandbox, "main", &[("ours", "2")]);
    let message = sandbox.fails(2, ["merge", "agent", "--into", "main"]);
    assert!(message.contains("was forgotten"), "{message}");

    sandbox.fails(3, ["merge", "no-such-revision"]);
    sandbox.fails(3, ["merge", "agent", "--into", "no-such-branch"]);
    sandbox.fails(2, ["merge", "agent:dir", "--into", "main"]);
    sandbox.fails(2, ["merge"]);
}

/// Goal: without `--into` the branch that the directory follows takes the merge.
#[test]
fn the_followed_branch_takes_the_merge() {
    let sandbox = forked();
    sandbox.run(["commit", "-b", "feature"]);
    sandbox.run(["branch", "-f", "feature", "main"]);
    step(&sandbox, "agent", &[("theirs", "agent's")]);
    let ours = step(&sandbox, "feature", &[("ours", "feature's")]);
    let before = head(&sandbox, "main");
    let merged = sandbox.json(["merge", "agent"]);
    assert_eq!(
        (&merged["branch"], &merged["ours"]),
        (&"feature".into(), &ours.as_str().into())
    );
    assert_eq!(head(&sandbox, "main"), before);
}

/// Goal: a branch can be moved to another as a whole, whatever it had, and what it had can be found again. Method: two
/// branches in conflict; move, look at the content, and at the branch a moment ago.
#[test]
fn a_winner_takes_the_branch() {
    let sandbox = forked();
    let winner = step(&sandbox, "agent", &[("both", "agent's")]);
    let loser = step(&sandbox, "main", &[("both", "main's")]);
    conflicts(&sandbox, &["merge", "agent", "--into", "main"]);
    sandbox.fails(4, ["branch", "main", "agent"]);
    assert_eq!(head(&sandbox, "main"), loser);
    let moved = sandbox.json(["branch", "-f", "main", "agent"]);
    assert_eq!(moved["references"][0]["commit"], winner.as_str());
    assert_eq!(head(&sandbox, "main"), winner);
    assert_eq!(sandbox.run(["cat", "main:both"]), "agent's");
    assert_eq!(
        sandbox.run(["cat", &format!("{loser}:both")]),
        "main's",
        "the branch remembers where it was"
    );
    sandbox.run(["gc"]);
    assert_eq!(sandbox.run(["cat", &format!("{loser}:both")]), "main's");
    // What was given up can be merged again like any other revision.
    conflicts(&sandbox, &["merge", &loser, "--into", "main"]);
}

/// Goal: a merge for which there is no room fails with the code of a full store and changes nothing, and works when room has been
/// made. Method: two branches that have changed many directories; the store is filled by a third, in ever smaller pieces; the merge;
/// the third branch deleted; the merge again.
#[test]
fn a_merge_into_a_full_store_changes_nothing() {
    let sandbox = Sandbox::bare();
    sandbox.run(["init", "--size", "64M", "-q"]);
    let fill = |side: &str| {
        for directory in 0..150 {
            for number in 0..20 {
                sandbox.write(
                    format!("tree/{directory}/{side}-{number}"),
                    format!("{side} {directory} {number}"),
                );
            }
        }
    };
    fill("base");
    sandbox.run(["commit", "tree", "-b", "main", "-q"]);
    sandbox.run(["branch", "agent", "main"]);
    fill("ours");
    let ours = id(&sandbox.json(["commit", "tree", "-b", "main"])["commit"]);
    sandbox.run(["restore", "agent", "tree", "--delete", "--no-backup"]);
    fill("theirs");
    sandbox.run(["commit", "tree", "-b", "agent", "-q"]);

    let mut length = 4 << 20;
    for number in 0..1000 {
        let name = format!("filler/{number}");
        sandbox.write(&name, pattern(length, number));
        let output = sandbox
            .helios()
            .args(["commit", "filler", "-b", "filler"])
            .output()
            .expect("it runs");
        match output.status.code() {
            Some(0) => {}
            Some(6) => {
                fs::remove_file(sandbox.work().join(name)).expect("it was there");
                length /= 4;
            }
            code => panic!("{code:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
        if length < 4096 {
            break;
        }
    }
    assert!(length < 4096, "the store does not get full");

    let message = sandbox.fails(6, ["merge", "agent", "--into", "main"]);
    assert!(
        message.contains("full") && message.contains("hint: "),
        "{message}"
    );
    assert_eq!(head(&sandbox, "main"), ours);
    assert_eq!(
        sandbox.json(["check", "--read-data"])["damage"],
        serde_json::json!([])
    );

    sandbox.run(["branch", "-d", "filler"]);
    sandbox.run(["gc"]);
    assert_eq!(
        sandbox.json(["merge", "agent", "--into", "main"])["outcome"],
        "merged"
    );
    assert_eq!(sandbox.run(["cat", "main:149/theirs-19"]), "theirs 149 19");
    assert_eq!(sandbox.run(["cat", "main:0/ours-0"]), "ours 0 0");
    assert_eq!(
        sandbox.json(["check", "--read-data"])["damage"],
        serde_json::json!([])
    );
}
