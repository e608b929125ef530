//! why, du, forget: what is kept, by what, and what it costs.

use std::fs;

use serde_json::Value;

use crate::sandbox::{Sandbox, pattern};

/// Commits `count` states of one file and answers their ids, oldest first.
fn history(sandbox: &Sandbox, count: usize) -> Vec<String> {
    let step = |number| {
        sandbox.write("file", format!("state {number}"));
        sandbox.commit(&format!("step {number}"))
    };
    (0..count).map(step).collect()
}

fn ids(sandbox: &Sandbox, revision: &str) -> Vec<String> {
    let log = sandbox.json(["log", revision]);
    let commits = log["commits"].as_array().expect("commits");
    let id = |commit: &Value| commit["commit"].as_str().expect("an id").to_owned();
    commits.iter().map(id).collect()
}

/// Goal: forgotten commits leave every way to name them, and nothing else does. Method: log, ancestors, a time, a tag,
/// and a check of the store, after a rehearsal that changes nothing.
#[test]
fn forgotten_commits_leave_the_history() {
    let sandbox = Sandbox::new();
    let commits = history(&sandbox, 6);
    sandbox.run(["tag", "v1", "main~4"]);
    sandbox.run(["branch", "fork", "main~3"]);
    let rehearsal = sandbox.json(["forget", "main", "--keep-last", "2", "-n"]);
    assert_eq!(rehearsal["dry_run"], true);
    assert_eq!(rehearsal["branches"][0]["forgotten"], 4);
    assert_eq!(ids(&sandbox, "main").len(), 6);
    let text = sandbox.run(["forget", "main", "--keep-last", "2"]);
    assert!(text.contains("main: forgot 4 commits, 2 left"), "{text}");
    assert_eq!(ids(&sandbox, "main"), [commits[5].clone(), commits[4].clone()]);
    let message = sandbox.fails(3, ["log", "main~2"]);
    assert!(message.contains("forgotten"), "{message}");
    assert_eq!(sandbox.run(["cat", "v1:file"]), "state 1");
    assert_eq!(ids(&sandbox, "v1"), [commits[1].clone()]);
    assert_eq!(ids(&sandbox, "fork").len(), 3);
    let later = history(&sandbox, 1);
    assert_eq!(ids(&sandbox, "main").len(), 3);
    assert_eq!(ids(&sandbox, "main")[0], later[0]);
    sandbox.run(["check", "--read-data"]);
    sandbox.fails(3, ["forget", "nope", "--keep-last", "1"]);
    sandbox.fails(2, ["forget", "main"]);
    sandbox.fails(2, ["forget", "main", "--keep-last", "0"]);
    sandbox.fails(2, ["forget", "main", "--keep-within", "soon"]);
    sandbox.fails(2, ["forget", "main", "--keep-tag", "[", "-n"]);
}

/// Goal: rules add up on all branches at once, and tagged commits stay in the log.
#[test]
fn rules_add_up() {
    let sandbox = Sandbox::new();
    let commits = history(&sandbox, 5);
    sandbox.run(["tag", "release-1", "main~3"]);
    sandbox.run(["branch", "other", "main~1"]);
    let told = sandbox.json(["forget", "--keep-last", "1", "--keep-tag", "release-*"]);
    let kept: Vec<&Value> = told["branches"]
        .as_array()
        .expect("branches")
        .iter()
        .map(|branch| &branch["kept"])
        .collect();
    assert_eq!(kept, [2, 2]);
    assert_eq!(ids(&sandbox, "main"), [commits[4].clone(), commits[1].clone()]);
    assert_eq!(sandbox.run(["cat", "release-1:file"]), "state 1");
    assert_eq!(
        sandbox.json(["forget", "--keep-within", "100w"])["branches"][0]["forgotten"],
        1
    );
}

