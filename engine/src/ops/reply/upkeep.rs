//! Replies about space given back and damage found.

use serde::{Deserialize, Serialize};

use crate::format::ContentId;

/// What a collection did, or with a dry run would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Branches whose time was over.
    pub expired_branches: u64,
    /// Extents that something keeps alive.
    pub alive: u64,
    /// Extents that nothing keeps alive.
    pub forgotten: u64,
    /// Their bytes.
    pub forgotten_bytes: u64,
    /// Bytes of living extents that were moved to free their segments.
    pub moved_bytes: u64,
    /// Segments that became free.
    pub segments_freed: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Extents that could not be moved because they cannot be read; `scrub` names them.
    pub unreadable: u64,
}

/// What a scrub found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// It went on where an earlier one was ended.
    pub resumed: bool,
    /// Segments read.
    pub segments: u64,
    /// Extents verified.
    pub extents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Damaged extents that were written anew from another copy.
    pub repaired: u64,
    /// Segments whose footer was damaged; their frames were read instead, and what lives there was moved elsewhere.
    pub footers_damaged: u64,
    /// What was wrong with superblocks and checkpoints; the damaged copies were written anew.
    #[serde(default)]
    pub anchors_damaged: Vec<String>,
    /// Damaged extents that are left.
    pub damage: Vec<DamagedExtent>,
}

/// An extent whose bytes on the device are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedExtent {
    /// Its id.
    pub id: ContentId,
    /// Its kind, in words.
    pub kind: String,
    /// Segment that holds it.
    pub segment: u32,
    /// First byte there.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
    /// What was found.
    pub message: String,
    /// Names, with paths, that lead to it; not all if there are many.
    pub kept_by: Vec<String>,
}
