//! Replies about single contents.

use serde::{Deserialize, Serialize};

use crate::format::ContentId;

/// One content that was stored or read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its id, as `b3sum` prints it.
    pub id: ContentId,
    /// Its size.
    pub size: u64,
    /// Bytes that went through the exchange.
    pub bytes: u64,
    /// The store did not have it before; false for reads.
    pub new: bool,
}

/// Which contents are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// In the order asked.
    pub contents: Vec<Presence>,
}

/// Whether one content is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Which.
    pub id: ContentId,
    /// Whether it is there.
    pub exists: bool,
}

/// Pins after a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// In the order asked.
    pub contents: Vec<PinCount>,
}

/// Pins of one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinCount {
    /// Which.
    pub id: ContentId,
    /// How many now.
    pub pins: u64,
}
