use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use helios_engine::Error;
use helios_engine::access::{Access, KEYS_AT_ONCE_MAX};
use helios_engine::format::{ContentId, Domain, Kind as ExtentKind};
use helios_engine::hash;
use helios_engine::objects::{Durability, Objects, PutOptions};
use helios_engine::ops::{
    Cancel, CheckRequest, CollectRequest, CommitRequest, Host, InitRequest, Local, Silent, StoreOptions,
};
use helios_engine::reactor::Started;
use helios_engine::store::{Expect, Extent, Key, RootChange, RootKind, RootUpdate, Target};
use tempfile::TempDir;

use super::*;
use crate::client::Client as Caller;
use crate::serve::{Options, Serving};
use crate::wire::extents::{Ask, RootMove, write_extents, write_keys};
use crate::wire::frame::Kind;
use crate::wire::message::Answer;

/// A store that this process serves, and a place for files.
struct Owner {
    directory: TempDir,
    serving: Option<Serving>,
}

impl Owner {
    fn new() -> Owner {
        let directory = tempfile::tempdir().expect("a directory");
        let options = StoreOptions {
            address: directory.path().join("store").into(),
            reactors: Some(2),
            ..StoreOptions::default()
        };
        let local = Local::new(options.clone());
        let init = InitRequest {
            size: Some(256 << 20),
            force: false,
        };
        local
            .call(Request::Init(init), &mut Silent::default())
            .expect("a store");
        drop(local);
        let host = Host::open(&options).expect("it opens");
        let options = Options {
            control: Some(directory.path().join("socket")),
            inherited: None,
            allow_uids: Vec::new(),
            memory: None,
            observer: crate::observe::observer(),
        };
        Owner {
            serving: Some(Serving::start(host, options).expect("it listens")),
            directory,
        }
    }

    fn serving(&self) -> &Serving {
        self.serving.as_ref().expect("it serves")
    }

    fn attach(&self) -> Attached {
        let store = self.directory.path().join("store");
        Attached::connect(self.serving().control(), store.as_os_str())
            .expect("let in")
            .expect("somebody listens")
    }

    fn link(&self) -> Arc<Questions> {
        Arc::new(Questions {
            line: self.attach().line,
            cancel: Cancel::default(),
        })
    }

    fn access(&self) -> Access {
        Access::Far(self.link())
    }

    fn caller(&self) -> Caller {
        Caller::connect(self.serving().control()).expect("let in")
    }

    /// Runs a request in the owner.
    fn run(&self, request: Request) -> Result<Reply, Failure> {
        let observed = self.serving().observed();
        observed.host().call(request, &mut Silent::default())
    }

    fn received(&self) -> u64 {
        self.serving().observed().served().received_bytes
    }

    /// Everything that is there, what nobody keeps excepted.
    fn collected(&self) -> u64 {
        let request = Request::Collect(CollectRequest { dry_run: false });
        let Ok(Reply::Collected(_)) = self.run(request) else {
            panic!("it collects");
        };
        let Ok(Reply::Info(info)) = self.run(Request::Info) else {
            panic!("it says how it is");
        };
        info.extents
    }

    fn is_sound(&self) {
        let checked = self.run(Request::Check(CheckRequest { read_data: true }));
        let Ok(Reply::Checked(checked)) = checked else {
            panic!("{checked:?}");
        };
        assert!(checked.damage.is_empty(), "{:?}", checked.damage);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.end().expect("it ends");
        }
    }
}

fn bytes(length: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes.into()
}

fn data(content: &Bytes) -> Extent {
    Extent {
        key: key(ExtentKind::Data, hash::content_ids(&[content])[0]),
        bytes: content.clone(),
    }
}

fn key(kind: ExtentKind, id: ContentId) -> Key {
    Key {
        domain: Domain(0),
        kind,
        id,
    }
}

