//! Whether a controller can be driven from user space: what holds, what is missing, and the command that helps.
//!
//! Owns the list of conditions; changes nothing. Invariant: each condition is looked at here and nowhere else: the command
//! that lists them all and the adapter that is about to need them ([`require_controller`], [`require_memory`]) ask the
//! same functions.

use std::io::{self, ErrorKind};

use super::error::Error;
use super::finding::{Finding, advice, as_root};
use super::host::Host;
use super::hugepages::{Hugepages, hugepages};
use super::inventory::{self, Controller};
use super::processes::{OpenDevices, Process, is_ours};
use super::usage::{self, Use};
use super::{NVME_DRIVER, PciAddress, iommu};

/// Before there are hugepages: what a process must be able to lock for the queues of a device alone, in bytes.
const LOCKED_BYTES_MIN: u64 = 64 << 20;
/// The capability to lock any amount of memory, as a bit (capabilities(7), CAP_IPC_LOCK).
const CAPABILITY_LOCK: u64 = 1 << 14;
/// What the fix of missing hugepages asks for.
const HUGEPAGES: &str = "helios device hugepages 1GiB";

/// Everything that must hold for a device to be served from user space by the user of this process; without one, for
/// every device that is bound to a driver for that.
pub fn check(host: &Host, device: Option<PciAddress>) -> Result<Vec<Finding>, Error> {
    let controllers = match device {
        Some(address) => vec![inventory::find(host, address)?],
        None => {
            let mut all = inventory::list(host);
            all.retain(|controller| Hold::of(controller).is_some());
            all
        }
    };
    // With all devices outside the IOMMU, nothing of vfio is needed.
    let protected = controllers.is_empty()
        || controllers
            .iter()
            .any(|controller| Hold::of(controller) != Some(Hold::Uio));
    let node = device.and_then(|_| controllers.first()?.numa_node);
    let pages = hugepages(host);
    let mut findings = vec![pages_finding(&pages, node), file_system(host, &pages)];
    if protected {
        findings.push(units(host));
        findings.push(module(host));
        findings.push(lockable(host, &pages));
    }
    for controller in &controllers {
        let found = of_controller(host, controller);
        findings.extend(found.into_iter().map(|finding| finding.of(controller.address)));
    }
    Ok(findings)
}

/// An error, if the device cannot be driven by this process.
#[cfg_attr(
    not(feature = "spdk"),
    allow(dead_code, reason = "asked by the adapter that drives devices")
)]
pub(in crate::device) fn require_controller(host: &Host, device: PciAddress) -> io::Result<()> {
    let controller = inventory::find(host, device).map_err(|error| {
        let kind = match error {
            Error::NotFound { .. } => ErrorKind::NotFound,
            _ => ErrorKind::InvalidInput,
        };
        let fix = error.fix().map(|fix| format!("; {fix}")).unwrap_or_default();
        io::Error::new(kind, format!("{error}{fix}"))
    })?;
    of_controller(host, &controller)
        .into_iter()
        .try_for_each(Finding::demand)
}

/// An error, if there are no hugepages, or this process may not lock them.
#[cfg_attr(
    not(feature = "spdk"),
    allow(dead_code, reason = "asked by the adapter that drives devices")
)]
pub(in crate::device) fn require_memory(host: &Host) -> io::Result<()> {
    let pages = hugepages(host);
    // All in use may mean the files of a killed process, which DPDK removes before it takes any.
    if pages.pages.iter().all(|pages| pages.total == 0) {
        pages_finding(&pages, None).demand()?;
    }
    lockable(host, &pages).demand()
}

/// Whether the device is there at all.
#[cfg_attr(
    not(feature = "spdk"),
    allow(dead_code, reason = "asked by the adapter that drives devices")
)]
pub(in crate::device) fn is_present(host: &Host, device: PciAddress) -> bool {
    host.exists(inventory::attribute(device, ""))
}

/// The drivers that hand a device to user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Vfio,
    Uio,
}

impl Hold {
    fn of(controller: &Controller) -> Option<Hold> {
        match controller.driver.as_deref()? {
            "vfio-pci" => Some(Hold::Vfio),
            "uio_pci_generic" | "igb_uio" => Some(Hold::Uio),
            _ => None,
        }
    }
}

