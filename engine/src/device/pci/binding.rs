//! Taking controllers from the kernel for user space, and giving them back.
//!
//! Owns what is checked before, and what happens after a failure; the steps themselves are [`switch`](super::switch)'s.
//! Invariants:
//! - Everything is checked, for all devices of a call, before anything is changed.
//! - The kernel takes its driver away from under mounted file systems without a question, so every namespace is claimed
//!   (opened exclusively) before the last look at it, and held until the driver is gone.
//! - After a failure all devices of the call are with the driver they had, or the error says what they are with, and which
//!   command undoes it.

use std::fs::File;
use std::io::{self, ErrorKind};

use serde::Serialize;

use super::error::Error;
use super::host::{Host, named};
use super::inventory::{self, Controller, attribute};
use super::processes::{OpenDevices, Process};
use super::switch::{Failed, Switch, load};
use super::usage::{self, Use};
use super::{NVME_DRIVER, PciAddress, iommu};

/// A driver that hands a device to user space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Driver {
    /// Behind an IOMMU: the device reaches the memory it was given and no other, and any user may be allowed to drive it.
    #[default]
    VfioPci,
    /// Without: for machines that have no IOMMU. Root only.
    UioPciGeneric,
}

impl Driver {
    /// As the kernel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Driver::VfioPci => "vfio-pci",
            Driver::UioPciGeneric => "uio_pci_generic",
        }
    }
}

/// How devices are taken.
#[derive(Debug, Clone, Default)]
pub struct BindOptions {
    /// For this driver.
    pub driver: Driver,
    /// Also those of the devices that hold somebody's data.
    pub erase: Vec<PciAddress>,
    /// Whoever is to drive them.
    pub user: Option<String>,
}

/// A device that user space may drive now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// Address.
    pub address: PciAddress,
    /// Its driver.
    pub driver: String,
    /// The driver it had before; the same, if nothing had to be done.
    pub driver_before: Option<String>,
    /// What a program opens to drive it.
    pub file: Option<String>,
    /// The user the file was given to.
    pub user: Option<String>,
    /// What was on it and has been given up.
    pub given_up: Vec<Use>,
}

/// A device that the kernel drives again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Returned {
    /// Address.
    pub address: PciAddress,
    /// Its driver.
    pub driver: String,
    /// The driver it had before; the same, if nothing had to be done.
    pub driver_before: Option<String>,
    /// The block devices it has now. They may still appear later.
    pub namespaces: Vec<String>,
}

/// Takes devices from the kernel.
pub fn bind(host: &Host, devices: &[PciAddress], options: &BindOptions) -> Result<Vec<Bound>, Error> {
    let controllers = find_all(host, devices)?;
    require_root(host, "take devices from the kernel")?;
    let driver = options.driver;
    if driver == Driver::UioPciGeneric && options.user.is_some() {
        return Err(Error::RootOnly {
            driver: driver.name(),
        });
    }
    let user = match &options.user {
        Some(user) => Some(super::users::number(host, user)?),
        None => None,
    };
    let mut taken = Vec::new();
    for controller in &controllers {
        check_iommu(host, controller, driver, &controllers)?;
        if controller.driver.as_deref() != Some(driver.name()) {
            taken.push(Taken::claim(host, controller, options)?);
        }
    }
    load(host, driver.name())?;
    let mut switched: Vec<Switch> = Vec::new();
    let mut given_up = Vec::new();
    for taken in taken {
        given_up.push((taken.address, taken.given_up));
        let switch = Switch::of(host, taken.address);
        let failed = switch.to(host, driver.name(), Some(driver.name())).err();
        switched.push(switch);
        // The namespaces are gone now, or the step has failed.
        drop(taken.claims);
        if let Some(failed) = failed {
            return Err(failed.undone(host, &switched));
        }
    }
    let mut bound = Vec::new();
    for controller in &controllers {
        let file = match driver {
            Driver::VfioPci => {
                let opened = give(host, controller.address, user);
                Some(opened.map_err(|failed| failed.undone(host, &switched))?)
            }
            Driver::UioPciGeneric => host
                .names(attribute(controller.address, "uio"))
                .first()
                .map(|name| format!("/dev/{name}")),
        };
        let given_up = given_up
            .iter_mut()
            .find(|(address, _)| *address == controller.address);
        bound.push(Bound {
            address: controller.address,
            driver: driver.name().to_owned(),
            driver_before: controller.driver.clone(),
            file,
            user: options.user.clone(),
            given_up: given_up.map(|(_, uses)| std::mem::take(uses)).unwrap_or_default(),
        });
    }
    Ok(bound)
}

