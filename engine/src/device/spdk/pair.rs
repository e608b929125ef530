//! A queue pair, and the memory it lends to the device.
//!
//! Owns every piece of a command that the device may still touch: each has a slot, whose address is what SPDK gives back
//! with the completion, and holds a share of the [`Loan`] it moves. So a buffer cannot be freed, or seen by anybody, while
//! the device has it, whatever becomes of the future, the queue or the thread that asked for it: a loan gives its buffer
//! back only to the last share.
//!
//! Invariants: a slot is in use from a successful submission to its completion; the callback touches nothing but its slot
//! and a lock-free list. A queue pair is used by one thread at a time (`&mut`), and made and ended by the control thread,
//! since both may wait for the controller.
//! If SPDK cannot end a queue pair, slots and loans are leaked: memory is lost, but never written by a device after it
//! was given to somebody else.
#![allow(unsafe_code, reason = "calls SPDK")]

use std::ffi::c_void;
use std::io::{self, ErrorKind};
use std::mem::{self, size_of};
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;
use rustix::io::Errno;
use spdk_sys::{spdk_nvme_ns, spdk_nvme_qpair};

use super::controller::Attached;
use super::environment::said;
use super::status::Status;
use crate::device::buffer::DmaBuffer;

/// A buffer that the device may read or write, whoever else is gone.
pub(super) struct Loan {
    buffer: DmaBuffer,
    /// First byte of the part that is moved; taken before the buffer was lent.
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the buffer itself may be sent and shared; the pointer is to its memory.
unsafe impl Send for Loan {}
// SAFETY: as above. Nobody reads or writes through a shared loan but the device.
unsafe impl Sync for Loan {}

impl Loan {
    /// Lends `buffer[range]`. The caller has checked the range.
    pub(super) fn new(mut buffer: DmaBuffer, range: Range<usize>) -> Arc<Loan> {
        let part = &mut buffer[range];
        let (start, len) = (NonNull::from(&mut *part).cast::<u8>(), part.len());
        Arc::new(Loan { buffer, start, len })
    }

    /// Bytes that can be moved.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The buffer, if the device has no share in it any more.
    pub(super) fn end(self: Arc<Loan>) -> Option<DmaBuffer> {
        Arc::into_inner(self).map(|loan| loan.buffer)
    }

    /// The buffer, or where the device still has a share another of the same length, for a caller that must have one.
    /// Its bytes are those of the first if the device only reads them.
    pub(super) fn end_or_replace(self: Arc<Loan>, device_reads: bool) -> DmaBuffer {
        let len = self.buffer.len();
        if !device_reads {
            return self.end().unwrap_or_else(|| DmaBuffer::heap(len));
        }
        match Arc::try_unwrap(self) {
            Ok(loan) => loan.buffer,
            Err(loan) => {
                let mut copy = DmaBuffer::heap(len);
                copy.copy_from_slice(&loan.buffer);
                copy
            }
        }
    }

    /// Where the device finds `bytes` bytes from `at`.
    fn part(&self, at: usize, bytes: usize) -> *mut c_void {
        assert!(
            at.checked_add(bytes).is_some_and(|end| end <= self.len),
            "a piece of what was lent"
        );
        // SAFETY: inside the part, as was just asserted.
        unsafe { self.start.as_ptr().add(at) }.cast()
    }
}

/// Why a piece was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Later, when others are done.
    Full,
    /// Never: the connection is lost. The code is SPDK's.
    Broken(i32),
    /// The command cannot be carried out. The code is SPDK's.
    Invalid(i32),
}

/// Place of a piece with the device.
pub(super) type SlotNumber = u32;

/// What SPDK has the address of.
struct Slot {
    number: SlotNumber,
    finished: Arc<ArrayQueue<(SlotNumber, Status)>>,
}

/// See the module.
pub(super) struct Pair {
    /// `None` once it is ended.
    qpair: Option<NonNull<spdk_nvme_qpair>>,
    namespace: NonNull<spdk_nvme_ns>,
    /// Shared, because SPDK has their addresses: a box would claim them for itself when it moves.
    slots: Arc<[Slot]>,
    /// By slot: in use, and what it has a share of.
    used: Vec<Option<Option<Arc<Loan>>>>,
    idle: Vec<SlotNumber>,
    finished: Arc<ArrayQueue<(SlotNumber, Status)>>,
    /// Bytes of a block.
    block: u64,
    /// Goes last.
    attached: Arc<Attached>,
}