/// Goal: contents go in and come out over a link as they do where the store is. Method: empty, small, of many extents, with
/// holes, put over the link and read over it and by the owner; and the other way.
#[test]
fn contents_travel_both_ways() {
    let owner = Owner::new();
    let far = Objects::new(owner.access()).blocking();
    let observed = owner.serving().observed();
    let near = observed.host().objects().blocking();
    let mut sparse = vec![0; 9 << 20];
    sparse[5 << 20] = 1;
    let contents = [
        Bytes::new(),
        Bytes::from("small"),
        bytes(3_000_000, 1),
        Bytes::from(sparse),
    ];
    for content in &contents {
        let put = far.put(content.clone()).expect("room");
        assert!(put.new);
        assert!(
            near.get(put.id).expect("there") == content,
            "the owner reads something else"
        );
        assert!(
            far.get(put.id).expect("there") == content,
            "the link reads something else"
        );
        assert_eq!(far.length(put.id).expect("there"), content.len() as u64);
        assert!(!far.put(content.clone()).expect("room").new);
    }
    let put = near.put(bytes(2_000_000, 2)).expect("room");
    let mut read = Vec::new();
    far.get_stream(put.id)
        .expect("there")
        .copy_to(&mut read)
        .expect("sound");
    assert!(read == bytes(2_000_000, 2));
    let missing = ContentId([7; 32]);
    assert_eq!(far.exist(&[missing, put.id]).expect("an answer"), [false, true]);
    let (here, there) = (near.get(missing), far.get(missing));
    assert_eq!(
        here.expect_err("missing").to_string(),
        there.expect_err("missing").to_string()
    );
    owner.is_sound();
}

/// Goal: threads ask side by side over one connection, ahead of what they wait for, and each gets what it asked for. Method:
/// four threads, each with two questions under way; contents of every way a frame travels, some of them missing, some never
/// waited for.
#[test]
fn questions_are_under_way_side_by_side() {
    let owner = Owner::new();
    let access = owner.access();
    let observed = owner.serving().observed();
    let near = observed.host().objects().blocking();
    let contents: Vec<Bytes> = (0..64)
        .map(|seed| bytes([100, 5_000, 300_000][seed % 3], seed as u64))
        .collect();
    let visible = PutOptions {
        durability: Durability::Visible,
        pin: false,
    };
    let _puts = near.put_batch(&contents, visible).expect("room");
    let keys: Vec<Key> = contents.iter().map(|content| data(content).key).collect();
    let missing = key(ExtentKind::Data, ContentId([5; 32]));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (access, keys, contents) = (&access, &keys, &contents);
            scope.spawn(move || {
                let asked = |turn: usize| -> Vec<usize> {
                    (0..=turn % 7)
                        .map(|at| (thread * 17 + turn * 5 + at * 11) % 64)
                        .collect()
                };
                let start = |turn: usize| {
                    let access = access.clone();
                    let mut wanted: Vec<Key> = asked(turn).into_iter().map(|at| keys[at]).collect();
                    wanted.push(missing);
                    Started::new(async move { access.get_many(&wanted).await })
                };
                let mut ahead = start(0);
                for turn in 0..60 {
                    let now = std::mem::replace(&mut ahead, start(turn + 1));
                    if turn % 10 == thread {
                        continue;
                    }
                    let mut answers = access.block_on(now);
                    let refused = answers.pop().expect("as many as were asked for");
                    assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
                    assert_eq!(answers.len(), asked(turn).len());
                    for (answer, at) in answers.into_iter().zip(asked(turn)) {
                        assert!(
                            answer.expect("there") == contents[at],
                            "{thread}, {turn}: content {at}"
                        );
                    }
                }
            });
        }
    });
}

/// Goal: what is read and sent for a client that takes nothing is bounded, and goes on when it takes something. Method: sixty
/// questions for 4 MiB each, whose answers go through passed memory, so that the socket would take all of them; what was sent,
/// and what is held, seen over many calls of another client; then all answers are taken.
#[test]
fn answers_wait_for_who_takes_them() {
    const QUESTIONS: usize = 60;
    const WAITING_MAX: u64 = (8 << 20) + (5 << 20);
    let owner = Owner::new();
    let observed = owner.serving().observed();
    let near = observed.host().objects().blocking();
    let contents: Vec<Bytes> = (0..4).map(|seed| bytes(1 << 20, seed)).collect();
    let _puts = near.put_batch(&contents, PutOptions::default()).expect("room");
    let keys: Vec<Key> = contents.iter().map(|content| data(content).key).collect();
    let mut others: Vec<Caller> = (0..2).map(|_| owner.caller()).collect();
    let mut caller = owner.caller();
    let before = observed.served();
    for _ in 0..QUESTIONS {
        caller
            .ask(&Call::Store(Ask::Get), write_keys(&keys))
            .expect("it listens");
    }
    for _ in 0..500 {
        for other in &mut others {
            other.call(&Call::Ping, Bytes::new()).expect("it listens");
        }
        let now = observed.served();
        let (sent, held) = (
            now.sent_bytes - before.sent_bytes,
            now.memory_held - before.memory_held,
        );
        assert!(
            sent <= WAITING_MAX && held <= WAITING_MAX,
            "{sent} sent, {held} held"
        );
    }
    assert!(
        observed.served().sent_bytes - before.sent_bytes > 4 << 20,
        "some is on its way"
    );
    let (mut answered, mut taken) = (0, 0);
    while answered < QUESTIONS {
        let frame = caller
            .conversation()
            .receive()
            .expect("sound")
            .expect("an answer");
        match frame.kind {
            Kind::Output => taken += frame.body.len(),
            Kind::Reply => answered += 1,
            kind => panic!("{kind:?}"),
        }
    }
    assert_eq!(taken, QUESTIONS * 4 * ((1 << 20) + 4));
    let held = (0..1_000_000).find(|_| {
        others[0].call(&Call::Ping, Bytes::new()).expect("it listens");
        observed.served().memory_held <= before.memory_held
    });
    assert!(held.is_some(), "what was taken is held");
}

