//! forget: what is kept, and for how long.

use serde_json::Value;

use crate::sandbox::Sandbox;

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
