//! A store that is served: commands that find its owner, clients that misbehave, owners that die.

use std::fs;
use std::io::Write;

use bytes::Bytes;
use helios::client::{CallError, Client};
use helios::ops::Failure;
use helios::ops::files::{FileResult, FileResults, FileStep, OpenFiles};
use helios::wire::frame::{BODY_BYTES_MAX, Frame, HEAD_BYTES_MAX, Kind};
use helios::wire::message::{Answer, Call, Goodbye, Hello, Message, VERSIONS};
use helios::wire::stream::Conversation;
use rustix::process::{Pid, Signal, kill_process};

use crate::owner::{commit, open, write};
use crate::sandbox::{Sandbox, pattern};

fn hello() -> Hello {
    Hello {
        protocol: "helios".into(),
        versions: VERSIONS.to_vec(),
        program: "a test".into(),
    }
}

/// Steps whose failures are told in the results.
fn steps(client: &mut Client, tree: u64, steps: Vec<FileStep>, body: &[u8]) -> (FileResults, Vec<u8>) {
    client.files(tree, steps, body.to_vec()).expect("an answer")
}

/// The failure that answers a call.
fn failure(client: &mut Client, call: &Call) -> Failure {
    match client.call(call, Bytes::new()) {
        Err(CallError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// What a session of commands prints, ids and times left out where they differ by nature.
fn session(sandbox: &Sandbox) -> Vec<String> {
    sandbox.write("project/a", "one");
    sandbox.write("project/dir/b", "two");
    sandbox.write("large", pattern(6 << 20, 3));
    let mut printed = Vec::new();
    let commands: &[&[&str]] = &[
        &["put", "large", "-q"],
        &["commit", "project", "-m", "first", "--no-times", "--json"],
        &["branch", "side"],
        &["tag", "v1"],
        &["ls", "-R", "main"],
        &["cat", "main:dir/b"],
        &["status", "project"],
        &["diff", "main", "side"],
        &["materialize", "v1", "copy"],
        &["branch", "-d", "side"],
        &["gc", "-n"],
        &["check", "--read-data"],
        &["du", "main"],
    ];
    for command in commands {
        let output = sandbox.helios().args(*command).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        let code = output.status.code();
        printed.push(format!(
            "{command:?} {code:?}\n{}",
            String::from_utf8_lossy(&text)
        ));
    }
    let id = sandbox.run(["put", "large", "-q"]);
    let got = sandbox
        .helios()
        .args(["get", id.trim()])
        .output()
        .expect("it runs");
    assert!(got.stdout == pattern(6 << 20, 3), "the content came back changed");
    assert_eq!(
        fs::read(sandbox.work().join("copy/dir/b")).expect("a file"),
        b"two"
    );
    printed.push(sandbox.fails(3, ["cat", "main:nothing"]));
    printed.push(sandbox.fails(2, ["branch", "a..b~"]));
    printed
}

/// Replaces what differs between two runs in two places.
fn same(printed: Vec<String>, sandbox: &Sandbox) -> Vec<String> {
    let root = sandbox.path("").display().to_string();
    let hex = |text: &str| {
        let mut out = String::new();
        let mut run = String::new();
        for letter in text.chars().chain(['\n']) {
            if letter.is_ascii_hexdigit() {
                run.push(letter);
                continue;
            }
            // Ids of commits hold the time of the commit.
            out.push_str(if run.len() >= 12 { "ID" } else { &run });
            run.clear();
            out.push(letter);
        }
        out
    };
    let ns = |text: &str| match text.split_once("\"time_ns\":") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
            format!("{before}TIME{rest}")
        }
        None => text.to_owned(),
    };
    printed
        .iter()
        .map(|text| ns(&hex(&text.replace(&root, "ROOT/"))))
        .collect()
}

/// Goal: a command prints the same and ends with the same code whether it opens the store or the owner works for it.
/// Method: one session of commands on two new stores, one of them served.
#[test]
fn commands_are_the_same_with_an_owner() {
    let alone = Sandbox::new();
    let served = Sandbox::new();
    let server = served.serve();
    let without = same(session(&alone), &alone);
    let with = same(session(&served), &served);
    assert_eq!(without, with);
    server.end();
    assert!(served.run(["check", "--read-data"]).contains("0 damaged"));
}

/// Goal: one owner at a time; the next one, and commands, go on after each way of its end. Method: a second server, a command
/// that may not attach, an owner ended, an owner killed with its socket left behind.
#[test]
fn one_owner_at_a_time() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve();
    assert!(sandbox.fails(5, ["serve"]).contains("in use by process"));
    assert!(
        sandbox
            .fails(5, ["info", "--no-attach"])
            .contains("in use by process")
    );
    sandbox.run(["branch"]);
    server.end();
    sandbox.run(["info"]);
    let server = sandbox.serve();
    let socket = server.socket.clone();
    sandbox.write("f", "x");
    let id = sandbox.run(["put", "f", "-q"]);
    server.kill();
    assert!(socket.exists(), "a killed owner leaves its socket");
    assert_eq!(sandbox.run(["get", id.trim()]), "x");
    let server = sandbox.serve();
    assert_eq!(server.socket, socket);
    assert_eq!(sandbox.run(["get", id.trim()]), "x");
    server.end();
}

