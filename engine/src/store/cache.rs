//! Verified bytes kept in memory, shared by all callers of a store.
//!
//! Owns which extents stay (by `quick_cache`: Clock-PRO, close to S3-FIFO, resists scans) within a bound on the
//! memory they hold, and the hit counts. Invariant: what goes in has been verified against its id, so a hit need not
//! be; extents never change, so nothing in here is ever stale.
//! The bound counts what an item keeps allocated, not what it shows: a small slice of a large buffer is copied, so
//! that one warm 4 KiB extent does not pin the megabyte it was read with.
//! Rejected: a cache per reactor (the same hot nodes in each of them), counters inside the cache (two shared lines
//! written per hit).

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use quick_cache::sync::Cache as Items;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::index::IndexKey;
use super::sharded::Sharded;
use crate::limits::EXTENT_BYTES_MAX;

/// About what an item costs besides its bytes: key, table slots (with those of items evicted lately), the `Bytes` and its
/// allocation.
const ITEM_BYTES: u64 = 192;
/// A shard holds several of the largest extents, or large ones would never be admitted.
const SHARD_BYTES_MIN: u64 = 8 * EXTENT_BYTES_MAX as u64;
const SHARDS_MAX: u64 = 64;
/// Expected size of an item; sizes tables at the start.
const ITEM_BYTES_EXPECTED: u64 = 8 << 10;

/// What the cache has done and holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CacheStats {
    /// Look-ups that found their extent.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Items dropped to make room, or not admitted for their size.
    pub evictions: u64,
    /// Memory held, in bytes, overhead included.
    pub bytes: u64,
    /// Bound of it, in bytes.
    pub capacity_bytes: u64,
    /// Items held.
    pub items: u64,
}

/// The cache. Share it by reference or `Arc`; every method may be called from any thread.
pub struct Cache {
    /// `None` if the capacity is 0.
    items: Option<Items<IndexKey, Item, ByMemory, BuildHasherDefault<Digest>, Evictions>>,
    counts: Sharded<Counts>,
    evictions: Evictions,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Clone)]
struct Item {
    bytes: Bytes,
    held: u64,
}

impl Cache {
    /// A cache that holds at most this much memory; 0 turns it off. Extents larger than a large part of the
    /// capacity are not admitted.
    pub fn new(capacity_bytes: u64) -> Cache {
        let evictions = Evictions::default();
        let items = (capacity_bytes > 0).then(|| {
            let options = OptionsBuilder::new()
                .shards((capacity_bytes / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX) as usize)
                .estimated_items_capacity((capacity_bytes / ITEM_BYTES_EXPECTED).max(32) as usize)
                .weight_capacity(capacity_bytes)
                .build()
                .expect("both capacities are set");
            Items::with_options(options, ByMemory, Default::default(), evictions.clone())
        });
        Cache {
            items,
            counts: Sharded::default(),
            evictions,
        }
    }

    /// The bytes of an extent, if they are here.
    #[inline]
    pub fn get(&self, key: &IndexKey) -> Option<Bytes> {
        let items = self.items.as_ref()?;
        let found = items.get(key).map(|item| item.bytes);
        let counts = self.counts.mine();
        let count = if found.is_some() {
            &counts.hits
        } else {
            &counts.misses
        };
        count.fetch_add(1, Relaxed);
        found
    }

    /// Keeps verified bytes. `held` is the size of the allocation they are a slice of (their own length if they are
    /// all of it): a slice of less than half is copied, so that it does not pin the rest.
    pub fn insert(&self, key: IndexKey, bytes: &Bytes, held: usize) {
        let Some(items) = &self.items else { return };
        let copied = bytes.len() < held / 2;
        let item = Item {
            bytes: if copied {
                Bytes::copy_from_slice(bytes)
            } else {
                bytes.clone()
            },
            held: if copied {
                bytes.len()
            } else {
                held.max(bytes.len())
            } as u64,
        };
        items.insert(key, item);
    }

    /// Drops an extent's bytes, if they are here.
    pub fn remove(&self, key: &IndexKey) {
        if let Some(items) = &self.items {
            items.remove(key);
        }
    }

    /// Drops everything; counts stay.
    pub fn clear(&self) {
        if let Some(items) = &self.items {
            items.clear();
        }
    }

    /// Counts since the start, and what is held now.
    pub fn stats(&self) -> CacheStats {
        let sum = |count: fn(&Counts) -> &AtomicU64| {
            self.counts.all().map(|counts| count(counts).load(Relaxed)).sum()
        };
        let held = self.items.as_ref();
        CacheStats {
            hits: sum(|counts| &counts.hits),
            misses: sum(|counts| &counts.misses),
            evictions: self.evictions.0.load(Relaxed),
            bytes: held.map_or(0, Items::weight),
            capacity_bytes: held.map_or(0, Items::capacity),
            items: held.map_or(0, |items| items.len() as u64),
        }
    }
}

/// Weighs an item by the memory it keeps.
#[derive(Clone, Copy)]
struct ByMemory;

impl Weighter<IndexKey, Item> for ByMemory {
    fn weight(&self, _: &IndexKey, item: &Item) -> u64 {
        item.held + ITEM_BYTES
    }
}

/// Counts evictions, and frees what was evicted after the shard's lock is let go.
#[derive(Clone, Default)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<IndexKey, Item> for Evictions {
    type RequestState = Vec<Item>;

    fn on_evict(&self, evicted: &mut Vec<Item>, _: IndexKey, item: Item) {
        self.0.fetch_add(1, Relaxed);
        evicted.push(item);
    }
}

/// Keys are pseudo-random already: takes the 64 bits they offer.
#[derive(Default)]
struct Digest(u64);

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
