//! Reads whose outcome is told to a reader on the reactor's thread.

use std::io;

use parking_lot::Mutex;

use super::*;
use crate::device::DmaBuffer;
use crate::reactor::{Answer, Reader};

#[derive(Debug, PartialEq)]
enum Event {
    /// Of this unit, with this first byte.
    Arrived(u8, Option<u8>),
    Settled,
}

struct Unit {
    number: u8,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Reader for Unit {
    fn arrived(self: Arc<Self>, outcome: Option<io::Result<DmaBuffer>>) {
        let byte = outcome.map(|read| read.expect("reads succeed")[0]);
        self.events.lock().push(Event::Arrived(self.number, byte));
    }

    fn settle(&self) {
        self.events.lock().push(Event::Settled);
    }
}

const UNITS: u8 = 30;

/// Asks for all units; they are more than the queue takes at once.
fn ask(local: &Local, events: &Arc<Mutex<Vec<Event>>>) {
    for number in 0..UNITS {
        let unit = Unit {
            number,
            events: events.clone(),
        };
        let offset = u64::from(number) * UNIT_BYTES as u64;
        local.read_for(offset, UNIT_BYTES, Answer::new(Arc::new(unit)));
    }
}

async fn write_all(local: &Local) {
    for number in 0..UNITS {
        let mut buffer = local.buffer(UNIT_BYTES).expect("memory");
        buffer.fill(number + 1);
        let offset = u64::from(number) * UNIT_BYTES as u64;
        let (_, outcome) = local.write(offset, buffer, 0..UNIT_BYTES, false).await;
        outcome.expect("writes succeed");
    }
}

/// Goal: each reader is told its own bytes, once, and settled after that, at most once for each poll, before any task runs
/// again. Method: more reads than the queue takes; between two looks of a task at the events, none is unsettled.
#[test]
fn readers_are_told_and_settled() {
    both(|runtime| {
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let seen = events.clone();
        run(runtime, 0, |local| async move {
            write_all(&local).await;
            ask(&local, &seen);
            loop {
                let told = {
                    let events = seen.lock();
                    assert!(matches!(events.last(), None | Some(Event::Settled)));
                    events.iter().filter(|event| **event != Event::Settled).count()
                };
                if told == usize::from(UNITS) {
                    break;
                }
                local.yield_now().await;
            }
        });
        let events = std::mem::take(&mut *events.lock());
        let twice = |pair: &[Event]| pair[0] == Event::Settled && pair[1] == Event::Settled;
        assert!(!events.windows(2).any(twice), "settled with nobody told");
        for number in 0..UNITS {
            let told = Event::Arrived(number, Some(number + 1));
            assert_eq!(events.iter().filter(|event| **event == told).count(), 1);
        }
    });
}

/// Goal: no reader is left without an answer by the end of its reactor. Method: it ends with reads in flight and waiting.
#[test]
fn readers_hear_of_the_end() {
    both(|runtime| {
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let seen = events.clone();
        run(runtime, 0, |local| async move {
            write_all(&local).await;
            ask(&local, &seen);
        });
        runtime.shutdown();
        let mut told: Vec<u8> = events
            .lock()
            .iter()
            .filter_map(|event| match event {
                Event::Arrived(number, byte) => {
                    assert!(byte.is_none_or(|byte| byte == number + 1));
                    Some(*number)
                }
                Event::Settled => None,
            })
            .collect();
        told.sort_unstable();
        assert!(told.into_iter().eq(0..UNITS));
    });
}
