//! How a command ended: NVMe status codes as errors of the engine.
//!
//! Owns which kind of error a status is; the text always has type and code as numbers, since vendors define their own.
//! Numbers are those of the NVMe base specification, section "Status Field".
#![allow(unsafe_code, reason = "asks SPDK for the name of a status")]

use std::ffi::CStr;
use std::io::{self, ErrorKind};

const GENERIC: u8 = 0;
const COMMAND_SPECIFIC: u8 = 1;
const MEDIA: u8 = 2;
const PATH: u8 = 3;

/// The status of a completed command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    /// Which table the code is of; 0: generic.
    pub(super) code_type: u8,
    /// What happened; 0 of type 0: success.
    pub(super) code: u8,
}

/// A command that the device did not carry out.
#[derive(Debug, thiserror::Error)]
#[error("{operation} at byte {offset}: {name} (status code type {code_type:#x}, code {code:#04x})")]
pub(super) struct Refusal {
    operation: &'static str,
    offset: u64,
    code_type: u8,
    code: u8,
    name: String,
}

impl Status {
    pub(super) const GOOD: Status = Status {
        code_type: GENERIC,
        code: 0,
    };

    pub(super) fn is_good(self) -> bool {
        self == Status::GOOD
    }

    /// Aborted because somebody asked for it.
    pub(super) fn is_aborted(self) -> bool {
        (self.code_type, self.code) == (GENERIC, 0x07)
    }

    /// What kind of failure it is to the engine.
    fn kind(self) -> ErrorKind {
        match (self.code_type, self.code) {
            (GENERIC, 0x07 | 0x08) => ErrorKind::ConnectionAborted, // aborted, or its queue was deleted
            (GENERIC, 0x0b) => ErrorKind::NotFound,                 // invalid namespace or format
            (GENERIC, 0x20) | (MEDIA, 0x86) | (COMMAND_SPECIFIC, 0x82) => ErrorKind::PermissionDenied,
            (GENERIC, 0x81) => ErrorKind::StorageFull, // capacity exceeded
            (GENERIC, 0x82..=0x84) => ErrorKind::ResourceBusy, // not ready, reserved by a host, being formatted
            (PATH, _) => ErrorKind::ConnectionAborted,
            _ => ErrorKind::Other,
        }
    }

    /// As the error of a command.
    pub(super) fn error(self, operation: &'static str, offset: u64) -> io::Error {
        let refusal = Refusal {
            operation,
            offset,
            code_type: self.code_type,
            code: self.code,
            name: self.name(),
        };
        io::Error::new(self.kind(), refusal)
    }

    fn name(self) -> String {
        let mut cpl = spdk_sys::spdk_nvme_cpl::default();
        cpl.__bindgen_anon_1.status_raw = u16::from(self.code) << 1 | u16::from(self.code_type & 7) << 9;
        // Both members of the union are the same two initialised bytes.
        let status = &raw const cpl.__bindgen_anon_1.status;
        // SAFETY: the status lives during the call.
        let name = unsafe { spdk_sys::spdk_nvme_cpl_get_status_string(status) };
        if name.is_null() {
            return "unknown".into();
        }
        // SAFETY: SPDK answers with a string that is part of the program.
        let name = unsafe { CStr::from_ptr(name) };
        name.to_string_lossy().to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an error names operation, place, type and code, and is of the kind that callers act on. Method: a table.
    #[test]
    fn statuses_become_errors() {
        let table = [
            ((0, 0x80), ErrorKind::Other, "lba out of range"),
            ((0, 0x81), ErrorKind::StorageFull, "capacity"),
            ((0, 0x20), ErrorKind::PermissionDenied, ""),
            ((2, 0x81), ErrorKind::Other, "unrecovered read error"),
            ((3, 0x01), ErrorKind::ConnectionAborted, "path error"),
            ((0, 0x08), ErrorKind::ConnectionAborted, "sq deletion"),
            ((7, 0xc0), ErrorKind::Other, "vendor specific"),
        ];
        for ((code_type, code), kind, words) in table {
            let error = Status { code_type, code }.error("write", 4096);
            assert_eq!(error.kind(), kind, "{error}");
            let text = error.to_string();
            let numbers = format!("type {code_type:#x}, code {code:#04x}");
            for part in ["write at byte 4096", &numbers, words] {
                assert!(text.contains(part), "{text} has no {part}");
            }
        }
        assert!(Status::GOOD.is_good());
    }
}
