//! Entries become files, links and nodes, each under a name that does not exist yet, with its metadata.
//!
//! The order is the one that loses nothing: owner first (changing it clears set-id bits and capabilities), then
//! extended attributes (an ACL changes the mode), then mode, then time. What only root may do, or what the file
//! system can't, is counted as a warning and does not stop the rest.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::io::Errno;

use super::control::{Control, Counter, Doubt, SharedWarnings};
use super::metadata;
use super::platform;
use super::stream::{self, Problem};
use super::xattr::{self, XattrPlace};
use crate::error::{Error, Result};
use crate::objects::Objects;
use crate::trees::{Entry, EntryKind};

/// What of an entry's metadata is brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keep {
    pub(super) owner: bool,
    pub(super) times: bool,
    pub(super) xattrs: bool,
    pub(super) devices: bool,
}

/// Writes entries.
pub(super) struct Writer<'a> {
    pub(super) objects: &'a Objects,
    pub(super) keep: Keep,
    /// Directories written to are fresh and plain: what is created there has this process's owner and inherits nothing.
    pub(super) plain: bool,
    pub(super) warnings: &'a SharedWarnings,
    pub(super) control: &'a Control,
    pub(super) counter: &'a Counter<'a>,
    user: u32,
    group: u32,
    mask: u16,
}

/// A name about to be written: the open directory, the name to write under, and how to call it in messages.
pub(super) struct Spot<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
    pub(super) path: &'a dyn Fn() -> PathBuf,
}

