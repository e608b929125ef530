//! What the cache promises: bytes, bound, counts.

use std::hint::black_box;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;
use crate::format::{ContentId, Domain, Kind};
use crate::store::index::Secret;

fn key(number: u64) -> IndexKey {
    let mut id = [0u8; 32];
    id[..8].copy_from_slice(&number.to_le_bytes());
    IndexKey::new(&Secret::derive(b"cache"), Domain(0), Kind::Data, &ContentId(id))
}

fn bytes(number: u64, length: usize) -> Bytes {
    number.to_le_bytes().into_iter().cycle().take(length).collect()
}

/// Goal: a hit has the bytes that were put in, and is counted. Method: put, get, remove, get.
#[test]
fn what_is_put_in_comes_out() {
    let cache = Cache::new(64 << 20);
    for number in 0..500 {
        cache.insert(key(number), &bytes(number, 4096), 4096);
    }
    for number in 0..500 {
        assert_eq!(cache.get(&key(number)), Some(bytes(number, 4096)));
    }
    cache.remove(&key(7));
    assert_eq!(cache.get(&key(7)), None);
    let stats = cache.stats();
    assert_eq!(
        (stats.hits, stats.misses, stats.evictions, stats.items),
        (500, 1, 0, 499)
    );
    assert_eq!(stats.bytes, 499 * (4096 + ITEM_BYTES));
    cache.clear();
    assert_eq!((cache.stats().items, cache.stats().bytes), (0, 0));
}

/// Goal: the bound holds at every moment, for items of all sizes. Method: insert many times the capacity.
#[test]
fn memory_stays_within_the_capacity() {
    let capacity = 24 << 20;
    let cache = Cache::new(capacity);
    let mut rng = SmallRng::seed_from_u64(5);
    for number in 0..2_000 {
        let length = if number % 50 == 0 {
            EXTENT_BYTES_MAX
        } else {
            rng.random_range(0..200_000)
        };
        cache.insert(key(number), &bytes(number, length), length);
        let stats = cache.stats();
        assert!(
            stats.bytes <= stats.capacity_bytes && stats.capacity_bytes < capacity + SHARDS_MAX,
            "{stats:?}"
        );
    }
    let stats = cache.stats();
    assert!(stats.evictions > 500 && stats.bytes > capacity / 2, "{stats:?}");
}

/// Goal: the largest extents are admitted by caches of ordinary size. Method: one into each of several.
#[test]
fn large_extents_are_admitted() {
    for capacity in [16 << 20, 100 << 20, 1 << 30] {
        let cache = Cache::new(capacity);
        cache.insert(key(1), &bytes(1, EXTENT_BYTES_MAX), EXTENT_BYTES_MAX);
        assert!(cache.get(&key(1)).is_some(), "capacity {capacity}");
    }
}

/// Goal: no capacity, no cache. Method: use one.
#[test]
fn a_cache_without_capacity_is_off() {
    let cache = Cache::new(0);
    cache.insert(key(1), &bytes(1, 10), 10);
    assert_eq!(cache.get(&key(1)), None);
    assert_eq!(cache.stats(), CacheStats::default());
}

/// Goal: small slices do not pin large buffers, large slices are not copied, and what is pinned is counted. Method:
/// compare addresses and weights.
#[test]
fn small_slices_are_copied() {
    let cache = Cache::new(64 << 20);
    let owner = bytes(3, 1 << 20);
    cache.insert(key(1), &owner.slice(4096..8192), owner.len());
    cache.insert(key(2), &owner.slice(..800_000), owner.len());
    let (small, large) = (
        cache.get(&key(1)).expect("kept"),
        cache.get(&key(2)).expect("kept"),
    );
    assert_eq!(small, owner.slice(4096..8192));
    assert!(
        !owner.as_ptr_range().contains(&small.as_ptr()),
        "the slice pins its owner"
    );
    assert_eq!(large.as_ptr(), owner.as_ptr(), "the bytes were copied");
    assert_eq!(cache.stats().bytes, 4096 + (1 << 20) + 2 * ITEM_BYTES);
}

/// Goal: hot items survive a scan that is larger than the cache. Method: touch 100 items repeatedly, then read 100,000
/// others once.
#[test]
fn a_scan_does_not_empty_the_cache() {
    let cache = Cache::new(16 << 20);
    for _ in 0..5 {
        for number in 0..100 {
            if cache.get(&key(number)).is_none() {
                cache.insert(key(number), &bytes(number, 4096), 4096);
            }
        }
    }
    for number in 1_000..101_000 {
        cache.insert(key(number), &Bytes::from_static(&[0; 4096]), 4096);
        if number % 1_000 == 0 {
            (0..100).for_each(|hot| _ = black_box(cache.get(&key(hot))));
        }
    }
    let left = (0..100)
        .filter(|number| cache.get(&key(*number)).is_some())
        .count();
    assert!(left >= 90, "only {left} of 100 hot items survived");
}

/// Goal: the cost of a hit, a miss and an insert. Method: 1 GiB of 4 KiB items, random order; run by hand in release.
#[test]
#[ignore = "a measurement, for release builds"]
#[allow(clippy::disallowed_methods, reason = "a measurement of real time")]
fn figures() {
    const ITEMS: u64 = 200_000;
    const PROBES: usize = 2_000_000;
    let cache = Cache::new(1 << 30);
    let keys: Vec<IndexKey> = (0..2 * ITEMS).map(key).collect();
    let timed = |what: &str, count: usize, work: &mut dyn FnMut()| {
        let start = std::time::Instant::now();
        work();
        println!(
            "{what}: {:.0} ns",
            start.elapsed().as_nanos() as f64 / count as f64
        );
    };
    let payload = bytes(1, 4096);
    timed("insert", ITEMS as usize, &mut || {
        keys[..ITEMS as usize]
            .iter()
            .for_each(|key| cache.insert(*key, &payload, 4096));
    });
    let mut rng = SmallRng::seed_from_u64(9);
    let order: Vec<usize> = (0..PROBES).map(|_| rng.random_range(0..ITEMS as usize)).collect();
    timed("hit", PROBES, &mut || {
        order.iter().for_each(|at| _ = black_box(cache.get(&keys[*at])))
    });
    timed("miss", PROBES, &mut || {
        order
            .iter()
            .for_each(|at| _ = black_box(cache.get(&keys[*at + ITEMS as usize])));
    });
    assert!(cache.stats().hits >= PROBES as u64 && cache.stats().misses >= PROBES as u64);
}
