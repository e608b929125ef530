//! The simulated device against its own fault model.

mod canary;
mod faults;
mod power;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::{Options, SimDevice};
use crate::device::{Command, Completion, Device, DmaBuffer, Operation, Queue, conformance};
use crate::limits::UNIT_BYTES;

const UNIT: u64 = UNIT_BYTES as u64;
const CAPACITY: u64 = 1 << 20;

/// One queue, used from the test's thread.
struct Rig {
    device: Arc<SimDevice>,
    queue: Box<dyn Queue>,
    next: u64,
    done: HashMap<u64, Completion>,
    /// Tokens in the order of completion.
    order: Vec<u64>,
}

impl Rig {
    fn on(device: Arc<SimDevice>) -> Rig {
        let queue = device.open_queue(64).expect("queues open");
        Rig {
            device,
            queue,
            next: 0,
            done: HashMap::new(),
            order: Vec::new(),
        }
    }

    fn new(seed: u64) -> Rig {
        Rig::on(SimDevice::new(seed, CAPACITY))
    }

    fn submit(&mut self, operation: Operation) -> u64 {
        self.next += 1;
        let command = Command {
            token: self.next,
            operation,
        };
        self.queue.submit(command).expect("room in the queue");
        self.next
    }

    fn finish(&mut self, token: u64) -> Completion {
        let mut completed = Vec::new();
        loop {
            if let Some(completion) = self.done.remove(&token) {
                return completion;
            }
            self.queue.poll(&mut completed);
            for completion in completed.drain(..) {
                self.order.push(completion.token);
                self.done.insert(completion.token, completion);
            }
        }
    }

    fn run(&mut self, operation: Operation) -> Completion {
        let token = self.submit(operation);
        self.finish(token)
    }

    fn write(&mut self, unit: u64, byte: u8, durable: bool) -> io::Result<()> {
        self.run(write(unit, 1, byte, durable)).result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.run(Operation::Flush).result
    }

    fn read(&mut self, unit: u64, units: usize) -> io::Result<Vec<u8>> {
        let range = 0..units * UNIT_BYTES;
        let buffer = DmaBuffer::heap(range.len());
        let completion = self.run(Operation::Read {
            offset: unit * UNIT,
            buffer,
            range,
        });
        let buffer = completion.buffer.expect("the buffer comes back");
        completion.result.map(|()| buffer.to_vec())
    }
}

/// Writes `units` units full of `byte`.
fn write(unit: u64, units: usize, byte: u8, durable: bool) -> Operation {
    let range = 0..units * UNIT_BYTES;
    let mut buffer = DmaBuffer::heap(range.len());
    buffer[range.clone()].fill(byte);
    Operation::Write {
        offset: unit * UNIT,
        buffer,
        range,
        durable,
    }
}

/// A unit full of `byte`.
fn full(byte: u8) -> Vec<u8> {
    vec![byte; UNIT_BYTES]
}

/// Goal: the seed and the commands decide everything.
/// Method: the same mixed commands with every fault by chance, twice per seed: equal logs, images and survivors;
/// among ten seeds all logs differ.
#[test]
fn the_same_seed_does_the_same() {
    let run = |seed: u64| {
        let mut rig = Rig::new(seed);
        rig.device.set_faults(faults::everything(0.1));
        let mut answers = Vec::new();
        for step in 0..40u8 {
            let unit = u64::from(step) * 3 % 50;
            let mut tokens = vec![
                rig.submit(write(unit, 3, step, step % 4 == 0)),
                rig.submit(Operation::Discard {
                    offset: (unit + 60) * UNIT,
                    len: 2 * UNIT,
                }),
                rig.submit(Operation::Read {
                    offset: unit * UNIT,
                    buffer: DmaBuffer::heap(4096),
                    range: 0..4096,
                }),
            ];
            if step % 7 == 0 {
                tokens.push(rig.submit(Operation::Flush));
            }
            for token in tokens {
                let completion = rig.finish(token);
                answers.push((
                    completion.result.is_ok(),
                    completion.buffer.map(|buffer| buffer.to_vec()),
                ));
            }
        }
        assert!(rig.device.faults_injected() > 0, "seed {seed}");
        let device = rig.device;
        (
            answers,
            device.log(),
            device.image(),
            device.power_cut().image(),
            device.power_cut().image(),
        )
    };
    let mut logs = Vec::new();
    for seed in 0..10 {
        let first = run(seed);
        assert!(first == run(seed), "seed {seed}");
        assert_eq!(first.1.len(), 40 * 3 + 6, "seed {seed}");
        logs.push(format!("{:?}", first.1));
    }
    logs.sort();
    logs.dedup();
    assert_eq!(logs.len(), 10);
}

/// Goal: commands complete out of order, and in another order for another seed.
/// Method: 32 writes at once on five seeds.
#[test]
fn commands_complete_out_of_order() {
    let mut orders = Vec::new();
    for seed in 0..5 {
        let mut rig = Rig::new(seed);
        let tokens: Vec<u64> = (0..32).map(|unit| rig.submit(write(unit, 1, 1, false))).collect();
        for token in &tokens {
            rig.finish(*token).result.expect("no faults are planned");
        }
        assert_ne!(rig.order, tokens, "seed {seed}");
        orders.push(rig.order);
    }
    orders.sort();
    orders.dedup();
    assert_eq!(orders.len(), 5);
}

