//! The worker's end of a request: bytes, progress and warnings go to the client through its reactor.
//!
//! Invariant: while a request waits for its client it lends its place among those that run.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use helios_engine::ops::{Cancel, Exchange, Failure, Reply, Reporter, Step, Warning};
use helios_engine::reactor::{self, Clock, SendError, Sender, oneshot};

use super::workers::Place;
use crate::wire::frame::BODY_BYTES_MAX;

/// Time between two words about progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What a worker sends to the connection.
pub enum Outgoing {
    /// How far it is.
    Progress(Step),
    /// Something odd.
    Warning(Warning),
    /// Bytes of a content.
    Output(Bytes),
    /// Bytes are wanted; the answer is empty at the end of the input.
    Want(u64, oneshot::Sender<Bytes>),
    /// The end.
    Done(Box<Result<Reply, Failure>>),
}

/// See the module.
pub struct Remote {
    out: Sender<Outgoing>,
    cancel: Cancel,
    clock: Clock,
    place: Place,
    input: Bytes,
    at_end: bool,
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")
}

impl Remote {
    /// The other end is the connection's task.
    pub fn new(out: Sender<Outgoing>, cancel: Cancel, clock: Clock, place: Place) -> Remote {
        Remote {
            out,
            cancel,
            clock,
            place,
            input: Bytes::new(),
            at_end: false,
        }
    }

    /// Sends something, when there is room.
    pub fn send(&self, outgoing: Outgoing) -> io::Result<()> {
        match self.out.try_send(outgoing) {
            Ok(()) => Ok(()),
            Err(SendError::Closed(_)) => Err(gone()),
            Err(SendError::Full(outgoing)) => self
                .place
                .lend(|| reactor::block_on(self.out.send(outgoing)))
                .map_err(|_| gone()),
        }
    }
}

impl Exchange for Remote {
    fn reporter(&self) -> Reporter {
        let out = self.out.clone();
        let clock = self.clock.clone();
        let last = AtomicU64::new(0);
        Arc::new(move |step| {
            let now = clock.now().0;
            let before = last.load(Ordering::Relaxed);
            let due = now.saturating_sub(before) >= PROGRESS_EVERY.as_nanos() as u64;
            if due
                && last
                    .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                // A word that does not fit is followed by a newer one.
                let _ = out.try_send(Outgoing::Progress(step));
            }
        })
    }

    fn warn(&mut self, warning: &Warning) {
        // It is in the reply as well.
        let _ = self.send(Outgoing::Warning(warning.clone()));
    }

    fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(BODY_BYTES_MAX) {
            self.send(Outgoing::Output(Bytes::copy_from_slice(piece)))?;
        }
        Ok(())
    }

    fn input(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() && !self.at_end {
            let (sender, receiver) = oneshot();
            let wanted = buffer.len().min(BODY_BYTES_MAX) as u64;
            self.send(Outgoing::Want(wanted, sender))?;
            self.input = self.place.lend(|| reactor::block_on(receiver)).ok_or_else(gone)?;
            self.at_end = self.input.is_empty();
        }
        let length = self.input.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.input.split_to(length));
        Ok(length)
    }

    fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}
