//! State-tree nodes: the bytes of a directory.
//!
//! A directory is a tree of nodes. Leaves hold entries, inner nodes name their children by each child's first
//! entry name. A node is `header, records, names, attributes`: records have a fixed size, so the id, size and
//! times of entry `i` lie at computable offsets and a commit can patch a copy of a node instead of encoding it
//! anew.
//!
//! Invariant: one directory has exactly one encoding. Decoding refuses every other one (unsorted or repeated
//! names, unknown tags, values that an encoder would have left out), and every length is checked against the
//! bytes at hand before it is used: no input panics or allocates more than its own size.
//! Rejected: variable-length entries one after the other (denser by a byte or two, but nothing can be patched),
//! and a table of offsets (redundant with the lengths, so a second thing to check).

mod attributes;
mod inner;
mod leaf;

pub use attributes::{
    AttributeView, DeviceNumbers, FileTime, Tags, XattrPair, XattrView, encode_xattrs, xattrs,
};
pub use inner::{InnerEncoder, InnerRecord, InnerView};
pub use leaf::{EntryKind, LeafEncoder, LeafRecord, LeafView};

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits::{NAME_BYTES_MAX, NODE_BYTES_MAX, NODE_ENTRIES};

/// Version of the encoding.
pub const NODE_VERSION: u8 = 1;
/// Nodes of a directory are at most this many levels deep; the smallest full shape of 2^32 entries needs 13.
pub const NODE_LEVELS_MAX: u8 = 16;

/// First bytes of every node. Little-endian, no padding.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NodeHeader {
    /// [`NODE_VERSION`].
    pub version: u8,
    /// 0 for a leaf; otherwise one more than the level of its children.
    pub level: u8,
    /// Records.
    pub count: U16,
    /// Bytes of all names together.
    pub names_bytes: U16,
    /// Bytes of all attributes together; 0 in an inner node.
    pub attributes_bytes: U16,
}

const _: () = assert!(size_of::<NodeHeader>() == 8);
const _: () = assert!(size_of::<LeafRecord>() == 48);
const _: () = assert!(size_of::<InnerRecord>() == 41);
const _: () = assert!(
    size_of::<NodeHeader>()
        + NODE_ENTRIES[2] * (size_of::<LeafRecord>() + NAME_BYTES_MAX + attributes::ATTRIBUTES_BYTES_MAX)
        <= NODE_BYTES_MAX
);
const _: () = assert!(NODE_BYTES_MAX <= u16::MAX as usize);

/// Why bytes are not a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeDamage {
    /// The lengths in the header do not add up to the length of the bytes.
    #[error("its length is wrong")]
    Length,
    /// A version this program does not know.
    #[error("its version {0} is unknown")]
    Version(u8),
    /// More records than a node may have, none where there must be some, or too many levels.
    #[error("its number of entries or its level is out of bounds")]
    Count,
    /// A name that no directory can hold.
    #[error("a name is empty, too long, `.`, `..`, or has a `/` or a NUL")]
    Name,
    /// Names out of order or repeated.
    #[error("its names are not in strictly ascending order")]
    Order,
    /// A kind of entry that does not exist, or fields that this kind cannot have.
    #[error("an entry's kind or its fixed fields are impossible")]
    Record,
    /// Attributes that no encoder would have written.
    #[error("an entry's attributes are malformed or not in canonical form")]
    Attributes,
}

/// A checked node over borrowed bytes.
#[derive(Debug, Clone, Copy)]
pub enum NodeView<'a> {
    /// Level 0: entries.
    Leaf(LeafView<'a>),
    /// Higher levels: children.
    Inner(InnerView<'a>),
}

impl<'a> NodeView<'a> {
    /// Checks `bytes` completely.
    pub fn decode(bytes: &'a [u8]) -> Result<NodeView<'a>, NodeDamage> {
        let (header, rest) = header(bytes)?;
        if header.level == 0 {
            LeafView::decode(header, rest).map(NodeView::Leaf)
        } else {
            InnerView::decode(header, rest).map(NodeView::Inner)
        }
    }

    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            NodeView::Leaf(_) => 0,
            NodeView::Inner(inner) => inner.level(),
        }
    }

    /// Entries of the directory below this node.
    pub fn entries(&self) -> u64 {
        match self {
            NodeView::Leaf(leaf) => leaf.len() as u64,
            NodeView::Inner(inner) => inner.entries(),
        }
    }

    /// First name in it; nothing for an empty directory.
    pub fn first(&self) -> Option<&'a [u8]> {
        match self {
            NodeView::Leaf(leaf) => (!leaf.is_empty()).then(|| leaf.name(0)),
            NodeView::Inner(inner) => Some(inner.name(0)),
        }
    }
}

fn header(bytes: &[u8]) -> Result<(NodeHeader, &[u8]), NodeDamage> {
    let (header, rest) = NodeHeader::read_from_prefix(bytes).map_err(|_| NodeDamage::Length)?;
    if header.version != NODE_VERSION {
        return Err(NodeDamage::Version(header.version));
    }
    if usize::from(header.count.get()) > NODE_ENTRIES[2] || header.level > NODE_LEVELS_MAX {
        return Err(NodeDamage::Count);
    }
    Ok((header, rest))
}

/// True for what a directory entry may be called: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`.
pub fn is_name(name: &[u8]) -> bool {
    let bounded = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    bounded && name != b"." && name != b".." && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}

/// Splits `names` by `lengths` and checks each name and their order.
fn check_names(names: &[u8], lengths: impl Iterator<Item = u8>) -> Result<(), NodeDamage> {
    let mut rest = names;
    let mut previous: &[u8] = b"";
    for length in lengths {
        let (name, tail) = rest
            .split_at_checked(usize::from(length))
            .ok_or(NodeDamage::Length)?;
        if !is_name(name) {
            return Err(NodeDamage::Name);
        }
        if name <= previous {
            return Err(NodeDamage::Order);
        }
        previous = name;
        rest = tail;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(NodeDamage::Length)
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