/// Goal: only what the owner lacks travels. Method: a thousand contents twice, and once with ten new ones; bytes that the owner
/// received.
#[test]
fn only_lacking_contents_travel() {
    let owner = Owner::new();
    let far = Objects::new(owner.access()).blocking();
    let contents: Vec<Bytes> = (0..1000).map(|seed| bytes(2000, seed)).collect();
    let visible = PutOptions {
        durability: Durability::Visible,
        pin: false,
    };
    let put = |contents: &[Bytes]| {
        let before = owner.received();
        let puts = far.put_batch(contents, visible).expect("room");
        (owner.received() - before, puts)
    };
    let (first, puts) = put(&contents);
    assert!((2_000_000..2_200_000).contains(&first), "{first}");
    let (second, _) = put(&contents);
    assert!(second < 100_000, "{second} bytes for nothing new");
    let mut more = contents.clone();
    more.extend((2000..2010).map(|seed| bytes(2000, seed)));
    let (third, new) = put(&more);
    assert!((20_000..130_000).contains(&third), "{third}");
    assert_eq!(new.iter().filter(|put| put.new).count(), 10);
    drop(puts);
}

/// Goal: what a batch or its acknowledgement was told is there stays there. Method: contents that nothing but a link keeps,
/// through collections: held by an acknowledgement, by a batch, by a lease; then by nothing.
#[test]
fn what_a_link_holds_is_not_collected() {
    let owner = Owner::new();
    let access = owner.access();
    let far = Objects::new(access.clone()).blocking();
    let put = far.put(bytes(1000, 1)).expect("room");
    let id = key(ExtentKind::Data, put.id);
    let there = || access.contains(&[id]).expect("an answer")[0];
    owner.collected();
    assert!(there(), "an acknowledgement holds");
    let mut batch = access.batch();
    assert_eq!(batch.hold(&[id]).expect("an answer"), [true]);
    drop(put);
    owner.collected();
    assert!(there(), "a batch holds");
    let lease = access.lease();
    lease.hold(id);
    drop(batch);
    owner.collected();
    assert!(there(), "a lease holds");
    drop(lease);
    owner.collected();
    assert!(!there(), "nothing holds it");
    owner.is_sound();
}

/// Goal: conditions on roots mean the same over a link. Method: a record that is made, expected absent, expected at an old
/// sequence, and expected as it is.
#[test]
fn roots_move_as_expected() {
    let owner = Owner::new();
    let access = owner.access();
    let set = |expect: Expect, data: &'static str| {
        let mut batch = access.batch();
        batch.set_root(RootUpdate {
            kind: RootKind::Workspace,
            name: b"1:2:unknown"[..].into(),
            expect,
            change: RootChange::Set {
                target: None,
                data: data.into(),
            },
        });
        access.block_on(batch.submit())
    };
    let ack = set(Expect::Absent, "one").expect("it is absent");
    access.block_on(ack.durable()).expect("a sound device");
    let found = access
        .root(RootKind::Workspace, b"1:2:unknown")
        .expect("an answer")
        .expect("it was made");
    assert_eq!(&found.data[..], b"one");
    assert!(matches!(set(Expect::Absent, "two"), Err(Error::Exists { .. })));
    set(Expect::Sequence(found.sequence), "three").expect("as it was read");
    let late = set(Expect::Sequence(found.sequence), "four");
    assert!(matches!(late, Err(Error::Conflict { .. })), "{late:?}");
    assert_eq!(access.roots(RootKind::Workspace).expect("an answer").len(), 1);
    access.block_on(access.flush()).expect("a sound device");
}

/// The failure of a question.
fn refusal(caller: &mut Caller, ask: Ask, body: impl Into<Bytes>) -> Failure {
    match caller.call(&Call::Store(ask), body) {
        Err(CallError::Failed(failure)) => failure,
        Ok((Answer::Store(told), _)) => match told.refused.into_iter().next() {
            Some(refused) => refused.failure,
            None => panic!("it was not refused"),
        },
        other => panic!("{other:?}"),
    }
}

