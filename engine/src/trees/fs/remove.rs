//! Removing a directory and all below it, however deep, without ever leaving it.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;

use super::folder::Folder;
use super::metadata;
use super::platform::{self, Found};
use crate::trees::EntryKind;

/// Removes everything in `root`, not `root` itself. Links are removed, not followed.
pub(super) fn empty(root: &Arc<Folder>) -> io::Result<()> {
    struct Level {
        folder: Arc<Folder>,
        name: Bytes,
        directories: Vec<Bytes>,
    }
    let mut buffer = Vec::new();
    let mut levels = vec![Level {
        directories: unlink_files(root, &mut buffer)?,
        folder: Arc::clone(root),
        name: Bytes::new(),
    }];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.directories.pop() {
            let (folder, fd, _) = Folder::open(&level.folder, name.clone())?;
            // What is being removed may have been made unwritable already.
            metadata::set_mode(fd.as_fd(), 0o700)?;
            drop(fd);
            let directories = unlink_files(&folder, &mut buffer)?;
            levels.push(Level {
                folder,
                name,
                directories,
            });
        } else {
            let done = levels.pop();
            if let (Some(done), Some(above)) = (done, levels.last()) {
                platform::remove_directory(above.folder.handle()?.as_fd(), &done.name)?;
            }
        }
    }
    Ok(())
}

/// Removes all names that are not directories; those that are, are the answer.
fn unlink_files(folder: &Folder, buffer: &mut Vec<u8>) -> io::Result<Vec<Bytes>> {
    let fd = folder.handle()?;
    let mut names: Vec<(Bytes, Found)> = Vec::new();
    platform::list(fd.as_fd(), buffer, |name, kind| {
        names.push((Bytes::copy_from_slice(name), Found::of(kind)));
    })?;
    let mut directories = Vec::new();
    for (name, found) in names {
        let found = match found {
            Found::Other => platform::stat(fd.as_fd(), &name)?.found,
            found => found,
        };
        match found {
            Found::Kind(EntryKind::Directory) => directories.push(name),
            _ => platform::remove_file(fd.as_fd(), &name)?,
        }
    }
    Ok(directories)
}
