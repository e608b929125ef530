//! Ctrl-C and SIGTERM: the operation is asked to stop; one that does not within the grace time is ended.
//!
//! Neither can harm the store: what is not acknowledged is not there after reopening. The grace time is for
//! operations that wait for someone else (a terminal, a full pipe) and cannot look at the flag.

use std::time::Duration;

use helios_engine::ops::Cancel;

use super::exit::Exit;

/// How long an operation may take to notice.
const GRACE: Duration = Duration::from_secs(2);

/// Sets `cancel` on a signal. Called once per process.
pub fn install(cancel: &Cancel) -> Result<(), ctrlc::Error> {
    let cancel = cancel.clone();
    ctrlc::set_handler(move || {
        cancel.cancel();
        // The handler has a thread of its own; the main thread ends the process before the time is over if it can.
        std::thread::park_timeout(GRACE);
        eprintln!("helios: stopped");
        std::process::exit(Exit::Interrupted as i32);
    })
}
