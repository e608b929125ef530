//! The address of a PCI function, as the kernel writes it.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// `domain:bus:device.function`, such as `0000:5e:00.0`. Only made by parsing, so that it is a safe part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    // More than 16 bits behind some bridges (Intel's VMD numbers its domains from 0x10000).
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// A text that is no PCI address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no PCI address; one is written 0000:5e:00.0, and `helios device list` shows them")]
pub struct PciAddressError(String);

impl FromStr for PciAddress {
    type Err = PciAddressError;

    /// Hexadecimal in either case; the domain may be left out.
    fn from_str(text: &str) -> Result<PciAddress, PciAddressError> {
        parse(text).ok_or_else(|| PciAddressError(text.escape_debug().to_string()))
    }
}

fn parse(text: &str) -> Option<PciAddress> {
    let hex = |text: &str, digits: std::ops::RangeInclusive<usize>, max: u32| {
        let right = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(text, 16)
            .ok()
            .filter(|value| right && *value <= max)
    };
    let byte = |text, digits, max| hex(text, digits..=digits, max).and_then(|value| u8::try_from(value).ok());
    let mut parts = text.rsplit(':');
    let (device, function) = parts.next()?.split_once('.')?;
    let bus = byte(parts.next()?, 2, 0xff)?;
    let domain = hex(parts.next().unwrap_or("0000"), 4..=8, u32::MAX)?;
    let address = PciAddress {
        domain,
        bus,
        device: byte(device, 2, 0x1f)?,
        function: byte(function, 1, 7)?,
    };
    parts.next().is_none().then_some(address)
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PciAddress {
            domain,
            bus,
            device,
            function,
        } = self;
        // Padded as one word, so that tables line up.
        f.pad(&format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"))
    }
}

impl Serialize for PciAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what the kernel writes is understood, and what would leave a directory is not. Method: a table.
    #[test]
    fn addresses() {
        for (text, shown) in [
            ("0000:5e:00.0", "0000:5e:00.0"),
            ("5E:1f.7", "0000:5e:1f.7"),
            ("10000:e1:00.0", "10000:e1:00.0"),
        ] {
            let address: PciAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        for text in [
            "",
            "..",
            "../0000:5e:00.0",
            "0000:5e:00.0/..",
            "0000:5e:00.0\0",
            "0000:5e:00.8",
            "0000:5e:20.0",
            "0:5e:00.0",
            "123456789:5e:00.0",
            "0000:0000:5e:00.0",
            "+000:5e:00.0",
            "0000:5e:00",
            "5e:0é.0",
            " 0000:5e:00.0",
        ] {
            assert!(text.parse::<PciAddress>().is_err(), "{text:?}");
        }
    }
}
