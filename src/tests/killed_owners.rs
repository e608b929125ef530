//! Owners that are killed while commands wait for them: the commands say so, and the next ones open the store themselves.

use std::io::Write;
use std::process::{Child, Output};

use rustix::process::Signal;

use crate::crash::pause;
use crate::owner::{Owner, PATIENCE};
use crate::sandbox::{Sandbox, pattern};

/// Bytes of a content that is more than what lies between a server and a client that does not read.
const LARGE: usize = 48 << 20;

/// Waits until something is so.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / 10 {
        if is() {
            return;
        }
        pause(10);
    }
    panic!("{what} does not come");
}

/// Waits until the server is at work for somebody besides those who look.
fn at_work(owner: &Owner) {
    until("a call", || {
        owner
            .metrics()
            .sum("helios_calls_in_progress", &[])
            .expect("a gauge")
            >= 2.0
    });
}

/// What a command says whose owner has been killed.
fn is_told(command: Child) {
    let Output { status, stderr, .. } = command.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(
        stderr.starts_with("helios: the owner of the store, at "),
        "{stderr}"
    );
    assert!(
        stderr.contains(": it is gone") && stderr.contains("hint: "),
        "{stderr}"
    );
}

/// Goal: a command whose owner is killed ends at once, with a code and a word of what that means, and the next command opens the
/// store. Method: the owner is killed while a command waits for its welcome, gives input, takes output, commits.
#[test]
fn commands_are_told_and_the_next_goes_on() {
    let sandbox = Sandbox::new();
    sandbox.write("large", pattern(LARGE, 1));
    let id = sandbox.run(["put", "large", "-q"]);

    let owner = sandbox.serve();
    owner.signal(Signal::STOP);
    let waiting = sandbox.spawn(["branch"]);
    // It has connected as soon as it has a socket, or a moment later.
    until("a connection", || {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", waiting.id()));
        descriptors.is_ok_and(|mut all| {
            all.any(|one| {
                let target = one.and_then(|one| std::fs::read_link(one.path()));
                target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
            })
        })
    });
    pause(200);
    owner.kill();
    is_told(waiting);
    assert_eq!(sandbox.run(["branch"]), "");

    let owner = sandbox.serve();
    let mut put = sandbox.spawn(["put", "-q"]);
    let mut input = put.stdin.take().expect("a pipe");
    input.write_all(&pattern(3 << 20, 2)).expect("it reads");
    at_work(&owner);
    owner.kill();
    // It may have gone already.
    let _ = input.write_all(&pattern(3 << 20, 3));
    drop(input);
    is_told(put);
    sandbox.run(["exists", id.trim()]);

    let owner = sandbox.serve();
    let get = sandbox.spawn(["get", id.trim()]);
    at_work(&owner);
    owner.kill();
    is_told(get);
    sandbox.run(["exists", id.trim()]);

    let mut caught = 0;
    for round in 0..10_u64 {
        if caught == 2 {
            break;
        }
        for number in 0..300 {
            let seed = 1000 * round + number;
            sandbox.write(format!("many/{}/{number}", number % 20), pattern(20_000, seed));
        }
        let owner = sandbox.serve();
        let mut commit = sandbox.spawn(["commit", "many", "-b", "many"]);
        let mut has_ended = false;
        until("a call", || {
            has_ended = commit.try_wait().expect("its state").is_some();
            has_ended
                || owner
                    .metrics()
                    .sum("helios_calls_in_progress", &[])
                    .expect("a gauge")
                    >= 2.0
        });
        owner.kill();
        if !has_ended {
            // Its answer may have been on its way.
            let output = commit.wait_with_output().expect("it ends");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(matches!(output.status.code(), Some(0 | 1)), "{stderr}");
            caught += u32::from(!output.status.success());
            assert!(
                output.status.success() || stderr.contains(": it is gone"),
                "{stderr}"
            );
        }
        sandbox.run(["commit", "many", "-b", "many"]);
    }
    assert!(caught > 0, "no commit was under way when its owner was killed");
    assert!(sandbox.run(["check", "--read-data"]).contains("0 damaged"));
}
