//! One command on its way through the ring: which entries it needs next and when it is complete.
//!
//! Pure bookkeeping, without a ring. A task moves its bytes in lanes, each with at most one entry in the kernel:
//! transfers use one, `WriteZeroes` up to [`LANES`]. Short transfers go on where they stopped (rounded down to
//! the alignment, as direct I/O must), interrupted ones start again, a bounded number of times in a row.

use io_uring::squeue::Entry;
use io_uring::{opcode, types};
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

use crate::command::{Command, Completion, Operation};
use crate::memory::{Buffer, Mapping, ZEROES_BYTES};
use crate::target::punch_hole;
use crate::{Error, Result};

/// Entries of one task in the kernel at a time.
pub(super) const LANES: usize = 4;
/// Times in a row that a transfer may be interrupted or make no progress.
const ATTEMPTS_MAX: u16 = 1000;
/// The only file registered with the ring.
const FILE: types::Fixed = types::Fixed(0);

/// Memory that can be named by index in the ring it is registered with.
pub(super) struct Region {
    pub(super) mapping: std::sync::Arc<Mapping>,
}

/// A command in flight. Owns the memory its entries point to.
pub(super) struct Task<B> {
    token: u64,
    work: Work<B>,
    lanes: [Lane; LANES],
    error: Option<Error>,
    alignment: u32,
}

enum Work<B> {
    Read {
        buffer: B,
        region: Option<u16>,
    },
    Write {
        buffer: B,
        region: Option<u16>,
        flags: i32,
    },
    /// `next..end` is not given to a lane yet.
    Zeroes {
        zeroes: &'static [u8],
        next: u64,
        end: u64,
    },
    Flush,
    Fallocate {
        name: &'static str,
        flags: FallocateFlags,
        offset: u64,
        len: u64,
    },
}

#[derive(Clone, Copy)]
struct Lane {
    state: State,
    memory: *const u8,
    offset: u64,
    left: u32,
    attempts: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Ready,
    InKernel,
}

const IDLE: Lane = Lane {
    state: State::Idle,
    memory: std::ptr::null(),
    offset: 0,
    left: 0,
    attempts: 0,
};

impl<B: Buffer> Task<B> {
    /// A task for an admitted command; gives the command back with the reason when it cannot be prepared.
    pub(super) fn new(
        command: Command<B>,
        alignment: u32,
        regions: &[Region],
        zeroes: impl FnOnce() -> Result<&'static [u8]>,
    ) -> Result<Task<B>, (Command<B>, Error)> {
        let Command { token, operation } = command;
        let mut lanes = [IDLE; LANES];
        lanes[0].state = State::Ready;
        let work = match operation {
            Operation::Read {
                offset,
                mut buffer,
                range,
            } => {
                let memory = &mut buffer.as_mut()[range];
                let (start, len) = (memory.as_mut_ptr().cast_const(), memory.len());
                lanes[0].aim(start, offset, len);
                let region = region_of(regions, buffer.region(), start, len);
                Work::Read { buffer, region }
            }
            Operation::Write {
                offset,
                buffer,
                range,
                durable,
            } => {
                let memory = &buffer.as_ref()[range];
                let (start, len) = (memory.as_ptr(), memory.len());
                lanes[0].aim(start, offset, len);
                let region = region_of(regions, buffer.region(), start, len);
                let flags = if durable { ReadWriteFlags::DSYNC.bits() } else { 0 };
                Work::Write {
                    buffer,
                    region,
                    flags: flags.cast_signed(),
                }
            }
            Operation::Flush => Work::Flush,
            Operation::WriteZeroes { offset, len } => {
                lanes[0].state = State::Idle;
                match zeroes() {
                    Ok(zeroes) => Work::Zeroes {
                        zeroes,
                        next: offset,
                        end: offset + len,
                    },
                    Err(error) => {
                        let operation = Operation::WriteZeroes { offset, len };
                        return Err((Command { token, operation }, error));
                    }
                }
            }
            Operation::Discard { offset, len } => Work::Fallocate {
                name: "discard",
                flags: punch_hole(),
                offset,
                len,
            },
            Operation::Allocate { offset, len } => Work::Fallocate {
                name: "allocate",
                flags: FallocateFlags::KEEP_SIZE,
                offset,
                len,
            },
        };
        Ok(Task {
            token,
            work,
            lanes,
            error: None,
            alignment,
        })
    }

    /// The next entry to give to the kernel and its lane, until the rest waits for the kernel.
    pub(super) fn next(&mut self) -> Option<(usize, Entry)> {
        self.feed();
        let index = self.lanes.iter().position(|lane| lane.state == State::Ready)?;
        self.lanes[index].state = State::InKernel;
        Some((index, self.entry(&self.lanes[index])))
    }

    /// Gives idle lanes the next pieces of zeroes, unless something failed.
    fn feed(&mut self) {
        let Work::Zeroes { zeroes, next, end } = &mut self.work else {
            return;
        };
        if self.error.is_some() {
            *next = *end;
        }
        for lane in self.lanes.iter_mut().filter(|lane| lane.state == State::Idle) {
            if *next == *end {
                break;
            }
            let len = (*end - *next).min(ZEROES_BYTES as u64);
            lane.aim(zeroes.as_ptr(), *next, len as usize);
            lane.state = State::Ready;
            *next += len;
        }
    }

