use std::io;

use super::testing::{Place, flip};
use super::*;
use crate::error::Error;
use crate::format::{ContentId, Kind, SegmentId};

/// Bytes in, bytes out, and everything that was said.
struct Pipe<'a> {
    input: &'a [u8],
    output: Vec<u8>,
    largest: usize,
    cancel: Cancel,
}

impl Exchange for Pipe<'_> {
    fn reporter(&self) -> Reporter {
        std::sync::Arc::new(|_| {})
    }

    fn warn(&mut self, _: &Warning) {}

    fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.largest = self.largest.max(bytes.len());
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    fn input(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Short reads, as pipes give them.
        let length = buffer.len().min(self.input.len()).min(100_001);
        buffer[..length].copy_from_slice(&self.input[..length]);
        self.input = &self.input[length..];
        Ok(length)
    }

    fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}

fn pipe(input: &[u8]) -> Pipe<'_> {
    Pipe {
        input,
        output: Vec::new(),
        largest: 0,
        cancel: Cancel::default(),
    }
}

/// One request of every kind, with names that are no text.
fn requests() -> Vec<Request> {
    let odd = || ByteString::from(&b"/tmp/\xff\xfe"[..]);
    let ids = ContentRequest {
        ids: vec![ContentId([7; 32]), ContentId([9; 32])],
    };
    vec![
        Request::Init(InitRequest {
            size: Some(1 << 40),
            force: true,
        }),
        Request::Info,
        Request::Stats,
        Request::Check(CheckRequest { read_data: true }),
        Request::Put(PutRequest {
            pin: true,
            durability: Durability::Visible,
        }),
        Request::Get(GetRequest {
            id: ContentId([1; 32]),
            offset: 5,
            length: Some(u64::MAX),
        }),
        Request::Exists(ids.clone()),
        Request::Pin(ids.clone()),
        Request::Unpin(ids),
        Request::Commit(CommitRequest {
            directory: odd(),
            branch: Some("main".into()),
            message: "a \"message\"\nwith lines".into(),
            expect: Some("main~1".into()),
            ..CommitRequest::default()
        }),
        Request::Status(StatusRequest { directory: odd() }),
        Request::Forget(ForgetRequest {
            branches: vec!["main".into()],
            keep_last: Some(3),
            keep_tags: vec!["v*".into()],
            ..ForgetRequest::default()
        }),
        Request::Expire(ExpireRequest { dry_run: true }),
        Request::Quota(QuotaRequest::List),
        Request::Quota(QuotaRequest::Set {
            prefix: "agent-".into(),
            limit_bytes: Some(1 << 40),
        }),
        Request::Why(WhyRequest {
            what: odd(),
            limit: 20,
        }),
        Request::Usage(UsageRequest {
            revisions: vec![odd()],
        }),
        Request::Branch(BranchRequest::Create {
            name: "agent-{n}".into(),
            revision: None,
            directory: odd(),
            count: Some(100),
            force: false,
            expires_ns: None,
        }),
        Request::Branch(BranchRequest::Rename {
            from: "a".into(),
            to: "b".into(),
        }),
        Request::Tag(TagRequest::Delete {
            names: vec!["v1".into(), odd()],
        }),
        Request::Log(LogRequest {
            directory: odd(),
            limit: Some(3),
            since_ns: Some(1),
            ..LogRequest::default()
        }),
        Request::List(ListRequest {
            revision: Some(odd()),
            ..ListRequest::default()
        }),
        Request::Cat(CatRequest { revision: odd() }),
        Request::Diff(DiffRequest {
            from: "main".into(),
            to: Side::Directory(odd()),
            paths: vec![odd()],
        }),
        Request::Merge(MergeRequest {
            revision: odd(),
            into: Some("main".into()),
            directory: odd(),
            allow_unrelated: true,
            ..MergeRequest::default()
        }),
        Request::Restore(RestoreRequest {
            extra: ExtraFiles::Keep,
            paths: vec![odd()],
            ..RestoreRequest::default()
        }),
        Request::Materialize(MaterializeRequest {
            jobs: Some(3),
            ..MaterializeRequest::default()
        }),
    ]
}

