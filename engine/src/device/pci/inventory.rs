//! Which NVMe controllers the machine has on PCI, and what the kernel knows about them.
//!
//! Owns reading `/sys/bus/pci/devices` and what hangs below it; changes nothing. Invariant: what the kernel does not say
//! is `None`: size and serial number are known only while its own driver has the controller.
//! Rejected: asking the controller itself; then looking would need the rights, and the risks, of driving it.

use serde::Serialize;

use super::error::Error;
use super::host::Host;
use super::names;
use super::{NVME_DRIVER, PciAddress};

/// Where the kernel lists what is on PCI.
pub(super) const DEVICES: &str = "/sys/bus/pci/devices";
/// Class, subclass and interface of NVMe devices (PCI code and ID assignment specification, section 1.2).
pub(super) const CLASS_NVME: &str = "0x010802";
/// The kernel counts the size of every block device in these, whatever its own blocks are.
const SECTOR_BYTES: u64 = 512;

/// An NVMe controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Controller {
    /// Where it is.
    pub address: PciAddress,
    /// Vendor and device as numbers: `144d:a808`.
    pub id: Option<String>,
    /// Who made it, by the machine's list of PCI ids.
    pub vendor: Option<String>,
    /// What it is: its own words while the kernel's driver has it, else those of the list of PCI ids.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Driver that is bound to it.
    pub driver: Option<String>,
    /// NUMA node it is close to.
    pub numa_node: Option<u32>,
    /// IOMMU group.
    pub iommu_group: Option<u32>,
    /// Bytes of all namespaces.
    pub size: Option<u64>,
    /// Its namespaces, where the kernel's driver has it.
    pub namespaces: Vec<Namespace>,
}

/// A namespace that the kernel shows as a block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Namespace {
    /// Name of the block device: `nvme0n1`.
    pub name: String,
    /// Bytes.
    pub size: Option<u64>,
    /// Names of its partitions.
    pub partitions: Vec<String>,
}

/// All NVMe controllers, by address.
pub fn list(host: &Host) -> Vec<Controller> {
    let addresses = host.names(DEVICES);
    let mut found: Vec<Controller> = addresses
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter(|address| host.text(attribute(*address, "class")).as_deref() == Some(CLASS_NVME))
        .map(|address| look(host, address))
        .collect();
    found.sort_unstable_by_key(|controller| controller.address);
    names::fill(host, &mut found);
    found
}

/// The NVMe controller at an address; [`Error::NotFound`] or [`Error::NotNvme`] where there is none.
pub fn find(host: &Host, address: PciAddress) -> Result<Controller, Error> {
    if !host.exists(attribute(address, "")) {
        return Err(Error::NotFound { pci: address });
    }
    let class = host.text(attribute(address, "class"));
    if class.as_deref() != Some(CLASS_NVME) {
        return Err(Error::NotNvme { pci: address, class });
    }
    Ok(look(host, address))
}

/// The path of an attribute of a device.
pub(super) fn attribute(address: PciAddress, name: &str) -> String {
    format!("{DEVICES}/{address}/{name}")
}

/// The driver that has a device now.
pub(super) fn driver(host: &Host, address: PciAddress) -> Option<String> {
    host.link(attribute(address, "driver"))
}

/// The IOMMU group a device is in now.
pub(super) fn iommu_group(host: &Host, address: PciAddress) -> Option<u32> {
    host.link(attribute(address, "iommu_group"))?.parse().ok()
}

fn look(host: &Host, address: PciAddress) -> Controller {
    let id = |name| {
        let text = host.text(attribute(address, name))?;
        let digits = text.strip_prefix("0x")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let nvme = host
        .names(attribute(address, NVME_DRIVER))
        .into_iter()
        .find(|name| number_after(name, NVME_DRIVER).is_some_and(str::is_empty));
    let said = |name: &str| {
        let nvme = nvme.as_deref()?;
        host.text(attribute(address, &format!("{NVME_DRIVER}/{nvme}/{name}")))
    };
    let namespaces = nvme
        .as_deref()
        .map(|nvme| namespaces(host, &attribute(address, &format!("{NVME_DRIVER}/{nvme}"))))
        .unwrap_or_default();
    let size = nvme.as_ref().and_then(|_| {
        let sizes = namespaces.iter().map(|namespace| namespace.size);
        sizes.sum::<Option<u64>>()
    });
    Controller {
        address,
        id: id("vendor")
            .zip(id("device"))
            .map(|(vendor, device)| format!("{vendor:04x}:{device:04x}")),
        vendor: None,
        model: said("model"),
        serial: said("serial"),
        driver: driver(host, address),
        // -1 where the machine has no nodes.
        numa_node: host
            .text(attribute(address, "numa_node"))
            .and_then(|text| text.parse().ok()),
        iommu_group: iommu_group(host, address),
        size,
        namespaces,
    }
}

/// The namespaces of the controller at a path. Where a namespace can be reached through several controllers, the kernel
/// hides the path through this one (`nvme0c1n1`) and shows the namespace itself as the block device `nvme0n1`.
fn namespaces(host: &Host, controller: &str) -> Vec<Namespace> {
    let mut found: Vec<Namespace> = Vec::new();
    for entry in host.names(controller) {
        let Some(name) = block_device(&entry) else {
            continue;
        };
        let block = format!("/sys/class/block/{name}");
        let sectors = host
            .number(format!("{block}/size"))
            .or_else(|| host.number(format!("{controller}/{entry}/size")));
        let partitions = host
            .names(&block)
            .into_iter()
            .filter(|part| part.starts_with(&name) && host.exists(format!("{block}/{part}/partition")))
            .collect();
        found.push(Namespace {
            name,
            size: sectors.and_then(|sectors| sectors.checked_mul(SECTOR_BYTES)),
            partitions,
        });
    }
    found
}

/// The block device of `nvme0n1` or `nvme0c1n1`; `None` for whatever else is in a controller's directory.
fn block_device(entry: &str) -> Option<String> {
    let rest = number_after(entry, NVME_DRIVER)?;
    let subsystem = &entry[..entry.len() - rest.len()];
    let rest = match number_after(rest, "c") {
        Some(rest) => rest,
        None => rest,
    };
    let end = number_after(rest, "n")?;
    end.is_empty().then(|| format!("{subsystem}{rest}"))
}

/// What follows `word` and a number.
fn number_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let digits = text.strip_prefix(word)?;
    let rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < digits.len()).then_some(rest)
}

#[cfg(test)]
#[path = "inventory_tests.rs"]
mod tests;
