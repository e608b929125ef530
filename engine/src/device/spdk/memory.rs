//! Memory for the buffers of one queue: hugepages where the device moves them by itself, any pages where SPDK does.
//!
//! Owns what a command's buffer may be. A buffer of another device, or of the heap, is no memory for a local device;
//! [`Pool::suits`] tells, and the queue then goes through a buffer of its own ([`Pool::dma`]).
#![allow(unsafe_code, reason = "takes memory from SPDK")]

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use fallback_io::Mapping;

use crate::device::ahead::{MappedArena, Supplier};
use crate::device::arena::{self, Arena, CHUNK_BYTES};
use crate::device::buffer::DmaBuffer;
use crate::limits::UNIT_BYTES;

/// A chunk of memory from SPDK's hugepages.
struct HugeChunk(NonNull<u8>);

// SAFETY: the memory belongs to this value alone, and any thread may give it back.
unsafe impl Send for HugeChunk {}
// SAFETY: shared access only copies the address.
unsafe impl Sync for HugeChunk {}

// SAFETY: `HugeChunk::new` takes zeroed, unit-aligned memory of a chunk's size, which is given back when the value goes.
unsafe impl arena::Memory for HugeChunk {
    fn start(&self) -> NonNull<u8> {
        self.0
    }
}

impl HugeChunk {
    /// Needs the environment. `None` when its hugepages are used up.
    fn new() -> Option<HugeChunk> {
        // SAFETY: the environment was made before the controller this is for; the third argument may be null.
        let memory = unsafe {
            spdk_sys::spdk_zmalloc(
                CHUNK_BYTES,
                UNIT_BYTES,
                ptr::null_mut(),
                spdk_sys::SPDK_SHIM_ANY_NODE,
                spdk_sys::SPDK_MALLOC_DMA,
            )
        };
        NonNull::new(memory.cast()).map(HugeChunk)
    }
}

impl Drop for HugeChunk {
    fn drop(&mut self) {
        // SAFETY: from `spdk_zmalloc`; the arena it belonged to is gone, and with it every buffer in it.
        unsafe { spdk_sys::spdk_free(self.0.as_ptr().cast::<c_void>()) }
    }
}

/// What a device's queues need their buffers to be.
pub(super) enum Memory {
    /// Any memory will do: it is copied through a socket.
    Ordinary(Supplier),
    /// The device reads and writes it by its physical address.
    Huge,
}

/// Where the buffers of a queue come from.
#[derive(Clone)]
pub(super) enum Pool {
    /// Any memory will do: it is copied through a socket.
    Ordinary(Arc<MappedArena>),
    /// The device reads and writes it by its physical address.
    Huge(HugeArena),
}

/// The arena of hugepages, whose chunks stay a matter of this file.
#[derive(Clone)]
pub(super) struct HugeArena(Arc<Arena<HugeChunk>>);

impl Pool {
    /// A pool of up to `bytes`.
    pub(super) fn new(memory: &Memory, bytes: usize) -> Pool {
        match memory {
            Memory::Ordinary(supplier) => Pool::Ordinary(Arc::new(MappedArena::new(bytes, supplier.clone()))),
            Memory::Huge => Pool::Huge(HugeArena(Arena::new(bytes.max(CHUNK_BYTES)))),
        }
    }

    /// A buffer of at least `len` bytes: of the pool's own memory while there is any, then of the heap.
    pub(super) fn buffer(&self, len: usize) -> DmaBuffer {
        match self {
            Pool::Ordinary(arena) => arena.buffer(len, |_: &Arc<Mapping>| None),
            Pool::Huge(_) => self.dma(len).unwrap_or_else(|| DmaBuffer::heap(len)),
        }
    }

    /// A buffer that suits the device, if one can be had.
    pub(super) fn dma(&self, len: usize) -> Option<DmaBuffer> {
        match self {
            Pool::Ordinary(_) => Some(self.buffer(len)),
            Pool::Huge(HugeArena(arena)) => arena.own(len, || Some((HugeChunk::new()?, None))),
        }
    }

    /// Whether the device can move this buffer.
    pub(super) fn suits(&self, buffer: &DmaBuffer) -> bool {
        match self {
            Pool::Ordinary(_) => true,
            Pool::Huge(_) => [0, buffer.len() - 1].into_iter().all(|at| {
                // SAFETY: looks an address up; the second argument may be null.
                let place = unsafe {
                    spdk_sys::spdk_shim_vtophys(ptr::from_ref(&buffer[at]).cast(), ptr::null_mut())
                };
                place != spdk_sys::SPDK_SHIM_VTOPHYS_ERROR
            }),
        }
    }
}
