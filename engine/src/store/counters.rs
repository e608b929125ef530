//! What a store counts. Totals since the store was made go into checkpoints; the rest is of this opening.

use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::little_endian::U64;

use super::api::BatchCounts;
use super::sharded::Sharded;
use crate::format::checkpoint;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of one opening.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            /// Totals of earlier openings.
            before: Totals,
            /// By thread, because readers write no line that other readers write.
            reads: Sharded<Reads>,
            $($(#[$doc])* pub $name: AtomicU64,)*
        }
    };
}

/// What readers count.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Device reads for extents.
    pub reads: AtomicU64,
    /// Bytes of device reads.
    pub bytes: AtomicU64,
    /// Extents served from memory before they were durable.
    pub pending_hits: AtomicU64,
}

counters!(
    /// Extents offered.
    offered,
    /// Extents that were new.
    new,
    /// Bytes offered.
    offered_bytes,
    /// Bytes of new extents.
    new_bytes,
    /// Frames written.
    frames,
    /// Bytes of frames.
    frame_bytes,
    /// Batches in frames.
    batches,
    /// Batches that moved a branch.
    commits,
    /// Checkpoints taken.
    checkpoints,
    /// Bytes of checkpoints, one copy of each.
    checkpoint_bytes,
    /// `frame_bytes` at the time of the last checkpoint.
    checkpointed_at,
    /// What was [`written`](Counters::written) when the last collection began.
    collected_at,
    /// Bytes of the extents that the last collection had to read.
    collection_bytes,
    /// Collections that came to their end.
    collections,
    /// Extents forgotten by collections.
    swept,
    /// Their bytes.
    swept_bytes,
    /// Bytes of extents that cleaning moved.
    moved_bytes,
    /// Bytes of frames that cleaning wrote; part of `frame_bytes`.
    moved_frame_bytes,
    /// Bytes of segments filled with such frames that no frame took.
    moved_lost_bytes,
    /// Bytes of headers and footers of segments.
    footer_bytes,
    /// Bytes zeroed ahead of frames.
    zeroed_bytes,
    /// Segments that became free.
    segments_freed,
    /// Bytes of extents that the patrol has verified.
    patrolled_bytes,
);

/// Totals since the store was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// Extents offered.
    pub offered: u64,
    /// Extents that were new.
    pub new: u64,
    /// Bytes offered.
    pub offered_bytes: u64,
    /// Bytes of new extents.
    pub new_bytes: u64,
    /// Bytes of frames, padding included.
    pub frame_bytes: u64,
    /// Batches that moved a branch.
    pub commits: u64,
}

impl Counters {
    /// Counters that go on from a checkpoint's.
    pub fn after(counters: &checkpoint::Counters) -> Counters {
        let before = Totals {
            offered: counters.offered.get(),
            new: counters.new.get(),
            offered_bytes: counters.offered_bytes.get(),
            new_bytes: counters.new_bytes.get(),
            frame_bytes: counters.frame_bytes.get(),
            commits: counters.commits.get(),
        };
        Counters {
            before,
            ..Counters::default()
        }
    }

