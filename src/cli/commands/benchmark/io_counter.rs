//! Bytes that a process has caused to be written to storage, as the kernel counts them: `write_bytes` of `/proc/PID/io`.
//!
//! The kernel counts pages when they are made dirty, and direct writes when they are submitted. What a file system writes besides
//! (its journal, its tables) is nobody's, so the counter says less than the device is given, and less for many small files.

use std::fs;

use helios_engine::ops::{Class, Failure};

/// Of this process, all its threads.
pub fn written_here() -> Result<u64, Failure> {
    written_by("self")
}

/// Of a process, which may have ended if it was not waited for.
pub fn written_by(pid: &str) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/io");
    let text =
        fs::read_to_string(&path).map_err(|error| Failure::new(Class::Failed, format!("{path}: {error}")))?;
    counter(&text).ok_or_else(|| Failure::new(Class::Failed, format!("{path} counts no written bytes")))
}

fn counter(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the right counter is taken, not the one whose name contains its name.
    #[test]
    fn the_counter_of_written_bytes() {
        let text = "wchar: 5\nread_bytes: 3\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert_eq!(counter(text), Some(4096));
        assert_eq!(counter("cancelled_write_bytes: 7\n"), None);
    }
}
