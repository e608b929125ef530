//! A store in a file of its own, and raw access to files beside it.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use helios::workloads::content;
use helios_engine::device::Address;
use helios_engine::reactor::Config;
use helios_engine::store::{CreateOptions, OpenOptions, Store};

/// A directory that goes away with the value.
pub struct Sandbox(tempfile::TempDir);

impl Sandbox {
    /// In `HELIOS_BENCH_DIR`, or the working directory's `target` (a real disk, where `/tmp` may be memory).
    pub fn new() -> Sandbox {
        let parent =
            std::env::var_os("HELIOS_BENCH_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        Sandbox::new_in(&parent)
    }

    /// In that directory.
    pub fn new_in(parent: &Path) -> Sandbox {
        std::fs::create_dir_all(parent).expect("a directory for benches");
        Sandbox(tempfile::tempdir_in(parent).expect("a directory for benches"))
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A fresh store of that many bytes.
    pub fn store(&self, name: &str, bytes: u64, reactors: usize, cache_bytes: u64) -> Store {
        let address = Address::Path(self.path(name));
        let options = CreateOptions {
            size: bytes,
            force: true,
            ..CreateOptions::default()
        };
        Store::create(&address, &options).expect("a store for the bench");
        open(&self.path(name), reactors, cache_bytes)
    }
}

/// An empty file for direct writes without the engine.
pub fn raw_file(path: &Path) -> File {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("a flag"))
        .open(path)
        .expect("a raw file")
}

/// Opens a store for a bench.
pub fn open(path: &Path, reactors: usize, cache_bytes: u64) -> Store {
    let reactors = Config {
        reactors,
        ..Config::default()
    };
    let options = OpenOptions {
        cache_bytes,
        reactors,
        ..OpenOptions::default()
    };
    Store::open(&Address::Path(path.to_owned()), &options).expect("the bench's store opens")
}

/// Times one call in nanoseconds.
#[allow(clippy::disallowed_methods, reason = "benches measure real time")]
pub fn time<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let start = Instant::now();
    let result = work();
    (
        u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
        result,
    )
}

/// Waits without giving up the core for less than a millisecond.
#[allow(clippy::disallowed_methods, reason = "benches pace themselves")]
pub fn pause(duration: Duration) {
    let start = Instant::now();
    if duration > Duration::from_millis(1) {
        std::thread::sleep(duration - Duration::from_millis(1));
    }
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}
