//! Memory that queues move: what a buffer must promise, page-aligned mappings, and shared zeroes.
//!
//! `unsafe` is here for one promise only: that a mapping's memory stays where it is.
#![allow(unsafe_code, reason = "a promise that memory stays where it is")]

use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;

use memmap2::{Advice, Mmap, MmapMut, MmapRaw};

/// Memory owned by a value, lent to the kernel while a command with it is in flight.
///
/// # Safety
/// `as_ref` and `as_mut` give the same initialised memory every time, wherever the value has been moved in
/// between, and that memory stays valid and unshared until the value is dropped.
pub unsafe trait Buffer: AsRef<[u8]> + AsMut<[u8]> + Send + 'static {
    /// The hint [`Queue::register`](crate::Queue::register) gave for the mapping this buffer lies in. Checked
    /// against the buffer's address, so a buffer from another queue's mapping is slower but not wrong.
    fn region(&self) -> Option<u16> {
        None
    }
}

// SAFETY: the pages belong to the mapping, which moving the value does not move; `&mut` access is exclusive.
unsafe impl Buffer for MmapMut {}

/// Anonymous, page-aligned memory, backed by huge pages where the kernel has them and faulted in from the
/// start. Handed out in parts by its owner; this type never reads or writes it.
#[derive(Debug)]
pub struct Mapping(MmapRaw);

impl Mapping {
    /// Maps `len` zeroed bytes.
    pub fn new(len: usize) -> io::Result<Mapping> {
        let mut memory = MmapMut::map_anon(len)?;
        // Huge pages are a gain, not a need: kernels without them refuse the advice. Miri knows none.
        if !cfg!(miri) {
            let _ = memory.advise(Advice::HugePage);
        }
        if cfg!(miri) || memory.advise(Advice::PopulateWrite).is_err() {
            // Before Linux 5.14: fault every page in by writing to it.
            for page in memory.chunks_mut(4096) {
                page[0] = 0;
            }
        }
        Ok(Mapping(MmapRaw::from(memory)))
    }

    /// Address of the first byte.
    pub fn start(&self) -> NonNull<u8> {
        // `mmap` gives address 0 to nobody who has not asked for it.
        NonNull::new(self.0.as_mut_ptr()).expect("a mapping has an address")
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A mapping is never empty; here for the sake of `len`.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the `len` bytes at `start` lie in this mapping.
    pub fn contains(&self, start: *const u8, len: usize) -> bool {
        (start as usize)
            .checked_sub(self.0.as_ptr() as usize)
            .is_some_and(|at| at <= self.len() && len <= self.len() - at)
    }
}

/// Largest single write of a `WriteZeroes` command, in bytes.
pub(crate) const ZEROES_BYTES: usize = 1 << 20;

/// [`ZEROES_BYTES`] zeroes for everybody. Never written, so the kernel backs them with its one zero page.
pub(crate) fn zeroes() -> io::Result<&'static [u8]> {
    static ZEROES: OnceLock<Mmap> = OnceLock::new();
    if let Some(zeroes) = ZEROES.get() {
        return Ok(zeroes);
    }
    let zeroes = MmapMut::map_anon(ZEROES_BYTES)?.make_read_only()?;
    Ok(ZEROES.get_or_init(|| zeroes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: `contains` accepts exactly the ranges inside. Method: the corners, overflow included.
    #[test]
    fn mapping_knows_its_range() {
        let mapping = Mapping::new(8192).expect("map");
        let start = mapping.start().as_ptr().cast_const();
        assert!(mapping.contains(start, 8192));
        assert!(mapping.contains(start.wrapping_add(8192), 0));
        assert!(!mapping.contains(start, 8193));
        assert!(!mapping.contains(start.wrapping_add(4096), 4097));
        assert!(!mapping.contains(start.wrapping_sub(1), 1));
        assert!(!mapping.contains(start, usize::MAX));
    }
}