/// Goal: a socket is made only where it may be. Method: a path that is too long, a file in the way, a socket that somebody
/// answers, and a path of one's own.
#[test]
fn sockets_are_made_where_they_may_be() {
    let sandbox = Sandbox::new();
    let long = format!("unix:{}", sandbox.path("x".repeat(120)).display());
    assert!(
        sandbox
            .fails(2, ["serve", "--control", &long])
            .contains("107 bytes")
    );
    sandbox.write("file", "mine");
    let taken = format!("unix:{}", sandbox.work().join("file").display());
    assert!(
        sandbox
            .fails(2, ["serve", "--control", &taken])
            .contains("something else")
    );
    assert_eq!(fs::read(sandbox.work().join("file")).expect("untouched"), b"mine");
    let _listener = std::os::unix::net::UnixListener::bind(sandbox.path("live")).expect("a socket");
    let live = format!("unix:{}", sandbox.path("live").display());
    assert!(
        sandbox
            .fails(2, ["serve", "--control", &live])
            .contains("another process")
    );
    assert!(
        sandbox
            .fails(2, ["serve", "--control", "tcp:1"])
            .contains("unix:")
    );
    let own = format!("unix:{}", sandbox.path("own").display());
    let server = sandbox.serve_with(&["--control", &own]);
    assert_eq!(server.socket, sandbox.path("own"));
    sandbox.run(["info"]);
    server.end();
}

/// Goal: agents work on files without directories, many calls at once, and a client that goes leaves nothing. Method: a tree
/// written, forked, committed on both sides; calls on one tree in order although none is waited for; a client that goes with
/// changes it did not commit.
#[test]
fn clients_work_on_files() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve();
    let mut client = server.client();
    let main = open(&mut client, "main", None);
    let (results, _) = steps(
        &mut client,
        main,
        vec![write("a/b", 3), commit(Default::default())],
        b"one",
    );
    assert_eq!(results.failed, None);
    let fork = open(&mut client, "main", Some("agent"));
    let big = pattern(3 << 20, 9);
    let (results, _) = steps(&mut client, fork, vec![write("big", big.len())], &big);
    assert_eq!(results.failed, None);
    let read = |path: &str| FileStep::Read {
        path: path.into(),
        offset: 0,
        length: None,
    };
    let (results, output) = steps(
        &mut client,
        fork,
        vec![read("a/b"), read("big"), commit(Default::default())],
        b"",
    );
    assert_eq!(results.failed, None);
    assert!(
        output == [b"one".to_vec(), big.clone()].concat(),
        "what was read differs"
    );
    // Pipelined: each call appends a byte, and they are answered in order.
    let numbers: Vec<u64> = (0..60u8)
        .map(|byte| {
            let append = FileStep::Append {
                path: "log".into(),
                bytes: 1,
            };
            let call = Call::Files {
                tree: fork,
                steps: vec![append],
            };
            client.ask(&call, vec![byte]).expect("it reads")
        })
        .collect();
    for number in numbers {
        let (answer, _) = client.answer(number).expect("an answer");
        assert!(matches!(answer, Answer::Stepped { results } if results.failed.is_none()));
    }
    let (results, output) = steps(
        &mut client,
        fork,
        vec![read("log"), commit(Default::default())],
        b"",
    );
    assert!(matches!(
        results.results[1],
        FileResult::Committed { unchanged: false, .. }
    ));
    assert_eq!(output, (0..60).collect::<Vec<u8>>());
    let again = Call::ForkFiles {
        tree: fork,
        branch: "again".into(),
    };
    let (answer, _) = client.call(&again, Bytes::new()).expect("an answer");
    assert!(matches!(answer, Answer::Opened { .. }));
    let close = Call::CloseFiles { tree: main };
    assert_eq!(
        client.call(&close, Bytes::new()).expect("an answer").0,
        Answer::Closed
    );
    assert!(failure(&mut client, &close).message.contains("not open"));
    let (results, _) = steps(&mut client, fork, vec![write("lost", 4)], b"gone");
    assert!(results.changed);
    drop(client);
    assert_eq!(sandbox.run(["cat", "agent:a/b"]), "one");
    sandbox.fails(3, ["cat", "agent:lost"]);
    assert_eq!(sandbox.run(["branch"]).lines().count(), 3);
    server.end();
    assert!(sandbox.run(["check", "--read-data"]).contains("0 damaged"));
}

