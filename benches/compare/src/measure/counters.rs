//! The kernel's counters of what was written: by this process and the programs it has waited for, and by the device.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Outcome;

/// Bytes of a sector in `/sys/block/*/stat`, whatever the device says of itself.
const SECTOR_BYTES: u64 = 512;

/// Bytes that this process, and every program that it has started and waited for, has given to the kernel for devices.
pub fn written_by_us() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let field = |name: &str| -> Outcome<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.ok_or_else(|| format!("/proc/self/io has no {name}"))?;
        Ok(number.trim().parse()?)
    };
    // What was deleted before it reached the device was never written.
    Ok(field("write_bytes:")?.saturating_sub(field("cancelled_write_bytes:")?))
}

/// The block device below a directory, where the kernel counts its writes.
#[derive(Debug, Clone)]
pub struct Device(PathBuf);

impl Device {
    /// The one that has the directory's file system.
    pub fn below(directory: &Path) -> Outcome<Device> {
        let number = fs::metadata(directory)?.st_dev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let stat = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        if !stat.exists() {
            return Err(format!("the kernel counts no device for {}", directory.display()).into());
        }
        Ok(Device(stat))
    }

    /// Bytes written to it since the machine started, by whomever.
    pub fn written(&self) -> Outcome<u64> {
        let text = fs::read_to_string(&self.0)?;
        let sectors = text.split_whitespace().nth(6).ok_or("no count of sectors")?;
        Ok(sectors.parse::<u64>()? * SECTOR_BYTES)
    }
}
