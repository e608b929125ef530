//! Which branch a directory follows, and what it looked like last time: a record in the store, no file in the directory.
//!
//! A directory is known by device, inode and time of birth, so its record stays with it when it is renamed or moved
//! within a file system, and a new directory in an old place is a stranger even if the file system has given it
//! the inode number of its predecessor. A copy, or a move to another file system, is a stranger too: it gets a record of
//! its own on its first commit and reads every file then. Only which branch to suggest is taken from the path.
//!
//! No change is ever skipped because of a wrong record. The record only leads to a stat cache, and the cache vouches for
//! a file only if its inode, size and times are the same (see `stat_cache`), which a copied or replaced file's are not;
//! where a file system keeps no birth times and two directories are taken for one, it is these that hold.
//! Rejected: an id in a dot-file or an extended attribute; copies would share it.
//!
//! The record also keeps how the directory was scanned, so that a status or a restore looks at the same files as the
//! commit before: a restore must not delete what a commit was told to leave out.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::platform::{self, FileId};
use super::scan::ScanOptions;
use crate::access::{Access, Batch};
use crate::error::{Error, Result};
use crate::limits::{ROOT_DATA_BYTES_MAX, ROOT_NAME_BYTES_MAX};
use crate::objects::Objects;
use crate::store::{Expect, Root, RootChange, RootKind, RootUpdate, Target};
use crate::trees::FileTime;

const VERSION: u8 = 1;

/// Which directory it is, wherever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device and inode.
    pub file: FileId,
    /// When it was created; `None` where the file system does not keep that.
    pub born: Option<FileTime>,
}

impl Identity {
    /// The identity of the directory at `path`, links followed.
    ///
    /// # Errors
    /// `Path` if it can't be opened.
    pub fn of(path: &Path) -> Result<Identity> {
        let problem = |error| Error::path("open directory", path, error);
        let fd = platform::open_given(path).map_err(problem)?;
        Ok(Identity {
            file: platform::stat_open(fd.as_fd()).map_err(problem)?.id,
            born: platform::birth_time(fd.as_fd()).map_err(problem)?,
        })
    }

    /// Name of the record.
    fn name(&self) -> Arc<[u8]> {
        let FileId { device, inode } = self.file;
        let born = match self.born {
            Some(time) => format!("{}.{:09}", time.seconds, time.nanoseconds),
            None => "unknown".to_owned(),
        };
        format!("{device:x}:{inode:x}:{born}").into_bytes().into()
    }
}

/// What the store remembers of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Branch that it follows.
    pub branch: String,
    /// Where it was when it was last committed; shortened from the front if it was very long.
    pub path: PathBuf,
    /// How it was scanned. `leave_out`, `force` and `skip_unreadable` are not remembered.
    pub options: ScanOptions,
    name: Arc<[u8]>,
    sequence: u64,
    cache: Option<Target>,
}

/// What is known of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It has a record. `path` there differs from the present one if it was moved.
    Here(Workspace),
    /// It has none, but another directory that was in this place had: this one was copied, moved from another file
    /// system, or made anew. Its branch is a good guess, its cache says nothing.
    Before(Workspace),
    /// Never seen.
    No,
}

impl Workspace {
    /// Looks up the directory at `path` (absolute, for the guess by place to work).
    ///
    /// # Errors
    /// `Path` if it can't be opened. A record that can't be understood counts as none.
    pub fn find(store: &Access, path: &Path) -> Result<Known> {
        let identity = Identity::of(path)?;
        if let Some(workspace) = store
            .root(RootKind::Workspace, &identity.name())?
            .and_then(|root| Workspace::decode(&root))
        {
            return Ok(Known::Here(workspace));
        }
        let place = shorten(path);
        let before = store
            .roots(RootKind::Workspace)?
            .iter()
            .filter(|root| root.name.len() <= ROOT_NAME_BYTES_MAX)
            .max_by_key(|root| {
                let here = Workspace::decode(root).is_some_and(|workspace| workspace.path == place);
                (here, root.changed_ns)
            })
            .and_then(Workspace::decode)
            .filter(|workspace| workspace.path == place);
        Ok(before.map_or(Known::No, Known::Before))
    }

    /// All directories with a record.
    ///
    /// # Errors
    /// The link's, if the store is behind one.
    pub fn list(store: &Access) -> Result<Vec<Workspace>> {
        let roots = store.roots(RootKind::Workspace)?;
        Ok(roots.iter().filter_map(Workspace::decode).collect())
    }

