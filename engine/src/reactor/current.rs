//! Which reactor the current thread is running.
//!
//! A thread runs at most one reactor at a time: its own in the threaded form, the one being stepped under a driver.
//! Wake-ups find their local queue here, and calls that would stop a reactor are refused here.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::executor::Core;
use super::handle::ReactorId;
use super::shared::{Runnable, Shared};

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// While it lives, the thread runs the reactor.
pub(super) struct Entered(Option<Rc<Core>>);

/// Makes `core` the thread's reactor.
pub(super) fn enter(core: &Rc<Core>) -> Entered {
    let before = CURRENT.try_with(|current| current.replace(Some(Rc::clone(core))));
    Entered(before.ok().flatten())
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        // The thread may be ending and its locals gone; then nobody is left to see it.
        let last = CURRENT.try_with(|current| current.replace(before));
        drop(last);
    }
}

/// Queues a task on this thread's reactor if it is `shared`'s; gives it back otherwise.
pub(super) fn push_local(shared: &Arc<Shared>, runnable: Runnable) -> Result<(), Runnable> {
    let mut runnable = Some(runnable);
    let _ = CURRENT.try_with(|current| {
        if let Some(core) = current.borrow().as_ref()
            && Arc::ptr_eq(&core.shared, shared)
        {
            core.ready
                .borrow_mut()
                .push_back(runnable.take().expect("not taken yet"));
        }
    });
    runnable.map_or(Ok(()), Err)
}

/// The reactor this thread is running.
pub(super) fn current() -> Option<Rc<Core>> {
    CURRENT
        .try_with(|current| current.borrow().clone())
        .ok()
        .flatten()
}

/// Its id.
pub(super) fn current_id() -> Option<ReactorId> {
    CURRENT
        .try_with(|current| current.borrow().as_ref().map(|core| core.shared.id))
        .ok()
        .flatten()
}

/// True when this thread is running `shared`'s reactor.
pub(super) fn is_current(shared: &Arc<Shared>) -> bool {
    CURRENT
        .try_with(|current| {
            current
                .borrow()
                .as_ref()
                .is_some_and(|core| Arc::ptr_eq(&core.shared, shared))
        })
        .unwrap_or(false)
}
