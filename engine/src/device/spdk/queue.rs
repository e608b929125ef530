//! A reactor's queue: the engine's commands in, completions out, never waiting for the controller.
//!
//! Owns the checks of commands, the commands that came while the control thread had the lane, and how a reactor waits.
//!
//! Waiting: SPDK is told of completions by polling only. Without commands in flight a reactor sleeps on its doorbell
//! alone; with some it looks again after `naps`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::bounds::now;
use super::control::{Control, SharedLane};
use super::lane::Need;
use super::memory::Pool;
use super::namespace::Shape;
use super::naps::Naps;
use crate::device::buffer::DmaBuffer;
use crate::device::{Command, Completion, Doorbell, Operation, Queue};
use crate::limits::{TRANSFER_BYTES_MAX, UNIT_BYTES};

/// Polls between two looks at the time.
const POLLS_PER_LOOK: u32 = 256;

/// See the module.
pub(super) struct SpdkQueue {
    lane: SharedLane,
    pool: Pool,
    shape: Shape,
    read_only: bool,
    depth: u32,
    in_flight: u32,
    /// Came while the control thread had the lane.
    late: VecDeque<Command>,
    /// Completions to hand over.
    ready: Vec<Completion>,
    polls: u32,
    naps: Naps,
    /// Goes last: keeps the controller attached.
    control: Arc<Control>,
}

impl SpdkQueue {
    pub(super) fn open(
        control: &Arc<Control>,
        shape: Shape,
        pool: Pool,
        read_only: bool,
        depth: u32,
    ) -> io::Result<SpdkQueue> {
        if depth == 0 {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "a queue must be able to hold a command",
            ));
        }
        Ok(SpdkQueue {
            lane: control.open(depth, pool.clone())?,
            pool,
            shape,
            read_only,
            depth,
            in_flight: 0,
            late: VecDeque::new(),
            ready: Vec::new(),
            polls: 0,
            naps: Naps::default(),
            control: Arc::clone(control),
        })
    }

    /// Takes from the lane what has completed, into `ready`.
    fn collect(&mut self, look_at_the_time: bool) {
        // The control thread has it for a moment; later will do.
        let Some(mut lane) = self.lane.try_lock() else {
            return;
        };
        while let Some(command) = self.late.pop_front() {
            lane.accept(command);
        }
        lane.poll();
        if look_at_the_time {
            lane.look_at_the_time();
        }
        lane.take_completed(&mut self.ready);
        let need = lane.take_need();
        drop(lane);
        match need {
            None => {}
            Some(Need::Abort) => self.control.abort(&self.lane),
            Some(Need::Recovery(reason)) => self.control.recover(&self.lane, reason),
        }
    }

    fn hand_over(&mut self, completed: &mut Vec<Completion>) {
        if self.ready.is_empty() {
            return;
        }
        self.naps.end(now);
        self.in_flight -= u32::try_from(self.ready.len()).expect("no more than are in flight");
        completed.append(&mut self.ready);
    }

    fn answer(&mut self, command: Command, result: io::Result<()>) {
        let buffer = match command.operation {
            Operation::Read { buffer, .. } | Operation::Write { buffer, .. } => Some(buffer),
            _ => None,
        };
        self.ready.push(Completion {
            token: command.token,
            buffer,
            result,
        });
    }
}

impl Queue for SpdkQueue {
    fn submit(&mut self, command: Command) -> Result<(), Command> {
        if self.in_flight >= self.depth {
            return Err(command);
        }
        self.in_flight += 1;
        match admit(&command.operation, &self.shape, self.read_only) {
            Err(error) => self.answer(command, Err(error)),
            Ok(Admission::Done) => self.answer(command, Ok(())),
            Ok(Admission::Run) if !self.late.is_empty() => self.late.push_back(command),
            Ok(Admission::Run) => match self.lane.try_lock() {
                Some(mut lane) => lane.accept(command),
                None => self.late.push_back(command),
            },
        }
        Ok(())
    }

    fn poll(&mut self, completed: &mut Vec<Completion>) {
        if self.in_flight == 0 {
            return;
        }
        self.polls = self.polls.wrapping_add(1);
        self.collect(self.polls.is_multiple_of(POLLS_PER_LOOK));
        self.hand_over(completed);
    }