// SAFETY: SPDK asks that a queue pair be used by one thread at a time, which `&mut self` sees to; the pointers are to
// memory of SPDK that lives as long as the controller is attached.
unsafe impl Send for Pair {}

impl Pair {
    /// A queue pair for up to `depth` pieces at a time on the namespace `id`, whose blocks have `block` bytes.
    pub(super) fn open(attached: &Arc<Attached>, id: u32, block: u64, depth: u32) -> io::Result<Pair> {
        let namespace = attached.namespace(id)?;
        let mut options = spdk_sys::spdk_nvme_io_qpair_opts::default();
        let size = size_of::<spdk_sys::spdk_nvme_io_qpair_opts>();
        // SAFETY: the controller is attached; the size is that of the structure.
        unsafe {
            spdk_sys::spdk_nvme_ctrlr_get_default_io_qpair_opts(
                attached.raw().as_ptr(),
                &raw mut options,
                size,
            );
        }
        // What the device has no place for waits in SPDK; a place more than slots keeps it from refusing.
        options.io_queue_requests = options.io_queue_requests.max(depth.saturating_mul(2) + 1);
        said();
        // SAFETY: as above; the call copies the options.
        let qpair = unsafe {
            spdk_sys::spdk_nvme_ctrlr_alloc_io_qpair(attached.raw().as_ptr(), &raw const options, size)
        };
        let Some(qpair) = NonNull::new(qpair) else {
            return Err(io::Error::new(
                ErrorKind::ConnectionRefused,
                format!(
                    "the controller gives no further queue: {}; use fewer reactors, or allow the host more queues",
                    said()
                ),
            ));
        };
        let finished = Arc::new(ArrayQueue::new(depth.max(1) as usize));
        let slot = |number| Slot {
            number,
            finished: Arc::clone(&finished),
        };
        Ok(Pair {
            qpair: Some(qpair),
            namespace,
            slots: (0..depth).map(slot).collect(),
            used: (0..depth).map(|_| None).collect(),
            idle: (0..depth).rev().collect(),
            finished,
            block,
            attached: Arc::clone(attached),
        })
    }

    /// Fills `bytes` of the loan, from `at` on, from the device's byte `offset`.
    pub(super) fn read(
        &mut self,
        loan: &Arc<Loan>,
        at: usize,
        bytes: u64,
        offset: u64,
    ) -> Result<SlotNumber, Refused> {
        let memory = loan.part(at, bytes as usize);
        let (lba, blocks) = self.place(offset, bytes);
        self.submit(Some(loan), |namespace, qpair, slot| {
            // SAFETY: namespace and queue pair are alive; the memory is `blocks` blocks long and lives, with the slot,
            // until the callback, because the slot keeps a share of the loan.
            unsafe {
                spdk_sys::spdk_nvme_ns_cmd_read(namespace, qpair, memory, lba, blocks, Some(done), slot, 0)
            }
        })
    }

    /// Writes `bytes` of the loan, from `at` on, at the device's byte `offset`; `durable` past any volatile cache.
    pub(super) fn write(
        &mut self,
        loan: &Arc<Loan>,
        at: usize,
        bytes: u64,
        offset: u64,
        durable: bool,
    ) -> Result<SlotNumber, Refused> {
        let memory = loan.part(at, bytes as usize);
        let (lba, blocks) = self.place(offset, bytes);
        let flags = if durable { spdk_sys::SPDK_SHIM_IO_FUA } else { 0 };
        self.submit(Some(loan), |namespace, qpair, slot| {
            // SAFETY: as for `read`; the device only reads the memory.
            unsafe {
                spdk_sys::spdk_nvme_ns_cmd_write(
                    namespace,
                    qpair,
                    memory,
                    lba,
                    blocks,
                    Some(done),
                    slot,
                    flags,
                )
            }
        })
    }

    /// Makes what is complete durable.
    pub(super) fn flush(&mut self) -> Result<SlotNumber, Refused> {
        self.submit(None, |namespace, qpair, slot| {
            // SAFETY: namespace and queue pair are alive, and the slot until the callback.
            unsafe { spdk_sys::spdk_nvme_ns_cmd_flush(namespace, qpair, Some(done), slot) }
        })
    }

