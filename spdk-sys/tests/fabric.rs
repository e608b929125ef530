//! Goal: the bindings drive a device: what was written with FUA is read back, for blocks of 512 and 4096 bytes, and
//! vectored, flushed, zeroed, deallocated and failed commands complete with the status they should. Method: SPDK's own
//! target, over TCP on this machine:
//!
//! ```sh
//! SPDK_PREFIX=$(scripts/install-spdk) scripts/with-nvmf-target \
//!     cargo test -p spdk-sys --features link --test fabric -- --ignored
//! ```
#![cfg(feature = "link")]
#![allow(unsafe_code, reason = "calls SPDK")]
#![allow(clippy::disallowed_methods, reason = "waits in real time for a real target")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::time::{Duration, Instant};

use spdk_sys::*;

const IO_BYTES: usize = 64 * 1024;

unsafe extern "C" fn log(level: c_int, _: *const c_char, _: c_int, _: *const c_char, message: *const c_char) {
    // SAFETY: the shim passes a string that is ended by a zero byte and lives until this returns.
    let message = unsafe { CStr::from_ptr(message) };
    eprintln!("SPDK {level}: {}", message.to_string_lossy());
}

/// Where the completion of a command is put; its address is the command's argument.
type Slot = Option<spdk_shim_status>;

unsafe extern "C" fn done(slot: *mut c_void, cpl: *const spdk_nvme_cpl) {
    // SAFETY: SPDK passes a completion that lives until this returns.
    let status = unsafe { spdk_shim_cpl_status(cpl) };
    // SAFETY: `slot` is the `Slot` of `run`, which waits for this and does not touch it meanwhile.
    unsafe { slot.cast::<Slot>().write(Some(status)) };
}

/// One buffer in two pieces, as a vectored command asks for it.
struct Pieces {
    base: *mut u8,
    offset: usize,
    /// Points into the structure that the completion's slot is at the beginning of.
    length: usize,
}

/// The argument of a vectored command: the slot comes first, so that `done` finds it.
#[repr(C)]
struct Vectored {
    slot: Slot,
    pieces: Pieces,
}

unsafe extern "C" fn reset_pieces(argument: *mut c_void, offset: u32) {
    // SAFETY: the argument of `vectored`, borrowed by nobody else during the callback.
    unsafe { (*argument.cast::<Vectored>()).pieces.offset = offset as usize };
}

unsafe extern "C" fn next_piece(argument: *mut c_void, address: *mut *mut c_void, length: *mut u32) -> c_int {
    // SAFETY: as above.
    let pieces = unsafe { &mut (*argument.cast::<Vectored>()).pieces };
    let bytes = (pieces.length - pieces.offset).min(pieces.length / 2);
    // SAFETY: SPDK asks for no more than the command's length, so that the offset is inside the buffer.
    let piece = unsafe { pieces.base.add(pieces.offset) };
    // SAFETY: SPDK passes two places to write to.
    unsafe { *address = piece.cast() };
    // SAFETY: as above.
    unsafe { *length = u32::try_from(bytes).unwrap() };
    pieces.offset += bytes;
    0
}

/// Polls the queue pair until the command whose argument is `slot` is done.
fn finish(qpair: *mut spdk_nvme_qpair, code: c_int, slot: *mut Slot) -> spdk_shim_status {
    assert_eq!(code, 0, "the command was not taken");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        // SAFETY: the queue pair is connected, and used by this thread only.
        let completed = unsafe { spdk_nvme_qpair_process_completions(qpair, 0) };
        assert!(completed >= 0, "the queue pair failed: {completed}");
        // SAFETY: written by `done` on this thread, inside the call above.
        if let Some(status) = unsafe { slot.read() } {
            return status;
        }
        assert!(Instant::now() < deadline, "no completion within ten seconds");
    }
}

/// Submits a command and waits for it.
fn run(qpair: *mut spdk_nvme_qpair, submit: impl FnOnce(*mut c_void) -> c_int) -> spdk_shim_status {
    let mut slot: Slot = None;
    let slot = &raw mut slot;
    finish(qpair, submit(slot.cast()), slot)
}

fn good(status: spdk_shim_status) {
    assert!(
        !status.error,
        "status code type {} code {:#x}",
        status.code_type, status.code
    );
}

/// A byte for each place that differs between neighbouring blocks and between passes.
fn pattern(buffer: &mut [u8], seed: u64) {
    let mut state = seed | 1;
    for word in buffer.chunks_exact_mut(8) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        word.copy_from_slice(&state.to_le_bytes());
    }
}

/// Memory of the environment; freed at its end, when no command has it any more.
struct Memory(*mut u8);

impl Memory {
    fn new() -> Self {
        // SAFETY: the environment was made; the third argument may be null.
        let memory = unsafe {
            spdk_zmalloc(
                IO_BYTES,
                4096,
                ptr::null_mut(),
                SPDK_SHIM_ANY_NODE,
                SPDK_MALLOC_DMA,
            )
        };
        assert!(!memory.is_null());
        Self(memory.cast())
    }

