//! Threads that run whole requests, which block.
//!
//! Invariant: the number of threads and of requests that wait for one is bounded; what does not fit is refused at once with the
//! advice to come again, and never queued without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use helios_engine::ops::Failure;
use parking_lot::Mutex;

use super::io_failure;

/// When to come again, in milliseconds.
const RETRY_AFTER_MS: u64 = 100;

type Job = Box<dyn FnOnce() + Send>;

/// How much the threads have to do. All write the same line, once or twice for a request, which takes the queue's lock anyway.
#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicU64,
    busy: AtomicU64,
}

/// How much the threads have to do at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Threads.
    pub threads: u64,
    /// Those that run a request.
    pub busy: u64,
    /// Requests that wait for a thread.
    pub waiting: u64,
}

/// The threads.
pub struct Workers {
    counts: Arc<Counts>,
    count: usize,
    jobs: Mutex<Option<SyncSender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts that many, for as many requests at once and so many more that wait.
    pub fn start(name: &str, count: usize, waiting_max: usize) -> Result<Workers, Failure> {
        let (sender, receiver) = sync_channel::<Job>(waiting_max);
        let receiver = Arc::new(Mutex::new(receiver));
        let counts = Arc::<Counts>::default();
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let receiver = Arc::clone(&receiver);
            let counts = Arc::clone(&counts);
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || work(&receiver, &counts))
                .map_err(|error| io_failure("start a thread", &error))?;
            threads.push(thread);
        }
        Ok(Workers {
            counts,
            count,
            jobs: Mutex::new(Some(sender)),
            threads: Mutex::new(threads),
        })
    }

    /// Runs `job` on the next thread that is free.
    ///
    /// # Errors
    /// Class `Busy` if too many wait already, or if the server ends.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
        self.counts.waiting.fetch_add(1, Relaxed);
        let sent = match &*self.jobs.lock() {
            Some(jobs) => jobs.try_send(Box::new(job)),
            None => Err(TrySendError::Disconnected(Box::new(job) as Job)),
        };
        if sent.is_err() {
            self.counts.waiting.fetch_sub(1, Relaxed);
        }
        sent.map_err(|error| match error {
            TrySendError::Full(_) => Failure::busy("too many requests wait already", RETRY_AFTER_MS),
            TrySendError::Disconnected(_) => {
                Failure::busy("the owner of the store is ending", RETRY_AFTER_MS)
            }
        })
    }

    /// How much there is to do.
    pub fn load(&self) -> Load {
        Load {
            threads: self.count as u64,
            busy: self.counts.busy.load(Relaxed),
            waiting: self.counts.waiting.load(Relaxed),
        }
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

fn work(jobs: &Mutex<Receiver<Job>>, counts: &Counts) {
    loop {
        // Whoever waits for a job holds the lock; the others wait for the lock.
        let job = jobs.lock().recv();
        match job {
            Ok(job) => {
                counts.busy.fetch_add(1, Relaxed);
                counts.waiting.fetch_sub(1, Relaxed);
                job();
                counts.busy.fetch_sub(1, Relaxed);
            }
            Err(_) => return,
        }
    }
}
