//! `info` and `stats`.

use super::open::{Engine, Rights};
use crate::error::Result;
use crate::ops::{CacheStats, Info, Latency, Stats, Totals};
use crate::store::RootKind;
use crate::store::histogram::Summary;

impl Engine {
    pub fn info(&self) -> Result<Info> {
        let health = self.store.health();
        let space = self.store.space();
        let stats = self.store.stats();
        let mut notes: Vec<String> = health
            .damage
            .iter()
            .map(|damage| {
                format!(
                    "segment {} at byte {}: {}",
                    damage.segment, damage.offset, damage.what
                )
            })
            .collect();
        // Opened for reading it takes no writes by design; that says nothing about the store.
        let read_only = health.read_only.filter(|_| self.rights == Rights::Write);
        let word = match (&read_only, health.damage.is_empty()) {
            (_, false) => "damaged",
            (Some(_), true) => "read-only",
            (None, true) => "ok",
        };
        notes.extend(read_only);
        notes.extend(health.fences.iter().map(|fence| {
            format!(
                "log {}: a write failed at segment {}, byte {} ({}); batches {} to {} were written anew elsewhere",
                fence.log, fence.segment, fence.offset, fence.reason, fence.batches.0, fence.batches.1
            )
        }));
        if health.replayed_frames > 0 {
            notes.push(format!(
                "{} frames were read again because the store was not closed",
                health.replayed_frames
            ));
        }
        let roots = |kind| self.store.roots(kind).len() as u64;
        Ok(Info {
            store: self.address.to_string(),
            health: word.to_owned(),
            notes,
            format_version: u32::from(health.format_version),
            size: space.capacity,
            used: space.capacity.saturating_sub(space.free),
            free: space.free,
            segments: space.segments,
            segments_free: space.segments_free,
            extents: stats.index_entries,
            index_bytes: stats.index_bytes,
            ram_full_bytes: space.index_bytes_max,
            branches: roots(RootKind::Branch),
            tags: roots(RootKind::Tag),
            pins: roots(RootKind::Pin),
            workspaces: roots(RootKind::Workspace),
        })
    }

    pub fn stats(&self) -> Result<Stats> {
        let stats = self.store.stats();
        let open_ns = self.store.runtime().clock().now().0.saturating_sub(self.opened.0);
        Ok(Stats {
            open_ms: open_ns / 1_000_000,
            cache: CacheStats {
                hits: stats.cache.hits,
                misses: stats.cache.misses,
                evictions: stats.cache.evictions,
                size: stats.cache.bytes,
                items: stats.cache.items,
            },
            visible: latency(&stats.commit_latency_visible),
            durable: latency(&stats.commit_latency_durable),
            new_objects: stats.new_objects,
            new_bytes: stats.new_bytes,
            dedup_ratio: dedup_ratio(stats.offered_bytes, stats.new_bytes),
            io_reduction_percent: reduction_percent(stats.offered_bytes, stats.new_bytes),
            index_entries: stats.index_entries,
            index_bytes: stats.index_bytes,
            totals: Totals {
                commits: stats.totals.commits,
                new_objects: stats.totals.new,
                new_bytes: stats.totals.new_bytes,
                offered_bytes: stats.totals.offered_bytes,
                dedup_ratio: dedup_ratio(stats.totals.offered_bytes, stats.totals.new_bytes),
            },
        })
    }
}

fn latency(summary: &Summary) -> Latency {
    Latency {
        commits: summary.count,
        commit_latency_us_p50: summary.us_p50,
        commit_latency_us_p95: summary.us_p95,
        commit_latency_us_p99: summary.us_p99,
    }
}

/// Bytes offered per byte stored; 1 while nothing was offered. Everything offered and nothing stored counts as if
/// one byte had been, so that the figure stays finite.
fn dedup_ratio(offered: u64, stored: u64) -> f64 {
    if offered == 0 {
        1.0
    } else {
        offered as f64 / stored.max(1) as f64
    }
}

fn reduction_percent(offered: u64, stored: u64) -> f64 {
    if offered == 0 {
        0.0
    } else {
        offered.saturating_sub(stored) as f64 * 100.0 / offered as f64
    }
}
