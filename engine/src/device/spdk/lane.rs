//! The commands of one queue, between the reactor that submits them and the queue pair that carries them out.
//!
//! Owns what a command is made of: pieces no longer than the device takes, a share of the buffer for each, the first
//! error, the time. A lane stays when its queue pair goes: what was under way then ends with an error (whether it took
//! effect is unknown, and it is never tried again), what was not yet begun waits for the next one.
//!
//! Who holds the lock: the reactor for as long as a submission or a poll takes, without ever waiting for it; the control
//! thread to take the queue pair away or to bring one.
//!
//! Time: a command that takes longer than the bound is aborted; one that still does not end has the controller reset;
//! one that even then does not end is answered with an error, and its buffer stays with the device for good.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::bounds::{Bounds, now};
use super::memory::Pool;
use super::namespace::Shape;
use super::pair::{Loan, Pair, Refused, SlotNumber};
use super::status::Status;
use crate::device::buffer::DmaBuffer;
use crate::device::{Command, Completion, Operation};
use crate::limits::UNIT_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write { durable: bool },
    Flush,
    Discard,
    Zeroes,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Write { .. } => "write",
            Kind::Flush => "flush",
            Kind::Discard => "discard",
            Kind::Zeroes => "write zeroes",
        }
    }
}

/// A command in progress.
struct Active {
    token: u64,
    kind: Kind,
    /// Where on the device it begins.
    offset: u64,
    len: u64,
    /// Bytes whose pieces were submitted, or are given up.
    begun: u64,
    /// A flush has one piece without bytes.
    is_begun: bool,
    /// Pieces with the device.
    pieces: u32,
    error: Option<io::Error>,
    loan: Option<Arc<Loan>>,
    /// The submitter's buffer, and which part of it is meant, where the device uses another.
    original: Option<(DmaBuffer, std::ops::Range<usize>)>,
    accepted: Instant,
    /// When its first piece was submitted.
    started: Option<Instant>,
    abort_asked: bool,
}

/// What the control thread has to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// Abort what takes too long.
    Abort,
    /// Another queue pair, on a controller that was reset.
    Recovery(String),
}

/// See the module.
pub(super) struct Lane {
    pair: Option<Pair>,
    shape: Shape,
    bounds: Bounds,
    pool: Pool,
    /// What zeroes are written from, where the device does not write them by itself.
    zeroes: Option<Arc<Loan>>,
    commands: Vec<Option<Active>>,
    idle: Vec<usize>,
    /// Commands with pieces still to submit, in the order they came.
    waiting: VecDeque<usize>,
    /// By slot of the queue pair: the command.
    of_slot: Vec<Option<usize>>,
    /// By slot: its abort was sent.
    abort_sent: Vec<bool>,
    /// The control thread was asked to abort, and has not been here yet.
    abort_ordered: bool,
    completed: Vec<Completion>,
    /// Reused by every poll.
    finished: Vec<(SlotNumber, Status)>,
    need: Option<Need>,
    /// A recovery was asked for and has not come.
    is_recovering: bool,
    /// Why no command will ever be carried out again.
    dead: Option<String>,
}

impl Lane {
    /// A lane without a queue pair.
    pub(super) fn new(shape: Shape, bounds: Bounds, pool: Pool) -> io::Result<Lane> {
        let zeroes = if shape.zeroes.is_some() {
            None
        } else {
            let len = shape.piece.min(128 << 10) as usize;
            let mut buffer = pool.dma(len).ok_or_else(no_memory)?;
            buffer.fill(0);
            Some(Loan::new(buffer, 0..len))
        };
        Ok(Lane {
            pair: None,
            shape,
            bounds,
            pool,
            zeroes,
            commands: Vec::new(),
            idle: Vec::new(),
            waiting: VecDeque::new(),
            of_slot: Vec::new(),
            abort_sent: Vec::new(),
            abort_ordered: false,
            completed: Vec::new(),
            finished: Vec::new(),
            need: None,
            is_recovering: false,
            dead: None,
        })
    }

