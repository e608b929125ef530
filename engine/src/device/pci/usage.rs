//! Whether anything uses a controller, and what is on it: why it must not be taken, or only by someone who means it.
//!
//! Owns the reasons, and where each is found: mounted file systems and swap in the lists of this process's view, holders
//! in `/sys`, open files in `/proc`, contents on the namespaces themselves.
//! Invariants: a reason that stands in the way of every use says so ([`Use::is_final`]), and nothing overrides it; what
//! cannot be found out is a reason too.
//! What is mounted in another mount name space, or belongs to a pool whose members only its own driver knows (btrfs,
//! ZFS), shows in no list; `binding` claims every namespace for itself before it goes on, which fails there.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::contents::{self, Content};
use super::host::{Host, unescape};
use super::inventory::{Controller, Namespace, attribute};
use super::processes::{OpenDevices, Process};

/// One reason not to take a controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Use {
    /// A file system on it is mounted.
    Mounted {
        /// Block device: the namespace or a partition.
        device: String,
        /// Where.
        #[serde(serialize_with = "text_or_hex")]
        at: PathBuf,
    },
    /// It is swapped to.
    Swap {
        /// Block device.
        device: String,
    },
    /// Another block device is built on it: a logical volume, a RAID, an encrypted volume.
    Held {
        /// Block device.
        device: String,
        /// The device above.
        holder: String,
    },
    /// The kernel has given it to somebody for himself, and does not say to whom.
    Claimed {
        /// Block device.
        device: String,
    },
    /// Processes have it open: its block devices, or what user-space drivers open.
    Open {
        /// Which.
        processes: Vec<Process>,
    },
    /// It has a partition table.
    Partitions {
        /// Block device.
        device: String,
        /// Type of the table, where it is known.
        table: Option<String>,
        /// Names of the partitions the kernel shows.
        partitions: Vec<String>,
    },
    /// It holds a file system, a part of a RAID or of a volume group, or the like.
    Signature {
        /// Block device.
        device: String,
        /// Type, as `blkid` names it.
        signature: String,
    },
    /// It holds a Helios store.
    Store {
        /// Block device.
        device: String,
    },
    /// It holds something else.
    Data {
        /// Block device.
        device: String,
    },
    /// What is on it, or who uses it, cannot be told.
    Unknown {
        /// Block device, or the PCI address.
        device: String,
        /// Why not.
        reason: String,
    },
}

impl Use {
    /// It is in use: no option may override that.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Use::Mounted { .. }
                | Use::Swap { .. }
                | Use::Held { .. }
                | Use::Claimed { .. }
                | Use::Open { .. }
        )
    }

    /// Somebody else's data may be lost, which is to be said twice. A store is meant to be driven from user space.
    pub fn is_foreign(&self) -> bool {
        !self.is_final() && !matches!(self, Use::Store { .. })
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Mounted { device, at } => write!(
                f,
                "{device} is mounted at {}",
                at.to_string_lossy().escape_debug()
            ),
            Use::Swap { device } => write!(f, "{device} is swapped to"),
            Use::Held { device, holder } => write!(f, "{device} is held by {holder}"),
            Use::Claimed { device } => write!(
                f,
                "{device} is in use by the kernel or a process for itself alone"
            ),
            Use::Open { processes } => {
                f.write_str("open in ")?;
                for (number, Process { pid, name }) in processes.iter().enumerate() {
                    let comma = if number == 0 { "" } else { ", " };
                    write!(f, "{comma}process {pid} ({name})")?;
                }
                Ok(())
            }
            Use::Partitions {
                device,
                table,
                partitions,
            } => {
                write!(f, "{device} has ")?;
                match table {
                    Some(table) => write!(f, "a partition table ({table})")?,
                    None => write!(f, "partitions")?,
                }
                match partitions.len() {
                    0 => Ok(()),
                    _ => write!(f, " with {}", partitions.join(", ")),
                }
            }
            Use::Signature { device, signature } => write!(f, "{device} holds {signature}"),
            Use::Store { device } => write!(f, "{device} holds a Helios store"),
            Use::Data { device } => write!(f, "{device} holds other data"),
            Use::Unknown { device, reason } => write!(f, "what is on {device} is unknown: {reason}"),
        }
    }
}

/// Every reason not to take a controller, those of the kernel first.
pub fn uses(host: &Host, controller: &Controller) -> Vec<Use> {
    uses_among(host, controller, &OpenDevices::look(host))
}

/// The same, where somebody has looked at the processes already.
pub(super) fn uses_among(host: &Host, controller: &Controller, open: &OpenDevices) -> Vec<Use> {
    let mut uses = final_uses(host, controller, open);
    for namespace in &controller.namespaces {
        uses.extend(foreign_uses(host, namespace));
    }
    uses
}

/// What uses a controller now.
pub(super) fn final_uses(host: &Host, controller: &Controller, open: &OpenDevices) -> Vec<Use> {
    let mut uses = Vec::new();
    let lists = Lists::read(host);
    let mut paths = user_space_files(host, controller);
    for device in controller.namespaces.iter().flat_map(block_devices) {
        match &lists {
            Ok(lists) => uses.extend(lists.of(host, device)),
            Err(reason) => uses.push(Use::Unknown {
                device: device.to_owned(),
                reason: reason.clone(),
            }),
        }
        let holders = holders(host, device);
        uses.extend(holders.into_iter().map(|holder| Use::Held {
            device: device.to_owned(),
            holder,
        }));
        paths.push(format!("/dev/{device}"));
        // The same namespace without the block layer.
        if let Some(number) = device.strip_prefix("nvme") {
            paths.push(format!("/dev/ng{number}"));
        }
    }
    let processes = open.users(&paths);
    if !processes.is_empty() {
        uses.push(Use::Open { processes });
    }
    uses
}

