//! One queue driven by hand: what the checks say commands with.

use std::sync::Arc;
use std::time::Duration;

use super::Make;
use crate::device::{Command, Completion, Device, DmaBuffer, Doorbell, Operation, Queue};
use crate::limits::UNIT_BYTES;

/// A device with one queue. Declared in the order in which they must go.
pub(super) struct Driver {
    pub(super) queue: Box<dyn Queue>,
    pub(super) device: Arc<dyn Device>,
    /// Never rung.
    bell: Doorbell,
}

impl Driver {
    pub(super) fn new(make: Make<'_>, depth: u32) -> Driver {
        Driver::on(make(), depth)
    }

    pub(super) fn on(device: Arc<dyn Device>, depth: u32) -> Driver {
        Driver {
            queue: device.open_queue(depth).expect("open a queue"),
            device,
            bell: Doorbell::new().expect("doorbell"),
        }
    }

    pub(super) fn buffer(&mut self, len: usize) -> DmaBuffer {
        self.queue.buffer(len).expect("buffer")
    }

    /// A write of `len` bytes of one value.
    pub(super) fn filled(&mut self, offset: u64, len: usize, byte: u8) -> Operation {
        let mut buffer = self.buffer(len);
        buffer.fill(byte);
        let range = 0..len;
        Operation::Write {
            offset,
            buffer,
            range,
            durable: false,
        }
    }

    pub(super) fn submit(&mut self, token: u64, operation: Operation) {
        let full = self.queue.submit(Command { token, operation }).is_err();
        assert!(!full, "full with {} in flight", self.queue.in_flight());
    }

    pub(super) fn submit_write(&mut self, token: u64, offset: u64, bytes: &[u8], durable: bool) {
        let mut buffer = self.buffer(bytes.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        let range = 0..bytes.len();
        let operation = Operation::Write {
            offset,
            buffer,
            range,
            durable,
        };
        self.submit(token, operation);
    }

    /// At least one completion, if anything is in flight.
    pub(super) fn some(&mut self) -> Vec<Completion> {
        let mut completed = Vec::new();
        while completed.is_empty() && self.queue.in_flight() > 0 {
            self.queue.poll(&mut completed);
            if completed.is_empty() {
                self.queue.wait(&self.bell, Some(Duration::from_secs(1)));
            }
        }
        completed
    }

    /// Everything in flight, completed.
    pub(super) fn drain(&mut self) -> Vec<Completion> {
        let mut completed = Vec::new();
        while self.queue.in_flight() > 0 {
            completed.extend(self.some());
        }
        completed
    }

    /// Runs one command alone.
    pub(super) fn run(&mut self, operation: Operation) -> Completion {
        self.submit(4711, operation);
        let mut completed = self.drain();
        let done = completed.pop().expect("a completion");
        assert!(
            completed.is_empty() && done.token == 4711,
            "one command, one completion"
        );
        done
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], durable: bool) {
        self.submit_write(4711, offset, bytes, durable);
        for done in self.drain() {
            done.result.expect("write");
            assert!(done.buffer.is_some(), "the buffer comes back");
        }
    }

    pub(super) fn read(&mut self, offset: u64, len: usize) -> Vec<u8> {
        let mut buffer = self.buffer(len);
        buffer.fill(0xEE);
        let range = 0..len;
        let done = self.run(Operation::Read {
            offset,
            buffer,
            range,
        });
        done.result.expect("read");
        done.buffer.expect("the buffer comes back")[..len].to_vec()
    }
}

/// Bytes that tell by whom (`stamp`) and for where they were written.
pub(super) fn pattern(stamp: u64, offset: u64, len: usize) -> Vec<u8> {
    assert!(len.is_multiple_of(UNIT_BYTES));
    let seed = stamp.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..len as u64 / 8)
        .flat_map(|word| (seed ^ (offset + word * 8).wrapping_mul(0xff51_afd7_ed55_8ccd)).to_le_bytes())
        .collect()
}
