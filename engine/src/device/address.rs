//! Device addresses as people write them.
//!
//! | form | what |
//! | --- | --- |
//! | `file:PATH`, or a path by itself | a regular file or a block device |
//! | `nvme:0000:5e:00.0/1` | namespace 1 of a PCIe device driven by SPDK |
//! | `nvme+tcp://host:port/NQN/1` | namespace 1 of a subsystem reached over fabrics |
//! | `sim:SEED` | a simulated device |
//!
//! A word before the first `:` (and before any `/`) is a scheme, so that a typing error in one is an error and
//! not a new file; a path that looks like that is written `file:PATH` or `./PATH`. Paths are taken byte for
//! byte: nothing is unescaped.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::pci::PciAddress;

/// Longest NVMe qualified name, in bytes (NVMe base specification 2.0, section 4.5).
const NQN_BYTES_MAX: usize = 223;

/// Where a device is. `Display` gives the form that parses to the same address (for paths that are UTF-8).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A regular file or block device.
    Path(PathBuf),
    /// A simulated device.
    Sim {
        /// Everything it does follows from this.
        seed: u64,
    },
    /// A local NVMe namespace driven by SPDK.
    Nvme {
        /// Where its controller is.
        pci: PciAddress,
        /// Namespace id, from 1.
        namespace: u32,
    },
    /// An NVMe namespace reached over TCP.
    NvmeTcp {
        /// Host name or address; IPv6 without brackets.
        host: String,
        /// TCP port.
        port: u16,
        /// Subsystem name: `nqn.…`.
        nqn: String,
        /// Namespace id, from 1.
        namespace: u32,
    },
}

/// An address that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("address `{address}`: {reason}")]
pub struct AddressError {
    /// What was given.
    pub address: String,
    /// What is wrong with it and what would be right.
    pub reason: String,
}

impl Address {
    /// The path of a file or block device.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Address::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Parses an address that may hold a path that is not UTF-8, such as a command-line argument.
    pub fn parse(address: &OsStr) -> Result<Address, AddressError> {
        parse(address.as_bytes()).map_err(|reason| AddressError {
            address: address.to_string_lossy().into_owned(),
            reason,
        })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(address: &str) -> Result<Address, AddressError> {
        Address::parse(OsStr::new(address))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Path(path) => {
                let scheme = if scheme(path.as_os_str().as_bytes()).is_some() {
                    "file:"
                } else {
                    ""
                };
                write!(f, "{scheme}{}", path.display())
            }
            Address::Sim { seed } => write!(f, "sim:{seed}"),
            Address::Nvme { pci, namespace } => write!(f, "nvme:{pci}/{namespace}"),
            Address::NvmeTcp {
                host,
                port,
                nqn,
                namespace,
            } => {
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "nvme+tcp://{open}{host}{close}:{port}/{nqn}/{namespace}")
            }
        }
    }
}

/// Splits `scheme:rest`, if the address starts like that.
fn scheme(address: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = address.iter().position(|byte| *byte == b':')?;
    let (word, rest) = (&address[..colon], &address[colon + 1..]);
    let is_word = word.first().is_some_and(u8::is_ascii_alphabetic)
        && word
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    is_word.then_some((word, rest))
}

fn parse(address: &[u8]) -> Result<Address, String> {
    let Some((word, rest)) = scheme(address) else {
        return path(address);
    };
    let text = || std::str::from_utf8(rest).map_err(|_| "it is not UTF-8".to_owned());
    match word {
        b"file" => path(match rest.strip_prefix(b"//") {
            None => rest,
            Some(rest) if rest.starts_with(b"/") => rest,
            Some(_) => return Err("file: takes a path and no host; write file:PATH or file:///PATH".into()),
        }),
        b"sim" => sim(text()?),
        b"nvme" => nvme(text()?),
        b"nvme+tcp" => nvme_tcp(text()?),
        _ => {
            let word = String::from_utf8_lossy(word);
            Err(format!(
                "there is no `{word}:`; known are file:, nvme:, nvme+tcp: and sim:, and a path of that name is \
                 written file:PATH or ./PATH"
            ))
        }
    }
}

fn path(path: &[u8]) -> Result<Address, String> {
    if path.is_empty() {
        return Err("the path is empty".into());
    }
    if path.contains(&0) {
        return Err("the path contains a zero byte".into());
    }
    Ok(Address::Path(Path::new(OsStr::from_bytes(path)).to_owned()))
}

fn sim(seed: &str) -> Result<Address, String> {
    let parsed = match seed.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => seed.parse(),
    };
    match parsed {
        Ok(seed) => Ok(Address::Sim { seed }),
        Err(error) => Err(format!(
            "the seed `{seed}` is no number ({error}); write sim:7 or sim:0x7f"
        )),
    }
}

fn nvme(rest: &str) -> Result<Address, String> {
    let Some((pci, id)) = rest.rsplit_once('/') else {
        return Err("the namespace is missing; write nvme:0000:5e:00.0/1".into());
    };
    let Ok(pci) = pci.parse::<PciAddress>() else {
        return Err(format!("`{pci}` is no PCI address; write nvme:0000:5e:00.0/1"));
    };
    let namespace = namespace(id)?;
    Ok(Address::Nvme { pci, namespace })
}

fn nvme_tcp(rest: &str) -> Result<Address, String> {
    const FORM: &str = "write nvme+tcp://HOST:PORT/NQN/NAMESPACE";
    let rest = rest.strip_prefix("//").ok_or(FORM)?;
    let (authority, rest) = rest
        .split_once('/')
        .ok_or_else(|| format!("the subsystem is missing; {FORM}"))?;
    let (nqn, id) = rest
        .rsplit_once('/')
        .ok_or_else(|| format!("the namespace is missing; {FORM}"))?;
    let (host, port) = authority
        .rsplit_once(':')
        .ok_or_else(|| format!("the port is missing (4420 is usual); {FORM}"))?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(host) if host.parse::<std::net::Ipv6Addr>().is_ok() => host,
        Some(host) => return Err(format!("`{host}` is no IPv6 address")),
        None if host.is_empty() || host.contains([':', '[', ']', '@']) => {
            return Err(format!(
                "`{host}` is no host; an IPv6 address is written in brackets"
            ));
        }
        None => host,
    };
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("`{port}` is no port; {FORM}"))?;
    if !nqn.starts_with("nqn.") || nqn.len() > NQN_BYTES_MAX {
        return Err(format!(
            "`{nqn}` is no subsystem name; one starts with `nqn.` and has at most {NQN_BYTES_MAX} bytes"
        ));
    }
    Ok(Address::NvmeTcp {
        host: host.to_owned(),
        port,
        nqn: nqn.to_owned(),
        namespace: namespace(id)?,
    })
}

fn namespace(id: &str) -> Result<u32, String> {
    // All ones means "every namespace" and names none.
    id.parse()
        .ok()
        .filter(|id| (1..u32::MAX).contains(id))
        .ok_or_else(|| format!("`{id}` is no namespace; they are numbered from 1"))
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
