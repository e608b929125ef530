//! The seam below the engine: a device with queues of asynchronous commands.
//!
//! Rules an adapter obeys (the conformance suite checks them):
//! - A command is submitted without blocking and completes later, in any order; a full queue hands it back.
//! - A buffer belongs to the device from submission to completion, then comes back with the completion.
//! - Offsets, lengths and buffers are multiples of [`UNIT_BYTES`](crate::limits::UNIT_BYTES).
//! - No atomicity above one logical block is assumed, no ordering between commands in flight.
//! - `durable` writes, and everything completed before a completed `Flush` was submitted, survive power loss.
//! - `Allocate` makes later writes to the range immune to "no space"; failing there is how a host disk is full.
//!   Where nothing can be reserved (`Unsupported`), `WriteZeroes` on unused ranges does the same.
//! - Bad commands (outside the capacity, misaligned, too long) complete with an error.
//! - A dropped queue waits for what is in flight; whether that took effect is unknown.

mod adapter;
mod address;
mod ahead;
mod arena;
mod buffer;
#[doc(hidden)]
pub mod conformance;
mod ends;
mod open;
pub mod pci;
pub mod sim;
#[cfg(feature = "spdk")]
mod spdk;
mod threads;
mod uring;

pub use address::Address;
pub use buffer::{DmaBuffer, Home};
pub(crate) use ends::{Ends, STORE_MAGIC};
pub use open::{Backend, OpenOptions, create, open};
#[cfg(feature = "spdk")]
pub use spdk::SpdkDevice;
pub use threads::ThreadsDevice;
pub use uring::UringDevice;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What a device is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes that can be addressed; a multiple of the unit.
    pub capacity: u64,
    /// Smallest unit written atomically, in bytes: 512 or 4096.
    pub logical_block: u32,
    /// Largest single transfer, in bytes.
    pub transfer_max: u32,
    /// Completed writes may be lost with power until a flush.
    pub volatile_cache: bool,
    /// Freed ranges can be given back.
    pub discard: bool,
}

/// A storage device; shared by all reactors.
pub trait Device: Send + Sync + 'static {
    /// The address it was opened by, for messages.
    fn name(&self) -> &str;
    /// What it is made of.
    fn geometry(&self) -> Geometry;
    /// A queue with at most `depth` commands in flight. Called on the thread that will use it.
    fn open_queue(&self, depth: u32) -> std::io::Result<Box<dyn Queue>>;
}

/// One reactor's way to the device. Not shared: lives and dies on its reactor's thread.
pub trait Queue {
    /// Takes a command without blocking; hands it back when `depth` commands are in flight.
    fn submit(&mut self, command: Command) -> Result<(), Command>;
    /// Passes submitted commands on and hands over what has completed. Never sleeps.
    fn poll(&mut self, completed: &mut Vec<Completion>);
    /// Sleeps until a command completes, the doorbell rings or the time is over. May wake without reason.
    fn wait(&mut self, doorbell: &Doorbell, timeout: Option<Duration>);
    /// Commands submitted and not yet handed over as completed.
    fn in_flight(&self) -> u32;
    /// Tells a device that works in virtual time what time it is, in nanoseconds; others ignore it. A queue that was
    /// never told completes commands when polled.
    fn advance(&mut self, now_ns: u64) {
        let _ = now_ns;
    }
    /// Virtual time at which the next command completes: `None` without one, or on a device without virtual time.
    fn next_completion_ns(&self) -> Option<u64> {
        None
    }
    /// A buffer of at least `len` bytes (rounded up to whole units) that this queue moves fastest. Its contents
    /// are initialised but unspecified: memory is reused without clearing it. It may outlive the queue.
    fn buffer(&mut self, len: usize) -> std::io::Result<DmaBuffer>;
}

/// One command. `token` comes back with its completion.
#[derive(Debug)]
pub struct Command {
    /// Chosen by the submitter.
    pub token: u64,
    /// What to do.
    pub operation: Operation,
}

/// What a command does. Offsets and lengths are bytes on the device.
#[derive(Debug)]
pub enum Operation {
    /// Fills `buffer[range]` from `offset`.
    Read {
        /// Device offset.
        offset: u64,
        /// Lent until completion.
        buffer: DmaBuffer,
        /// Part of the buffer to fill.
        range: Range<usize>,
    },
    /// Writes `buffer[range]` at `offset`; `durable` makes completion mean "survives power loss".
    Write {
        /// Device offset.
        offset: u64,
        /// Lent until completion.
        buffer: DmaBuffer,
        /// Part of the buffer to write.
        range: Range<usize>,
        /// Force unit access.
        durable: bool,
    },
    /// Makes every completed write durable.
    Flush,
    /// Gives a range back; reading it afterwards is undefined until it is written.
    Discard {
        /// Device offset.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Writes zeroes (really writes them: later writes to the range pay no allocation).
    WriteZeroes {
        /// Device offset.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Guarantees space for later writes to the range. Contents are unchanged where they were written before.
    Allocate {
        /// Device offset.
        offset: u64,
        /// Bytes.
        len: u64,
    },
}

/// The end of a command.
#[derive(Debug)]
pub struct Completion {
    /// Token of the command.
    pub token: u64,
    /// The buffer that was lent, if any.
    pub buffer: Option<DmaBuffer>,
    /// Short transfers are finished by the adapter: success means the whole range.
    pub result: std::io::Result<()>,
}

/// Wakes a sleeping reactor from another thread; ringing never blocks.
#[derive(Debug, Clone)]
pub struct Doorbell(Arc<rustix::fd::OwnedFd>);

impl Doorbell {
    /// A new, silent doorbell (an `eventfd`).
    pub fn new() -> std::io::Result<Doorbell> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Doorbell(Arc::new(eventfd(
            0,
            EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC,
        )?)))
    }

    /// Something else that can be waited for in its place.
    pub(crate) fn around(readable: Arc<rustix::fd::OwnedFd>) -> Doorbell {
        Doorbell(readable)
    }

    /// Wakes the sleeper, or the next one to sleep.
    pub fn ring(&self) {
        // Only a counter overflow can fail, and then the bell is ringing already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes_for_kernel());
    }

    /// Silences the bell.
    pub fn clear(&self) {
        let mut count = [0u8; 8];
        // `WouldBlock` means it was silent.
        let _ = rustix::io::read(&self.0, &mut count);
    }

    /// For adapters that keep it open while they wait on it.
    pub(crate) fn shared(&self) -> &Arc<rustix::fd::OwnedFd> {
        &self.0
    }

    /// For adapters that wait on it.
    pub fn fd(&self) -> rustix::fd::BorrowedFd<'_> {
        use rustix::fd::AsFd;
        self.0.as_fd()
    }
}

/// `eventfd` takes a native-endian counter; this is the one place that needs it.
trait KernelEndian {
    fn to_ne_bytes_for_kernel(self) -> [u8; 8];
}

impl KernelEndian for u64 {
    #[allow(
        clippy::host_endian_bytes,
        reason = "the kernel reads an eventfd counter in host order"
    )]
    fn to_ne_bytes_for_kernel(self) -> [u8; 8] {
        self.to_ne_bytes()
    }
}