    /// Takes a command that was checked against the shape, and begins it if it can.
    pub(super) fn accept(&mut self, command: Command) {
        let Command { token, operation } = command;
        if self.dead.is_some() {
            self.refuse(token, operation);
            return;
        }
        let (kind, offset, lent, len) = match operation {
            Operation::Read {
                offset,
                buffer,
                range,
            } => {
                let len = range.len() as u64;
                (Kind::Read, offset, Some((buffer, range)), len)
            }
            Operation::Write {
                offset,
                buffer,
                range,
                durable,
            } => {
                let len = range.len() as u64;
                (Kind::Write { durable }, offset, Some((buffer, range)), len)
            }
            Operation::Flush => (Kind::Flush, 0, None, 0),
            Operation::Discard { offset, len } => (Kind::Discard, offset, None, len),
            Operation::WriteZeroes { offset, len } => (Kind::Zeroes, offset, None, len),
            Operation::Allocate { .. } => unreachable!("answered by the queue"),
        };
        let (loan, original) = match lent {
            None => (self.zeroes.clone().filter(|_| kind == Kind::Zeroes), None),
            Some((buffer, range)) if self.pool.suits(&buffer) => (Some(Loan::new(buffer, range)), None),
            Some((buffer, range)) => {
                let Some(mut own) = self.pool.dma(range.len()) else {
                    self.completed.push(Completion {
                        token,
                        buffer: Some(buffer),
                        result: Err(no_memory()),
                    });
                    return;
                };
                if kind != Kind::Read {
                    own[..range.len()].copy_from_slice(&buffer[range.clone()]);
                }
                (Some(Loan::new(own, 0..range.len())), Some((buffer, range)))
            }
        };
        let active = Active {
            token,
            kind,
            offset,
            len,
            begun: 0,
            is_begun: false,
            pieces: 0,
            error: None,
            loan,
            original,
            accepted: now(),
            started: None,
            abort_asked: false,
        };
        let index = match self.idle.pop() {
            Some(index) => {
                self.commands[index] = Some(active);
                index
            }
            None => {
                self.commands.push(Some(active));
                self.commands.len() - 1
            }
        };
        self.waiting.push_back(index);
        self.advance();
    }

    /// Submits pieces while the queue pair takes them.
    fn advance(&mut self) {
        while let Some(&index) = self.waiting.front() {
            let Some(pair) = self.pair.as_mut().filter(|_| !self.is_recovering) else {
                return;
            };
            let left = self.commands[index].as_mut();
            let left = left
                .filter(|active| active.error.is_none() && (active.begun < active.len || !active.is_begun));
            let Some(active) = left else {
                // It has failed meanwhile: the rest of it is not tried.
                self.waiting.pop_front();
                continue;
            };
            match begin(pair, active, &self.shape) {
                Ok((slot, bytes)) => {
                    active.begun += bytes;
                    active.is_begun = true;
                    active.pieces += 1;
                    active.started.get_or_insert_with(now);
                    let is_whole = active.begun >= active.len;
                    let slot = slot as usize;
                    if self.of_slot.len() <= slot {
                        self.of_slot.resize(slot + 1, None);
                        self.abort_sent.resize(slot + 1, false);
                    }
                    self.of_slot[slot] = Some(index);
                    self.abort_sent[slot] = false;
                    if is_whole {
                        self.waiting.pop_front();
                    }
                }
                Err(Refused::Full) => return,
                Err(Refused::Broken(code)) => {
                    self.broken(code);
                    return;
                }
                Err(Refused::Invalid(code)) => {
                    let error = io::Error::from_raw_os_error(-code);
                    active.error.get_or_insert(error);
                    active.begun = active.len;
                    self.waiting.pop_front();
                    self.finish_if_done(index);
                }
            }
        }
    }

    /// Takes what has completed from the queue pair, and submits what waited.
    pub(super) fn poll(&mut self) {
        // A queue pair that is about to be taken away completes everything then.
        let Some(pair) = self.pair.as_mut().filter(|_| !self.is_recovering) else {
            return;
        };
        let finished = &mut self.finished;
        let polled = pair.poll(|slot, status| finished.push((slot, status)));
        self.settle(None);
        match polled {
            Err(code) => self.broken(code),
            Ok(()) => self.advance(),
        }
    }