    fn wait(&mut self, doorbell: &Doorbell, timeout: Option<Duration>) {
        if self.in_flight == 0 {
            sleep(doorbell, timeout);
            return;
        }
        self.collect(true);
        if !self.ready.is_empty() {
            return;
        }
        let nap = self.naps.next(now());
        sleep(doorbell, Some(timeout.map_or(nap, |timeout| timeout.min(nap))));
        self.collect(false);
    }

    fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn buffer(&mut self, len: usize) -> io::Result<DmaBuffer> {
        Ok(self.pool.buffer(len))
    }
}

impl Drop for SpdkQueue {
    fn drop(&mut self) {
        // Each command ends: by itself, by its bounds, or because it is given up.
        let mut completed = Vec::new();
        while self.in_flight > 0 {
            self.collect(true);
            self.hand_over(&mut completed);
            if self.in_flight > 0 {
                std::thread::park_timeout(self.naps.next(now()));
            }
        }
        self.control.close(self.lane.clone());
    }
}

/// Sleeps until the doorbell rings or the time is over.
fn sleep(doorbell: &Doorbell, timeout: Option<Duration>) {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    let bell = doorbell.fd();
    // An interrupted sleep is one that ended without reason.
    let _ = poll(&mut [PollFd::new(&bell, PollFlags::IN)], timeout.as_ref());
}

enum Admission {
    /// Nothing to do.
    Done,
    Run,
}

/// Checks a command against the device.
fn admit(operation: &Operation, shape: &Shape, read_only: bool) -> io::Result<Admission> {
    let (name, offset, len, writes) = match operation {
        Operation::Read {
            offset,
            buffer,
            range,
        } => ("read", *offset, part(buffer, range)?, false),
        Operation::Write {
            offset,
            buffer,
            range,
            ..
        } => ("write", *offset, part(buffer, range)?, true),
        // Without a volatile cache, and without writes, everything is durable.
        Operation::Flush if read_only || !shape.volatile_cache => return Ok(Admission::Done),
        Operation::Flush => return Ok(Admission::Run),
        Operation::Discard { offset, len } => ("discard", *offset, *len, true),
        Operation::WriteZeroes { offset, len } => ("write zeroes", *offset, *len, true),
        Operation::Allocate { offset, len } => ("allocate", *offset, *len, true),
    };
    if writes && read_only {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("{name} at byte {offset}: the device was opened for reading only"),
        ));
    }
    let unit = UNIT_BYTES as u64;
    if !offset.is_multiple_of(unit) || !len.is_multiple_of(unit) {
        return Err(invalid(format!(
            "{name} of {len} bytes at byte {offset}: both must be multiples of {unit}"
        )));
    }
    if offset.checked_add(len).is_none_or(|end| end > shape.capacity) {
        return Err(invalid(format!(
            "{name} of {len} bytes at byte {offset}: the device ends at {}",
            shape.capacity
        )));
    }
    match operation {
        _ if len == 0 => Ok(Admission::Done),
        Operation::Discard { .. } if shape.discard.is_none() => Ok(Admission::Done),
        Operation::Allocate { .. } if shape.thin => Err(io::Error::new(
            ErrorKind::Unsupported,
            "a thin-provisioned namespace cannot reserve space",
        )),
        // Every block of any other namespace has its place.
        Operation::Allocate { .. } => Ok(Admission::Done),
        _ => Ok(Admission::Run),
    }
}

/// Length of the part of a buffer to move, once it is known to be one that may be.
fn part(buffer: &DmaBuffer, range: &Range<usize>) -> io::Result<u64> {
    let Some(bytes) = buffer.get(range.clone()) else {
        return Err(invalid(format!(
            "bytes {} to {} of a buffer of {}",
            range.start,
            range.end,
            buffer.len()
        )));
    };
    if !range.start.is_multiple_of(UNIT_BYTES) {
        return Err(invalid(format!(
            "a part of a buffer from its byte {} on: that must be a multiple of {UNIT_BYTES}",
            range.start
        )));
    }
    if bytes.len() > TRANSFER_BYTES_MAX {
        return Err(invalid(format!(
            "a transfer of {} bytes: {TRANSFER_BYTES_MAX} are the most",
            bytes.len()
        )));
    }
    Ok(bytes.len() as u64)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
