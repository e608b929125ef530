//! Mailboxes and oneshots, on both forms.

use std::time::Duration;

use super::{both, driver, run, threads};
use crate::reactor::{SendError, mailbox, oneshot};

/// Goal: a full mailbox makes senders wait; nothing is lost, doubled or put out of order per sender.
/// Method: six senders on all reactors push 500 numbers each through a mailbox of 4; one of them by trying again.
#[test]
fn backpressure_loses_nothing() {
    both(|runtime| {
        const EACH: u64 = 500;
        let (sender, mut receiver) = mailbox::<(usize, u64)>(&runtime.handles()[0], 4);
        for index in 0..6usize {
            let sender = sender.clone();
            runtime.handles()[index % 3].spawn(move |local| async move {
                for number in 0..EACH {
                    if index == 5 {
                        while sender.try_send((index, number)).is_err() {
                            local.yield_now().await;
                        }
                    } else {
                        sender.send((index, number)).await.expect("the receiver lives");
                    }
                }
            });
        }
        drop(sender);
        let counts = run(runtime, 0, |local| async move {
            let mut next = [0u64; 6];
            let mut batch = Vec::new();
            while let Some(first) = receiver.recv().await {
                batch.push(first);
                receiver.drain(&mut batch, 3);
                for (index, number) in batch.drain(..) {
                    assert_eq!(next[index], number, "in order");
                    next[index] += 1;
                }
                local.yield_now().await;
            }
            next
        });
        assert_eq!(counts, Some([EACH; 6]));
    });
}

/// Goal: a sender that stops waiting passes its turn on.
/// Method: two senders wait for a full mailbox of one; the first is dropped after the mailbox has woken it and
/// before it runs again; the second must get through.
#[test]
fn a_dropped_sender_passes_its_turn_on() {
    let runtime = driver(1, 1);
    let (sender, mut receiver) = mailbox::<u8>(&runtime.handles()[0], 1);
    let got = run(&runtime, 0, |local| async move {
        sender.try_send(0).expect("room");
        let mut first = Box::pin(sender.send(1));
        std::future::poll_fn(|context| {
            assert!(first.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        let second = sender.clone();
        local.spawn(async move { second.send(2).await.expect("the receiver lives") });
        local.yield_now().await;
        let zero = receiver.try_recv();
        drop(first);
        (zero, receiver.recv().await)
    });
    assert_eq!(got, Some((Some(0), Some(2))));
}

/// Goal: the end of either side reaches the other.
/// Method: drop the receiver under a waiting and a later sender, with a oneshot inside a message; drop all senders
/// under a waiting receiver.
#[test]
fn ends_are_noticed() {
    both(|runtime| {
        let (sender, receiver) = mailbox(&runtime.handles()[0], 1);
        let (inside, answer) = oneshot::<()>();
        sender.try_send(Some(inside)).map_err(|_| "full").expect("room");
        let waiting = sender.clone();
        let (told, outcome) = oneshot();
        runtime.handles()[1].spawn(move |_| async move {
            let _ = told.send(waiting.send(None).await.is_err());
        });
        runtime.handles()[0].spawn(move |local| async move {
            local.sleep(Duration::from_millis(1)).await;
            drop(receiver);
        });
        assert_eq!(runtime.block_on(outcome), Some(true));
        assert_eq!(runtime.block_on(answer), None);
        assert!(matches!(sender.try_send(None), Err(SendError::Closed(None))));
        assert!(sender.is_closed());

        let (sender, mut receiver) = mailbox::<u8>(&runtime.handles()[0], 1);
        runtime.handles()[1].spawn(move |local| async move {
            local.sleep(Duration::from_millis(1)).await;
            sender.try_send(9).expect("room");
        });
        let heard = run(runtime, 0, |_| async move {
            (receiver.recv().await, receiver.recv().await)
        });
        assert_eq!(heard, Some((Some(9), None)));
    });
}

/// Goal: a oneshot hands over exactly one value or its absence, whichever side goes first.
/// Method: all orders of send, drop and receive.
#[test]
fn oneshots_answer_once() {
    let runtime = threads(1);
    let (sender, mut receiver) = oneshot();
    assert_eq!(receiver.try_take(), None);
    assert_eq!(sender.send(1), Ok(()));
    assert_eq!(receiver.try_take(), Some(1));
    assert_eq!(runtime.block_on(receiver), None);
    let (sender, receiver) = oneshot();
    assert!(!sender.is_closed());
    drop(receiver);
    assert!(sender.is_closed());
    assert_eq!(sender.send(2), Err(2));
    let (sender, receiver) = oneshot::<u8>();
    drop(sender);
    assert_eq!(runtime.block_on(receiver), None);
    let (sender, receiver) = oneshot();
    assert_eq!(sender.send(4), Ok(()));
    assert_eq!(runtime.block_on(receiver), Some(4));
}
