//! Memory for one queue's buffers: mapped, faulted in and registered once, then handed out again and again.
//!
//! The arena grows by chunks of [`CHUNK_BYTES`] up to its bound; each chunk is one mapping, one io_uring region
//! and a bitmap of used units. Small buffers are taken from the first chunk that has room, large ones from the
//! last, so that they fragment each other less; both get the first gap that fits, which is also the memory
//! used most recently. Buffers come back on any thread and keep the arena alive, also after their queue.
//!
//! Rejected: power-of-two classes. The largest frame is 1 MiB and a bit; it would occupy 2 MiB.
#![allow(unsafe_code, reason = "raw memory cut into buffers")]

use std::ptr::NonNull;
use std::sync::Arc;

use fallback_io::Mapping;
use parking_lot::Mutex;

use super::buffer::{DmaBuffer, Home};
use crate::limits::{TRANSFER_BYTES_MAX, UNIT_BYTES};

/// Bytes of one mapping.
const CHUNK_BYTES: usize = 4 << 20;
/// Units of one mapping.
const CHUNK_UNITS: usize = CHUNK_BYTES / UNIT_BYTES;
/// Buffers from this size on are taken from the back.
const LARGE_UNITS: usize = 16;

const _: () = assert!(TRANSFER_BYTES_MAX <= CHUNK_BYTES);

/// The memory of one queue.
pub(super) struct Arena {
    chunks: Mutex<Vec<Chunk>>,
    chunks_max: usize,
}

struct Chunk {
    mapping: Arc<Mapping>,
    region: Option<u16>,
    used: Units,
}

/// Which units of a chunk are used.
struct Units {
    words: [u64; CHUNK_UNITS / 64],
    free: usize,
}

impl Arena {
    /// An empty arena that grows to `bytes`, rounded down to whole chunks.
    pub(super) fn new(bytes: usize) -> Arc<Arena> {
        Arc::new(Arena {
            chunks: Mutex::new(Vec::new()),
            chunks_max: bytes / CHUNK_BYTES,
        })
    }

    /// Memory of at least `len` bytes; from the heap when the arena is full or the buffer larger than any
    /// transfer. New chunks are given to `register` for their region.
    pub(super) fn buffer(
        self: &Arc<Arena>,
        len: usize,
        register: impl FnOnce(&Arc<Mapping>) -> Option<u16>,
    ) -> DmaBuffer {
        let units = len.max(1).div_ceil(UNIT_BYTES);
        if units * UNIT_BYTES <= TRANSFER_BYTES_MAX
            && let Some((start, region)) = self.take(units, register)
        {
            // SAFETY: `take` marked these units of a mapping as used, so nobody else has them until `take_back`;
            // mappings are page-aligned, initialised to zero, and live as long as the arena.
            return unsafe { DmaBuffer::from_home(start, units * UNIT_BYTES, region, self.clone()) };
        }
        DmaBuffer::heap(len)
    }

    fn take(
        &self,
        units: usize,
        register: impl FnOnce(&Arc<Mapping>) -> Option<u16>,
    ) -> Option<(NonNull<u8>, Option<u16>)> {
        let mut chunks = self.chunks.lock();
        let found = if units < LARGE_UNITS {
            chunks.iter_mut().find_map(|chunk| chunk.take(units))
        } else {
            chunks.iter_mut().rev().find_map(|chunk| chunk.take(units))
        };
        if found.is_some() || chunks.len() >= self.chunks_max {
            return found;
        }
        // Out of memory for another chunk: the heap will tell.
        let mapping = Arc::new(Mapping::new(CHUNK_BYTES).ok()?);
        let mut chunk = Chunk {
            region: register(&mapping),
            mapping,
            used: Units {
                words: [0; _],
                free: CHUNK_UNITS,
            },
        };
        let taken = chunk.take(units);
        chunks.push(chunk);
        taken
    }
}

impl Home for Arena {
    fn take_back(&self, start: NonNull<u8>, len: usize) {
        let mut chunks = self.chunks.lock();
        let Some(chunk) = chunks
            .iter_mut()
            .find(|chunk| chunk.mapping.contains(start.as_ptr(), len))
        else {
            panic!("memory returned to an arena it does not come from");
        };
        let offset = start.as_ptr() as usize - chunk.mapping.start().as_ptr() as usize;
        chunk.used.release(offset / UNIT_BYTES, len / UNIT_BYTES);
    }
}

impl Chunk {
    fn take(&mut self, units: usize) -> Option<(NonNull<u8>, Option<u16>)> {
        let first = self.used.take(units)?;
        // SAFETY: the unit lies in the mapping.
        let start = unsafe { self.mapping.start().add(first * UNIT_BYTES) };
        Some((start, self.region))
    }
}

impl Units {
    /// Marks the first gap of at least `count` units as used and gives its first unit.
    fn take(&mut self, count: usize) -> Option<usize> {
        if self.free < count {
            return None;
        }
        let mut at = 0;
        loop {
            let first = self.next(at, false)?;
            let end = self.next(first, true).unwrap_or(CHUNK_UNITS);
            if end - first >= count {
                self.mark(first, count, true);
                self.free -= count;
                return Some(first);
            }
            at = end;
        }
    }

    fn release(&mut self, first: usize, count: usize) {
        self.mark(first, count, false);
        self.free += count;
    }

    /// First unit from `at` on that is used, or free.
    fn next(&self, at: usize, used: bool) -> Option<usize> {
        let mut mask = !0 << (at % 64);
        for index in at / 64..self.words.len() {
            let word = if used {
                self.words[index]
            } else {
                !self.words[index]
            };
            let hits = word & mask;
            if hits != 0 {
                return Some(index * 64 + hits.trailing_zeros() as usize);
            }
            mask = !0;
        }
        None
    }

    /// Changes units that must all be in the other state.
    fn mark(&mut self, first: usize, count: usize, used: bool) {
        let (mut at, end) = (first, first + count);
        while at < end {
            let bits = (64 - at % 64).min(end - at);
            let mask = (!0 >> (64 - bits)) << (at % 64);
            let word = &mut self.words[at / 64];
            let wrong = if used { *word & mask } else { !*word & mask };
            assert!(wrong == 0, "units given out or returned twice");
            *word ^= mask;
            at += bits;
        }
    }
}

#[cfg(test)]
#[path = "arena_tests.rs"]
mod tests;
