//! An open directory on disk and the way back to it: trees of any depth with a bounded number of open files.
//!
//! A folder knows its parent and its name. While it has work pending it may stay open; how many may is limited, and
//! one that was closed is opened again from its nearest open ancestor, never by a path from outside. A folder that
//! was opened again must be the same directory as before, or the answer is an error: someone has moved it.
//! Rejected: one open file per directory of the current path (a thousand levels exceed the usual limit of 1,024).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::platform::{self, FileId, Stat};

/// Most directories that one operation keeps open.
const OPEN_MAX: u64 = 256;

/// Counts the directories that one operation keeps open.
#[derive(Debug)]
struct Budget {
    open: AtomicU64,
    most: u64,
}

/// A directory beneath the root of one operation.
#[derive(Debug)]
pub(super) struct Folder {
    parent: Option<Arc<Folder>>,
    /// Name in the parent; for a root the path as the user gave it.
    name: Bytes,
    kept: Mutex<Option<Arc<OwnedFd>>>,
    id: FileId,
    budget: Arc<Budget>,
}

impl Folder {
    /// The root of an operation: an open directory, and the path to call it by.
    pub(super) fn root(fd: OwnedFd, path: &Path) -> io::Result<Arc<Folder>> {
        let id = platform::stat_open(fd.as_fd())?.id;
        let limit = platform::open_files_max();
        Ok(Arc::new(Folder {
            parent: None,
            name: Bytes::copy_from_slice(path.as_os_str().as_bytes()),
            kept: Mutex::new(Some(Arc::new(fd))),
            id,
            budget: Arc::new(Budget {
                open: AtomicU64::new(0),
                most: OPEN_MAX.min(limit / 4),
            }),
        }))
    }

    /// A directory just opened in `parent`. It stays open, until [`Folder::release`], if the budget has room.
    pub(super) fn child(parent: &Arc<Folder>, name: Bytes, fd: Arc<OwnedFd>, id: FileId) -> Arc<Folder> {
        let budget = Arc::clone(&parent.budget);
        let keep = budget.open.fetch_add(1, Ordering::Relaxed) < budget.most;
        if !keep {
            budget.open.fetch_sub(1, Ordering::Relaxed);
        }
        Arc::new(Folder {
            parent: Some(Arc::clone(parent)),
            name,
            kept: Mutex::new(keep.then_some(fd)),
            id,
            budget,
        })
    }

    /// Opens the directory `name` in `parent`: the folder, a descriptor to work with now, and what it is.
    pub(super) fn open(parent: &Arc<Folder>, name: Bytes) -> io::Result<(Arc<Folder>, Arc<OwnedFd>, Stat)> {
        let fd = Arc::new(platform::open_directory(parent.handle()?.as_fd(), &name)?);
        let stat = platform::stat_open(fd.as_fd())?;
        Ok((Folder::child(parent, name, Arc::clone(&fd), stat.id), fd, stat))
    }

    /// Which directory this is.
    pub(super) fn id(&self) -> FileId {
        self.id
    }

    /// A descriptor of this directory: the one it keeps, or one opened for the caller.
    pub(super) fn handle(&self) -> io::Result<Arc<OwnedFd>> {
        if let Some(fd) = &*self.kept.lock() {
            return Ok(Arc::clone(fd));
        }
        let mut names: Vec<&[u8]> = vec![&self.name];
        let mut at = self.parent.as_deref();
        while let Some(folder) = at {
            let kept = folder.kept.lock().clone();
            if let Some(fd) = kept {
                names.reverse();
                let fd = platform::open_beneath(fd.as_fd(), &names)?;
                if platform::stat_open(fd.as_fd())?.id != self.id {
                    return Err(io::Error::other("the directory was replaced meanwhile"));
                }
                return Ok(Arc::new(fd));
            }
            names.push(&folder.name);
            at = folder.parent.as_deref();
        }
        unreachable!("the root of an operation is always open")
    }

    /// Nothing is going to be opened in this directory soon: it need not be kept open.
    pub(super) fn release(&self) {
        if self.parent.is_some() && self.kept.lock().take().is_some() {
            self.budget.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The path from the root of the operation to `name` in this directory, the root not included.
    pub(super) fn relative(&self, name: &[u8]) -> Vec<u8> {
        let mut names = vec![name];
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(&at.name);
            at = parent;
        }
        names.reverse();
        names.retain(|name| !name.is_empty());
        names.join(&b'/')
    }

    /// The path of `name` in this directory for messages; with an empty name, of the directory itself.
    pub(super) fn path(&self, name: &[u8]) -> PathBuf {
        let mut at = self;
        while let Some(parent) = &at.parent {
            at = parent;
        }
        let root = Path::new(std::ffi::OsStr::from_bytes(&at.name));
        let relative = self.relative(name);
        match relative.is_empty() {
            true => root.to_owned(),
            false => root.join(std::ffi::OsStr::from_bytes(&relative)),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.release();
        // One by one instead of by recursion: the chain is as long as the tree is deep.
        let mut next = self.parent.take();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            parent.release();
            next = parent.parent.take();
        }
    }
}