/// Goal: nothing that comes over the socket stops the server, and a client is told what was wrong with its words. Method:
/// garbage, a wrong first frame, an unknown version, lengths beyond the limits, a checksum that is wrong, a frame only an owner
/// sends, a number used twice, a message that is no JSON; then half a frame, and silence.
#[test]
fn nonsense_ends_its_connection_only() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve();
    let goodbye = |conversation: &mut Conversation| loop {
        match conversation.receive() {
            Ok(Some(frame)) if frame.kind == Kind::Goodbye => {
                return Goodbye::read(&frame.head).expect("a reason").reason;
            }
            Ok(Some(_)) => {}
            other => panic!("no goodbye: {other:?}"),
        }
    };
    let raw = |bytes: &[u8]| {
        let mut socket = server.connect();
        socket.write_all(bytes).expect("it reads");
        goodbye(&mut Conversation::new(socket))
    };
    assert!(raw(&[0xff; 64]).contains("announces"));
    assert!(raw(&Frame::new(Kind::Call, 1, &b"{}"[..]).to_bytes()).contains("no hello"));
    assert!(raw(&Frame::new(Kind::Hello, 0, &b"{]"[..]).to_bytes()).contains("no sense"));
    let future = Hello {
        versions: vec![99],
        ..hello()
    };
    assert!(raw(&future.frame(0).to_bytes()).contains("[99]"));
    let after_hello = |bytes: &[u8]| {
        let hello = hello().frame(0).to_bytes();
        raw(&[&hello[..], bytes].concat())
    };
    let mut wrong = Call::Ping.frame(1).to_bytes();
    wrong[30] ^= 1;
    assert!(after_hello(&wrong).contains("checksum"));
    let mut long = Call::Ping.frame(1).to_bytes();
    long[4..8].copy_from_slice(&u32::try_from(HEAD_BYTES_MAX + 1).expect("small").to_le_bytes());
    assert!(after_hello(&long).contains("at most"));
    let mut long = Call::Ping.frame(1).to_bytes();
    long[8..12].copy_from_slice(&u32::try_from(BODY_BYTES_MAX + 1).expect("small").to_le_bytes());
    assert!(after_hello(&long).contains("at most"));
    assert!(after_hello(&Frame::new(Kind::Welcome, 0, &b"{}"[..]).to_bytes()).contains("Welcome"));
    assert!(after_hello(&Frame::new(Kind::Call, 1, &b"{\"call\":\"fly\"}"[..]).to_bytes()).contains("fly"));
    let mut half = server.connect();
    half.write_all(&hello().frame(0).to_bytes()[..10])
        .expect("it reads");
    drop(half);
    let _silent = server.connect();
    for number in 0..2000u32 {
        let mut socket = server.connect();
        match number % 4 {
            0 => {}
            1 => socket.write_all(&hello().frame(0).to_bytes()).expect("it reads"),
            2 => socket
                .write_all(&pattern(100, u64::from(number)))
                .expect("it reads"),
            _ => {
                let hello = hello().frame(0).to_bytes();
                let call = Call::OpenFiles(OpenFiles {
                    branch: "main".into(),
                    create: true,
                    ..OpenFiles::default()
                });
                let call = call.frame(1).to_bytes();
                socket.write_all(&[hello, call].concat()).expect("it reads");
            }
        }
    }
    let mut client = server.client();
    let pong = client.call(&Call::Ping, Bytes::new()).expect("an answer");
    assert_eq!(pong.0, Answer::Pong);
    assert_eq!(sandbox.run(["branch"]), "");
    server.end();
}