fn begin(caller: &mut Caller) -> u64 {
    match caller.call(&Call::Store(Ask::Begin), Bytes::new()) {
        Ok((Answer::Store(told), _)) => told.batch.expect("a number"),
        other => panic!("{other:?}"),
    }
}

/// Goal: a client that lies, or makes no sense, is told so, and nothing of what it sends is kept. Method: bytes of another id for
/// every kind, forms that are none, references to what is not there, bodies cut short, kinds and names that are not offered.
#[test]
fn lies_are_refused_and_leave_nothing() {
    let owner = Owner::new();
    let before = owner.collected();
    let mut caller = owner.caller();
    let honest = data(&bytes(1000, 1));
    let mut offered: Vec<(Extent, &str)> = Vec::new();
    for kind in [ExtentKind::Data, ExtentKind::Node, ExtentKind::Commit] {
        let lie = Extent {
            key: key(kind, ContentId([9; 32])),
            bytes: honest.bytes.clone(),
        };
        offered.push((lie, "another id"));
    }
    for kind in [ExtentKind::Node, ExtentKind::Commit, ExtentKind::VolumeNode] {
        let id = hash::typed_ids(kind, &[&honest.bytes])[0];
        let shapeless = Extent {
            key: key(kind, id),
            bytes: honest.bytes.clone(),
        };
        offered.push((shapeless, ""));
    }
    let manifest = Extent {
        key: key(ExtentKind::Manifest, honest.key.id),
        bytes: honest.bytes.clone(),
    };
    offered.push((manifest, ""));
    for (extent, says) in offered {
        let batch = begin(&mut caller);
        // What is honest beside a lie is not kept either.
        let body = write_extents(&[honest.clone(), extent.clone()]).concat();
        let failure = refusal(&mut caller, Ask::Put { batch }, body);
        assert_eq!(failure.class, Class::Invalid, "{:?}: {failure}", extent.key);
        assert!(failure.message.contains(says), "{failure}");
        let roots = Vec::new();
        let gone = refusal(
            &mut caller,
            Ask::Submit {
                batch,
                domain: 0,
                roots,
            },
            Bytes::new(),
        );
        assert_eq!(gone.class, Class::NotFound);
    }
    let batch = begin(&mut caller);
    let body = Bytes::from(write_extents(std::slice::from_ref(&honest)).concat());
    for length in [1, 39, 43, 44, body.len() - 1] {
        let batch = begin(&mut caller);
        let failure = refusal(&mut caller, Ask::Put { batch }, body.slice(..length));
        assert_eq!(failure.class, Class::Invalid, "{length}: {failure}");
    }
    let keys = write_keys(&[honest.key]);
    for ask in [Ask::Lengths, Ask::Get, Ask::Hold { batch }] {
        let failure = refusal(&mut caller, ask.clone(), keys.slice(..39));
        assert_eq!(failure.class, Class::Invalid, "{failure}");
        let mut odd = keys.to_vec();
        odd[4] = 77;
        assert_eq!(refusal(&mut caller, ask.clone(), odd).class, Class::Invalid);
        let many = write_keys(&vec![honest.key; KEYS_AT_ONCE_MAX + 1]);
        assert_eq!(refusal(&mut caller, ask, many).class, Class::Invalid);
    }
    for kind in RootKind::all() {
        let batch = begin(&mut caller);
        let update = RootUpdate {
            kind,
            name: b"name"[..].into(),
            expect: Expect::Any,
            change: RootChange::Set {
                target: Some(Target {
                    kind: ExtentKind::Commit,
                    id: ContentId([3; 32]),
                }),
                data: Bytes::new(),
            },
        };
        let roots = vec![RootMove::from(update)];
        let failure = refusal(
            &mut caller,
            Ask::Submit {
                batch,
                domain: 0,
                roots,
            },
            Bytes::new(),
        );
        assert!(
            matches!(failure.class, Class::Invalid | Class::NotFound),
            "{kind:?}: {failure}"
        );
    }
    drop(caller);
    let observed = owner.serving().observed();
    assert!(!observed.host().store().contains(&[honest.key])[0]);
    assert_eq!(owner.collected(), before);
    owner.is_sound();
}

