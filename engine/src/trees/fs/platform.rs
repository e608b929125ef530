//! The system calls of this module: one name relative to one open directory, never a path.
//!
//! Invariant: a name handed to the kernel is a single component (see [`is_component`]) and is never followed when
//! it is a symbolic link, so nothing done here can leave the directory it is done in, whatever is planted there
//! meanwhile. The one call that takes several components ([`open_beneath`]) makes the kernel refuse `..`, absolute
//! names and links (`openat2`), or walks component by component where that call is missing or forbidden.
//! Rejected: full paths with a check before use; between check and use anyone may swap a directory for a link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::trees::{EntryKind, FileTime};

/// What a name is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// One of the kinds that a tree holds.
    Kind(EntryKind),
    /// A socket: it means nothing without the process behind it, so trees don't hold it.
    Socket,
    /// A kind that this program does not know.
    Other,
}

impl Found {
    pub(super) fn of(kind: FileType) -> Found {
        Found::Kind(match kind {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            FileType::Fifo => EntryKind::Fifo,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Socket => return Found::Socket,
            _ => return Found::Other,
        })
    }
}

/// Device and inode number: which file it is on this machine, as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FileId {
    /// Device number, in the kernel's encoding of major and minor.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// What the file system says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) found: Found,
    pub(super) mode: u16,
    pub(super) links: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) blocks: u64,
    pub(super) mtime: FileTime,
    pub(super) ctime: FileTime,
    pub(super) id: FileId,
    pub(super) device: (u32, u32),
}

impl Stat {
    fn of(stat: &fs::Stat) -> Stat {
        let time = |seconds: i64, nanoseconds: u64| FileTime {
            seconds,
            nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
        };
        Stat {
            found: Found::of(FileType::from_raw_mode(stat.st_mode)),
            mode: (stat.st_mode & 0o7777) as u16,
            #[allow(
                clippy::useless_conversion,
                reason = "the width differs between architectures"
            )]
            links: u64::from(stat.st_nlink),
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            #[allow(clippy::unnecessary_cast, reason = "the width differs between architectures")]
            mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            #[allow(clippy::unnecessary_cast, reason = "the width differs between architectures")]
            ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
            id: FileId {
                device: stat.st_dev,
                inode: stat.st_ino,
            },
            device: (fs::major(stat.st_rdev), fs::minor(stat.st_rdev)),
        }
    }

    /// Whether the content read between two of these is one state of the file.
    pub(super) fn same_content(&self, other: &Stat) -> bool {
        (self.size, self.mtime, self.ctime, self.id) == (other.size, other.mtime, other.ctime, other.id)
    }
}

/// Whether `name` names something inside a directory: no `/`, no NUL, neither `.` nor `..`, 1 to 255 bytes.
pub(super) fn is_component(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= crate::limits::NAME_BYTES_MAX
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0)
}

pub(super) fn component(name: &[u8]) -> io::Result<&[u8]> {
    match is_component(name) {
        true => Ok(name),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not the name of a file in a directory",
        )),
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the directory `name` in `directory`.
pub(super) fn open_directory(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    Ok(fs::openat(directory, component(name)?, DIRECTORY, Mode::empty())?)
}

/// Opens the directory at `path` as the user gave it: here, and only here, links are followed.
pub(super) fn open_given(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::openat(fs::CWD, path, flags, Mode::empty())?)
}

/// Opens the directory that several components lead to, all of them real directories beneath `directory`.
pub(super) fn open_beneath(directory: BorrowedFd<'_>, components: &[&[u8]]) -> io::Result<OwnedFd> {
    /// Longest relative path handed over at once; the kernel takes 4,095 bytes.
    const PATH_BYTES_MAX: usize = 4000;
    let mut at: Option<OwnedFd> = None;
    let mut rest = components;
    while !rest.is_empty() {
        let mut path: Vec<u8> = Vec::new();
        let mut taken = 0;
        while let Some(name) = rest.get(taken) {
            if path.len() + name.len() + 1 > PATH_BYTES_MAX {
                break;
            }
            path.extend_from_slice(component(name)?);
            path.push(b'/');
            taken += 1;
        }
        path.pop();
        let from = at.as_ref().map_or(directory, |fd| fd.as_fd());
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let next = match fs::openat2(from, path.as_slice(), DIRECTORY, Mode::empty(), resolve) {
            // Kernels before 5.6 lack the call and some container profiles forbid it; EAGAIN is a rename meanwhile.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => open_each(from, &rest[..taken])?,
            other => other?,
        };
        at = Some(next);
        rest = &rest[taken..];
    }
    match at {
        Some(fd) => Ok(fd),
        None => Ok(directory.try_clone_to_owned()?),
    }
}

