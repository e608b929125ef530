use std::thread;

use super::*;
use crate::wire::extents::{Ask, Told};
use crate::wire::frame::MORE;
use crate::wire::message::Goodbye;

/// A line, and the other end of its socket.
fn line() -> (Arc<Line>, Conversation) {
    let (one, other) = UnixStream::pair().expect("a pair");
    let line = Line::over(Path::new("/socket"), Conversation::new(one)).expect("a socket");
    (Arc::new(line), Conversation::new(other))
}

fn ask(line: &Arc<Line>, body: impl Into<Bytes>) -> Asked {
    line.ask(&Call::Store(Ask::Get), &[body.into()])
        .expect("it is sound")
}

/// The bytes that come before an answer.
fn answer(mut asked: Asked) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    loop {
        match asked.next()? {
            Came::Nothing => {}
            Came::Frame(frame) => bytes.extend_from_slice(&frame.body),
            Came::Answer(_) => return Ok(bytes),
        }
    }
}

fn output(call: u64, body: impl Into<Bytes>) -> Frame {
    Frame::new(Kind::Output, call, Bytes::new()).with_body(body)
}

fn reply(owner: &mut Conversation, call: u64) {
    for frame in Answer::Store(Told::default()).frames(call) {
        owner.send(frame).expect("it listens");
    }
}

/// Goal: every question gets its own answer, whatever the order of the answers. Method: an owner that takes twenty questions and
/// answers them backwards, in two pieces with all the others between them; waited for by one thread, and by one each.
#[test]
fn answers_find_their_questions() {
    for threads in [false, true] {
        let (line, mut owner) = line();
        let asked: Vec<Asked> = (0..20).map(|number: u8| ask(&line, vec![number; 10])).collect();
        thread::scope(|scope| {
            let waiting: Vec<_> = match threads {
                true => asked
                    .into_iter()
                    .map(|asked| scope.spawn(|| answer(asked)))
                    .collect(),
                false => vec![scope.spawn(|| {
                    Ok(asked
                        .into_iter()
                        .flat_map(|asked| answer(asked).expect("sound"))
                        .collect())
                })],
            };
            let calls: Vec<Frame> = (0..20)
                .map(|_| owner.receive().expect("sound").expect("a call"))
                .collect();
            for _ in 0..2 {
                for call in calls.iter().rev() {
                    owner
                        .send(output(call.call, call.body.clone()))
                        .expect("it listens");
                }
            }
            calls.iter().rev().for_each(|call| reply(&mut owner, call.call));
            let answers: Vec<u8> = waiting
                .into_iter()
                .flat_map(|thread| thread.join().expect("it ends").expect("sound"))
                .collect();
            let expected: Vec<u8> = (0..20).flat_map(|number| vec![number; 20]).collect();
            assert_eq!(answers, expected);
        });
    }
}

/// Goal: one who asks more than the socket holds does not wait for ever for an owner that waits to be rid of its answers.
/// Method: an owner that sends far more than a socket holds before it takes the next question, for each question; questions
/// that are longer than a socket holds together, none of which is waited for before all are asked.
#[test]
fn who_asks_reads_when_the_socket_is_full() {
    const QUESTIONS: u64 = 8;
    let (line, mut owner) = line();
    let piece = Bytes::from(vec![7; 200_000]);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..QUESTIONS {
                let call = owner.receive().expect("sound").expect("a call").call;
                for _ in 0..10 {
                    owner.send(output(call, piece.clone())).expect("it listens");
                }
                reply(&mut owner, call);
            }
        });
        let asked: Vec<Asked> = (0..QUESTIONS).map(|_| ask(&line, piece.clone())).collect();
        for asked in asked {
            assert_eq!(answer(asked).expect("sound").len(), 10 * piece.len());
        }
    });
}

/// Goal: what comes for a question that was given up is dropped, and the connection goes on. Method: a question given up before
/// and between its frames, then another; nothing is kept for the first.
#[test]
fn what_nobody_waits_for_is_dropped() {
    let (line, mut owner) = line();
    let (first, mut second, third) = (ask(&line, "1"), ask(&line, "2"), ask(&line, "3"));
    drop(first);
    owner.send(output(1, "x")).expect("it listens");
    owner.send(output(2, "x")).expect("it listens");
    assert!(matches!(second.next(), Ok(Came::Frame(_))));
    drop(second);
    owner.send(output(2, "y")).expect("it listens");
    reply(&mut owner, 1);
    reply(&mut owner, 2);
    owner.send(output(3, "z")).expect("it listens");
    reply(&mut owner, 3);
    assert_eq!(answer(third).expect("sound"), b"z");
    assert!(line.state.lock().calls.is_empty());
}

/// Goal: once the connection has failed, all who wait are told why, and nothing more can be asked. Method: an owner that goes, says
/// goodbye, answers a call that was not made, a part of whose answer is missing, or sends what is no frame, while three threads
/// wait.
#[test]
fn all_who_wait_are_told_of_the_end() {
    type End = fn(Conversation);
    let ends: [(&str, End); 5] = [
        ("it is gone", |owner| drop(owner)),
        (
            "makes no sense: it answers call 9, which was not made",
            |mut owner| {
                owner.send(output(9, "x")).expect("it listens");
            },
        ),
        ("it is gone", |mut owner| {
            let head = Frame::new(Kind::Reply, 1, &b"{"[..]).with_flags(MORE);
            owner.send(head).expect("it listens");
        }),
        ("a frame announces", |owner| {
            io::Write::write_all(&mut owner.socket(), &[3; 64]).expect("it listens");
        }),
        ("leaving", |mut owner| {
            owner.send(Goodbye::new("leaving").frame(0)).expect("it listens");
        }),
    ];
    for (says, end) in ends {
        let (line, owner) = line();
        let asked: Vec<Asked> = (0..3).map(|_| ask(&line, "x")).collect();
        thread::scope(|scope| {
            let waiting: Vec<_> = asked
                .into_iter()
                .map(|asked| scope.spawn(|| answer(asked)))
                .collect();
            end(owner);
            for thread in waiting {
                let failure = thread
                    .join()
                    .expect("it ends")
                    .expect_err("the connection has failed");
                assert!(failure.message.contains(says), "{failure}");
            }
        });
        assert!(line.is_over());
        assert!(line.ask(&Call::Ping, &[]).is_err());
    }
}
