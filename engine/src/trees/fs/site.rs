//! Where a tree is written to: beside its final place until it is complete.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use super::folder::Folder;
use super::{metadata, platform, remove, xattr};
use crate::error::{Error, Result};

/// Where the tree is written: a temporary directory beside the target, or the empty target itself.
pub(super) struct Site {
    pub(super) folder: Arc<Folder>,
    /// Directory that holds both, temporary name and final name.
    rename: Option<(OwnedFd, Vec<u8>, Vec<u8>)>,
    target: PathBuf,
}

impl Site {
    pub(super) fn prepare(target: &Path) -> Result<Site> {
        let problem = |error: io::Error| Error::path("create", target, error);
        match platform::open_given(target) {
            Ok(fd) => return Site::existing(fd, target),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTDIR) => {
                return Err(Error::Exists {
                    what: target.display().to_string(),
                });
            }
            Err(error) => return Err(problem(error)),
        }
        let Some(name) = target.file_name() else {
            return Err(Error::invalid(
                target.display().to_string(),
                "is not the name of a directory to make",
            ));
        };
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let above = platform::open_given(parent).map_err(|error| Error::path("open", parent, error))?;
        // A link that leads nowhere is there as well.
        if platform::stat(above.as_fd(), name.as_bytes()).is_ok() {
            return Err(Error::Exists {
                what: target.display().to_string(),
            });
        }
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let temporary = loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let tail = format!(".helios-{:x}-{number:x}", std::process::id());
            let kept = name
                .as_bytes()
                .len()
                .min(crate::limits::NAME_BYTES_MAX - tail.len() - 1);
            let temporary = [b".", &name.as_bytes()[..kept], tail.as_bytes()].concat();
            match platform::make_directory(above.as_fd(), &temporary) {
                Ok(()) => break temporary,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(problem(error)),
            }
        };
        let path = parent.join(OsStr::from_bytes(&temporary));
        let folder = platform::open_directory(above.as_fd(), &temporary)
            .and_then(|fd| make_plain(fd).and_then(|fd| Folder::root(fd, &path)));
        match folder {
            Ok(folder) => Ok(Site {
                folder,
                rename: Some((above, temporary, name.as_bytes().to_vec())),
                target: target.to_owned(),
            }),
            Err(error) => {
                let _ = platform::remove_directory(above.as_fd(), &temporary);
                Err(problem(error))
            }
        }
    }

    fn existing(fd: OwnedFd, target: &Path) -> Result<Site> {
        let problem = |error: io::Error| Error::path("open", target, error);
        let mut names = 0;
        platform::list(fd.as_fd(), &mut Vec::new(), |_, _| names += 1).map_err(problem)?;
        if names > 0 {
            return Err(Error::Exists {
                what: format!("{} is not empty; it", target.display()),
            });
        }
        let fd = make_plain(fd).map_err(problem)?;
        Ok(Site {
            folder: Folder::root(fd, target).map_err(problem)?,
            rename: None,
            target: target.to_owned(),
        })
    }

    pub(super) fn finish(&self) -> Result<()> {
        let Some((above, temporary, name)) = &self.rename else {
            return Ok(());
        };
        platform::rename_new(above.as_fd(), temporary, name).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => Error::Exists {
                what: self.target.display().to_string(),
            },
            _ => Error::path("rename to", &self.target, error),
        })
    }

    pub(super) fn undo(&self) -> io::Result<()> {
        let fd = self.folder.handle()?;
        metadata::set_mode(fd.as_fd(), 0o700)?;
        remove::empty(&self.folder)?;
        match &self.rename {
            Some((above, temporary, _)) => platform::remove_directory(above.as_fd(), temporary),
            None => Ok(()),
        }
    }
}

/// Makes sure that what is created in a directory inherits nothing: no group, no ACL.
fn make_plain(fd: OwnedFd) -> io::Result<OwnedFd> {
    let place = xattr::XattrPlace::Open(fd.as_fd());
    for xattr in xattr::list(place).unwrap_or_default() {
        if xattr.name.starts_with(b"system.posix_acl_") {
            xattr::remove(place, &xattr.name)?;
        }
    }
    metadata::set_mode(fd.as_fd(), 0o700)?;
    Ok(fd)
}
