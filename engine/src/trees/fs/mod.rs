//! Real directories: to a tree ([`scan`]), from a tree ([`materialize()`], [`Restore`]), and compared ([`status`]).

mod apply;
mod build;
mod compare;
mod control;
mod folder;
mod groups;
mod ignore_rules;
mod known;
mod links;
mod listing;
mod materialize;
mod metadata;
mod names;
mod parallel;
mod pending;
mod platform;
mod read;
mod remove;
mod restore;
mod scan;
mod site;
mod stat_cache;
mod stat_record;
mod status;
mod stream;
#[cfg(test)]
mod testing;
mod walk;
mod workspace;
mod writer;
mod xattr;

pub use control::{Cancel, Control, Doubt, Phase, Progress, Report, Warnings};
pub use materialize::{MaterializeOptions, Materialized, materialize};
pub use platform::FileId;
pub use restore::{Restore, RestoreAction, RestoreOptions, RestoreStep, Restored};
pub use scan::{Scan, ScanCounts, ScanOptions, inspect, scan};
pub use status::status;
pub use workspace::{Identity, Known, Workspace};
