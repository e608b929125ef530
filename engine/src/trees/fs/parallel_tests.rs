use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn control(threads: usize) -> Control {
    Control {
        threads,
        ..Control::default()
    }
}

/// Goal: work that makes work is all done, once, by any number of threads. Method: a task of n adds two of n - 1.
#[test]
fn all_work_is_done_once() {
    for threads in [1, 2, 7] {
        let count = AtomicU64::new(0);
        let sums = run(
            &control(threads),
            [12u32],
            || 0u64,
            |sum, depth, queue| {
                count.fetch_add(1, Ordering::Relaxed);
                *sum += 1;
                if depth > 0 {
                    queue.extend([depth - 1, depth - 1]);
                }
                Ok(())
            },
        )
        .expect("no task fails");
        assert_eq!(count.into_inner(), (1 << 13) - 1);
        assert_eq!(sums.iter().sum::<u64>(), (1 << 13) - 1);
    }
}

/// Goal: what is taken ahead is done once, and never leaves another worker without. Method: tasks that take others ahead while
/// they count how many are left for how many workers.
#[test]
fn what_is_taken_ahead_leaves_enough_for_the_others() {
    for threads in [1, 2, 7] {
        let (count, ahead) = (AtomicU64::new(0), AtomicU64::new(0));
        run(
            &control(threads),
            0..1000u32,
            || (),
            |(), task, queue| {
                count.fetch_add(1, Ordering::Relaxed);
                assert!(queue.take_ahead(|_| false).is_none(), "what does not fit stays");
                while let Some(next) = queue.take_ahead(|next| *next != task) {
                    assert_ne!(next, task);
                    count.fetch_add(1, Ordering::Relaxed);
                    ahead.fetch_add(1, Ordering::Relaxed);
                }
                let left = queue.state.lock().waiting.len();
                assert!(left < threads, "{left} left for {threads} workers");
                Ok(())
            },
        )
        .expect("no task fails");
        assert_eq!(count.into_inner(), 1000, "by {threads} workers");
        assert!(ahead.into_inner() > 0, "by {threads} workers");
    }
    let queue = Queue {
        state: Mutex::new(State {
            waiting: VecDeque::from([1, 2, 3]),
            running: 1,
            stopped: false,
            failure: None,
        }),
        changed: Condvar::new(),
        workers: 2,
    };
    let fits = |_: &i32| true;
    assert_eq!([(); 3].map(|()| queue.take_ahead(fits)), [Some(3), Some(2), None]);
}

/// Goal: a failure ends everything and is the answer; nothing waits for ever. Method: one of many tasks fails.
#[test]
fn the_first_error_is_the_answer() {
    let answer = run(
        &control(3),
        0..1000,
        || (),
        |(), number, _| match number {
            500 => Err(Error::invalid("500", "is not wanted")),
            _ => Ok(()),
        },
    );
    assert!(matches!(answer, Err(Error::Invalid { .. })));
}

/// Goal: cancelling stops between tasks. Method: a task cancels while it adds endless work.
#[test]
fn cancelling_ends_endless_work() {
    let control = control(2);
    let answer = run(
        &control,
        [0],
        || (),
        |(), number: u64, queue| {
            if number == 100 {
                control.cancel.cancel();
            }
            queue.extend([number + 1]);
            Ok(())
        },
    );
    assert!(matches!(answer, Err(Error::Cancelled)));
}

/// Goal: a panic in one worker reaches the caller instead of leaving the others asleep.
#[test]
fn a_panic_reaches_the_caller() {
    let outcome = std::panic::catch_unwind(|| {
        run(
            &control(2),
            0..100,
            || (),
            |(), number, _| {
                assert!(number != 50, "as arranged");
                Ok(())
            },
        )
    });
    assert!(outcome.is_err());
}
