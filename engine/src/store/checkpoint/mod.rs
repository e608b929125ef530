//! Checkpoints: what a store must know besides the footers of its sealed segments.
//!
//! [`compose`] says what is in one, [`copies`] writes and reads its two copies, [`online`] takes one while the store
//! works. A checkpoint is the only act that frees segments: it forgets them together with the dead sets and the
//! log positions that make them useless, and they are used again only once it is durable.

mod compose;
mod copies;
mod online;
mod sane;

pub(super) use compose::{Contents, store_checkpoint};
pub(super) use copies::{load, parts, verify_copy};
pub use online::CheckpointReport;
pub(super) use online::{cut_all, gives_room, lifeless, take};
