//! The most memory that a program had in use, by the kernel's own high-water mark (`VmHWM`).
//!
//! The mark goes with the program, so it is looked at while that runs: what it takes in its last two milliseconds may be
//! missing. Rejected: `ru_maxrss` of `wait4`, which is never less than what the process that started it had in use.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Between looks.
const PAUSE: Duration = Duration::from_millis(2);
/// More than the kernel ever says of a process.
const STATUS_BYTES: usize = 8192;

/// Watches a process for as long as `work` takes; answers its highest mark in bytes, if any was seen, beside what `work` did.
pub fn watched<T>(process: u32, work: impl FnOnce() -> T) -> (Option<u64>, T) {
    // Opened once: it never becomes the file of another process with the same number.
    let Ok(status) = File::open(format!("/proc/{process}/status")) else {
        return (None, work());
    };
    let (done, is_done) = channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let mut highest = None;
            loop {
                highest = highest.max(mark(&status));
                if is_done.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                    return highest;
                }
            }
        });
        let result = work();
        drop(done);
        (watch.join().unwrap_or_default(), result)
    })
}

fn mark(status: &File) -> Option<u64> {
    let mut bytes = [0; STATUS_BYTES];
    let len = status.read_at(&mut bytes, 0).ok()?;
    parse(&String::from_utf8_lossy(&bytes[..len]))
}

/// The mark in bytes; a process that has ended has none.
fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the mark is read, and a process without one has none. Method: what the kernel says of a living and a dead one.
    #[test]
    fn the_mark_is_read() {
        let living = "Name:\tcat\nState:\tR (running)\nVmPeak:\t    5000 kB\nVmHWM:\t    1536 kB\nVmRSS:\t    1000 kB\n";
        assert_eq!(parse(living), Some(1536 * 1024));
        assert_eq!(parse("Name:\tcat\nState:\tZ (zombie)\n"), None);
        assert_eq!(parse("VmHWM:\tmuch kB\n"), None);
    }

    /// Goal: the mark of a program that has given its memory back is still its highest, and this process's own memory does
    /// not count. Method: 64 MiB are in use here, a program takes 24 MiB, frees them and says so before it ends.
    #[test]
    fn what_was_given_back_counts() {
        let own = vec![1_u8; 64 << 20];
        let script =
            "import sys\nx = b'x' * (24 << 20)\ndel x\nprint()\nsys.stdout.flush()\nsys.stdin.read()";
        let child = std::process::Command::new("python3")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: there is no python3");
            return;
        };
        let (highest, ended) = watched(child.id(), || {
            let mut said = [0];
            std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut said)?;
            crate::sandbox::pause(20 * PAUSE);
            child.wait_with_output()
        });
        assert!(ended.expect("it ends").status.success());
        let highest = highest.expect("it was seen");
        assert!((24 << 20..64 << 20).contains(&highest), "{highest}");
        drop(own);
    }
}
