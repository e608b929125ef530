//! fio, a load generator that everybody knows, as the ceiling of what a file or device can do.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One load on a file or device.
#[derive(Debug, Clone)]
pub struct Job {
    /// The file or device; a file is laid out by fio where it is too short.
    pub path: PathBuf,
    /// What fio calls it: `randread`, `randwrite`, `write`, ...
    pub kind: &'static str,
    /// Bytes of each request.
    pub block: usize,
    /// Requests in flight.
    pub depth: usize,
    /// Whether each write is durable when it completes.
    pub durable: bool,
    /// First byte.
    pub offset: u64,
    /// Bytes from there.
    pub size: u64,
    /// How long.
    pub seconds: u64,
}

/// What it did.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Requests per second.
    pub per_second: f64,
}

impl Job {
    /// Random direct reads of a file that is at least as long as the job's part of it.
    pub fn reads(path: &Path, block: usize, depth: usize, seconds: u64) -> Job {
        Job {
            path: path.to_owned(),
            kind: "randread",
            block,
            depth,
            durable: false,
            offset: 0,
            size: 0,
            seconds,
        }
    }

    /// Runs it with io_uring on the first core, past the page cache.
    pub fn run(&self) -> Result<Load, String> {
        let mut fio = Command::new("fio");
        fio.args([
            "--name=ceiling",
            "--ioengine=io_uring",
            "--direct=1",
            "--time_based",
        ])
        .args(["--registerfiles", "--fixedbufs", "--cpus_allowed=0"])
        .args(["--output-format=terse", "--terse-version=3"])
        .arg(format!("--rw={}", self.kind))
        .arg(format!("--bs={}", self.block))
        .arg(format!("--iodepth={}", self.depth))
        .arg(format!("--offset={}", self.offset))
        .arg(format!("--size={}", self.size))
        .arg(format!("--runtime={}", self.seconds))
        .arg(format!("--filename={}", self.path.display()));
        let reads = self.kind.ends_with("read");
        if reads {
            fio.arg("--readonly");
        }
        if self.durable {
            // RWF_DSYNC by way of O_DSYNC.
            fio.arg("--sync=dsync");
        }
        let text = run(&mut fio)?;
        let line = text.lines().find(|line| line.starts_with("3;"));
        let field = if reads { 7 } else { 48 };
        let rate = line
            .and_then(|line| line.split(';').nth(field))
            .and_then(|rate| rate.parse().ok());
        let per_second = rate.ok_or_else(|| format!("fio says {text}"))?;
        Ok(Load { per_second })
    }
}

/// Runs a command to its end and answers what it printed.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!(
        "{} ends with {}: {said}",
        command.get_program().display(),
        output.status
    ))
}