fn pages_finding(found: &Hugepages, node: Option<u32>) -> Finding {
    const NAME: &str = "hugepages";
    let total: u64 = found.pages.iter().map(|pages| pages.total).sum();
    let available: u64 = found.pages.iter().map(|pages| pages.available()).sum();
    if total == 0 {
        let what = "there are no hugepages, which devices need";
        return Finding::missing(NAME, ErrorKind::OutOfMemory, what, as_root(HUGEPAGES));
    }
    if available == 0 {
        let bytes: u64 = found
            .pages
            .iter()
            .map(|pages| pages.total * pages.page_bytes)
            .sum();
        let more = bytes.div_ceil(1 << 30) + 1;
        let what = format!("all {total} hugepages are in use");
        let fix = as_root(format!("helios device hugepages {more}GiB"));
        return Finding::missing(NAME, ErrorKind::OutOfMemory, what, fix);
    }
    let close = |pages: &&super::Pages| Some(pages.node) == Some(node);
    if node.is_some() && found.nodes.iter().any(|pages| close(&pages)) {
        let free: u64 = found.nodes.iter().filter(close).map(|pages| pages.free).sum();
        if free == 0 {
            let node = node.unwrap_or_default();
            return Finding::warning(
                NAME,
                format!("{available} of {total} are free, but none on node {node}, where the device is"),
                as_root(format!("{HUGEPAGES} --node {node}")),
            );
        }
    }
    Finding::ok(NAME, format!("{available} of {total} are free"))
}

fn file_system(host: &Host, found: &Hugepages) -> Finding {
    const NAME: &str = "hugetlbfs";
    // Sizes of which there are pages; before there are any, those that the fix allocates.
    let usable = |size: u64| {
        let mut pages = found.pages.iter();
        pages.any(|pages| pages.page_bytes == size && pages.total > 0)
            || found.pages.iter().all(|pages| pages.total == 0)
    };
    let file_systems: Vec<_> = found
        .file_systems
        .iter()
        .filter(|found| usable(found.page_bytes))
        .collect();
    let user = host.system().user();
    match file_systems.iter().find(|found| found.writable) {
        Some(found) => Finding::ok(NAME, format!("mounted at {}", found.path)),
        None if file_systems.is_empty() => Finding::missing(
            NAME,
            ErrorKind::NotFound,
            "no hugetlbfs is mounted for the pages there are",
            as_root(match user {
                0 => HUGEPAGES.to_owned(),
                user => format!("{HUGEPAGES} --user {user}"),
            }),
        ),
        None => Finding::missing(
            NAME,
            ErrorKind::PermissionDenied,
            format!("this user may not write to {}", file_systems[0].path),
            as_root(format!("helios device hugepages --user {user}")),
        ),
    }
}

fn units(host: &Host) -> Finding {
    const NAME: &str = "iommu";
    let units = iommu::units(host);
    if !units.is_empty() {
        return Finding::ok(NAME, format!("on ({})", units.join(", ")));
    }
    let fix = advice(iommu::turn_on(host));
    if iommu::may_be_missing(host) {
        let what = "off, and vfio goes without: a device can write anywhere, and only root can drive it";
        return Finding::warning(NAME, what, fix);
    }
    Finding::missing(
        NAME,
        ErrorKind::Unsupported,
        "off, without which vfio-pci does not work",
        fix,
    )
}

fn module(host: &Host) -> Finding {
    const NAME: &str = "module";
    if host.exists("/sys/bus/pci/drivers/vfio-pci") {
        return Finding::ok(NAME, "vfio-pci is loaded");
    }
    let fix = as_root("modprobe vfio-pci");
    Finding::missing(NAME, ErrorKind::NotFound, "vfio-pci is not loaded", fix)
}

