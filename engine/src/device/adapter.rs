//! The engine's view of a queue of `fallback-io`: the same commands with other names, and buffers from an arena.

use std::time::Duration;

use fallback_io::Target;

use super::ahead::{MappedArena, Supplier};
use super::buffer::DmaBuffer;
use super::{Command, Completion, Doorbell, Geometry, Operation, Queue};
use crate::limits::UNIT_BYTES;

/// Any queue of `fallback-io` with its arena.
pub(super) struct Adapter<Q> {
    queue: Q,
    arena: MappedArena,
}

impl<Q> Adapter<Q> {
    /// A queue that hands out up to `memory_bytes` of its own memory.
    pub(super) fn new(queue: Q, memory_bytes: usize, supplier: &Supplier) -> Adapter<Q> {
        Adapter {
            queue,
            arena: MappedArena::new(memory_bytes, supplier.clone()),
        }
    }
}

impl<Q: fallback_io::Queue<DmaBuffer>> Queue for Adapter<Q> {
    fn submit(&mut self, command: Command) -> Result<(), Command> {
        self.queue.submit(command.into()).map_err(Command::from)
    }

    fn poll(&mut self, completed: &mut Vec<Completion>) {
        self.queue.poll(|done| {
            completed.push(Completion {
                token: done.token,
                buffer: done.buffer,
                result: done.result.map_err(Into::into),
            });
        });
    }

    fn wait(&mut self, doorbell: &Doorbell, timeout: Option<Duration>) {
        self.queue.wait(doorbell.shared(), timeout);
    }

    fn in_flight(&self) -> u32 {
        self.queue.in_flight()
    }

    fn buffer(&mut self, len: usize) -> std::io::Result<DmaBuffer> {
        let Adapter { queue, arena } = self;
        Ok(arena.buffer(len, |mapping| queue.register(mapping)))
    }
}

/// What a target is made of.
pub(super) fn geometry(target: &Target) -> Geometry {
    assert!(
        target.alignment() as usize == UNIT_BYTES,
        "opened with the engine's unit"
    );
    Geometry {
        capacity: target.capacity(),
        logical_block: target.logical_block(),
        transfer_max: target.transfer_max(),
        volatile_cache: target.volatile_cache(),
        discard: target.discards(),
    }
}

impl From<Command> for fallback_io::Command<DmaBuffer> {
    fn from(Command { token, operation }: Command) -> Self {
        use fallback_io::Operation as To;
        let operation = match operation {
            Operation::Read {
                offset,
                buffer,
                range,
            } => To::Read {
                offset,
                buffer,
                range,
            },
            Operation::Write {
                offset,
                buffer,
                range,
                durable,
            } => To::Write {
                offset,
                buffer,
                range,
                durable,
            },
            Operation::Flush => To::Flush,
            Operation::Discard { offset, len } => To::Discard { offset, len },
            Operation::WriteZeroes { offset, len } => To::WriteZeroes { offset, len },
            Operation::Allocate { offset, len } => To::Allocate { offset, len },
        };
        fallback_io::Command { token, operation }
    }
}

impl From<fallback_io::Command<DmaBuffer>> for Command {
    fn from(fallback_io::Command { token, operation }: fallback_io::Command<DmaBuffer>) -> Self {
        use fallback_io::Operation as From;
        let operation = match operation {
            From::Read {
                offset,
                buffer,
                range,
            } => Operation::Read {
                offset,
                buffer,
                range,
            },
            From::Write {
                offset,
                buffer,
                range,
                durable,
            } => Operation::Write {
                offset,
                buffer,
                range,
                durable,
            },
            From::Flush => Operation::Flush,
            From::Discard { offset, len } => Operation::Discard { offset, len },
            From::WriteZeroes { offset, len } => Operation::WriteZeroes { offset, len },
            From::Allocate { offset, len } => Operation::Allocate { offset, len },
        };
        Command { token, operation }
    }
}