    fn entry(&self, lane: &Lane) -> Entry {
        let Lane {
            memory, offset, left, ..
        } = *lane;
        match &self.work {
            Work::Read { region: None, .. } => opcode::Read::new(FILE, memory.cast_mut(), left)
                .offset(offset)
                .build(),
            Work::Read {
                region: Some(region), ..
            } => opcode::ReadFixed::new(FILE, memory.cast_mut(), left, *region)
                .offset(offset)
                .build(),
            Work::Write {
                region: None, flags, ..
            } => opcode::Write::new(FILE, memory, left)
                .offset(offset)
                .rw_flags(*flags)
                .build(),
            Work::Write {
                region: Some(region),
                flags,
                ..
            } => opcode::WriteFixed::new(FILE, memory, left, *region)
                .offset(offset)
                .rw_flags(*flags)
                .build(),
            Work::Zeroes { .. } => opcode::Write::new(FILE, memory, left).offset(offset).build(),
            Work::Flush => opcode::Fsync::new(FILE)
                .flags(types::FsyncFlags::DATASYNC)
                .build(),
            Work::Fallocate {
                flags, offset, len, ..
            } => opcode::Fallocate::new(FILE, *len)
                .offset(*offset)
                .mode(flags.bits().cast_signed())
                .build(),
        }
    }

    /// Takes the kernel's answer to the entry of `lane`.
    pub(super) fn answer(&mut self, lane: usize, result: i32) {
        let operation = self.name();
        let moves = matches!(
            self.work,
            Work::Read { .. } | Work::Write { .. } | Work::Zeroes { .. }
        );
        let lane = &mut self.lanes[lane];
        assert!(lane.state == State::InKernel, "an answer without an entry");
        lane.state = State::Idle;
        let failure = match u32::try_from(result) {
            Err(_) => {
                let errno = Errno::from_raw_os_error(-result);
                lane.attempts += 1;
                if matches!(errno, Errno::INTR | Errno::AGAIN) && lane.attempts < ATTEMPTS_MAX {
                    lane.state = State::Ready;
                    return;
                }
                errno
            }
            Ok(_) if !moves => return,
            Ok(moved) if moved >= lane.left => return,
            Ok(0) => {
                let (offset, missing) = (lane.offset, lane.left.into());
                self.error.get_or_insert(Error::Ended {
                    operation,
                    offset,
                    missing,
                });
                return;
            }
            Ok(moved) => {
                let whole = moved - moved % self.alignment;
                lane.attempts = if whole == 0 { lane.attempts + 1 } else { 0 };
                if lane.attempts < ATTEMPTS_MAX {
                    lane.memory = lane.memory.wrapping_add(whole as usize);
                    lane.offset += u64::from(whole);
                    lane.left -= whole;
                    lane.state = State::Ready;
                    return;
                }
                Errno::IO
            }
        };
        let (offset, len) = match self.work {
            Work::Fallocate { offset, len, .. } => (offset, len),
            _ => (lane.offset, lane.left.into()),
        };
        self.error.get_or_insert(Error::System {
            operation,
            offset,
            len,
            errno: failure,
        });
    }

    /// Nothing is in the kernel and nothing is left to do. Ask after [`next`](Task::next) gave `None`.
    pub(super) fn finished(&self) -> bool {
        self.lanes.iter().all(|lane| lane.state == State::Idle)
    }

    /// It changes nothing.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.work, Work::Read { .. })
    }

    /// Starts nothing new: the queue is going away.
    pub(super) fn cancel(&mut self) {
        if let Work::Zeroes { next, end, .. } = &mut self.work {
            *end = *next;
        }
    }

    /// The end of the command.
    pub(super) fn into_completion(self) -> Completion<B> {
        assert!(self.finished(), "completed while the kernel has its memory");
        Completion {
            token: self.token,
            buffer: match self.work {
                Work::Read { buffer, .. } | Work::Write { buffer, .. } => Some(buffer),
                _ => None,
            },
            result: self.error.map_or(Ok(()), Err),
        }
    }

    fn name(&self) -> &'static str {
        match self.work {
            Work::Read { .. } => "read",
            Work::Write { .. } => "write",
            Work::Zeroes { .. } => "write zeroes",
            Work::Flush => "flush",
            Work::Fallocate { name, .. } => name,
        }
    }
}

impl Lane {
    fn aim(&mut self, memory: *const u8, offset: u64, len: usize) {
        self.memory = memory;
        self.offset = offset;
        // Admission bounds transfers by a `u32`.
        self.left = u32::try_from(len).expect("an admitted transfer");
        self.attempts = 0;
    }
}

/// The region that holds the memory. A hint from another ring, or none, gives `None`.
fn region_of(regions: &[Region], hint: Option<u16>, start: *const u8, len: usize) -> Option<u16> {
    let region = regions.get(usize::from(hint?))?;
    region.mapping.contains(start, len).then_some(hint?)
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
