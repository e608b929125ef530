//! Mailboxes and oneshots under `loom`, which tries every interleaving and every value that relaxed loads may return.
//! `mailbox.rs`, `receiving.rs` and `oneshot.rs` are compiled a second time, against `loom`'s atomics and locks, with a
//! ring that is a queue under a lock.
//!
//! Nothing blocks in a model: whoever would sleep returns that it would. When all have ended, it must have been woken
//! after its last look.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Count, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic;
use loom::thread;

#[allow(clippy::duplicate_mod, reason = "the second copy has other atomics")]
#[allow(dead_code, reason = "the model needs a part of it")]
#[path = "../mailbox.rs"]
mod mailbox;
#[allow(clippy::duplicate_mod, reason = "the second copy has other locks")]
#[allow(dead_code, reason = "the model needs a part of it")]
#[path = "../oneshot.rs"]
mod oneshot;
#[allow(clippy::duplicate_mod, reason = "the second copy has other atomics")]
#[allow(dead_code, reason = "the model needs a part of it")]
#[path = "../receiving.rs"]
mod receiving;

use mailbox::Receiver;

/// The reactor as far as a mailbox knows it.
mod handle {
    use std::sync::Arc;

    use super::shared::Shared;

    #[derive(Clone, Debug, Default)]
    pub(super) struct Handle(pub(super) Arc<Shared>);
}

mod shared {
    use std::sync::Arc;

    use super::receiving::Receiving;

    #[allow(dead_code, reason = "no model here leaves anything to the next turn")]
    pub(super) enum Remote {
        Wake(Arc<Receiving>),
    }

    #[derive(Debug, Default)]
    pub(super) struct Shared;

    impl Shared {
        pub(super) fn push_lazily(&self, _: Remote) {
            unreachable!("nobody is lazy here");
        }
    }
}

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

/// A ring with the face of the lock-free one.
struct ArrayQueue<T> {
    capacity: usize,
    messages: Mutex<VecDeque<T>>,
}

impl<T> ArrayQueue<T> {
    fn new(capacity: usize) -> ArrayQueue<T> {
        ArrayQueue {
            capacity,
            messages: Mutex::new(VecDeque::new()),
        }
    }

    fn push(&self, message: T) -> Result<(), T> {
        let mut messages = self.messages.lock();
        if messages.len() == self.capacity {
            return Err(message);
        }
        messages.push_back(message);
        Ok(())
    }

    fn pop(&self) -> Option<T> {
        self.messages.lock().pop_front()
    }

    fn len(&self) -> usize {
        self.messages.lock().len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

#[derive(Default)]
struct Task(Count);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A future with its task: polled as long as it was woken since the poll before.
struct Sleeper<F: Future> {
    task: Arc<Task>,
    future: Pin<Box<F>>,
    seen: Option<usize>,
}

impl<F: Future> Sleeper<F> {
    fn new(future: F) -> Sleeper<F> {
        Sleeper {
            task: Arc::default(),
            future: Box::pin(future),
            seen: None,
        }
    }

    /// What it ends with; nothing if it would sleep now.
    fn run(&mut self) -> Option<F::Output> {
        while self.seen != Some(self.task.0.load(SeqCst)) {
            self.seen = Some(self.task.0.load(SeqCst));
            let waker = Waker::from(self.task.clone());
            if let Poll::Ready(done) = self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(done);
            }
        }
        None
    }
}

/// Goal: a sender that waits for room in a full mailbox is woken when there is some, or when there never will be.
/// Method: exhaustive models of a full mailbox, a sender that waits, and a receiver that takes one message or goes.
#[test]
fn a_waiting_sender_is_woken() {
    for leaves in [false, true] {
        loom::model(move || {
            let (sender, mut receiver) = mailbox::mailbox(&handle::Handle::default(), 1);
            assert!(sender.try_send(1).is_ok());
            let receiving = thread::spawn(move || {
                if leaves {
                    drop(receiver);
                    None
                } else {
                    assert_eq!(receiver.try_recv(), Some(1));
                    Some(receiver)
                }
            });
            let mut sending = Sleeper::new(sender.send(2));
            let sent = sending.run();
            let receiver = receiving.join().expect("the receiver does not fail");
            // What it was woken for in the meantime.
            let sent = sent.or_else(|| sending.run());
            // What is sent at the moment the receiver goes is dropped.
            assert!(
                matches!((sent, leaves), (Some(Ok(())), _) | (Some(Err(2)), true)),
                "{sent:?}"
            );
            drop(sending);
            let mut receiver = receiver;
            assert_eq!(
                receiver.as_mut().and_then(Receiver::try_recv),
                (!leaves).then_some(2)
            );
        });
    }
}

/// Goal: a receiver that waits gets what is sent, or learns that the last sender is gone. Method: exhaustive models of a
/// sender that sends, or goes, beside a receiver that waits. (Both in one model is beyond `loom`: it lets a load pass by
/// a store that follows, in the order of the variable, the exchange whose value it returns.)
#[test]
fn a_waiting_receiver_is_woken() {
    for leaves in [false, true] {
        loom::model(move || {
            let (sender, mut receiver) = mailbox::mailbox(&handle::Handle::default(), 1);
            let sending = thread::spawn(move || {
                if leaves {
                    drop(sender);
                    return None;
                }
                assert!(sender.try_send(1).is_ok());
                Some(sender)
            });
            let mut receiving = Sleeper::new(receiver.recv());
            let received = receiving.run();
            let sender = sending.join().expect("the sender does not fail");
            let received = received.or_else(|| receiving.run());
            assert_eq!(received, Some((!leaves).then_some(1)));
            drop(sender);
        });
    }
}

/// Goal: no message is lost between a last send and a receiver that goes: it is dropped, which tells whoever waits for an
/// answer to it. Method: an exhaustive model of both, with a message that notes its end.
#[test]
fn messages_end_with_their_mailbox() {
    loom::model(|| {
        let (sender, receiver) = mailbox::mailbox(&handle::Handle::default(), 1);
        let (answer, mut question) = oneshot::oneshot::<u32>();
        let sending = thread::spawn(move || {
            let _ = sender.try_send(answer);
            sender
        });
        drop(receiver);
        let sender = sending.join().expect("the sender does not fail");
        let mut waiting = pin!(&mut question);
        let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(None));
        drop(sender);
    });
}

/// Goal: a oneshot brings its value or the news that there is none, once. Method: exhaustive models of a sender that
/// sends or goes, beside a receiver that waits.
#[test]
fn a_oneshot_wakes_its_receiver() {
    for sends in [false, true] {
        loom::model(move || {
            let (sender, receiver) = oneshot::oneshot();
            let sending = thread::spawn(move || match sends {
                true => assert_eq!(sender.send(7), Ok(())),
                false => drop(sender),
            });
            let mut waiting = Sleeper::new(receiver);
            let received = waiting.run();
            sending.join().expect("the sender does not fail");
            let received = received.or_else(|| waiting.run());
            assert_eq!(received, Some(sends.then_some(7)));
        });
    }
}

/// Goal: a value is either received or given back. Method: an exhaustive model of a send beside a receiver that goes.
#[test]
fn a_oneshot_value_is_never_lost() {
    loom::model(|| {
        let value = Arc::new(());
        let kept = value.clone();
        let (sender, receiver) = oneshot::oneshot();
        let leaving = thread::spawn(move || drop(receiver));
        let refused = sender.send(value);
        leaving.join().expect("the receiver does not fail");
        assert_eq!(Arc::strong_count(&kept), 1 + usize::from(refused.is_err()));
    });
}
