//! Arguments of `helios device`: NVMe controllers, and the machine around them.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueEnum};
use helios_engine::device::Address;
use helios_engine::device::pci::{Driver, PciAddress};

use crate::cli::size;

/// `helios device`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:
  helios device list
  helios device hugepages 1GiB --user agent
  helios device bind 0000:5e:00.0 --user agent
  helios device check 0000:5e:00.0
  helios device unbind 0000:5e:00.0",
    arg_required_else_help = true
)]
pub struct DeviceArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeviceCommand,
}

/// Every command of `helios device`.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// List NVMe devices, their drivers, and what uses them
    #[command(
        after_help = "Size, serial number and block devices are known while the kernel's own driver (nvme) has a device, and \
shown as `-` (null in JSON) otherwise. As root more is known of who uses a device and of what is on it.\n
Examples:
  helios device list
  helios device list --json | jq '.devices[] | select(.uses == []).address'"
    )]
    List,
    /// Take devices from the kernel, for user space
    Bind(BindArgs),
    /// Give devices back to the kernel
    #[command(
        after_help = "Refused while a process drives a device: the kernel would wait for it without an end.\n
Examples:
  helios device unbind 0000:5e:00.0"
    )]
    Unbind {
        /// Addresses, as `helios device list` shows them
        #[arg(value_name = "PCI", required = true)]
        devices: Vec<PciAddress>,
    },
    /// Show, allocate or give back memory that devices can reach
    Hugepages(HugepagesArgs),
    /// Show what holds and what is missing to drive a device from user space
    #[command(
        after_help = "For the user who asks: run it as the one who is to run helios. Without a device, those that are bound for \
user space are looked at. Exits with 0 when everything holds, warnings included, and with 1 when something is missing.\n
Examples:
  helios device check
  helios device check 0000:5e:00.0
  helios device check nvme:0000:5e:00.0/1 --json | jq '.conditions[] | select(.state == \"missing\")'"
    )]
    Check {
        /// A PCI address, or the address of a namespace like nvme:0000:5e:00.0/1
        #[arg(value_name = "PCI|ADDRESS", value_parser = device)]
        device: Option<PciAddress>,
    },
}

/// `helios device bind`
#[derive(Debug, Args)]
#[command(
    after_help = "What is mounted, swapped to, part of another device or open is never taken. A device with partitions or \
other data (or with contents that cannot be told) is taken only with --force and its address a second time after --erase. \
Binding itself erases nothing, but whoever drives the device afterwards may. A Helios store is taken as it is.\n
vfio-pci needs an IOMMU, and takes all devices of an IOMMU group together. uio_pci_generic does without and protects \
nothing: the device can write anywhere in memory, and only root can drive it.\n
The binding and the rights of --user last until the machine restarts. A failure in the middle is undone.\n
Examples:
  helios device bind 0000:5e:00.0
  helios device bind 0000:5e:00.0 --user agent         serve it as this user
  helios device bind 0000:5e:00.0 --force --erase 0000:5e:00.0
  helios device bind 0000:5e:00.0 --driver uio_pci_generic"
)]
pub struct BindArgs {
    /// Addresses, as `helios device list` shows them
    #[arg(value_name = "PCI", required = true)]
    pub devices: Vec<PciAddress>,
    /// Driver that hands them to user space
    #[arg(long, value_name = "NAME", default_value = "vfio-pci")]
    pub driver: DriverArg,
    /// Give them to this user (name or number), so that helios needs no rights
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Also take devices with partitions or other data; everything on them may be lost
    #[arg(long, requires = "erase")]
    pub force: bool,
    /// Which device that is, a second time; may be repeated
    #[arg(long, value_name = "PCI", requires = "force")]
    pub erase: Vec<PciAddress>,
}

/// A driver that hands devices to user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DriverArg {
    /// Behind an IOMMU.
    #[value(name = "vfio-pci")]
    VfioPci,
    /// Without one; root only.
    #[value(name = "uio_pci_generic")]
    UioPciGeneric,
}

impl From<DriverArg> for Driver {
    fn from(driver: DriverArg) -> Driver {
        match driver {
            DriverArg::VfioPci => Driver::VfioPci,
            DriverArg::UioPciGeneric => Driver::UioPciGeneric,
        }
    }
}

/// `helios device hugepages`
#[derive(Debug, Args)]
#[command(
    after_help = "Pages of 2 MiB are allocated until there are enough for SIZE in all; there may be more already. hugetlbfs is \
mounted at /dev/hugepages where it is not. What was allocated lasts until the machine restarts. Pages of 1 GiB are shown, and \
come from the kernel's command line: hugepagesz=1G hugepages=4.\n
Examples:
  helios device hugepages                    what there is
  helios device hugepages 1GiB
  helios device hugepages 4GiB --node 1      close to a device on node 1
  helios device hugepages 1GiB --user agent
  helios device hugepages 0                  give all back"
)]
pub struct HugepagesArgs {
    /// How much there should be in all; 0 gives all back
    #[arg(value_name = "SIZE", value_parser = size::parse)]
    pub size: Option<u64>,
    /// On this NUMA node
    #[arg(long, value_name = "N", requires = "size")]
    pub node: Option<u32>,
    /// Let this user (name or number) use them: makes hugetlbfs his
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// A PCI address, or an address of the engine with one in it.
fn device(text: &str) -> Result<PciAddress, String> {
    if let Ok(pci) = text.parse() {
        return Ok(pci);
    }
    match Address::parse(&OsString::from(text)) {
        Ok(Address::Nvme { pci, .. }) => Ok(pci),
        Err(error) if text.starts_with("nvme:") => Err(error.reason),
        _ => Err(format!(
            "{text:?} is no device on PCI; write 0000:5e:00.0 or nvme:0000:5e:00.0/1"
        )),
    }
}
