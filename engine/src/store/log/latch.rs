//! A latch on one reactor: writes that meet the piece being zeroed wait until it is done.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

#[derive(Default)]
struct State {
    held: bool,
    waiters: Vec<Waker>,
}

/// Open unless somebody holds it.
#[derive(Clone, Default)]
pub(super) struct Latch(Rc<RefCell<State>>);

impl Latch {
    /// Holds it; there is one holder at a time.
    pub fn hold(&self) {
        let before = std::mem::replace(&mut self.0.borrow_mut().held, true);
        assert!(!before, "one piece is zeroed at a time");
    }

    /// True while somebody holds it.
    pub fn is_held(&self) -> bool {
        self.0.borrow().held
    }

    /// Opens it.
    pub fn open(&self) {
        let waiters = {
            let mut state = self.0.borrow_mut();
            state.held = false;
            std::mem::take(&mut state.waiters)
        };
        waiters.into_iter().for_each(Waker::wake);
    }

    /// Completes when nobody holds it.
    pub async fn opened(&self) {
        poll_fn(|context| {
            let mut state = self.0.borrow_mut();
            if !state.held {
                return Poll::Ready(());
            }
            state.waiters.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}
