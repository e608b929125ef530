//! What is measured again and again: loads and facts that the benches and `helios benchmark` have in common.
//!
//! Nothing here knows how it is reported, or panics because of what it measures.

pub mod agents;
pub mod calls;
mod content;
mod extents;
pub mod machine;
pub mod samples;
pub mod steps;

pub use content::content;
pub use extents::put;
