//! Ctrl-C and SIGTERM: the operation is asked to stop; one that does not within the grace time is ended.
//!
//! Neither can harm the store: what is not acknowledged is not there after reopening. The grace time is for
//! operations that wait for someone else (a terminal, a full pipe) and cannot look at the flag.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use helios_engine::ops::Cancel;

use super::exit::Exit;

/// How long an operation may take to notice, in milliseconds.
static GRACE_MS: AtomicU64 = AtomicU64::new(2000);

/// From now on the end may take that long: something is under way that should be finished.
pub fn wait_for_clean_end(grace: Duration) {
    GRACE_MS.store(
        u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        Ordering::Relaxed,
    );
}

/// Sets `cancel` on a signal. Called once per process.
pub fn install(cancel: &Cancel) -> Result<(), ctrlc::Error> {
    let cancel = cancel.clone();
    ctrlc::set_handler(move || {
        cancel.cancel();
        // The handler has a thread of its own; the main thread ends the process before the time is over if it can.
        std::thread::park_timeout(Duration::from_millis(GRACE_MS.load(Ordering::Relaxed)));
        eprintln!("helios: stopped");
        std::process::exit(Exit::Interrupted as i32);
    })
}
