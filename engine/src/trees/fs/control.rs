//! What a caller holds on to while a directory operation runs: a way to stop it, and to see how far it is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, Result};

/// Stops operations from another thread or a signal handler. All clones are the same flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the operation to end; it answers [`Error::Cancelled`] after at most one file's or chunk's worth of work.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the operation was asked to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What an operation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Listing the directory; totals are not known yet.
    Walk,
    /// Reading contents that are new or changed.
    Read,
    /// Building and storing directories.
    Build,
    /// Writing files.
    Write,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Present phase.
    pub phase: Phase,
    /// Files finished in this phase.
    pub files: u64,
    /// Files of this phase in all; 0 when not known.
    pub files_total: u64,
    /// Bytes finished in this phase.
    pub bytes: u64,
    /// Bytes of this phase in all; 0 when not known.
    pub bytes_total: u64,
}

/// Is told how far the operation is, about once per 100 files or megabyte, from any of its threads.
pub type Report = Arc<dyn Fn(&Progress) + Send + Sync>;

/// How an operation is run.
#[derive(Clone)]
pub struct Control {
    /// Threads to use, the caller's included.
    pub threads: usize,
    /// Stops it.
    pub cancel: Cancel,
    /// Watches it.
    pub report: Option<Report>,
}

impl Default for Control {
    fn default() -> Self {
        Control {
            threads: std::thread::available_parallelism().map_or(1, |count| count.get().min(16)),
            cancel: Cancel::default(),
            report: None,
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("threads", &self.threads)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

impl Control {
    /// An error when the operation was asked to end.
    pub(super) fn check(&self) -> Result<()> {
        match self.cancel.is_cancelled() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    /// Starts counting a phase.
    pub(super) fn phase(&self, phase: Phase, files_total: u64, bytes_total: u64) -> Counter<'_> {
        let counter = Counter {
            control: self,
            phase,
            files: AtomicU64::new(0),
            files_total,
            bytes: AtomicU64::new(0),
            bytes_total,
        };
        counter.report(0, 0);
        counter
    }
}

/// Counts one phase.
pub(super) struct Counter<'a> {
    control: &'a Control,
    phase: Phase,
    files: AtomicU64,
    files_total: u64,
    bytes: AtomicU64,
    bytes_total: u64,
}

impl Counter<'_> {
    /// Counts finished work and tells the watcher when enough has come together.
    pub(super) fn add(&self, files: u64, bytes: u64) {
        const FILES_STEP: u64 = 100;
        const BYTES_STEP: u64 = 1 << 20;
        if self.control.report.is_none() {
            return;
        }
        let files_before = self.files.fetch_add(files, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let crosses = |before: u64, step: u64, by: u64| before / step != (before + by) / step;
        if crosses(files_before, FILES_STEP, files) || crosses(bytes_before, BYTES_STEP, bytes) {
            self.report(files_before + files, bytes_before + bytes);
        }
    }

    fn report(&self, files: u64, bytes: u64) {
        if let Some(report) = &self.control.report {
            report(&Progress {
                phase: self.phase,
                files,
                files_total: self.files_total,
                bytes,
                bytes_total: self.bytes_total,
            });
        }
    }
}

/// Something that an operation left out or could not do, without failing for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// A socket was left out: it means nothing without the process behind it.
    SocketSkipped,
    /// A file of a kind unknown to this program was left out.
    UnknownKindSkipped,
    /// A file that can't be read was left out, as `skip_unreadable` asked for.
    UnreadableSkipped,
    /// A line of an ignore file, or the file itself, could not be understood and has no effect.
    IgnoreRuleUnusable,
    /// An extended attribute could not be read or set (not supported there, or not permitted).
    XattrNotKept,
    /// The owner could not be set: only root may give files away.
    OwnerNotKept,
    /// A device node was not created: not allowed by the options, or not permitted.
    DeviceSkipped,
    /// A link to a file could not be made (not supported there); a copy was written instead.
    LinkCopied,
    /// A path was left alone because it is ignored.
    IgnoredKept,
}

/// What an operation left out or could not do. Counts are complete, paths are the first of each kind.
#[derive(Debug, Clone, Default)]
pub struct Warnings {
    /// How often, by kind.
    pub counts: std::collections::BTreeMap<Doubt, u64>,
    /// Examples with what the system said, at most [`Warnings::EXAMPLES_MAX`] of each kind.
    pub examples: Vec<(Doubt, PathBuf, String)>,
}

impl Warnings {
    /// Most examples kept of one kind.
    pub const EXAMPLES_MAX: u64 = 10;

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How often `doubt` came up.
    pub fn count(&self, doubt: Doubt) -> u64 {
        self.counts.get(&doubt).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, doubt: Doubt, path: impl FnOnce() -> PathBuf, what: impl fmt::Display) {
        let count = self.counts.entry(doubt).or_default();
        *count += 1;
        if *count <= Self::EXAMPLES_MAX {
            self.examples.push((doubt, path(), what.to_string()));
        }
    }
}

/// Warnings gathered by several threads.
#[derive(Default)]
pub(super) struct SharedWarnings(Mutex<Warnings>);

impl SharedWarnings {
    pub(super) fn add(&self, doubt: Doubt, path: impl FnOnce() -> PathBuf, what: impl fmt::Display) {
        self.0.lock().add(doubt, path, what);
    }

    pub(super) fn into_inner(self) -> Warnings {
        self.0.into_inner()
    }
}
