//! Between entries and the bytes of a leaf.
//!
//! Extended attributes too large to stay in the node are the one part of an entry that lives elsewhere: writing
//! gives them to the caller as contents, reading asks the caller to fetch them.

use bytes::Bytes;

use super::entry::{Attributes, Entry, EntryKind, Xattr};
use crate::error::{Error, Result};
use crate::format::node::{
    self, AttributeView, LeafEncoder, LeafRecord, LeafView, NodeDamage, NodeView, XattrView,
};
use crate::format::{ContentId, Domain, Kind};
use crate::limits::{EXTENT_BYTES_MAX, XATTRS_INLINE_BYTES_MAX};
use crate::store::{Extent, Key};

/// Extended attributes that live outside their node, encoded, waiting for their id.
pub(super) fn far_xattrs(entry: &Entry) -> Result<Option<Bytes>> {
    if entry.attributes.xattrs.is_empty() {
        return Ok(None);
    }
    let encoded = encoded_xattrs(entry)?;
    Ok((encoded.len() > XATTRS_INLINE_BYTES_MAX).then(|| Bytes::from(encoded)))
}

fn encoded_xattrs(entry: &Entry) -> Result<Vec<u8>> {
    let pairs = entry
        .attributes
        .xattrs
        .iter()
        .map(|xattr| (&xattr.name[..], &xattr.value[..]));
    node::encode_xattrs(pairs).ok_or_else(|| {
        let reason = "its extended attributes are not sorted by name, or a name or value is too long";
        Error::invalid(describe(&entry.name), reason)
    })
}

/// Calls `with` with the record and attributes of `entry`. `far` is where its extended attributes are if
/// [`far_xattrs`] said that they do not stay.
pub(super) fn encode_entry<T>(
    entry: &Entry,
    far: Option<(ContentId, u32)>,
    with: impl FnOnce(LeafRecord, &AttributeView<'_>) -> Result<T, NodeDamage>,
) -> Result<T> {
    let attributes = &entry.attributes;
    let inline;
    let xattrs = match far {
        Some((id, bytes)) => XattrView::Far { id, bytes },
        None if attributes.xattrs.is_empty() => XattrView::None,
        None => {
            inline = encoded_xattrs(entry)?;
            XattrView::Here(&inline)
        }
    };
    let view = AttributeView {
        mtime: attributes.mtime,
        uid: attributes.uid,
        gid: attributes.gid,
        device: attributes.device,
        link_group: attributes.link_group,
        xattrs,
    };
    let record = LeafRecord {
        id: entry.id,
        size: entry.size.into(),
        mode: entry.mode.into(),
        kind: entry.kind as u8,
        name_bytes: 0,
        tags: 0.into(),
        attributes_bytes: 0.into(),
    };
    with(record, &view).map_err(|damage| Error::invalid(describe(&entry.name), damage.to_string()))
}

/// Appends `entry` to a leaf. Its name must have been checked.
pub(super) fn push_entry(leaf: &mut LeafEncoder, entry: &Entry, far: Option<(ContentId, u32)>) -> Result<()> {
    encode_entry(entry, far, |record, view| leaf.push(&entry.name, record, view))
}

/// An entry as its leaf has it.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub name: Bytes,
    pub record: LeafRecord,
    /// Encoded.
    pub attributes: Bytes,
}

impl Item {
    pub fn is_directory(&self) -> bool {
        self.record.kind == EntryKind::Directory as u8
    }
}

/// An entry whose far attributes, if it has any, have yet to be fetched.
pub(super) struct Decoded {
    pub entry: Entry,
    pub far: Option<ContentId>,
}

/// Entry `index` of a checked leaf; names and values are slices of `bytes`, the leaf's own.
pub(super) fn decode_entry(bytes: &Bytes, leaf: &LeafView<'_>, index: usize) -> Result<Decoded, NodeDamage> {
    let attributes = leaf.attributes(index)?;
    decode_parts(bytes, leaf.name(index), &leaf.records()[index], &attributes)
}

