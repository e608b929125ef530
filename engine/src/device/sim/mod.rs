//! An in-memory device driven by a seed.

mod random;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Command, Completion, Device, DmaBuffer, Doorbell, Geometry, Operation, Queue};
use crate::limits::UNIT_BYTES;

pub use random::Random;

type Units = HashMap<u64, Box<[u8]>>;

/// The device.
pub struct SimDevice {
    name: String,
    capacity: u64,
    units: Arc<Mutex<Units>>,
    random: Mutex<Random>,
}

impl SimDevice {
    /// A fresh device of zeroes.
    pub fn new(seed: u64, capacity: u64) -> Arc<SimDevice> {
        Arc::new(SimDevice {
            name: format!("sim:{seed}"),
            capacity,
            units: Arc::default(),
            random: Mutex::new(Random::new(seed)),
        })
    }
}

impl Device for SimDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            capacity: self.capacity,
            logical_block: 4096,
            transfer_max: 4 << 20,
            volatile_cache: true,
            discard: true,
        }
    }

    fn open_queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        Ok(Box::new(SimQueue {
            units: Arc::clone(&self.units),
            random: self.random.lock().fork(),
            depth,
            now: None,
            pending: Vec::new(),
        }))
    }
}

struct SimQueue {
    units: Arc<Mutex<Units>>,
    random: Random,
    depth: u32,
    now: Option<u64>,
    pending: Vec<(u64, Command)>,
}

impl Queue for SimQueue {
    fn submit(&mut self, command: Command) -> Result<(), Command> {
        if self.in_flight() >= self.depth {
            return Err(command);
        }
        let due = self.now.unwrap_or(0) + 10_000 + self.random.below(100_000);
        self.pending.push((due, command));
        Ok(())
    }

    fn poll(&mut self, completed: &mut Vec<Completion>) {
        let now = self.now.unwrap_or(u64::MAX);
        self.random.shuffle(&mut self.pending);
        let due: Vec<_> = self.pending.extract_if(.., |(due, _)| *due <= now).collect();
        completed.extend(
            due.into_iter()
                .map(|(_, command)| apply(&mut self.units.lock(), command)),
        );
    }

    fn wait(&mut self, doorbell: &Doorbell, timeout: Option<Duration>) {
        if !self.pending.is_empty() {
            return;
        }
        let limit = timeout.map(|timeout| rustix::event::Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let bell = doorbell.fd();
        let mut bells = [rustix::event::PollFd::new(&bell, rustix::event::PollFlags::IN)];
        // An interrupted wait is a wake-up without reason.
        let _ = rustix::event::poll(&mut bells, limit.as_ref());
    }

    fn in_flight(&self) -> u32 {
        u32::try_from(self.pending.len()).unwrap_or(u32::MAX)
    }

    fn buffer(&mut self, len: usize) -> io::Result<DmaBuffer> {
        Ok(DmaBuffer::heap(len))
    }

    fn advance(&mut self, now_ns: u64) {
        self.now = Some(now_ns);
    }

    fn next_completion_ns(&self) -> Option<u64> {
        self.now?;
        self.pending.iter().map(|(due, _)| *due).min()
    }
}

fn apply(units: &mut Units, command: Command) -> Completion {
    let unit = UNIT_BYTES as u64;
    let buffer = match command.operation {
        Operation::Read {
            offset,
            mut buffer,
            range,
        } => {
            for (index, part) in buffer[range].chunks_mut(UNIT_BYTES).enumerate() {
                match units.get(&(offset / unit + index as u64)) {
                    Some(bytes) => part.copy_from_slice(bytes),
                    None => part.fill(0),
                }
            }
            Some(buffer)
        }
        Operation::Write {
            offset,
            buffer,
            range,
            ..
        } => {
            for (index, part) in buffer[range].chunks(UNIT_BYTES).enumerate() {
                units.insert(offset / unit + index as u64, part.into());
            }
            Some(buffer)
        }
        Operation::Discard { offset, len } | Operation::WriteZeroes { offset, len } => {
            for index in 0..len / unit {
                units.remove(&(offset / unit + index));
            }
            None
        }
        Operation::Flush | Operation::Allocate { .. } => None,
    };
    Completion {
        token: command.token,
        buffer,
        result: Ok(()),
    }
}
