//! Extended attributes and ACLs, of open files and of names that can't be opened.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs;
use rustix::io::Errno;

use super::platform;
use crate::trees::Xattr;

/// What the extended attributes of a file are reached through.
#[derive(Clone, Copy)]
pub(super) enum XattrPlace<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// What [`open_place`](super::platform::open_place) opened; not a link.
    Place(BorrowedFd<'a>),
    /// A name that can't be opened for reading (link, pipe, device). Reached through the open directory's entry in
    /// `/proc/self/fd`, which is the directory itself, not its path; the last component is not followed.
    Name(BorrowedFd<'a>, &'a [u8]),
}

fn proc_path(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(platform::component(name)?);
    Ok(path)
}

/// The way back to what [`open_place`](super::platform::open_place) opened: not a name that anyone else could give to another file.
pub(super) fn place_path(place: BorrowedFd<'_>) -> Vec<u8> {
    format!("/proc/self/fd/{}", place.as_raw_fd()).into_bytes()
}

/// All extended attributes that may be read, sorted by name.
pub(super) fn list(place: XattrPlace<'_>) -> io::Result<Vec<Xattr>> {
    const LIST_BYTES: usize = 1024;
    let path = match place {
        XattrPlace::Open(_) => Vec::new(),
        XattrPlace::Place(place) => place_path(place),
        XattrPlace::Name(directory, name) => proc_path(directory, name)?,
    };
    let names_of = |buffer: &mut [u8]| match place {
        XattrPlace::Open(file) => fs::flistxattr(file, buffer),
        XattrPlace::Place(_) => fs::listxattr(path.as_slice(), buffer),
        XattrPlace::Name(..) => fs::llistxattr(path.as_slice(), buffer),
    };
    let get = |name: &[u8], buffer: &mut [u8]| match place {
        XattrPlace::Open(file) => fs::fgetxattr(file, name, buffer),
        XattrPlace::Place(_) => fs::getxattr(path.as_slice(), name, buffer),
        XattrPlace::Name(..) => fs::lgetxattr(path.as_slice(), name, buffer),
    };
    let mut small = [0u8; LIST_BYTES];
    let mut large = Vec::new();
    let names: &[u8] = match names_of(&mut small) {
        Ok(count) => &small[..count],
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            large.resize(64 << 10, 0); // XATTR_LIST_MAX
            let count = names_of(&mut large)?;
            &large[..count]
        }
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 256];
        let count = match get(name, &mut value) {
            Err(Errno::RANGE) => {
                value.resize(64 << 10, 0); // XATTR_SIZE_MAX
                get(name, &mut value)
            }
            other => other,
        };
        match count {
            Ok(count) => value.truncate(count),
            // Removed since it was listed, or readable only by a name space this process is not in.
            Err(Errno::NODATA | Errno::PERM | Errno::NOTSUP | Errno::ACCESS) => continue,
            Err(error) => return Err(error.into()),
        }
        found.push(Xattr {
            name: bytes::Bytes::copy_from_slice(name),
            value: value.into(),
        });
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Sets one extended attribute.
pub(super) fn set(place: XattrPlace<'_>, name: &[u8], value: &[u8]) -> io::Result<()> {
    let flags = fs::XattrFlags::empty();
    match place {
        XattrPlace::Open(file) => fs::fsetxattr(file, name, value, flags)?,
        XattrPlace::Place(place) => fs::setxattr(place_path(place).as_slice(), name, value, flags)?,
        XattrPlace::Name(directory, file) => {
            fs::lsetxattr(proc_path(directory, file)?.as_slice(), name, value, flags)?;
        }
    }
    Ok(())
}

/// Removes one extended attribute.
pub(super) fn remove(place: XattrPlace<'_>, name: &[u8]) -> io::Result<()> {
    match place {
        XattrPlace::Open(file) => fs::fremovexattr(file, name)?,
        XattrPlace::Place(place) => fs::removexattr(place_path(place).as_slice(), name)?,
        XattrPlace::Name(directory, file) => {
            fs::lremovexattr(proc_path(directory, file)?.as_slice(), name)?;
        }
    }
    Ok(())
}
