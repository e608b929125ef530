//! A cut: the place in a log where a checkpoint ends and replay begins.
//!
//! A checkpoint asks, while nobody changes roots, for the place after a certain sequence; the writer answers once
//! everything before it is acknowledged, the index is pointed at the device, and the footers of the segments before
//! it are written. Batches on both sides of the sequence never share a frame, so that no root record that the
//! checkpoint does not know lies before the place.

use std::collections::BTreeSet;

use super::writer::LogEnd;
use crate::format::SegmentId;
use crate::reactor::oneshot;

/// What a checkpoint asks of a log.
pub(super) struct CutRequest {
    /// Every batch up to this one lies before the cut.
    pub at: u64,
    pub answer: oneshot::Sender<LogEnd>,
}

/// A cut on its way.
pub(super) struct Cut {
    pub request: CutRequest,
    /// Where it is, once every batch before it is in a frame.
    pub end: Option<LogEnd>,
    /// Segments before it whose footers are being written.
    pub sealing: BTreeSet<SegmentId>,
}

impl Cut {
    /// Last sequence that may be in the next frame, whose first is `first`.
    pub fn frame_limit(&self, first: u64) -> u64 {
        if self.end.is_none() && first <= self.request.at {
            self.request.at
        } else {
            u64::MAX
        }
    }

    /// True when everything before it is safe.
    pub fn is_ready(&self, acknowledged: u64) -> bool {
        let covers = |end: &LogEnd| end.next_sequence <= acknowledged + 1;
        self.end.as_ref().is_some_and(covers) && self.sealing.is_empty()
    }
}
