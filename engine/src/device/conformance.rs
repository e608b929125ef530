//! The rules of the device seam as checks that every adapter passes, whatever it drives.
//!
//! [`run`] takes a way to make a device of at least [`CAPACITY_MIN`] bytes that answers truthfully (a simulated
//! one without faults). Checks overwrite the device and assume nothing about what is on it. Each is also
//! callable by name through [`CHECKS`]. Power loss cannot be had here; the simulation checks durability.

mod driver;
mod model;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Command, Device, DmaBuffer, Doorbell, Operation};
use crate::limits::{FRAME_BYTES_MAX, UNIT_BYTES};
use driver::{Driver, pattern};

/// Smallest device the checks fit on, in bytes.
pub const CAPACITY_MIN: u64 = 32 << 20;

/// Makes or opens the device under test; the checks drop one before they make the next.
pub type Make<'a> = &'a dyn Fn() -> Arc<dyn Device>;

/// One check: panics when its rule is broken.
pub type Check = fn(Make<'_>);

/// Every check by name.
pub const CHECKS: &[(&str, Check)] = &[
    ("geometry_is_sane", geometry_is_sane),
    ("reads_back_what_was_written", reads_back_what_was_written),
    ("moves_parts_of_buffers", moves_parts_of_buffers),
    ("completions_carry_their_tokens", completions_carry_their_tokens),
    ("full_queue_hands_back", full_queue_hands_back),
    ("flush_and_durable_complete", flush_and_durable_complete),
    ("discarded_ranges_are_writable", discarded_ranges_are_writable),
    ("zeroes_read_as_zeroes", zeroes_read_as_zeroes),
    ("allocate_keeps_contents", allocate_keeps_contents),
    ("bad_commands_are_errors", bad_commands_are_errors),
    ("time_and_doorbell_wake", time_and_doorbell_wake),
    ("buffers_are_independent", buffers_are_independent),
    ("queues_are_independent", queues_are_independent),
    ("dropping_a_busy_queue_is_safe", dropping_a_busy_queue_is_safe),
    ("agrees_with_a_model", model::agrees_with_a_model),
];

/// Runs every check.
pub fn run(make: Make<'_>) {
    for (name, check) in CHECKS {
        println!("conformance: {name}");
        check(make);
    }
}

const UNIT: u64 = UNIT_BYTES as u64;

fn geometry_is_sane(make: Make<'_>) {
    let device = make();
    let geometry = device.geometry();
    assert!(geometry.capacity >= CAPACITY_MIN, "{geometry:?}");
    assert!(geometry.capacity.is_multiple_of(UNIT), "{geometry:?}");
    assert!(
        [512, 1024, 2048, 4096].contains(&geometry.logical_block),
        "{geometry:?}"
    );
    assert!(geometry.transfer_max as usize >= FRAME_BYTES_MAX, "{geometry:?}");
    assert!(
        (geometry.transfer_max as usize).is_multiple_of(UNIT_BYTES),
        "{geometry:?}"
    );
    assert!(!device.name().is_empty());
    assert!(device.open_queue(0).is_err(), "a queue that can hold nothing");
}

/// Sizes around powers of two up to the largest transfer, at both ends of the device and in between.
fn reads_back_what_was_written(make: Make<'_>) {
    let mut driver = Driver::new(make, 4);
    let geometry = driver.device.geometry();
    let transfer_max = u64::from(geometry.transfer_max);
    let mut sizes = vec![
        UNIT,
        2 * UNIT,
        3 * UNIT,
        31 * UNIT,
        256 * UNIT,
        FRAME_BYTES_MAX as u64,
    ];
    sizes.extend([transfer_max - UNIT, transfer_max]);
    for (stamp, len) in (1..).zip(sizes) {
        for offset in [0, UNIT, 5 * UNIT + transfer_max, geometry.capacity - len] {
            let bytes = pattern(stamp, offset, len as usize);
            driver.write(offset, &bytes, false);
            assert!(
                driver.read(offset, len as usize) == bytes,
                "{len} bytes at {offset}"
            );
        }
    }
}

fn moves_parts_of_buffers(make: Make<'_>) {
    let mut driver = Driver::new(make, 4);
    driver.write(0, &pattern(1, 0, 8 * UNIT_BYTES), false);
    let mut buffer = driver.buffer(4 * UNIT_BYTES);
    buffer.fill(0xEE);
    let range = UNIT_BYTES..3 * UNIT_BYTES;
    let offset = 5 * UNIT;
    let read = driver.run(Operation::Read {
        offset,
        buffer,
        range: range.clone(),
    });
    read.result.expect("read");
    let buffer = read.buffer.expect("the buffer comes back");
    assert!(buffer[range.clone()] == pattern(1, offset, 2 * UNIT_BYTES));
    assert!(
        buffer[..UNIT_BYTES]
            .iter()
            .chain(&buffer[3 * UNIT_BYTES..])
            .all(|byte| *byte == 0xEE)
    );
    let write = driver.run(Operation::Write {
        offset: UNIT,
        buffer,
        range,
        durable: false,
    });
    write.result.expect("write");
    let mut expected = pattern(1, 0, 8 * UNIT_BYTES);
    expected.copy_within(5 * UNIT_BYTES..7 * UNIT_BYTES, UNIT_BYTES);
    assert!(driver.read(0, 8 * UNIT_BYTES) == expected);
}

/// Many commands of different length in flight: each completes once, under its token, with its own bytes.
fn completions_carry_their_tokens(make: Make<'_>) {
    const COMMANDS: u64 = 32;
    let mut driver = Driver::new(make, COMMANDS as u32);
    let place = |index: u64| (index * 64 * UNIT, (1 + index * 7 % 64) as usize * UNIT_BYTES);
    for index in 0..COMMANDS {
        let (offset, len) = place(index);
        driver.write(offset, &pattern(index, offset, len), false);
    }
    let token = |index: u64| u64::MAX - index * 1_000_003;
    for index in 0..COMMANDS {
        let (offset, len) = place(index);
        let buffer = driver.buffer(len);
        let range = 0..len;
        let operation = Operation::Read {
            offset,
            buffer,
            range,
        };
        driver.submit(token(index), operation);
    }
    let mut completions = driver.drain();
    assert_eq!(completions.len() as u64, COMMANDS);
    for index in 0..COMMANDS {
        let found = completions.iter().position(|done| done.token == token(index));
        let done = completions.swap_remove(found.expect("each token once"));
        done.result.expect("read");
        let (offset, len) = place(index);
        assert!(done.buffer.expect("buffer")[..len] == pattern(index, offset, len));
    }
}

fn full_queue_hands_back(make: Make<'_>) {
    const DEPTH: u64 = 4;
    let mut driver = Driver::new(make, DEPTH as u32);
    for round in 0..3 {
        for token in 0..DEPTH {
            let operation = driver.filled(token * UNIT, UNIT_BYTES, round);
            driver.submit(token, operation);
        }
        assert_eq!(driver.queue.in_flight(), DEPTH as u32);
        let operation = driver.filled(DEPTH * UNIT, UNIT_BYTES, 77);
        let back = driver.queue.submit(Command { token: 99, operation });
        let back = back.expect_err("the queue is full");
        assert_eq!(back.token, 99);
        let Operation::Write { buffer, offset, .. } = back.operation else {
            panic!("another command came back");
        };
        assert_eq!((offset, buffer[0]), (DEPTH * UNIT, 77));
        let completions = driver.drain();
        assert_eq!(completions.len() as u64, DEPTH);
        assert!(completions.iter().all(|done| done.result.is_ok()));
        assert_eq!(driver.queue.in_flight(), 0);
    }
}

fn flush_and_durable_complete(make: Make<'_>) {
    let mut driver = Driver::new(make, 8);
    let bytes = pattern(3, 0, 64 * UNIT_BYTES);
    driver.write(0, &bytes, true);
    driver.write(1 << 20, &bytes, false);
    let flush = driver.run(Operation::Flush);
    flush.result.expect("flush");
    assert!(flush.buffer.is_none());
    // A flush in company: it waits for nobody but completes too.
    let operation = driver.filled(2 << 20, UNIT_BYTES, 5);
    driver.submit(1, operation);
    driver.submit(2, Operation::Flush);
    assert!(driver.drain().iter().all(|done| done.result.is_ok()));
    drop(driver.queue);
    driver.queue = driver.device.open_queue(2).expect("open a queue");
    assert!(driver.read(0, bytes.len()) == bytes && driver.read(1 << 20, bytes.len()) == bytes);
}

fn discarded_ranges_are_writable(make: Make<'_>) {
    let mut driver = Driver::new(make, 4);
    let bytes = pattern(4, 0, 32 * UNIT_BYTES);
    driver.write(0, &bytes, false);
    let (offset, len) = (8 * UNIT, 16 * UNIT);
    driver
        .run(Operation::Discard { offset, len })
        .result
        .expect("discard");
    // Readable, with any contents; the neighbours are untouched.
    driver.read(offset, len as usize);
    assert!(driver.read(0, 8 * UNIT_BYTES) == bytes[..8 * UNIT_BYTES]);
    assert!(driver.read(24 * UNIT, 8 * UNIT_BYTES) == bytes[24 * UNIT_BYTES..]);
    let fresh = pattern(5, offset, len as usize);
    driver.write(offset, &fresh, true);
    assert!(driver.read(offset, len as usize) == fresh);
}

/// One unit, and more than one piece of what adapters write at a time, with an odd end.
fn zeroes_read_as_zeroes(make: Make<'_>) {
    let mut driver = Driver::new(make, 4);
    for units in [1u64, 1300] {
        let neighbour = pattern(6, 0, UNIT_BYTES);
        let (offset, len) = (UNIT, units * UNIT);
        driver.write(0, &neighbour, false);
        driver.write(offset + len, &neighbour, false);
        driver.write(offset, &pattern(7, offset, UNIT_BYTES), false);
        driver
            .run(Operation::WriteZeroes { offset, len })
            .result
            .expect("zeroes");
        for unit in 0..units {
            assert!(
                driver
                    .read(offset + unit * UNIT, UNIT_BYTES)
                    .iter()
                    .all(|byte| *byte == 0)
            );
        }
        assert!(
            driver.read(0, UNIT_BYTES) == neighbour && driver.read(offset + len, UNIT_BYTES) == neighbour
        );
    }
}

fn allocate_keeps_contents(make: Make<'_>) {
    let mut driver = Driver::new(make, 4);
    let capacity = driver.device.geometry().capacity;
    let (offset, len) = (capacity - (4 << 20), 4 << 20);
    driver
        .run(Operation::Discard { offset, len })
        .result
        .expect("discard");
    let bytes = pattern(8, offset, 8 * UNIT_BYTES);
    driver.write(offset, &bytes, false);
    match driver.run(Operation::Allocate { offset, len }).result {
        // Some file systems cannot reserve; the rules allow them to say so.
        Err(error) if error.kind() == ErrorKind::Unsupported => println!("cannot allocate: {error}"),
        result => result.expect("allocate"),
    }
    assert!(driver.read(offset, bytes.len()) == bytes);
    let last = pattern(9, capacity - UNIT, UNIT_BYTES);
    driver.write(capacity - UNIT, &last, true);
    assert!(driver.read(capacity - UNIT, UNIT_BYTES) == last);
    assert_eq!(driver.device.geometry().capacity, capacity);
}

/// Outside, overflowing, misaligned or too long: an error of the right kind, with the buffer, and nothing written.
fn bad_commands_are_errors(make: Make<'_>) {
    let mut driver = Driver::new(make, 4);
    let geometry = driver.device.geometry();
    let (capacity, transfer_max) = (geometry.capacity, geometry.transfer_max as usize);
    let untouched = pattern(10, 0, 4 * UNIT_BYTES);
    driver.write(0, &untouched, false);
    let transfers = [
        (capacity, 0..UNIT_BYTES),
        (capacity - UNIT, 0..2 * UNIT_BYTES),
        (u64::MAX - UNIT + 1, 0..UNIT_BYTES),
        (1 << 63, 0..UNIT_BYTES),
        (512, 0..UNIT_BYTES),
        (1, 0..UNIT_BYTES),
        (0, 0..512),
        (0, 0..UNIT_BYTES + 1),
        (0, 512..512 + UNIT_BYTES),
        (0, UNIT_BYTES..transfer_max + 3 * UNIT_BYTES),
        (0, 0..transfer_max + UNIT_BYTES),
        (0, usize::MAX - UNIT_BYTES + 1..usize::MAX),
    ];
    for (offset, range) in transfers {
        for write in [false, true] {
            let mut buffer = driver.buffer(transfer_max + 2 * UNIT_BYTES);
            buffer.fill(0xAB);
            let range = range.clone();
            let operation = if write {
                Operation::Write {
                    offset,
                    buffer,
                    range,
                    durable: false,
                }
            } else {
                Operation::Read {
                    offset,
                    buffer,
                    range,
                }
            };
            let what = format!("{operation:?}");
            let done = driver.run(operation);
            let error = done.result.expect_err(&what);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}: {error}");
            assert_eq!(done.buffer.expect("the buffer comes back")[0], 0xAB);
        }
    }
    for (offset, len) in [
        (capacity, UNIT),
        (0, capacity + UNIT),
        (UNIT, u64::MAX - UNIT + 1),
        (512, UNIT),
        (0, 1),
    ] {
        let operations = [
            Operation::Discard { offset, len },
            Operation::WriteZeroes { offset, len },
            Operation::Allocate { offset, len },
        ];
        for operation in operations {
            let what = format!("{operation:?}");
            let error = driver.run(operation).result.expect_err(&what);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}: {error}");
        }
    }
    assert!(driver.read(0, untouched.len()) == untouched);
}

