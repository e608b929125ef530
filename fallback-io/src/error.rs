//! The one error: which operation, where, and what the system said.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// Why a command or an opening failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused or failed the operation.
    #[error("{operation} of {len} bytes at byte {offset}: {errno}")]
    System {
        /// `read`, `write`, `flush`, ...
        operation: &'static str,
        /// Where it was to start, in bytes.
        offset: u64,
        /// How much of it was left, in bytes.
        len: u64,
        /// What the kernel said.
        errno: Errno,
    },
    /// The file or device ended in the middle of a transfer: somebody shortened it.
    #[error("{operation} at byte {offset}: the file ends {missing} bytes too early")]
    Ended {
        /// `read` or `write`.
        operation: &'static str,
        /// Where the transfer stopped, in bytes.
        offset: u64,
        /// How much of it was left, in bytes.
        missing: u64,
    },
    /// The range lies outside the target.
    #[error("{operation} of {len} bytes at byte {offset} is outside the {capacity} bytes there are")]
    OutOfRange {
        /// `read`, `write`, ...
        operation: &'static str,
        /// Start, in bytes.
        offset: u64,
        /// Length, in bytes.
        len: u64,
        /// What can be addressed, in bytes.
        capacity: u64,
    },
    /// Offset, length or memory address is not a multiple of the alignment.
    #[error(
        "{operation} of {len} bytes at byte {offset}: offset, length and memory must be multiples of {alignment}"
    )]
    Misaligned {
        /// `read`, `write`, ...
        operation: &'static str,
        /// Start, in bytes.
        offset: u64,
        /// Length, in bytes.
        len: u64,
        /// What they must be multiples of, in bytes.
        alignment: u32,
    },
    /// The transfer is longer than one command may move.
    #[error("{operation} of {len} bytes at byte {offset}: one command moves at most {transfer_max} bytes")]
    TooLong {
        /// `read` or `write`.
        operation: &'static str,
        /// Start, in bytes.
        offset: u64,
        /// Length, in bytes.
        len: u64,
        /// Largest transfer, in bytes.
        transfer_max: u32,
    },
    /// The part of the buffer to move is not inside the buffer.
    #[error("{operation} at byte {offset}: part {start}..{end} of a buffer of {len} bytes")]
    BufferRange {
        /// `read` or `write`.
        operation: &'static str,
        /// Offset on the target, in bytes.
        offset: u64,
        /// Start of the part.
        start: usize,
        /// End of the part.
        end: usize,
        /// Length of the buffer.
        len: usize,
    },
    /// The target was opened for reading only.
    #[error("{operation} at byte {offset}: opened for reading only")]
    ReadOnly {
        /// `write`, `flush`, ...
        operation: &'static str,
        /// Start, in bytes.
        offset: u64,
    },
    /// io_uring is missing, too old or forbidden here; [`Threads`](crate::Threads) does the same.
    #[error("io_uring cannot be used here: {reason}")]
    Unusable {
        /// What is missing or forbidden.
        reason: String,
    },
    /// The file or device could not be opened or made.
    #[error("{operation} {}: {source}", path.display())]
    Open {
        /// `open`, `create`, ...
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said, or what is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The machine has no threads, descriptors or memory left for another queue.
    #[error("{what}: {source}")]
    Resources {
        /// What was to be made.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The matching standard kind. A full disk and a full quota are both
    /// [`StorageFull`](io::ErrorKind::StorageFull): what the caller can do about them is the same.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Error::System {
                errno: Errno::NOSPC | Errno::DQUOT,
                ..
            } => io::ErrorKind::StorageFull,
            Error::System { errno, .. } => io::Error::from(*errno).kind(),
            Error::Ended { .. } => io::ErrorKind::UnexpectedEof,
            Error::OutOfRange { .. }
            | Error::Misaligned { .. }
            | Error::TooLong { .. }
            | Error::BufferRange { .. } => io::ErrorKind::InvalidInput,
            Error::ReadOnly { .. } => io::ErrorKind::PermissionDenied,
            Error::Unusable { .. } => io::ErrorKind::Unsupported,
            Error::Open { source, .. } | Error::Resources { source, .. } => source.kind(),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a caller can tell "full" from other failures by kind and still read offset and cause.
    /// Method: convert errors as the kernel gives them.
    #[test]
    fn full_disk_and_full_quota_are_storage_full() {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            let error = io::Error::from(Error::System {
                operation: "allocate",
                offset: 8192,
                len: 4096,
                errno,
            });
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(error.to_string().contains("at byte 8192"), "{error}");
        }
        let other = Error::System {
            operation: "read",
            offset: 0,
            len: 4096,
            errno: Errno::IO,
        };
        assert_ne!(other.kind(), io::ErrorKind::StorageFull);
    }
}
