//! Timers of one reactor.
//!
//! A balanced tree ordered by (deadline, number) rather than a binary heap: a sleep that is dropped takes its entry
//! with it, so time-outs that almost never fire (the usual kind) leave nothing behind to skip or to sweep.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::clock::Nanos;
use super::executor::Core;

type Place = (Nanos, u64);

#[derive(Default)]
pub(super) struct Timers {
    waiting: BTreeMap<Place, Waker>,
    next: u64,
}

impl Timers {
    /// The nearest deadline.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        self.waiting.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    fn insert(&mut self, deadline: Nanos, waker: Waker) -> Place {
        self.next += 1;
        self.waiting.insert((deadline, self.next), waker);
        (deadline, self.next)
    }

    /// Takes out the first waker that is due. One at a time: waking may drop or set other timers.
    pub(super) fn pop_due(&mut self, now: Nanos) -> Option<Waker> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// Ends at its deadline; made by [`Local::sleep`](super::Local::sleep).
#[must_use = "a sleep does nothing unless awaited"]
pub struct Sleep {
    core: Rc<Core>,
    deadline: Nanos,
    place: Option<Place>,
}

impl Sleep {
    pub(super) fn new(core: Rc<Core>, deadline: Nanos) -> Sleep {
        Sleep {
            core,
            deadline,
            place: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.core.clock.now() >= self.deadline {
            return Poll::Ready(());
        }
        let mut timers = self.core.timers.borrow_mut();
        match self.place.and_then(|place| timers.waiting.get_mut(&place)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                let place = timers.insert(self.deadline, context.waker().clone());
                drop(timers);
                self.place = Some(place);
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let waker = self.core.timers.borrow_mut().waiting.remove(&place);
            drop(waker);
        }
    }
}
