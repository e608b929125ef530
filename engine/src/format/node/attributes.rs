//! Attributes of an entry: a bit per attribute in the record, the present ones one after the other by tag.
//!
//! mtime comes first, so that a commit finds it at a fixed place. An absent attribute takes no byte.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{EntryKind, NodeDamage};
use crate::format::ContentId;
use crate::limits::{XATTR_NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX, XATTRS_BYTES_MAX, XATTRS_INLINE_BYTES_MAX};

/// Most bytes the attributes of one entry take.
pub(super) const ATTRIBUTES_BYTES_MAX: usize =
    size_of::<EncodedTime>() + 4 + 4 + size_of::<EncodedDevice>() + 8 + 2 + XATTRS_INLINE_BYTES_MAX;
const _: () = assert!(size_of::<EncodedFarXattrs>() <= 2 + XATTRS_INLINE_BYTES_MAX);

/// Which attributes follow: bits of a record's `tags`, in the order of the attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tags(pub u16);

impl Tags {
    /// Last change of the content: i64 seconds, u32 nanoseconds.
    pub const MTIME: Tags = Tags(1 << 0);
    /// Owner: u32.
    pub const UID: Tags = Tags(1 << 1);
    /// Group: u32.
    pub const GID: Tags = Tags(1 << 2);
    /// Device numbers: u32 major, u32 minor.
    pub const DEVICE: Tags = Tags(1 << 3);
    /// Hard-link group: u64.
    pub const LINK_GROUP: Tags = Tags(1 << 4);
    /// Extended attributes in place: u16 length, then the set.
    pub const XATTRS: Tags = Tags(1 << 5);
    /// Extended attributes as a content of their own: id, u32 length.
    pub const XATTRS_FAR: Tags = Tags(1 << 6);
    const KNOWN: u16 = (1 << 7) - 1;

    /// True if all of `tag` is set.
    pub fn has(self, tag: Tags) -> bool {
        self.0 & tag.0 == tag.0
    }

    /// Both.
    pub fn with(self, tag: Tags) -> Tags {
        Tags(self.0 | tag.0)
    }
}

/// A point in time as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct FileTime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl FileTime {
    /// The time this many nanoseconds after 1970.
    pub fn from_ns(ns: u64) -> FileTime {
        FileTime {
            seconds: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
            nanoseconds: u32::try_from(ns % 1_000_000_000).unwrap_or(0),
        }
    }

    /// Its 12 bytes in a node.
    pub fn encode(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let encoded = EncodedTime {
            seconds: self.seconds.into(),
            nanoseconds: self.nanoseconds.into(),
        };
        bytes.copy_from_slice(encoded.as_bytes());
        bytes
    }
}