/// Memory that devices reach stays where it is, and counts as locked by the process that gives it to them: all hugepages,
/// since any may be used. Where one cannot be locked DPDK goes on without: what a device writes there is lost, and nobody
/// is told.
fn lockable(host: &Host, found: &Hugepages) -> Finding {
    const NAME: &str = "memlock";
    let Some(limit) = host.system().lockable_bytes() else {
        return Finding::ok(NAME, "no limit");
    };
    if may_lock_anything(host) {
        return Finding::ok(NAME, "no limit for this user");
    }
    let pages: u64 = found
        .pages
        .iter()
        .map(|pages| pages.total * pages.page_bytes)
        .sum();
    let needed = pages.max(LOCKED_BYTES_MIN);
    let what = format!(
        "this user may lock {} KiB of memory, and devices need {} KiB locked",
        limit / 1024,
        needed / 1024
    );
    let fix = advice(
        "as root: `prlimit --memlock=unlimited --pid PID` of the shell that starts helios; for good, a line `USER - memlock unlimited` \
         in /etc/security/limits.conf, or LimitMEMLOCK=infinity in the service",
    );
    if limit < needed {
        return Finding::missing(NAME, ErrorKind::PermissionDenied, what, fix);
    }
    Finding::ok(NAME, what)
}

fn may_lock_anything(host: &Host) -> bool {
    let status = host.list("/proc/self/status").unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    capabilities.is_some_and(|capabilities| capabilities & CAPABILITY_LOCK != 0)
}

/// The conditions of one device, the first that has to be met first.
fn of_controller(host: &Host, controller: &Controller) -> Vec<Finding> {
    const NAME: &str = "driver";
    let pci = controller.address;
    let bind = || as_root(format!("helios device bind {pci}"));
    let missing = |kind, what: String| Finding::missing(NAME, kind, what, bind());
    match (controller.driver.as_deref(), Hold::of(controller)) {
        (Some(driver), Some(hold)) => {
            let mut findings = vec![Finding::ok(NAME, driver)];
            match hold {
                Hold::Vfio => findings.extend(of_group(host, controller)),
                Hold::Uio => findings.push(of_uio(host, controller)),
            }
            findings
        }
        (Some(NVME_DRIVER), None) => {
            let what = format!("the kernel has the NVMe device {pci} (its driver is {NVME_DRIVER})");
            vec![
                missing(ErrorKind::ResourceBusy, what),
                of_kernel(host, controller),
            ]
        }
        (Some(other), None) => {
            let what =
                format!("the NVMe device {pci} is bound to {other}, which is no driver for user space");
            vec![missing(ErrorKind::ResourceBusy, what)]
        }
        (None, None | Some(_)) => {
            let what = format!("the NVMe device {pci} has no driver");
            vec![missing(ErrorKind::NotConnected, what)]
        }
    }
}

/// What has to end before the kernel gives it up.
fn of_kernel(host: &Host, controller: &Controller) -> Finding {
    const NAME: &str = "use";
    let uses = usage::uses(host, controller);
    let listed = |uses: &[&Use]| {
        let uses: Vec<String> = uses.iter().map(|found| found.to_string()).collect();
        uses.join("; ")
    };
    let in_use: Vec<&Use> = uses.iter().filter(|found| found.is_final()).collect();
    if !in_use.is_empty() {
        let fix = advice("take it out of use first; `helios device bind` refuses until then");
        return Finding::missing(NAME, ErrorKind::ResourceBusy, listed(&in_use), fix);
    }
    let foreign: Vec<&Use> = uses.iter().filter(|found| found.is_foreign()).collect();
    if !foreign.is_empty() {
        let pci = controller.address;
        let unknown = foreign.iter().all(|found| matches!(found, Use::Unknown { .. }));
        let fix = match unknown && !host.is_root() {
            true => as_root(format!("helios device check {pci}")),
            false => advice(format!(
                "if all of it may be lost, as root: `helios device bind {pci} --force --erase {pci}`"
            )),
        };
        return Finding::warning(NAME, listed(&foreign), fix);
    }
    Finding::ok(NAME, "nothing uses it")
}

