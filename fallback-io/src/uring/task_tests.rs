use memmap2::MmapMut;

use super::*;

const UNIT: u32 = 4096;

fn zeroes() -> Result<&'static [u8]> {
    Ok(crate::memory::zeroes().expect("zeroes"))
}

fn read(units: usize) -> Task<MmapMut> {
    let buffer = MmapMut::map_anon(units * UNIT as usize).expect("map");
    let range = 0..buffer.len();
    let operation = Operation::Read {
        offset: 8192,
        buffer,
        range,
    };
    task(operation)
}

fn task(operation: Operation<MmapMut>) -> Task<MmapMut> {
    let command = Command { token: 7, operation };
    Task::new(command, UNIT, &[], zeroes)
        .map_err(|(_, error)| error)
        .expect("task")
}

/// Lanes handed out until the rest waits for the kernel.
fn issue(task: &mut Task<MmapMut>) -> Vec<usize> {
    std::iter::from_fn(|| task.next()).map(|(lane, _)| lane).collect()
}

/// Goal: a transfer that stops early goes on at the last whole unit and completes when all has moved.
/// Method: answer a read of four units with one and a half, then with the rest.
#[test]
fn short_transfers_go_on() {
    let mut task = read(4);
    assert_eq!(issue(&mut task), [0]);
    task.answer(0, 6144);
    assert!(!task.finished());
    assert_eq!(issue(&mut task), [0]);
    assert_eq!(
        (task.lanes[0].offset, task.lanes[0].left),
        (8192 + 4096, 3 * UNIT)
    );
    task.answer(0, 3 * UNIT.cast_signed());
    assert!(issue(&mut task).is_empty() && task.finished());
    let completion = task.into_completion();
    assert_eq!(completion.token, 7);
    assert!(completion.buffer.is_some());
    completion.result.expect("complete");
}

/// Goal: interrupted transfers start again, but not for ever; a transfer that ends early is an error.
/// Method: answer with EINTR and EAGAIN, then always with EAGAIN; then with end of file.
#[test]
fn interruptions_are_retried_within_bounds() {
    let mut task = read(1);
    let mut tries = 0;
    loop {
        assert_eq!(issue(&mut task), [0]);
        let errno = if tries % 2 == 0 { Errno::INTR } else { Errno::AGAIN };
        task.answer(0, -errno.raw_os_error());
        if task.finished() {
            break;
        }
        tries += 1;
        assert!(tries <= ATTEMPTS_MAX, "never gives up");
    }
    assert!(tries > 2);
    let error = task.into_completion().result.expect_err("gave up");
    assert!(matches!(error, Error::System { offset: 8192, .. }), "{error}");

    let mut task = read(1);
    issue(&mut task);
    task.answer(0, 0);
    let error = task.into_completion().result.expect_err("ended");
    assert!(matches!(error, Error::Ended { missing: 4096, .. }), "{error}");
}

/// Goal: zeroes are written in pieces, several at a time, covering the range exactly once, and the first
/// failure stops new pieces. Method: play the kernel for 10.5 MiB, then fail one of the first pieces.
#[test]
fn zeroes_are_pipelined() {
    let len = 10 * (1 << 20) + (1 << 19);
    let operation = || Operation::WriteZeroes { offset: 4096, len };
    let mut task = task(operation());
    let mut pieces = Vec::new();
    let mut in_kernel = issue(&mut task);
    assert_eq!(in_kernel.len(), LANES);
    while let Some(lane) = in_kernel.pop() {
        let Lane { offset, left, .. } = task.lanes[lane];
        pieces.push((offset, u64::from(left)));
        task.answer(lane, left.cast_signed());
        in_kernel.extend(issue(&mut task));
    }
    assert!(task.finished());
    pieces.sort_unstable();
    let end = pieces.iter().fold(4096, |at, (offset, left)| {
        assert_eq!(*offset, at);
        at + left
    });
    assert_eq!(end, 4096 + len);
    task.into_completion().result.expect("complete");

    let mut task = self::task(operation());
    let in_kernel = issue(&mut task);
    task.answer(in_kernel[1], -Errno::NOSPC.raw_os_error());
    for lane in [0, 2, 3] {
        assert!(issue(&mut task).is_empty(), "a piece after a failure");
        assert!(!task.finished());
        task.answer(in_kernel[lane], 1 << 20);
    }
    assert!(issue(&mut task).is_empty() && task.finished());
    let error = task.into_completion().result.expect_err("full");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

/// Goal: memory is named by index only where that index really holds it. Method: right and wrong hints.
#[test]
fn hints_are_checked() {
    let mapping = std::sync::Arc::new(Mapping::new(8192).expect("map"));
    let start = mapping.start().as_ptr().cast_const();
    let regions = [Region { mapping }];
    assert_eq!(region_of(&regions, Some(0), start, 8192), Some(0));
    assert_eq!(region_of(&regions, None, start, 8192), None);
    assert_eq!(region_of(&regions, Some(1), start, 8192), None);
    assert_eq!(region_of(&regions, Some(0), start.wrapping_add(4096), 8192), None);
}
