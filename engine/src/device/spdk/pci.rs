//! What the kernel says about a PCI device, before SPDK is asked: SPDK only answers that there is no such device.
//!
//! Owns the checks and the commands that fix what they find; reads `/sys` and looks at the rights on `/dev/vfio`, changes
//! nothing. Tests give another root than `/`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The root of the machine's own file system.
pub(super) const SYSTEM: &str = "/";
/// Class, subclass and interface of NVMe devices (PCI code and ID assignment specification, section 1.2).
const CLASS_NVME: &str = "0x010802";

/// Whether the device at `pci` can be driven from user space, or what stands in the way.
pub(super) fn check(root: impl AsRef<Path>, pci: &str) -> io::Result<()> {
    let root = root.as_ref();
    let device = root.join("sys/bus/pci/devices").join(pci);
    if !device.exists() {
        return Err(io::Error::new(
            ErrorKind::NotFound,
            format!("there is no PCI device {pci}; `lspci -D -d ::0108` lists those with NVMe"),
        ));
    }
    let class = fs::read_to_string(device.join("class")).unwrap_or_default();
    if class.trim() != CLASS_NVME {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!(
                "the PCI device {pci} is no NVMe device (its class is {})",
                class.trim()
            ),
        ));
    }
    let bind = format!(
        "`modprobe vfio-pci && echo vfio-pci >/sys/bus/pci/devices/{pci}/driver_override && echo {pci} \
         >/sys/bus/pci/drivers_probe`, as root"
    );
    let driver = fs::read_link(device.join("driver")).ok();
    let driver = driver
        .as_deref()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    match driver {
        Some("vfio-pci") => vfio(root, &device, pci),
        Some("uio_pci_generic" | "igb_uio") => Ok(()),
        Some("nvme") => Err(io::Error::new(
            ErrorKind::ResourceBusy,
            format!(
                "the kernel has the NVMe device {pci} (its driver is nvme); make sure that nothing uses it, then take it \
                 over with `echo {pci} >/sys/bus/pci/drivers/nvme/unbind && {}",
                &bind[1..]
            ),
        )),
        Some(other) => Err(io::Error::new(
            ErrorKind::ResourceBusy,
            format!(
                "the NVMe device {pci} is bound to {other}, which is no driver for user space; use vfio-pci"
            ),
        )),
        None => Err(io::Error::new(
            ErrorKind::NotConnected,
            format!("the NVMe device {pci} has no driver; bind it: {bind}"),
        )),
    }
}

/// Whether the group of the device can be opened by this user.
fn vfio(root: &Path, device: &Path, pci: &str) -> io::Result<()> {
    let group = fs::read_link(device.join("iommu_group")).ok();
    let Some(group) = group
        .as_deref()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
    else {
        return Err(io::Error::new(
            ErrorKind::Unsupported,
            format!(
                "the NVMe device {pci} is in no IOMMU group: the IOMMU is off; turn it on in the firmware and with \
                 intel_iommu=on or amd_iommu=on on the kernel's command line, or bind the device to uio_pci_generic and \
                 run as root"
            ),
        ));
    };
    // Without an IOMMU the group's file has another name.
    let paths = [
        root.join("dev/vfio").join(group),
        root.join("dev/vfio").join(format!("noiommu-{group}")),
    ];
    let Some(path) = paths.iter().find(|path| path.exists()) else {
        return Err(io::Error::new(
            ErrorKind::NotFound,
            format!(
                "{} is missing, though {pci} is bound to vfio-pci; another device of its group may still belong to the \
                 kernel",
                paths[0].display()
            ),
        ));
    };
    fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .map(drop)
        .map_err(|error| {
            let fix = match error.kind() {
                ErrorKind::PermissionDenied => "give it to this user: `chown $USER ",
                _ => "another process may have it: `fuser ",
            };
            io::Error::new(
                error.kind(),
                format!(
                    "cannot open {}: {error}; {fix}{}`",
                    path.display(),
                    path.display()
                ),
            )
        })
}

/// Whether hugepages are there to be taken.
pub(super) fn check_hugepages(root: impl AsRef<Path>) -> io::Result<()> {
    let sizes = fs::read_dir(root.as_ref().join("sys/kernel/mm/hugepages"));
    let free: u64 = sizes
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|size| fs::read_to_string(size.path().join("free_hugepages")).ok())
        .filter_map(|count| count.trim().parse::<u64>().ok())
        .sum();
    if free == 0 {
        return Err(io::Error::new(
            ErrorKind::OutOfMemory,
            "no hugepages are free, which devices need; allocate some as root: `echo 512 >/proc/sys/vm/nr_hugepages` \
             (1 GiB)",
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "pci_tests.rs"]
mod tests;
