//! Fences: places of a log where a write failed and where nothing counts any more.
//!
//! Owns what is said about them while the store is open. The device needs no list of them: the frames written anew
//! say the same (FORMAT.md, Replay).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::format::{LogId, SegmentId};

/// The newest ones are kept.
const KEPT_MAX: usize = 16;

/// A place where a write failed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fence {
    /// The log.
    pub log: LogId,
    /// Logical segment.
    pub segment: SegmentId,
    /// Byte offset in the segment of the first frame in doubt.
    pub offset: u64,
    /// First and last batch that were written anew.
    pub batches: (u64, u64),
    /// What the device said.
    pub reason: String,
    /// When: nanoseconds since 1970.
    pub time_ns: u64,
}

/// The fences of an opening.
#[derive(Debug, Default)]
pub(super) struct Fences {
    count: AtomicU64,
    newest: Mutex<VecDeque<Fence>>,
}

impl Fences {
    /// Another one.
    pub fn add(&self, fence: Fence) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut newest = self.newest.lock();
        if newest.len() == KEPT_MAX {
            newest.pop_front();
        }
        newest.push_back(fence);
    }

    /// How many there have been.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The newest ones, the oldest of them first.
    pub fn newest(&self) -> Vec<Fence> {
        self.newest.lock().iter().cloned().collect()
    }
}
