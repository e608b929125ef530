use helios_engine::device::{Operation, Queue};
use helios_engine::format::ContentId;
use helios_engine::ops::Class;

use super::faults::{BYTES, one, read, write};
use super::store::{Store, content};
use super::*;

/// Far enough from the bad place for a command of its own.
const APART: u64 = 1 << 20;
/// Failed calls after which no other is tried.
const FAILURES_MAX: u32 = 8;

/// The place that the caller has made bad, by the name of the variable that says where it is.
fn bad_place(variable: &str) -> Option<u64> {
    let place = std::env::var(variable).ok().filter(|place| !place.is_empty());
    if place.is_none() {
        println!("skipped: {variable} names no bad place");
    }
    place.map(|place| place.parse().expect("a byte of the device"))
}

/// What becomes of a command at the bad place and of others beside it.
fn only_the_bad_place_fails(place: u64, words: &[&str], command: impl Fn(&mut dyn Queue, u64) -> Operation) {
    let device = open(Duration::from_secs(15));
    let mut queue = device.open_queue(8).expect("queue");
    for _ in 0..3 {
        let operation = command(&mut *queue, place);
        let (buffer, result) = one(&mut *queue, operation);
        let error = result.expect_err("a bad place").to_string();
        println!("{error}");
        for word in words {
            assert!(error.contains(word), "{error} has no {word}");
        }
        assert!(buffer.is_some(), "buffers come back");
        for beside in [place - APART, place + APART] {
            let operation = command(&mut *queue, beside);
            one(&mut *queue, operation).1.expect("a good place");
        }
    }
}

/// Goal: a read that the device cannot carry out is an error with operation, place and status, and nothing else is
/// disturbed. Method: read a place that the caller has made unreadable, and others.
#[test]
#[ignore = "needs a bad device: README.md"]
fn bad_read_is_an_error() {
    let Some(place) = bad_place("HELIOS_HW_BAD_READ") else {
        return;
    };
    let at = format!("read at byte {place}: ");
    only_the_bad_place_fails(place, &[&at, "unrecovered", "type 0x2, code 0x81"], read);
}

/// Goal: the same for writes. Method: the same, with a place that cannot be written.
#[test]
#[ignore = "needs a bad device: README.md"]
fn bad_write_is_an_error() {
    let Some(place) = bad_place("HELIOS_HW_BAD_WRITE") else {
        return;
    };
    let at = format!("write at byte {place}: ");
    only_the_bad_place_fails(
        place,
        &[&at, "write fault", "type 0x2, code 0x80"],
        |queue, offset| write(queue, offset, 7),
    );
}

/// Goal: a store never answers with other bytes than were put, and says what it cannot read. Method: fill a store beyond
/// places that cannot be read; read and check everything.
#[test]
#[ignore = "needs a bad device: README.md"]
fn bad_read_is_told_by_the_store() {
    if bad_place("HELIOS_HW_BAD_READ").is_none() {
        return;
    }
    let address = address().to_string();
    let store = Store::at(&address);
    store.init(None);
    let (ids, _) = fill(&store);
    // Nothing is left in memory.
    store.close();
    let store = Store::at(&address);
    let mut unread = 0;
    for (seed, id) in &ids {
        match store.try_get(*id) {
            Ok(bytes) => assert!(bytes == content(*seed), "other bytes came back"),
            Err(failure) => {
                println!("{failure:?}");
                unread += 1;
            }
        }
    }
    assert!(unread > 0, "all contents are beside the bad places");
    let damage = store.damage();
    println!("{damage:?}");
    assert!(damage.len() >= unread, "the check finds what cannot be read");
    store.close();
}

/// Goal: what cannot be written is written elsewhere, or the store says why not and takes no more; nothing acknowledged is
/// lost. Method: fill a store beyond a place that cannot be written; look for everything in a store opened anew.
#[test]
#[ignore = "needs a bad device: README.md"]
fn bad_write_loses_nothing() {
    let Some(place) = bad_place("HELIOS_HW_BAD_WRITE") else {
        return;
    };
    let before = |write_zeroes: bool| {
        let device = open(Duration::from_secs(15));
        let mut queue = device.open_queue(1).expect("queue");
        let at = place - BYTES as u64;
        let operation = if write_zeroes {
            write(&mut *queue, at, 0)
        } else {
            read(&mut *queue, at)
        };
        let (buffer, result) = one(&mut *queue, operation);
        result.expect("a good place");
        buffer.expect("buffers come back").iter().all(|byte| *byte == 0)
    };
    before(true);
    let address = address().to_string();
    let store = Store::at(&address);
    store.init(None);
    let (ids, failures) = fill(&store);
    assert!(!ids.is_empty(), "nothing was ever written");
    match store.try_close() {
        Ok(()) => {}
        Err(failure) => assert!(failure.message.contains("type 0x2, code 0x80"), "{failure:?}"),
    }
    assert!(failures > 0 || !before(false), "it never came to the bad place");
    let store = Store::at(&address);
    for (seed, id) in &ids {
        assert!(store.get(*id) == content(*seed), "other bytes came back");
    }
    store.is_whole();
    store.close();
}

/// Puts contents until the store is full, or takes no more: the seed and the id of each, and how many could not be written.
fn fill(store: &Store) -> (Vec<(u64, ContentId)>, u32) {
    let mut ids = Vec::new();
    let mut failures = 0;
    for seed in 0.. {
        match store.try_put(&content(seed)) {
            Ok(id) => ids.push((seed, id)),
            Err(failure) if failure.class == Class::Full => break,
            Err(failure) => {
                println!("content {seed}: {failure:?}");
                assert!(failure.message.contains("type 0x2, code 0x80"), "{failure:?}");
                failures += 1;
                if failures == FAILURES_MAX {
                    break;
                }
            }
        }
    }
    println!("{} contents", ids.len());
    (ids, failures)
}
