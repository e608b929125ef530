//! Clients that send a byte now and then: they are served, and nobody waits for them.

use std::io::Write;
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use helios::engine::format::{ContentId, Domain, Kind as ExtentKind};
use helios::engine::store::Key;
use helios::wire::extents::{Ask, write_keys};
use helios::wire::frame::{Frame, Kind};
use helios::wire::message::{Answer, Call, Hello, Message, VERSIONS};
use helios::wire::stream::Conversation;

use crate::owner::{commit, open, read, write};
use crate::sandbox::Sandbox;

/// Slow clients at once.
const SLOW: usize = 100;

fn hello() -> Frame {
    let hello = Hello {
        protocol: "helios".into(),
        versions: VERSIONS.to_vec(),
        program: "a slow test".into(),
    };
    hello.frame(0)
}

/// Goal: a frame may come a byte at a time, and whoever is quick is answered meanwhile. Method: a hundred clients, each of which
/// sends one byte in turn; between two rounds a normal client commits and is answered, although no slow one is. Then all slow ones
/// are answered.
#[test]
fn slow_clients_hold_nobody_up() {
    let sandbox = Sandbox::new();
    let owner = sandbox.serve();
    let mut quick = owner.client();
    let tree = open(&mut quick, "main", None);
    let words = [hello().to_bytes(), Call::Ping.frame(7).to_bytes()].concat();
    let mut slow: Vec<UnixStream> = (0..SLOW).map(|_| owner.connect()).collect();
    for (number, byte) in words.iter().enumerate() {
        for socket in &mut slow {
            socket.write_all(&[*byte]).expect("it listens");
        }
        let steps = vec![write("n", 4), commit(Default::default())];
        let bytes = u32::try_from(number).expect("few").to_le_bytes();
        let (results, _) = quick.files(tree, steps, bytes.to_vec()).expect("an answer");
        assert_eq!(results.failed, None);
        if number + 1 < words.len() {
            let pings = owner.metrics().sum("helios_calls_total", &[("call", "ping")]);
            assert_eq!(pings, Some(0.0), "an answer before the question");
        }
    }
    for socket in slow {
        let mut conversation = Conversation::new(socket);
        let mut next = || conversation.receive().expect("sound").expect("an answer");
        assert_eq!(next().kind, Kind::Welcome);
        let pong = next();
        assert_eq!((pong.kind, pong.call), (Kind::Reply, 7));
        assert_eq!(Answer::read(&pong.head).expect("an answer"), Answer::Pong);
    }
    let pings = owner
        .metrics()
        .sum("helios_calls_total", &[("call", "ping"), ("outcome", "ok")]);
    assert_eq!(pings, Some(SLOW as f64));
    drop(quick);
    owner.comes_to_rest();
    owner.end();
}

/// Goal: a client that takes its answer a byte at a time gets all of it, and others are not held up. Method: a content of a few
/// megabytes is read slowly while another client asks.
#[test]
fn a_slow_reader_gets_everything() {
    let sandbox = Sandbox::new();
    let content = crate::sandbox::pattern(2 << 20, 3);
    sandbox.write("content", &content);
    let id = sandbox.run(["put", "content", "-q"]);
    let owner = sandbox.serve();
    let mut get = sandbox.spawn(["get", id.trim()]);
    let mut stdout = get.stdout.take().expect("a pipe");
    let mut quick = owner.client();
    let mut taken = Vec::new();
    let mut buffer = [0; 4097];
    loop {
        let pong = quick.call(&Call::Ping, Bytes::new()).expect("an answer");
        assert_eq!(pong.0, Answer::Pong);
        match std::io::Read::read(&mut stdout, &mut buffer).expect("a pipe") {
            0 => break,
            length => taken.extend_from_slice(&buffer[..length]),
        }
    }
    assert!(taken == content, "the content came changed");
    assert!(get.wait().expect("it ends").success());
    owner.end();
}