fn lines(kept: &Value) -> Vec<(String, String, Option<String>, u64)> {
    let keepers = kept["keepers"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    keepers
        .iter()
        .map(|keeper| {
            let path = keeper["path"].as_str().map(str::to_owned);
            let commits = keeper["commits"].as_u64().expect("a number");
            (text(&keeper["kind"]), text(&keeper["name"]), path, commits)
        })
        .collect()
}

/// Goal: every kind of extent names what keeps it, with the path it has there. Method: one file under two names, a
/// directory, a commit, a chunk of a large file and a pinned content, on a branch, a tag and an earlier state.
#[test]
fn why_names_every_way_to_an_extent() {
    let sandbox = Sandbox::new();
    sandbox.write("one/file", "shared");
    sandbox.write("two/file", "shared");
    // Without it the two could be one and the same directory.
    sandbox.write("two/other", "");
    sandbox.write("big.bin", pattern(3 << 20, 5));
    let first = sandbox.commit("first");
    sandbox.run(["tag", "v1"]);
    sandbox.write("two/file", "different");
    sandbox.commit("second");
    sandbox.run(["branch", "agent", "main"]);

    let kept = sandbox.json(["why", "v1:two/file"]);
    assert_eq!(kept["kind"], "data");
    let way = |kind: &str, name: &str, path: Option<&str>, commits| {
        (kind.to_owned(), name.to_owned(), path.map(str::to_owned), commits)
    };
    let expected = [
        way("branch", "agent", Some("one/file"), 2),
        way("branch", "main", Some("one/file"), 2),
        way("tag", "v1", Some("one/file"), 1),
        way("tag", "v1", Some("two/file"), 1),
    ];
    assert_eq!(lines(&kept), expected);
    let short = sandbox.json(["why", "v1:two/file", "-n", "1"]);
    assert_eq!((lines(&short).len(), &short["more"]), (1, &Value::from(3)));
    let id = kept["id"].as_str().expect("an id").to_owned();
    for spelling in [&id[..], &id[..10]] {
        assert_eq!(lines(&sandbox.json(["why", spelling])), expected, "{spelling}");
    }
    sandbox.run(["pin", &id]);
    assert_eq!(lines(&sandbox.json(["why", &id]))[4], way("pin", &id, None, 0));

    let commit = sandbox.json(["why", &first]);
    assert_eq!(commit["kind"], "commit");
    assert_eq!(lines(&commit)[0], way("branch", "agent", None, 1));
    let directory = lines(&sandbox.json(["why", "v1:two"]));
    assert_eq!(directory[1], way("branch", "main", Some("two"), 1));
    let top = lines(&sandbox.json(["why", "main:"]));
    assert_eq!(top[1], way("branch", "main", Some("."), 1));
    let big = lines(&sandbox.json(["why", "main:big.bin"]));
    assert_eq!(big[0], way("branch", "agent", Some("big.bin"), 2));

    sandbox.run(["branch", "-f", "agent", "main~1"]);
    let second = lines(&sandbox.json(["why", "main:two/file"]));
    assert_eq!(
        second[0],
        way("branch", "agent", Some("two/file"), 1),
        "an earlier state"
    );
    let text = sandbox.run(["why", "main:two/file"]);
    assert!(text.contains("branch main"), "{text}");

    let lost = sandbox.run(["put", "-q", "big.bin"]);
    assert!(sandbox.run(["why", lost.trim()]).contains("big.bin"));
    sandbox.write("alone", "nobody");
    let alone = sandbox.run(["put", "-q", "alone"]);
    let kept = sandbox.json(["why", alone.trim()]);
    assert_eq!(lines(&kept), []);
    assert!(
        sandbox
            .run(["why", alone.trim()])
            .contains("nothing keeps it alive")
    );
    sandbox.fails(3, ["why", &"0".repeat(64)]);
    sandbox.fails(3, ["why", "main:nope"]);
    sandbox.fails(3, ["why", "ab"]);
}

fn amounts(row: &Value) -> [u64; 3] {
    ["all", "unique", "shared"].map(|part| row[part]["bytes"].as_u64().expect("a number"))
}

/// Goal: what a name alone costs is exact. Method: incompressible files of known sizes, on names that share some.
#[test]
fn du_tells_unique_from_shared() {
    let sandbox = Sandbox::new();
    let size = 100 << 10;
    sandbox.write("base", pattern(size, 1));
    sandbox.commit("base");
    sandbox.run(["branch", "agent"]);
    sandbox.write("own", pattern(size, 2));
    sandbox.run(["commit", "-b", "agent"]);
    sandbox.write("pinned", pattern(size, 3));
    sandbox.run(["put", "--pin", "pinned"]);
    let usage = sandbox.json(["du"]);
    let rows = usage["rows"].as_array().expect("rows");
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).expect("a row");
    let size = size as u64;
    let about = |bytes: u64, files: u64| (files * size..files * size + 4096).contains(&bytes);
    let [all, unique, shared] = amounts(row("agent"));
    assert!(about(all, 2) && about(unique, 1) && about(shared, 1), "{usage}");
    assert_eq!(all, unique + shared);
    let [all, unique, _] = amounts(row("main"));
    assert!(about(all, 1) && unique == 0, "{usage}");
    let pins = rows.iter().find(|row| row["kind"] == "pin").expect("pins");
    assert_eq!(amounts(pins), [size, size, 0]);
    let total = usage["total"]["bytes"].as_u64().expect("a number");
    assert!(about(total, 3), "{usage}");

    sandbox.run(["branch", "-d", "agent"]);
    let after = sandbox.json(["du"])["total"]["bytes"].as_u64().expect("a number");
    assert_eq!(total - after, amounts(row("agent"))[1], "what was unique is gone");

    fs::remove_file(sandbox.work().join("own")).expect("removed");
    sandbox.write("base", pattern(1000, 4));
    sandbox.run(["commit", "-b", "main"]);
    let state = sandbox.json(["du", "main~1"]);
    let [_, unique, _] = amounts(&state["rows"][0]);
    assert!(
        about(unique, 1),
        "no other commit has that file any more: {state}"
    );
    assert_eq!(state["rows"][0]["kind"], "revision");
    assert!(sandbox.run(["du", "main"]).contains("total of the store"));
    sandbox.fails(3, ["du", "nope"]);
}

