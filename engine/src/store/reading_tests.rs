use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::task::Wake;

use bytes::Bytes;

use super::*;
use crate::error::Error;
use crate::format::{Domain, Kind};
use crate::hash;
use crate::store::{Extent, testing};

fn claim(kind: Kind, bytes: &[u8], range: Range<usize>) -> Option<Claim> {
    let key = Key {
        domain: Domain(0),
        kind,
        id: hash::typed_id(kind, bytes),
    };
    Some(Claim { key, range })
}

fn filled(bytes: &[u8], from: usize) -> DmaBuffer {
    let mut buffer = DmaBuffer::heap(from + bytes.len());
    buffer[from..from + bytes.len()].copy_from_slice(bytes);
    buffer
}

fn arrive(answer: Answer, outcome: io::Result<DmaBuffer>) -> Arc<dyn Reader> {
    answer.tell(outcome).expect("an answer is given once")
}

fn unsettled() -> usize {
    ARRIVED.with_borrow(Vec::len)
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Goal: each asker gets its own verdict and its own bytes, whatever arrives with it. Method: 40 readings of four kinds and
/// mixed sizes, at mixed places of their buffers, every third with a flipped bit, one failed, in one poll.
#[test]
fn verdicts_belong_to_their_askers() {
    let kinds = [Kind::Data, Kind::Node, Kind::Commit, Kind::VolumeNode];
    let mut askers = Vec::new();
    let mut last = None;
    for number in 0..40usize {
        let bytes = vec![number as u8; 1 + 300 * number];
        let range = number..number + bytes.len();
        let (answer, asker) = reading(claim(kinds[number % 4], &bytes, range.clone()));
        let mut buffer = filled(&bytes, number);
        if number % 3 == 0 {
            buffer[number + number * 7] ^= 1;
        }
        let outcome = match number {
            20 => Err(io::Error::other("broken")),
            _ => Ok(buffer),
        };
        last = Some(arrive(answer, outcome));
        askers.push((number, range, bytes, asker));
    }
    assert_eq!(unsettled(), 39);
    last.expect("there are some").settle();
    assert_eq!(unsettled(), 0);
    for (number, range, bytes, mut asker) in askers {
        let end = asker.try_take().expect("all is settled");
        assert_eq!(end.read.is_err(), number == 20);
        let Ok(buffer) = end.read else { continue };
        assert_eq!(end.holds, Some(number % 3 != 0), "reading {number}");
        assert_eq!(buffer[range] == bytes, number % 3 != 0);
    }
}

/// Goal: an asker is woken once, when its bytes are verified and not before. Method: a waker that counts.
#[test]
fn askers_wake_after_the_verdict() {
    let bytes = [7u8; 4096];
    let (answer, asker) = reading(claim(Kind::Data, &bytes, 0..4096));
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let mut asker = pin!(asker);
    assert!(asker.as_mut().poll(&mut context).is_pending());
    let reader = arrive(answer, Ok(filled(&bytes, 0)));
    assert!(asker.as_mut().poll(&mut context).is_pending());
    assert_eq!(woken.0.load(Relaxed), 0);
    reader.settle();
    assert_eq!(woken.0.load(Relaxed), 1);
    assert!(matches!(
        asker.as_mut().poll(&mut context),
        Poll::Ready(Some(End {
            holds: Some(true),
            ..
        }))
    ));
}

/// Goal: what no batch would make cheaper, and what claims nothing, is handed over at once. Method: a large reading and one
/// without a claim; neither waits for anybody to settle.
#[test]
fn others_do_not_wait_to_be_settled() {
    let bytes = vec![1u8; verify::ALONE_BYTES];
    for claim in [claim(Kind::Data, &bytes, 0..bytes.len()), None] {
        let (answer, mut asker) = reading(claim);
        arrive(answer, Ok(filled(&bytes, 0)));
        assert_eq!(unsettled(), 0);
        assert!(matches!(
            asker.try_take(),
            Some(End {
                read: Ok(_),
                holds: None
            })
        ));
    }
}

/// Goal: an asker that goes while its bytes are verified disturbs nobody, and nothing of it stays; likewise one that goes
/// before they come, or when they have been verified. Method: three of the four askers of a batch go, one at each moment.
#[test]
fn an_asker_may_go_at_any_time() {
    let bytes = [9u8; 4096];
    let (mut answers, mut askers): (Vec<_>, Vec<_>) = (0..4)
        .map(|_| reading(claim(Kind::Data, &bytes, 0..4096)))
        .unzip();
    let left: Vec<_> = askers
        .iter()
        .map(|asker| Arc::downgrade(&asker.reading))
        .collect();
    let is_left = |at: usize| left[at].upgrade().is_some();
    drop(askers.remove(0));
    let readers: Vec<_> = answers
        .drain(..)
        .map(|answer| arrive(answer, Ok(filled(&bytes, 0))))
        .collect();
    drop(askers.remove(0));
    readers[3].settle();
    drop(readers);
    assert!(!is_left(0) && !is_left(1) && is_left(2) && is_left(3));
    drop(askers.remove(0));
    assert!(!is_left(2));
    let end = askers[0].try_take().expect("it waits still");
    assert_eq!(end.holds, Some(true));
    assert_eq!(end.read.expect("bytes")[..], bytes);
}

/// Goal: whatever becomes of an answer, its asker hears of it. Method: the answer is dropped, and a batch is swept away
/// before it is settled, as a panic would do.
#[test]
fn no_asker_waits_in_vain() {
    let bytes = [3u8; 4096];
    let mut context = Context::from_waker(Waker::noop());
    let (answer, asker) = reading(claim(Kind::Data, &bytes, 0..4096));
    drop(answer);
    assert!(matches!(pin!(asker).poll(&mut context), Poll::Ready(None)));
    let (answer, asker) = reading(claim(Kind::Data, &bytes, 0..4096));
    arrive(answer, Ok(filled(&bytes, 0)));
    drop(ARRIVED.take());
    assert!(matches!(pin!(asker).poll(&mut context), Poll::Ready(None)));
}

/// Goal: of many gets of one reactor the one whose extent is damaged gets the error, the others their bytes, in batches
/// of mixed sizes; those that go while their reads are in flight disturb nobody. Method: one bit of one extent is flipped
/// on the device; 60 tasks get the extents, every tenth only begins to; in virtual time, so that reads arrive in batches,
/// under several seeds.
#[test]
fn damage_meets_its_own_getter() {
    for seed in 0..8 {
        let device = testing::device_seeded(seed, 256 << 20);
        let store = testing::create_driven(&device, 1, seed);
        let extents: Vec<Extent> = (0..60usize)
            .map(|number| testing::data(&Bytes::from(vec![number as u8; 1 + 700 * number])))
            .collect();
        store.block_on(async {
            let mut batch = store.batch();
            batch.put(extents.clone()).await.expect("room");
            batch.submit().await.expect("room");
            store.flush().await.expect("durable");
        });
        store.close().expect("a clean close");
        let store = testing::open_driven(&device, 1, seed).expect("the store just closed");
        let damaged = 31;
        let range = store.device_range(&extents[damaged].key).expect("it is stored");
        let mut byte = device.peek(range.start + 5, 1);
        byte[0] ^= 1;
        device.poke(range.start + 5, &byte);

        let (sender, receiver) = mpsc::channel();
        let (getting, all) = (store.clone(), extents.clone());
        store.runtime().handles()[0].spawn(move |local| async move {
            for (number, extent) in all.into_iter().enumerate() {
                let (store, sender) = (getting.clone(), sender.clone());
                local.spawn(async move {
                    let mut get = Box::pin(store.get(extent.key));
                    if number % 10 == 9 {
                        let begun = get.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                        assert!(begun.is_pending());
                        return;
                    }
                    let got = get.await;
                    sender.send((number, got)).expect("the test waits");
                });
            }
        });
        // Virtual time, so all of it has happened then.
        store.block_on(store.sleep(std::time::Duration::from_secs(1)));
        let mut answered = 0;
        for (number, got) in receiver.try_iter() {
            answered += 1;
            match got {
                Ok(bytes) => assert!(number != damaged && bytes == extents[number].bytes),
                Err(Error::Damaged { id, .. }) => {
                    assert_eq!((number, id), (damaged, extents[damaged].key.id))
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(answered, 54, "seed {seed}");
        store.close().expect("a clean close");
    }
}

/// Goal: a get that goes on elsewhere is still answered. Method: its future is polled once on the reactor, then by the
/// test's thread.
#[test]
fn a_get_may_move_to_another_thread() {
    let store = testing::store();
    let extent = testing::data(&Bytes::from_static(&[5; 4096]));
    store.block_on(async {
        let mut batch = store.batch();
        batch.put(vec![extent.clone()]).await.expect("room");
        batch.submit().await.expect("room");
        store.flush().await.expect("durable");
    });
    let (sender, receiver) = mpsc::channel();
    let (getting, key) = (store.clone(), extent.key);
    store.runtime().handles()[0].spawn(move |_| async move {
        let mut get = Box::pin(async move { getting.get(key).await });
        assert!(
            get.as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        sender.send(get).expect("the test waits");
    });
    let get = receiver.recv().expect("the task did not panic");
    assert_eq!(store.block_on(get).expect("its bytes"), extent.bytes);
    store.close().expect("a clean close");
}
