//! Waiting for room, in memory and on the device, under `loom`, which tries every interleaving. `budget.rs` and
//! `room.rs` are compiled a second time, against `loom`'s locks.
//!
//! Nothing blocks in a model: whoever would wait returns that it would. When all have ended, it must have been woken
//! after its last look, or still have reason to wait.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use loom::thread;

#[allow(clippy::duplicate_mod, reason = "the second copy has other locks")]
#[allow(dead_code, reason = "the model needs a part of it")]
#[path = "budget.rs"]
mod budget;
#[allow(clippy::duplicate_mod, reason = "the second copy has other locks")]
#[allow(dead_code, reason = "the model needs a part of it")]
#[path = "room.rs"]
mod room;

use budget::Budget;
use room::{Exhausted, Room};

/// `loom`'s lock with the face of the one in use.
#[derive(Debug, Default)]
struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("nobody panics with it")
    }
}

#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Polls as a task does: again whenever it was woken. `None` when it would sleep.
fn run<T>(task: &Arc<Task>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    let waker = Waker::from(task.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        let woken = task.0.load(SeqCst);
        if let Poll::Ready(done) = poll(&mut context) {
            return Some(done);
        }
        if task.0.load(SeqCst) == woken {
            return None;
        }
    }
}

/// One batch takes what it needs and gives it back, others wait beside it; `ends` says how.
fn budget_model(bytes: [usize; 2], ends: fn(&Budget, u32, usize)) {
    loom::model(move || {
        let budget = Arc::new(Budget::new(1, 10));
        let held = budget.try_take(10).expect("an empty table has room");
        let threads: Vec<_> = bytes
            .into_iter()
            .map(|bytes| {
                let budget = budget.clone();
                thread::spawn(move || {
                    let task = Arc::new(Task::default());
                    let taken = run(&task, |context| budget.poll_take(bytes, context));
                    let seen = task.0.load(SeqCst);
                    if let Some(Some(slot)) = taken {
                        budget.give_back(slot, bytes);
                    }
                    (task, seen, taken.is_some())
                })
            })
            .collect();
        ends(&budget, held, 10);
        let ended: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("a batch does not fail"))
            .collect();
        for (task, seen, done) in ended {
            assert!(
                done || task.0.load(SeqCst) > seen,
                "a batch waits beside an empty table"
            );
        }
    });
}

/// Goal: whoever waits for memory is woken when some is given back, and when none ever will. Method: exhaustive models
/// of two batches that need all there is, beside one that gives it back, or a fence.
#[test]
fn nobody_waits_beside_an_empty_table() {
    budget_model([10, 4], |budget, slot, bytes| budget.give_back(slot, bytes));
    budget_model([10, 4], |budget, _, _| budget.close());
}

/// A batch that wants `cost` beside what happens to a log without room; whether it may still sleep at the end.
fn room_model(happens: fn(&Room), outcome: fn(Option<Result<(), Exhausted>>) -> bool) {
    loom::model(move || {
        let room = Arc::new(Room::default());
        let writer = {
            let room = room.clone();
            thread::spawn(move || happens(&room))
        };
        let task = Arc::new(Task::default());
        let asked = AtomicUsize::new(0);
        let mut taking = pin!(room.take(10, false, || {
            asked.fetch_add(1, SeqCst);
        }));
        let mut taken = run(&task, |context| taking.as_mut().poll(context));
        writer.join().expect("the writer does not fail");
        if taken.is_none() && task.0.load(SeqCst) > 0 {
            taken = run(&task, |context| taking.as_mut().poll(context));
        }
        let taken = taken.map(|taken| taken.map_err(|refused| refused.reason));
        assert!(outcome(taken), "{taken:?}");
        assert!(taken == Some(Ok(())) || room.is_wanted() || room.is_exhausted() || asked.load(SeqCst) > 0);
    });
}

/// Goal: a batch that waits for a segment gets it, or learns that there is none. Method: exhaustive models of one batch
/// beside a writer that attaches a segment, has none, is fenced, or is fenced while one is on its way.
#[test]
fn nobody_waits_for_a_segment_that_has_come_or_will_not() {
    room_model(|room| room.attach(10), |taken| taken == Some(Ok(())));
    room_model(
        |room| room.exhaust(Exhausted::Store),
        |taken| taken == Some(Err(Exhausted::Store)),
    );
    room_model(
        |room| {
            room.exhaust(Exhausted::Fenced);
            room.attach(5);
        },
        |taken| taken == Some(Err(Exhausted::Fenced)),
    );
    room_model(
        |room| {
            room.exhaust(Exhausted::Store);
            room.hope();
            room.attach(10);
        },
        |taken| matches!(taken, Some(Ok(()) | Err(Exhausted::Store))),
    );
}

/// Goal: the models can see one who waits in vain. Method: room comes and nobody is told.
#[test]
#[should_panic(expected = "None")]
fn room_that_nobody_hears_of_is_noticed() {
    room_model(|_| {}, |taken| taken.is_some());
}