    /// Only while no command is under way.
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the allocation is of this size and initialised; commands are waited for before they are compared.
        unsafe { std::slice::from_raw_parts_mut(self.0, IO_BYTES) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: from `spdk_zmalloc`; every command was waited for.
        unsafe { spdk_free(self.0.cast()) };
    }
}

fn exercise(controller: *mut spdk_nvme_ctrlr, qpair: *mut spdk_nvme_qpair, number: u32) {
    // SAFETY: the controller is attached.
    let ns = unsafe { spdk_nvme_ctrlr_get_ns(controller, number) };
    assert!(!ns.is_null());
    // SAFETY: a namespace of an attached controller, here and below.
    let block = unsafe { spdk_nvme_ns_get_sector_size(ns) };
    // SAFETY: as above.
    let size = unsafe { spdk_nvme_ns_get_size(ns) };
    // SAFETY: as above.
    let flags = unsafe { spdk_nvme_ns_get_flags(ns) };
    // SAFETY: as above.
    assert_eq!(unsafe { spdk_nvme_ns_get_md_size(ns) }, 0);
    // SAFETY: as above.
    let max_transfer = unsafe { spdk_nvme_ns_get_max_io_xfer_size(ns) };
    assert!(max_transfer as usize >= IO_BYTES);
    let mut info = spdk_shim_ns::default();
    // SAFETY: as above, and `info` is writable.
    unsafe { spdk_shim_ns_info(ns, &raw mut info) };
    eprintln!(
        "namespace {number}: {size} bytes in blocks of {block}, flags {flags:#x}, format {}, {} blocks at once",
        info.format, info.atomic_write_blocks
    );
    let blocks = u32::try_from(IO_BYTES).unwrap() / block;
    let last = size / u64::from(block) - u64::from(blocks);
    let mut written = Memory::new();
    let mut read = Memory::new();

    for (pass, lba) in [0, 7, last].into_iter().enumerate() {
        pattern(written.bytes(), 1 + pass as u64 + u64::from(number) * 100);
        let (from, to) = (written.0.cast::<c_void>(), read.0.cast::<c_void>());
        good(run(qpair, |slot| {
            // SAFETY: the buffer is memory of the environment, long enough, and `run` waits for the completion.
            unsafe {
                spdk_nvme_ns_cmd_write(ns, qpair, from, lba, blocks, Some(done), slot, SPDK_SHIM_IO_FUA)
            }
        }));
        good(run(qpair, |slot| {
            // SAFETY: as above.
            unsafe { spdk_nvme_ns_cmd_read(ns, qpair, to, lba, blocks, Some(done), slot, 0) }
        }));
        assert!(
            written.bytes() == read.bytes(),
            "what was read at block {lba} is not what was written"
        );
    }
    // SAFETY: no buffer is involved.
    good(run(qpair, |slot| unsafe {
        spdk_nvme_ns_cmd_flush(ns, qpair, Some(done), slot)
    }));

    // Read into two pieces, which is the same memory in another order of callbacks.
    read.bytes().fill(0);
    let mut both = Vectored {
        slot: None,
        pieces: Pieces {
            base: read.0,
            offset: 0,
            length: IO_BYTES,
        },
    };
    let argument = &raw mut both;
    // SAFETY: `both` outlives the command, and is touched by the callbacks only, until it is done.
    let code = unsafe {
        spdk_nvme_ns_cmd_readv(
            ns,
            qpair,
            last,
            blocks,
            Some(done),
            argument.cast(),
            0,
            Some(reset_pieces),
            Some(next_piece),
        )
    };
    good(finish(qpair, code, argument.cast()));
    assert!(written.bytes() == read.bytes(), "a vectored read differs");

    if flags & SPDK_NVME_NS_WRITE_ZEROES_SUPPORTED != 0 {
        good(run(qpair, |slot| {
            // SAFETY: no buffer is involved.
            unsafe { spdk_nvme_ns_cmd_write_zeroes(ns, qpair, last, blocks, Some(done), slot, 0) }
        }));
        let to = read.0.cast::<c_void>();
        good(run(qpair, |slot| {
            // SAFETY: as for the read above.
            unsafe { spdk_nvme_ns_cmd_read(ns, qpair, to, last, blocks, Some(done), slot, 0) }
        }));
        assert!(read.bytes().iter().all(|&byte| byte == 0), "zeroes were written");
    }
    if flags & SPDK_NVME_NS_DEALLOCATE_SUPPORTED != 0 {
        let mut range = spdk_nvme_dsm_range {
            starting_lba: 0,
            length: blocks,
            ..spdk_nvme_dsm_range::default()
        };
        let range = &raw mut range;
        good(run(qpair, |slot| {
            let deallocate = SPDK_NVME_DSM_ATTR_DEALLOCATE;
            // SAFETY: SPDK copies the ranges before it returns.
            unsafe { spdk_nvme_ns_cmd_dataset_management(ns, qpair, deallocate, range, 1, Some(done), slot) }
        }));
    }

    // A write past the end fails, with the status that says so, and the queue pair goes on.
    let from = written.0.cast::<c_void>();
    let status = run(qpair, |slot| {
        // SAFETY: as for the write above.
        unsafe { spdk_nvme_ns_cmd_write(ns, qpair, from, last + 1, blocks, Some(done), slot, 0) }
    });
    assert!(status.error);
    assert_eq!(
        (u32::from(status.code_type), u32::from(status.code)),
        (SPDK_NVME_SCT_GENERIC, SPDK_NVME_SC_LBA_OUT_OF_RANGE)
    );

    // How long a command takes on the way through the bindings; SPDK's own load generator tells what is possible.
    let to = read.0.cast::<c_void>();
    let rounds = 2000_u32;
    let begin = Instant::now();
    for round in 0..rounds {
        good(run(qpair, |slot| {
            let lba = u64::from(round % 16) * u64::from(4096 / block);
            // SAFETY: as for the read above.
            unsafe { spdk_nvme_ns_cmd_read(ns, qpair, to, lba, 4096 / block, Some(done), slot, 0) }
        }));
    }
    eprintln!(
        "4 KiB reads one after the other: {:.1} us each",
        begin.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
    );
}

