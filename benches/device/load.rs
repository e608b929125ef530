//! Clients of a store that live on its reactor: as many gets as can be, or as many as are asked for.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hdrhistogram::Histogram;
use helios_engine::reactor::{Local, Nanos};
use helios_engine::store::{Key, Store};
use rustix::time::{ClockId, clock_gettime};

use crate::report;
use crate::subject::Subject;

/// What a load did.
pub struct Outcome {
    /// How long each get took; in a paced load from the time it was due.
    pub times: Histogram<u64>,
    /// Gets per second.
    pub rate: f64,
    /// Processor time of the reactor's thread for each get.
    pub cpu_per_get: Duration,
}

/// The times of all clients, handed over when the last of them is done.
struct Times {
    all: RefCell<Histogram<u64>>,
    sender: mpsc::Sender<Histogram<u64>>,
}

impl Times {
    fn record(&self, local: &Local, start: Nanos) {
        let took = local.clock().now().since(start);
        let took = u64::try_from(took.as_nanos()).expect("a short time");
        self.all.borrow_mut().record(took).expect("in range");
    }
}

impl Drop for Times {
    fn drop(&mut self) {
        // Nobody waits for the times of a run that has failed.
        let _ = self.sender.send(self.all.replace(report::histogram()));
    }
}

/// Random numbers; good enough to choose a key, and to make gaps.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn key(&mut self, keys: &[Key]) -> Key {
        keys[(self.next() % keys.len() as u64) as usize]
    }

    /// A gap between two arrivals that do not know of each other: exponential.
    fn gap(&mut self, mean: Duration) -> Duration {
        let uniform = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        mean.mul_f64(-(1.0 - uniform).ln())
    }
}

/// Each of `depth` clients gets one content after the other.
pub fn closed(subject: &Subject, store: &Store, depth: usize, seconds: u64, seed: u64) -> Outcome {
    let (owned, keys) = (store.clone(), Arc::clone(&subject.keys));
    measure(store, seconds, move |local, end, times| {
        for client in 0..depth as u64 {
            let (store, keys, times, at) =
                (owned.clone(), Arc::clone(&keys), Rc::clone(&times), local.clone());
            local.spawn(async move {
                let mut random = Random::new(seed * 1000 + client);
                loop {
                    let start = at.clock().now();
                    if start >= end {
                        break;
                    }
                    store.get(random.key(&keys)).await.expect("a get");
                    times.record(&at, start);
                }
            });
        }
    })
}

/// Gets that are due at times of their own, `per_second` of them, whether the ones before have ended or not.
pub fn paced(subject: &Subject, store: &Store, per_second: f64, seconds: u64, seed: u64) -> Outcome {
    let mean = Duration::from_secs_f64(1.0 / per_second);
    let (owned, keys) = (store.clone(), Arc::clone(&subject.keys));
    measure(store, seconds, move |local, end, times| {
        let at = local.clone();
        local.spawn(async move {
            let mut random = Random::new(seed);
            let mut due = at.clock().now();
            while due < end {
                let now = at.clock().now();
                if due > now {
                    at.sleep(due.since(now)).await;
                }
                let (store, key, times, on) =
                    (owned.clone(), random.key(&keys), Rc::clone(&times), at.clone());
                let start = due;
                at.spawn(async move {
                    store.get(key).await.expect("a get");
                    times.record(&on, start);
                });
                due = due.after(random.gap(mean));
            }
        });
    })
}

/// Runs a load on the store's only reactor until everybody has answered.
fn measure(
    store: &Store,
    seconds: u64,
    start: impl FnOnce(&Local, Nanos, Rc<Times>) + Send + 'static,
) -> Outcome {
    let (sender, receiver) = mpsc::channel();
    let before = cpu(store);
    store.runtime().handles()[0].spawn(move |local| async move {
        let end = local.clock().now().after(Duration::from_secs(seconds));
        let times = Times {
            all: RefCell::new(report::histogram()),
            sender,
        };
        start(&local, end, Rc::new(times));
    });
    let times = receiver.recv().expect("the last client hands the times over");
    let gets = times.len().max(1);
    Outcome {
        rate: gets as f64 / seconds as f64,
        cpu_per_get: (cpu(store) - before) / u32::try_from(gets).expect("a short run"),
        times,
    }
}

/// Processor time of the reactor's thread so far.
fn cpu(store: &Store) -> Duration {
    let (sender, receiver) = mpsc::channel();
    store.runtime().handles()[0].spawn(move |_| async move {
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        sender.send(spent).expect("somebody waits");
    });
    receiver
        .recv()
        .expect("the reactor answers")
        .try_into()
        .expect("a time after zero")
}
