//! How much of a file's speed gets through the device seam?
//!
//! Two questions, each with its ceiling measured in the same run, on the same written file:
//! - 4 KiB random reads, 32 in flight; ceiling: `fio` with io_uring, registered file and buffers. Prediction: at
//!   least 0.95 of it, the seam adding well under a microsecond per command.
//! - 4 KiB durable writes one at a time; ceiling: `pwritev2(RWF_DSYNC)`. Prediction: within 1.1 of it.
//!
//! `cargo run --release --example device_speed -- [FILE] [uring|threads]`; the file is made when missing.

use std::io;
use std::path::PathBuf;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use helios_engine::device::{
    Address, Backend, Command, Completion, Doorbell, OpenOptions, Operation, Queue, create, open,
};
use helios_engine::limits::UNIT_BYTES;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::fs::{Mode, OFlags};
use rustix::io::{ReadWriteFlags, pwritev2};

const FILE_BYTES: u64 = 1 << 30;
const DEPTH: u32 = 32;
const ROUNDS: usize = 5;
const READS: u64 = 150_000;
const WRITES: usize = 1000;

#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().unwrap_or_else(|| "device_speed.store".into()));
    let backend = match arguments.next().as_deref() {
        Some("threads") => Backend::Threads,
        _ => Backend::Uring,
    };
    let address = Address::Path(path.clone());
    if !path.exists() {
        create(&address, FILE_BYTES)?;
    }
    let options = OpenOptions {
        backend,
        ..OpenOptions::default()
    };
    let device = open(&address, &options)?;
    let units = device.geometry().capacity / UNIT_BYTES as u64;
    let opened = now();
    let mut queue = device.open_queue(DEPTH)?;
    let queue_time = opened.elapsed();
    let first = now();
    drop(queue.buffer(UNIT_BYTES)?);
    println!(
        "queue opened in {queue_time:?}, first buffer in {:?}",
        first.elapsed()
    );

    let fill = now();
    for offset in (0..FILE_BYTES).step_by(64 << 20) {
        let len = 64 << 20;
        run(&mut *queue, Operation::WriteZeroes { offset, len })?;
    }
    println!(
        "wrote {} MiB of zeroes at {:.0} MiB/s",
        FILE_BYTES >> 20,
        mib_per_second(fill.elapsed())
    );
    run(&mut *queue, Operation::Flush)?;

    let mut ratios = [const { Vec::new() }; 2];
    for round in 0..ROUNDS {
        let ceiling = fio(&path);
        for (sleep, ratios) in [false, true].into_iter().zip(&mut ratios) {
            let ours = random_reads(&mut *queue, units, round as u64, sleep)?;
            let manner = if sleep { "sleeping" } else { "spinning" };
            match ceiling {
                Some(ceiling) => {
                    let ratio = ours / ceiling;
                    println!("random reads, {manner}: {ours:.0}/s, fio {ceiling:.0}/s, ratio {ratio:.3}");
                    ratios.push(ratio);
                }
                None => println!("random reads, {manner}: {ours:.0}/s (no fio to compare with)"),
            }
        }
    }
    for (manner, ratios) in ["spinning", "sleeping"].iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        if let Some(median) = ratios.get(ratios.len() / 2) {
            println!("random reads, {manner}: median ratio to fio {median:.3}");
        }
    }
    durable_writes(&mut *queue, &path, units)
}

fn mib_per_second(time: Duration) -> f64 {
    (FILE_BYTES >> 20) as f64 / time.as_secs_f64()
}

/// Runs one command alone, spinning.
fn run(queue: &mut dyn Queue, operation: Operation) -> io::Result<Completion> {
    submit(queue, operation);
    let mut completed = Vec::with_capacity(1);
    while completed.is_empty() {
        queue.poll(&mut completed);
    }
    let done = completed.remove(0);
    match done.result {
        Ok(()) => Ok(done),
        Err(error) => Err(error),
    }
}

