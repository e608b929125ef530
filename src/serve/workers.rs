//! Threads that run whole requests, which block.
//!
//! Invariant: the number of threads and of requests that wait for one is bounded; what does not fit is refused at once with the
//! advice to come again, and never queued without end.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use helios_engine::ops::Failure;
use parking_lot::Mutex;

use super::io_failure;

/// Requests that run at once. They mostly wait, for the device or for their client.
const THREADS: usize = 16;
/// Requests that wait for a thread.
const WAITING_MAX: usize = 256;
/// When to come again, in milliseconds.
const RETRY_AFTER_MS: u64 = 100;

type Job = Box<dyn FnOnce() + Send>;

/// The threads.
pub struct Workers {
    jobs: Mutex<Option<SyncSender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts them.
    pub fn start() -> Result<Workers, Failure> {
        let (sender, receiver) = sync_channel::<Job>(WAITING_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::with_capacity(THREADS);
        for number in 0..THREADS {
            let receiver = Arc::clone(&receiver);
            let thread = std::thread::Builder::new()
                .name(format!("request-{number}"))
                .spawn(move || work(&receiver))
                .map_err(|error| io_failure("start a thread", &error))?;
            threads.push(thread);
        }
        Ok(Workers {
            jobs: Mutex::new(Some(sender)),
            threads: Mutex::new(threads),
        })
    }

    /// Runs `job` on the next thread that is free.
    ///
    /// # Errors
    /// Class `Busy` if too many wait already, or if the server ends.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
        let sent = match &*self.jobs.lock() {
            Some(jobs) => jobs.try_send(Box::new(job)),
            None => Err(TrySendError::Disconnected(Box::new(job) as Job)),
        };
        sent.map_err(|error| match error {
            TrySendError::Full(_) => Failure::busy("too many requests wait already", RETRY_AFTER_MS),
            TrySendError::Disconnected(_) => {
                Failure::busy("the owner of the store is ending", RETRY_AFTER_MS)
            }
        })
    }

    /// Takes no more, and waits for those that run.
    pub fn end(&self) {
        self.jobs.lock().take();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A panic of a request was caught and told its client.
            let _ = thread.join();
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // Whoever waits for a job holds the lock; the others wait for the lock.
        let job = jobs.lock().recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}
