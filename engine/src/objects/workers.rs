//! Hashing on several cores, for contents large enough that one core would be slower than the device.
//!
//! Threads live for one window of a few megabytes: starting one costs 1 % of the work it takes over, and nothing is
//! left behind in processes that never store a large content. What is computed does not depend on how many
//! there are. Rejected: a pool, whose size, life and placement beside pinned reactors would need configuring.

use std::num::NonZero;
use std::sync::LazyLock;

use parking_lot::Mutex;

use crate::format::ContentId;
use crate::hash;

/// One piece of work.
pub(super) type Task<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Below this many bytes of work a thread costs more than it brings.
pub(super) const PARALLEL_BYTES_MIN: usize = 512 << 10;

/// One thread per core, at most four: cutting is sequential and takes a third of the time.
pub(super) fn threads_default() -> NonZero<usize> {
    static CORES: LazyLock<NonZero<usize>> =
        LazyLock::new(|| std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN));
    (*CORES).min(const { NonZero::new(4).expect("not zero") })
}

/// Runs all tasks, started in order, on the calling thread and `threads - 1` others; returns when all are done.
pub(super) fn run(threads: NonZero<usize>, tasks: Vec<Task<'_>>) {
    let helpers = threads.get().min(tasks.len()).saturating_sub(1);
    let queue = Mutex::new(tasks.into_iter());
    let work = || {
        loop {
            let task = queue.lock().next();
            match task {
                Some(task) => task(),
                None => return,
            }
        }
    };
    if helpers == 0 {
        return work();
    }
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(work);
        }
        work();
    });
}

/// Tasks that put the content id of each of `contents` into `ids`.
pub(super) fn id_tasks<'a>(contents: &[&'a [u8]], mut ids: &'a mut [ContentId]) -> Vec<Task<'a>> {
    let mut tasks: Vec<Task<'a>> = Vec::new();
    let mut rest = contents;
    while !rest.is_empty() {
        let mut bytes = 0;
        let enough = |content: &&[u8]| {
            bytes += content.len();
            bytes >= PARALLEL_BYTES_MIN
        };
        let count = rest.iter().position(enough).map_or(rest.len(), |at| at + 1);
        let (batch, later) = rest.split_at(count);
        let (places, later_places) = std::mem::take(&mut ids).split_at_mut(count);
        let batch = batch.to_vec();
        tasks.push(Box::new(move || {
            places.copy_from_slice(&hash::content_ids(&batch))
        }));
        (rest, ids) = (later, later_places);
    }
    tasks
}

/// The content ids of many contents, on several cores if they are large.
pub(super) fn content_ids(threads: NonZero<usize>, contents: &[&[u8]]) -> Vec<ContentId> {
    let bytes: usize = contents.iter().map(|content| content.len()).sum();
    if threads.get() == 1 || bytes < 2 * PARALLEL_BYTES_MIN {
        return hash::content_ids(contents);
    }
    let mut ids = vec![ContentId([0; 32]); contents.len()];
    run(threads, id_tasks(contents, &mut ids));
    ids
}
