//! The environment of SPDK: its memory and its log, made once in a process and kept until its end.
//!
//! Owns the decision what memory it has. Devices of this machine need hugepages, whose physical address is fixed; a
//! process that only reaches devices over a network is started in ordinary memory and needs neither hugepages nor
//! rights. The first device decides: an environment cannot be changed, so that a process which began with a target over
//! TCP cannot go on to a PCIe device (the error says so); the other way round works.
//!
//! Everything SPDK and DPDK say goes to `tracing`, and each thread keeps the last of it for the error it is about to
//! give ([`said`]). DPDK pins the thread that starts it to a core, so a thread of its own does.
//! Rejected: hugepages wherever some are free; a client of a target would take them from whoever needs them.
#![allow(unsafe_code, reason = "calls SPDK")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::OnceLock;

use crate::device::pci::{self, Host};

/// Memory reserved without hugepages, in MiB: for what the driver keeps for itself (requests of queue pairs, above all);
/// buffers are elsewhere. Taken from the system as it is touched.
const ORDINARY_MIB: i32 = 512;
/// Messages a thread remembers.
const REMEMBERED: usize = 4;

/// What the environment's memory is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// Pages with a fixed physical address: devices may move them.
    Huge,
    /// Any memory: only this process moves it.
    Ordinary,
}

thread_local! {
    static SAID: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

/// The last complaints of SPDK on this thread, for an error; forgets them.
pub(super) fn said() -> String {
    let said = SAID.with_borrow_mut(std::mem::take);
    if said.is_empty() {
        return "SPDK gives no reason".to_owned();
    }
    let said: Vec<String> = said.into();
    format!("SPDK says: {}", said.join("; "))
}

/// Sees to it that there is an environment with at least this kind of memory.
pub(super) fn start(memory: Memory) -> io::Result<()> {
    static STARTED: OnceLock<Result<Memory, (ErrorKind, String)>> = OnceLock::new();
    if memory == Memory::Huge && STARTED.get().is_none() {
        pci::require_memory(&Host::this())?;
    }
    let started = STARTED.get_or_init(|| {
        let thread = std::thread::Builder::new()
            .name("helios-spdk-env".into())
            .spawn(move || init(memory));
        match thread.map(std::thread::JoinHandle::join) {
            Ok(Ok(started)) => started.map(|()| memory),
            Ok(Err(_)) => Err((ErrorKind::Other, "starting SPDK panicked".into())),
            Err(error) => Err((error.kind(), format!("no thread to start SPDK on: {error}"))),
        }
    });
    match started {
        Ok(Memory::Ordinary) if memory == Memory::Huge => Err(io::Error::new(
            ErrorKind::Unsupported,
            "this process has begun with devices over a network, in memory that no device can move; open the PCIe \
             device in a process of its own, or first",
        )),
        Ok(_) => Ok(()),
        Err((kind, message)) => Err(io::Error::new(*kind, message.clone())),
    }
}

fn init(memory: Memory) -> Result<(), (ErrorKind, String)> {
    // SAFETY: `log` has the signature asked for, never unwinds, and is there for ever.
    let opened = unsafe { spdk_sys::spdk_shim_log_open(Some(log)) };
    if opened != 0 {
        tracing::warn!(code = opened, "SPDK's log cannot be taken over");
    }
    let ordinary = memory == Memory::Ordinary;
    let name = CString::new(format!("helios-{}", std::process::id())).expect("digits");
    let env = spdk_sys::spdk_shim_env {
        name: name.as_ptr(),
        shm_id: -1,
        memory_mib: if ordinary { ORDINARY_MIB } else { 0 },
        no_pci: ordinary,
        no_huge: ordinary,
        // Nobody shares this environment: nothing of it is left in the file system when the process ends.
        extra: if ordinary {
            c"--no-shconf".as_ptr()
        } else {
            ptr::null()
        },
        ..spdk_sys::spdk_shim_env::default()
    };
    // SAFETY: the strings outlive the call, and `start` makes the only environment of this process.
    let code = unsafe { spdk_sys::spdk_shim_env_init(&raw const env) };
    if code == 0 {
        return Ok(());
    }
    let fix = match memory {
        Memory::Huge => "`helios device check` shows what is missing",
        Memory::Ordinary => "the program needs 512 MiB of address space",
    };
    Err((
        io::Error::from_raw_os_error(-code).kind(),
        format!("SPDK cannot be started (error {}): {}; {fix}", -code, said()),
    ))
}

/// Called by SPDK on the thread that logs.
unsafe extern "C" fn log(level: c_int, _: *const c_char, _: c_int, _: *const c_char, message: *const c_char) {
    // SAFETY: the shim passes a string that is ended by a zero byte and lives until this returns.
    let message = unsafe { CStr::from_ptr(message) };
    // Unwinding into C is undefined; a subscriber that panics loses the message.
    let _ = catch_unwind(AssertUnwindSafe(|| note(level, &message.to_string_lossy())));
}

fn note(level: c_int, message: &str) {
    // SPDK's levels: 0 error, 1 warning, 2 notice, 3 information, 4 debugging.
    if level <= 1 {
        // A thread that ends has nobody to tell.
        let _ = SAID.try_with(|said| {
            let mut said = said.borrow_mut();
            if said.len() == REMEMBERED {
                said.pop_front();
            }
            said.push_back(message.to_owned());
        });
    }
    match level {
        ..=0 => tracing::warn!(target: "spdk", "{message}"),
        1 => tracing::info!(target: "spdk", "{message}"),
        _ => tracing::debug!(target: "spdk", "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an error carries what was complained about before it, and nothing older than that. Method: more messages
    /// than are remembered, of all levels.
    #[test]
    fn complaints_are_remembered_once() {
        for number in 0..6 {
            note(0, &format!("complaint {number}"));
            note(2, "chatter");
        }
        let text = said();
        assert_eq!(
            text,
            "SPDK says: complaint 2; complaint 3; complaint 4; complaint 5"
        );
        assert_eq!(said(), "SPDK gives no reason");
    }
}
