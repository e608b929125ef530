//! What is on a namespace, as far as anybody can tell: partitions, signatures, a store, or other data.
//!
//! Owns reading block devices for that. What a signature looks like is known by `blkid` of util-linux, which every
//! distribution has and keeps up to date; a store and data without a signature are found as `init` finds them.
//! Invariant: what could not be looked at is [`Content::Unknown`], never empty.
//! Rejected: a table of signatures of our own, which would be out of date, and short.

use std::os::unix::fs::FileExt;

use super::host::{Host, Ran};
use super::inventory::Namespace;
use crate::device::Ends;
use crate::limits::UNIT_BYTES;

/// `blkid` found nothing, or nothing that could be read: the same code.
const BLKID_NOTHING: i32 = 2;
/// `blkid` found signatures that contradict each other.
const BLKID_AMBIVALENT: i32 = 8;

/// One thing that is on a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A partition table of this type.
    Table(String),
    /// The signature of a file system, a member of a RAID or a volume group, and the like.
    Signature(String),
    /// A Helios store.
    Store,
    /// Something that no signature explains.
    Data,
    /// It cannot be told, for this reason.
    Unknown(String),
}

/// What is on a namespace; nothing, if it is empty.
pub(super) fn of(host: &Host, namespace: &Namespace) -> Vec<Content> {
    match ends(host, namespace) {
        Ok(ends) if ends.data && !ends.foreign => vec![Content::Store],
        Ok(ends) => {
            let mut found = signatures(host, namespace);
            if ends.foreign && found.is_empty() {
                found.push(Content::Data);
            }
            if ends.store {
                found.push(Content::Store);
            }
            found
        }
        Err(reason) => vec![Content::Unknown(reason)],
    }
}

fn ends(host: &Host, namespace: &Namespace) -> Result<Ends, String> {
    let name = &namespace.name;
    let number = host
        .text(format!("/sys/class/block/{name}/dev"))
        .ok_or_else(|| format!("the kernel shows no block device {name}"))?;
    let size = namespace
        .size
        .ok_or_else(|| format!("the size of {name} is unknown"))?;
    let path = format!("/dev/{name}");
    let failed = |error: std::io::Error| format!("cannot read {path}: {error}");
    let file = host
        .system()
        .open_block(&host.path(&path), &number, false)
        .map_err(failed)?;
    let unit = UNIT_BYTES as u64;
    let (mut first, mut last) = (vec![0; UNIT_BYTES], vec![0; UNIT_BYTES]);
    if size >= unit {
        file.read_exact_at(&mut first, 0).map_err(failed)?;
        file.read_exact_at(&mut last, size / unit * unit - unit)
            .map_err(failed)?;
    }
    Ok(Ends::of(&first, &last))
}

/// What `blkid` says of a block device that can be read.
fn signatures(host: &Host, namespace: &Namespace) -> Vec<Content> {
    let path = host.path(format!("/dev/{}", namespace.name));
    let arguments = [
        "--probe".as_ref(),
        "--output".as_ref(),
        "export".as_ref(),
        path.as_ref(),
    ];
    match host.system().run("blkid", &arguments) {
        Ok(ran) => understand(&ran),
        Err(error) => vec![Content::Unknown(format!(
            "blkid, which knows signatures, cannot be run: {error}; it is part of util-linux"
        ))],
    }
}

fn understand(ran: &Ran) -> Vec<Content> {
    let value = |key: &str| {
        let mut lines = ran.output.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        // Read from the device: whoever wrote it there chose the bytes.
        let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        Some(value.chars().take(40).map(plain).collect::<String>())
    };
    match ran.code {
        Some(0) => {
            let table = value("PTTYPE").map(Content::Table);
            let signature = value("TYPE").map(Content::Signature);
            let found: Vec<Content> = table.into_iter().chain(signature).collect();
            if found.is_empty() {
                vec![Content::Signature("unnamed".to_owned())]
            } else {
                found
            }
        }
        Some(BLKID_NOTHING) if ran.complaint.is_empty() => Vec::new(),
        Some(BLKID_AMBIVALENT) => vec![Content::Signature("several".to_owned())],
        code => vec![Content::Unknown(match code {
            Some(code) => format!("blkid ended with code {code} {}", ran.complaint)
                .trim()
                .to_owned(),
            None => "blkid was stopped by a signal".to_owned(),
        })],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(code: Option<i32>, output: &str, complaint: &str) -> Vec<Content> {
        understand(&Ran {
            code,
            output: output.to_owned(),
            complaint: complaint.to_owned(),
        })
    }

    /// Goal: only a probe that worked and found nothing says that there is nothing. Method: every way `blkid` ends.
    #[test]
    fn only_silence_is_nothing() {
        let signature = |text: &str| vec![Content::Signature(text.to_owned())];
        assert_eq!(ran(Some(2), "", ""), []);
        assert_eq!(
            ran(
                Some(0),
                "DEVNAME=/dev/x\nUUID=1\nTYPE=ext4\nUSAGE=filesystem\n",
                ""
            ),
            signature("ext4")
        );
        assert_eq!(
            ran(Some(0), "PTUUID=1\nPTTYPE=gpt\n", ""),
            [Content::Table("gpt".to_owned())]
        );
        assert_eq!(ran(Some(0), "DEVNAME=/dev/x\n", ""), signature("unnamed"));
        assert_eq!(ran(Some(0), "TYPE=\u{1b}[31m\n", ""), signature("?[31m"));
        assert_eq!(ran(Some(8), "", "ambivalent"), signature("several"));
        for unknown in [
            ran(Some(2), "", "error: /dev/x: Input/output error"),
            ran(Some(4), "", "usage"),
            ran(None, "TYPE=ext4\n", ""),
        ] {
            assert!(matches!(unknown[..], [Content::Unknown(_)]), "{unknown:?}");
        }
    }
}
