//! Directories as they lie on the disk.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Outcome;

/// Bytes of a unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// Bytes that a file or a directory with all that is below it takes on the disk, each hard link once.
pub fn space(path: &Path) -> Outcome<u64> {
    space_of(&[path])
}

/// The same for several together: what they share counts once.
pub fn space_of(paths: &[&Path]) -> Outcome<u64> {
    let mut seen = HashSet::new();
    let mut bytes = 0;
    let mut pending: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
    while let Some(next) = pending.pop() {
        let metadata = fs::symlink_metadata(&next)?;
        if seen.insert((metadata.dev(), metadata.ino())) {
            bytes += metadata.blocks() * BLOCK_BYTES;
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(&next)? {
                pending.push(entry?.path());
            }
        }
    }
    Ok(bytes)
}

/// Removes a file or a directory with all that is below it, if it is there.
pub fn remove(path: &Path) -> Outcome {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(fs::remove_dir_all(path)?),
        Ok(_) => Ok(fs::remove_file(path)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}
