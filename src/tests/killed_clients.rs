//! Clients that are killed: whatever they were doing ends with them, and nobody else notices.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command};

use bytes::Bytes;
use helios::observe::reading::Metrics;
use helios::wire::message::{Answer, Call};

use crate::crash::pause;
use crate::owner::{Owner, PATIENCE};
use crate::sandbox::{Sandbox, pattern};

/// Bytes of a content that is more than what lies between a server and a client that does not read.
const LARGE: usize = 48 << 20;

/// Waits until a server is at work for a client, or the client has ended; whether it is still there.
fn is_at_work(owner: &Owner, client: &mut Child, is: impl Fn(&Metrics) -> bool) -> bool {
    for _ in 0..PATIENCE.as_millis() / 10 {
        if client.try_wait().expect("its state").is_some() {
            return false;
        }
        if is(&owner.metrics()) {
            return true;
        }
        pause(10);
    }
    panic!("the client does nothing");
}

/// A call besides the one by which the metrics came.
fn has_call(metrics: &Metrics) -> bool {
    metrics.sum("helios_calls_in_progress", &[]).expect("a gauge") >= 2.0
}

/// Kills a client, after which nothing of it may be left and another one is served.
fn kill(owner: &Owner, mut client: Child) {
    client.kill().expect("it runs");
    client.wait().expect("it ends");
    owner.comes_to_rest();
    let pong = owner.client().call(&Call::Ping, Bytes::new()).expect("an answer");
    assert_eq!(pong.0, Answer::Pong);
}

/// A client in Python, which has said `ready`; `None`, with a word, where there is no Python.
fn python(sandbox: &Sandbox, script: &str) -> Option<Child> {
    let mut command: Command = sandbox.python();
    command.args(["-c", script]);
    let mut client = match command.spawn() {
        Ok(client) => client,
        Err(error) => {
            println!("not tested, python3 does not start: {error}");
            return None;
        }
    };
    let mut line = String::new();
    let mut stdout = BufReader::new(client.stdout.take().expect("a pipe"));
    stdout.read_line(&mut line).expect("it says something");
    if line.trim() != "ready" {
        let output = client.wait_with_output().expect("it ends");
        panic!("{line}{}", String::from_utf8_lossy(&output.stderr));
    }
    Some(client)
}

/// Goal: a command that is killed in the middle leaves nothing at the server. Method: `put` that waits for a pipe, `get` whose
/// output nobody takes, `commit` of a large directory.
#[test]
fn killed_commands_leave_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("large", pattern(LARGE, 1));
    let id = sandbox.run(["put", "large", "-q"]);
    let owner = sandbox.serve();

    let mut put = sandbox.spawn(["put", "-q"]);
    let mut input = put.stdin.take().expect("a pipe");
    input.write_all(&pattern(3 << 20, 2)).expect("it reads");
    assert!(
        is_at_work(&owner, &mut put, has_call),
        "a put without an end has ended"
    );
    kill(&owner, put);
    drop(input);

    let mut get = sandbox.spawn(["get", id.trim()]);
    assert!(
        is_at_work(&owner, &mut get, has_call),
        "a get that nobody reads has ended"
    );
    kill(&owner, get);

    let mut killed = 0;
    for round in 0..10_u64 {
        if killed == 2 {
            break;
        }
        for number in 0..300 {
            let seed = 1000 * round + number;
            sandbox.write(format!("many/{}/{number}", number % 20), pattern(20_000, seed));
        }
        let mut commit = sandbox.spawn(["commit", "many", "-b", "many"]);
        let is_there = is_at_work(&owner, &mut commit, has_call);
        killed += u32::from(is_there);
        if is_there {
            kill(&owner, commit);
        }
    }
    assert!(killed > 0, "no commit was killed before its end");
    sandbox.run(["commit", "many", "-b", "many"]);
    owner.end();
    assert!(sandbox.run(["check", "--read-data"]).contains("0 damaged"));
}

/// Goal: what a client has open and not committed goes with it, by its process as by its wish. Method: trees with changes, a fork,
/// a connection that has not said who it is, one that has begun a frame.
#[test]
fn killed_programs_leave_nothing() {
    let sandbox = Sandbox::new();
    let owner = sandbox.serve();
    let trees = "
import helios_client, sys, time
client = helios_client.connect()
tree = client.open('main', create=True)
tree.write('kept', b'1')
tree.commit('first')
tree.write('lost', b'x' * 1000000)
fork = client.open('main', fork='other')
fork.write('lost', b'x')
print('ready', flush=True)
time.sleep(1000)
";
    let Some(client) = python(&sandbox, trees) else {
        return;
    };
    assert_eq!(owner.metrics().sum("helios_working_trees", &[]), Some(2.0));
    kill(&owner, client);
    assert_eq!(sandbox.run(["cat", "main:kept"]), "1");
    sandbox.fails(3, ["cat", "main:lost"]);
    sandbox.fails(3, ["cat", "other:lost"]);

    let in_handshake = "
import helios_client, os, socket, time
wire = socket.socket(socket.AF_UNIX)
wire.connect(helios_client.owner(os.environ['HELIOS_STORE']))
print('ready', flush=True)
time.sleep(1000)
";
    let client = python(&sandbox, in_handshake).expect("Python is there");
    kill(&owner, client);

    let in_a_frame = "
import helios_client, time
client = helios_client.connect()
client.open('main')
frame = helios_client.encode(helios_client.CALL, 2, b'{\"call\":\"ping\"}')
client._socket.sendall(frame[:-3])
print('ready', flush=True)
time.sleep(1000)
";
    let client = python(&sandbox, in_a_frame).expect("Python is there");
    kill(&owner, client);
    owner.end();
    assert!(sandbox.run(["check", "--read-data"]).contains("0 damaged"));
}
