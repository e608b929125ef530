//! Golden messages about extents, batches and roots.

use std::sync::Arc;

use helios_engine::Error;
use helios_engine::format::{ContentId, Domain, Kind as ExtentKind, RootId};
use helios_engine::ops::Failure;
use helios_engine::store::{Expect, Extent, Key, Root, RootChange, RootKind, RootUpdate, Target};

use super::extents::{
    Ask, Refused, RootMove, RootTold, Told, read_extents, read_keys, take_piece, write_answers,
    write_extents, write_keys,
};
use super::frame::Frame;
use super::message::{Answer, Call, Message};

fn key(kind: ExtentKind) -> Key {
    Key {
        domain: Domain(1),
        kind,
        id: ContentId([0xab; 32]),
    }
}

fn updates() -> Vec<RootUpdate> {
    let target = Target {
        kind: ExtentKind::Commit,
        id: ContentId([0xab; 32]),
    };
    vec![
        RootUpdate {
            kind: RootKind::Branch,
            name: b"main"[..].into(),
            expect: Expect::Sequence(7),
            change: RootChange::Set {
                target: Some(target),
                data: vec![0, 0xff].into(),
            },
        },
        RootUpdate {
            kind: RootKind::Workspace,
            name: b"1:2:unknown"[..].into(),
            expect: Expect::Any,
            change: RootChange::Delete,
        },
        RootUpdate {
            kind: RootKind::Tag,
            name: b"v1"[..].into(),
            expect: Expect::Absent,
            change: RootChange::Rename { to: b"v2"[..].into() },
        },
    ]
}

fn root() -> Root {
    Root {
        id: RootId(5),
        kind: RootKind::Branch,
        name: Arc::from(&b"main"[..]),
        domain: Domain(0),
        sequence: 7,
        target: Some(Target {
            kind: ExtentKind::Commit,
            id: ContentId([0xab; 32]),
        }),
        data: vec![1, 0xff].into(),
        changed_ns: 1,
    }
}

fn extent() -> Extent {
    Extent {
        key: key(ExtentKind::Data),
        bytes: (&b"hello"[..]).into(),
    }
}

/// Each message with a name.
pub fn messages() -> Vec<(&'static str, Frame)> {
    let keys = write_keys(&[key(ExtentKind::Data), key(ExtentKind::Commit)]);
    let ask = |ask: Ask, number| Call::Store(ask).frame(number);
    let conflict = Error::Conflict {
        root: "branch main".into(),
        expected: "1".into(),
        found: "2".into(),
    };
    let told = Told {
        batch: None,
        roots: vec![RootTold::from(&root())],
        refused: vec![Refused::new(3, conflict), Refused::new(4, Error::Closed)],
    };
    vec![
        ("lengths", ask(Ask::Lengths, 7).with_body(keys.clone())),
        ("get_extents", ask(Ask::Get, 8).with_body(keys.clone())),
        ("begin", ask(Ask::Begin, 9)),
        ("hold", ask(Ask::Hold { batch: 9 }, 10).with_body(keys)),
        (
            "put_extents",
            ask(Ask::Put { batch: 9 }, 11).with_body(write_extents(&[extent()]).concat()),
        ),
        (
            "submit",
            ask(
                Ask::Submit {
                    batch: 9,
                    domain: 0,
                    roots: updates().into_iter().map(RootMove::from).collect(),
                },
                12,
            ),
        ),
        ("durable", ask(Ask::Durable { batch: 9 }, 13)),
        ("end", ask(Ask::End { batch: 9 }, 14)),
        (
            "root",
            ask(
                Ask::Root {
                    kind: RootKind::Branch,
                    name: "main".into(),
                },
                15,
            ),
        ),
        (
            "roots",
            ask(
                Ask::Roots {
                    kind: RootKind::Workspace,
                },
                16,
            ),
        ),
        ("flush", ask(Ask::Flush, 17)),
        ("told", Answer::Store(told).frame(12)),
        (
            "begun",
            Answer::Store(Told {
                batch: Some(9),
                ..Told::default()
            })
            .frame(9),
        ),
    ]
}

/// Goal: keys, extents, roots and errors are after a journey what they were. Method: there and back; cut short at every byte they
/// are an error and nothing else.
#[test]
fn what_travels_stays_what_it_is() {
    let keys = [key(ExtentKind::Data), key(ExtentKind::Node)];
    assert_eq!(read_keys(&write_keys(&keys)).expect("keys"), keys);
    let bytes = bytes::Bytes::from(write_extents(&[extent(), extent()]).concat());
    let back = read_extents(bytes.clone()).expect("extents");
    assert_eq!(back.len(), 2);
    assert!(
        back.iter()
            .all(|back| back.key == extent().key && back.bytes == extent().bytes)
    );
    for length in (1..bytes.len()).filter(|length| *length != bytes.len() / 2) {
        assert!(read_extents(bytes.slice(..length)).is_err(), "{length}");
    }
    let answers = [Some(extent().bytes), None, Some(bytes::Bytes::new()), None];
    let mut written = bytes::Bytes::from(write_answers(answers.to_vec()).concat());
    for answer in answers {
        assert_eq!(take_piece(&mut written), Ok(answer));
    }
    assert!(written.is_empty());
    let mut none = bytes::Bytes::from(vec![0xff; 4]);
    assert_eq!(take_piece(&mut none), Ok(None));
    let mut long = bytes::Bytes::from(vec![0xfe; 4]);
    assert!(take_piece(&mut long).is_err());
    for update in updates() {
        let there = format!("{update:?}");
        let back = RootMove::from(update).into_update().expect("a change");
        assert_eq!(format!("{back:?}"), there);
    }
    let back = RootTold::from(&root()).into_root().expect("a root");
    assert_eq!(format!("{back:?}"), format!("{:?}", root()));
    let errors = [
        Error::not_found("commit x"),
        Error::Exists {
            what: "branch x".into(),
        },
        Error::Conflict {
            root: "branch x".into(),
            expected: "1".into(),
            found: "2".into(),
        },
        Error::Inconsistent {
            id: ContentId([1; 32]),
            kind: ExtentKind::Manifest,
            damage: "odd".into(),
        },
        Error::Full {
            device: "file".into(),
            needed: 1,
            free: 0,
        },
    ];
    for error in errors {
        let refused = Refused::new(0, error);
        let text = serde_json::to_string(&refused).expect("plain values");
        let back: Refused = serde_json::from_str(&text).expect("it was just written");
        assert_eq!(back, refused);
        let said = refused.failure.clone();
        let error = refused.into_error();
        let is_plain = !matches!(error, Error::Owner { .. });
        assert_eq!(is_plain, back.facts.is_some());
        assert_eq!(Failure::from(error), said);
    }
}