/// Goal: whoever asks for much and takes none of it keeps nobody from looking: it gives its places at the gate to others while it
/// waits for itself. Method: as many questions at once as a connection may ask, each for more than waits to be sent; clients on all
/// reactors read and write meanwhile; then all that was asked for is taken, which proves that the connection had not been ended.
#[test]
fn answers_that_nobody_takes_keep_no_place() {
    const EXTENTS: usize = 4;
    let sandbox = Sandbox::new();
    let owner = sandbox.serve_with(&["--reactors", "2"]);
    let mut idle = owner.client();
    let contents: Vec<Vec<u8>> = (0..EXTENTS)
        .map(|number| crate::sandbox::pattern(1 << 20, u8::try_from(number).expect("few").into()))
        .collect();
    let mut keys = Vec::new();
    let tree = open(&mut idle, "main", None);
    for (number, content) in contents.iter().enumerate() {
        let steps = vec![
            write(&format!("f{number}"), content.len()),
            commit(Default::default()),
        ];
        let (results, _) = idle.files(tree, steps, content.clone()).expect("an answer");
        assert_eq!(results.failed, None);
        keys.push(Key {
            domain: Domain(0),
            kind: ExtentKind::Data,
            id: ContentId(*blake3::hash(content).as_bytes()),
        });
    }
    let calls = idle.welcome.calls_max;
    let asked: Vec<u64> = (0..calls)
        .map(|_| {
            idle.ask(&Call::Store(Ask::Get), write_keys(&keys))
                .expect("it listens")
        })
        .collect();
    for _ in 0..4 {
        let mut other = owner.client();
        let tree = open(&mut other, "main", None);
        let (results, bytes) = other.files(tree, vec![read("f1")], "").expect("an answer");
        assert_eq!(results.failed, None);
        assert!(bytes == contents[1], "the content came changed");
        let steps = vec![write("new", 3), commit(Default::default())];
        let answer = other.files(tree, steps, "new").expect("an answer");
        drop(answer);
    }
    // The answers come as the calls are done, so they are counted rather than waited for one by one.
    let conversation = idle.conversation();
    let (mut answered, mut bytes) = (0, 0);
    while answered < asked.len() {
        let frame = conversation.receive().expect("sound").expect("it goes on");
        match frame.kind {
            Kind::Output => bytes += frame.body.len(),
            Kind::Reply => answered += 1,
            kind => panic!("a frame of kind {kind:?}"),
        }
    }
    assert_eq!(bytes, asked.len() * EXTENTS * ((1 << 20) + 4));
    owner.end();
}

/// Goal: commands that wait for a pipe keep nobody from anything, and end well when the pipe moves. Method: more puts without an end
/// and gets that nobody takes than requests run at once; another client puts and gets meanwhile; then the pipes are closed and taken.
#[test]
fn commands_that_stand_still_keep_no_place() {
    const EACH: usize = 20;
    let sandbox = Sandbox::new();
    let content = crate::sandbox::pattern(64 << 20, 9);
    sandbox.write("large", &content);
    let large = sandbox.run(["put", "large", "-q"]);
    sandbox.write("small", b"something small");
    let owner = sandbox.serve();
    let mut puts: Vec<_> = (0..EACH).map(|_| sandbox.spawn(["put", "-q"])).collect();
    for (number, put) in puts.iter_mut().enumerate() {
        let begin = vec![u8::try_from(number).expect("few"); 1 << 10];
        let input = put.stdin.as_mut().expect("a pipe");
        input.write_all(&begin).expect("it reads");
    }
    let mut gets: Vec<_> = (0..EACH).map(|_| sandbox.spawn(["get", large.trim()])).collect();
    owner.comes_to(["helios_requests_stalled"], [2.0 * EACH as f64]);
    let small = sandbox.run(["put", "small", "-q"]);
    assert_eq!(sandbox.run(["get", small.trim()]), "something small");
    for put in &mut puts {
        drop(put.stdin.take());
    }
    for (number, put) in puts.into_iter().enumerate() {
        let output = put.wait_with_output().expect("it ends");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let id = blake3::hash(&vec![u8::try_from(number).expect("few"); 1 << 10]);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), id.to_string());
    }
    for get in &mut gets {
        let mut stdout = get.stdout.take().expect("a pipe");
        let mut taken = Vec::new();
        std::io::Read::read_to_end(&mut stdout, &mut taken).expect("a pipe");
        assert!(taken == content, "the content came changed");
        assert!(get.wait().expect("it ends").success());
    }
    owner.comes_to(["helios_requests_stalled"], [0.0]);
    owner.end();
}
