//! Memory for one queue's buffers: mapped, faulted in and registered once, then handed out again and again.
//!
//! The arena grows by chunks of [`CHUNK_BYTES`] up to its bound; each chunk is one piece of [`Memory`] (a mapping with
//! its io_uring region, or hugepages of SPDK) and a bitmap of used units. Small buffers are taken from the first chunk
//! that has room, large ones from the last, so that they fragment each other less; both get the first gap that fits,
//! which is also the memory used most recently. Buffers come back on any thread and keep the arena alive, also after
//! their queue. Where chunks come from is the caller's matter (`ahead`, `spdk`).
//!
//! Rejected: power-of-two classes. The largest frame is 1 MiB and a bit; it would occupy 2 MiB.
#![allow(unsafe_code, reason = "raw memory cut into buffers")]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fallback_io::Mapping;
use parking_lot::Mutex;

use super::buffer::{DmaBuffer, Home};
use crate::limits::{TRANSFER_BYTES_MAX, UNIT_BYTES};

/// Bytes of one chunk.
pub(super) const CHUNK_BYTES: usize = 4 << 20;
/// Units of one chunk.
const CHUNK_UNITS: usize = CHUNK_BYTES / UNIT_BYTES;
/// Buffers from this size on are taken from the back.
const LARGE_UNITS: usize = 16;
/// An arena with fewer free units than this should have its next chunk made ready.
const AHEAD_UNITS: usize = CHUNK_UNITS / 2;

const _: () = assert!(TRANSFER_BYTES_MAX <= CHUNK_BYTES);

/// What a chunk is made of.
///
/// # Safety
/// `start` is unit-aligned and begins [`CHUNK_BYTES`] initialised bytes that nobody else uses while the value lives.
pub(super) unsafe trait Memory: Send + Sync + 'static {
    /// The first byte.
    fn start(&self) -> NonNull<u8>;
}

// SAFETY: mappings are page-aligned, initialised to zero and private to who made them; the arena makes them of a chunk's
// size.
unsafe impl Memory for Arc<Mapping> {
    fn start(&self) -> NonNull<u8> {
        Mapping::start(self)
    }
}

/// The memory of one queue.
pub(super) struct Arena<M: Memory = Arc<Mapping>> {
    chunks: Mutex<Vec<Chunk<M>>>,
    chunks_max: usize,
    /// Another chunk may come, and will soon be needed.
    short: AtomicBool,
}

struct Chunk<M> {
    memory: M,
    region: Option<u16>,
    used: Units,
}

/// Which units of a chunk are used.
struct Units {
    words: [u64; CHUNK_UNITS / 64],
    free: usize,
}

impl<M: Memory> Arena<M> {
    /// An empty arena that grows to `bytes`, rounded down to whole chunks.
    pub(super) fn new(bytes: usize) -> Arc<Arena<M>> {
        Arc::new(Arena {
            chunks: Mutex::new(Vec::new()),
            chunks_max: bytes / CHUNK_BYTES,
            short: AtomicBool::new(bytes >= CHUNK_BYTES),
        })
    }

    /// Whether another chunk should be got ready: the arena may grow, and little was left of it when it last gave a buffer.
    pub(super) fn runs_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Memory of at least `len` bytes from the arena itself; `None` when it is full, when `chunk` has no more, or when
    /// the buffer is larger than any transfer.
    pub(super) fn own(
        self: &Arc<Self>,
        len: usize,
        chunk: impl FnOnce() -> Option<(M, Option<u16>)>,
    ) -> Option<DmaBuffer> {
        let units = len.max(1).div_ceil(UNIT_BYTES);
        if units * UNIT_BYTES > TRANSFER_BYTES_MAX {
            return None;
        }
        let (start, region) = self.take(units, chunk)?;
        // SAFETY: `take` marked these units of a chunk as used, so nobody else has them until `take_back`; chunks are
        // what `Memory` promises, and live as long as the arena.
        Some(unsafe { DmaBuffer::from_home(start, units * UNIT_BYTES, region, self.clone()) })
    }

    fn take(
        &self,
        units: usize,
        chunk: impl FnOnce() -> Option<(M, Option<u16>)>,
    ) -> Option<(NonNull<u8>, Option<u16>)> {
        let mut chunks = self.chunks.lock();
        let found = if units < LARGE_UNITS {
            chunks.iter_mut().find_map(|chunk| chunk.take(units))
        } else {
            chunks.iter_mut().rev().find_map(|chunk| chunk.take(units))
        };
        if found.is_some() || chunks.len() >= self.chunks_max {
            self.look_ahead(&chunks);
            return found;
        }
        let (memory, region) = chunk()?;
        let mut chunk = Chunk {
            memory,
            region,
            used: Units {
                words: [0; _],
                free: CHUNK_UNITS,
            },
        };
        let taken = chunk.take(units);
        chunks.push(chunk);
        self.look_ahead(&chunks);
        taken
    }

    fn look_ahead(&self, chunks: &[Chunk<M>]) {
        let free = || chunks.iter().map(|chunk| chunk.used.free).sum::<usize>();
        let short = chunks.len() < self.chunks_max && free() < AHEAD_UNITS;
        self.short.store(short, Ordering::Relaxed);
    }
}

impl<M: Memory> Home for Arena<M> {
    fn take_back(&self, start: NonNull<u8>, len: usize) {
        let mut chunks = self.chunks.lock();
        let place = chunks.iter_mut().find_map(|chunk| {
            let offset = (start.as_ptr() as usize).checked_sub(chunk.memory.start().as_ptr() as usize)?;
            (offset < CHUNK_BYTES && len <= CHUNK_BYTES - offset).then_some((chunk, offset))
        });
        let Some((chunk, offset)) = place else {
            panic!("memory returned to an arena it does not come from");
        };
        chunk.used.release(offset / UNIT_BYTES, len / UNIT_BYTES);
    }
}

impl<M: Memory> Chunk<M> {
    fn take(&mut self, units: usize) -> Option<(NonNull<u8>, Option<u16>)> {
        let first = self.used.take(units)?;
        // SAFETY: the unit lies in the chunk.
        let start = unsafe { self.memory.start().add(first * UNIT_BYTES) };
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
