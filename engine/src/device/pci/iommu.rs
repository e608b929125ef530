//! The IOMMU: whether there is one, who shares a group, and what turns it on.
//!
//! Owns reading `/sys/class/iommu` and the groups. A device that may read and write memory by itself is as powerful as the
//! kernel; the IOMMU confines it, by groups of devices that cannot be told apart.

use super::PciAddress;
use super::host::Host;
use super::inventory::driver;

/// Switched on, vfio drives devices without an IOMMU; then they can write anywhere.
const NO_IOMMU: &str = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";

/// The IOMMUs of the machine, by the kernel's names.
pub(super) fn units(host: &Host) -> Vec<String> {
    host.names("/sys/class/iommu")
}

/// Whether vfio is allowed to go without an IOMMU.
pub(super) fn may_be_missing(host: &Host) -> bool {
    host.text(NO_IOMMU)
        .is_some_and(|value| value == "Y" || value == "1")
}

/// Other devices of a group that a driver of the kernel keeps, with the driver; the group cannot be used until it lets go.
pub(super) fn kept(host: &Host, group: u32, ours: &[PciAddress]) -> Vec<(PciAddress, String)> {
    let members = host.names(format!("/sys/kernel/iommu_groups/{group}/devices"));
    members
        .iter()
        .filter_map(|member| member.parse::<PciAddress>().ok())
        .filter(|member| !ours.contains(member))
        .filter_map(|member| Some((member, driver(host, member)?)))
        .filter(|(_, driver)| !lets_be(driver))
        .collect()
}

/// Drivers that leave the memory of devices alone, so that a group with them can be used: those of vfio, the one that
/// does nothing, and that of the bridges above the devices.
fn lets_be(driver: &str) -> bool {
    driver.contains("vfio") || driver == "pci-stub" || driver == "pcieport"
}

/// The type of translation of a group, where devices do not use the addresses of memory as they are.
pub(super) fn translation(host: &Host, group: u32) -> Option<String> {
    let kind = host.text(format!("/sys/kernel/iommu_groups/{group}/type"))?;
    (kind != "identity").then_some(kind)
}

/// What turns the IOMMU on, on this machine.
pub(super) fn turn_on(host: &Host) -> &'static str {
    let processors = host.list("/proc/cpuinfo").unwrap_or_default();
    let processors = String::from_utf8_lossy(&processors);
    if processors.contains("GenuineIntel") {
        "turn VT-d on in the firmware, add intel_iommu=on to the kernel's command line, and restart"
    } else if processors.contains("AuthenticAMD") || processors.contains("HygonGenuine") {
        "turn the IOMMU (AMD-Vi) on in the firmware, see that amd_iommu=off is not on the kernel's command line, and restart"
    } else {
        "turn the IOMMU on in the firmware, and restart"
    }
}
