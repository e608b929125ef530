//! Parts of the hot path one by one, by criterion: batched hashing, index look-ups, node building blocks.
//!
//! Question: what does each part of a visible commit cost? Ceilings, in the same run: BLAKE3's rate on one large
//! input (hashing), one memory copy of the same bytes (checksum, copy). Prediction: batches of 1 KiB and 4 KiB hash
//! within 15 % of the large-input rate.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use helios_engine::format::checksum::crc32c;
use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::index::{Index, IndexKey, Secret, Slot, Widths};

fn hashing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash");
    let large = vec![7u8; 1 << 20];
    group.throughput(Throughput::Bytes(large.len() as u64));
    group.bench_function("ceiling: one content of 1 MiB", |bencher| {
        bencher.iter(|| hash::content_id(black_box(&large)))
    });
    for len in [1024usize, 4096, 1000] {
        let contents: Vec<&[u8]> = large.chunks_exact(len).take(50).collect();
        group.throughput(Throughput::Bytes(contents.len() as u64 * len as u64));
        group.bench_with_input(
            BenchmarkId::new("batch of 50", len),
            &contents,
            |bencher, contents| {
                bencher.iter(|| hash::content_ids(black_box(contents)));
            },
        );
        group.bench_with_input(
            BenchmarkId::new("50 one by one", len),
            &contents,
            |bencher, contents| {
                bencher.iter(|| {
                    contents
                        .iter()
                        .map(|content| blake3::hash(black_box(content)))
                        .collect::<Vec<_>>()
                });
            },
        );
    }
    group.finish();
}

fn checksums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("4 KiB");
    let bytes = vec![7u8; 4096];
    let mut copy = vec![0u8; 4096];
    group.throughput(Throughput::Bytes(4096));
    group.bench_function("ceiling: copy", |bencher| {
        bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(&bytes)))
    });
    group.bench_function("CRC-32C", |bencher| bencher.iter(|| crc32c(black_box(&bytes))));
    group.finish();
}

fn look_ups(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index of 1 M");
    let index = Index::new(Widths::of(64 << 20, 1 << 14));
    let secret = Secret::derive(b"bench");
    let key = |number: u64| {
        let id = hash::content_id(&number.to_le_bytes());
        IndexKey::new(&secret, Domain(0), Kind::Data, &id)
    };
    let keys: Vec<IndexKey> = (0..1_000_000).map(key).collect();
    for (number, key) in (0u32..).zip(&keys) {
        let segment = helios_engine::format::SegmentId(number >> 12);
        index.upsert(
            key,
            Slot::Stored {
                segment,
                offset: number,
                stored_len: 4096,
            },
        );
    }
    let wanted: Vec<IndexKey> = (0..64).map(|number| keys[number * 15_485 % keys.len()]).collect();
    group.throughput(Throughput::Elements(wanted.len() as u64));
    group.bench_function("64 at once", |bencher| {
        let mut slots = Vec::with_capacity(wanted.len());
        bencher.iter(|| {
            slots.clear();
            index.get_many(black_box(&wanted), &mut slots);
        });
    });
    group.bench_function("64 one by one", |bencher| {
        bencher.iter(|| {
            wanted
                .iter()
                .filter(|key| index.get(black_box(key)).is_some())
                .count()
        });
    });
    group.finish();
}

criterion_group!(benches, hashing, checksums, look_ups);
criterion_main!(benches);