/// Major and minor number of a device.
pub type DeviceNumbers = (u32, u32);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EncodedTime {
    seconds: I64,
    nanoseconds: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EncodedDevice {
    major: U32,
    minor: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EncodedFarXattrs {
    id: ContentId,
    bytes: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EncodedXattr {
    name_bytes: u8,
    value_bytes: U32,
}

/// Where an entry's extended attributes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XattrView<'a> {
    /// It has none.
    #[default]
    None,
    /// Here: a set for [`xattrs`].
    Here(&'a [u8]),
    /// In a content of their own (kind data).
    Far {
        /// Its id.
        id: ContentId,
        /// Its length.
        bytes: u32,
    },
}

/// The attributes of one entry, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttributeView<'a> {
    /// Last change of the content.
    pub mtime: Option<FileTime>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Device numbers.
    pub device: Option<DeviceNumbers>,
    /// Hard-link group.
    pub link_group: Option<u64>,
    /// Extended attributes.
    pub xattrs: XattrView<'a>,
}

impl<'a> AttributeView<'a> {
    /// Reads the attributes of an entry of `kind` from exactly `bytes`.
    pub(super) fn decode(tags: Tags, kind: EntryKind, bytes: &'a [u8]) -> Result<Self, NodeDamage> {
        let mut view = AttributeView::default();
        let mut rest = bytes;
        if tags.0 & !Tags::KNOWN != 0 {
            return Err(NodeDamage::Attributes);
        }
        if tags.has(Tags::MTIME) {
            let time: EncodedTime = take(&mut rest)?;
            let nanoseconds = time.nanoseconds.get();
            if nanoseconds > 999_999_999 {
                return Err(NodeDamage::Attributes);
            }
            view.mtime = Some(FileTime {
                seconds: time.seconds.get(),
                nanoseconds,
            });
        }
        if tags.has(Tags::UID) {
            view.uid = Some(take::<U32>(&mut rest)?.get());
        }
        if tags.has(Tags::GID) {
            view.gid = Some(take::<U32>(&mut rest)?.get());
        }
        if tags.has(Tags::DEVICE) {
            let device: EncodedDevice = take(&mut rest)?;
            view.device = Some((device.major.get(), device.minor.get()));
        }
        if tags.has(Tags::LINK_GROUP) {
            view.link_group = Some(take::<U64>(&mut rest)?.get());
        }
        if tags.has(Tags::XATTRS) {
            let length = usize::from(take::<U16>(&mut rest)?.get());
            let (set, tail) = rest.split_at_checked(length).ok_or(NodeDamage::Attributes)?;
            if length > XATTRS_INLINE_BYTES_MAX {
                return Err(NodeDamage::Attributes);
            }
            check_xattrs(set)?;
            view.xattrs = XattrView::Here(set);
            rest = tail;
        }
        if tags.has(Tags::XATTRS_FAR) {
            let far: EncodedFarXattrs = take(&mut rest)?;
            let bytes = far.bytes.get();
            let fits_inline = bytes as usize <= XATTRS_INLINE_BYTES_MAX;
            if tags.has(Tags::XATTRS) || fits_inline || bytes as usize > XATTRS_BYTES_MAX {
                return Err(NodeDamage::Attributes);
            }
            view.xattrs = XattrView::Far { id: far.id, bytes };
        }
        let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let linked_directory = kind == EntryKind::Directory && view.link_group.is_some();
        if !rest.is_empty() || view.device.is_some() != is_device || linked_directory {
            return Err(NodeDamage::Attributes);
        }
        Ok(view)
    }

    /// The encoding and its tags. The parts must be valid (see `LeafEncoder`).
    pub fn encoded(&self) -> (Tags, Vec<u8>) {
        let mut bytes = Vec::new();
        let tags = self.encode(&mut bytes);
        (tags, bytes)
    }

    /// Appends the encoding to `out` and tells which tags it has. The parts must be valid (see `LeafEncoder`).
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Tags {
        let mut tags = Tags::default();
        if let Some(time) = self.mtime {
            tags = tags.with(Tags::MTIME);
            out.extend_from_slice(&time.encode());
        }
        if let Some(uid) = self.uid {
            tags = tags.with(Tags::UID);
            out.extend_from_slice(&uid.to_le_bytes());
        }
        if let Some(gid) = self.gid {
            tags = tags.with(Tags::GID);
            out.extend_from_slice(&gid.to_le_bytes());
        }
        if let Some((major, minor)) = self.device {
            tags = tags.with(Tags::DEVICE);
            out.extend_from_slice(&major.to_le_bytes());
            out.extend_from_slice(&minor.to_le_bytes());
        }
        if let Some(group) = self.link_group {
            tags = tags.with(Tags::LINK_GROUP);
            out.extend_from_slice(&group.to_le_bytes());
        }
        match self.xattrs {
            XattrView::None => {}
            XattrView::Here(set) => {
                tags = tags.with(Tags::XATTRS);
                out.extend_from_slice(U16::new(set.len().try_into().unwrap_or(u16::MAX)).as_bytes());
                out.extend_from_slice(set);
            }
            XattrView::Far { id, bytes } => {
                tags = tags.with(Tags::XATTRS_FAR);
                let far = EncodedFarXattrs {
                    id,
                    bytes: bytes.into(),
                };
                out.extend_from_slice(far.as_bytes());
            }
        }
        tags
    }
}

fn take<T: FromBytes>(rest: &mut &[u8]) -> Result<T, NodeDamage> {
    let (value, tail) = T::read_from_prefix(rest).map_err(|_| NodeDamage::Attributes)?;
    *rest = tail;
    Ok(value)
}

/// Encodes a set of extended attributes, given in ascending order of names. Nothing if it cannot be encoded:
/// out of order, a name empty, too long or with a NUL, a value or the whole set too long.
pub fn encode_xattrs<'a>(set: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (name, value) in set {
        let record = EncodedXattr {
            name_bytes: u8::try_from(name.len()).ok()?,
            value_bytes: U32::new(u32::try_from(value.len()).ok()?),
        };
        out.extend_from_slice(record.as_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(value);
        if out.len() > XATTRS_BYTES_MAX {
            return None;
        }
    }
    check_xattrs(&out).ok()?;
    Some(out)
}

/// Name and value of an extended attribute.
pub type XattrPair<'a> = (&'a [u8], &'a [u8]);

/// The pairs of an encoded set, in order.
pub fn xattrs(set: &[u8]) -> Result<Vec<XattrPair<'_>>, NodeDamage> {
    let mut pairs: Vec<XattrPair<'_>> = Vec::new();
    let mut rest = set;
    while !rest.is_empty() {
        let record: EncodedXattr = take(&mut rest)?;
        let (name, tail) = split(rest, usize::from(record.name_bytes))?;
        let (value, tail) = split(tail, record.value_bytes.get() as usize)?;
        let ascending = pairs.last().is_none_or(|(previous, _)| *previous < name);
        let named = !name.is_empty() && name.len() <= XATTR_NAME_BYTES_MAX && !name.contains(&0);
        if !ascending || !named || value.len() > XATTR_VALUE_BYTES_MAX {
            return Err(NodeDamage::Attributes);
        }
        pairs.push((name, value));
        rest = tail;
    }
    if pairs.is_empty() {
        Err(NodeDamage::Attributes)
    } else {
        Ok(pairs)
    }
}

fn check_xattrs(set: &[u8]) -> Result<(), NodeDamage> {
    xattrs(set).map(|_| ())
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), NodeDamage> {
    bytes.split_at_checked(at).ok_or(NodeDamage::Attributes)
}
