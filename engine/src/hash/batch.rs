//! Hashes of many contents at once, whatever their lengths, with every SIMD lane busy.
//!
//! All chunks (leaves of at most 1 KiB) of all contents of a window are jobs, sorted by length, so that lanes
//! which run together end together. Then come the parents, one level after the other across all contents; a
//! content's root is simply the last parent it has, or its only chunk.
//!
//! Invariant: what comes out is BLAKE3 of each content; only the order of work is ours.

use super::kernel::{self, BLOCK_BYTES, CHUNK_BYTES, Job, Level, Mode, flag};

/// Contents at least this long are hashed by the `blake3` crate, which fills the lanes from one content alone.
pub(super) const LARGE_BYTES: usize = 64 << 10;
/// Chunks gathered before a window is hashed: enough that a partly filled last group costs nothing, few enough
/// that scratch memory is bounded and contents are still in the cache when their parents are due.
const WINDOW_CHUNKS: usize = 2048;
/// Below this many chunks a window leaves so many lanes idle that one by one is faster.
const BATCH_CHUNKS_MIN: usize = 2;

/// The hash of every content, in order. `single` hashes one content by itself.
pub(super) fn hashes(
    level: Level,
    mode: &Mode,
    contents: &[&[u8]],
    single: impl Fn(&[u8]) -> [u8; 32],
) -> Vec<[u8; 32]> {
    if level == Level::Single {
        return contents.iter().map(|bytes| single(bytes)).collect();
    }
    let mut hashes = vec![[0u8; 32]; contents.len()];
    let mut window = Window::default();
    for (at, bytes) in contents.iter().enumerate() {
        if bytes.len() >= LARGE_BYTES {
            hashes[at] = single(bytes);
            continue;
        }
        window.contents.push((at, bytes));
        window.chunks += chunks_of(bytes);
        if window.chunks >= WINDOW_CHUNKS {
            window.hash(level, mode, &mut hashes);
        }
    }
    if window.chunks < BATCH_CHUNKS_MIN {
        for (at, bytes) in window.contents {
            hashes[at] = single(bytes);
        }
    } else {
        window.hash(level, mode, &mut hashes);
    }
    hashes
}

fn chunks_of(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(CHUNK_BYTES).max(1)
}

/// Contents that are hashed together.
#[derive(Default)]
struct Window<'a> {
    /// Position in the batch, and bytes.
    contents: Vec<(usize, &'a [u8])>,
    chunks: usize,
}

/// A content whose root is not known yet: its chaining values on the present level.
struct Tree {
    /// Position in the batch.
    at: usize,
    start: usize,
    count: usize,
}

impl<'a> Window<'a> {
    /// Hashes the window and empties it.
    fn hash(&mut self, level: Level, mode: &Mode, hashes: &mut [[u8; 32]]) {
        let mut values = vec![[0u8; 32]; self.chunks];
        kernel::compress(level, mode, &self.chunk_jobs(), &mut values);

        let mut trees = Vec::with_capacity(self.contents.len());
        let mut start = 0;
        for &(at, bytes) in &self.contents {
            let count = chunks_of(bytes);
            if count == 1 {
                hashes[at] = values[start];
            } else {
                trees.push(Tree { at, start, count });
            }
            start += count;
        }
        while !trees.is_empty() {
            values = parents(level, mode, &mut trees, &values);
            trees.retain(|tree| {
                if tree.count == 1 {
                    hashes[tree.at] = values[tree.start];
                }
                tree.count > 1
            });
        }
        self.contents.clear();
        self.chunks = 0;
    }

    /// Every chunk of every content, longest first; outputs in the order of contents and chunks.
    fn chunk_jobs(&self) -> Vec<Job<'a>> {
        // A counting sort: there are only as many lengths as blocks in a chunk.
        const LENGTHS: usize = CHUNK_BYTES / BLOCK_BYTES + 1;
        let mut next = [0usize; LENGTHS];
        for (_, bytes) in &self.contents {
            let tail = bytes.len() % CHUNK_BYTES;
            next[LENGTHS - 1] += bytes.len() / CHUNK_BYTES;
            if tail > 0 || bytes.is_empty() {
                next[tail.div_ceil(BLOCK_BYTES).max(1)] += 1;
            }
        }
        let mut before = 0;
        for count in next.iter_mut().rev() {
            before += std::mem::replace(count, before);
        }

        let mut place = |job: Job<'_>| {
            let slot = next[job.blocks()];
            next[job.blocks()] += 1;
            slot
        };
        let nothing = Job {
            bytes: &[],
            counter: 0,
            first: 0,
            last: 0,
            out: 0,
        };
        let mut jobs = vec![nothing; self.chunks];
        let mut out = 0;
        for &(_, bytes) in &self.contents {
            let last = match chunks_of(bytes) {
                1 => flag::CHUNK_END | flag::ROOT,
                _ => flag::CHUNK_END,
            };
            let first = flag::CHUNK_START;
            for (counter, bytes) in (0..).zip(bytes.chunks(CHUNK_BYTES)) {
                let job = Job {
                    bytes,
                    counter,
                    first,
                    last,
                    out,
                };
                jobs[place(job)] = job;
                out += 1;
            }
            if bytes.is_empty() {
                let job = Job {
                    first,
                    last,
                    out,
                    ..nothing
                };
                jobs[place(job)] = job;
                out += 1;
            }
        }
        jobs
    }
}

/// Merges the chaining values of every tree in pairs, and returns the level above; an odd one moves up as it is,
/// which is the shape BLAKE3 prescribes (its left subtrees are the largest powers of two).
fn parents(level: Level, mode: &Mode, trees: &mut [Tree], values: &[[u8; 32]]) -> Vec<[u8; 32]> {
    let total = trees.iter().map(|tree| tree.count.div_ceil(2)).sum();
    let mut above = vec![[0u8; 32]; total];
    let mut jobs = Vec::with_capacity(total);
    let mut out = 0;
    for tree in trees {
        let last = if tree.count == 2 { flag::ROOT } else { 0 };
        let start = out;
        let (pairs, odd) = values[tree.start..tree.start + tree.count].as_chunks::<2>();
        for pair in pairs {
            jobs.push(Job {
                bytes: pair.as_flattened(),
                counter: 0,
                first: flag::PARENT,
                last,
                out,
            });
            out += 1;
        }
        if let [odd] = odd {
            above[out as usize] = *odd;
            out += 1;
        }
        tree.start = start as usize;
        tree.count = (out - start) as usize;
    }
    kernel::compress(level, mode, &jobs, &mut above);
    above
}
