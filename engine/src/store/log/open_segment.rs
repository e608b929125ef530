//! The segment a log fills: where the next frame goes, what has been written, and how far the space ahead is ready.
//!
//! Writing to space that was written before costs 96 us where fallocated space costs 140 (4 KiB, durable, ext4), so
//! the segment is zero-written ahead of the frames while the log has nothing else to do. Frames never wait for that:
//! a log in a hurry jumps over the part that is not zeroed.

use crate::format::SegmentId;
use crate::format::frame::Descriptor;
use crate::format::segment::footer_units;
use crate::limits::{FRAME_BYTES_MAX, UNIT_BYTES};
use crate::store::segments::SegmentUse;

/// Bytes zeroed by one command: a durable write that comes meanwhile waits for it, 0.6 ms for 1 MiB; half as many bytes meet
/// twice as many writes.
const ZERO_PIECE_BYTES: u64 = 512 << 10;
/// Zeroing starts when less than this is ready ahead, and goes on to `ZERO_AHEAD_BYTES`.
const ZERO_LOW_BYTES: u64 = 2 << 20;
const ZERO_AHEAD_BYTES: u64 = 16 << 20;

/// The segment a log fills.
#[derive(Clone)]
pub(in crate::store) struct OpenSegment {
    /// Which one.
    pub at: SegmentUse,
    /// Unit of the next frame.
    pub next_unit: u32,
    /// Everything written so far, for the footer.
    pub descriptors: Vec<Descriptor>,
    units: u32,
    /// Bytes from the start that have been written or zeroed, or skipped.
    ready: u64,
    /// A run of zeroing is under way.
    topping_up: bool,
    /// The piece being zeroed now.
    zeroing: Option<(u64, u64)>,
}

impl OpenSegment {
    /// A segment whose header is written, or one that goes on after a clean close.
    pub fn new(
        at: SegmentUse,
        units: u32,
        next_unit: u32,
        ready_unit: u32,
        descriptors: Vec<Descriptor>,
    ) -> OpenSegment {
        let ready = u64::from(ready_unit.clamp(next_unit, units)) * UNIT_BYTES as u64;
        OpenSegment {
            at,
            next_unit,
            descriptors,
            units,
            ready,
            topping_up: true,
            zeroing: None,
        }
    }

    /// Unit up to which the segment is ready for fast writes.
    pub fn ready_unit(&self) -> u32 {
        u32::try_from(self.ready / UNIT_BYTES as u64).expect("a segment is below 2 GiB")
    }

    /// True when no part of it is left to be made ready.
    pub fn is_ready_to_its_end(&self) -> bool {
        self.ready_unit() >= self.units
    }

    /// Number of the segment.
    pub fn id(&self) -> SegmentId {
        self.at.segment
    }

    /// Whether a frame of that many units and descriptors still fits before the footer.
    pub fn fits(&self, frame_units: u32, descriptors: usize) -> bool {
        self.next_unit + frame_units + footer_units(self.descriptors.len() + descriptors) <= self.units
    }

    /// Bytes that frames can no longer use.
    pub fn left_bytes(&self) -> u64 {
        let left = self.units - self.next_unit - footer_units(self.descriptors.len());
        u64::from(left) * UNIT_BYTES as u64
    }

    /// Bytes that are in no frame: the header, the footer, and what lies before that.
    pub fn lost_bytes(&self) -> u64 {
        u64::from(self.units - self.next_unit + 1) * UNIT_BYTES as u64
    }

    /// Takes the units of a frame; true if it must wait for the piece being zeroed.
    pub fn take(&mut self, frame_units: u32, descriptors: &[Descriptor]) -> bool {
        let start = u64::from(self.next_unit) * UNIT_BYTES as u64;
        self.next_unit += frame_units;
        self.descriptors.extend_from_slice(descriptors);
        let end = u64::from(self.next_unit) * UNIT_BYTES as u64;
        if self.ready < end {
            self.ready = end;
        }
        self.zeroing.is_some_and(|(from, to)| start < to && from < end)
    }

    /// Forgets the newest descriptors: those of frames that are written anew. Their units stay used.
    pub fn forget_newest(&mut self, descriptors: usize) {
        self.descriptors.truncate(self.descriptors.len() - descriptors);
    }

    /// Counts a frame that replay found.
    pub fn accept(&mut self, end_unit: u32, descriptors: &[Descriptor]) {
        self.next_unit = end_unit;
        self.ready = self.ready.max(u64::from(end_unit) * UNIT_BYTES as u64);
        self.descriptors.extend_from_slice(descriptors);
    }

    /// The next piece to zero, as byte range of the segment, if it is time for one.
    pub fn next_piece(&mut self) -> Option<(u64, u64)> {
        let head = u64::from(self.next_unit) * UNIT_BYTES as u64;
        let end = u64::from(self.units) * UNIT_BYTES as u64;
        let ahead = self.ready - head;
        if ahead < ZERO_LOW_BYTES {
            self.topping_up = true;
        } else if ahead >= ZERO_AHEAD_BYTES {
            self.topping_up = false;
        }
        if !self.topping_up || self.zeroing.is_some() || self.ready >= end {
            return None;
        }
        // Leave a frame's distance, so that a frame rarely meets the piece in flight.
        if ahead < FRAME_BYTES_MAX as u64 && self.next_unit > 1 {
            self.ready = (head + FRAME_BYTES_MAX as u64).min(end);
        }
        let piece = (self.ready, (self.ready + ZERO_PIECE_BYTES).min(end));
        if piece.0 >= piece.1 {
            return None;
        }
        self.zeroing = Some(piece);
        Some(piece)
    }

    /// The piece has been zeroed (or failed to be, which only costs speed).
    pub fn zeroed(&mut self) {
        if let Some((_, to)) = self.zeroing.take() {
            self.ready = self.ready.max(to);
        }
    }
}