/// A device behind the IOMMU: its group must be whole, and the user's.
fn of_group(host: &Host, controller: &Controller) -> Vec<Finding> {
    const NAME: &str = "group";
    let pci = controller.address;
    let Some(group) = controller.iommu_group else {
        let what = format!("the NVMe device {pci} is in no IOMMU group: the IOMMU is off");
        let fix = advice(format!(
            "{}; or bind the device to uio_pci_generic (`helios device bind {pci} --driver uio_pci_generic`) and run as root",
            iommu::turn_on(host)
        ));
        return vec![Finding::missing(NAME, ErrorKind::Unsupported, what, fix)];
    };
    let kept = iommu::kept(host, group, &[pci]);
    if !kept.is_empty() {
        let error = Error::GroupHeld {
            pci,
            group,
            others: kept,
        };
        let fix = advice(error.fix().unwrap_or_default());
        return vec![Finding::missing(
            NAME,
            ErrorKind::ResourceBusy,
            error.to_string(),
            fix,
        )];
    }
    let files = usage::group_files(group);
    let Some(file) = files.iter().find(|file| host.exists(file)) else {
        let what = format!("{} is missing, though {pci} is bound to vfio-pci", files[0]);
        let fix = as_root(format!("helios device unbind {pci} && helios device bind {pci}"));
        return vec![Finding::missing(NAME, ErrorKind::NotFound, what, fix)];
    };
    vec![
        Finding::ok(NAME, format!("{group}")),
        access(host, controller, file),
    ]
}

/// Whether this user can open the file of a group, which one process can at a time.
fn access(host: &Host, controller: &Controller, file: &str) -> Finding {
    const NAME: &str = "access";
    let pci = controller.address;
    let error = match host.system().try_open(&host.path(file)) {
        Ok(()) => return Finding::ok(NAME, format!("{file} can be opened")),
        Err(error) => error,
    };
    let what = format!("cannot open {file} of the NVMe device {pci}: {error}");
    match error.kind() {
        // Two devices of a group, or the same one twice, in one process.
        ErrorKind::ResourceBusy if is_ours(host, file) => Finding::ok(NAME, format!("{file} is open here")),
        ErrorKind::ResourceBusy => in_use(&what, &others_of(host, controller)),
        kind @ ErrorKind::PermissionDenied if file.contains("noiommu") => Finding::missing(
            NAME,
            kind,
            what,
            advice("without an IOMMU only root can drive it"),
        ),
        kind @ ErrorKind::PermissionDenied => {
            let user = host.system().user();
            Finding::missing(
                NAME,
                kind,
                what,
                as_root(format!("helios device bind {pci} --user {user}")),
            )
        }
        kind => Finding::missing(NAME, kind, what, advice("`dmesg` may say why")),
    }
}

/// A device without protection: root's, and one process's.
fn of_uio(host: &Host, controller: &Controller) -> Finding {
    const NAME: &str = "access";
    let pci = controller.address;
    if !host.is_root() {
        let what = format!("the NVMe device {pci} is bound to a driver that only root can use");
        let fix = as_root(format!(
            "helios device bind {pci} --user {}",
            host.system().user()
        ));
        return Finding::missing(NAME, ErrorKind::PermissionDenied, what, fix);
    }
    let others = others_of(host, controller);
    if !others.is_empty() {
        return in_use(&format!("the NVMe device {pci} is in use"), &others);
    }
    let what = "root can drive it; it is not confined, and can write anywhere";
    Finding::warning(
        NAME,
        what,
        advice("vfio-pci confines it, where there is an IOMMU"),
    )
}

fn in_use(what: &str, others: &[Process]) -> Finding {
    let processes = others.to_vec();
    let what = match processes.is_empty() {
        true => what.to_owned(),
        false => format!("{what}; {}", Use::Open { processes }),
    };
    let fix = advice("end the process that has it; `fuser` run as root names all");
    Finding::missing("use", ErrorKind::ResourceBusy, what, fix)
}

/// Other processes that drive a device.
fn others_of(host: &Host, controller: &Controller) -> Vec<Process> {
    let files = usage::user_space_files(host, controller);
    let mut users = OpenDevices::look(host).users(&files);
    users.retain(|user| user.pid != std::process::id());
    users
}

#[cfg(test)]
#[path = "readiness_tests.rs"]
mod tests;