    /// Lets the device forget a range.
    pub(super) fn deallocate(&mut self, offset: u64, bytes: u64) -> Result<SlotNumber, Refused> {
        let (lba, blocks) = self.place(offset, bytes);
        let mut range = spdk_sys::spdk_nvme_dsm_range {
            starting_lba: lba,
            length: blocks,
            ..spdk_sys::spdk_nvme_dsm_range::default()
        };
        let range = &raw mut range;
        let deallocate = spdk_sys::SPDK_NVME_DSM_ATTR_DEALLOCATE;
        self.submit(None, |namespace, qpair, slot| {
            // SAFETY: as for `flush`; SPDK copies the range before it returns.
            unsafe {
                spdk_sys::spdk_nvme_ns_cmd_dataset_management(
                    namespace,
                    qpair,
                    deallocate,
                    range,
                    1,
                    Some(done),
                    slot,
                )
            }
        })
    }

    /// Writes zeroes.
    pub(super) fn write_zeroes(&mut self, offset: u64, bytes: u64) -> Result<SlotNumber, Refused> {
        let (lba, blocks) = self.place(offset, bytes);
        self.submit(None, |namespace, qpair, slot| {
            // SAFETY: as for `flush`.
            unsafe {
                spdk_sys::spdk_nvme_ns_cmd_write_zeroes(namespace, qpair, lba, blocks, Some(done), slot, 0)
            }
        })
    }

