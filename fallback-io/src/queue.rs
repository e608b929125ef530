//! The shape both queues have.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::command::{Command, Completion};
use crate::memory::{Buffer, Mapping};

/// A queue of asynchronous commands on one [`Target`](crate::Target), used by one thread.
///
/// Commands complete in any order. Dropping the queue waits for what is in flight; whether a command that had
/// not completed by then took effect is unknown.
pub trait Queue<B: Buffer> {
    /// Takes a command without blocking; hands it back when the queue's depth is reached.
    fn submit(&mut self, command: Command<B>) -> Result<(), Command<B>>;
    /// Passes submitted commands on and hands over what has completed. Never sleeps; may yield the processor
    /// to those who do the work.
    fn poll(&mut self, done: impl FnMut(Completion<B>));
    /// Passes submitted commands on and sleeps until one completes, `doorbell` (an `eventfd`) becomes readable
    /// or the time is over. May wake without reason. Leaves the doorbell as it is.
    fn wait(&mut self, doorbell: &Arc<OwnedFd>, timeout: Option<Duration>);
    /// Commands submitted and not handed over yet.
    fn in_flight(&self) -> u32;
    /// Prepares `mapping` for faster transfers from and to buffers that lie in it, for as long as the queue
    /// lives. Gives the hint such buffers should carry (see [`Buffer::region`]), or `None` when there is nothing
    /// to gain or the system refuses; the memory works either way.
    fn register(&mut self, mapping: &Arc<Mapping>) -> Option<u16>;
}

/// Sleeps until one of `files` is readable or the time is over.
pub(crate) fn sleep_on(files: &[&OwnedFd], timeout: Option<Duration>) {
    let mut files: Vec<PollFd<'_>> = files
        .iter()
        .map(|file| PollFd::new(file, PollFlags::IN))
        .collect();
    let timeout = timeout.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    // An interrupted sleep is a wake without reason; descriptors we own are valid.
    let _ = poll(&mut files, timeout.as_ref());
}
