//! The memory of the index: blocks of a few fixed kinds, carved from huge-page mappings and named by 32 bits.
//!
//! Owns the mappings and the free lists. Invariants: memory that has once been a block of one kind is only ever
//! used as that kind again, and is never unmapped before the arena is dropped. So a reader that follows a stale
//! name finds a block of the right kind (perhaps another's), and learns from the bucket's version and identity that
//! it must look again; no epoch, no reference count, no line written by readers.
//! Rejected: one allocation per bucket (allocator overhead, 8-byte names, and no huge pages under random access),
//! `crossbeam::epoch` (a pin is a fence per look-up or batch, and garbage has no bound while a reader sleeps).
#![allow(unsafe_code, reason = "pages shared by optimistic readers and one writer")]
// Reason: anonymous mappings with huge pages instead of allocations, names of 32 bits instead of references, and
// the prefetch instruction. Everything the arena hands out consists of atomics.

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapMut, MmapOptions};
use parking_lot::{Mutex, MutexGuard};

use super::prints::PRINT_WORDS;

/// What names count, in bytes.
const GRANULE_BYTES: usize = 16;
/// One mapping. Untouched parts cost address space only.
const CHUNK_BYTES: usize = 32 << 20;
const CHUNK_GRANULES: usize = CHUNK_BYTES / GRANULE_BYTES;
/// Mapped behind each chunk, so that any name with any block is within the mapping.
const TAIL_BYTES: usize = 64 << 10;
const CHUNKS_MAX: usize = (1 << 32) / CHUNK_GRANULES;
/// Blocks are carved in runs of about this many bytes, to keep the kinds apart and the global lock cold.
const SLAB_BYTES: usize = 32 << 10;
/// Free lists; a stripe uses the one of its number.
const SHARDS: usize = 8;
/// What the kernel gives the mappings in, where it can.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Name of a block. The default names none.
pub(super) type Name = u32;

/// The name that no block has.
pub(super) const NONE: Name = 0;

/// A kind of block.
///
/// # Safety
/// Implementors consist of `AtomicU32` and `AtomicU64` only (so all zeroes is a value, and shared access from
/// several threads is defined), are aligned to at most 8 and no larger than `TAIL_BYTES`.
pub(super) unsafe trait Block {
    /// Which free list it uses.
    const KIND: usize;
    /// Alignment of blocks in bytes: a multiple of the granule.
    const ALIGN: usize = GRANULE_BYTES;
    /// Unused bytes behind each slab, for kinds that are read as if they were larger.
    const SLACK_BYTES: usize = 0;
    /// The name of another block that a free one keeps.
    fn next(&self) -> Name;
    /// Makes a free block keep a name.
    fn set_next(&self, name: Name);
}

/// How many kinds of blocks there are: headers, and groups of each size.
const KINDS: usize = 1 + GROUP_ENTRIES / GROUP_STEP;

/// Entries a bucket can hold.
pub(super) const BUCKET_ENTRIES: usize = 32;
/// Entries of a whole group.
pub(super) const GROUP_ENTRIES: usize = 8;
/// Groups have whole multiples of so many entries.
pub(super) const GROUP_STEP: usize = 2;

/// One entry (see `entry`), low half first.
pub(super) type EntryWords = [AtomicU64; 2];

/// Head of a bucket (see `bucket`): one cache line.
#[repr(C)]
pub(super) struct Header {
    pub(super) version: AtomicU64,
    pub(super) identity: AtomicU64,
    pub(super) groups: [AtomicU32; BUCKET_ENTRIES / GROUP_ENTRIES],
    pub(super) prints: [AtomicU64; PRINT_WORDS],
}

/// Some entries of a bucket: [`GROUP_ENTRIES`], or fewer in the bucket's last group.
#[repr(C)]
pub(super) struct Group<const ENTRIES: usize>([EntryWords; ENTRIES]);

const _: () = assert!(size_of::<Header>() == 64 && size_of::<EntryWords>() == GRANULE_BYTES);
const _: () = assert!(GROUP_ENTRIES.is_multiple_of(GROUP_STEP));

// SAFETY: 32-bit and 64-bit atomics without padding, aligned to 8.
unsafe impl Block for Header {
    const KIND: usize = 0;
    const ALIGN: usize = 64;
    fn next(&self) -> Name {
        self.groups[0].load(Ordering::Relaxed)
    }
    fn set_next(&self, name: Name) {
        self.groups[0].store(name, Ordering::Relaxed);
    }
}