    /// Notes the outcome of finished pieces; `reason` replaces the status of failed ones.
    fn settle(&mut self, reason: Option<&str>) {
        let mut finished = mem::take(&mut self.finished);
        for (slot, status) in finished.drain(..) {
            // A command that was given up has no place any more.
            let Some(index) = self.of_slot.get_mut(slot as usize).and_then(Option::take) else {
                continue;
            };
            let Some(active) = &mut self.commands[index] else {
                continue;
            };
            active.pieces -= 1;
            if !status.is_good() {
                let error = match reason {
                    Some(reason) => lost(reason),
                    None if active.abort_asked && status.is_aborted() => io::Error::new(
                        ErrorKind::TimedOut,
                        format!(
                            "{} at byte {}: aborted, because it took longer than {:?}",
                            active.kind.name(),
                            active.offset,
                            self.bounds.abort()
                        ),
                    ),
                    None => status.error(active.kind.name(), active.offset),
                };
                active.error.get_or_insert(error);
                // The rest of it is not tried.
                active.begun = active.len;
            }
            self.finish_if_done(index);
        }
        self.finished = finished;
    }

    fn finish_if_done(&mut self, index: usize) {
        let is_done = self.commands[index].as_ref().is_some_and(|active| {
            active.pieces == 0 && active.begun >= active.len && (active.is_begun || active.error.is_some())
        });
        if is_done {
            self.finish(index);
        }
    }

    fn finish(&mut self, index: usize) {
        let Some(active) = self.commands[index].take() else {
            return;
        };
        self.idle.push(index);
        // A command may end before it was begun, or between two pieces.
        self.waiting.retain(|&waiting| waiting != index);
        let reads_memory = active.kind != Kind::Read;
        let buffer = match (active.loan, active.original) {
            (None, _) => None,
            (Some(_), _) if !matches!(active.kind, Kind::Read | Kind::Write { .. }) => None,
            (Some(loan), None) => Some(loan.end_or_replace(reads_memory)),
            (Some(loan), Some((mut buffer, range))) => {
                if let Some(own) = loan.end()
                    && !reads_memory
                    && active.error.is_none()
                {
                    let len = range.len();
                    buffer[range].copy_from_slice(&own[..len]);
                }
                Some(buffer)
            }
        };
        self.completed.push(Completion {
            token: active.token,
            buffer,
            result: active.error.map_or(Ok(()), Err),
        });
    }

    fn broken(&mut self, code: i32) {
        if !self.is_recovering {
            let error = io::Error::from_raw_os_error(-code);
            self.need_recovery(format!("the connection to the controller is lost ({error})"));
        }
    }

    fn need_recovery(&mut self, reason: String) {
        self.is_recovering = true;
        self.need = Some(Need::Recovery(reason));
    }

    /// Looks for commands that take too long.
    pub(super) fn look_at_the_time(&mut self) {
        let now = now();
        let bounds = self.bounds;
        let mut over = Vec::new();
        let (mut abort, mut reset) = (false, false);
        for (index, active) in self.commands.iter_mut().enumerate() {
            let Some(active) = active else { continue };
            if now.duration_since(active.accepted) >= bounds.give_up() {
                over.push(index);
                continue;
            }
            let Some(started) = active.started else { continue };
            let age = now.duration_since(started);
            if age >= bounds.abort() {
                active.abort_asked = true;
                abort = true;
            }
            reset |= age >= bounds.reset();
        }
        if reset && !self.is_recovering {
            self.need_recovery("a command did not end, not even when it was aborted".into());
        } else if abort && !self.abort_ordered && !self.is_recovering {
            self.abort_ordered = true;
            self.need = Some(Need::Abort);
        }
        for index in over {
            self.give_up(index);
        }
    }

    /// Answers a command that nobody will.
    fn give_up(&mut self, index: usize) {
        if let Some(active) = &mut self.commands[index] {
            tracing::error!(
                operation = active.kind.name(),
                offset = active.offset,
                "a command is given up: neither it, nor its abort, nor a reset has ended in time"
            );
            active.error.get_or_insert(io::Error::new(
                ErrorKind::TimedOut,
                "the device did not answer, and a reset of its controller did not help",
            ));
        }
        for place in &mut self.of_slot {
            if *place == Some(index) {
                *place = None;
            }
        }
        self.finish(index);
    }

    /// Aborts, on the control thread, the next piece of what was found to take too long. One at a time: a controller
    /// takes few, and SPDK 20.07 corrupts its memory when those it has queued meet a connection that is lost.
    pub(super) fn abort_overdue(&mut self) {
        self.abort_ordered = false;
        let Some(pair) = &mut self.pair else { return };
        for (slot, index) in self.of_slot.iter().enumerate() {
            let overdue = index
                .and_then(|index| self.commands[index].as_ref())
                .is_some_and(|active| active.abort_asked);
            if overdue && !self.abort_sent[slot] {
                self.abort_sent[slot] = pair.abort(slot as SlotNumber);
                return;
            }
        }
    }