/// Goal: an expired branch can be read until it is swept, one whose expiry was put off stays. Method: expiries in the
/// past and in the future, set at birth and later.
#[test]
fn branches_go_when_their_time_is_over() {
    let sandbox = Sandbox::new();
    history(&sandbox, 1);
    sandbox.run(["branch", "old", "--expires", "2001-01-01"]);
    sandbox.run(["branch", "saved", "main", "--expires", "2001-01-01"]);
    sandbox.run(["branch", "young", "--expires", "7d"]);
    sandbox.run(["branch", "many", "--count", "2", "--expires", "0s"]);
    let text = sandbox.run(["branch"]);
    assert!(text.contains("expires 2001-01-01T00:00:00Z"), "{text}");
    let text = sandbox.run(["branch", "saved", "--expires", "never"]);
    assert!(text.contains("never expires"), "{text}");
    assert_eq!(sandbox.run(["cat", "old:file"]), "state 0");
    sandbox.write("file", "more");
    sandbox.run(["commit", "-b", "old"]);

    let names = |reply: &Value, field: &str| -> Vec<String> {
        let list = reply[field].as_array().expect("a list").iter();
        list.map(|branch| branch["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let rehearsal = sandbox.json(["forget", "--expired", "-n"]);
    assert_eq!(names(&rehearsal, "removed"), ["many-0", "many-1", "old"]);
    assert_eq!(names(&sandbox.json(["branch"]), "references").len(), 6);
    let text = sandbox.run(["forget", "--expired"]);
    assert!(text.contains("deleted 3 expired branches"), "{text}");
    let left = sandbox.json(["branch"]);
    assert_eq!(names(&left, "references"), ["main", "saved", "young"]);
    assert!(left["references"][2]["expires_ns"].is_u64(), "{left}");
    assert_eq!(left["references"][1]["expires_ns"], Value::Null);
    sandbox.fails(3, ["cat", "old:file"]);
    sandbox.fails(2, ["branch", "--expires", "7d"]);
    sandbox.fails(2, ["branch", "x", "--expires", "soon"]);
    sandbox.fails(4, ["branch", "saved", "main", "--expires", "1d"]);
    sandbox.run(["forget", "--expired", "--keep-last", "1"]);
}

/// Goal: a quota refuses what is too much with a code of its own, and says what to do; deleting and measuring helps.
/// Method: incompressible files against a limit between one and two of them.
#[test]
fn quotas_hold() {
    let sandbox = Sandbox::new();
    let size = 100 << 10;
    sandbox.write("a", pattern(size, 1));
    sandbox.run(["commit", "-b", "agent-1"]);
    let set = sandbox.json(["quota", "agent-", "250K"]);
    let used = |reply: &Value| reply["quotas"][0]["used_bytes"].as_u64().expect("a number");
    assert!((size as u64..size as u64 + 4096).contains(&used(&set)), "{set}");
    sandbox.write("b", pattern(size, 2));
    sandbox.run(["commit", "-b", "agent-2"]);
    let listed = sandbox.json(["quota", "agent-"]);
    assert!(used(&listed) > 2 * size as u64, "{listed}");
    sandbox.write("c", pattern(size, 3));
    let message = sandbox.fails(9, ["commit", "-b", "agent-1"]);
    assert!(
        message.contains("agent-") && message.contains("256000"),
        "{message}"
    );
    assert!(message.contains("--measure"), "{message}");
    sandbox.run(["commit", "-b", "elsewhere"]);
    sandbox.run(["branch", "-d", "agent-2"]);
    let measured = sandbox.json(["quota", "--measure"]);
    assert!(used(&measured) < 2 * size as u64, "{measured}");
    fs::remove_file(sandbox.work().join("b")).expect("removed");
    sandbox.run(["commit", "-b", "agent-1"]);
    assert!(sandbox.run(["quota"]).contains("agent-"));
    sandbox.run(["quota", "agent-", "none"]);
    sandbox.fails(3, ["quota", "agent-", "none"]);
    sandbox.fails(3, ["quota", "agent-"]);
    sandbox.fails(2, ["quota", "agent-", "lots"]);
    assert_eq!(sandbox.json(["quota"])["quotas"], Value::Array(Vec::new()));
}
