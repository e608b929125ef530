//! What a commit of a directory would change, without writing anything.

use super::compare::{self, Scope};
use super::control::Control;
use super::scan::Scan;
use crate::access::Access;
use crate::error::Result;
use crate::trees::{Difference, Entry, TreePath};

/// How to get from the tree under `root` to the scanned directory, in the order of paths; with `paths`, only what is
/// at or below one of them. What is ignored now and in the tree counts as removed, as a commit would leave it out.
/// The entries of directories have no id unless the stat cache knew it.
///
/// # Errors
/// `Invalid` if `root` is not a directory; whatever reading the tree answers; `Cancelled`.
pub fn status(
    store: &Access,
    scan: &Scan,
    root: &Entry,
    paths: &[TreePath],
    control: &Control,
) -> Result<Vec<Difference>> {
    let scope = Scope { paths, shield: false };
    Ok(compare::compare(store, scan, root, &scope, control)?.differences())
}
