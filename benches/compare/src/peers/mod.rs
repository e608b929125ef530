//! Everybody who takes part, one file each: set up as its own documentation says for the class it is measured in.

pub mod agentfs;
pub mod btrfs;
pub mod copies;
pub mod files;
pub mod git;
pub mod helios;
pub mod in_process_git;
pub mod redb;
pub mod restic;
pub mod rocksdb;
pub mod sqlite;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use helios_engine::format::ContentId;

use crate::measure::Outcome;

/// A working tree that is committed after each of an agent's steps.
pub trait Stepper: Send {
    /// Writes the files and commits.
    fn step(&mut self, edits: &[(String, Vec<u8>)]) -> Outcome;
}

/// A content, and the id that it has with everybody.
#[derive(Debug, Clone)]
pub struct Content {
    /// Counts contents of one size.
    pub number: u64,
    /// BLAKE3 of its bytes; known beforehand for gets only.
    pub id: ContentId,
    /// Its bytes.
    pub bytes: bytes::Bytes,
}

/// Somebody who keeps contents by their ids.
pub trait Objects: Send + Sync {
    /// Hashes contents and keeps them as one unit of work; those that are there already are not kept twice.
    fn put(&self, contents: &[Content]) -> Outcome;

    /// Reads a content; answers its length.
    fn get(&self, content: &Content) -> Outcome<usize>;

    /// Puts all contents, each by itself, `depth` of them at any time.
    fn put_in_flight(&self, contents: &Arc<[Content]>, depth: usize) -> Outcome {
        on_threads(contents, depth, |content| self.put(std::slice::from_ref(content)))
    }

    /// Gets all contents, `depth` of them at any time.
    fn get_in_flight(&self, contents: &Arc<[Content]>, depth: usize) -> Outcome {
        on_threads(contents, depth, |content| self.get(content).map(drop))
    }
}

/// Contents that clients take one at a time, so that as many stay in flight as there are clients until none is left.
#[derive(Clone)]
pub struct Queue {
    contents: Arc<[Content]>,
    taken: Arc<AtomicUsize>,
}

impl Queue {
    /// Of these, in their order.
    pub fn new(contents: &Arc<[Content]>) -> Queue {
        Queue {
            contents: Arc::clone(contents),
            taken: Arc::default(),
        }
    }

    /// The next one.
    pub fn take(&self) -> Option<&Content> {
        self.contents.get(self.taken.fetch_add(1, Ordering::Relaxed))
    }
}

/// Does something with every content, on as many threads as are to be in flight.
fn on_threads(contents: &Arc<[Content]>, depth: usize, work: impl Fn(&Content) -> Outcome + Sync) -> Outcome {
    let (queue, work) = (&Queue::new(contents), &work);
    std::thread::scope(|scope| {
        let client = || std::iter::from_fn(|| queue.take()).try_for_each(work);
        let threads: Vec<_> = (0..depth).map(|_| scope.spawn(client)).collect();
        let mut ends = threads.into_iter().map(|thread| thread.join());
        ends.try_for_each(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