fn submit(queue: &mut dyn Queue, operation: Operation) {
    let refused = queue.submit(Command { token: 0, operation }).is_err();
    assert!(!refused, "more in flight than the depth");
}

/// Reads per second, buffers taken and given back for each, as the engine does it.
fn random_reads(queue: &mut dyn Queue, units: u64, seed: u64, sleep: bool) -> io::Result<f64> {
    let mut random = SmallRng::seed_from_u64(seed);
    let bell = Doorbell::new()?;
    let mut completed = Vec::with_capacity(DEPTH as usize);
    let (mut started, mut ended) = (0u64, 0u64);
    let start = now();
    while ended < READS {
        while started < READS && queue.in_flight() < DEPTH {
            let buffer = queue.buffer(UNIT_BYTES)?;
            submit(
                queue,
                Operation::Read {
                    offset: random.random_range(0..units) * UNIT_BYTES as u64,
                    buffer,
                    range: 0..UNIT_BYTES,
                },
            );
            started += 1;
        }
        queue.poll(&mut completed);
        if sleep && completed.is_empty() {
            queue.wait(&bell, None);
        }
        for done in completed.drain(..) {
            done.result?;
            ended += 1;
        }
    }
    Ok(READS as f64 / start.elapsed().as_secs_f64())
}

/// Reads per second by fio, if it is installed.
fn fio(path: &std::path::Path) -> Option<f64> {
    let output = Process::new("fio")
        .arg(format!("--filename={}", path.display()))
        .args([
            "--name=ceiling",
            "--ioengine=io_uring",
            "--direct=1",
            "--rw=randread",
            "--bs=4k",
        ])
        .args([
            "--iodepth=32",
            "--registerfiles",
            "--fixedbufs",
            "--norandommap",
            "--randrepeat=0",
        ])
        .args([
            "--runtime=2",
            "--time_based",
            "--output-format=terse",
            "--terse-version=3",
        ])
        .output()
        .ok()?;
    // Terse version 3: field 8 is read IOPS.
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find(|line| line.starts_with("3;"))?
        .split(';')
        .nth(7)?
        .parse()
        .ok()
}

/// Latencies of durable writes: by system call, through the queue spinning, and through the queue sleeping; in
/// turn, so that all meet the same disk.
fn durable_writes(queue: &mut dyn Queue, path: &std::path::Path, units: u64) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::RDWR | OFlags::DIRECT, Mode::empty())?;
    let mut random = SmallRng::seed_from_u64(77);
    let bell = Doorbell::new()?;
    let mut samples = [const { Vec::new() }; 3];
    let mut completed = Vec::new();
    for _ in 0..WRITES {
        for (way, samples) in samples.iter_mut().enumerate() {
            let offset = random.random_range(0..units) * UNIT_BYTES as u64;
            let mut buffer = queue.buffer(UNIT_BYTES)?;
            buffer.fill(way as u8);
            let start = now();
            if way == 0 {
                pwritev2(&file, &[io::IoSlice::new(&buffer)], offset, ReadWriteFlags::DSYNC)?;
            } else {
                let range = 0..UNIT_BYTES;
                submit(
                    queue,
                    Operation::Write {
                        offset,
                        buffer,
                        range,
                        durable: true,
                    },
                );
                queue.poll(&mut completed);
                while completed.is_empty() {
                    if way == 2 {
                        queue.wait(&bell, None);
                    }
                    queue.poll(&mut completed);
                }
                for done in completed.drain(..) {
                    done.result?;
                }
            }
            samples.push(start.elapsed());
        }
    }
    for (name, samples) in ["pwritev2", "queue, spinning", "queue, sleeping"]
        .iter()
        .zip(&mut samples)
    {
        samples.sort_unstable();
        let at = |percent: usize| samples[samples.len() * percent / 100];
        println!("durable 4 KiB write, {name}: P50 {:?}, P95 {:?}", at(50), at(95));
    }
    Ok(())
}