fn open_each(directory: BorrowedFd<'_>, components: &[&[u8]]) -> io::Result<OwnedFd> {
    let mut at = directory.try_clone_to_owned()?;
    for name in components {
        at = open_directory(at.as_fd(), name)?;
    }
    Ok(at)
}

/// Opens the file `name` for reading; never waits for the other end of a pipe. Leaves the access time alone where
/// the kernel allows that (the caller owns the file), which saves a write of every inode on the first commit.
pub(super) fn open_file(directory: BorrowedFd<'_>, name: &[u8], quiet: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let name = component(name)?;
    if quiet {
        match fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => {}
            other => return Ok(other?),
        }
    }
    Ok(fs::openat(directory, name, flags, Mode::empty())?)
}

/// Waits for the calls that are writing to the file, which is at its start. Kernels stamp a file when such a call
/// begins, so what a look at the file has missed before this call shows in the next. Looking for data takes the lock
/// that writers hold (ext4, btrfs, tmpfs) or is not needed (XFS: reads take it themselves).
pub(super) fn await_writers(file: BorrowedFd<'_>) -> io::Result<()> {
    match fs::seek(file, fs::SeekFrom::Data(0)) {
        Ok(0) => Ok(()),
        // A hole, an empty file, or a file system that does not know.
        _ => seek(file, 0),
    }
}

/// Opens `name`, whatever it is, as a place only: nothing can be read through it, its metadata can.
pub(super) fn open_place(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(directory, component(name)?, flags, Mode::empty())?)
}

/// Creates the file `name`, which must not exist, open for writing; `mode` is subject to the process's mask.
pub(super) fn create_file(directory: BorrowedFd<'_>, name: &[u8], mode: u16) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_bits_truncate(mode.into());
    Ok(fs::openat(directory, component(name)?, flags, mode)?)
}

/// Creates the directory `name`, which must not exist, closed to everyone else for the time being.
pub(super) fn make_directory(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(fs::mkdirat(directory, component(name)?, Mode::RWXU)?)
}

/// Creates the symbolic link `name`.
pub(super) fn make_symlink(directory: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> io::Result<()> {
    Ok(fs::symlinkat(target, directory, component(name)?)?)
}

/// Creates a named pipe or a device node.
pub(super) fn make_node(
    directory: BorrowedFd<'_>,
    name: &[u8],
    kind: EntryKind,
    device: (u32, u32),
) -> io::Result<()> {
    let kind = match kind {
        EntryKind::Fifo => FileType::Fifo,
        EntryKind::CharDevice => FileType::CharacterDevice,
        EntryKind::BlockDevice => FileType::BlockDevice,
        EntryKind::File | EntryKind::Directory | EntryKind::Symlink => {
            return Err(io::ErrorKind::InvalidInput.into());
        }
    };
    let number = match kind {
        FileType::Fifo => 0,
        _ => fs::makedev(device.0, device.1),
    };
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(fs::mknodat(directory, component(name)?, kind, mode, number)?)
}

/// Gives the file `from_name` a second name; a symbolic link is linked itself, not what it points at.
pub(super) fn link(
    from: BorrowedFd<'_>,
    from_name: &[u8],
    to: BorrowedFd<'_>,
    to_name: &[u8],
) -> io::Result<()> {
    let (from_name, to_name) = (component(from_name)?, component(to_name)?);
    Ok(fs::linkat(from, from_name, to, to_name, AtFlags::empty())?)
}

/// Moves `from` over `to` in one directory.
pub(super) fn rename(directory: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> io::Result<()> {
    Ok(fs::renameat(
        directory,
        component(from)?,
        directory,
        component(to)?,
    )?)
}

/// Moves `from` to `to` in one directory and refuses to replace anything.
pub(super) fn rename_new(directory: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> io::Result<()> {
    let (from, to) = (component(from)?, component(to)?);
    match fs::renameat_with(directory, from, directory, to, fs::RenameFlags::NOREPLACE) {
        // The file system has no such rename. Of a directory the plain one replaces at most an empty directory.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(fs::renameat(directory, from, directory, to)?),
        other => Ok(other?),
    }
}

/// Removes a name that is not a directory.
pub(super) fn remove_file(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(fs::unlinkat(directory, component(name)?, AtFlags::empty())?)
}

/// Removes an empty directory.
pub(super) fn remove_directory(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(fs::unlinkat(directory, component(name)?, AtFlags::REMOVEDIR)?)
}

/// What `name` is, links not followed.
pub(super) fn stat(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(Stat::of(&fs::statat(directory, component(name)?, flags)?))
}

/// What the open file is.
pub(super) fn stat_open(file: BorrowedFd<'_>) -> io::Result<Stat> {
    Ok(Stat::of(&fs::fstat(file)?))
}

/// When the open file was created; `None` where the file system does not keep it.
pub(super) fn birth_time(file: BorrowedFd<'_>) -> io::Result<Option<FileTime>> {
    let answer = fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME)?;
    let known = answer.stx_mask & StatxFlags::BTIME.bits() != 0;
    Ok(known.then_some(FileTime {
        seconds: answer.stx_btime.tv_sec,
        nanoseconds: answer.stx_btime.tv_nsec,
    }))
}

/// The target of the symbolic link `name`.
pub(super) fn read_link(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(fs::readlinkat(directory, component(name)?, Vec::new())?.into_bytes())
}

/// Calls `each` with every name of an open directory except `.` and `..`, in the order the file system keeps them.
pub(super) fn list(
    directory: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    mut each: impl FnMut(&[u8], FileType),
) -> io::Result<()> {
    const LIST_BYTES: usize = 64 << 10;
    buffer.clear();
    buffer.reserve(LIST_BYTES);
    seek(directory, 0)?; // It may have been listed before.
    let mut names = fs::RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = names.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(name, entry.file_type());
        }
    }
    Ok(())
}

