//! Memory that a device can move: aligned, owned, lent to the device while a command is in flight.
//!
//! A buffer knows how to go home (its pool's free list) when dropped, on any thread. `unsafe` lives here because
//! the memory comes from a mapping shared by the buffers of one pool.
#![allow(unsafe_code, reason = "a buffer owns a piece of an arena by pointer")]

use std::alloc::Layout;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::limits::UNIT_BYTES;

/// Where a buffer's memory goes when it is dropped.
pub trait Home: Send + Sync {
    /// Takes back memory that this home gave out.
    fn take_back(&self, start: NonNull<u8>, len: usize);
}

/// Unit-aligned memory owned by the holder.
pub struct DmaBuffer {
    start: NonNull<u8>,
    len: usize,
    /// Index of the registered region the memory lies in, for io_uring's fixed-buffer commands.
    region: Option<u16>,
    home: std::sync::Arc<dyn Home>,
}

// SAFETY: the memory is owned by this value alone, and homes are `Send + Sync`.
unsafe impl Send for DmaBuffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for DmaBuffer {}

struct Heap;

impl Home for Heap {
    fn take_back(&self, start: NonNull<u8>, len: usize) {
        let layout = Layout::from_size_align(len, UNIT_BYTES).expect("the layout it was allocated with");
        // SAFETY: `DmaBuffer::heap` allocated exactly this with exactly this layout, and its owner is gone.
        unsafe { std::alloc::dealloc(start.as_ptr(), layout) }
    }
}

impl DmaBuffer {
    /// Zeroed memory from the heap, `len` rounded up to whole units (at least one).
    pub fn heap(len: usize) -> DmaBuffer {
        let len = len.max(1).next_multiple_of(UNIT_BYTES);
        let layout = Layout::from_size_align(len, UNIT_BYTES).expect("a unit-aligned layout");
        // SAFETY: the layout has a non-zero size.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(memory) else {
            std::alloc::handle_alloc_error(layout)
        };
        DmaBuffer {
            start,
            len,
            region: None,
            home: std::sync::Arc::new(Heap),
        }
    }

    /// Memory of a pool.
    ///
    /// # Safety
    /// `start` must point to `len` initialised bytes, unit-aligned, that nobody else uses until `home` takes them
    /// back, and `home` must keep them mapped until then.
    pub unsafe fn from_home(
        start: NonNull<u8>,
        len: usize,
        region: Option<u16>,
        home: std::sync::Arc<dyn Home>,
    ) -> DmaBuffer {
        DmaBuffer {
            start,
            len,
            region,
            home,
        }
    }

    /// Registered region of the pool, if any.
    pub fn region(&self) -> Option<u16> {
        self.region
    }

    /// Address of the first byte.
    pub fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    /// Address of the first byte, for a device about to fill it.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        self.home.take_back(self.start, self.len);
    }
}

impl Deref for DmaBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes owned by `self`; no device holds them, since a device holds `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for DmaBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for DmaBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for DmaBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

// SAFETY: the memory is named by address, so it stays where it is when the value moves; it is initialised, owned
// by this value alone and kept by its home until the value is dropped.
unsafe impl fallback_io::Buffer for DmaBuffer {
    fn region(&self) -> Option<u16> {
        self.region
    }
}

impl fmt::Debug for DmaBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaBuffer({} bytes)", self.len)
    }
}