/// Goal: a request that was carried elsewhere is the same request. Method: through JSON and back, one of every kind.
#[test]
fn requests_survive_the_wire() {
    for request in requests() {
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&json).unwrap(), request, "{json}");
    }
}

/// Goal: replies and failures survive too. Method: real ones, from a store, and a failure of each class it can give.
#[test]
fn replies_and_failures_survive_the_wire() {
    let place = Place::new();
    place.commit();
    let list = ListRequest {
        revision: Some("main".into()),
        ..ListRequest::default()
    };
    let requests = [
        Request::Info,
        Request::Branch(BranchRequest::List),
        Request::List(list),
        Request::Status(StatusRequest {
            directory: place.project().into(),
        }),
        Request::Check(CheckRequest { read_data: true }),
        Request::Log(LogRequest {
            directory: place.project().into(),
            ..LogRequest::default()
        }),
    ];
    for request in requests {
        let reply = place.call(request).unwrap();
        let json = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&json).unwrap(), reply, "{json}");
    }
    let failure = place
        .call(Request::Cat(CatRequest {
            revision: "nope:file".into(),
        }))
        .unwrap_err();
    assert_eq!(failure.class, Class::NotFound);
    let json = serde_json::to_string(&failure).unwrap();
    assert_eq!(serde_json::from_str::<Failure>(&json).unwrap(), failure, "{json}");
}

/// Goal: a content goes in and comes out in pieces, never whole. Method: a content of many pieces through short
/// reads; the largest piece written is looked at.
#[test]
fn contents_move_in_pieces() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..5_000_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let mut exchange = pipe(&bytes);
    let stored = place
        .client
        .call(Request::Put(PutRequest::default()), &mut exchange);
    let Ok(Reply::Content(stored)) = stored else {
        panic!("{stored:?}")
    };
    assert_eq!(
        (stored.size, stored.bytes),
        (bytes.len() as u64, bytes.len() as u64)
    );
    let mut exchange = pipe(&[]);
    let request = GetRequest {
        id: stored.id,
        offset: 0,
        length: None,
    };
    place.client.call(Request::Get(request), &mut exchange).unwrap();
    assert!(exchange.output == bytes);
    assert!(
        exchange.largest <= 1 << 20,
        "a piece of {} bytes",
        exchange.largest
    );
}

/// Goal: a call that is asked to stop says so and leaves the store as it was.
#[test]
fn a_cancelled_call_changes_nothing() {
    let place = Place::new();
    let before = place.commit();
    std::fs::write(place.project().join("file"), "two").unwrap();
    let cancel = Cancel::default();
    cancel.cancel();
    let request = CommitRequest {
        directory: place.project().into(),
        ..CommitRequest::default()
    };
    let failure = place
        .client
        .call(Request::Commit(request), &mut Silent::with_cancel(cancel.clone()))
        .unwrap_err();
    assert_eq!(failure.class, Class::Cancelled);
    let bytes = vec![1; 3 << 20];
    let mut exchange = pipe(&bytes);
    exchange.cancel = cancel;
    let failure = place
        .client
        .call(Request::Put(PutRequest::default()), &mut exchange)
        .unwrap_err();
    assert_eq!(failure.class, Class::Cancelled);
    let log = LogRequest {
        directory: place.project().into(),
        ..LogRequest::default()
    };
    let Ok(Reply::History(history)) = place.call(Request::Log(log)) else {
        panic!("no history")
    };
    assert_eq!(history.commits.len(), 1);
    assert_eq!(history.commits[0].commit, before.commit);
}