    /// Takes the queue pair away, for the control thread to end without the lock: that may take long.
    pub(super) fn take_pair(&mut self) -> Option<Pair> {
        self.is_recovering = true;
        self.need = None;
        self.pair.take()
    }

    /// The queue pair that was taken is gone, with these pieces completed meanwhile; what was under way ends with
    /// `reason`.
    pub(super) fn disconnected(&mut self, finished: Vec<(SlotNumber, Status)>, reason: &str) {
        self.finished = finished;
        self.settle(Some(reason));
        for index in 0..self.commands.len() {
            if let Some(active) = &mut self.commands[index]
                && active.started.is_some()
            {
                active.error.get_or_insert_with(|| lost(reason));
                self.finish(index);
            }
        }
        self.of_slot.fill(None);
    }

    /// Whether somebody waits for a queue pair.
    pub(super) fn is_recovering(&self) -> bool {
        self.is_recovering
    }

    /// Brings a queue pair.
    pub(super) fn connect(&mut self, pair: Pair) {
        self.pair = Some(pair);
        self.is_recovering = false;
        self.need = None;
        self.advance();
    }

    /// No queue pair will come any more; the last one is gone.
    pub(super) fn die(&mut self, reason: &str) {
        self.dead = Some(reason.to_owned());
        for index in 0..self.commands.len() {
            if let Some(active) = &mut self.commands[index] {
                active.error.get_or_insert_with(|| lost(reason));
                self.finish(index);
            }
        }
    }

    fn refuse(&mut self, token: u64, operation: Operation) {
        let reason = self.dead.as_deref().unwrap_or_default();
        let buffer = match operation {
            Operation::Read { buffer, .. } | Operation::Write { buffer, .. } => Some(buffer),
            _ => None,
        };
        self.completed.push(Completion {
            token,
            buffer,
            result: Err(lost(reason)),
        });
    }

    /// What is complete since the last call.
    pub(super) fn take_completed(&mut self, into: &mut Vec<Completion>) {
        into.append(&mut self.completed);
    }

    /// What to ask the control thread for; asked once.
    pub(super) fn take_need(&mut self) -> Option<Need> {
        self.need.take()
    }
}

/// Submits the next piece of a command: its slot and its bytes.
fn begin(pair: &mut Pair, active: &Active, shape: &Shape) -> Result<(SlotNumber, u64), Refused> {
    let left = active.len - active.begun;
    let offset = active.offset + active.begun;
    let at = active.begun as usize;
    let lent = || active.loan.as_ref().expect("reads and writes have a buffer");
    let (slot, bytes) = match active.kind {
        Kind::Read => {
            let bytes = left.min(shape.piece);
            (pair.read(lent(), at, bytes, offset)?, bytes)
        }
        Kind::Write { durable } => {
            let bytes = left.min(shape.piece);
            (pair.write(lent(), at, bytes, offset, durable)?, bytes)
        }
        Kind::Flush => (pair.flush()?, 0),
        Kind::Discard => {
            let bytes = left.min(shape.discard.unwrap_or(UNIT_BYTES as u64));
            (pair.deallocate(offset, bytes)?, bytes)
        }
        Kind::Zeroes => match (shape.zeroes, &active.loan) {
            (Some(most), _) => {
                let bytes = left.min(most);
                (pair.write_zeroes(offset, bytes)?, bytes)
            }
            (None, loan) => {
                let loan = loan.as_ref().expect("a lane without the command has zeroes");
                let bytes = left.min(loan.len() as u64);
                (pair.write(loan, 0, bytes, offset, false)?, bytes)
            }
        },
    };
    Ok((slot, bytes))
}

fn lost(reason: &str) -> io::Error {
    io::Error::new(
        ErrorKind::ConnectionAborted,
        format!("{reason}; whether the command took effect is unknown"),
    )
}

fn no_memory() -> io::Error {
    io::Error::new(
        ErrorKind::OutOfMemory,
        "SPDK's hugepages are used up; `helios device hugepages` shows how many there are, and allocates more as root",
    )
}
