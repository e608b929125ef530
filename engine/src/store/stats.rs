//! What a store says about itself: counters, space, health.

use std::sync::atomic::Ordering;

use super::Store;
use super::cache::CacheStats;
use super::counters::Totals;
use super::fences::Fence;
use super::histogram::{Class, Distribution, Summary};
use super::index;
use super::recovery::Damage;
use super::segments::SegmentState;
use crate::limits::UNIT_BYTES;

/// Counters of this opening, and totals since the store was made.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Stats {
    /// The cache of verified extents.
    pub cache: CacheStats,
    /// Totals since the store was made.
    pub totals: Totals,
    /// Extents offered.
    pub offered: u64,
    /// Extents that were new.
    pub new_objects: u64,
    /// Bytes offered.
    pub offered_bytes: u64,
    /// Bytes of new extents.
    pub new_bytes: u64,
    /// Frames written.
    pub frames: u64,
    /// Bytes of frames, padding included.
    pub frame_bytes: u64,
    /// Batches in frames.
    pub batches: u64,
    /// Device reads for extents.
    pub reads: u64,
    /// Bytes of device reads.
    pub read_bytes: u64,
    /// Extents served from memory before they were durable.
    pub pending_hits: u64,
    /// Bytes visible and not yet durable.
    pub pending_bytes: u64,
    /// How often a batch waited for room among the pending.
    pub pending_waits: u64,
    /// Extents in the index.
    pub index_entries: u64,
    /// Bytes of memory the index takes.
    pub index_bytes: u64,
    /// Commits until visible.
    pub commit_latency_visible: Summary,
    /// Commits until durable.
    pub commit_latency_durable: Summary,
    /// Gets answered from memory.
    pub get_latency_memory: Summary,
    /// Gets that read the device.
    pub get_latency_device: Summary,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// Bytes of checkpoints, one copy of each.
    pub checkpoint_bytes: u64,
    /// Collections that came to their end.
    pub collections: u64,
    /// Extents that collections forgot.
    pub swept: u64,
    /// Their bytes.
    pub swept_bytes: u64,
    /// Bytes of extents that cleaning moved.
    pub moved_bytes: u64,
    /// Bytes of frames that cleaning wrote; part of `frame_bytes`.
    #[serde(default)]
    pub moved_frame_bytes: u64,
    /// Bytes of headers and footers of segments.
    #[serde(default)]
    pub footer_bytes: u64,
    /// Bytes zeroed ahead of frames.
    #[serde(default)]
    pub zeroed_bytes: u64,
    /// Segments that became free.
    pub segments_freed: u64,
    /// Writes of frames that failed; what they held was written anew elsewhere.
    pub failed_writes: u64,
    /// Bytes of extents that the patrol has verified.
    pub patrolled_bytes: u64,
    /// Bytes of frames that a crash now would have to be replayed.
    pub bytes_to_replay: u64,
    /// Living leases.
    pub leases: u64,
    /// Roots of all kinds.
    pub roots: u64,
}

/// How the device is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Space {
    /// Bytes of the device.
    pub capacity: u64,
    /// Bytes of one segment.
    pub segment_bytes: u64,
    /// Segments in all.
    pub segments: u64,
    /// Segments in no use.
    pub segments_free: u64,
    /// Segments that are full.
    pub segments_sealed: u64,
    /// Segments that take frames or are next in line.
    pub segments_open: u64,
    /// Segments that hold checkpoints.
    pub segments_checkpoint: u64,
    /// Bytes of the segments that are full.
    pub sealed_bytes: u64,
    /// Bytes of extents on the device that are known; the rest of what is used is dead, or what frames cost.
    pub live_bytes: u64,
    /// Bytes that can still be written, about.
    pub free: u64,
    /// Extents a full store may hold, at 4 KiB each.
    pub extents_max: u64,
    /// Bytes of memory the index of a full store takes.
    pub index_bytes_max: u64,
}

/// Whether the store does what it should.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Health {
    /// Random name of the store, in hexadecimal.
    pub store: String,
    /// When it was made: nanoseconds since 1970.
    pub created_ns: u64,
    /// Number of openings for writing.
    pub incarnation: u64,
    /// Format version.
    pub format_version: u16,
    /// Why no writes are taken, if none are.
    pub read_only: Option<String>,
    /// What opening could not read, and what the patrol has found since.
    pub damage: Vec<Damage>,
    /// Frames read again when the store was opened; 0 after a clean close.
    pub replayed_frames: u64,
    /// Places where writes failed since, the newest few; what they left in doubt was written anew elsewhere.
    pub fences: Vec<Fence>,
}

