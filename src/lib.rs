#![doc = include_str!("../README.md")]

pub mod cli;

pub use helios_engine as engine;
pub use helios_engine::{Error, Result, ops};
