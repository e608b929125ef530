//! What the engine adds to its driver, in processor time of the reactor.
//!
//! The store runs on a device that passes everything on and looks at the clock around each call. Time from the return of a
//! poll that found completions to the next poll, less the submissions in between, is the engine's: waking clients, looking
//! up, verifying, everything. Turns that find nothing are nobody's work and not counted. The looks at the clock are inside
//! what is counted, so the true figure is a little lower.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use helios_engine::device::{Command, Completion, Device, DmaBuffer, Doorbell, Geometry, Queue};
use helios_engine::hash;

use crate::load::closed;
use crate::report;
use crate::sandbox::{content, time};
use crate::subject::{BYTES, Subject};

const SECONDS: u64 = 1;
const ROUNDS: u64 = 5;
const DEPTH: usize = 32;
const HASHES: u32 = 20_000;

/// Runs the section.
pub fn run(subject: &Subject) {
    report::heading(
        &format!(
            "cost: what does a get of 4 KiB cost on top of the driver of {}?",
            subject.address
        ),
        "BLAKE3 of the same bytes, which every get without a cache has to verify",
        "below 1.5 us",
    );
    let block = content(1, BYTES);
    let (mut engine, mut driver, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let spent = Arc::new(Spent::default());
        let watched = Arc::clone(&spent);
        let store = subject.open_on(|device| {
            Arc::new(Watched {
                device,
                spent: watched,
            })
        });
        let before = spent.now();
        let outcome = closed(subject, &store, DEPTH, SECONDS, round);
        let after = spent.now();
        store.close().expect("a clean close");
        let gets = outcome.times.len() as f64;
        engine.push((after.0 - before.0) as f64 / gets / 1000.0);
        driver.push((after.1 - before.1) as f64 / gets / 1000.0);
        let (spent, ()) = time(|| {
            for _ in 0..HASHES {
                std::hint::black_box(hash::content_id(std::hint::black_box(&block)));
            }
        });
        hashes.push(spent as f64 / f64::from(HASHES) / 1000.0);
    }
    report::spread("engine, us per get", &mut engine);
    report::spread("driver's calls that did something, us per get", &mut driver);
    report::spread("BLAKE3 of 4 KiB by itself, us", &mut hashes);
}

/// Nanoseconds of the engine, and of the driver's calls that did something.
#[derive(Default)]
struct Spent {
    engine: AtomicU64,
    driver: AtomicU64,
}

impl Spent {
    fn now(&self) -> (u64, u64) {
        (self.engine.load(Relaxed), self.driver.load(Relaxed))
    }
}

struct Watched {
    device: Arc<dyn Device>,
    spent: Arc<Spent>,
}

impl Device for Watched {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn open_queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        Ok(Box::new(WatchedQueue {
            queue: self.device.open_queue(depth)?,
            spent: Arc::clone(&self.spent),
            found: None,
            submitting: Duration::ZERO,
        }))
    }
}

struct WatchedQueue {
    queue: Box<dyn Queue>,
    spent: Arc<Spent>,
    /// When the last poll returned, if it found something.
    found: Option<Instant>,
    /// Time of submissions since then.
    submitting: Duration,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a short time")
}

#[allow(clippy::disallowed_methods, reason = "benches measure real time")]
fn now() -> Instant {
    Instant::now()
}

impl Queue for WatchedQueue {
    fn submit(&mut self, command: Command) -> Result<(), Command> {
        let start = now();
        let submitted = self.queue.submit(command);
        self.submitting += start.elapsed();
        submitted
    }

    fn poll(&mut self, completed: &mut Vec<Completion>) {
        let start = now();
        let submitting = std::mem::take(&mut self.submitting);
        if let Some(found) = self.found.take() {
            let engine = start.duration_since(found).saturating_sub(submitting);
            self.spent.engine.fetch_add(nanos(engine), Relaxed);
        }
        let before = completed.len();
        self.queue.poll(completed);
        let end = now();
        let mut driver = submitting;
        if completed.len() > before {
            self.found = Some(end);
            driver += end.duration_since(start);
        }
        self.spent.driver.fetch_add(nanos(driver), Relaxed);
    }

    fn wait(&mut self, doorbell: &Doorbell, timeout: Option<Duration>) {
        self.queue.wait(doorbell, timeout);
    }

    fn in_flight(&self) -> u32 {
        self.queue.in_flight()
    }

    fn buffer(&mut self, len: usize) -> io::Result<DmaBuffer> {
        self.queue.buffer(len)
    }
}