/// Gives devices back to the kernel's own driver.
pub fn unbind(host: &Host, devices: &[PciAddress]) -> Result<Vec<Returned>, Error> {
    let controllers = find_all(host, devices)?;
    require_root(host, "give devices back to the kernel")?;
    let moving: Vec<&Controller> = controllers
        .iter()
        .filter(|controller| controller.driver.as_deref() != Some(NVME_DRIVER))
        .collect();
    for controller in &moving {
        // The kernel would wait, without an end, until whoever drives it lets go.
        let users = users(host, controller);
        if !users.is_empty() {
            return Err(Error::InUse {
                pci: controller.address,
                uses: users,
            });
        }
    }
    load(host, NVME_DRIVER)?;
    let mut switched: Vec<Switch> = Vec::new();
    for controller in &moving {
        let switch = Switch::of(host, controller.address);
        let failed = switch.to(host, NVME_DRIVER, None).err();
        switched.push(switch);
        if let Some(failed) = failed {
            return Err(failed.undone(host, &switched));
        }
    }
    let returned = controllers.iter().map(|controller| {
        // Namespaces are looked for after the driver is bound; a controller may also have none.
        let namespaces = host.wait_shortly_for(|| {
            let now = inventory::find(host, controller.address).ok()?;
            (!now.namespaces.is_empty()).then_some(now.namespaces)
        });
        let names = namespaces.into_iter().flatten().map(|namespace| namespace.name);
        Returned {
            address: controller.address,
            driver: NVME_DRIVER.to_owned(),
            driver_before: controller.driver.clone(),
            namespaces: names.collect(),
        }
    });
    Ok(returned.collect())
}

fn find_all(host: &Host, devices: &[PciAddress]) -> Result<Vec<Controller>, Error> {
    let mut devices = devices.to_vec();
    devices.sort_unstable();
    devices.dedup();
    devices
        .into_iter()
        .map(|address| inventory::find(host, address))
        .collect()
}

pub(super) fn require_root(host: &Host, what: &'static str) -> Result<(), Error> {
    if host.is_root() {
        Ok(())
    } else {
        Err(Error::NotRoot { what })
    }
}

/// Whether the IOMMU lets this driver have the device.
fn check_iommu(
    host: &Host,
    controller: &Controller,
    driver: Driver,
    all: &[Controller],
) -> Result<(), Error> {
    let pci = controller.address;
    match (driver, controller.iommu_group) {
        (Driver::VfioPci, Some(group)) => {
            let ours: Vec<PciAddress> = all.iter().map(|controller| controller.address).collect();
            let others = iommu::kept(host, group, &ours);
            if others.is_empty() {
                return Ok(());
            }
            Err(Error::GroupHeld { pci, group, others })
        }
        (Driver::VfioPci, None) if iommu::may_be_missing(host) => Ok(()),
        (Driver::VfioPci, None) => Err(Error::NoIommu {
            pci,
            turn_on: iommu::turn_on(host),
        }),
        (Driver::UioPciGeneric, group) => {
            let translation = group.and_then(|group| Some((group, iommu::translation(host, group)?)));
            match translation {
                None => Ok(()),
                Some((group, kind)) => Err(Error::Translated { pci, group, kind }),
            }
        }
    }
}

/// A device that nobody else can begin to use any more.
struct Taken {
    address: PciAddress,
    /// Keep everybody away from its namespaces.
    claims: Vec<File>,
    given_up: Vec<Use>,
}

