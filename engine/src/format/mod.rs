//! On-device structures: encodes and checks bytes, does no I/O. The byte tables are in `FORMAT.md`.

pub mod branch;
pub mod checkpoint;
pub mod checksum;
pub mod commit;
pub mod frame;
mod ids;
#[cfg(test)]
pub(crate) mod layout_check;
pub mod manifest;
pub mod node;
pub mod quota;
pub mod root_record;
pub mod segment;
pub mod superblock;

pub use checksum::Secret;
pub use ids::{ContentId, Domain, Kind, LogId, ParseIdError, RootId, SegmentId, Sequence};
