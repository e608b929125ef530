//! One reactor's queue to a simulated device: latencies, order of completion, the rules of the seam.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::faults::Effect;
use super::random::Random;
use super::state::{State, Ticket, buffer_of, place_of};
use crate::device::{Command, Completion, DmaBuffer, Doorbell, Geometry, Operation, Queue};
use crate::limits::UNIT_BYTES;

/// How far the queue's own time moves with each poll where nobody tells the time.
const POLL_NS: u64 = 25_000;

struct Waiting {
    /// What the device decided, or why it refuses.
    ticket: Result<Ticket, &'static str>,
    command: Command,
}

pub(super) struct SimQueue {
    state: Arc<Mutex<State>>,
    geometry: Geometry,
    number: u32,
    depth: u32,
    random: Random,
    latency_ns: Range<u64>,
    now_ns: u64,
    /// Somebody tells the time.
    driven: bool,
    /// By due time; equal ones by order of submission.
    waiting: BTreeMap<(u64, u64), Waiting>,
    submitted: u64,
}

impl SimQueue {
    pub(super) fn new(
        state: Arc<Mutex<State>>,
        geometry: Geometry,
        number: u32,
        depth: u32,
        random: Random,
        latency_ns: Range<u64>,
    ) -> SimQueue {
        SimQueue {
            state,
            geometry,
            number,
            depth,
            random,
            latency_ns,
            now_ns: 0,
            driven: false,
            waiting: BTreeMap::new(),
            submitted: 0,
        }
    }

    /// The rules of the seam, as a real device would check them.
    fn check(&self, operation: &Operation) -> Result<(), &'static str> {
        if let Operation::Read { buffer, range, .. } | Operation::Write { buffer, range, .. } = operation {
            if range.start > range.end || range.end > buffer.len() {
                return Err("the range is outside the buffer");
            }
            if !range.start.is_multiple_of(UNIT_BYTES) {
                return Err("the range does not start at a whole unit");
            }
            if range.len() as u64 > u64::from(self.geometry.transfer_max) {
                return Err("the transfer is larger than the device takes at once");
            }
        }
        let Some(place) = place_of(operation) else {
            return Ok(());
        };
        let unit = UNIT_BYTES as u64;
        if place.is_empty() || !place.start.is_multiple_of(unit) || !place.end.is_multiple_of(unit) {
            return Err("offset and length must be whole units, the length not zero");
        }
        if place.end > self.geometry.capacity {
            return Err("it reaches beyond the end of the device");
        }
        Ok(())
    }

    fn finish(&mut self, due_ns: u64, waiting: Waiting) -> Completion {
        let Command { token, mut operation } = waiting.command;
        let result = match waiting.ticket {
            Err(reason) => Err(io::Error::new(io::ErrorKind::InvalidInput, reason)),
            Ok(ticket) => {
                let mut state = self.state.lock();
                let result = state.finish(&ticket, &mut operation);
                state.note(&ticket, self.number, due_ns, &operation, &result);
                result
            }
        };
        Completion {
            token,
            buffer: buffer_of(operation),
            result,
        }
    }
}

impl Queue for SimQueue {
    fn submit(&mut self, command: Command) -> Result<(), Command> {
        if self.in_flight() >= self.depth {
            return Err(command);
        }
        let ticket = self
            .check(&command.operation)
            .map(|()| self.state.lock().admit(&command.operation));
        let span = self.latency_ns.end - self.latency_ns.start;
        let mut latency = self.latency_ns.start + self.random.below(span);
        if let Ok(Ticket {
            effect: Some(Effect::Slow(longer)),
            ..
        }) = &ticket
        {
            latency = latency.saturating_add(u64::try_from(longer.as_nanos()).unwrap_or(u64::MAX));
        }
        self.submitted += 1;
        let place = (self.now_ns.saturating_add(latency), self.submitted);
        self.waiting.insert(place, Waiting { ticket, command });
        Ok(())
    }

    fn poll(&mut self, completed: &mut Vec<Completion>) {
        if !self.driven {
            self.now_ns = self.now_ns.saturating_add(POLL_NS);
        }
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= self.now_ns
        {
            let ((due_ns, _), waiting) = first.remove_entry();
            completed.push(self.finish(due_ns, waiting));
        }
    }

    fn wait(&mut self, doorbell: &Doorbell, timeout: Option<Duration>) {
        if let Some(((due_ns, _), _)) = self.waiting.first_key_value() {
            // The next poll hands it over.
            self.now_ns = self.now_ns.max(*due_ns);
            return;
        }
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let bell = doorbell.fd();
        // An interrupted wait is one that ends without reason.
        let _ = rustix::event::poll(&mut [PollFd::new(&bell, PollFlags::IN)], timeout.as_ref());
    }

    fn in_flight(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    fn buffer(&mut self, len: usize) -> io::Result<DmaBuffer> {
        Ok(DmaBuffer::heap(len))
    }

    fn advance(&mut self, now_ns: u64) {
        self.driven = true;
        self.now_ns = self.now_ns.max(now_ns);
    }

    fn next_completion_ns(&self) -> Option<u64> {
        self.waiting
            .first_key_value()
            .filter(|_| self.driven)
            .map(|((due_ns, _), _)| *due_ns)
    }
}
