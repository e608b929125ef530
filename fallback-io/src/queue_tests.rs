//! What both queues must do, as functions over the [`Queue`] shape; each queue's tests call all of them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use memmap2::MmapMut;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::{Command, Completion, Error, Operation, Options, Queue, Target, create_sparse};

const UNIT: usize = 4096;

fn bell() -> Arc<OwnedFd> {
    Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("eventfd"))
}

/// A sparse file of `units` and its name's keeper.
pub(crate) fn target(units: u64) -> (tempfile::TempDir, Arc<Target>) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("target");
    create_sparse(&path, units * UNIT as u64).expect("create");
    let target = Target::open(&path, &Options::default()).expect("open");
    (directory, Arc::new(target))
}

fn filled(units: usize, byte: u8) -> MmapMut {
    let mut buffer = MmapMut::map_anon(units * UNIT).expect("map");
    buffer.fill(byte);
    buffer
}

fn run(queue: &mut impl Queue<MmapMut>, operation: Operation<MmapMut>) -> Completion<MmapMut> {
    let bell = bell();
    queue
        .submit(Command { token: 1, operation })
        .map_err(|_| "full")
        .expect("submit");
    loop {
        let mut completion = None;
        queue.poll(|done| completion = Some(done));
        if let Some(completion) = completion {
            return completion;
        }
        queue.wait(&bell, Some(Duration::from_secs(1)));
    }
}

fn read(queue: &mut impl Queue<MmapMut>, offset: u64, units: usize) -> Completion<MmapMut> {
    let range = 0..units * UNIT;
    let buffer = filled(units, 0xEE);
    run(
        queue,
        Operation::Read {
            offset,
            buffer,
            range,
        },
    )
}

/// Goal: bytes come back from where they went, zeroes are zeroes, and wrong commands are errors with facts.
/// Method: one command at a time on a file of 1024 units.
pub(crate) fn transfers(mut queue: impl Queue<MmapMut>) {
    for durable in [false, true] {
        let byte = if durable { 2 } else { 1 };
        let write = Operation::Write {
            offset: 8192,
            buffer: filled(4, byte),
            range: UNIT..3 * UNIT,
            durable,
        };
        run(&mut queue, write).result.expect("write");
        let back = read(&mut queue, 4096, 4);
        back.result.expect("read");
        let bytes = back.buffer.expect("buffer");
        assert!(bytes[..UNIT].iter().all(|b| *b == 0));
        assert!(bytes[UNIT..3 * UNIT].iter().all(|b| *b == byte));
        assert!(bytes[3 * UNIT..].iter().all(|b| *b == 0));
    }
    run(&mut queue, Operation::Flush).result.expect("flush");
    let (offset, len) = (0, 600 * UNIT as u64);
    run(&mut queue, Operation::WriteZeroes { offset, len })
        .result
        .expect("zeroes");
    run(&mut queue, Operation::Allocate { offset, len })
        .result
        .expect("allocate");
    let back = read(&mut queue, 8192, 2).buffer.expect("buffer");
    assert!(back.iter().all(|b| *b == 0));
    run(&mut queue, Operation::Discard { offset, len })
        .result
        .expect("discard");

    let outside = read(&mut queue, 1024 * UNIT as u64, 1);
    assert!(outside.buffer.is_some());
    let error = outside.result.expect_err("outside");
    assert!(matches!(error, Error::OutOfRange { .. }), "{error}");
    let error = read(&mut queue, 512, 1).result.expect_err("misaligned");
    assert!(matches!(error, Error::Misaligned { offset: 512, .. }), "{error}");
    let large = read(&mut queue, 0, 513).result.expect_err("too long");
    assert!(matches!(large, Error::TooLong { .. }), "{large}");
}

/// Goal: zeroes longer than one piece leave no gap, and really take space. Method: fill, zero, read all, count
/// the file's blocks after it was a hole.
pub(crate) fn zeroes_take_space(mut queue: impl Queue<MmapMut>, target: &Target) {
    let (offset, len) = (0, target.capacity());
    run(&mut queue, Operation::WriteZeroes { offset, len })
        .result
        .expect("zeroes");
    let facts = rustix::fs::fstat(target).expect("stat");
    assert!(facts.st_blocks as u64 * 512 >= len, "{} blocks", facts.st_blocks);
    for unit in (0..len).step_by(512 * UNIT) {
        let units = ((len - unit) as usize / UNIT).min(512);
        let back = read(&mut queue, unit, units);
        back.result.expect("read");
        assert!(back.buffer.expect("buffer").iter().all(|b| *b == 0));
    }
}

/// Goal: a full queue hands the command back with its buffer, and nothing is lost when the queue is then
/// dropped with everything in flight. Method: fill it without polling, drop it, look at the file with another.
pub(crate) fn full_then_dropped<Q: Queue<MmapMut>>(depth: u32, mut open: impl FnMut() -> Q) {
    let mut queue = open();
    for token in 0..u64::from(depth) {
        let operation = Operation::Write {
            offset: token * UNIT as u64,
            buffer: filled(1, 9),
            range: 0..UNIT,
            durable: false,
        };
        queue
            .submit(Command { token, operation })
            .map_err(|_| token)
            .expect("room");
    }
    assert_eq!(queue.in_flight(), depth);
    let operation = Operation::Read {
        offset: 0,
        buffer: filled(1, 5),
        range: 0..UNIT,
    };
    let back = queue.submit(Command { token: 99, operation }).expect_err("full");
    assert_eq!(back.token, 99);
    assert_eq!(back.operation.into_buffer().expect("buffer")[0], 5);
    drop(queue);
    let mut queue = open();
    for unit in 0..u64::from(depth) {
        let bytes = read(&mut queue, unit * UNIT as u64, 1).buffer.expect("buffer");
        assert!(bytes.iter().all(|b| *b == bytes[0]) && (bytes[0] == 0 || bytes[0] == 9));
    }
}

