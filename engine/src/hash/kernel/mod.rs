//! BLAKE3's compression function over many independent inputs at once: one input per SIMD lane, or one per 128 bits
//! where there are few.
//!
//! A [`Job`] is one node of a BLAKE3 tree: a chunk of up to 1024 bytes or a pair of chaining values. Jobs of one
//! call need nothing in common: each lane has its own number of blocks, tail length, counter and flags, and a
//! lane that is done keeps its result while its neighbours go on. Callers put jobs of similar length side by
//! side (see `batch`), so that few lanes idle.
//!
//! The steps are written once (macros in `lanes` and `rows`) and instantiated per instruction set; a file per set
//! supplies the vector operations and says which way suits how many jobs. `unsafe` is in those files only, for loads,
//! stores and the call itself.
//!
//! Rejected: `blake3::platform::Platform::hash_many`. It is hidden interface, takes inputs of one whole number
//! of blocks only and one counter rule for all, so every tail (most tree nodes) would run in a single lane.

#[macro_use]
mod lanes;
#[macro_use]
mod rows;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod emulated;

use std::sync::LazyLock;

/// Bytes of one compression input.
pub(super) const BLOCK_BYTES: usize = 64;
/// Bytes of one leaf of the tree.
pub(super) const CHUNK_BYTES: usize = 1024;

/// BLAKE3 initialisation vector (section 2.2 of the BLAKE3 paper): also the key of plain hashing.
pub(super) const IV: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];

/// Domain flags of the compression function (table 3 of the BLAKE3 paper).
pub(super) mod flag {
    /// First block of a chunk.
    pub const CHUNK_START: u32 = 1 << 0;
    /// Last block of a chunk.
    pub const CHUNK_END: u32 = 1 << 1;
    /// Pair of chaining values.
    pub const PARENT: u32 = 1 << 2;
    /// Last compression of a content.
    pub const ROOT: u32 = 1 << 3;
    /// Hashing under a derive-key context.
    pub const DERIVE_KEY_MATERIAL: u32 = 1 << 6;
}

/// One node of a BLAKE3 tree to be compressed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    /// Its input: 0 to 1024 bytes of a chunk, or the 64 bytes of two chaining values.
    pub bytes: &'a [u8],
    /// Chunk number in its content; 0 for parents.
    pub counter: u64,
    /// Flags of its first block besides those of every block.
    pub first: u32,
    /// Flags of its last block besides those of every block.
    pub last: u32,
    /// Where in the output its chaining value goes.
    pub out: u32,
}

impl Job<'_> {
    /// No input, and no place for its value but the first.
    pub const NOTHING: Job<'static> = Job {
        bytes: &[],
        counter: 0,
        first: 0,
        last: 0,
        out: 0,
    };

    /// The chunk with this number of a content; `alone` if the content has no other.
    pub fn chunk(bytes: &[u8], counter: u64, alone: bool, out: u32) -> Job<'_> {
        Job {
            bytes,
            counter,
            first: flag::CHUNK_START,
            last: flag::CHUNK_END | if alone { flag::ROOT } else { 0 },
            out,
        }
    }

    /// A pair of chaining values; `root` if it is the last of its content.
    pub fn parent(pair: &[[u8; 32]; 2], root: bool, out: u32) -> Job<'_> {
        Job {
            bytes: pair.as_flattened(),
            counter: 0,
            first: flag::PARENT,
            last: if root { flag::ROOT } else { 0 },
            out,
        }
    }

    /// Compressions the job takes: at least one, even of nothing.
    pub fn blocks(&self) -> usize {
        self.bytes.len().div_ceil(BLOCK_BYTES).max(1)
    }
}

/// What all jobs of a call share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    /// Key words: [`IV`] for plain hashing, the context key for derived.
    pub key: [u32; 8],
    /// Flags of every block.
    pub flags: u32,
}

/// Which kernel runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// None of ours: the `blake3` crate, one content at a time.
    Single,
    /// 8 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 16 lanes in plain Rust: the steps of [`Level::Avx512`] on machines without it.
    #[cfg(test)]
    Emulated,
}

impl Level {
    /// The widest kernel this machine runs.
    pub fn detected() -> Level {
        static DETECTED: LazyLock<Level> =
            LazyLock::new(|| Level::supported().last().copied().unwrap_or(Level::Single));
        *DETECTED
    }

    /// Every kernel this machine runs, narrowest first.
    pub fn supported() -> Vec<Level> {
        let mut levels = vec![Level::Single];
        #[cfg(target_arch = "x86_64")]
        {
            if avx2::supported() {
                levels.push(Level::Avx2);
            }
            if avx512::supported() {
                levels.push(Level::Avx512);
            }
        }
        levels
    }
}

/// Compresses every job; the chaining value of `jobs[i]` goes to `out[jobs[i].out]`. Best sorted by
/// [`Job::blocks`], longest first.
///
/// Panics if the machine lacks `level`, or for [`Level::Single`], which has no kernel.
pub(super) fn compress(level: Level, mode: &Mode, jobs: &[Job<'_>], out: &mut [[u8; 32]]) {
    match level {
        Level::Single => panic!("contents are hashed one by one at this level"),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::compress(mode, jobs, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => avx512::compress(mode, jobs, out),
        #[cfg(test)]
        Level::Emulated => emulated::compress(mode, jobs, out),
    }
}

/// One lane's input, cut so that every lane can be read a whole block at a time.
#[derive(Clone, Copy)]
struct Lane<'a> {
    /// All blocks but the last.
    full: &'a [[u8; BLOCK_BYTES]],
    /// The last block, zero-padded.
    last: &'a [u8; BLOCK_BYTES],
    /// Bytes of the last block that count.
    last_bytes: u32,
}

impl<'a> Lane<'a> {
    fn new(bytes: &'a [u8], pad: &'a mut [u8; BLOCK_BYTES]) -> Self {
        let (blocks, tail) = bytes.as_chunks::<BLOCK_BYTES>();
        match blocks.split_last() {
            Some((last, full)) if tail.is_empty() => Lane {
                full,
                last,
                last_bytes: BLOCK_BYTES as u32,
            },
            _ => {
                pad[..tail.len()].copy_from_slice(tail);
                pad[tail.len()..].fill(0);
                Lane {
                    full: blocks,
                    last: pad,
                    last_bytes: tail.len() as u32,
                }
            }
        }
    }

    /// Block `at`; past the end the last one, whose result the caller discards.
    #[inline]
    fn block(&self, at: usize) -> &'a [u8; BLOCK_BYTES] {
        self.full.get(at).unwrap_or(self.last)
    }
}
