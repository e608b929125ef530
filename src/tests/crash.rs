//! Processes that are stopped or killed in the middle of a commit.

use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{Sandbox, pattern};
use crate::snapshot;

/// Milliseconds after which a commit is ended: from before the store is open to after most commits are done.
const MOMENTS: [u64; 8] = [1, 5, 15, 30, 60, 120, 250, 500];

#[allow(
    clippy::disallowed_methods,
    reason = "the moment at which another process is killed is real time"
)]
pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

pub fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_child(child);
    // It may have ended by itself.
    let _ = kill_process(pid, signal);
}

fn fill(sandbox: &Sandbox, generation: u64) {
    for number in 0..400u64 {
        let seed = generation * 1000 + number;
        let length = usize::try_from(seed * 7919 % 200_000).expect("a length");
        sandbox.write(format!("d{}/f{number}", number % 20), pattern(length, seed));
    }
}

/// Goal: whatever a killed commit had done, the commit before it comes back exactly, and the store goes on working.
/// Method: SIGKILL at growing delays during a second commit; materialize the first and compare; check; commit again.
#[test]
fn a_killed_commit_harms_nothing() {
    let sandbox = Sandbox::new();
    fill(&sandbox, 0);
    let mut known = sandbox.commit("the first");
    let mut before = snapshot::take(&sandbox.work());
    let mut killed = 0;
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        fill(&sandbox, round as u64 + 1);
        let mut child = sandbox.spawn(["commit", "-m", "the one that is killed"]);
        pause(moment);
        signal(&child, Signal::KILL);
        let status = child.wait().expect("it ends");
        killed += u32::from(!status.success());

        let copy = sandbox.path(format!("copy{round}"));
        sandbox.run(["materialize".as_ref(), known.as_ref(), copy.as_os_str()]);
        snapshot::assert_same(&before, &snapshot::take(&copy));
        std::fs::remove_dir_all(&copy).expect("removed");
        assert_eq!(
            sandbox.json(["check", "--read-data"])["damage"],
            serde_json::json!([])
        );

        known = sandbox.commit("the next");
        before = snapshot::take(&sandbox.work());
    }
    assert!(
        killed > 0,
        "no commit was killed before its end; the test has shown nothing"
    );
}

/// Goal: ctrl-C at any moment stops a commit with code 130 or comes too late, and the store is sound.
/// Method: SIGINT at growing delays; at least one must have stopped the commit.
#[test]
fn an_interrupted_commit_harms_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("seed", "x");
    let first = sandbox.commit("the first");
    let mut stopped = 0;
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        fill(&sandbox, round as u64 + 1);
        let child = sandbox.spawn(["commit", "-m", "perhaps"]);
        pause(moment);
        signal(&child, Signal::INT);
        let output = child.wait_with_output().expect("it ends");
        match output.status.code() {
            Some(0) => {}
            // Without a code it was ended by the signal before it had a handler.
            Some(130) | None => stopped += 1,
            code => panic!("exit code {code:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
        assert_eq!(
            sandbox.json(["check", "--read-data"])["damage"],
            serde_json::json!([])
        );
        let log = sandbox.json(["log"]);
        let oldest = log["commits"]
            .as_array()
            .and_then(|commits| commits.last().cloned())
            .expect("commits");
        assert_eq!(oldest["commit"], first.as_str());
    }
    assert!(stopped > 0, "no commit was stopped; the test has shown nothing");
}

/// Goal: a put that waits for its input can be stopped, and leaves no half content behind.
#[test]
fn a_waiting_put_can_be_stopped() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.spawn(["put", "-q"]);
    let mut input = child.stdin.take().expect("a pipe");
    let bytes = pattern(4 << 20, 1);
    std::io::Write::write_all(&mut input, &bytes).expect("it reads");
    signal(&child, Signal::INT);
    let status = child.wait().expect("it ends although its input is open");
    assert_eq!(status.code(), Some(130));
    drop(input);
    let id = blake3::hash(&bytes).to_hex().to_string();
    sandbox.helios().args(["exists", &id]).assert().code(3);
}