#[test]
#[ignore = "needs a target: scripts/with-nvmf-target"]
fn a_namespace_keeps_what_is_written() {
    let address = std::env::var("NVMF_TARGET").expect("NVMF_TARGET is set by scripts/with-nvmf-target");
    // SAFETY: the callback has the signature asked for and is there for ever.
    assert_eq!(unsafe { spdk_shim_log_open(Some(log)) }, 0);
    let name = CString::new("spdk-sys-fabric").unwrap();
    let env = spdk_shim_env {
        name: name.as_ptr(),
        shm_id: -1,
        memory_mib: 128,
        no_pci: true,
        no_huge: true,
        ..spdk_shim_env::default()
    };
    // SAFETY: `env` and `name` outlive the call; the only environment of this process.
    assert_eq!(unsafe { spdk_shim_env_init(&raw const env) }, 0);

    let mut id = spdk_nvme_transport_id::default();
    let address = CString::new(address).unwrap();
    // SAFETY: `id` is writable and zeroed.
    let code = unsafe { spdk_nvme_transport_id_parse(&raw mut id, address.as_ptr()) };
    assert_eq!(code, 0);
    let mut options = spdk_nvme_ctrlr_opts::default();
    // SAFETY: the size is that of the structure.
    unsafe { spdk_nvme_ctrlr_get_default_ctrlr_opts(&raw mut options, size_of::<spdk_nvme_ctrlr_opts>()) };
    assert_eq!(
        options.opts_size,
        size_of::<spdk_nvme_ctrlr_opts>(),
        "SPDK knows the same fields"
    );
    options.keep_alive_timeout_ms = 10_000;
    // SAFETY: both live during the call.
    let controller = unsafe {
        spdk_nvme_connect(
            &raw const id,
            &raw const options,
            size_of::<spdk_nvme_ctrlr_opts>(),
        )
    };
    assert!(!controller.is_null(), "the target is not there");

    let mut info = spdk_shim_ctrlr::default();
    // SAFETY: the controller is attached.
    unsafe { spdk_shim_ctrlr_info(controller, &raw mut info) };
    // SAFETY: the shim ends it with a zero byte.
    let serial = unsafe { CStr::from_ptr(info.serial.as_ptr()) };
    assert_eq!(serial.to_str().unwrap(), "HELIOS0001");
    assert!(info.dataset_management && info.write_zeroes);

    // SAFETY: as above; SPDK's own options.
    let qpair = unsafe { spdk_nvme_ctrlr_alloc_io_qpair(controller, ptr::null(), 0) };
    assert!(!qpair.is_null());
    // SAFETY: the queue pair belongs to this thread.
    assert!(unsafe { spdk_shim_qpair_is_connected(qpair) });

    // SAFETY: as above.
    let mut number = unsafe { spdk_nvme_ctrlr_get_first_active_ns(controller) };
    assert_ne!(number, 0, "the target has a namespace");
    while number != 0 {
        exercise(controller, qpair, number);
        // SAFETY: as above.
        assert!(unsafe { spdk_nvme_ctrlr_process_admin_completions(controller) } >= 0);
        // SAFETY: as above.
        number = unsafe { spdk_nvme_ctrlr_get_next_active_ns(controller, number) };
    }

    // SAFETY: no command is under way.
    assert_eq!(unsafe { spdk_nvme_ctrlr_free_io_qpair(qpair) }, 0);
    let mut context = ptr::null_mut();
    // SAFETY: nothing of the controller is used after this.
    assert_eq!(unsafe { spdk_shim_detach_begin(controller, &raw mut context) }, 0);
    // SAFETY: the context of the detachment above, until it is done.
    while unsafe { spdk_shim_detach_poll(context) } != 0 {
        std::thread::yield_now();
    }
    // SAFETY: nothing of the environment is used any more.
    unsafe { spdk_env_fini() };
}