impl Taken {
    fn claim(host: &Host, controller: &Controller, options: &BindOptions) -> Result<Taken, Error> {
        let pci = controller.address;
        let in_use = |uses| Err(Error::InUse { pci, uses });
        let mut uses = lasting_uses(host, controller);
        if uses.is_empty() && controller.driver.as_deref() != Some(NVME_DRIVER) {
            uses = users(host, controller);
        }
        let (uses, mut given_up): (Vec<Use>, Vec<Use>) = uses.into_iter().partition(Use::is_final);
        if !uses.is_empty() {
            return in_use(uses);
        }
        let mut claims = Vec::new();
        for namespace in &controller.namespaces {
            let device = &namespace.name;
            let number = host
                .text(format!("/sys/class/block/{device}/dev"))
                .unwrap_or_default();
            let claim = host
                .system()
                .open_block(&host.path(format!("/dev/{device}")), &number, true);
            match claim {
                Ok(claim) => claims.push(claim),
                Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                    return in_use(vec![Use::Claimed {
                        device: device.clone(),
                    }]);
                }
                // What cannot be opened cannot be looked at either, which the contents say.
                Err(_) => {}
            }
            given_up.extend(usage::foreign_uses(host, namespace));
        }
        given_up.retain(Use::is_foreign);
        if !given_up.is_empty() && !options.erase.contains(&pci) {
            return Err(Error::NotEmpty {
                pci,
                uses: given_up,
                driver: options.driver,
            });
        }
        Ok(Taken {
            address: pci,
            claims,
            given_up,
        })
    }
}

/// What uses a controller, and goes on to: the device manager opens every new block device for a moment.
fn lasting_uses(host: &Host, controller: &Controller) -> Vec<Use> {
    let look = || usage::final_uses(host, controller, &OpenDevices::look(host));
    let mut uses = look();
    host.wait_shortly_for(|| {
        let passing = !uses.is_empty() && uses.iter().all(|found| matches!(found, Use::Open { .. }));
        if passing {
            uses = look();
        }
        (!passing || uses.is_empty()).then_some(())
    });
    uses
}

/// Who drives a device from user space.
fn users(host: &Host, controller: &Controller) -> Vec<Use> {
    let files = usage::user_space_files(host, controller);
    let open = OpenDevices::look(host);
    let mut processes = open.users(&files);
    if processes.is_empty() {
        // Somebody in another process name space, which `/proc` does not show.
        let busy = files.iter().filter(|file| host.exists(file)).any(|file| {
            let opened = host.system().try_open(&host.path(file));
            opened.is_err_and(|error| error.kind() == ErrorKind::ResourceBusy)
        });
        if busy {
            processes.push(Process {
                pid: 0,
                name: "out of sight, perhaps in a container".to_owned(),
            });
        }
    }
    match processes.is_empty() {
        true => Vec::new(),
        false => vec![Use::Open { processes }],
    }
}

/// Waits for the file of a device's group and gives it to a user.
fn give(host: &Host, address: PciAddress, user: Option<u32>) -> Result<String, Failed> {
    let failed = |source| Failed {
        pci: address,
        step: "giving its group to a user",
        source,
    };
    let file = host.wait_for(|| {
        // Without an IOMMU the driver makes the group.
        let group = inventory::iommu_group(host, address)?;
        usage::group_files(group)
            .into_iter()
            .find(|file| host.exists(file))
    });
    let Some(file) = file else {
        let error = io::Error::new(ErrorKind::NotFound, "no file for it appeared in /dev/vfio");
        return Err(failed(error));
    };
    if let Some(user) = user {
        if file.contains("noiommu") {
            let error = io::Error::new(ErrorKind::Unsupported, "without an IOMMU only root can drive it");
            return Err(failed(error));
        }
        let given = host.system().give(&host.path(&file), user);
        given.map_err(|error| failed(named("change the owner of", file.as_ref(), &error)))?;
    }
    Ok(file)
}

#[cfg(test)]
#[path = "binding_tests.rs"]
mod tests;
