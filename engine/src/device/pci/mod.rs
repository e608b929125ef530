//! NVMe controllers on PCI, and the machine around them: what is there, who uses it, who drives it.
//!
//! Owns everything that has to be true of a machine before a program can drive a controller from user space: the
//! driver, the IOMMU and its groups, hugepages, rights. Looking needs no rights beyond those of reading `/sys`; what
//! changes the machine ([`bind()`], [`unbind()`], [`allocate`], [`give_hugepages`]) needs root and says so. Works without
//! SPDK: a machine is prepared by root, and served by somebody else.
//!
//! | file | owns |
//! | --- | --- |
//! | `host` | every access to the machine; tests make one up |
//! | `address`, `inventory`, `names` | which controllers there are, and what is known of them |
//! | `usage`, `contents`, `processes` | why a controller must not be taken, or only by someone who means it |
//! | `binding`, `switch`, `iommu`, `users` | drivers, taken and given back |
//! | `hugepages` | memory that devices can reach |
//! | `readiness`, `finding` | what holds and what is missing, with the command that helps |
//!
//! Invariants: nothing is changed before everything was checked; what cannot be found out counts as the worst that it may
//! be; a failure in the middle is undone, or says what is left.
//! Rejected: calling `mount(2)` or loading modules ourselves: the system's own programs know the system's settings, and
//! the engine keeps to what any user may do.

mod address;
mod binding;
mod contents;
mod error;
mod finding;
mod host;
mod hugepages;
mod inventory;
mod iommu;
mod names;
mod processes;
mod readiness;
mod switch;
#[cfg(test)]
mod testing;
mod usage;
mod users;

pub use address::{PciAddress, PciAddressError};
pub use binding::{BindOptions, Bound, Driver, Returned, bind, unbind};
pub use error::Error;
pub use finding::{Finding, Fix, State};
pub use host::Host;
pub use hugepages::{Allocated, FileSystem, Hugepages, Pages, allocate, give_hugepages, hugepages};
pub use inventory::{Controller, Namespace, find, list};
pub use processes::Process;
pub use readiness::check;
#[cfg(feature = "spdk")]
pub(super) use readiness::{is_present, require_controller, require_memory};
pub use usage::{Use, uses};

use serde::Serialize;

/// The kernel's own driver; also the first word of the names of its block devices.
const NVME_DRIVER: &str = "nvme";

/// A controller and why it must not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// What it is.
    #[serde(flatten)]
    pub controller: Controller,
    /// Reasons; none, if it is free.
    pub uses: Vec<Use>,
    /// Whether the processes of all users could be looked at: without, one may use the controller unseen.
    pub all_processes_seen: bool,
}

/// All NVMe controllers with what uses them.
pub fn survey(host: &Host) -> Vec<Listed> {
    let controllers = inventory::list(host);
    let open = match controllers.is_empty() {
        true => processes::OpenDevices::default(),
        false => processes::OpenDevices::look(host),
    };
    let listed = controllers.into_iter().map(|controller| Listed {
        uses: usage::uses_among(host, &controller, &open),
        all_processes_seen: !open.hidden,
        controller,
    });
    listed.collect()
}
