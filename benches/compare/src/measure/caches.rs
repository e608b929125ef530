//! The page cache, where a row wants it empty.

use std::path::Path;

/// Whether this process may empty it.
pub fn can_drop() -> Result<(), String> {
    let file = std::fs::File::options()
        .write(true)
        .open("/proc/sys/vm/drop_caches");
    file.map(|_| ())
        .map_err(|_| "only root can empty the page cache".to_owned())
}

/// Empties the page cache, the names and the inodes, after everything is written; without the right to do so, nothing happens.
pub fn drop_all() {
    rustix::fs::sync();
    if can_drop().is_ok() {
        // It may be forbidden in spite of the file's permissions; then the environment says so by `can_drop` of a test.
        let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
    }
}

/// Makes all of the file system of a file or a directory durable: what `sync -f` does.
pub fn sync_file_system(path: &Path) -> super::Outcome {
    rustix::fs::syncfs(std::fs::File::open(path)?)?;
    Ok(())
}
