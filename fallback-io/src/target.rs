//! The opened file or block device, and what there is to know about it.
//!
//! Invariant: `capacity` is a multiple of `alignment`, and so is every position a queue passes to the kernel.
//! Direct I/O where the file system has it; buffered otherwise, which [`Target::direct`] tells.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, SeekFrom, StatxFlags};
use rustix::io::Errno;

use crate::{Error, Result};

/// Smallest and largest logical block that is made use of, in bytes.
const BLOCK_BYTES: [u32; 2] = [512, 4096];

/// How to open a target.
#[derive(Debug, Clone)]
pub struct Options {
    /// Open for reading only; commands that write are refused.
    pub read_only: bool,
    /// What offsets, lengths and memory addresses must be multiples of, in bytes; a power of two.
    pub alignment: u32,
    /// Largest single transfer, in bytes.
    pub transfer_max: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            read_only: false,
            alignment: 4096,
            transfer_max: 2 << 20,
        }
    }
}

/// An opened regular file or block device; shared by its queues.
#[derive(Debug)]
pub struct Target {
    file: File,
    options: Options,
    capacity: u64,
    logical_block: u32,
    block_device: bool,
    direct: bool,
    volatile_cache: bool,
    discards: bool,
}

impl Target {
    /// Opens the file or block device at `path`. A block device that is mounted, or open for writing here
    /// already, is refused as busy.
    pub fn open(path: &Path, options: &Options) -> Result<Target> {
        let failed = |source: io::Error| Error::Open {
            operation: "open",
            path: path.to_owned(),
            source,
        };
        assert!(
            options.alignment.is_power_of_two(),
            "alignment must be a power of two"
        );
        // Asked before opening, because opening a pipe for reading would wait for its writer.
        kind(&std::fs::metadata(path).map_err(failed)?).map_err(failed)?;
        let (file, direct) = open_file(path, options).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let block_device = kind(&metadata).map_err(failed)?;
        let mut target = Target {
            file,
            options: options.clone(),
            capacity: metadata.len(),
            logical_block: BLOCK_BYTES[0],
            block_device,
            direct,
            volatile_cache: true,
            discards: false,
        };
        if block_device {
            target.inspect_device(metadata.rdev()).map_err(failed)?;
        } else {
            target.inspect_file(path).map_err(failed)?;
        }
        target.capacity -= target.capacity % u64::from(options.alignment);
        Ok(target)
    }