    /// A frame of that many bytes and batches was written.
    pub fn frame(&self, bytes: u64, batches: u64) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.frame_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.batches.fetch_add(batches, Ordering::Relaxed);
    }

    /// The header or the footer of a segment was written.
    pub fn segment_end(&self, bytes: u64) {
        self.footer_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Grows with everything that is asked of the store: reads of the device, offers, commits.
    pub fn asked(&self) -> u64 {
        let asked = [&self.offered, &self.commits];
        let asked: u64 = asked.iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
        asked + self.reads(|reads| &reads.reads)
    }

    /// One of the readers' counters, over all threads.
    pub fn reads(&self, which: fn(&Reads) -> &AtomicU64) -> u64 {
        self.reads
            .all()
            .map(|reads| which(reads).load(Ordering::Relaxed))
            .sum()
    }

    /// A checkpoint begins: what is written from now on may lie beyond it. Answers where the one before began.
    pub fn checkpoint_begins(&self) -> u64 {
        let written = self.frame_bytes.load(Ordering::Relaxed);
        self.checkpointed_at.swap(written, Ordering::Relaxed)
    }

    /// A checkpoint of that many bytes a copy was written and freed that many segments.
    pub fn checkpoint_ends(&self, bytes: u64, segments_freed: u64) {
        self.segments_freed.fetch_add(segments_freed, Ordering::Relaxed);
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.checkpoint_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A collection has forgotten that much; what was written before it began need not be looked at again.
    pub fn collected(&self, extents: u64, bytes: u64, frame_bytes_before: u64) {
        self.collections.fetch_add(1, Ordering::Relaxed);
        self.swept.fetch_add(extents, Ordering::Relaxed);
        self.swept_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.collected_at.store(frame_bytes_before, Ordering::Relaxed);
    }

    /// Bytes of frames written in this opening, without those that hold what cleaning moves.
    pub fn written(&self) -> u64 {
        let moved = self.moved_frame_bytes.load(Ordering::Relaxed);
        self.frame_bytes.load(Ordering::Relaxed).saturating_sub(moved)
    }

    /// Bytes of segments that cleaning has used up for what it moves.
    pub fn moved_room(&self) -> u64 {
        let frames = self.moved_frame_bytes.load(Ordering::Relaxed);
        frames + self.moved_lost_bytes.load(Ordering::Relaxed)
    }

    /// How many of them since the last collection began.
    pub fn written_since_collection(&self) -> u64 {
        self.written()
            .saturating_sub(self.collected_at.load(Ordering::Relaxed))
    }

    /// Bytes of frames written since the last checkpoint of this opening.
    pub fn bytes_to_replay(&self) -> u64 {
        let written = self.frame_bytes.load(Ordering::Relaxed);
        written.saturating_sub(self.checkpointed_at.load(Ordering::Relaxed))
    }

    /// A device read of that many bytes was asked for.
    pub fn read(&self, bytes: u64) {
        let mine = self.reads.mine();
        mine.reads.fetch_add(1, Ordering::Relaxed);
        mine.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// An extent was served from memory before it was durable.
    pub fn pending_hit(&self) {
        self.reads.mine().pending_hits.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch was submitted.
    pub fn batch(&self, counts: &BatchCounts) {
        self.offered.fetch_add(counts.offered, Ordering::Relaxed);
        self.new.fetch_add(counts.new, Ordering::Relaxed);
        self.offered_bytes
            .fetch_add(counts.offered_bytes, Ordering::Relaxed);
        self.new_bytes.fetch_add(counts.new_bytes, Ordering::Relaxed);
    }

    /// Totals since the store was made.
    pub fn totals(&self) -> Totals {
        let now = |before: u64, counter: &AtomicU64| before + counter.load(Ordering::Relaxed);
        Totals {
            offered: now(self.before.offered, &self.offered),
            new: now(self.before.new, &self.new),
            offered_bytes: now(self.before.offered_bytes, &self.offered_bytes),
            new_bytes: now(self.before.new_bytes, &self.new_bytes),
            frame_bytes: now(self.before.frame_bytes, &self.frame_bytes),
            commits: now(self.before.commits, &self.commits),
        }
    }

    /// Totals as a checkpoint keeps them.
    pub fn record(&self, next_root: u64) -> checkpoint::Counters {
        let totals = self.totals();
        checkpoint::Counters {
            next_root: U64::new(next_root),
            offered: U64::new(totals.offered),
            new: U64::new(totals.new),
            offered_bytes: U64::new(totals.offered_bytes),
            new_bytes: U64::new(totals.new_bytes),
            frame_bytes: U64::new(totals.frame_bytes),
            commits: U64::new(totals.commits),
            reserved: U64::new(0),
        }
    }
}
