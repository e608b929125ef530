//! Why a controller cannot be looked at, taken or given back, and what to do about it.
//!
//! Invariant: the message says what and where, [`Error::fix`] what to do, with the whole command where there is one.

use std::io;

use super::PciAddress;
use super::binding::Driver;
use super::usage::Use;

/// See the module. Variants say what the caller can do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing has this address.
    #[error("there is no PCI device {pci}")]
    NotFound {
        /// Address.
        pci: PciAddress,
    },
    /// Something else has this address.
    #[error("the PCI device {pci} is no NVMe device (its class is {})", class.as_deref().unwrap_or("unknown"))]
    NotNvme {
        /// Address.
        pci: PciAddress,
        /// Class, as the kernel writes it.
        class: Option<String>,
    },
    /// Only root may.
    #[error("only root may {what}")]
    NotRoot {
        /// What.
        what: &'static str,
    },
    /// It is in use, and no option changes that.
    #[error("the NVMe device {pci} is in use: {}", listed(uses))]
    InUse {
        /// Address.
        pci: PciAddress,
        /// By what.
        uses: Vec<Use>,
    },
    /// It holds, or may hold, somebody's data.
    #[error("the NVMe device {pci} is not empty: {}", listed(uses))]
    NotEmpty {
        /// Address.
        pci: PciAddress,
        /// What is on it.
        uses: Vec<Use>,
        /// The driver that was asked for.
        driver: Driver,
    },
    /// vfio-pci needs an IOMMU, and there is none.
    #[error(
        "the NVMe device {pci} is in no IOMMU group: the IOMMU is off, without which vfio-pci protects nothing"
    )]
    NoIommu {
        /// Address.
        pci: PciAddress,
        /// What turns it on here.
        turn_on: &'static str,
    },
    /// The kernel keeps another device of the same IOMMU group.
    #[error("the NVMe device {pci} shares the IOMMU group {group} with {}", held(others))]
    GroupHeld {
        /// Address.
        pci: PciAddress,
        /// Group.
        group: u32,
        /// The others, with their drivers.
        others: Vec<(PciAddress, String)>,
    },
    /// uio_pci_generic sets up no translation, and the IOMMU translates.
    #[error(
        "the IOMMU translates the addresses that the NVMe device {pci} uses (its group {group} is of type {kind}), which \
         uio_pci_generic does not arrange for"
    )]
    Translated {
        /// Address.
        pci: PciAddress,
        /// Group.
        group: u32,
        /// Type of the group's domain, as the kernel writes it.
        kind: String,
    },
    /// A driver is not there and cannot be loaded.
    #[error("the driver {driver} cannot be loaded: {reason}")]
    NoDriver {
        /// Driver.
        driver: String,
        /// Why not.
        reason: String,
    },
    /// The system does not know this user.
    #[error("there is no user `{user}`: {reason}")]
    NoUser {
        /// As it was given.
        user: String,
        /// What the system says.
        reason: String,
    },
    /// With this driver no user but root can be served.
    #[error(
        "{driver} gives whoever drives it the whole memory of the machine, so that only root can: there is nothing to give to a user"
    )]
    RootOnly {
        /// Driver.
        driver: &'static str,
    },
    /// A step failed. Everything is as it was, or `left` says how it is.
    #[error("the NVMe device {pci}: {step} failed: {source}; {}", left.as_deref().unwrap_or("everything is as it was"))]
    Step {
        /// Address.
        pci: PciAddress,
        /// Which.
        step: &'static str,
        /// Why.
        source: io::Error,
        /// What could not be put back, if anything.
        left: Option<String>,
    },
    /// There is no such NUMA node.
    #[error("there is no NUMA node {node} with hugepages")]
    NoNode {
        /// Its number.
        node: u32,
    },
    /// This kernel has no pages of 2 MiB.
    #[error("this kernel has no hugepages of 2 MiB")]
    NoHugepages,
    /// There is less memory than that.
    #[error(
        "{wanted} more bytes of hugepages are more than the {available} bytes of memory that are available"
    )]
    TooLittleMemory {
        /// Bytes to allocate.
        wanted: u64,
        /// Bytes available.
        available: u64,
    },
    /// The kernel gave fewer pages than asked for; they are kept.
    #[error("the kernel gave {given} of {wanted} hugepages of 2 MiB, even after making memory contiguous")]
    TooFewPages {
        /// How many there are now.
        given: u64,
        /// How many there should be.
        wanted: u64,
    },
    /// There is no file system of hugepages, and none could be made.
    #[error("hugetlbfs: {reason}")]
    NoFileSystem {
        /// Why not.
        reason: String,
    },
    /// The machine did not do as it was told.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// What to do about it.
    pub fn fix(&self) -> Option<String> {
        Some(match self {
            Error::NotFound { .. } | Error::NotNvme { .. } => {
                "`helios device list` shows the NVMe devices".to_owned()
            }
            Error::InUse { uses, .. } if uses.iter().all(|found| matches!(found, Use::Open { .. })) => {
                "end these processes first; no option overrides this".to_owned()
            }
            Error::InUse { .. } => "take it out of use first; no option overrides this".to_owned(),
            Error::NotEmpty { pci, driver, .. } => {
                let driver = match driver {
                    Driver::VfioPci => String::new(),
                    other => format!(" --driver {}", other.name()),
                };
                format!("if all of it may be lost: `helios device bind {pci}{driver} --force --erase {pci}`")
            }
            Error::NoIommu { pci, turn_on } => format!(
                "{turn_on}; or, without protection and for root alone, `helios device bind {pci} --driver uio_pci_generic`"
            ),
            Error::GroupHeld { pci, others, .. } => {
                let others: Vec<String> = others
                    .iter()
                    .filter(|(_, driver)| driver == super::NVME_DRIVER)
                    .map(|(address, _)| address.to_string())
                    .collect();
                match others.is_empty() {
                    false => format!(
                        "a group is driven as a whole: `helios device bind {pci} {}`",
                        others.join(" ")
                    ),
                    true => "a group is driven as a whole: put the NVMe device into another slot, or unbind the others \
                             if nothing needs them"
                        .to_owned(),
                }
            }
            Error::Translated { pci, .. } => format!(
                "`helios device bind {pci}` uses vfio-pci; or add iommu=pt to the kernel's command line"
            ),
            Error::NoDriver { driver, .. } => {
                format!("install the modules of the running kernel, then try `modprobe {driver}`")
            }
            Error::RootOnly { .. } => "leave --user out, or use vfio-pci".to_owned(),
            Error::NoNode { .. } => "`helios device hugepages` shows the nodes".to_owned(),
            Error::NoHugepages => "use a kernel with CONFIG_HUGETLBFS".to_owned(),
            Error::TooLittleMemory { .. } => "ask for less, or end what uses memory".to_owned(),
            Error::TooFewPages { wanted, .. } => format!(
                "memory is fragmented: try again after ending what uses much of it, or have them from the start with \
                 hugepages={wanted} on the kernel's command line; `helios device hugepages 0` gives back what there is"
            ),
            _ => return None,
        })
    }
}

fn listed(uses: &[Use]) -> String {
    let uses: Vec<String> = uses.iter().map(Use::to_string).collect();
    uses.join("; ")
}

fn held(others: &[(PciAddress, String)]) -> String {
    let others: Vec<String> = others
        .iter()
        .map(|(address, driver)| format!("{address}, which the driver {driver} has"))
        .collect();
    others.join(", and with ")
}
