//! The golden messages: every kind of frame and every call, as the bytes that clients in any language write and read.
//!
//! `HELIOS_GOLDEN=write` writes the file anew, after a change of the protocol that was meant.

use std::path::PathBuf;

use bytes::BytesMut;
use helios_engine::format::ContentId;
use helios_engine::ops::files::{FileResult, FileResults, FileStep, FilesOpened, OpenFiles, Replacement};
use helios_engine::ops::{Class, Durability, Failure, GetRequest, Reply, Request, Stage, Step, Warning};

use super::frame::{END, Frame, Kind};
use super::message::{Answer, Call, Goodbye, Health, Hello, Message, Reason, Want, Welcome};

/// Each message with a name.
fn messages() -> Vec<(&'static str, Frame)> {
    let id = ContentId([0xab; 32]);
    let hello = Hello {
        protocol: "helios".into(),
        versions: vec![1],
        program: "helios 0.1.0".into(),
    };
    let welcome = Welcome {
        version: 1,
        program: "helios 0.1.0".into(),
        store: "/data/store.helios".into(),
        calls_max: 64,
    };
    let get = Call::Run {
        request: Request::Get(GetRequest {
            id,
            offset: 0,
            length: None,
        }),
    };
    let open = Call::OpenFiles(OpenFiles {
        branch: "main".into(),
        fork: Some("agent-1".into()),
        expires_ns: Some(1),
        create: false,
        author: "an agent".into(),
        no_times: true,
    });
    let path = || "src/main.rs".into();
    let steps = vec![
        FileStep::Read {
            path: path(),
            offset: 10,
            length: Some(20),
        },
        FileStep::Write {
            path: vec![b'o', 0xff].into(),
            bytes: 3,
            offset: Some(4),
            parents: true,
            mode: Some(0o755),
        },
        FileStep::Append {
            path: path(),
            bytes: 2,
        },
        FileStep::Truncate {
            path: path(),
            size: 7,
        },
        FileStep::Patch {
            path: path(),
            replace: vec![Replacement {
                old: "a".into(),
                new: "b".into(),
                all: true,
            }],
        },
        FileStep::Rename {
            from: path(),
            to: "b".into(),
        },
        FileStep::Remove {
            path: path(),
            missing_ok: true,
        },
        FileStep::Mkdir {
            path: path(),
            parents: true,
        },
        FileStep::Symlink {
            path: path(),
            target: "../x".into(),
        },
        FileStep::SetMode {
            path: path(),
            mode: 0o600,
        },
        FileStep::Stat { path: path() },
        FileStep::List { path: "".into() },
        FileStep::Commit {
            message: "a step".into(),
            durability: Durability::Durable,
            expect: Some(id),
        },
        FileStep::Reset { to_head: true },
    ];
    let opened = Answer::Opened {
        tree: 2,
        opened: FilesOpened {
            branch: "agent-1".into(),
            commit: Some(id),
            files: 28_000,
            bytes: 1 << 33,
        },
    };
    let stepped = Answer::Stepped {
        results: FileResults {
            results: vec![
                FileResult::Read { bytes: 20, size: 99 },
                FileResult::Written { size: 7 },
                FileResult::Committed {
                    commit: id,
                    unchanged: false,
                    files: 1,
                    bytes: 7,
                },
                FileResult::Done,
            ],
            failed: Some(Failure::new(Class::NotFound, "path `x` is not there")),
            changed: true,
        },
    };
    let ran = Answer::Ran {
        result: Reply::Content(helios_engine::ops::Content {
            id,
            size: 5,
            bytes: 5,
            new: false,
        }),
    };
    let step = Step {
        items: 3,
        ..Step::begin(Stage::Copying)
    };
    let warning = Warning {
        path: "a/b".into(),
        message: "it is a socket; left out".into(),
    };
    let observed = Answer::Observed {
        health: Health {
            live: true,
            ready: true,
            degraded: true,
            reasons: vec![Reason {
                reason: "nearly_full".into(),
                message: "1 of 100 bytes are free".into(),
            }],
        },
    };
    let goodbye = Goodbye::new("a frame's checksum is wrong");
    let mut messages = vec![
        ("hello", hello.frame(0)),
        ("welcome", welcome.frame(0)),
        ("run", get.frame(1)),
        ("open_files", open.frame(2)),
        (
            "files",
            Call::Files { tree: 2, steps }.frame(3).with_body(&b"abcde"[..]),
        ),
        (
            "fork_files",
            Call::ForkFiles {
                tree: 2,
                branch: "b".into(),
            }
            .frame(4),
        ),
        ("close_files", Call::CloseFiles { tree: 2 }.frame(5)),
        ("ping", Call::Ping.frame(u64::MAX)),
        ("input", Frame::new(Kind::Input, 1, "").with_body(&b"\0\xff"[..])),
        ("input_end", Frame::new(Kind::Input, 1, "").with_flags(END)),
        ("cancel", Frame::new(Kind::Cancel, 1, "")),
        ("want", Want { bytes: 1 << 20 }.frame(1)),
        ("output", Frame::new(Kind::Output, 1, "").with_body(&b"hello"[..])),
        ("progress", step.frame(1)),
        ("warning", warning.frame(1)),
        ("ran", ran.frame(1)),
        ("opened", opened.frame(2)),
        ("stepped", stepped.frame(3)),
        ("closed", Answer::Closed.frame(5)),
        ("pong", Answer::Pong.frame(u64::MAX)),
        (
            "failure",
            Failure::busy("too many requests wait already", 100).frame(6),
        ),
        ("goodbye", goodbye.frame(0)),
        ("observe", Call::Observe.frame(7)),
        ("observed", observed.frame(7)),
    ];
    messages.extend(super::extents_tests::messages());
    messages
}

