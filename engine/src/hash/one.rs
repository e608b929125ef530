//! The hash of one content of a few chunks, by itself: a small file, the node of a large directory.
//!
//! The `blake3` crate compresses a content's whole chunks side by side in powers of two, and then the others and the
//! tail one after the other, block by block: 3.3 KiB are 36 compressions in a row. All chunks side by side are 16, and
//! two for the parents.
//!
//! Rejected: hashing small contents always so. Where chunks are a power of two and the tail is short, the crate is
//! faster; [`suits`] counts.

use super::kernel::{self, BLOCK_BYTES, CHUNK_BYTES, Job, Level, Mode};

/// Chunks of a content that is hashed here, at most.
pub(super) const CHUNKS: usize = 8;

/// Whether [`hash`] takes less time than the crate for a content of this length.
pub(super) fn suits(level: Level, bytes: usize) -> bool {
    let chunks = bytes.div_ceil(CHUNK_BYTES);
    // What ours takes, in compressions of one block by the crate (measured on a Xeon of the fifth generation).
    let ours = match (level, chunks) {
        (Level::Single, _) | (_, ..=1) => return false,
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, 2) => 18,
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, ..=4) => 25,
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, ..=CHUNKS) => 31,
        (_, ..=4) => 22,
        (_, ..=CHUNKS) => 37,
        _ => return false,
    };
    let full = bytes / CHUNK_BYTES;
    let tail = (bytes % CHUNK_BYTES).div_ceil(BLOCK_BYTES);
    full.count_ones() as usize * (CHUNK_BYTES / BLOCK_BYTES) + tail > ours
}

/// The hash of a content of two to [`CHUNKS`] chunks.
pub(super) fn hash(level: Level, mode: &Mode, bytes: &[u8]) -> [u8; 32] {
    let mut count = bytes.len().div_ceil(CHUNK_BYTES);
    assert!(
        (2..=CHUNKS).contains(&count),
        "{} bytes are not hashed here",
        bytes.len()
    );
    let mut values = [[0; 32]; CHUNKS];
    let mut jobs = [Job::NOTHING; CHUNKS];
    for (at, (job, bytes)) in (0..).zip(jobs.iter_mut().zip(bytes.chunks(CHUNK_BYTES))) {
        *job = Job::chunk(bytes, u64::from(at), false, at);
    }
    kernel::compress(level, mode, &jobs[..count], &mut values);

    // Pairs merge to the level above; an odd one moves up as it is.
    while count > 1 {
        let below = values;
        let (pairs, odd) = below[..count].as_chunks::<2>();
        let mut jobs = [Job::NOTHING; CHUNKS / 2];
        for (at, (job, pair)) in (0..).zip(jobs.iter_mut().zip(pairs)) {
            *job = Job::parent(pair, count == 2, at);
        }
        kernel::compress(level, mode, &jobs[..pairs.len()], &mut values);
        values[pairs.len()..][..odd.len()].copy_from_slice(odd);
        count = pairs.len() + odd.len();
    }
    values[0]
}
