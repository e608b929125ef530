//! State trees: directories of entries, commits, branches, and the way from and to real directories.

mod entry;
pub mod fs;

pub use entry::{Attributes, Entry, EntryKind, FileTime, Xattr};