impl Store {
    /// Counters of this opening, and totals.
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let counters = &shared.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            cache: shared.cache.stats(),
            totals: counters.totals(),
            offered: read(&counters.offered),
            new_objects: read(&counters.new),
            offered_bytes: read(&counters.offered_bytes),
            new_bytes: read(&counters.new_bytes),
            frames: read(&counters.frames),
            frame_bytes: read(&counters.frame_bytes),
            batches: read(&counters.batches),
            reads: counters.reads(|reads| &reads.reads),
            read_bytes: counters.reads(|reads| &reads.bytes),
            pending_hits: counters.reads(|reads| &reads.pending_hits),
            pending_bytes: shared.pending.bytes(),
            pending_waits: shared.pending.waits(),
            index_entries: shared.index.len(),
            index_bytes: shared.index.memory_bytes(),
            commit_latency_visible: shared.latencies.summary(Class::VisibleCommit),
            commit_latency_durable: shared.latencies.summary(Class::DurableCommit),
            get_latency_memory: shared.latencies.summary(Class::GetHit),
            get_latency_device: shared.latencies.summary(Class::GetDevice),
            checkpoints: read(&counters.checkpoints),
            checkpoint_bytes: read(&counters.checkpoint_bytes),
            collections: read(&counters.collections),
            swept: read(&counters.swept),
            swept_bytes: read(&counters.swept_bytes),
            moved_bytes: read(&counters.moved_bytes),
            moved_frame_bytes: read(&counters.moved_frame_bytes),
            footer_bytes: read(&counters.footer_bytes),
            zeroed_bytes: read(&counters.zeroed_bytes),
            segments_freed: read(&counters.segments_freed),
            failed_writes: shared.fences.count(),
            patrolled_bytes: read(&counters.patrolled_bytes),
            bytes_to_replay: counters.bytes_to_replay(),
            leases: shared.leases.count() as u64,
            roots: shared.roots.read().len() as u64,
        }
    }

    /// How long the operations of a class took since this opening, by bounds in nanoseconds that ascend.
    pub fn latencies(&self, class: Class, bounds_ns: &[u64]) -> Distribution {
        self.shared().latencies.distribution(class, bounds_ns)
    }

    /// How the device is used.
    pub fn space(&self) -> Space {
        let shared = self.shared();
        let table = shared.segments.lock();
        let count = |wanted: fn(SegmentState) -> bool| table.find(wanted).len() as u64;
        let segment_bytes = shared.places.segment_bytes();
        let room: u64 = shared.logs().iter().map(|log| log.room.left()).sum();
        let capacity = self.0.superblock.lock().capacity_units.get() * UNIT_BYTES as u64;
        let extents_max = segment_bytes * table.len() as u64 / UNIT_BYTES as u64;
        Space {
            capacity,
            segment_bytes,
            segments: table.len() as u64,
            segments_free: count(|state| state == SegmentState::Free),
            segments_sealed: count(|state| matches!(state, SegmentState::Sealed { .. })),
            segments_open: count(|state| matches!(state, SegmentState::Open(_) | SegmentState::Reserved(_))),
            segments_checkpoint: count(|state| state == SegmentState::Checkpoint),
            sealed_bytes: count(|state| matches!(state, SegmentState::Sealed { .. })) * segment_bytes,
            live_bytes: shared.usage.live().iter().map(|alive| alive.live_bytes).sum(),
            free: table.free_for_logs() as u64 * segment_bytes + room,
            extents_max,
            index_bytes_max: index::memory_for(extents_max, shared.places.widths()),
        }
    }

    /// Whether the store does what it should.
    pub fn health(&self) -> Health {
        let shared = self.shared();
        let read_only = shared.check_writable().err().map(|error| error.to_string());
        Health {
            store: shared.store.iter().map(|byte| format!("{byte:02x}")).collect(),
            created_ns: shared.created_ns,
            incarnation: shared.incarnation,
            format_version: crate::format::superblock::VERSION,
            read_only,
            damage: shared
                .damage
                .iter()
                .cloned()
                .chain(shared.patrol.found())
                .collect(),
            replayed_frames: self.0.replayed_frames,
            fences: shared.fences.newest(),
        }
    }
}
