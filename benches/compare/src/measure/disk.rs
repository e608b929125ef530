//! Directories as they lie on the disk.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Outcome, caches};

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

/// Removes what is there, then waits until the file system has written all that anybody has left in memory: what is timed next
/// pays neither for its own turn before nor for the subject before it.
pub fn clear(path: &Path) -> Outcome {
    remove(path)?;
    caches::sync_file_system(path.parent().ok_or("no directory above")?)
}

/// Fails where two directories have other names or other bytes; times and owners do not matter.
pub fn check_same(one: &Path, other: &Path) -> Outcome {
    let differs = || format!("{} is not what was committed", other.display());
    let (kind, other_kind) = (
        fs::symlink_metadata(one)?.file_type(),
        fs::symlink_metadata(other)?.file_type(),
    );
    let same = if kind != other_kind {
        false
    } else if kind.is_dir() {
        let names = names(one)?;
        for name in &names {
            check_same(&one.join(name), &other.join(name))?;
        }
        names == self::names(other)?
    } else if kind.is_symlink() {
        fs::read_link(one)? == fs::read_link(other)?
    } else {
        fs::read(one)? == fs::read(other)?
    };
    if same { Ok(()) } else { Err(differs().into()) }
}

/// What is in a directory, but for the file by which git knows its working trees.
fn names(directory: &Path) -> Outcome<BTreeSet<OsString>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
    names
        .filter(|name| name.as_ref().map_or(true, |name| name != ".git"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: any difference is seen. Method: two equal directories, and each kind of change in one of them.
    #[test]
    fn differences_are_seen() {
        let top = tempfile::tempdir().expect("a directory");
        let [one, other] = ["one", "other"].map(|name| top.path().join(name));
        let make = |at: &Path| -> Outcome {
            remove(at)?;
            fs::create_dir_all(at.join("directory"))?;
            fs::write(at.join("directory/file"), "bytes")?;
            Ok(std::os::unix::fs::symlink("directory/file", at.join("link"))?)
        };
        let changes: [fn(&Path) -> std::io::Result<()>; 5] = [
            |at| fs::write(at.join("directory/file"), "other"),
            |at| fs::write(at.join("more"), ""),
            |at| fs::remove_file(at.join("link")),
            |at| fs::remove_file(at.join("link")).and_then(|()| fs::write(at.join("link"), "bytes")),
            |at| fs::rename(at.join("directory/file"), at.join("directory/name")),
        ];
        make(&one).expect("a directory");
        for (number, change) in changes.iter().enumerate() {
            make(&other).expect("a directory");
            fs::write(other.join(".git"), "gitdir: elsewhere").expect("a file");
            check_same(&one, &other).expect("they are equal");
            change(&other).expect("a change");
            assert!(check_same(&one, &other).is_err(), "change {number}");
        }
    }
}