// SAFETY: 64-bit atomics without padding, aligned to 8.
unsafe impl<const ENTRIES: usize> Block for Group<ENTRIES> {
    const KIND: usize = ENTRIES / GROUP_STEP;
    const SLACK_BYTES: usize = size_of::<Group<GROUP_ENTRIES>>() - size_of::<Self>();
    fn next(&self) -> Name {
        self.0[0][0].load(Ordering::Relaxed) as Name // `set_next` put it there
    }
    fn set_next(&self, name: Name) {
        self.0[0][0].store(name.into(), Ordering::Relaxed);
    }
}

#[derive(Default, Clone, Copy)]
struct FreeList {
    first: Name,
    /// Unused rest of the youngest slab.
    next: Name,
    left: u32,
}

#[repr(align(64))]
#[derive(Default)]
struct Shard(Mutex<[FreeList; KINDS]>);

#[derive(Default)]
struct Mappings {
    /// Granules handed out, over all chunks. Granule 0 stays unused, so that no block is called `NONE`.
    used: usize,
    maps: Vec<MmapMut>,
}

pub(super) struct Arena {
    chunks: Box<[AtomicPtr<u8>]>,
    mappings: Mutex<Mappings>,
    shards: [Shard; SHARDS],
}

impl Arena {
    pub(super) fn new() -> Arena {
        Arena {
            chunks: (0..CHUNKS_MAX)
                .map(|_| AtomicPtr::new(std::ptr::null_mut()))
                .collect(),
            mappings: Mutex::default(),
            shards: Default::default(),
        }
    }

    #[inline]
    fn address(&self, name: Name) -> *mut u8 {
        let chunk = self.chunks[name as usize / CHUNK_GRANULES].load(Ordering::Acquire);
        assert!(!chunk.is_null(), "block {name} was never made");
        let offset = name as usize % CHUNK_GRANULES * GRANULE_BYTES;
        // SAFETY: the chunk's mapping is `CHUNK_BYTES + TAIL_BYTES` long and `offset` is below `CHUNK_BYTES`.
        unsafe { chunk.add(offset) }
    }

    /// The block called `name`.
    #[inline]
    pub(super) fn block<T: Block>(&self, name: Name) -> &T {
        const { assert!(size_of::<T>() <= TAIL_BYTES && align_of::<T>() <= 8) };
        // SAFETY: the address is within a mapping that lives as long as `self`, with `TAIL_BYTES` behind it;
        // mappings are zeroed and `T` is made of atomics, so the bytes are a value and may be shared; granules
        // keep the alignment. Kinds never share memory, so it is accessed as `T` alone.
        unsafe { &*self.address(name).cast::<T>() }
    }

    /// The entry at a place below [`GROUP_ENTRIES`] of a group. A place that the group does not have leads to an entry
    /// of another one of its size: only a torn read asks for it.
    #[inline]
    pub(super) fn entry(&self, name: Name, place: usize) -> &EntryWords {
        &self.block::<Group<GROUP_ENTRIES>>(name).0[place]
    }

    /// `count` words carved with [`carve_words`](Self::carve_words).
    #[inline]
    pub(super) fn words(&self, name: Name, count: usize) -> &[AtomicU32] {
        let room = CHUNK_BYTES - name as usize % CHUNK_GRANULES * GRANULE_BYTES;
        assert!(
            count * size_of::<AtomicU32>() <= room,
            "{count} words in {room} bytes"
        );
        // SAFETY: as in `block`, with the length checked against the end of the chunk.
        unsafe { std::slice::from_raw_parts(self.address(name).cast::<AtomicU32>(), count) }
    }

