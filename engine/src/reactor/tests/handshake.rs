//! Going to sleep and being woken under `loom`, which tries every interleaving and every value that relaxed loads may
//! return. `doze.rs` and `receiving.rs` are compiled a second time, against `loom`'s atomics.
//!
//! Nothing blocks in a model: whoever would sleep returns that it would, and when all have ended, the bell must have
//! been rung for it, or the task woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Count, Ordering::SeqCst};
use std::task::{Wake, Waker};

use loom::sync::atomic;
use loom::thread;

#[allow(clippy::duplicate_mod, reason = "the second copy has other atomics")]
#[path = "../doze.rs"]
mod doze;
#[allow(clippy::duplicate_mod, reason = "the second copy has other atomics")]
#[path = "../receiving.rs"]
mod receiving;

use atomic::{AtomicUsize, Ordering::Relaxed};
use doze::{Depth, Doze};
use receiving::Receiving;

/// The reactor as far as a lazy wake-up knows it: a remote queue of requests.
mod shared {
    use std::sync::Arc;

    use super::receiving::Receiving;

    pub(super) enum Remote {
        Wake(Arc<Receiving>),
    }

    #[derive(Default)]
    pub(super) struct Shared(pub(super) parking_lot::Mutex<Vec<Remote>>);

    impl Shared {
        pub(super) fn push_lazily(&self, work: Remote) {
            self.0.lock().push(work);
        }
    }
}

struct Reactor {
    doze: Doze,
    work: AtomicUsize,
    bell: AtomicUsize,
}

impl Reactor {
    fn new() -> Arc<Reactor> {
        Arc::new(Reactor {
            doze: Doze::new(),
            work: AtomicUsize::new(0),
            bell: AtomicUsize::new(0),
        })
    }

    /// What a thread with work does.
    fn bring_work(&self, lazy: bool) {
        self.work.fetch_add(1, Relaxed);
        if self.doze.claim(lazy) {
            self.bell.fetch_add(1, Relaxed);
        }
    }

    /// True when the reactor would sleep.
    fn would_sleep(&self, depth: Depth) -> bool {
        self.doze.announce(depth);
        self.work.load(Relaxed) == 0
    }

    /// What follows the end of a sleep.
    fn wakes(&self) {
        self.doze.wake_up();
        self.bell.store(0, Relaxed);
    }
}

/// Wakers beside one sleeper; `slept` says whether the sleeper ended asleep. Returns nothing: it asserts.
fn sleep_model(wakers: usize, lazy: bool, sleeper: impl Fn(&Reactor) -> bool + Sync + Send + Copy + 'static) {
    loom::model(move || {
        let reactor = Reactor::new();
        let threads: Vec<_> = (0..wakers)
            .map(|_| {
                let reactor = Arc::clone(&reactor);
                thread::spawn(move || reactor.bring_work(lazy))
            })
            .collect();
        let slept = sleeper(&reactor);
        for thread in threads {
            thread.join().expect("a waker does not fail");
        }
        if slept {
            assert_eq!(
                reactor.bell.load(Relaxed),
                1,
                "asleep with work and without a ring"
            );
        }
    });
}

/// Goal: a reactor that sleeps deeply is rung for, once. Method: exhaustive model of one sleeper and two wakers.
#[test]
fn no_wake_up_of_a_deep_sleep_is_lost() {
    sleep_model(2, false, |reactor| reactor.would_sleep(Depth::Deep));
}

/// Goal: work that was left to the end of a light sleep does not get lost when a deep one follows.
/// Method: a light sleep that ends by itself, a look at the queue, a deep sleep; one lazy waker at any moment.
#[test]
fn a_lazy_waker_is_not_lost_between_a_light_and_a_deep_sleep() {
    sleep_model(1, true, |reactor| {
        let light = reactor.would_sleep(Depth::Light);
        reactor.wakes();
        light && reactor.work.load(Relaxed) == 0 && reactor.would_sleep(Depth::Deep)
    });
}

/// Goal: the model can see a lost wake-up. Method: the reactor looks at its queue before it announces its sleep.
#[test]
#[should_panic(expected = "without a ring")]
fn looking_before_announcing_loses_a_wake_up() {
    sleep_model(1, false, |reactor| {
        let quiet = reactor.work.load(Relaxed) == 0;
        reactor.doze.announce(Depth::Deep);
        quiet
    });
}

#[derive(Default)]
struct Task(Count);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A receiver that polls once beside senders; if it would wait, its task has been woken when all have ended.
fn mailbox_model(lazily: bool, registers_first: bool) {
    loom::model(move || {
        let receiving = Arc::new(Receiving::default());
        let messages = Arc::new(AtomicUsize::new(0));
        let reactor = Arc::new(shared::Shared::default());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (receiving, messages, reactor) = (receiving.clone(), messages.clone(), reactor.clone());
                thread::spawn(move || {
                    messages.fetch_add(1, Relaxed);
                    if lazily {
                        receiving.wake_lazily(&reactor);
                    } else {
                        receiving.wake();
                    }
                })
            })
            .collect();
        let task = Arc::new(Task::default());
        let waker = Waker::from(task.clone());
        let arrived = || messages.swap(0, Relaxed) > 0;
        let grant = || {
            let requests = std::mem::take(&mut *reactor.0.lock());
            for shared::Remote::Wake(receiving) in requests {
                receiving.grant();
            }
        };
        let taken = if registers_first {
            arrived() || {
                receiving.register(&waker);
                arrived()
            }
        } else {
            let arrived = arrived();
            receiving.register(&waker);
            arrived
        };
        // The reactor's next turn, at any moment.
        grant();
        for thread in threads {
            thread.join().expect("a sender does not fail");
        }
        grant();
        if !taken {
            assert!(
                task.0.load(SeqCst) > 0,
                "a message waits and its receiver was not woken"
            );
        }
    });
}

/// Goal: a receiver that waits is woken by whoever sends. Method: exhaustive model of one poll beside two senders.
#[test]
fn no_message_is_left_waiting() {
    mailbox_model(false, true);
}

/// Goal: the same for senders that leave it to the reactor's next turn. Method: the same, with turns in between.
#[test]
fn no_message_that_may_wait_is_forgotten() {
    mailbox_model(true, true);
}

/// Goal: the model can see a message that waits. Method: the receiver does not look again after registering.
#[test]
#[should_panic(expected = "was not woken")]
fn registering_without_a_second_look_loses_a_message() {
    mailbox_model(false, false);
}