/// Goal: a restore keeps what it replaces on a branch of its own and can be repeated: the branch does not move.
#[test]
fn a_restore_is_undone_and_repeated() {
    let place = Place::new();
    let first = place.commit();
    let file = place.project().join("file");
    let restore = |revision: &str| {
        let request = RestoreRequest {
            revision: revision.into(),
            directory: place.project().into(),
            ..RestoreRequest::default()
        };
        match place.call(Request::Restore(request)).unwrap() {
            Reply::Restored(restored) => restored,
            other => panic!("{other:?}"),
        }
    };
    std::fs::write(&file, "precious").unwrap();
    let restored = restore("main");
    assert_eq!(std::fs::read(&file).unwrap(), b"one");
    assert_eq!(restored.backup_branch, Some("backup/main".into()));
    assert_eq!(restore("main").written, 0, "nothing is left to restore");
    let undone = restore("backup/main");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    assert_eq!(
        undone.backup,
        Some(first.commit),
        "the state before is that of main"
    );
    assert_eq!(undone.backup_branch, None);
}

/// Goal: a directory made from a branch follows it; one made from a commit follows the default.
#[test]
fn a_new_directory_follows_its_branch() {
    let place = Place::new();
    let commit = place.commit().commit;
    let create = BranchRequest::Create {
        name: "agent".into(),
        revision: None,
        directory: place.project().into(),
        count: None,
        force: false,
        expires_ns: None,
    };
    place.call(Request::Branch(create)).unwrap();
    let made_from = |revision: ByteString, name: &str| {
        let directory = place.root.path().join(name);
        let request = MaterializeRequest {
            revision,
            directory: directory.as_path().into(),
            ..MaterializeRequest::default()
        };
        place.call(Request::Materialize(request)).unwrap();
        let status = Request::Status(StatusRequest {
            directory: directory.into(),
        });
        match place.call(status).unwrap() {
            Reply::Status(status) => status.branch,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(made_from("agent".into(), "a"), ByteString::from("agent"));
    assert_eq!(
        made_from(commit.to_string().into(), "b"),
        ByteString::from("main")
    );
}

/// Goal: check names what is damaged. Method: flip a byte of a stored content behind the store's back.
#[test]
fn check_names_damage() {
    let place = Place::new();
    let content: Vec<u8> = (0..50_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    std::fs::write(place.project().join("large"), &content).unwrap();
    place.commit();
    place.client.close().unwrap();
    let check = || match place
        .call(Request::Check(CheckRequest { read_data: true }))
        .unwrap()
    {
        Reply::Checked(checked) => checked,
        other => panic!("{other:?}"),
    };
    assert_eq!(check().damage, []);
    place.client.close().unwrap();
    flip(&place.root.path().join("store"), &content[100_000..100_032]);
    let checked = check();
    assert_eq!(checked.damage.len(), 1, "{checked:?}");
    assert_eq!(checked.damage[0].reached_from, Some("main".into()));
}

/// Goal: every error has the class its exit code promises, and a message of one line that says what and where.
#[test]
fn errors_have_their_classes() {
    let io = |kind| io::Error::from(kind);
    let cases = [
        (Error::not_found("branch x"), Class::NotFound),
        (Error::invalid("name", "wrong"), Class::Invalid),
        (
            Error::Exists {
                what: "tag v1".into(),
            },
            Class::Conflict,
        ),
        (
            Error::InUse {
                store: "s".into(),
                pid: 7,
            },
            Class::InUse,
        ),
        (
            Error::Full {
                device: "d".into(),
                needed: 2,
                free: 1,
            },
            Class::Full,
        ),
        (
            Error::DiskFull {
                device: "d".into(),
                needed: 2,
                free: 1,
            },
            Class::Full,
        ),
        (
            Error::NotAStore {
                store: "s".into(),
                reason: "empty".into(),
            },
            Class::Damaged,
        ),
        (
            Error::path("read", "f", io(io::ErrorKind::NotFound)),
            Class::NotFound,
        ),
        (
            Error::path("write", "f", io(io::ErrorKind::StorageFull)),
            Class::Full,
        ),
        (
            Error::path("read", "f", io(io::ErrorKind::PermissionDenied)),
            Class::Io,
        ),
        (Error::Cancelled, Class::Cancelled),
    ];
    let (device, id) = ("d".to_owned(), ContentId([3; 32]));
    let more = [
        (
            Error::OverQuota {
                branch: "agent-1".into(),
                prefix: "agent-".into(),
                limit: 3,
                used: 2,
                needed: 2,
            },
            Class::Quota,
        ),
        (
            Error::Damaged {
                id,
                kind: Kind::Data,
                segment: SegmentId(3),
                offset: 9,
                damage: "other bytes".into(),
            },
            Class::Damaged,
        ),
        (
            Error::Inconsistent {
                id,
                kind: Kind::Node,
                damage: "names out of order".into(),
            },
            Class::Damaged,
        ),
        (
            Error::Incomplete {
                first: "a node is missing".into(),
                more: 2,
            },
            Class::Damaged,
        ),
        (
            Error::Ambiguous {
                what: "id 12".into(),
                candidates: "1, 2".into(),
            },
            Class::Invalid,
        ),
        (
            Error::Conflict {
                root: "main".into(),
                expected: "1".into(),
                found: "2".into(),
            },
            Class::Conflict,
        ),
        (
            Error::Unsupported {
                store: "s".into(),
                bits: 4,
            },
            Class::Failed,
        ),
        (
            Error::Device {
                device: device.clone(),
                operation: "write",
                offset: 0,
                source: io(io::ErrorKind::StorageFull),
            },
            Class::Full,
        ),
        (
            Error::Device {
                device,
                operation: "open",
                offset: 0,
                source: io(io::ErrorKind::PermissionDenied),
            },
            Class::Io,
        ),
        (
            Error::Stream {
                operation: "writing the content",
                source: io(io::ErrorKind::BrokenPipe),
            },
            Class::Io,
        ),
        (
            Error::Unreadable {
                count: 2,
                list: "a, b".into(),
            },
            Class::Io,
        ),
    ];
    for (error, class) in cases.into_iter().chain(more) {
        let failure = Failure::from(error);
        assert_eq!(failure.class, class, "{failure}");
        assert_eq!(failure.message.lines().count(), 1, "{failure}");
    }
}

/// Goal: what somebody can do about a failure is said, and said once: in the hint and not in the message too. Method: the
/// failures a person can do something about.
#[test]
fn what_to_do_is_in_the_hint() {
    let not_found = || io::Error::from(io::ErrorKind::NotFound);
    let cases = [
        (
            Error::Full {
                device: "d".into(),
                needed: 2,
                free: 1,
            },
            "delete branches",
        ),
        (
            Error::DiskFull {
                device: "d".into(),
                needed: 2,
                free: 1,
            },
            "free some space",
        ),
        (
            Error::InUse {
                store: "s".into(),
                pid: 7,
            },
            "stop it",
        ),
        (
            Error::OverQuota {
                branch: "agent-1".into(),
                prefix: "agent-".into(),
                limit: 3,
                used: 2,
                needed: 2,
            },
            "--measure",
        ),
        (
            Error::Unsupported {
                store: "s".into(),
                bits: 4,
            },
            "newer helios",
        ),
        (
            Error::Incomplete {
                first: "a node is missing".into(),
                more: 0,
            },
            "helios check",
        ),
        (Error::path(failure::OPEN_STORE, "s", not_found()), "helios init"),
        (Error::path("read", "f", not_found()), "check the path"),
    ];
    for (error, advice) in cases {
        let failure = Failure::from(error);
        let hint = failure.hint.clone().expect("advice");
        assert!(hint.contains(advice), "{failure}: {hint}");
        assert!(!failure.message.contains(advice), "{failure}: {hint}");
    }
    assert_eq!(Failure::from(Error::Cancelled).hint, None);
}