/// What is on a namespace.
pub(super) fn foreign_uses(host: &Host, namespace: &Namespace) -> Vec<Use> {
    let device = || namespace.name.clone();
    let mut uses = Vec::new();
    let mut table = None;
    for content in contents::of(host, namespace) {
        match content {
            Content::Table(found) => table = Some(found),
            Content::Signature(signature) => uses.push(Use::Signature {
                device: device(),
                signature,
            }),
            Content::Store => uses.push(Use::Store { device: device() }),
            Content::Data => uses.push(Use::Data { device: device() }),
            Content::Unknown(reason) => uses.push(Use::Unknown {
                device: device(),
                reason,
            }),
        }
    }
    if table.is_some() || !namespace.partitions.is_empty() {
        // A table explains the data that no signature does.
        uses.retain(|found| !matches!(found, Use::Data { .. }));
        let partitions = Use::Partitions {
            device: device(),
            table,
            partitions: namespace.partitions.clone(),
        };
        uses.insert(0, partitions);
    }
    uses
}

/// What a program opens to drive the controller itself.
pub(super) fn user_space_files(host: &Host, controller: &Controller) -> Vec<String> {
    let mut files = Vec::new();
    if let Some(group) = controller.iommu_group {
        files.extend(group_files(group));
    }
    let under = |directory: &str| host.names(attribute(controller.address, directory));
    files.extend(
        under("vfio-dev")
            .iter()
            .map(|name| format!("/dev/vfio/devices/{name}")),
    );
    files.extend(under("uio").iter().map(|name| format!("/dev/{name}")));
    files
}

/// The file of an IOMMU group, and the name it has where there is no IOMMU.
pub(super) fn group_files(group: u32) -> [String; 2] {
    [format!("/dev/vfio/{group}"), format!("/dev/vfio/noiommu-{group}")]
}

fn block_devices(namespace: &Namespace) -> impl Iterator<Item = &str> {
    std::iter::once(&namespace.name)
        .chain(&namespace.partitions)
        .map(String::as_str)
}

fn holders(host: &Host, device: &str) -> Vec<String> {
    host.names(format!("/sys/class/block/{device}/holders"))
}

/// What is mounted, and what is swapped to.
struct Lists {
    mounted: Vec<Mounted>,
    swap: BTreeSet<String>,
}

struct Mounted {
    number: Vec<u8>,
    device: Option<String>,
    at: PathBuf,
}

impl Lists {
    fn read(host: &Host) -> Result<Lists, String> {
        let list = |path: &str| host.list(path).map_err(|error| error.to_string());
        let mounted = list("/proc/self/mountinfo")?;
        let mounted = mounted
            .split(|byte| *byte == b'\n')
            .filter_map(|line| Mounted::parse(host, line))
            .collect();
        // There is no such list in kernels without swap.
        let swap = match host.exists("/proc/swaps") {
            true => list("/proc/swaps")?,
            false => Vec::new(),
        };
        let swap = swap
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.split(u8::is_ascii_whitespace).next())
            .filter_map(|field| device_of(host, &unescape(field)))
            .collect();
        Ok(Lists { mounted, swap })
    }

    fn of<'a>(&'a self, host: &Host, device: &'a str) -> impl Iterator<Item = Use> + 'a {
        let number = host
            .text(format!("/sys/class/block/{device}/dev"))
            .unwrap_or_default();
        let swap = self.swap.contains(device).then(|| Use::Swap {
            device: device.to_owned(),
        });
        self.mounted
            .iter()
            // Some file systems (btrfs) have numbers of their own, but name a device.
            .filter(move |mounted| {
                mounted.number == number.as_bytes() || mounted.device.as_deref() == Some(device)
            })
            .map(|mounted| Use::Mounted {
                device: device.to_owned(),
                at: mounted.at.clone(),
            })
            .chain(swap)
    }
}

impl Mounted {
    /// proc_pid_mountinfo(5): number, parent, major:minor, root, mount point, options, any number of tags, `-`, type,
    /// source.
    fn parse(host: &Host, line: &[u8]) -> Option<Mounted> {
        let mut fields = line.split(|byte| *byte == b' ');
        let number = fields.nth(2)?.to_vec();
        let at = unescape(fields.nth(1)?);
        fields.find(|field| *field == b"-")?;
        let source = fields.nth(1)?;
        Some(Mounted {
            number,
            device: device_of(host, &unescape(source)),
            at,
        })
    }
}

/// The name of the block device at a path below `/dev`, links followed.
fn device_of(host: &Host, path: &Path) -> Option<String> {
    if !path.starts_with("/dev") {
        return None;
    }
    let followed = std::fs::canonicalize(host.path(path)).unwrap_or_else(|_| path.to_owned());
    Some(followed.file_name()?.to_str()?.to_owned())
}

/// A path as text, or as `{"hex": "66ff"}` where it is none.
fn text_or_hex<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    use std::os::unix::ffi::OsStrExt;
    if let Some(text) = path.to_str() {
        return serializer.serialize_str(text);
    }
    let bytes = path.as_os_str().as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry("hex", &hex)?;
    map.end()
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;
