//! A commit: the root of a tree, where it came from, and what people want to know about it.
//!
//! `header, root record, root attributes, parents, fields`. Everything a program needs is at a fixed place;
//! texts and later additions are tagged fields in ascending order of tags. A tag below [`CRITICAL`] that is not
//! known is kept and passed on; one at or above it may change what the commit means and is refused.
//! Invariant: a commit has exactly one encoding (an empty text is an absent field, reserved bytes are zero).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ContentId;
use super::node::{AttributeView, EntryKind, LeafRecord, NodeDamage};
use crate::limits::{
    COMMIT_AUTHOR_BYTES_MAX, COMMIT_BYTES_MAX, COMMIT_FIELD_BYTES_MAX, COMMIT_FIELDS_MAX,
    COMMIT_MESSAGE_BYTES_MAX, COMMIT_PARENTS_MAX, EXTENT_BYTES_MAX,
};

/// Version of the encoding.
pub const COMMIT_VERSION: u8 = 1;
/// Fields with this tag or a higher one must be understood.
pub const CRITICAL: u16 = 0x8000;
/// Field: who made the commit (UTF-8).
pub const FIELD_AUTHOR: u16 = 1;
/// Field: why (UTF-8).
pub const FIELD_MESSAGE: u16 = 2;
/// Field: the commit whose state this one takes back (32 bytes). It is not kept alive by it.
pub const FIELD_REPLACES: u16 = 3;

/// First bytes of every commit. Little-endian, no padding.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CommitHeader {
    /// [`COMMIT_VERSION`].
    pub version: u8,
    /// Number of parents.
    pub parents: u8,
    /// Number of tagged fields.
    pub fields: U16,
    /// When: nanoseconds since 1970; later than the first parent's.
    pub time_ns: U64,
    /// Entries of the tree that are not directories.
    pub files: U64,
    /// Sum of their sizes.
    pub bytes: U64,
    /// The top directory; its name is empty.
    pub root: LeafRecord,
}

/// What comes before each field's bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CommitField {
    /// Which.
    pub tag: U16,
    /// Bytes that follow; at least 1.
    pub length: U32,
}

const _: () = assert!(size_of::<CommitHeader>() == 76);
const _: () = assert!(size_of::<CommitField>() == 6);
const _: () = assert!(COMMIT_BYTES_MAX <= EXTENT_BYTES_MAX && COMMIT_PARENTS_MAX <= u8::MAX as usize);

/// Why bytes are not a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitDamage {
    /// Lengths don't add up, or it is too long.
    #[error("its length is wrong")]
    Length,
    /// A version this program does not know.
    #[error("its version {0} is unknown")]
    Version(u8),
    /// Its top directory is not one.
    #[error("its top directory is malformed: {0}")]
    Root(NodeDamage),
    /// Too many parents, or one twice.
    #[error("it has too many parents, or one of them twice")]
    Parents,
    /// Fields out of order, repeated, empty or too long, or a text that is not UTF-8.
    #[error("its field {0} is malformed or out of order")]
    Field(u16),
    /// A field that must be understood and is not.
    #[error("its field {0} needs a newer version of this program")]
    Unknown(u16),
}

/// A checked commit over borrowed bytes; also what an encoder takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitView<'a> {
    /// When: nanoseconds since 1970.
    pub time_ns: u64,
    /// Entries of the tree that are not directories.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Root node of the top directory.
    pub tree: ContentId,
    /// Mode of the top directory.
    pub mode: u16,
    /// Attributes of the top directory.
    pub attributes: AttributeView<'a>,
    /// Earlier commits; the first is the state this one was made from.
    pub parents: Vec<ContentId>,
    /// Who; may be empty.
    pub author: &'a str,
    /// Why; may be empty.
    pub message: &'a str,
    /// The commit whose state this one takes back.
    pub replaces: Option<ContentId>,
    /// Fields this version does not know, in order.
    pub others: Vec<(u16, &'a [u8])>,
}