    fn inspect_device(&mut self, device: u64) -> io::Result<()> {
        self.capacity = rustix::fs::seek(&self.file, SeekFrom::End(0))?;
        let block = rustix::fs::ioctl_blksszget(&self.file)?;
        if block > self.options.alignment {
            let alignment = self.options.alignment;
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("its logical blocks of {block} bytes are larger than {alignment} bytes"),
            ));
        }
        self.logical_block = block.clamp(BLOCK_BYTES[0], BLOCK_BYTES[1]);
        let queue = DeviceAttributes::of(device);
        self.volatile_cache = queue
            .text("write_cache")
            .is_none_or(|cache| cache != "write through");
        // Holes are punched into devices by writing zeroes without data, which must exist and unmap.
        self.discards = !self.options.read_only
            && queue.number("discard_max_bytes") > 0
            && queue.number("write_zeroes_max_bytes") > 0;
        Ok(())
    }

    fn inspect_file(&mut self, path: &Path) -> io::Result<()> {
        if self.direct {
            match direct_alignment(&self.file) {
                Some(alignment) if alignment == 0 || alignment > self.options.alignment => {
                    self.file = open_with(path, &self.options, OFlags::empty())?;
                    self.direct = false;
                }
                Some(alignment) => self.logical_block = alignment.clamp(BLOCK_BYTES[0], BLOCK_BYTES[1]),
                None => {}
            }
        }
        // Asked by punching where there is nothing: behind the end of the file.
        let end = self.capacity.next_multiple_of(1 << 20);
        self.discards =
            !self.options.read_only && rustix::fs::fallocate(&self.file, punch_hole(), end, 1 << 20).is_ok();
        Ok(())
    }

    /// Bytes that can be addressed.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Smallest unit the device writes atomically, in bytes: 512 to 4096.
    pub fn logical_block(&self) -> u32 {
        self.logical_block
    }

    /// What offsets, lengths and memory addresses must be multiples of, in bytes.
    pub fn alignment(&self) -> u32 {
        self.options.alignment
    }

    /// Largest single transfer, in bytes.
    pub fn transfer_max(&self) -> u32 {
        self.options.transfer_max
    }

    /// Opened for reading only.
    pub fn read_only(&self) -> bool {
        self.options.read_only
    }

    /// A block device, not a regular file.
    pub fn is_block_device(&self) -> bool {
        self.block_device
    }

    /// Transfers bypass the page cache.
    pub fn direct(&self) -> bool {
        self.direct
    }

    /// Completed writes may be lost with power until a flush.
    pub fn volatile_cache(&self) -> bool {
        self.volatile_cache
    }

    /// `Discard` gives space back.
    pub fn discards(&self) -> bool {
        self.discards
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Makes a sparse file of `size` bytes that only its owner can read, and makes its name durable. Never
/// overwrites.
pub fn create_sparse(path: &Path, size: u64) -> Result<()> {
    let failed = |operation, source| Error::Open {
        operation,
        path: path.to_owned(),
        source,
    };
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
        .map(File::from)
        .map_err(|errno| failed("create", errno.into()))?;
    let made = file
        .set_len(size)
        .map_err(|source| failed("set the size of", source))
        .and_then(|()| file.sync_all().map_err(|source| failed("flush", source)))
        .and_then(|()| {
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let sync = File::open(parent).and_then(|directory| directory.sync_all());
            sync.map_err(|source| Error::Open {
                operation: "flush",
                path: parent.to_owned(),
                source,
            })
        });
    if made.is_err() {
        // The first failure is the one to report.
        let _ = std::fs::remove_file(path);
    }
    made
}

/// How ranges are given back.
pub(crate) fn punch_hole() -> FallocateFlags {
    FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE
}

/// Whether it is a block device (`true`) or a regular file (`false`); anything else is an error that says what
/// it is.
fn kind(metadata: &std::fs::Metadata) -> io::Result<bool> {
    let kind = metadata.file_type();
    if kind.is_block_device() || kind.is_file() {
        return Ok(kind.is_block_device());
    }
    let (error, what) = if kind.is_dir() {
        (io::ErrorKind::IsADirectory, "a directory")
    } else if kind.is_char_device() {
        (io::ErrorKind::InvalidInput, "a character device")
    } else if kind.is_fifo() {
        (io::ErrorKind::InvalidInput, "a pipe")
    } else {
        (io::ErrorKind::InvalidInput, "a socket")
    };
    Err(io::Error::new(
        error,
        format!("it is {what}, not a regular file or block device"),
    ))
}

/// Opens for direct I/O, or buffered where the file system refuses that.
fn open_file(path: &Path, options: &Options) -> io::Result<(File, bool)> {
    match open_with(path, options, OFlags::DIRECT) {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            Ok((open_with(path, options, OFlags::empty())?, false))
        }
        opened => Ok((opened?, true)),
    }
}

fn open_with(path: &Path, options: &Options, extra: OFlags) -> io::Result<File> {
    let access = if options.read_only {
        OFlags::RDONLY
    } else {
        // Whoever owns a block device has claimed it; a second claim here would collide with the owner's own.
        OFlags::RDWR
    };
    let file = rustix::fs::open(path, access | extra | OFlags::CLOEXEC, Mode::empty())?;
    Ok(File::from(file))
}

/// What direct I/O on the file must be aligned to: 0 when the file system has none, `None` when the kernel
/// (before 6.1) or the file system does not say.
fn direct_alignment(file: &File) -> Option<u32> {
    let facts = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    if facts.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
        return None;
    }
    Some(match (facts.stx_dio_offset_align, facts.stx_dio_mem_align) {
        (0, _) | (_, 0) => 0,
        (offset, memory) => offset.max(memory),
    })
}

/// Queue attributes of a block device in sysfs.
struct DeviceAttributes(PathBuf);

impl DeviceAttributes {
    fn of(device: u64) -> DeviceAttributes {
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let mut directory = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        if directory.join("partition").exists() {
            // The queue belongs to the whole disk. `..` of the link's target, not of the link.
            directory = directory.canonicalize().unwrap_or(directory);
            directory.pop();
        }
        DeviceAttributes(directory.join("queue"))
    }

    fn text(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.0.join(name)).ok()?;
        Some(text.trim().to_owned())
    }

    /// 0 when there is no such attribute.
    fn number(&self, name: &str) -> u64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