impl Spot<'_> {
    fn problem(&self, operation: &'static str) -> impl Fn(io::Error) -> Error + '_ {
        move |error| Error::path(operation, (self.path)(), error)
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        objects: &'a Objects,
        keep: Keep,
        plain: bool,
        warnings: &'a SharedWarnings,
        control: &'a Control,
        counter: &'a Counter<'a>,
    ) -> Writer<'a> {
        Writer {
            objects,
            keep,
            plain,
            warnings,
            control,
            counter,
            user: platform::effective_user(),
            group: platform::effective_group(),
            mask: platform::file_mask(),
        }
    }

    /// Creates a regular file; `content` is given for those of one extent.
    pub(super) fn file(&self, spot: &Spot<'_>, entry: &Entry, content: Option<&[u8]>) -> Result<()> {
        // With the right mode from the start, where nothing can change it on the way, one system call less.
        let owned = self.owner_change(entry).is_none();
        let exact = self.plain && owned && entry.mode & 0o7000 == 0 && entry.mode & self.mask == 0;
        let mode = if exact { entry.mode } else { 0o600 };
        let file = platform::create_file(spot.directory, spot.name, mode).map_err(spot.problem("create"))?;
        match content {
            Some(bytes) if bytes.len() as u64 != entry.size => {
                let reason = format!("has {} bytes where the tree says {}", bytes.len(), entry.size);
                return Err(Error::invalid(format!("content {}", entry.id), reason));
            }
            Some(bytes) => {
                stream::write_small(file.as_fd(), bytes).map_err(spot.problem("write"))?;
                self.counter.add(1, entry.size);
            }
            None => {
                stream::write(
                    self.objects,
                    entry.id,
                    entry.size,
                    file.as_fd(),
                    self.control,
                    self.counter,
                )
                .map_err(|problem| match problem {
                    Problem::File(error) => spot.problem("write")(error),
                    Problem::Other(error) => error,
                })?;
                self.counter.add(1, 0);
            }
        }
        self.open_metadata(file.as_fd(), entry, exact, spot)
    }

    /// Creates a symbolic link.
    pub(super) fn symlink(&self, spot: &Spot<'_>, entry: &Entry, target: &[u8]) -> Result<()> {
        platform::make_symlink(spot.directory, spot.name, target).map_err(spot.problem("create link"))?;
        self.counter.add(1, 0);
        self.name_metadata(spot, entry)
    }

    /// Creates a named pipe or a device node; false if it was left out.
    pub(super) fn node(&self, spot: &Spot<'_>, entry: &Entry) -> Result<bool> {
        if entry.kind != EntryKind::Fifo && !self.keep.devices {
            self.warnings.add(
                Doubt::DeviceSkipped,
                || (spot.path)(),
                "device nodes were not asked for",
            );
            return Ok(false);
        }
        let device = entry.attributes.device.unwrap_or_default();
        match platform::make_node(spot.directory, spot.name, entry.kind, device) {
            Ok(()) => {}
            Err(error)
                if entry.kind != EntryKind::Fifo && error.kind() == io::ErrorKind::PermissionDenied =>
            {
                self.warnings.add(Doubt::DeviceSkipped, || (spot.path)(), error);
                return Ok(false);
            }
            Err(error) => return Err(spot.problem("create node")(error)),
        }
        self.counter.add(1, 0);
        self.name_metadata(spot, entry)?;
        Ok(true)
    }

    /// Gives an open file or directory the metadata of `entry`. `exact`: its mode is right already.
    pub(super) fn open_metadata(
        &self,
        file: BorrowedFd<'_>,
        entry: &Entry,
        exact: bool,
        spot: &Spot<'_>,
    ) -> Result<()> {
        if let Some((uid, gid)) = self.owner_change(entry) {
            self.chown(spot, uid, gid, |uid, gid| metadata::set_owner(file, uid, gid))?;
        }
        self.put_xattrs(XattrPlace::Open(file), entry, spot);
        if !exact || (self.keep.xattrs && !entry.attributes.xattrs.is_empty()) {
            metadata::set_mode(file, entry.mode).map_err(spot.problem("set the mode of"))?;
        }
        if let (true, Some(mtime)) = (self.keep.times, entry.attributes.mtime) {
            metadata::set_mtime(file, mtime).map_err(spot.problem("set the time of"))?;
        }
        Ok(())
    }

    /// Gives a link, pipe or device the metadata of `entry`.
    fn name_metadata(&self, spot: &Spot<'_>, entry: &Entry) -> Result<()> {
        let (directory, name) = (spot.directory, spot.name);
        if let Some((uid, gid)) = self.owner_change(entry) {
            self.chown(spot, uid, gid, |uid, gid| {
                metadata::set_owner_of(directory, name, uid, gid)
            })?;
        }
        self.put_xattrs(XattrPlace::Name(directory, name), entry, spot);
        if entry.kind != EntryKind::Symlink {
            platform::open_place(directory, name)
                .and_then(|place| metadata::set_mode_of(place.as_fd(), entry.mode))
                .map_err(spot.problem("set the mode of"))?;
        }
        if let (true, Some(mtime)) = (self.keep.times, entry.attributes.mtime) {
            metadata::set_mtime_of(directory, name, mtime).map_err(spot.problem("set the time of"))?;
        }
        Ok(())
    }

    /// Gives what [`platform::open_place`] opened (not a link) the metadata of `entry`.
    pub(super) fn place_metadata(&self, place: BorrowedFd<'_>, entry: &Entry, spot: &Spot<'_>) -> Result<()> {
        if let Some((uid, gid)) = self.owner_change(entry) {
            self.chown(spot, uid, gid, |uid, gid| {
                metadata::set_owner_of_place(place, uid, gid)
            })?;
        }
        self.put_xattrs(XattrPlace::Place(place), entry, spot);
        metadata::set_mode_of(place, entry.mode).map_err(spot.problem("set the mode of"))?;
        if let (true, Some(mtime)) = (self.keep.times, entry.attributes.mtime) {
            metadata::set_mtime_of_place(place, mtime).map_err(spot.problem("set the time of"))?;
        }
        Ok(())
    }

    /// The owner to set; `None` when what is created has the right one.
    fn owner_change(&self, entry: &Entry) -> Option<(Option<u32>, Option<u32>)> {
        if !self.keep.owner {
            return None;
        }
        let differs = |wanted: Option<u32>, own: u32| wanted.filter(|&wanted| !self.plain || wanted != own);
        let uid = differs(entry.attributes.uid, self.user);
        let gid = differs(entry.attributes.gid, self.group);
        (uid.is_some() || gid.is_some()).then_some((uid, gid))
    }

    fn chown(
        &self,
        spot: &Spot<'_>,
        uid: Option<u32>,
        gid: Option<u32>,
        set: impl Fn(Option<u32>, Option<u32>) -> io::Result<()>,
    ) -> Result<()> {
        let refused = |error: &io::Error| {
            matches!(
                Errno::from_io_error(error),
                Some(Errno::PERM | Errno::INVAL | Errno::NOTSUP | Errno::ACCESS)
            )
        };
        match set(uid, gid) {
            Ok(()) => Ok(()),
            Err(error) if refused(&error) => {
                // A member of the group may at least give it to the group.
                if uid.is_some() && gid.is_some() {
                    let _ = set(None, gid);
                }
                self.warnings.add(Doubt::OwnerNotKept, || (spot.path)(), error);
                Ok(())
            }
            Err(error) => Err(spot.problem("set the owner of")(error)),
        }
    }

    fn put_xattrs(&self, place: XattrPlace<'_>, entry: &Entry, spot: &Spot<'_>) {
        if !self.keep.xattrs {
            return;
        }
        let wanted = &entry.attributes.xattrs;
        let mut present = Vec::new();
        if !self.plain {
            // Inherited or left from before.
            present = xattr::list(place).unwrap_or_default();
            for extra in &present {
                if !wanted.iter().any(|xattr| xattr.name == extra.name)
                    && let Err(error) = xattr::remove(place, &extra.name)
                {
                    self.warnings.add(Doubt::XattrNotKept, || (spot.path)(), error);
                }
            }
        }
        for xattr in wanted.iter().filter(|xattr| !present.contains(xattr)) {
            if let Err(error) = xattr::set(place, &xattr.name, &xattr.value) {
                let name = String::from_utf8_lossy(&xattr.name);
                self.warnings.add(
                    Doubt::XattrNotKept,
                    || (spot.path)(),
                    format_args!("{name}: {error}"),
                );
            }
        }
    }
}
