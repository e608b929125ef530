//! The ceiling of whatever looks at all of a directory: one thread that walks it.

use std::path::Path;

/// Walks a directory and stats every entry, depth first on one thread; the number of files.
pub fn walk(directory: &Path) -> u64 {
    let mut files = 0;
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(next).expect("a readable directory") {
            let entry = entry.expect("a readable entry");
            let metadata = entry.metadata().expect("an entry that stays");
            if metadata.is_dir() {
                pending.push(entry.path());
            } else {
                files += 1;
            }
        }
    }
    files
}