/// The kernel's coarse wall clock: the clock that local file systems stamp changes with.
pub(super) fn coarse_now() -> FileTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    FileTime {
        seconds: now.tv_sec,
        nanoseconds: u32::try_from(now.tv_nsec).unwrap_or(0),
    }
}

/// Whether the file system stamps changes with this machine's own clock, at its full resolution.
pub(super) fn stamps_locally(directory: BorrowedFd<'_>) -> bool {
    /// ext2-4, xfs, btrfs, tmpfs, overlayfs, f2fs, bcachefs, zfs, ramfs: magic numbers of statfs(2).
    const LOCAL: [u32; 9] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0x0102_1994,
        0x794C_7630,
        0xF2F5_2010,
        0xCA45_1A4E,
        0x2FC1_2FC1,
        0x8584_58F6,
    ];
    fs::fstatfs(directory).is_ok_and(|answer| LOCAL.contains(&(answer.f_type as u32)))
}

/// Fills `buffer` from the file's present position until it is full or the file ends.
pub(super) fn read_full(file: BorrowedFd<'_>, mut buffer: &mut [u8]) -> io::Result<usize> {
    let mut total = 0;
    while !buffer.is_empty() {
        match rustix::io::read(file, &mut *buffer) {
            Ok(0) => break,
            Ok(count) => {
                total += count;
                buffer = &mut buffer[count..];
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(total)
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_at(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sets the length of an open file; what lies behind its last written byte becomes a hole.
pub(super) fn set_length(file: BorrowedFd<'_>, length: u64) -> io::Result<()> {
    Ok(fs::ftruncate(file, length)?)
}

/// The data range at or after `offset`: start and end. `None` when only a hole follows.
pub(super) fn next_data(file: BorrowedFd<'_>, offset: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match fs::seek(file, fs::SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some((start, fs::seek(file, fs::SeekFrom::Hole(start))?)))
}

/// Who this process acts as.
pub(super) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The group that new files get.
pub(super) fn effective_group() -> u32 {
    rustix::process::getegid().as_raw()
}

/// The permission bits that the process's mask takes from new files; all of them if that can't be found out. (The
/// system call that tells also changes it, for all threads.)
pub(super) fn file_mask() -> u16 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u16::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o777)
}

/// How many files this process may have open.
pub(super) fn open_files_max() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX)
}

/// Moves the position of an open file.
pub(super) fn seek(file: BorrowedFd<'_>, offset: u64) -> io::Result<()> {
    fs::seek(file, fs::SeekFrom::Start(offset))?;
    Ok(())
}
