//! State trees: directories of entries, commits, branches, and the way from and to real directories.

mod branches;
mod commit;
mod diff;
pub mod directory;
mod directory_read;
mod entry;
mod expiry;
mod forget;
pub mod fs;
mod handle;
mod history;
mod ids;
mod liveness;
mod merge;
mod moments;
mod names;
mod node;
mod offered;
mod pair;
mod path;
mod quota;
mod revision;
mod shape;
#[cfg(test)]
mod testing;
mod time;
mod trace;
mod tree;
mod working;

pub use branches::Reference;
pub use commit::{Commit, CommitOptions, CommitOutcome, ExpectHead, TreeCounts, commit_references};
pub use diff::{Change, Changed, Difference};
pub use directory::{PendingDirectory, build_many};
pub use directory_read::{entries, entries_many, find, list_from};
pub use entry::{Attributes, Entry, EntryKind, FileTime, Xattr};
pub use forget::{Forgetting, Forgotten, Keep};
pub use handle::Trees;
pub use history::{Ancestors, Log, LoggedCommit};
pub use liveness::{
    Histories, Start, commit_parents, extent_references, floors_mark, has_floors, root_starts,
};
pub use merge::{Clash, Conflict, MergeOptions, MergeOutcome, MergeResult};
pub use node::{content_kind, references};
pub use offered::check_offered;
pub use path::TreePath;
pub use quota::Quota;
pub use revision::{Resolved, Revision};
pub use time::{format_utc, parse_absolute, parse_span, parse_when};
pub use trace::TreeTrace;
pub use tree::Walk;
pub use working::{LargeContents, LargeFuture, Stat, WorkingOptions, WorkingTree};