/// A sleeper with nothing in flight wakes in time and for the doorbell; with something in flight too, and for a
/// bell that rang before the sleep.
fn time_and_doorbell_wake(make: Make<'_>) {
    let mut driver = Driver::new(make, 4);
    let bell = Doorbell::new().expect("doorbell");
    driver.queue.wait(&bell, Some(Duration::ZERO));
    driver.queue.wait(&bell, Some(Duration::from_millis(2)));
    bell.ring();
    driver.queue.wait(&bell, None);
    bell.clear();
    for busy in [false, true, false] {
        if busy {
            let operation = driver.filled(0, UNIT_BYTES, 1);
            driver.submit(1, operation);
        }
        let rung = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                rung.store(true, Ordering::SeqCst);
                bell.ring();
            });
            while !rung.load(Ordering::SeqCst) {
                driver.queue.wait(&bell, None);
            }
        });
        bell.clear();
        assert_eq!(driver.drain().len(), usize::from(busy));
    }
    // A silent bell lets completions wake.
    let operation = driver.filled(0, UNIT_BYTES, 2);
    driver.submit(1, operation);
    let mut completed = Vec::new();
    while completed.is_empty() {
        driver.queue.wait(&bell, None);
        driver.queue.poll(&mut completed);
    }
}

/// Buffers have their size and alignment, do not overlap, move through queues they do not come from, and
/// outlive their queue and device.
fn buffers_are_independent(make: Make<'_>) {
    let mut driver = Driver::new(make, 4);
    let mut other = driver.device.open_queue(4).expect("a second queue");
    let mut kept = Vec::new();
    for (index, len) in [0, 1, UNIT_BYTES, UNIT_BYTES + 1, 1 << 20, 3 << 20]
        .into_iter()
        .enumerate()
    {
        let mut buffer = other.buffer(len).expect("buffer");
        assert!(buffer.len() >= len.max(1) && buffer.len().is_multiple_of(UNIT_BYTES));
        assert!((buffer.as_ptr() as usize).is_multiple_of(UNIT_BYTES));
        buffer.fill(index as u8);
        kept.push(buffer);
    }
    let write = |buffer: DmaBuffer| Operation::Write {
        offset: 0,
        range: 0..UNIT_BYTES,
        buffer,
        durable: false,
    };
    let index = kept.len() - 2;
    let done = driver.run(write(kept.remove(index)));
    done.result.expect("a buffer of another queue");
    assert!(driver.read(0, UNIT_BYTES).iter().all(|byte| *byte == index as u8));
    let done = driver.run(write(DmaBuffer::heap(1)));
    done.result.expect("a buffer of no queue");
    drop((other, driver));
    for (index, buffer) in kept.iter_mut().enumerate().take(index) {
        assert!(buffer.iter().all(|byte| *byte == index as u8));
        buffer.fill(0);
    }
}