    /// The blocks that nobody uses, of the list of a stripe: locked.
    #[inline]
    pub(super) fn free_blocks(&self, stripe: usize) -> FreeBlocks<'_> {
        FreeBlocks {
            arena: self,
            lists: self.shards[stripe % SHARDS].0.lock(),
        }
    }

    /// Takes `count` zeroed words for good.
    pub(super) fn carve_words(&self, count: usize) -> Name {
        self.carve(
            (count * size_of::<u32>()).div_ceil(GRANULE_BYTES),
            2 * GRANULE_BYTES,
        )
    }

    fn carve(&self, granules: usize, align: usize) -> Name {
        assert!(granules < CHUNK_GRANULES);
        let mut mappings = self.mappings.lock();
        let align = align / GRANULE_BYTES;
        let mut first = mappings.used.max(1).next_multiple_of(align);
        if first / CHUNK_GRANULES != (first + granules - 1) / CHUNK_GRANULES {
            first = first.next_multiple_of(CHUNK_GRANULES);
        }
        let chunk = first / CHUNK_GRANULES;
        assert!(
            chunk < CHUNKS_MAX,
            "the index has grown beyond {} GiB",
            (CHUNKS_MAX * CHUNK_BYTES) >> 30
        );
        if chunk == mappings.maps.len() {
            let mut map = map_chunk();
            self.chunks[chunk].store(map.as_mut_ptr(), Ordering::Release);
            mappings.maps.push(map);
        }
        mappings.used = first + granules;
        u32::try_from(first).expect("names are 32 bits wide: CHUNKS_MAX says so")
    }

    /// Bytes of memory in use or kept for reuse, rounded up as the kernel does, tables included.
    pub(super) fn memory_bytes(&self) -> usize {
        let used = self.mappings.lock().used * GRANULE_BYTES;
        used.next_multiple_of(HUGE_PAGE_BYTES)
            + size_of_val::<[AtomicPtr<u8>]>(&self.chunks)
            + size_of::<Arena>()
    }
}

/// Free lists, locked.
pub(super) struct FreeBlocks<'a> {
    arena: &'a Arena,
    lists: MutexGuard<'a, [FreeList; KINDS]>,
}

impl FreeBlocks<'_> {
    /// Takes a block that nobody uses. Its contents are whatever its last user and the free list left.
    #[inline]
    pub(super) fn take<T: Block>(&mut self) -> Name {
        let list = &mut self.lists[T::KIND];
        if list.first != NONE {
            let name = list.first;
            list.first = self.arena.block::<T>(name).next();
            return name;
        }
        let granules = size_of::<T>().div_ceil(GRANULE_BYTES);
        if (list.left as usize) < granules {
            let slab = SLAB_BYTES / GRANULE_BYTES / granules * granules;
            list.next = self.arena.carve(slab + T::SLACK_BYTES / GRANULE_BYTES, T::ALIGN);
            list.left = slab as u32; // a slab has far fewer granules
        }
        let name = list.next;
        list.next += granules as u32; // a few
        list.left -= granules as u32;
        name
    }

    /// Gives a block back for use as the same kind.
    #[inline]
    pub(super) fn give<T: Block>(&mut self, name: Name) {
        let list = &mut self.lists[T::KIND];
        self.arena.block::<T>(name).set_next(list.first);
        list.first = name;
    }

    /// Takes a group of at least `entries` entries.
    pub(super) fn take_group(&mut self, entries: usize) -> Name {
        match entries.next_multiple_of(GROUP_STEP) {
            2 => self.take::<Group<2>>(),
            4 => self.take::<Group<4>>(),
            6 => self.take::<Group<6>>(),
            8 => self.take::<Group<8>>(),
            _ => unreachable!("no group has {entries} entries"),
        }
    }

    /// Gives a group back that was taken for as many entries.
    pub(super) fn give_group(&mut self, entries: usize, name: Name) {
        match entries.next_multiple_of(GROUP_STEP) {
            2 => self.give::<Group<2>>(name),
            4 => self.give::<Group<4>>(name),
            6 => self.give::<Group<6>>(name),
            8 => self.give::<Group<8>>(name),
            _ => unreachable!("no group has {entries} entries"),
        }
    }
}

fn map_chunk() -> MmapMut {
    match MmapOptions::new().len(CHUNK_BYTES + TAIL_BYTES).map_anon() {
        Ok(map) => {
            // Only speed depends on it; kernels without huge pages say no. Miri knows no advice.
            if !cfg!(miri) {
                let _ = map.advise(memmap2::Advice::HugePage);
            }
            map
        }
        // Out of memory ends the process, as it does for any other allocation.
        Err(_) => std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; CHUNK_BYTES]>()),
    }
}

/// Asks the processor to bring a line near.
#[inline]
pub(super) fn prefetch<T>(place: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: prefetching has no effect but on caches, whatever the address; every x86-64 has the instruction.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}