impl<'a> CommitView<'a> {
    /// Checks `bytes` completely.
    pub fn decode(bytes: &'a [u8]) -> Result<CommitView<'a>, CommitDamage> {
        let (header, rest) = CommitHeader::read_from_prefix(bytes).map_err(|_| CommitDamage::Length)?;
        if header.version != COMMIT_VERSION {
            return Err(CommitDamage::Version(header.version));
        }
        if bytes.len() > COMMIT_BYTES_MAX {
            return Err(CommitDamage::Length);
        }
        let root = header.root;
        let length = usize::from(root.attributes_bytes.get());
        let (attributes, rest) = rest.split_at_checked(length).ok_or(CommitDamage::Length)?;
        if root.kind != EntryKind::Directory as u8 || root.name_bytes != 0 {
            return Err(CommitDamage::Root(NodeDamage::Record));
        }
        let attributes = root.attributes(attributes).map_err(CommitDamage::Root)?;
        let count = usize::from(header.parents);
        let (parents, rest) =
            <[ContentId]>::ref_from_prefix_with_elems(rest, count).map_err(|_| CommitDamage::Length)?;
        check_parents(parents)?;
        let mut view = CommitView {
            time_ns: header.time_ns.get(),
            files: header.files.get(),
            bytes: header.bytes.get(),
            tree: root.id,
            mode: root.mode.get(),
            attributes,
            parents: parents.to_vec(),
            author: "",
            message: "",
            replaces: None,
            others: Vec::new(),
        };
        view.decode_fields(header.fields.get(), rest)?;
        Ok(view)
    }

    fn decode_fields(&mut self, count: u16, mut rest: &'a [u8]) -> Result<(), CommitDamage> {
        if usize::from(count) > COMMIT_FIELDS_MAX {
            return Err(CommitDamage::Length);
        }
        let mut previous = 0;
        for _ in 0..count {
            let (field, tail) = CommitField::read_from_prefix(rest).map_err(|_| CommitDamage::Length)?;
            let tag = field.tag.get();
            let (value, tail) = tail
                .split_at_checked(field.length.get() as usize)
                .ok_or(CommitDamage::Length)?;
            if tag <= previous {
                return Err(CommitDamage::Field(tag));
            }
            let value = check_field(tag, value)?;
            match (tag, value) {
                (FIELD_AUTHOR, Value::Text(text)) => self.author = text,
                (FIELD_MESSAGE, Value::Text(text)) => self.message = text,
                (_, Value::Id(id)) => self.replaces = Some(id),
                (_, Value::Bytes(bytes)) => self.others.push((tag, bytes)),
                (_, Value::Text(_)) => return Err(CommitDamage::Field(tag)),
            }
            (previous, rest) = (tag, tail);
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(CommitDamage::Length)
        }
    }

    /// The encoding.
    ///
    /// # Errors
    /// A part is too long, out of order or not what its place can hold.
    pub fn encode(&self) -> Result<Vec<u8>, CommitDamage> {
        check_parents(&self.parents)?;
        let replaces = self.replaces.map(|id| id.0);
        let mut fields: Vec<(u16, &[u8])> = Vec::with_capacity(3 + self.others.len());
        if !self.author.is_empty() {
            fields.push((FIELD_AUTHOR, self.author.as_bytes()));
        }
        if !self.message.is_empty() {
            fields.push((FIELD_MESSAGE, self.message.as_bytes()));
        }
        fields.extend(replaces.as_ref().map(|id| (FIELD_REPLACES, &id[..])));
        fields.extend(self.others.iter().copied());
        let mut previous = 0;
        for (tag, value) in &fields {
            if *tag <= previous {
                return Err(CommitDamage::Field(*tag));
            }
            check_field(*tag, value)?;
            previous = *tag;
        }
        if fields.len() > COMMIT_FIELDS_MAX {
            return Err(CommitDamage::Length);
        }
        let mut attributes = Vec::new();
        let root = LeafRecord::directory(self.tree, self.mode, &self.attributes, &mut attributes)
            .map_err(CommitDamage::Root)?;
        let header = CommitHeader {
            version: COMMIT_VERSION,
            parents: u8::try_from(self.parents.len()).map_err(|_| CommitDamage::Parents)?,
            fields: U16::new(u16::try_from(fields.len()).map_err(|_| CommitDamage::Length)?),
            time_ns: self.time_ns.into(),
            files: self.files.into(),
            bytes: self.bytes.into(),
            root,
        };
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&attributes);
        out.extend_from_slice(self.parents.as_bytes());
        for (tag, value) in fields {
            let length = u32::try_from(value.len()).map_err(|_| CommitDamage::Length)?;
            let field = CommitField {
                tag: tag.into(),
                length: length.into(),
            };
            out.extend_from_slice(field.as_bytes());
            out.extend_from_slice(value);
        }
        if out.len() > COMMIT_BYTES_MAX {
            Err(CommitDamage::Length)
        } else {
            Ok(out)
        }
    }
}

enum Value<'a> {
    Text(&'a str),
    Id(ContentId),
    Bytes(&'a [u8]),
}

fn check_field(tag: u16, value: &[u8]) -> Result<Value<'_>, CommitDamage> {
    let text = |most: usize| {
        let text = std::str::from_utf8(value).map_err(|_| CommitDamage::Field(tag))?;
        let bounded = !text.is_empty() && text.len() <= most;
        if bounded {
            Ok(Value::Text(text))
        } else {
            Err(CommitDamage::Field(tag))
        }
    };
    match tag {
        FIELD_AUTHOR => text(COMMIT_AUTHOR_BYTES_MAX),
        FIELD_MESSAGE => text(COMMIT_MESSAGE_BYTES_MAX),
        FIELD_REPLACES => ContentId::read_from_bytes(value)
            .map(Value::Id)
            .map_err(|_| CommitDamage::Field(tag)),
        CRITICAL.. => Err(CommitDamage::Unknown(tag)),
        _ if value.is_empty() || value.len() > COMMIT_FIELD_BYTES_MAX => Err(CommitDamage::Field(tag)),
        _ => Ok(Value::Bytes(value)),
    }
}

fn check_parents(parents: &[ContentId]) -> Result<(), CommitDamage> {
    let repeated = || {
        parents
            .iter()
            .enumerate()
            .any(|(index, parent)| parents[..index].contains(parent))
    };
    if parents.len() > COMMIT_PARENTS_MAX || repeated() {
        Err(CommitDamage::Parents)
    } else {
        Ok(())
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
