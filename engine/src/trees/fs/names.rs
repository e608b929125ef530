//! The names of one directory as the system lists them.

use std::io;
use std::os::fd::BorrowedFd;

use bytes::Bytes;

use super::listing::Item;
use super::platform::{self, Found, Stat};
use crate::format::ContentId;
use crate::trees::EntryKind;

/// A name as the directory lists it.
pub(super) struct RawItem {
    pub(super) name: (u32, u8),
    pub(super) found: Found,
}

impl RawItem {
    pub(super) fn bytes<'a>(&self, names: &'a [u8]) -> &'a [u8] {
        let start = self.name.0 as usize;
        &names[start..start + usize::from(self.name.1)]
    }

    pub(super) fn name(&self, names: &Bytes) -> Bytes {
        let start = self.name.0 as usize;
        names.slice(start..start + usize::from(self.name.1))
    }

    pub(super) fn item(&self, kind: EntryKind, stat: Stat) -> Item {
        Item {
            kind,
            name: self.name,
            stat,
            id: ContentId([0; 32]),
            xattrs: Vec::new(),
            link_group: None,
            child: usize::MAX,
            known: false,
            gone: false,
            racy: true,
        }
    }
}

/// All names of a directory, in byte order.
pub(super) fn list_sorted(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<(Bytes, Vec<RawItem>)> {
    let mut names: Vec<u8> = Vec::new();
    let mut found: Vec<RawItem> = Vec::new();
    let mut too_much = false;
    platform::list(fd, buffer, |name, kind| {
        match (u32::try_from(names.len()), u8::try_from(name.len())) {
            (Ok(start), Ok(length)) => found.push(RawItem {
                name: (start, length),
                found: Found::of(kind),
            }),
            _ => too_much = true,
        }
        names.extend_from_slice(name);
    })?;
    if too_much {
        return Err(io::Error::other(
            "more than 4 GiB of names, or a name of more than 255 bytes",
        ));
    }
    found.sort_unstable_by(|a, b| a.bytes(&names).cmp(b.bytes(&names)));
    Ok((names.into(), found))
}
