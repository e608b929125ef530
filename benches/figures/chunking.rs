//! Cutting contents by their bytes: its rate beside FastCDC and plain reading, and what it saves on real data.

use std::collections::HashSet;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use fastcdc::v2020::{Normalization, cut, select_masks};
use helios_engine::limits::CHUNK_BYTES;
use helios_engine::objects::{Chunker, Step};
use rustix::time::{ClockId, clock_gettime};

use crate::report;
use crate::sandbox::content;

const ROUNDS: usize = 7;
const BYTES: usize = 256 << 20;
const CACHED_BYTES: usize = 512 << 10;

/// Runs the section.
pub fn run() {
    report::heading(
        "chunking: what does cutting cost, and what does it find?",
        "reading the bytes once; FastCDC for what is found",
        "5 GB/s on a core, twice FastCDC or more, as many bytes found equal",
    );
    let noise = content(1, BYTES);
    rates(
        "noise, 512 KiB in the cache",
        &noise[..CACHED_BYTES],
        BYTES / CACHED_BYTES,
    );
    rates("noise, 256 MiB in memory", &noise, 1);
    rates("zeros, 256 MiB in memory", &vec![0; BYTES], 1);
    let corpus =
        std::env::var_os("HELIOS_CORPUS").map_or_else(|| "target/chunking-corpus".into(), PathBuf::from);
    let mut series = files(&corpus);
    series.retain(|path| path.is_dir());
    if series.is_empty() {
        println!(
            "  no real data in {}: scripts/chunking-corpus fetches it",
            corpus.display()
        );
    }
    for package in series {
        found(&package);
    }
}

/// A name, and what is done with the bytes.
type Row = (&'static str, fn(&[u8]));

/// Rates of both and of reading, interleaved, in processor time: neighbours on a busy machine count less.
fn rates(name: &str, bytes: &[u8], times: usize) {
    println!("  {name}:");
    let rows: [Row; 3] = [
        ("FastCDC", |bytes| drop(black_box(fastcdc(bytes)))),
        ("Helios", |bytes| drop(black_box(helios(bytes)))),
        ("reading", read),
    ];
    let mut figures = rows.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, run), figures) in rows.iter().zip(&mut figures) {
            let start = processor_seconds();
            (0..times).for_each(|_| run(bytes));
            figures.push((bytes.len() * times) as f64 / (processor_seconds() - start) / 1e9);
        }
    }
    let [fastcdc, helios, reading] = figures.each_mut().map(|figures| report::median(figures));
    for ((name, _), figures) in rows.iter().zip(&mut figures) {
        report::spread(&format!("{name}, GB/s"), figures);
    }
    println!(
        "  Helios is {:.2} of FastCDC, {:.2} of reading",
        helios / fastcdc,
        helios / reading
    );
}

/// What the different chunks of all versions of a package come to.
fn found(package: &Path) {
    let versions: Vec<Vec<u8>> = files(package)
        .iter()
        .map(|path| std::fs::read(path).expect("a version of the corpus"))
        .collect();
    let total: usize = versions.iter().map(Vec::len).sum();
    let [(ours, length), (theirs, length_theirs)] =
        [helios as fn(&[u8]) -> Vec<usize>, fastcdc].map(|cut| different(&versions, cut));
    println!(
        "  {:<20} {:>5} MiB: {:>6.2} % left, chunks of {:>6.1} KiB   FastCDC {:>6.2} %, {:>6.1} KiB   ratio {:.3}",
        package.file_name().unwrap_or_default().to_string_lossy(),
        total >> 20,
        100.0 * ours / total as f64,
        length / 1024.0,
        100.0 * theirs / total as f64,
        length_theirs / 1024.0,
        ours / theirs
    );
}

/// Bytes of the different chunks, and the mean length of all.
fn different(versions: &[Vec<u8>], cut: fn(&[u8]) -> Vec<usize>) -> (f64, f64) {
    let mut seen = HashSet::new();
    let (mut unique, mut total, mut chunks) = (0, 0, 0);
    for version in versions {
        let mut rest = &version[..];
        for bytes in cut(version) {
            let (chunk, later) = rest.split_at(bytes);
            if seen.insert(*blake3::hash(chunk).as_bytes()) {
                unique += bytes;
            }
            (total, chunks, rest) = (total + bytes, chunks + 1, later);
        }
    }
    (unique as f64, total as f64 / f64::from(chunks))
}

/// Lengths of chunks and holes.
fn helios(bytes: &[u8]) -> Vec<usize> {
    let mut chunker = Chunker::new();
    let mut rest = bytes;
    let mut lengths = Vec::new();
    loop {
        match chunker.next(rest, true) {
            Step::Chunk(bytes) | Step::Zeros(bytes) => {
                lengths.push(bytes);
                rest = &rest[bytes..];
            }
            Step::Hole(_) => {}
            Step::More => return lengths,
        }
    }
}

fn fastcdc(bytes: &[u8]) -> Vec<usize> {
    let [min, average, max] = CHUNK_BYTES;
    let (strict, loose) = select_masks(average, Normalization::Level1);
    let mut rest = bytes;
    let mut lengths = Vec::new();
    while !rest.is_empty() {
        let source = &rest[..rest.len().min(max)];
        let (_, bytes) = cut(source, min, average, max, strict, loose, strict << 1, loose << 1);
        lengths.push(bytes);
        rest = &rest[bytes..];
    }
    lengths
}

fn read(bytes: &[u8]) {
    let (words, _) = bytes.as_chunks::<8>();
    black_box(
        words
            .iter()
            .fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word))),
    );
}

fn processor_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// What a directory holds but for hidden files, by name.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            !path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'))
        })
        .collect();
    paths.sort();
    paths
}
