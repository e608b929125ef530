#![doc = include_str!("../README.md")]

pub mod attach;
pub mod cli;
pub mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod observe;
pub mod serve;
pub mod wire;
#[doc(hidden)]
pub mod workloads;

pub use helios_engine as engine;
pub use helios_engine::{Error, Result, ops};
