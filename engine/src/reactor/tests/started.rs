//! Futures under way before they are awaited.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use crate::reactor::{Started, block_on, oneshot};

/// Goal: a future is polled when it is made, and one that was done then not again. Method: polls are counted.
#[test]
fn asks_at_once_and_once() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let ready = Started::new(std::future::poll_fn(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(7)
    }));
    assert_eq!(polls.load(Ordering::Relaxed), 1, "before anybody awaits it");
    assert_eq!(block_on(ready), 7);
    assert_eq!(polls.load(Ordering::Relaxed), 1, "and not again when it was done");
}

/// Goal: nothing is lost between the first poll and the wait. Method: an answer that is sent before it, and beside it.
#[test]
fn an_answer_that_comes_before_or_after_the_wait_is_had() {
    for before in [true, false] {
        let (sender, receiver) = oneshot();
        let started = Started::new(receiver);
        let answer = std::thread::scope(|scope| {
            let sending = scope.spawn(move || sender.send(5));
            if before {
                sending.join().expect("no panic").expect("somebody waits");
            }
            block_on(started)
        });
        assert_eq!(answer, Some(5), "before {before}");
    }
}

/// Goal: what nobody will wait for is let go of. Method: what the future holds.
#[test]
fn dropping_it_gives_up_what_is_under_way() {
    let held = Arc::new(());
    let kept = Arc::clone(&held);
    let started = Started::new(async move {
        std::future::pending::<()>().await;
        drop(kept);
    });
    assert_eq!(Arc::strong_count(&held), 2);
    drop(started);
    assert_eq!(Arc::strong_count(&held), 1);
}
