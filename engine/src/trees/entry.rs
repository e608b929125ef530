//! One name in a directory: fixed fields, and attributes that cost nothing when absent.

use bytes::Bytes;

use crate::format::ContentId;
pub use crate::format::node::{EntryKind, FileTime};

/// One extended attribute; ACLs are the ones named `system.posix_acl_*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Full name with its name space (`user.`, `security.`, ...).
    pub name: Bytes,
    /// Value.
    pub value: Bytes,
}

/// What an entry may have besides its fixed fields. Absent attributes encode to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Last change of the content.
    pub mtime: Option<FileTime>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Sorted by name, names unique.
    pub xattrs: Vec<Xattr>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// Entries of one tree with the same number are links to one file.
    pub link_group: Option<u64>,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Raw bytes, without `/` and NUL, 1 to 255 of them; empty only for the root of a tree.
    pub name: Bytes,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, set-id and sticky bits: `0o7777` at most.
    pub mode: u16,
    /// Bytes of a file or link target; 0 for the rest.
    pub size: u64,
    /// Content or node; zeroes for kinds without.
    pub id: ContentId,
    /// The rest.
    pub attributes: Attributes,
}
