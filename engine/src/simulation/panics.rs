//! Panics of a run are findings about its seed: caught, with the place they came from, and not printed.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics of this thread be remembered instead of printed, while `work` runs.
pub(super) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                // The first one is the cause, later ones come from cleaning up.
                LAST.with_borrow_mut(|last| last.get_or_insert_with(|| info.to_string()).len());
            } else {
                before(info);
            }
        }));
    });
    let quiet = QUIET.replace(true);
    LAST.set(None);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(quiet);
    outcome.map_err(|_| {
        LAST.take()
            .unwrap_or_else(|| "a panic without a message".to_owned())
    })
}
