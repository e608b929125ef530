//! What is neither read nor write: flushes, and giving space back, zeroing and reserving it.

use std::io::ErrorKind;

use super::driver::{Driver, pattern};
use super::{Make, UNIT};
use crate::device::Operation;
use crate::limits::UNIT_BYTES;

pub(super) fn flush_and_durable_complete(make: Make<'_>) {
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

pub(super) fn discarded_ranges_are_writable(make: Make<'_>) {
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

pub(super) fn zeroes_read_as_zeroes(make: Make<'_>) {
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

pub(super) fn allocate_keeps_contents(make: Make<'_>) {
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