/// Goal: a tree refers to nothing that the store lacks. Method: the nodes and the commit of a real directory, without the content
/// of its file.
#[test]
fn what_is_offered_refers_to_what_is_there() {
    let owner = Owner::new();
    let place = owner.directory.path().join("project");
    std::fs::create_dir_all(place.join("inner")).expect("a directory");
    std::fs::write(place.join("inner/file"), "content").expect("a file");
    let request = CommitRequest {
        directory: place.as_os_str().as_bytes().into(),
        ..CommitRequest::default()
    };
    let other = Owner::new();
    let committed = other.run(Request::Commit(request)).expect("readable");
    let Reply::Committed(committed) = committed else {
        panic!("{committed:?}");
    };
    let source = other.serving().observed();
    let store = source.host().store();
    let read = |kind, id| {
        let key = key(kind, id);
        let bytes = store.block_on(store.get(key)).expect("there");
        Extent { key, bytes }
    };
    let mut caller = owner.caller();
    for extent in [
        read(ExtentKind::Node, committed.tree),
        read(ExtentKind::Commit, committed.commit),
    ] {
        let batch = begin(&mut caller);
        let failure = refusal(&mut caller, Ask::Put { batch }, write_extents(&[extent]).concat());
        assert_eq!(failure.class, Class::Invalid);
        assert!(failure.message.contains("which is not here"), "{failure}");
    }
}

/// Goal: batches are bounded, each for itself, and end with their connection. Method: one too many; a batch used after it was
/// submitted and ended; contents put by a connection that goes.
#[test]
fn batches_are_bounded_and_end_with_their_connection() {
    let owner = Owner::new();
    let before = owner.collected();
    let mut caller = owner.caller();
    for _ in 0..64 {
        begin(&mut caller);
    }
    let failure = refusal(&mut caller, Ask::Begin, Bytes::new());
    assert_eq!(failure.class, Class::Busy);
    assert!(failure.retry_after_ms.is_some());
    drop(caller);
    let mut caller = owner.caller();
    let batch = begin(&mut caller);
    let extents: Vec<Extent> = (0..100).map(|seed| data(&bytes(10_000, seed))).collect();
    let put = Call::Store(Ask::Put { batch });
    caller
        .call(&put, write_extents(&extents).concat())
        .expect("it is honest");
    let early = refusal(&mut caller, Ask::Durable { batch }, Bytes::new());
    assert_eq!(early.class, Class::Invalid);
    let submit = Call::Store(Ask::Submit {
        batch,
        domain: 0,
        roots: Vec::new(),
    });
    caller.call(&submit, Bytes::new()).expect("room");
    let late = refusal(
        &mut caller,
        Ask::Put { batch },
        write_extents(&extents[..1]).concat(),
    );
    assert_eq!(late.class, Class::Invalid);
    caller
        .call(&Call::Store(Ask::Durable { batch }), Bytes::new())
        .expect("a sound device");
    assert!(owner.collected() > before, "it holds what it put");
    for _ in 0..2 {
        caller
            .call(&Call::Store(Ask::End { batch }), Bytes::new())
            .expect("twice is once");
    }
    assert_eq!(owner.collected(), before);
    let batch = begin(&mut caller);
    caller
        .call(&Call::Store(Ask::Put { batch }), write_extents(&extents).concat())
        .expect("it is honest");
    drop(caller);
    // The owner may learn of it a moment later.
    let patience = 2000;
    let left = (0..patience)
        .map(|_| owner.collected())
        .find(|left| *left == before);
    assert_eq!(left, Some(before));
    owner.is_sound();
}

/// Goal: an owner that is asked to end lets a command that has begun come to its end. Method: a batch begun, the end asked for,
/// contents put and submitted; new calls are refused meanwhile.
#[test]
fn an_ending_owner_waits_for_batches() {
    let mut owner = Owner::new();
    let mut caller = owner.caller();
    let mut other = owner.caller();
    let batch = begin(&mut caller);
    let serving = owner.serving.take().expect("it serves");
    std::thread::scope(|scope| {
        let ending = scope.spawn(|| serving.end());
        // Refused from the moment that it ends.
        let refused = (0..1_000_000).find_map(|_| match other.call(&Call::Ping, Bytes::new()) {
            Err(CallError::Failed(failure)) => Some(failure.class),
            _ => None,
        });
        assert_eq!(refused, Some(Class::Busy));
        let extents = [data(&bytes(1000, 1))];
        let put = Call::Store(Ask::Put { batch });
        caller
            .call(&put, write_extents(&extents).concat())
            .expect("it goes on");
        let submit = Call::Store(Ask::Submit {
            batch,
            domain: 0,
            roots: Vec::new(),
        });
        caller.call(&submit, Bytes::new()).expect("it goes on");
        caller
            .call(&Call::Store(Ask::End { batch }), Bytes::new())
            .expect("it goes on");
        ending.join().expect("it ends").expect("it closes");
    });
}
