//! The memory of one queue where that is mapped: an arena whose next chunk is made ready on a thread of its own.
//!
//! To fault a chunk in takes half a millisecond, and tens of them where the host of a virtual machine has to find the
//! memory first. No reactor waits for that: while the next chunk is on its way buffers come from the heap, which costs a
//! transfer some microseconds.
//! Owns the thread, one for each device, which ends when its device and all queues have gone.
//! Invariant: a queue has at most one chunk under way or in store that its arena has not taken.
//! Rejected: a chunk made where it is found missing (the slowest hundredth of cold reads of 64 KiB took 10 ms); memory
//! that is not faulted in (whoever registers it faults it in); smaller chunks (no huge pages, so no cheap registration).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{self, Receiver, Sender};
use fallback_io::Mapping;

use super::arena::{Arena, CHUNK_BYTES};
use super::buffer::DmaBuffer;

/// A chunk, unless memory has run out.
type Made = Option<Mapping>;

/// The thread that makes chunks ready.
#[derive(Clone)]
pub(super) struct Supplier(Sender<Sender<Made>>);

impl Supplier {
    /// Starts the thread. Where threads are pinned it runs where its caller does, so reactors do not start it.
    pub(super) fn start() -> io::Result<Supplier> {
        let (ask, asked) = channel::unbounded::<Sender<Made>>();
        std::thread::Builder::new()
            .name("helios-memory".to_owned())
            .spawn(move || {
                for answer in asked {
                    // Whoever asked may have gone.
                    let _ = answer.send(Mapping::new(CHUNK_BYTES).ok());
                }
            })?;
        Ok(Supplier(ask))
    }
}

/// See the module.
pub(super) struct MappedArena {
    arena: Arc<Arena>,
    supplier: Supplier,
    /// A chunk has been asked for and not been taken.
    asked: AtomicBool,
    answer: Sender<Made>,
    made: Receiver<Made>,
}

impl MappedArena {
    /// Memory of up to `bytes`, rounded down to whole chunks; the first is on its way.
    pub(super) fn new(bytes: usize, supplier: Supplier) -> MappedArena {
        let (answer, made) = channel::bounded(1);
        let arena = MappedArena {
            arena: Arena::new(bytes),
            supplier,
            asked: AtomicBool::new(false),
            answer,
            made,
        };
        arena.ask();
        arena
    }

    /// Memory of at least `len` bytes; from the heap when the arena is full or has no chunk ready, or the buffer is larger
    /// than any transfer. New chunks are given to `register` for their region.
    pub(super) fn buffer(
        &self,
        len: usize,
        register: impl FnOnce(&Arc<Mapping>) -> Option<u16>,
    ) -> DmaBuffer {
        let chunk = || {
            let made = self.made.try_recv().ok()?;
            self.asked.store(false, Ordering::Relaxed);
            // Out of memory for another chunk: the heap will tell.
            let mapping = Arc::new(made?);
            let region = register(&mapping);
            Some((mapping, region))
        };
        let buffer = self.arena.own(len, chunk);
        self.ask();
        buffer.unwrap_or_else(|| DmaBuffer::heap(len))
    }

    /// Asks for the next chunk if it is time.
    fn ask(&self) {
        if self.arena.runs_short() && !self.asked.swap(true, Ordering::Relaxed) {
            // A supplier stays while somebody may ask; without one the heap has to do.
            let _ = self.supplier.0.send(self.answer.clone());
        }
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