/// The entry with these parts, which are slices of `bytes`.
pub(super) fn decode_parts(
    bytes: &Bytes,
    name: &[u8],
    record: &LeafRecord,
    attributes: &AttributeView<'_>,
) -> Result<Decoded, NodeDamage> {
    let (xattrs, far) = match attributes.xattrs {
        XattrView::None => (Vec::new(), None),
        XattrView::Here(set) => (decode_xattrs(bytes, set)?, None),
        XattrView::Far { id, .. } => (Vec::new(), Some(id)),
    };
    let entry = Entry {
        name: bytes.slice_ref(name),
        kind: EntryKind::from_byte(record.kind).ok_or(NodeDamage::Record)?,
        mode: record.mode.get(),
        size: record.size.get(),
        id: record.id,
        attributes: Attributes {
            mtime: attributes.mtime,
            uid: attributes.uid,
            gid: attributes.gid,
            xattrs,
            device: attributes.device,
            link_group: attributes.link_group,
        },
    };
    Ok(Decoded { entry, far })
}

/// The entry that `item` is; `attributes` are its own.
pub(super) fn decode_item(item: &Item, attributes: &AttributeView<'_>) -> Result<Decoded, NodeDamage> {
    let mut decoded = decode_parts(&item.attributes, b"", &item.record, attributes)?;
    decoded.entry.name = item.name.clone();
    Ok(decoded)
}

/// The extended attributes in `set`, a slice of `bytes`.
pub(super) fn decode_xattrs(bytes: &Bytes, set: &[u8]) -> Result<Vec<Xattr>, NodeDamage> {
    let pairs = node::xattrs(set)?;
    let owned = |(name, value)| Xattr {
        name: bytes.slice_ref(name),
        value: bytes.slice_ref(value),
    };
    Ok(pairs.into_iter().map(owned).collect())
}

/// All entries of a checked leaf.
pub(super) fn decode_leaf(bytes: &Bytes, leaf: &LeafView<'_>) -> Result<Vec<Decoded>, NodeDamage> {
    let decode = |index| decode_entry(bytes, leaf, index);
    (0..leaf.len()).map(decode).collect()
}

/// What a node refers to: (kind, id) of contents, child nodes and directories. For tracing liveness.
///
/// # Errors
/// The bytes are not a node.
pub fn references(bytes: &[u8]) -> Result<Vec<(Kind, ContentId)>, NodeDamage> {
    let mut found = Vec::new();
    match NodeView::decode(bytes)? {
        NodeView::Inner(inner) => {
            found.extend(inner.records().iter().map(|record| (Kind::Node, record.id)));
        }
        NodeView::Leaf(leaf) => {
            for (index, record) in leaf.records().iter().enumerate() {
                match EntryKind::from_byte(record.kind).ok_or(NodeDamage::Record)? {
                    EntryKind::Directory => found.push((Kind::Node, record.id)),
                    kind if kind.has_content() => found.push((content_kind(record.size.get()), record.id)),
                    _ => {}
                }
                if let XattrView::Far { id, .. } = leaf.attributes(index)?.xattrs {
                    found.push((Kind::Data, id));
                }
            }
        }
    }
    Ok(found)
}

/// Whether a content of `size` bytes is one extent or a manifest.
pub fn content_kind(size: u64) -> Kind {
    if size <= EXTENT_BYTES_MAX as u64 {
        Kind::Data
    } else {
        Kind::Manifest
    }
}

/// Node `id` is present and intact, but its bytes are not those of a node, or not of one that fits there.
pub(super) fn malformed(id: ContentId, damage: impl std::fmt::Display) -> Error {
    Error::invalid(format!("tree node {id}"), damage.to_string())
}

/// Checks the name of an entry.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    if node::is_name(name) {
        return Ok(());
    }
    let reason = "a name in a directory has 1 to 255 bytes, no `/`, no NUL, and is not `.` or `..`";
    Err(Error::invalid(describe(name), reason))
}

/// A name for people.
pub(super) fn describe(name: &[u8]) -> String {
    format!("entry `{}`", name.escape_ascii())
}

/// The extent of a node.
pub(super) fn node_extent(domain: Domain, id: ContentId, bytes: Bytes) -> Extent {
    Extent {
        key: node_key(domain, id),
        bytes,
    }
}

/// The key of a node.
pub(super) fn node_key(domain: Domain, id: ContentId) -> Key {
    Key {
        domain,
        kind: Kind::Node,
        id,
    }
}

/// The key of a content that is one extent.
pub(super) fn data_key(domain: Domain, id: ContentId) -> Key {
    Key {
        domain,
        kind: Kind::Data,
        id,
    }
}
