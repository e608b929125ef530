//! Tests on devices that may be overwritten. The tiers and how to run them: README.md.
//!
//! All are ignored unless asked for, name the device before they touch it, and refuse one that the caller has not given
//! up by name:
//!
//! | variable | is |
//! | --- | --- |
//! | `HELIOS_HW_ADDRESS` | the address of the device |
//! | `HELIOS_HW_PCI` | shorter: the PCI address of a device whose namespace 1 is meant |
//! | `HELIOS_HW_ERASE` | either, the same once more: what is on it may go |
//! | `HELIOS_HW_FILE` | a file with the same bytes, where there is one |
//! | `HELIOS_HW_PID` | the process of the target that may be stopped and killed, where there is one |
//! | `HELIOS_HW_STOP`, `HELIOS_HW_GO_ON` | commands that keep a local device from answering, and let it go on |
//! | `HELIOS_HW_PULL`, `HELIOS_HW_PLUG` | commands that pull the device out, and bring it back: `pulled.rs` |
//! | `HELIOS_HW_BAD_READ`, `HELIOS_HW_BAD_WRITE` | a byte in a block that cannot be read, or not be written |
//! | `HELIOS_HW_REFUSED` | the device cannot be used, and an error that has these words says why |
//!
//! More for histories is in `history.rs`.
//!
//! One process has one SPDK: run with `--test-threads=1`.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real devices in real time")]

mod conformance;
mod errors;
mod faults;
mod history;
mod pulled;
mod refusals;
mod store;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use helios_engine::device::{self, Address, Device, OpenOptions};

/// The address of the device under test, which the caller has given up.
fn address() -> Address {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (address, as_given) = match (variable("HELIOS_HW_ADDRESS"), variable("HELIOS_HW_PCI")) {
        (Some(address), None) => (address.clone(), address),
        (None, Some(pci)) => (format!("nvme:{pci}/1"), pci),
        _ => panic!("one of HELIOS_HW_ADDRESS and HELIOS_HW_PCI names the device"),
    };
    let given_up = variable("HELIOS_HW_ERASE").unwrap_or_default();
    assert_eq!(
        given_up, as_given,
        "HELIOS_HW_ERASE must be the same again: everything on {address} is overwritten"
    );
    println!("overwriting {address}");
    address.parse().expect("an address")
}

fn open(command_timeout: Duration) -> Arc<dyn Device> {
    device::open(&address(), &options(command_timeout)).expect("open")
}

fn options(command_timeout: Duration) -> OpenOptions {
    OpenOptions {
        command_timeout,
        ..OpenOptions::default()
    }
}

/// The namespace `namespace`, and maybe another port or subsystem, of the controller under test; `None` for a file.
fn elsewhere(port: Option<u16>, nqn: Option<&str>, namespace: u32) -> Option<Address> {
    match address() {
        Address::NvmeTcp {
            host,
            port: own,
            nqn: known,
            ..
        } => Some(Address::NvmeTcp {
            host,
            port: port.unwrap_or(own),
            nqn: nqn.map_or(known, str::to_owned),
            namespace,
        }),
        Address::Nvme { pci, .. } => Some(Address::Nvme { pci, namespace }),
        _ => None,
    }
}