/// Goal: the rules of the seam are checked and the depth is kept.
/// Method: one command against each rule; one command more than the depth.
#[test]
fn the_rules_are_kept() {
    let mut rig = Rig::new(1);
    for operation in [
        write(CAPACITY / UNIT, 1, 1, true),
        write(CAPACITY / UNIT - 1, 2, 1, true),
        Operation::Read {
            offset: 1,
            buffer: DmaBuffer::heap(4096),
            range: 0..4096,
        },
        Operation::Read {
            offset: 0,
            buffer: DmaBuffer::heap(4096),
            range: 0..8192,
        },
        Operation::Read {
            offset: 0,
            buffer: DmaBuffer::heap(4096),
            range: 0..100,
        },
        Operation::Read {
            offset: 0,
            buffer: DmaBuffer::heap(4096),
            range: 0..0,
        },
        Operation::Read {
            offset: u64::MAX - 4095,
            buffer: DmaBuffer::heap(4096),
            range: 0..4096,
        },
        Operation::Discard { offset: 0, len: 100 },
        Operation::WriteZeroes { offset: 0, len: 0 },
        Operation::Allocate {
            offset: 0,
            len: CAPACITY + UNIT,
        },
    ] {
        let shown = format!("{operation:?}");
        let completion = rig.run(operation);
        let error = completion.result.expect_err(&shown);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{shown}");
    }
    let mut queue = rig.device.open_queue(2).expect("queues open");
    for token in 0..2 {
        queue
            .submit(Command {
                token,
                operation: Operation::Flush,
            })
            .expect("room");
    }
    let back = queue
        .submit(Command {
            token: 7,
            operation: Operation::Flush,
        })
        .expect_err("full");
    assert_eq!((back.token, queue.in_flight()), (7, 2));
}

/// Goal: a told time is kept to: nothing completes early, and the next completion is announced.
/// Method: advance to one nanosecond before the announced time, then to it.
#[test]
fn completions_keep_to_virtual_time() {
    let device = SimDevice::with_options(
        3,
        Options {
            latency_ns: 500..1000,
            ..Options::new(CAPACITY)
        },
    );
    let mut queue = device.open_queue(8).expect("queues open");
    let mut completed = Vec::new();
    assert_eq!(queue.next_completion_ns(), None);
    queue.advance(1_000_000);
    queue
        .submit(Command {
            token: 1,
            operation: write(0, 1, 5, false),
        })
        .expect("room");
    let due = queue.next_completion_ns().expect("one in flight");
    assert!((1_000_500..1_001_000).contains(&due));
    queue.advance(due - 1);
    queue.poll(&mut completed);
    assert!(completed.is_empty());
    assert_eq!(
        device.peek(0, UNIT_BYTES),
        full(0),
        "not applied before it completes"
    );
    queue.advance(due);
    queue.poll(&mut completed);
    assert_eq!((completed.len(), queue.in_flight()), (1, 0));
    assert_eq!(device.peek(0, UNIT_BYTES), full(5));
    assert_eq!(device.log()[0].at_ns, due);
}

/// Goal: tests can look at, change, keep and restore the contents.
/// Method: poke across a unit boundary, flip a bit back and forth, build a new device from a kept image.
#[test]
fn contents_can_be_inspected_and_damaged() {
    let mut rig = Rig::new(1);
    rig.write(1, 9, false).expect("no faults are planned");
    rig.device.poke(2 * UNIT - 2, &[1, 2, 3]);
    assert_eq!(rig.device.peek(2 * UNIT - 3, 5), [9, 1, 2, 3, 0]);
    let kept = rig.device.image();
    rig.device.flip(UNIT, 3);
    assert_eq!(rig.read(1, 1).expect("reads succeed")[0], 9 ^ 8);
    assert_ne!(rig.device.image(), kept);
    rig.device.flip(UNIT, 3);
    assert_eq!(rig.device.image(), kept);
    let mut restored = Rig::on(SimDevice::from_image(2, kept.clone()));
    assert_eq!(
        restored.read(1, 1).expect("reads succeed"),
        kept.peek(UNIT, UNIT_BYTES)
    );
    assert_eq!(
        restored.device.power_cut().image(),
        kept,
        "a restored image is durable"
    );
    assert_eq!(kept.units().collect::<Vec<_>>(), [1, 2]);
}

/// Goal: without planned faults the simulated device keeps the rules every adapter keeps.
/// Method: the conformance suite, on two seeds, with and without a volatile cache.
#[test]
fn it_conforms() {
    for seed in 0..2 {
        for volatile_cache in [true, false] {
            conformance::run(&|| {
                let options = Options {
                    volatile_cache,
                    ..Options::new(conformance::CAPACITY_MIN)
                };
                SimDevice::with_options(seed, options)
            });
        }
    }
}
