//! Where a controller is, as SPDK writes it, and whether anybody answers there.
//!
//! Owns the look before the leap: SPDK 20.07 connects while it holds the lock of its driver, without a bound, so that
//! one target that accepts a connection and then says nothing would hang every later call of the process. So the
//! greeting of NVMe/TCP (ICReq, answered by ICResp; NVMe TCP transport specification 1.0, section 3.6.2) is first
//! exchanged here, on a connection of its own and with a bound, before each step of SPDK that connects.
//! Rejected: leaving the bound to the thread that waits; that thread would be free, the process would not.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::device::Address;
use crate::device::pci::{self, Host, PciAddress};

/// Bytes of either greeting.
const GREETING_BYTES: usize = 128;
const ICREQ: u8 = 0;
const ICRESP: u8 = 1;

/// A way to a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transport {
    /// A device of this machine.
    Pcie {
        /// PCI address.
        pci: PciAddress,
    },
    /// A subsystem behind a network.
    Tcp {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// Subsystem.
        nqn: String,
    },
}

impl Transport {
    /// The transport and the namespace that an address names; `None` for addresses of other kinds of devices.
    pub(super) fn of(address: &Address) -> Option<(Transport, u32)> {
        match address {
            Address::Nvme { pci, namespace } => Some((Transport::Pcie { pci: *pci }, *namespace)),
            Address::NvmeTcp {
                host,
                port,
                nqn,
                namespace,
            } => {
                let tcp = Transport::Tcp {
                    host: host.clone(),
                    port: *port,
                    nqn: nqn.clone(),
                };
                Some((tcp, *namespace))
            }
            Address::Path(_) | Address::Sim { .. } => None,
        }
    }

    /// Whether the device reads and writes memory by itself, which then must be hugepages.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Transport::Pcie { .. })
    }

    /// Whether a controller that is attached can be talked to without an unbounded wait. A local one always can.
    pub(super) fn greets(&self, bound: Duration) -> io::Result<()> {
        match self {
            Transport::Pcie { .. } => Ok(()),
            Transport::Tcp { host, port, .. } => first_that_answers(host, *port, bound).map(drop),
        }
    }

    /// Whether a device of this machine is still there; who is behind a network cannot be pulled out.
    pub(super) fn is_present(&self) -> bool {
        match self {
            Transport::Pcie { pci } => pci::is_present(&Host::this(), *pci),
            Transport::Tcp { .. } => true,
        }
    }

    /// SPDK's notation of whatever answers there within `bound`, or why nobody does.
    pub(super) fn reach(&self, bound: Duration) -> io::Result<String> {
        match self {
            Transport::Pcie { pci } => {
                pci::require_controller(&Host::this(), *pci)?;
                Ok(format!("trtype:PCIe traddr:{pci}"))
            }
            Transport::Tcp { host, port, nqn } => {
                if nqn.contains(char::is_whitespace) {
                    return Err(io::Error::new(
                        ErrorKind::InvalidInput,
                        format!("the subsystem name `{nqn}` has a space in it"),
                    ));
                }
                let peer = first_that_answers(host, *port, bound)?;
                let family = if peer.is_ipv4() { "IPv4" } else { "IPv6" };
                Ok(format!(
                    "trtype:TCP adrfam:{family} traddr:{} trsvcid:{} subnqn:{nqn}",
                    peer.ip(),
                    peer.port()
                ))
            }
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transport::Pcie { pci } => write!(f, "the NVMe device {pci}"),
            Transport::Tcp { host, port, .. } => write!(f, "the target {host}:{port}"),
        }
    }
}

fn first_that_answers(host: &str, port: u16, bound: Duration) -> io::Result<SocketAddr> {
    let peers = (host, port).to_socket_addrs().map_err(|error| {
        io::Error::new(error.kind(), format!("the host `{host}` has no address: {error}"))
    })?;
    let mut failure = None;
    for peer in peers {
        match greet(peer, bound) {
            Ok(()) => return Ok(peer),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure
        .unwrap_or_else(|| io::Error::new(ErrorKind::NotFound, format!("the host `{host}` has no address"))))
}

/// Exchanges greetings with an NVMe/TCP target and hangs up.
fn greet(peer: SocketAddr, bound: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&peer, bound).map_err(|error| {
        let fix = match error.kind() {
            ErrorKind::ConnectionRefused => {
                "nobody listens there; start the target, or correct host and port"
            }
            ErrorKind::TimedOut => "nobody answers; check the network, or correct the host",
            _ => "check the network",
        };
        io::Error::new(error.kind(), format!("cannot connect to {peer}: {error}; {fix}"))
    })?;
    stream.set_read_timeout(Some(bound))?;
    stream.set_write_timeout(Some(bound))?;
    let mut answer = [0; GREETING_BYTES];
    stream
        .write_all(&request())
        .and_then(|()| stream.read_exact(&mut answer))
        .map_err(|error| match error.kind() {
            // A socket's bound is reported as either.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => io::Error::new(
                ErrorKind::TimedOut,
                format!(
                    "{peer} accepts connections and says nothing: the target hangs, or it is no NVMe/TCP target"
                ),
            ),
            kind => io::Error::new(
                kind,
                format!("{peer} hung up ({error}): it is no NVMe/TCP target, or it is about to end"),
            ),
        })?;
    check_answer(&answer).map_err(|what| {
        io::Error::new(
            ErrorKind::InvalidData,
            format!("{peer} is no NVMe/TCP target: {what}"),
        )
    })
}

/// ICReq: format version 0, no digests, one R2T at a time.
fn request() -> [u8; GREETING_BYTES] {
    let mut request = [0; GREETING_BYTES];
    request[0] = ICREQ;
    request[2] = GREETING_BYTES as u8; // length of the header
    request[4..8].copy_from_slice(&(GREETING_BYTES as u32).to_le_bytes());
    request
}

fn check_answer(answer: &[u8; GREETING_BYTES]) -> Result<(), String> {
    let length = u32::from_le_bytes([answer[4], answer[5], answer[6], answer[7]]);
    if answer[0] != ICRESP || length as usize != GREETING_BYTES {
        return Err(format!(
            "its answer begins with {:02x?} instead of a greeting",
            &answer[..8]
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
