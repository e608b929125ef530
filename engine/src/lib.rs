//! The Helios engine: devices, reactors, the log, the index, the content store and state trees.
//!
//! Layers, top to bottom; imports point down only:
//! [`ops`] → [`trees`], [`objects`] → [`access`] → [`store`] → [`reactor`] → [`mod@format`] → [`device`];
//! [`hash`], [`error`] and [`limits`] stand below all of them. `ARCHITECTURE.md` tells the life of a put,
//! a get and a commit; `FORMAT.md` gives every byte on the device.

pub mod access;
#[doc(hidden)]
pub mod canary;
pub mod device;
pub mod error;
pub mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod golden_tests;
pub mod hash;
pub mod limits;
pub mod objects;
pub mod ops;
pub mod reactor;
#[doc(hidden)]
pub mod simulation;
pub mod store;
pub mod trees;

pub use error::{Error, Result};
