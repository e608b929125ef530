//! What every row needs: a place, a clock, stores, and the wish to stop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use helios_engine::device::{self, Address};
use helios_engine::ops::{Cancel, Class, Failure};
use helios_engine::reactor::{Clock, Config, Nanos};
use helios_engine::store::{CreateOptions, OpenOptions, Store};

use super::progress::Progress;
use crate::cli::session::Session;

/// One run of the benchmark.
pub struct Run {
    directory: PathBuf,
    /// As little work as shows that all can be measured.
    pub quick: bool,
    pub clock: Clock,
    pub progress: Progress,
    /// Reactors of the server; `None`: one per core.
    pub reactors: Option<usize>,
    cancel: Cancel,
}

impl Run {
    pub fn new(directory: &Path, quick: bool, session: &Session) -> Run {
        Run {
            directory: directory.to_owned(),
            quick,
            clock: Clock::real(),
            progress: Progress::new(session.output.quiet),
            reactors: session.reactors(),
            cancel: session.cancel(),
        }
    }

    /// A path of this run's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Either of two sizes.
    pub fn sized(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    /// Whether nobody has asked to stop.
    pub fn goes_on(&self) -> bool {
        !self.cancel.is_cancelled()
    }

    /// Takes note of progress, and ends the run if that was asked for.
    pub fn step(&self, done: f64) -> Result<(), Failure> {
        self.progress.at(done);
        match self.goes_on() {
            true => Ok(()),
            false => Err(Failure::new(Class::Cancelled, "stopped")),
        }
    }

    /// Nanoseconds since a point in time.
    pub fn since(&self, start: Nanos) -> u64 {
        u64::try_from(self.clock.now().since(start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Times one call in nanoseconds.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> (u64, T) {
        let start = self.clock.now();
        let result = work();
        (self.since(start), result)
    }

    /// Waits, keeping the core for the last millisecond, so that what follows is not slowed down by waking up.
    pub fn pause(&self, duration: Duration) {
        let start = self.clock.now();
        if let Some(long) = duration.checked_sub(Duration::from_millis(1)) {
            sleep(long);
        }
        while self.clock.now().since(start) < duration {
            std::hint::spin_loop();
        }
    }

    /// A new store of that many bytes, driven by one reactor: whoever calls it needs a core too.
    pub fn store(&self, name: &str, bytes: u64, cache_bytes: u64) -> Result<Store, Failure> {
        let address = Address::Path(self.path(name));
        let options = CreateOptions {
            size: bytes,
            ..CreateOptions::default()
        };
        Store::create(&address, &options)?;
        let options = OpenOptions {
            cache_bytes,
            reactors: Config {
                reactors: 1,
                ..Config::default()
            },
            device: device::OpenOptions::default(),
            ..OpenOptions::default()
        };
        Ok(Store::open(&address, &options)?)
    }
}

#[allow(clippy::disallowed_methods, reason = "a measurement is paced")]
pub fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}
