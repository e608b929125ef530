//! The steps by which a device changes its driver, and the steps back.
//!
//! Owns writing to `/sys` for that. Invariant: a [`Switch`] knows what was there before anything was written, and can put it
//! back from wherever the change ended.
//! Rejected: `new_id`, which hands every device of the same kind to the driver, the disk of the system too; and writing to
//! the driver's `bind`, which leaves the next rescan to decide anew. `driver_override` names one device and stays.

use std::io::{self, ErrorKind};

use super::error::Error;
use super::host::Host;
use super::inventory::{self, attribute};
use super::{NVME_DRIVER, PciAddress};

/// Sees to it that the kernel knows a driver.
pub(super) fn load(host: &Host, driver: &str) -> Result<(), Error> {
    let known = || host.exists(format!("/sys/bus/pci/drivers/{driver}"));
    if known() {
        return Ok(());
    }
    let failed = |reason: String| Error::NoDriver {
        driver: driver.to_owned(),
        reason,
    };
    let ran = host
        .system()
        .run("modprobe", &[driver.as_ref()])
        .map_err(|error| failed(format!("modprobe cannot be run: {error}")))?;
    if ran.code != Some(0) {
        return Err(failed(ran.complaint));
    }
    host.wait_for(|| known().then_some(()))
        .ok_or_else(|| failed("modprobe was content, but the driver did not appear".to_owned()))
}

/// A step that failed.
pub(super) struct Failed {
    pub pci: PciAddress,
    pub step: &'static str,
    pub source: io::Error,
}

impl Failed {
    /// Puts everything back, the last first.
    pub fn undone(self, host: &Host, switched: &[Switch]) -> Error {
        let left: Vec<String> = switched
            .iter()
            .rev()
            .filter_map(|switch| switch.back(host))
            .collect();
        Error::Step {
            pci: self.pci,
            step: self.step,
            source: self.source,
            left: (!left.is_empty()).then(|| left.join("; ")),
        }
    }
}

/// The change of one device's driver: what was there before.
pub(super) struct Switch {
    address: PciAddress,
    driver: Option<String>,
    choice: Option<String>,
}

impl Switch {
    pub fn of(host: &Host, address: PciAddress) -> Switch {
        Switch {
            address,
            driver: inventory::driver(host, address),
            choice: host
                .text(attribute(address, "driver_override"))
                .filter(|choice| choice != "(null)"),
        }
    }

    /// Binds `driver`, after making `choice` the only one that fits, or any.
    pub fn to(&self, host: &Host, driver: &str, choice: Option<&str>) -> Result<(), Failed> {
        let failed = |step| {
            move |source| Failed {
                pci: self.address,
                step,
                source,
            }
        };
        // Chosen first, so that nothing else binds in between.
        self.choose(host, choice).map_err(failed("choosing its driver"))?;
        if let Some(driver) = inventory::driver(host, self.address) {
            self.release(host, &driver)
                .map_err(failed("taking it from its driver"))?;
        }
        self.probe(host, driver).map_err(failed("binding its driver"))
    }

    /// Puts back what was there. What is left, if that fails, and what undoes it.
    fn back(&self, host: &Host) -> Option<String> {
        let put_back = || -> io::Result<()> {
            self.choose(host, self.choice.as_deref())?;
            let now = inventory::driver(host, self.address);
            if now == self.driver {
                return Ok(());
            }
            if let Some(now) = now {
                self.release(host, &now)?;
            }
            match &self.driver {
                Some(driver) => self.probe(host, driver),
                None => Ok(()),
            }
        };
        let error = put_back().err()?;
        let address = self.address;
        let now = match inventory::driver(host, address) {
            Some(driver) => format!("with the driver {driver}"),
            None => "without a driver".to_owned(),
        };
        let undo = match self.driver.as_deref() {
            Some(driver) if driver != NVME_DRIVER => {
                format!("helios device bind {address} --driver {driver}")
            }
            _ => format!("helios device unbind {address}"),
        };
        Some(format!(
            "{address} is left {now} ({error}); as root, `{undo}` puts it back"
        ))
    }

    fn choose(&self, host: &Host, driver: Option<&str>) -> io::Result<()> {
        // An empty line is no choice.
        let line = format!("{}\n", driver.unwrap_or_default());
        host.write(attribute(self.address, "driver_override"), &line)
    }

    fn release(&self, host: &Host, driver: &str) -> io::Result<()> {
        host.write(
            format!("/sys/bus/pci/drivers/{driver}/unbind"),
            &self.address.to_string(),
        )
    }

    fn probe(&self, host: &Host, driver: &str) -> io::Result<()> {
        host.write("/sys/bus/pci/drivers_probe", &self.address.to_string())?;
        host.wait_for(|| (inventory::driver(host, self.address).as_deref() == Some(driver)).then_some(()))
            .ok_or_else(|| {
                let now = inventory::driver(host, self.address);
                let now = now.as_deref().unwrap_or("none");
                io::Error::new(
                    ErrorKind::TimedOut,
                    format!("its driver is {now} and not {driver}; `dmesg` may say why"),
                )
            })
    }
}
