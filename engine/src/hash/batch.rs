//! Hashes of many contents at once, whatever their lengths, with every SIMD lane busy.
//!
//! All chunks (leaves of at most 1 KiB) of all contents of a window are jobs, sorted by length unless all are full, so
//! that lanes which run together end together. Then come the parents, one level after the other across all contents; a
//! content's root is simply the last parent it has, or its only chunk.
//!
//! Invariant: what comes out is BLAKE3 of each content; only the order of work is ours.

use super::kernel::{self, BLOCK_BYTES, CHUNK_BYTES, Job, Level, Mode};

/// Contents at least this long are hashed by the `blake3` crate, which fills the lanes from one content alone.
pub(super) const LARGE_BYTES: usize = 64 << 10;
/// Chunks gathered before a window is hashed: enough that a partly filled last group costs nothing, few enough
/// that scratch memory is bounded and contents are still in the cache when their parents are due.
const WINDOW_CHUNKS: usize = 2048;
/// Jobs made before they are compressed, where their order is of no account: whole groups of every kernel.
const GROUP_JOBS: usize = 16;

/// The hash of every content, in order. `single` hashes one content by itself.
pub(super) fn hashes(
    level: Level,
    mode: &Mode,
    contents: &[&[u8]],
    single: impl Fn(&[u8]) -> [u8; 32],
) -> Vec<[u8; 32]> {
    // One content alone has a way of its own.
    if level == Level::Single || contents.len() == 1 {
        return contents.iter().map(|bytes| single(bytes)).collect();
    }
    let mut hashes = vec![[0u8; 32]; contents.len()];
    let mut window = Window::with_room(contents.len());
    for (at, bytes) in contents.iter().enumerate() {
        if bytes.len() >= LARGE_BYTES {
            hashes[at] = single(bytes);
            continue;
        }
        window.add(at, bytes);
        if window.chunks >= WINDOW_CHUNKS {
            window.hash(level, mode, &mut hashes);
        }
    }
    match window.contents[..] {
        [] => {}
        [(at, bytes)] => hashes[at] = single(bytes),
        _ => window.hash(level, mode, &mut hashes),
    }
    hashes
}

fn chunks_of(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(CHUNK_BYTES).max(1)
}

/// Contents that are hashed together.
struct Window<'a> {
    /// Position in the batch, and bytes.
    contents: Vec<(usize, &'a [u8])>,
    chunks: usize,
    /// All chunks are full.
    even: bool,
}

/// Jobs on their way to the kernel.
struct Group<'a> {
    jobs: [Job<'a>; GROUP_JOBS],
    count: usize,
}

impl<'a> Group<'a> {
    const NEW: Group<'static> = Group {
        jobs: [Job::NOTHING; GROUP_JOBS],
        count: 0,
    };

    #[inline]
    fn push(&mut self, level: Level, mode: &Mode, job: Job<'a>, out: &mut [[u8; 32]]) {
        self.jobs[self.count] = job;
        self.count += 1;
        if self.count == GROUP_JOBS {
            self.flush(level, mode, out);
        }
    }

    fn flush(&mut self, level: Level, mode: &Mode, out: &mut [[u8; 32]]) {
        kernel::compress(level, mode, &self.jobs[..self.count], out);
        self.count = 0;
    }
}

/// A content whose root is not known yet: its chaining values on the present level.
struct Tree {
    /// Position in the batch.
    at: usize,
    start: usize,
    count: usize,
}

impl<'a> Window<'a> {
    fn with_room(contents: usize) -> Self {
        Window {
            contents: Vec::with_capacity(contents.min(WINDOW_CHUNKS)),
            chunks: 0,
            even: true,
        }
    }

    fn add(&mut self, at: usize, bytes: &'a [u8]) {
        self.contents.push((at, bytes));
        self.chunks += chunks_of(bytes);
        self.even &= !bytes.is_empty() && bytes.len().is_multiple_of(CHUNK_BYTES);
    }

    /// Hashes the window and empties it.
    fn hash(&mut self, level: Level, mode: &Mode, hashes: &mut [[u8; 32]]) {
        let mut values = vec![[0u8; 32]; self.chunks];
        if self.even {
            self.compress_even(level, mode, &mut values);
        } else {
            kernel::compress(level, mode, &self.chunk_jobs(), &mut values);
        }

        let mut above = Vec::with_capacity(self.chunks.div_ceil(2));
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
            parents(level, mode, &mut trees, &values, &mut above);
            std::mem::swap(&mut values, &mut above);
            trees.retain(|tree| {
                if tree.count == 1 {
                    hashes[tree.at] = values[tree.start];
                }
                tree.count > 1
            });
        }
        self.contents.clear();
        self.chunks = 0;
        self.even = true;
    }

    /// Compresses chunks that are all full, which need no sorting.
    fn compress_even(&self, level: Level, mode: &Mode, values: &mut [[u8; 32]]) {
        let mut group = Group::NEW;
        let mut out = 0;
        for &(_, bytes) in &self.contents {
            let (chunks, _) = bytes.as_chunks::<CHUNK_BYTES>();
            for (counter, chunk) in (0..).zip(chunks) {
                let job = Job::chunk(chunk, counter, chunks.len() == 1, out);
                group.push(level, mode, job, values);
                out += 1;
            }
        }
        group.flush(level, mode, values);
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
        let mut jobs = vec![Job::NOTHING; self.chunks];
        let mut out = 0;
        for &(_, bytes) in &self.contents {
            let alone = chunks_of(bytes) == 1;
            for (counter, chunk) in (0..).zip(bytes.chunks(CHUNK_BYTES)) {
                let job = Job::chunk(chunk, counter, alone, out);
                jobs[place(job)] = job;
                out += 1;
            }
            if bytes.is_empty() {
                let job = Job::chunk(bytes, 0, alone, out);
                jobs[place(job)] = job;
                out += 1;
            }
        }
        jobs
    }
}

/// Merges the chaining values of every tree in pairs to the level above; an odd one moves up as it is,
/// which is the shape BLAKE3 prescribes (its left subtrees are the largest powers of two).
fn parents(level: Level, mode: &Mode, trees: &mut [Tree], values: &[[u8; 32]], above: &mut Vec<[u8; 32]>) {
    let total = trees.iter().map(|tree| tree.count.div_ceil(2)).sum();
    above.resize(total, [0; 32]);
    let mut group = Group::NEW;
    let mut out = 0;
    for tree in trees {
        let start = out;
        let (pairs, odd) = values[tree.start..tree.start + tree.count].as_chunks::<2>();
        for pair in pairs {
            let job = Job::parent(pair, tree.count == 2, out);
            group.push(level, mode, job, above);
            out += 1;
        }
        if let [odd] = odd {
            above[out as usize] = *odd;
            out += 1;
        }
        tree.start = start as usize;
        tree.count = (out - start) as usize;
    }
    group.flush(level, mode, above);
}