fn line(name: &str, frame: &Frame) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let head = std::str::from_utf8(&frame.head).expect("JSON is UTF-8");
    let value = serde_json::json!({
        "name": name, "kind": frame.kind as u16, "flags": frame.flags, "call": frame.call,
        "head": head, "body": hex(&frame.body), "bytes": hex(&frame.to_bytes()),
    });
    value.to_string()
}

/// Goal: the protocol changes only when that is meant, and everything in it is read as it was written. Method: every message
/// against its kept bytes; heads are read back and written again.
#[test]
fn messages_are_the_golden_ones() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/wire/golden/messages.jsonl");
    let lines: Vec<String> = messages().iter().map(|(name, frame)| line(name, frame)).collect();
    if std::env::var_os("HELIOS_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(&path, lines.join("\n") + "\n").expect("a file");
    }
    let kept = std::fs::read_to_string(&path).expect("the golden messages");
    for (kept, line) in kept.lines().zip(&lines) {
        assert_eq!(kept, line);
    }
    assert_eq!(kept.lines().count(), lines.len());
    for (name, frame) in messages() {
        let mut arrived = BytesMut::from(&frame.to_bytes()[..]);
        assert_eq!(Frame::take(&mut arrived), Ok(Some(frame.clone())), "{name}");
        let again = match frame.kind {
            Kind::Call => Call::read(&frame.head).map(|call| call.frame(frame.call)),
            Kind::Reply => Answer::read(&frame.head).map(|answer| answer.frame(frame.call)),
            Kind::Failure => Failure::read(&frame.head).map(|failure| failure.frame(frame.call)),
            Kind::Hello => Hello::read(&frame.head).map(|hello| hello.frame(0)),
            Kind::Welcome => Welcome::read(&frame.head).map(|welcome| welcome.frame(0)),
            Kind::Want => Want::read(&frame.head).map(|want| want.frame(frame.call)),
            Kind::Progress => Step::read(&frame.head).map(|step| step.frame(frame.call)),
            Kind::Warning => Warning::read(&frame.head).map(|warning| warning.frame(frame.call)),
            Kind::Goodbye => Goodbye::read(&frame.head).map(|goodbye| goodbye.frame(0)),
            Kind::Input | Kind::Output | Kind::Cancel => continue,
        };
        assert_eq!(again.expect("it was just written").head, frame.head, "{name}");
    }
    for kind in (1..=12).map(|number| Kind::from_number(number).expect("all kinds")) {
        assert!(
            messages().iter().any(|(_, frame)| frame.kind == kind),
            "{kind:?} has no golden message"
        );
    }
}
