use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::format::Domain;
use crate::store::testing;

fn key(kind: Kind, bytes: &[u8]) -> Key {
    Key {
        domain: Domain(0),
        kind,
        id: hash::typed_ids(kind, &[bytes])[0],
    }
}

fn open_cases() -> usize {
    OPEN.with_borrow(Vec::len)
}

/// Goal: each item gets its own verdict, whatever it is judged with. Method: right and wrong items of all hashed
/// kinds, interleaved, in one call.
#[test]
fn verdicts_belong_to_their_items() {
    let kinds = [Kind::Data, Kind::Node, Kind::Commit, Kind::VolumeNode];
    let items: Vec<(Key, Bytes)> = (0..40u8)
        .map(|number| {
            let right = vec![number; 100 * usize::from(number)];
            let key = key(kinds[usize::from(number) % 4], &right);
            let mut bytes = right;
            if number % 3 == 0 {
                bytes.push(1);
            }
            (key, Bytes::from(bytes))
        })
        .collect();
    let expected: Vec<bool> = (0..40).map(|number| number % 3 != 0).collect();
    assert_eq!(hold(&items), expected);
}

/// Goal: tasks of a reactor get the right verdicts, and leave nothing open. Method: 50 tasks of which every seventh has
/// other bytes than its key names; they are judged in fewer rounds than there are tasks.
#[test]
fn tasks_of_a_reactor_are_judged_together() {
    let store = testing::store();
    let (sender, receiver) = mpsc::channel();
    store.runtime().handles()[0].spawn(move |local| async move {
        for number in 0..50u8 {
            let sender = sender.clone();
            local.spawn(async move {
                let right = Bytes::from(vec![number; 4096]);
                let key = key(Kind::Data, &right);
                let bytes = if number % 7 == 0 {
                    Bytes::from_static(b"other")
                } else {
                    right
                };
                let open = open_cases();
                let verdict = holds(key, &bytes).await;
                sender
                    .send((number, verdict, open, open_cases()))
                    .expect("the test waits");
            });
        }
    });
    let mut shared = 0;
    for (number, verdict, before, after) in receiver {
        assert_eq!(verdict, number % 7 != 0, "item {number}");
        shared += usize::from(before > 0);
        assert_eq!(after, 0, "everything open is judged at once");
    }
    assert!(shared > 0, "no two items met");
    store.close().expect("a clean close");
}

/// Goal: a reader that gives up leaves nothing behind, and one that goes on elsewhere is still answered. Method: a
/// future is polled once on the reactor, then dropped there, or polled on by the test's thread.
#[test]
fn leaving_early_and_moving_on() {
    let store = testing::store();
    let (sender, receiver) = mpsc::channel();
    store.runtime().handles()[0].spawn(move |_| async move {
        let bytes = Bytes::from_static(b"some bytes");
        let key = key(Kind::Data, &bytes);
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut given_up = pin!(holds(key, &bytes));
            assert!(given_up.as_mut().poll(&mut context).is_pending());
            assert_eq!(open_cases(), 1);
        }
        assert_eq!(open_cases(), 0);
        let mut moved = Box::pin(async move { holds(key, &bytes).await });
        assert!(moved.as_mut().poll(&mut context).is_pending());
        sender.send(moved).expect("the test waits");
    });
    let mut moved = receiver.recv().expect("the task did not panic");
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(moved.as_mut().poll(&mut context), Poll::Ready(true));
    store.close().expect("a clean close");
}
