//! Real directories: to a tree ([`scan`]), from a tree ([`materialize`], [`restore`]), and compared ([`status`]).

mod control;
mod folder;
mod ignore_rules;
mod parallel;
mod platform;
mod stat_cache;
mod walk;

pub use control::{Cancel, Control, Doubt, Phase, Progress, Report, Warnings};
pub use platform::FileId;
