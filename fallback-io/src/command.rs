//! Commands and their completions, and the check every command passes before the kernel sees it.

use std::ops::Range;

use crate::memory::Buffer;
use crate::target::Target;
use crate::{Error, Result};

/// One command. `token` comes back with its completion.
#[derive(Debug)]
pub struct Command<B> {
    /// Chosen by the submitter.
    pub token: u64,
    /// What to do.
    pub operation: Operation<B>,
}

/// What a command does. Offsets and lengths are bytes on the target.
#[derive(Debug)]
pub enum Operation<B> {
    /// Fills `buffer[range]` from `offset`.
    Read {
        /// Where to read.
        offset: u64,
        /// Lent until completion.
        buffer: B,
        /// Part of the buffer to fill.
        range: Range<usize>,
    },
    /// Writes `buffer[range]` at `offset`.
    Write {
        /// Where to write.
        offset: u64,
        /// Lent until completion.
        buffer: B,
        /// Part of the buffer to write.
        range: Range<usize>,
        /// Completion means that it survives power loss.
        durable: bool,
    },
    /// Makes every completed write durable.
    Flush,
    /// Gives the range back to the file system or device. Does nothing where that is not possible.
    Discard {
        /// Start.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Writes zeroes, really: later writes to the range pay no allocation.
    WriteZeroes {
        /// Start.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Reserves space for the range without changing contents or the file's size. Nothing to do on a block
    /// device; an `EOPNOTSUPP` error on a file system that cannot reserve (write zeroes there instead).
    Allocate {
        /// Start.
        offset: u64,
        /// Bytes.
        len: u64,
    },
}

/// The end of a command.
#[derive(Debug)]
pub struct Completion<B> {
    /// Token of the command.
    pub token: u64,
    /// The buffer that was lent, if any.
    pub buffer: Option<B>,
    /// Success means the whole range.
    pub result: Result<()>,
}

impl<B> Command<B> {
    /// Ends the command without the kernel.
    pub(crate) fn complete(self, result: Result<()>) -> Completion<B> {
        Completion {
            token: self.token,
            buffer: self.operation.into_buffer(),
            result,
        }
    }
}

/// What a checked command needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The kernel's work.
    Run,
    /// Nothing: it is complete already.
    Done,
}

impl<B> Operation<B> {
    /// For messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Operation::Read { .. } => "read",
            Operation::Write { .. } => "write",
            Operation::Flush => "flush",
            Operation::Discard { .. } => "discard",
            Operation::WriteZeroes { .. } => "write zeroes",
            Operation::Allocate { .. } => "allocate",
        }
    }

    /// The buffer that was lent, if any.
    pub(crate) fn into_buffer(self) -> Option<B> {
        match self {
            Operation::Read { buffer, .. } | Operation::Write { buffer, .. } => Some(buffer),
            _ => None,
        }
    }
}

impl<B: Buffer> Operation<B> {
    /// Checks the command against the target.
    pub(crate) fn admit(&self, target: &Target) -> Result<Admission> {
        let operation = self.name();
        let (offset, len, writes) = match self {
            Operation::Read {
                offset,
                buffer,
                range,
            } => (*offset, part(operation, *offset, buffer, range, target)?, false),
            Operation::Write {
                offset,
                buffer,
                range,
                ..
            } => (*offset, part(operation, *offset, buffer, range, target)?, true),
            // Nothing can be unflushed where nothing was written.
            Operation::Flush if target.read_only() => return Ok(Admission::Done),
            Operation::Flush => return Ok(Admission::Run),
            Operation::Discard { offset, len }
            | Operation::WriteZeroes { offset, len }
            | Operation::Allocate { offset, len } => (*offset, *len, true),
        };
        if writes && target.read_only() {
            return Err(Error::ReadOnly { operation, offset });
        }
        let alignment = u64::from(target.alignment());
        if !offset.is_multiple_of(alignment) || !len.is_multiple_of(alignment) {
            return Err(Error::Misaligned {
                operation,
                offset,
                len,
                alignment: target.alignment(),
            });
        }
        if offset.checked_add(len).is_none_or(|end| end > target.capacity()) {
            return Err(Error::OutOfRange {
                operation,
                offset,
                len,
                capacity: target.capacity(),
            });
        }
        let idle = match self {
            Operation::Discard { .. } => !target.discards(),
            Operation::Allocate { .. } => target.is_block_device(),
            _ => false,
        };
        Ok(if len == 0 || idle {
            Admission::Done
        } else {
            Admission::Run
        })
    }
}

/// Length of the part of `buffer` to move, once it is known to be a part of it that may be moved.
fn part<B: Buffer>(
    operation: &'static str,
    offset: u64,
    buffer: &B,
    range: &Range<usize>,
    target: &Target,
) -> Result<u64> {
    let memory = buffer.as_ref();
    let Some(bytes) = memory.get(range.clone()) else {
        return Err(Error::BufferRange {
            operation,
            offset,
            start: range.start,
            end: range.end,
            len: memory.len(),
        });
    };
    let len = bytes.len() as u64;
    if !(bytes.as_ptr() as usize).is_multiple_of(target.alignment() as usize) {
        return Err(Error::Misaligned {
            operation,
            offset,
            len,
            alignment: target.alignment(),
        });
    }
    if len > u64::from(target.transfer_max()) {
        return Err(Error::TooLong {
            operation,
            offset,
            len,
            transfer_max: target.transfer_max(),
        });
    }
    Ok(len)
}