/// Goal: a client that asks and never reads holds no more memory than it may, and harms nobody. Method: it asks for 64 times
/// 8 MiB at once; meanwhile others are answered, and the server's memory stays below what would hold them.
#[test]
fn a_client_that_never_reads_is_bounded() {
    let sandbox = Sandbox::new();
    sandbox.write("big", pattern(8 << 20, 5));
    let id = sandbox.run(["put", "big", "-q"]);
    let server = sandbox.serve_with(&["--cache", "16M"]);
    let before = server.resident_mib();
    let mut greedy = server.client();
    let request: serde_json::Value = serde_json::json!({
        "call": "run", "request": { "operation": "get", "id": id.trim() }
    });
    for number in 1..=64 {
        let call = Frame::new(Kind::Call, number, request.to_string().into_bytes());
        greedy.conversation().send(call).expect("it reads");
    }
    let mut client = server.client();
    for _ in 0..20 {
        let pong = client.call(&Call::Ping, Bytes::new()).expect("an answer");
        assert_eq!(pong.0, Answer::Pong);
        let tree = open(&mut client, "main", None);
        let close = Call::CloseFiles { tree };
        let closed = client.call(&close, Bytes::new()).expect("an answer");
        assert_eq!(closed.0, Answer::Closed);
    }
    let grown = server.resident_mib().saturating_sub(before);
    assert!(grown < 300, "{grown} MiB for a client that does not read");
    drop(greedy);
    server.end();
}

/// Goal: a client is told when its owner dies, and what was acknowledged is there afterwards. Method: the owner is killed
/// while commits stream in; every one that was answered as durable is in the store that the next command opens.
#[test]
fn an_owner_killed_loses_nothing_acknowledged() {
    let sandbox = Sandbox::new();
    for round in 0..5u64 {
        let server = sandbox.serve();
        let mut client = server.client();
        let branch = format!("b{round}");
        let tree = open(&mut client, &branch, None);
        let pid = server.child.id();
        #[allow(clippy::disallowed_methods, reason = "kills while the test works")]
        let killer = std::thread::spawn(move || {
            crate::crash::pause(20 + round * 15);
            let pid = i32::try_from(pid)
                .ok()
                .and_then(Pid::from_raw)
                .expect("a process");
            kill_process(pid, Signal::KILL).expect("it runs");
        });
        let mut acknowledged = 0u32;
        for number in 1..100_000u32 {
            let call = Call::Files {
                tree,
                steps: vec![write("n", 4), commit(Default::default())],
            };
            let frame = call
                .frame(u64::from(number) + 10)
                .with_body(number.to_le_bytes().to_vec());
            if client.conversation().send(frame).is_err() {
                break;
            }
            match client.conversation().receive() {
                Ok(Some(frame)) if frame.kind == Kind::Reply => acknowledged = number,
                _ => break,
            }
        }
        killer.join().expect("it was running");
        drop(server);
        if acknowledged > 0 {
            let output = sandbox
                .helios()
                .args(["cat", &format!("{branch}:n")])
                .output()
                .expect("it runs");
            let found = u32::from_le_bytes(output.stdout[..].try_into().expect("four bytes"));
            assert!(
                found >= acknowledged,
                "{found} after {acknowledged} was acknowledged"
            );
        }
    }
    assert!(sandbox.run(["check", "--read-data"]).contains("0 damaged"));
}
