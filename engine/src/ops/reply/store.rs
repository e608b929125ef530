//! Replies about a whole store.

use serde::{Deserialize, Serialize};

use crate::ops::ByteString;

/// A new store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Address.
    pub store: String,
    /// Capacity.
    pub size: u64,
    /// What the index of a full store takes in memory.
    pub ram_full_bytes: u64,
    /// The mean extent size that figure assumes.
    pub ram_full_extent_bytes: u64,
}

/// Health and space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Address.
    pub store: String,
    /// `ok`, or what is wrong.
    pub health: String,
    /// Facts about the health worth reading, one sentence each.
    pub notes: Vec<String>,
    /// Version of the on-device format.
    pub format_version: u32,
    /// Capacity.
    pub size: u64,
    /// Bytes in segments that hold something.
    pub used: u64,
    /// Bytes new content can still take.
    pub free: u64,
    /// Segments in all.
    pub segments: u64,
    /// Segments free.
    pub segments_free: u64,
    /// Extents stored.
    pub extents: u64,
    /// Memory of the index now.
    pub index_bytes: u64,
    /// What the index of a full store takes in memory.
    pub ram_full_bytes: u64,
    /// Branches.
    pub branches: u64,
    /// Tags.
    pub tags: u64,
    /// Pinned contents.
    pub pins: u64,
    /// Directories whose branch and file states the store remembers.
    pub workspaces: u64,
}

/// Counters since the store was opened by the process that answers, and totals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// How long that has been, in milliseconds. Counters and latencies cover this time only.
    pub open_ms: u64,
    /// Cache of extents.
    pub cache: CacheStats,
    /// Commits that asked for visibility.
    pub visible: Latency,
    /// Commits that asked for durability.
    pub durable: Latency,
    /// Extents stored that the store did not have.
    pub new_objects: u64,
    /// Bytes of those.
    pub new_bytes: u64,
    /// Bytes offered divided by bytes stored; 1 where nothing was saved.
    pub dedup_ratio: f64,
    /// Share of the offered bytes that needed no writing.
    pub io_reduction_percent: f64,
    /// Extents in the index: the whole store, not only this run.
    pub index_entries: u64,
    /// Memory of the index now.
    pub index_bytes: u64,
    /// The same since the store was made.
    pub totals: Totals,
}

/// Totals since a store was made, as of its last clean close and what this process added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Commits.
    pub commits: u64,
    /// Extents stored that the store did not have.
    pub new_objects: u64,
    /// Bytes of those.
    pub new_bytes: u64,
    /// Bytes offered.
    pub offered_bytes: u64,
    /// Bytes offered divided by bytes stored.
    pub dedup_ratio: f64,
}

/// Cache of extents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// Reads it answered.
    pub hits: u64,
    /// Reads it did not.
    pub misses: u64,
    /// Extents it dropped to make room.
    pub evictions: u64,
    /// Bytes it holds.
    pub size: u64,
    /// Extents it holds.
    pub items: u64,
}

/// Latencies of one class of commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub commits: u64,
    /// Half took at most this long, in microseconds.
    pub commit_latency_us_p50: f64,
    /// 95 of 100 took at most this long.
    pub commit_latency_us_p95: f64,
    /// 99 of 100 took at most this long.
    pub commit_latency_us_p99: f64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Branches, tags and pins followed to their ends.
    pub roots: u64,
    /// Extents verified.
    pub extents: u64,
    /// Bytes read and verified.
    pub bytes: u64,
    /// Extents on the device that the index knows.
    #[serde(default)]
    pub live: u64,
    /// Extents on the device that nothing refers to any more.
    #[serde(default)]
    pub dead: u64,
    /// Everything that is wrong; empty in a sound store.
    pub damage: Vec<Damage>,
}

/// One thing that is wrong in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The branch, tag or path that reaches it, where known.
    pub reached_from: Option<ByteString>,
    /// What is wrong and where.
    pub message: String,
}