/// Goal: the doorbell wakes a sleeper with and without commands in flight, also a second doorbell after the
/// first, and time ends a sleep. Method: ring from another thread until the sleeper is back.
pub(crate) fn doorbells(mut queue: impl Queue<MmapMut>) {
    let (first, second) = (bell(), bell());
    queue.wait(&first, Some(Duration::from_millis(2)));
    for bell in [&first, &second, &first] {
        std::thread::scope(|scope| {
            scope.spawn(|| rustix::io::write(bell, &1u64.to_le_bytes()).expect("ring"));
            queue.wait(bell, None);
        });
        let operation = Operation::WriteZeroes {
            offset: 0,
            len: 256 * UNIT as u64,
        };
        queue
            .submit(Command { token: 3, operation })
            .map_err(|_| "full")
            .expect("submit");
        // The bell still rings, so no sleep can be long; the command ends all the same.
        let mut ended = false;
        while !ended {
            queue.wait(bell, None);
            queue.poll(|done| ended = done.result.is_ok());
        }
        rustix::io::read(bell, &mut [0; 8]).expect("silence");
    }
    assert_eq!(queue.in_flight(), 0);
}

/// Goal: a file that somebody shortens is an error that says where it ends, and what is left of it can still be read.
/// Method: cut four units to two, then to two and a bit, which direct I/O cannot go on from.
pub(crate) fn shortened(mut queue: impl Queue<MmapMut>, target: &Target) {
    let end = 2 * UNIT as u64;
    rustix::fs::ftruncate(target, end).expect("truncate");
    let back = read(&mut queue, 4096, 3);
    assert!(back.buffer.is_some());
    let error = back.result.expect_err("ended");
    assert!(
        matches!(error, Error::Ended { operation: "read", offset, missing } if offset == end && missing == end),
        "{error}"
    );
    rustix::fs::ftruncate(target, end + 100).expect("truncate");
    let error = read(&mut queue, 0, 4).result.expect_err("ended in a block");
    assert!(
        matches!(error, Error::System { offset, len, errno: Errno::IO, .. } if offset == end && len == end),
        "{error}"
    );
    read(&mut queue, 0, 2).result.expect("what is left");
}

/// A file in memory of 16 units whose contents the kernel lets nobody change.
pub(crate) fn sealed() -> Arc<Target> {
    let file =
        rustix::fs::memfd_create("sealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("memfd");
    rustix::fs::ftruncate(&file, 16 * UNIT as u64).expect("truncate");
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let target = Target::open(path.as_ref(), &Options::default()).expect("open");
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).expect("seal");
    Arc::new(target)
}

/// Goal: what the kernel refuses comes back with operation, place and reason, and with the buffer that was lent; the
/// queue goes on. Method: everything that writes, on a file in memory that is sealed.
pub(crate) fn refusals(mut queue: impl Queue<MmapMut>) {
    let (offset, len) = (4 * UNIT as u64, 2 * UNIT as u64);
    let write = |durable| Operation::Write {
        offset,
        buffer: filled(3, 7),
        range: UNIT..3 * UNIT,
        durable,
    };
    for (operation, lent) in [
        (write(false), true),
        (write(true), true),
        (Operation::WriteZeroes { offset, len }, false),
        (Operation::Discard { offset, len }, false),
    ] {
        let name = operation.name();
        let back = run(&mut queue, operation);
        assert_eq!(back.buffer.is_some(), lent);
        match back.result.expect_err(name) {
            Error::System {
                operation,
                offset: at,
                len: left,
                errno: Errno::PERM,
            } => assert_eq!((operation, at, left), (name, offset, len)),
            other => panic!("{other}"),
        }
    }
    let back = read(&mut queue, 0, 16);
    back.result.expect("read");
    assert!(back.buffer.expect("buffer").iter().all(|byte| *byte == 0));
}

/// Goal: a target opened for reading takes no command that writes, and has nothing to flush. Method: each of them.
pub(crate) fn reads_only(mut queue: impl Queue<MmapMut>) {
    let (offset, len) = (0, UNIT as u64);
    let write = Operation::Write {
        offset,
        buffer: filled(1, 7),
        range: 0..UNIT,
        durable: true,
    };
    for operation in [
        write,
        Operation::WriteZeroes { offset, len },
        Operation::Discard { offset, len },
        Operation::Allocate { offset, len },
    ] {
        let error = run(&mut queue, operation).result.expect_err("read-only");
        assert!(matches!(error, Error::ReadOnly { offset: 0, .. }), "{error}");
    }
    run(&mut queue, Operation::Flush).result.expect("nothing to do");
    read(&mut queue, 0, 1).result.expect("read");
}

/// A file of 16 units, opened for reading.
pub(crate) fn read_only_target() -> (tempfile::TempDir, Arc<Target>) {
    let (directory, _) = target(16);
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let target = Target::open(&directory.path().join("target"), &options).expect("open");
    (directory, Arc::new(target))
}
