//! Queues and buffers as such: bounds, sleep, independence and their end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::driver::{Driver, pattern};
use super::{CAPACITY_MIN, Make, UNIT};
use crate::device::{Command, DmaBuffer, Doorbell, Operation};
use crate::limits::{FRAME_BYTES_MAX, UNIT_BYTES};

pub(super) fn geometry_is_sane(make: Make<'_>) {
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

pub(super) fn full_queue_hands_back(make: Make<'_>) {
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

pub(super) fn time_and_doorbell_wake(make: Make<'_>) {
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

pub(super) fn buffers_are_independent(make: Make<'_>) {
    let mut driver = Driver::new(make, 4);
    let mut other = driver.device.open_queue(4).expect("a second queue");
    // Both queues have memory of their own, which must not be mistaken for one another's.
    let own = driver.buffer(1);
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
    drop((other, driver, own));
    for (index, buffer) in kept.iter_mut().enumerate().take(index) {
        assert!(buffer.iter().all(|byte| *byte == index as u8));
        buffer.fill(0);
    }
}

pub(super) fn queues_are_independent(make: Make<'_>) {
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

pub(super) fn dropping_a_busy_queue_is_safe(make: Make<'_>) {
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
