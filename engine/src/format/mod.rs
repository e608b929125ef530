//! On-device structures: encodes and checks bytes, does no I/O. The byte tables are in `FORMAT.md`.

pub mod branch;
pub mod commit;
mod ids;
pub mod node;

pub use ids::{ContentId, Domain, Kind, LogId, ParseIdError, RootId, SegmentId, Sequence};