/// A queue per thread, each with a range of its own.
fn queues_are_independent(make: Make<'_>) {
    const THREADS: u64 = 8;
    let device = make();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let device = device.clone();
            scope.spawn(move || {
                let mut driver = Driver::on(device, 8);
                let start = thread * (1 << 20);
                for round in 0..8 {
                    for index in 0..8 {
                        let offset = start + index * 16 * UNIT;
                        driver.submit_write(index, offset, &pattern(round, offset, 16 * UNIT_BYTES), false);
                    }
                    assert!(driver.drain().iter().all(|done| done.result.is_ok()));
                    let len = 128 * UNIT_BYTES;
                    let (left, right) = (driver.read(start, len), pattern(round, start, len));
                    assert!(left == right, "thread {thread}, round {round}");
                }
            });
        }
    });
}

/// Commands that were in flight took effect unit by unit or not at all, and the device works on.
fn dropping_a_busy_queue_is_safe(make: Make<'_>) {
    const DEPTH: u64 = 16;
    let device = make();
    for (stamp, polled) in [(1, false), (2, true)] {
        let mut driver = Driver::on(device.clone(), DEPTH as u32);
        let zeroes = Operation::WriteZeroes {
            offset: 0,
            len: 1 << 20,
        };
        driver.run(zeroes).result.expect("zeroes");
        for index in 0..DEPTH - 2 {
            let offset = index * 16 * UNIT;
            driver.submit_write(index, offset, &pattern(stamp, offset, 16 * UNIT_BYTES), false);
        }
        driver.submit(
            90,
            Operation::WriteZeroes {
                offset: 8 << 20,
                len: 16 << 20,
            },
        );
        let buffer = driver.buffer(1 << 20);
        let read = Operation::Read {
            offset: 8 << 20,
            range: 0..buffer.len(),
            buffer,
        };
        driver.submit(91, read);
        if polled {
            driver.queue.poll(&mut Vec::new());
        }
        drop(driver);
        let mut driver = Driver::on(device.clone(), 4);
        for unit in 0..(DEPTH - 2) * 16 {
            let bytes = driver.read(unit * UNIT, UNIT_BYTES);
            let written = bytes == pattern(stamp, unit * UNIT, UNIT_BYTES);
            assert!(written || bytes.iter().all(|byte| *byte == 0), "unit {unit}");
        }
        let bytes = pattern(9, 0, UNIT_BYTES);
        driver.write(0, &bytes, true);
        assert!(driver.read(0, UNIT_BYTES) == bytes);
    }
}

#[cfg(test)]
mod tests;