    /// The stat cache; `None` if there is none or the store does not have it any more.
    ///
    /// # Errors
    /// The store's, other than that the content is missing or damaged: without a cache everything is read again.
    pub fn stat_cache(&self, store: &Access) -> Result<Option<Bytes>> {
        let Some(target) = self.cache else {
            return Ok(None);
        };
        let objects = Objects::new(store.clone()).in_domain(self.options.domain);
        match store.block_on(objects.get(target.id)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. } | Error::Damaged { .. } | Error::Inconsistent { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Records that the directory at `path` follows `branch` and was scanned with `options`; `cache` is the scan's, if
    /// it made a new one, and `known` what [`Workspace::find`] said. Visible when `batch` is submitted; if another
    /// commit of the same directory was faster, that is a `Conflict` and its record stays.
    ///
    /// # Errors
    /// `Path` if the directory can't be opened; `Invalid` if the exclude patterns are too long for a record; the
    /// store's.
    pub fn record(
        store: &Access,
        batch: &mut Batch,
        path: &Path,
        branch: &str,
        options: &ScanOptions,
        cache: Option<&Bytes>,
        known: &Known,
    ) -> Result<()> {
        let old = match known {
            Known::Here(workspace) => Some(workspace),
            Known::Before(_) | Known::No => None,
        };
        let target = match cache {
            Some(bytes) => {
                let objects = Objects::new(store.clone()).in_domain(options.domain);
                let offered = store.block_on(objects.offer(batch, std::slice::from_ref(bytes)))?;
                offered.first().map(|content| {
                    let key = objects.key(content.id, content.length);
                    Target {
                        kind: key.kind,
                        id: key.id,
                    }
                })
            }
            None => old.and_then(|workspace| workspace.cache),
        };
        batch.set_root(RootUpdate {
            kind: RootKind::Workspace,
            name: Identity::of(path)?.name(),
            expect: match old {
                Some(workspace) => Expect::Sequence(workspace.sequence),
                None => Expect::Any,
            },
            change: RootChange::Set {
                target,
                data: encode(branch, path, options)?,
            },
        });
        Ok(())
    }

    /// Forgets the directory; the next commit of it reads everything.
    pub fn forget(&self, batch: &mut Batch) {
        batch.set_root(RootUpdate {
            kind: RootKind::Workspace,
            name: Arc::clone(&self.name),
            expect: Expect::Any,
            change: RootChange::Delete,
        });
    }

    /// What a record says; `None` if it can't be understood.
    pub fn decode(root: &Root) -> Option<Workspace> {
        let mut rest = &root.data[..];
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at_checked(count)?;
            rest = left;
            Some(taken)
        };
        if take(1)? != [VERSION] {
            return None;
        }
        let bits = take(1)?[0];
        let mut string = || {
            let length = u16::from_le_bytes(take(2)?.try_into().ok()?);
            take(usize::from(length))
        };
        let branch = String::from_utf8(string()?.to_vec()).ok()?;
        let path = PathBuf::from(OsStr::from_bytes(string()?));
        let mut excludes = Vec::new();
        let count = string()?;
        for _ in 0..u16::from_le_bytes(count.try_into().ok()?) {
            excludes.push(String::from_utf8(string()?.to_vec()).ok()?);
        }
        Some(Workspace {
            branch,
            path,
            options: ScanOptions {
                excludes,
                gitignore: bits & 1 != 0,
                times: bits & 2 != 0,
                owner: bits & 4 != 0,
                xattrs: bits & 8 != 0,
                one_file_system: bits & 16 != 0,
                domain: root.domain,
                ..ScanOptions::default()
            },
            name: Arc::clone(&root.name),
            sequence: root.sequence,
            cache: root.target,
        })
    }
}

/// Layout: version, bits, branch, path, number of excludes, excludes; each but the first two as length and bytes.
fn encode(branch: &str, path: &Path, options: &ScanOptions) -> Result<Bytes> {
    let bits = [
        options.gitignore,
        options.times,
        options.owner,
        options.xattrs,
        options.one_file_system,
    ];
    let bits = bits
        .iter()
        .rev()
        .fold(0u8, |bits, &bit| bits << 1 | u8::from(bit));
    let too_long = || {
        Error::invalid(
            "exclude patterns",
            "are too many to be remembered with the directory; write them into a .heliosignore file",
        )
    };
    let mut data = vec![VERSION, bits];
    let mut put = |bytes: &[u8]| -> Result<()> {
        let length = u16::try_from(bytes.len()).map_err(|_| too_long())?;
        data.extend_from_slice(&length.to_le_bytes());
        data.extend_from_slice(bytes);
        Ok(())
    };
    put(branch.as_bytes())?;
    put(shorten(path).as_os_str().as_bytes())?;
    let count = u16::try_from(options.excludes.len()).map_err(|_| too_long())?;
    put(&count.to_le_bytes())?;
    for pattern in &options.excludes {
        put(pattern.as_bytes())?;
    }
    match data.len() <= ROOT_DATA_BYTES_MAX {
        true => Ok(data.into()),
        false => Err(too_long()),
    }
}

/// The end of a path, as much as a record has room for.
fn shorten(path: &Path) -> PathBuf {
    const PATH_BYTES_MAX: usize = 768;
    let bytes = path.as_os_str().as_bytes();
    let from = bytes.len().saturating_sub(PATH_BYTES_MAX);
    PathBuf::from(OsStr::from_bytes(&bytes[from..]))
}

#[cfg(test)]
#[path = "workspace_tests.rs"]
mod tests;
