//! State trees: directories of entries, commits, branches, and the way from and to real directories.

pub mod directory;
mod directory_read;
mod entry;
pub mod fs;
mod ids;
mod node;
mod shape;

pub use directory::{PendingDirectory, build_many};
pub use directory_read::{entries, entries_many, find, list_from};
pub use entry::{Attributes, Entry, EntryKind, FileTime, Xattr};
pub use node::{content_kind, references};
