//! Times, modes and owners: of open files, of names (links themselves), and of places.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags, Mode};

use super::platform::component;
use super::xattr::place_path;
use crate::trees::FileTime;

fn timestamps(mtime: FileTime) -> fs::Timestamps {
    fs::Timestamps {
        last_access: fs::Timespec {
            tv_sec: 0,
            tv_nsec: fs::UTIME_OMIT,
        },
        last_modification: fs::Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: mtime.nanoseconds.into(),
        },
    }
}

/// Sets the modification time of an open file.
pub(super) fn set_mtime(file: BorrowedFd<'_>, mtime: FileTime) -> io::Result<()> {
    Ok(fs::futimens(file, &timestamps(mtime))?)
}

/// Sets the modification time of a name; of a link itself.
pub(super) fn set_mtime_of(directory: BorrowedFd<'_>, name: &[u8], mtime: FileTime) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(fs::utimensat(
        directory,
        component(name)?,
        &timestamps(mtime),
        flags,
    )?)
}

/// Sets the permission bits of an open file.
pub(super) fn set_mode(file: BorrowedFd<'_>, mode: u16) -> io::Result<()> {
    Ok(fs::fchmod(file, Mode::from_bits_truncate(mode.into()))?)
}

/// Sets the permission bits of what [`open_place`](super::platform::open_place) opened (which may not be a link: those have none).
pub(super) fn set_mode_of(place: BorrowedFd<'_>, mode: u16) -> io::Result<()> {
    let path = place_path(place);
    Ok(fs::chmod(path.as_slice(), Mode::from_bits_truncate(mode.into()))?)
}

/// Sets the owner of what [`open_place`](super::platform::open_place) opened.
pub(super) fn set_owner_of_place(
    place: BorrowedFd<'_>,
    uid: Option<u32>,
    gid: Option<u32>,
) -> io::Result<()> {
    let (uid, gid) = (uid.map(fs::Uid::from_raw), gid.map(fs::Gid::from_raw));
    Ok(fs::chownat(place, c"", uid, gid, AtFlags::EMPTY_PATH)?)
}

/// Sets the modification time of what [`open_place`](super::platform::open_place) opened.
pub(super) fn set_mtime_of_place(place: BorrowedFd<'_>, mtime: FileTime) -> io::Result<()> {
    let path = place_path(place);
    Ok(fs::utimensat(
        fs::CWD,
        path.as_slice(),
        &timestamps(mtime),
        AtFlags::empty(),
    )?)
}

/// Sets the owner of an open file.
pub(super) fn set_owner(file: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let (uid, gid) = (uid.map(fs::Uid::from_raw), gid.map(fs::Gid::from_raw));
    Ok(fs::fchown(file, uid, gid)?)
}

/// Sets the owner of a name; of a link itself.
pub(super) fn set_owner_of(
    directory: BorrowedFd<'_>,
    name: &[u8],
    uid: Option<u32>,
    gid: Option<u32>,
) -> io::Result<()> {
    let (uid, gid) = (uid.map(fs::Uid::from_raw), gid.map(fs::Gid::from_raw));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(fs::chownat(directory, component(name)?, uid, gid, flags)?)
}