    /// Hands over what has completed since. An error: the connection is lost, and what is under way stays so until the
    /// queue pair is ended.
    pub(super) fn poll(&mut self, mut completed: impl FnMut(SlotNumber, Status)) -> Result<(), i32> {
        let Some(qpair) = self.qpair else {
            return Err(-Errno::NXIO.raw_os_error());
        };
        // SAFETY: the queue pair is alive, and `&mut self` keeps other threads from it.
        let code = unsafe { spdk_sys::spdk_nvme_qpair_process_completions(qpair.as_ptr(), 0) };
        self.collect(&mut completed);
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// Asks the controller to give up on a piece, which completes either way unless the controller hangs. False while it
    /// has not answered the abort before.
    pub(super) fn abort(&mut self, slot: SlotNumber) -> bool {
        let Some(qpair) = self.qpair else { return true };
        if self.used[slot as usize].is_none() {
            return true;
        }
        let aborting = self.attached.aborting();
        if aborting.swap(true, Ordering::AcqRel) {
            return false;
        }
        let argument = ptr::from_ref(&self.slots[slot as usize])
            .cast_mut()
            .cast::<c_void>();
        // SAFETY: controller and queue pair are alive; the first argument is only compared, and the second is a flag that
        // lives until the controller is detached.
        let code = unsafe {
            spdk_sys::spdk_nvme_ctrlr_cmd_abort_ext(
                self.attached.raw().as_ptr(),
                qpair.as_ptr(),
                argument,
                Some(aborted),
                Arc::as_ptr(aborting).cast_mut().cast::<c_void>(),
            )
        };
        if code != 0 {
            // It has completed meanwhile, or the controller is gone.
            aborting.store(false, Ordering::Release);
            tracing::debug!(code, "a command could not be aborted");
        }
        true
    }

    /// Ends the queue pair; what was under way completes, most likely as aborted.
    pub(super) fn close(mut self, mut completed: impl FnMut(SlotNumber, Status)) {
        self.end();
        self.collect(&mut completed);
    }

    fn place(&self, offset: u64, bytes: u64) -> (u64, u32) {
        let blocks = u32::try_from(bytes / self.block).expect("pieces are far below 2^32 blocks");
        (offset / self.block, blocks)
    }

    fn submit(
        &mut self,
        loan: Option<&Arc<Loan>>,
        command: impl FnOnce(*mut spdk_nvme_ns, *mut spdk_nvme_qpair, *mut c_void) -> i32,
    ) -> Result<SlotNumber, Refused> {
        let Some(qpair) = self.qpair else {
            return Err(Refused::Broken(-Errno::NXIO.raw_os_error()));
        };
        let Some(number) = self.idle.pop() else {
            return Err(Refused::Full);
        };
        let argument = ptr::from_ref(&self.slots[number as usize])
            .cast_mut()
            .cast::<c_void>();
        // Before the call: a command may complete inside it.
        self.used[number as usize] = Some(loan.map(Arc::clone));
        let code = command(self.namespace.as_ptr(), qpair.as_ptr(), argument);
        if code == 0 {
            return Ok(number);
        }
        self.used[number as usize] = None;
        self.idle.push(number);
        Err(match Errno::from_raw_os_error(-code) {
            Errno::NOMEM | Errno::AGAIN => Refused::Full,
            Errno::NXIO => Refused::Broken(code),
            _ => Refused::Invalid(code),
        })
    }

    fn collect(&mut self, completed: &mut impl FnMut(SlotNumber, Status)) {
        while let Some((number, status)) = self.finished.pop() {
            let share = self.used[number as usize].take();
            assert!(share.is_some(), "a piece completes once");
            drop(share);
            self.idle.push(number);
            completed(number, status);
        }
    }

    /// Idempotent. Afterwards the device has nothing of ours any more, or it is leaked.
    fn end(&mut self) {
        let Some(qpair) = self.qpair.take() else { return };
        // SAFETY: the queue pair is alive and no other thread uses it; its commands complete inside the call, into slots
        // that are still there.
        let code = unsafe { spdk_sys::spdk_nvme_ctrlr_free_io_qpair(qpair.as_ptr()) };
        let used = self.used.iter().filter(|slot| slot.is_some()).count();
        if code == 0 && used == self.finished.len() {
            return;
        }
        tracing::error!(
            code,
            used,
            "a queue pair could not be ended; the memory of its commands is not used again"
        );
        for loan in self.used.iter().flatten().flatten() {
            mem::forget(Arc::clone(loan));
        }
        mem::forget(Arc::clone(&self.slots));
        // A queue pair that was not ended keeps its controller; except a local one, which SPDK no longer knows, and whose
        // controller the kernel stops when it is detached.
        if !self.attached.is_local() {
            mem::forget(Arc::clone(&self.attached));
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.end();
    }
}

/// Called by SPDK when a piece completes: in `poll`, in `close`, or inside its submission.
unsafe extern "C" fn done(slot: *mut c_void, cpl: *const spdk_sys::spdk_nvme_cpl) {
    // SAFETY: SPDK passes a completion that lives until this returns.
    let status = unsafe { spdk_sys::spdk_shim_cpl_status(cpl) };
    // SAFETY: the address given with the command; slots outlive the queue pair and are only ever shared.
    let slot = unsafe { &*slot.cast_const().cast::<Slot>() };
    let status = Status {
        code_type: status.code_type,
        code: status.code,
    };
    // There is a place for each slot.
    let _ = slot.finished.push((slot.number, status));
}

/// Called by SPDK when an abort is answered. How does not matter: the aborted command tells it itself.
unsafe extern "C" fn aborted(aborting: *mut c_void, _: *const spdk_sys::spdk_nvme_cpl) {
    // SAFETY: the flag of `Pair::abort`; it is only ever shared.
    let aborting = unsafe { &*aborting.cast_const().cast::<AtomicBool>() };
    aborting.store(false, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use super::*;

    fn filled(byte: u8) -> DmaBuffer {
        let mut buffer = DmaBuffer::heap(8192);
        buffer.fill(byte);
        buffer
    }

    /// Goal: while the device has a share, a buffer goes to nobody else: who must have one gets another, with the same
    /// bytes if the device only reads them. Method: loans with and without a share, told apart by address.
    #[test]
    fn a_lent_buffer_stays_with_the_device() {
        for device_reads in [false, true] {
            let buffer = filled(7);
            let address = buffer.as_ptr();
            let loan = Loan::new(buffer, 4096..8192);
            assert_eq!(loan.len(), 4096);
            let share = Arc::clone(&loan);
            let other = loan.end_or_replace(device_reads);
            assert_ne!(other.as_ptr(), address);
            assert_eq!(other.len(), 8192);
            assert!(!device_reads || other.iter().all(|byte| *byte == 7));
            let buffer = share.end().expect("the last share");
            assert_eq!(buffer.as_ptr(), address);
            let buffer = Loan::new(buffer, 0..8192).end_or_replace(device_reads);
            assert_eq!(buffer.as_ptr(), address, "nobody had a share");
        }
        let loan = Loan::new(filled(1), 0..4096);
        let share = Arc::clone(&loan);
        assert!(loan.end().is_none() && share.end().is_some());
    }

    /// Goal: no piece reaches beyond what was lent. Method: pieces at its end, and one past it.
    #[test]
    fn pieces_are_parts_of_what_was_lent() {
        let buffer = filled(1);
        let address = buffer.as_ptr() as usize;
        let loan = Loan::new(buffer, 4096..8192);
        assert_eq!(loan.part(0, 4096) as usize, address + 4096);
        assert_eq!(loan.part(4095, 1) as usize, address + 8191);
        for (at, bytes) in [(1, 4096), (4096, 1), (usize::MAX, 2)] {
            let outside = std::panic::catch_unwind(AssertUnwindSafe(|| loan.part(at, bytes)));
            assert!(outside.is_err(), "{at} and {bytes}");
        }
    }
}
