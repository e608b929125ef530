//! Valid conversations, changed at random, with a real server.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use helios::ops::files::FileStep;
use helios::ops::{BranchRequest, CatRequest, PutRequest, Request};
use helios::wire::frame::{END, Frame, HEADER_BYTES, Kind, MORE};
use helios::wire::message::{Answer, Call, Hello, Message, VERSIONS};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::mutation::mutate;
use crate::owner::{PATIENCE, commit, opening, read, write};
use crate::sandbox::Sandbox;

/// Conversations of one run; `HELIOS_CONVERSATIONS` asks for more.
const CONVERSATIONS: u64 = 400;
/// How long a client waits for a word that may never come.
const WAIT: Duration = Duration::from_millis(200);
/// Conversations between two looks whether others are served.
const LOOK_EVERY: u64 = 20;

/// What a client says who does a bit of everything.
fn conversation(random: &mut SmallRng) -> Vec<Frame> {
    let hello = Hello {
        protocol: "helios".into(),
        versions: VERSIONS.to_vec(),
        program: "a test".into(),
    };
    let run = |number, request| Call::Run { request }.frame(number);
    let put = || {
        Request::Put(PutRequest {
            pin: false,
            durability: Default::default(),
        })
    };
    let cat = CatRequest {
        revision: "main:a/b".into(),
    };
    let files = |tree, steps: Vec<FileStep>| Call::Files { tree, steps };
    let fork = Call::ForkFiles {
        tree: 1,
        branch: format!("fork-{}", random.random::<u32>()).into_bytes().into(),
    };
    let list = vec![
        FileStep::List { path: "".into() },
        FileStep::Reset { to_head: true },
    ];
    let long = Call::Ping.frame(20).head;
    vec![
        hello.frame(0),
        Call::OpenFiles(opening("main", None)).frame(1),
        files(1, vec![write("a/b", 3), read("a/b")])
            .frame(2)
            .with_body(&b"one"[..]),
        files(1, vec![commit(Default::default())]).frame(3),
        run(4, put()),
        Frame::new(Kind::Input, 4, Bytes::new()).with_body(vec![7; 5000]),
        Frame::new(Kind::Input, 4, Bytes::new()).with_flags(END),
        fork.frame(5),
        files(5, list).frame(6),
        run(7, Request::Branch(BranchRequest::List)),
        run(8, Request::Info),
        run(9, Request::Cat(cat)),
        Call::Observe.frame(10),
        Frame::new(Kind::Cancel, 10, Bytes::new()),
        run(11, put()),
        Frame::new(Kind::Cancel, 11, Bytes::new()),
        Frame::new(Kind::Call, 20, long.slice(..5)).with_flags(MORE),
        Frame::new(Kind::Call, 20, long.slice(5..)),
        Call::CloseFiles { tree: 1 }.frame(21),
        Call::Ping.frame(22),
    ]
}

/// The checksum of a frame made right again: a mistake of a client, not of the wire.
fn sealed(frame: &Frame, random: &mut SmallRng) -> Vec<u8> {
    let changed = mutate(&frame.head, random);
    let mut frame = frame.clone();
    match random.random_range(0..4) {
        0 => frame.call = random.random_range(0..24),
        1 => frame.body = Bytes::from(mutate(&frame.body, random)),
        2 => frame.flags ^= 1 << random.random_range(0..2),
        _ => frame.head = Bytes::from(changed),
    }
    frame.to_bytes()
}

/// Frames as a client would send them that is not quite right, and whether it waits for a word behind each.
fn bytes_of(random: &mut SmallRng) -> Vec<(Vec<u8>, bool)> {
    let mut frames = conversation(random);
    match random.random_range(0..8) {
        0 => frames[1..].shuffle(random),
        1 => frames.truncate(random.random_range(0..frames.len())),
        2 => {
            let at = random.random_range(1..frames.len());
            frames.insert(at, frames[random.random_range(1..frames.len())].clone());
        }
        3 => {
            frames.remove(random.random_range(0..frames.len()));
        }
        _ => {}
    }
    let is_patient = random.random_bool(0.5);
    // Most frames are right, or nothing behind the first would ever be looked at.
    let pieces = frames.iter().map(|frame| match random.random_range(0..20) {
        0 => (sealed(frame, random), false),
        1 if random.random_bool(0.3) => (mutate(&frame.to_bytes(), random), false),
        _ => {
            let is_answered =
                matches!(frame.kind, Kind::Hello | Kind::Call | Kind::Input) && !frame.has(MORE);
            (frame.to_bytes(), is_patient && is_answered)
        }
    });
    let pieces: Vec<(Vec<u8>, bool)> = pieces.collect();
    if is_patient || random.random_bool(0.5) {
        return pieces;
    }
    let whole: Vec<u8> = pieces.into_iter().flat_map(|(piece, _)| piece).collect();
    let length = random.random_range(1..3 * HEADER_BYTES);
    whole
        .chunks(length)
        .map(|piece| (piece.to_vec(), false))
        .collect()
}

/// Goal: no client, however it is wrong, ends the server, holds others up or leaves anything behind. Method: conversations with
/// frames changed, lost, repeated, in another order, cut into pieces and broken off; some of the clients read what they are told.
/// Others are served all the time; at the end no call, tree or connection is left and the store is sound.
#[test]
fn changed_conversations_harm_nobody() {
    let wanted = std::env::var("HELIOS_CONVERSATIONS").ok();
    let conversations = wanted
        .and_then(|wanted| wanted.parse().ok())
        .unwrap_or(CONVERSATIONS);
    let sandbox = Sandbox::new();
    let owner = sandbox.serve();
    let mut other = owner.client();
    for seed in 0..conversations {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut socket = owner.connect();
        socket
            .set_write_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout");
        socket.set_read_timeout(Some(WAIT)).expect("a timeout");
        let mut answers = vec![0; 1 << 16];
        for (piece, waits) in bytes_of(&mut random) {
            // A server that has heard enough ends the connection.
            if socket.write_all(&piece).is_err() {
                break;
            }
            if waits {
                let _ = socket.read(&mut answers);
            }
        }
        match random.random_range(0..3) {
            0 => {}
            1 => {
                let mut answers = [0; 3000];
                socket
                    .set_read_timeout(Some(Duration::from_millis(5)))
                    .expect("a timeout");
                let _ = std::io::Read::read(&mut socket, &mut answers);
            }
            _ => {
                // To the end, which comes because nothing more is sent. A server that has ended it has closed it.
                let _ = socket.shutdown(std::net::Shutdown::Write);
                socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                let ended = socket.read_to_end(&mut answers);
                let is_late = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
                assert!(
                    !ended.as_ref().is_err_and(is_late),
                    "seed {seed}: the server does not end it"
                );
            }
        }
        drop(socket);
        if seed % LOOK_EVERY == 0 {
            let pong = other.call(&Call::Ping, Bytes::new());
            let pong = pong.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(pong.0, Answer::Pong, "seed {seed}");
        }
    }
    drop(other);
    owner.comes_to_rest();
    let metrics = owner.metrics();
    let ok = |call| metrics.sum("helios_calls_total", &[("call", call), ("outcome", "ok")]);
    for call in ["open_files", "files", "fork_files", "put", "branch", "observe"] {
        assert!(ok(call) > Some(5.0), "{call} was not reached: {:?}", ok(call));
    }
    let panics = metrics.sum("helios_reactor_task_panics_total", &[]);
    assert_eq!(panics, Some(0.0));
    owner.end();
    assert!(sandbox.run(["check", "--read-data"]).contains("0 damaged"));
}
