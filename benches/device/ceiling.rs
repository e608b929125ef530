//! What the device can do without the engine: the load generators that come with each way to it.

use std::path::PathBuf;
use std::process::Command;

use helios_engine::device::Address;

use crate::fio::{Job, run};

/// The part of a file that is full of contents for certain.
const FILLED_FROM: u64 = 2 << 20;
const FILLED_BYTES: u64 = 400 << 20;

/// Somebody else who reads random blocks of 4 KiB from the same device.
pub enum Ceiling {
    /// fio with io_uring on the store's file.
    Fio(PathBuf),
    /// SPDK's load generator, and the device in SPDK's notation.
    Spdk { program: PathBuf, target: String },
}

impl Ceiling {
    /// The generator of the SPDK that is in use.
    pub fn spdk(address: &Address) -> Ceiling {
        let target = match address {
            Address::Nvme { pci, .. } => format!("trtype:PCIe traddr:{pci}"),
            Address::NvmeTcp { host, port, nqn, .. } => {
                let family = if host.contains(':') { "IPv6" } else { "IPv4" };
                format!("trtype:TCP adrfam:{family} traddr:{host} trsvcid:{port} subnqn:{nqn}")
            }
            other => panic!("{other} is no NVMe device"),
        };
        let prefix = std::env::var_os("SPDK_PREFIX").map_or_else(
            || {
                let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
                    || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache"),
                    PathBuf::from,
                );
                cache.join("helios/spdk-20.07")
            },
            PathBuf::from,
        );
        Ceiling::Spdk {
            program: prefix.join("bin/spdk_nvme_perf"),
            target,
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Ceiling::Fio(_) => "fio, io_uring, O_DIRECT",
            Ceiling::Spdk { .. } => "spdk_nvme_perf",
        }
    }

    /// Reads per second with `depth` in flight; `None`, and why on standard output, where it cannot run.
    pub fn rate(&self, depth: usize, seconds: u64) -> Option<f64> {
        let rate = match self {
            Ceiling::Fio(path) => fio(path, depth, seconds),
            Ceiling::Spdk { program, target } => perf(program, target, depth, seconds),
        };
        rate.inspect_err(|why| println!("  no ceiling: {why}")).ok()
    }
}

fn fio(path: &std::path::Path, depth: usize, seconds: u64) -> Result<f64, String> {
    let job = Job {
        offset: FILLED_FROM,
        size: FILLED_BYTES,
        ..Job::reads(path, 4096, depth, seconds)
    };
    Ok(job.run()?.per_second)
}

fn perf(program: &std::path::Path, target: &str, depth: usize, seconds: u64) -> Result<f64, String> {
    let mut perf = Command::new(program);
    perf.args(["-o", "4096", "-w", "randread", "-c", "0x1", "-s", "128"])
        .args(["-q", &depth.to_string(), "-t", &seconds.to_string(), "-r", target]);
    let text = run(&mut perf)?;
    let line = text.lines().find(|line| line.trim_start().starts_with("Total"));
    let rate = line
        .and_then(|line| line.split(':').nth(1))
        .and_then(|numbers| numbers.split_whitespace().next())
        .and_then(|rate| rate.parse().ok());
    rate.ok_or_else(|| format!("spdk_nvme_perf says {text}"))
}
