//! Reads and writes: every byte to its place and back, and commands that cannot be carried out.

use std::io::ErrorKind;

use super::driver::{Driver, pattern};
use super::{Make, UNIT};
use crate::device::Operation;
use crate::limits::{FRAME_BYTES_MAX, UNIT_BYTES};

pub(super) fn reads_back_what_was_written(make: Make<'_>) {
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

pub(super) fn moves_parts_of_buffers(make: Make<'_>) {
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

pub(super) fn completions_carry_their_tokens(make: Make<'_>) {
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

pub(super) fn bad_commands_are_errors(make: Make<'_>) {
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
