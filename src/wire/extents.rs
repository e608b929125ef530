//! What is asked of a store extent by extent, and how keys, extents and roots are written.
//!
//! Keys and bytes are raw, in bodies: a question about a thousand extents is 40 KB. Everything else is JSON, in heads.
//!
//! | bytes of a key | field |
//! | --- | --- |
//! | 0..4 | domain, little-endian |
//! | 4 | kind: 1 data, 2 manifest, 3 tree node, 4 commit |
//! | 5..8 | zero |
//! | 8..40 | id |
//!
//! An extent is a key, the length of its bytes (four bytes, little-endian), and the bytes.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use helios_engine::Error;
use helios_engine::format::{ContentId, Domain, Kind, RootId, SegmentId};
use helios_engine::ops::{ByteString, Failure};
use helios_engine::store::{Expect, Extent, Key, Root, RootChange, RootKind, RootUpdate, Target};
use serde::{Deserialize, Serialize};

/// Bytes of a key.
pub const KEY_BYTES: usize = 40;
/// Bytes of an extent besides its own.
pub const EXTENT_BYTES_EXTRA: usize = KEY_BYTES + 4;
/// In place of a length: there is no such extent, or its bytes cannot be had.
pub const NO_LENGTH: u32 = u32::MAX;

/// A question, or something to be done, about extents, batches and roots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// The stored lengths of extents. Body: keys. Answer: four bytes for each, [`NO_LENGTH`] for those that are not there.
    Lengths,
    /// The bytes of extents. Body: keys. Answer: for each its length and bytes; [`NO_LENGTH`] for those that cannot be had.
    Get,
    /// Begins a batch, whose number is that of this call.
    Begin,
    /// Makes a batch keep extents. Body: keys. Answer: a byte for each, 1 if it is there.
    Hold {
        /// Its number.
        batch: u64,
    },
    /// Adds extents to a batch. Body: extents.
    Put {
        /// Its number.
        batch: u64,
    },
    /// Makes a batch visible, and moves roots with it.
    Submit {
        /// Its number.
        batch: u64,
        /// Of the roots.
        #[serde(default)]
        domain: u32,
        /// All happen, or none.
        roots: Vec<RootMove>,
    },
    /// Waits until a submitted batch survives power loss.
    Durable {
        /// Its number.
        batch: u64,
    },
    /// Ends a batch. What was not submitted is gone; what it kept is kept no longer.
    End {
        /// Its number.
        batch: u64,
    },
    /// One root.
    Root {
        /// Its kind.
        kind: RootKind,
        /// Its name.
        name: ByteString,
    },
    /// All roots of a kind, by name.
    Roots {
        /// The kind.
        kind: RootKind,
    },
    /// Waits until everything that is visible survives power loss.
    Flush,
}

/// What came of an [`Ask`]; bytes come before, in frames of kind `Output`, and belong together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Of `begin`: the batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// Of `root` and `roots`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<RootTold>,
    /// Of `get`: why bytes cannot be had. Of `submit`: why nothing became visible, with `at` 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
}

/// Why the store refuses one thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// Its place in the question.
    pub at: u64,
    /// As for people.
    pub failure: Failure,
    /// As for programs, where there is more to say than the class does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// What exactly was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Facts {
    /// There is no such thing.
    NotFound {
        /// What.
        what: String,
    },
    /// It exists already.
    Exists {
        /// What.
        what: String,
    },
    /// A root is not as expected.
    Conflict {
        /// Which.
        root: String,
        /// What was expected.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An extent is not what was written.
    Damaged {
        /// Its id.
        id: ContentId,
        /// Its kind, by number.
        kind: u8,
        /// Segment that holds it.
        segment: u32,
        /// Byte in the segment.
        offset: u64,
        /// What is wrong.
        damage: String,
    },
    /// What is stored does not hold together.
    Inconsistent {
        /// Of the content.
        id: ContentId,
        /// Kind of the extent, by number.
        kind: u8,
        /// What is wrong.
        damage: String,
    },
}

impl Refused {
    /// Of an error of the store.
    pub fn new(at: u64, error: Error) -> Refused {
        let facts = match &error {
            Error::NotFound { what } => Some(Facts::NotFound { what: what.clone() }),
            Error::Exists { what } => Some(Facts::Exists { what: what.clone() }),
            Error::Conflict {
                root,
                expected,
                found,
            } => Some(Facts::Conflict {
                root: root.clone(),
                expected: expected.clone(),
                found: found.clone(),
            }),
            Error::Damaged {
                id,
                kind,
                segment,
                offset,
                damage,
            } => Some(Facts::Damaged {
                id: *id,
                kind: *kind as u8,
                segment: segment.0,
                offset: *offset,
                damage: damage.clone(),
            }),
            Error::Inconsistent { id, kind, damage } => Some(Facts::Inconsistent {
                id: *id,
                kind: *kind as u8,
                damage: damage.clone(),
            }),
            _ => None,
        };
        Refused {
            at,
            failure: error.into(),
            facts,
        }
    }

    /// The error it was made of, as far as anybody looks at it.
    pub fn into_error(self) -> Error {
        match self.facts {
            Some(Facts::NotFound { what }) => Error::NotFound { what },
            Some(Facts::Exists { what }) => Error::Exists { what },
            Some(Facts::Conflict {
                root,
                expected,
                found,
            }) => Error::Conflict {
                root,
                expected,
                found,
            },
            Some(Facts::Damaged {
                id,
                kind,
                segment,
                offset,
                damage,
            }) => Error::Damaged {
                id,
                kind: Kind::from_byte(kind).unwrap_or(Kind::Data),
                segment: SegmentId(segment),
                offset,
                damage,
            },
            Some(Facts::Inconsistent { id, kind, damage }) => Error::Inconsistent {
                id,
                kind: Kind::from_byte(kind).unwrap_or(Kind::Data),
                damage,
            },
            None => self.failure.into(),
        }
    }
}

/// What a root points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aim {
    /// Kind of the extent, by number.
    pub kind: u8,
    /// Its id.
    pub id: ContentId,
}

/// A root as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootTold {
    /// Its number.
    pub id: u64,
    /// Its kind.
    pub kind: RootKind,
    /// Its name.
    pub name: ByteString,
    /// Domain of what it reaches.
    pub domain: u32,
    /// Counts its changes.
    pub sequence: u64,
    /// What it keeps alive, if anything.
    pub target: Option<Aim>,
    /// Its record (`FORMAT.md`).
    pub data: ByteString,
    /// When it last changed: nanoseconds since 1970.
    pub changed_ns: u64,
}

/// What a root must be for a move to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum If {
    /// Anything, absent included.
    Any,
    /// No such root.
    Absent,
    /// Some such root.
    Present,
    /// The root with exactly this sequence.
    Sequence(u64),
}

/// What happens to a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Move {
    /// It is made or moved.
    Set {
        /// What it points at.
        target: Option<Aim>,
        /// Its record.
        data: ByteString,
    },
    /// It gets another name, which is free.
    Rename {
        /// The name.
        to: ByteString,
    },
    /// It goes.
    Delete,
}

/// A change of a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootMove {
    /// Its kind.
    pub kind: RootKind,
    /// Its name.
    pub name: ByteString,
    /// Condition.
    #[serde(rename = "if")]
    pub condition: If,
    /// What happens.
    #[serde(flatten)]
    pub change: Move,
}

impl From<Target> for Aim {
    fn from(target: Target) -> Aim {
        Aim {
            kind: target.kind as u8,
            id: target.id,
        }
    }
}

impl Aim {
    fn target(self) -> Result<Target, String> {
        Ok(Target {
            kind: Kind::from_byte(self.kind).ok_or_else(|| format!("{} is no kind of extent", self.kind))?,
            id: self.id,
        })
    }
}

impl From<&Root> for RootTold {
    fn from(root: &Root) -> RootTold {
        RootTold {
            id: root.id.0,
            kind: root.kind,
            name: root.name[..].into(),
            domain: root.domain.0,
            sequence: root.sequence,
            target: root.target.map(Aim::from),
            data: root.data[..].into(),
            changed_ns: root.changed_ns,
        }
    }
}

impl RootTold {
    /// The root.
    ///
    /// # Errors
    /// A number in it means nothing.
    pub fn into_root(self) -> Result<Root, String> {
        Ok(Root {
            id: RootId(self.id),
            kind: self.kind,
            name: Arc::from(self.name.as_bytes()),
            domain: Domain(self.domain),
            sequence: self.sequence,
            target: self.target.map(Aim::target).transpose()?,
            data: self.data.into_bytes().into(),
            changed_ns: self.changed_ns,
        })
    }
}

impl From<RootUpdate> for RootMove {
    fn from(update: RootUpdate) -> RootMove {
        RootMove {
            kind: update.kind,
            name: update.name[..].into(),
            condition: match update.expect {
                Expect::Any => If::Any,
                Expect::Absent => If::Absent,
                Expect::Present => If::Present,
                Expect::Sequence(sequence) => If::Sequence(sequence),
            },
            change: match update.change {
                RootChange::Set { target, data } => Move::Set {
                    target: target.map(Aim::from),
                    data: data[..].into(),
                },
                RootChange::Rename { to } => Move::Rename { to: to[..].into() },
                RootChange::Delete => Move::Delete,
            },
        }
    }
}

impl RootMove {
    /// The change.
    ///
    /// # Errors
    /// A number in it means nothing.
    pub fn into_update(self) -> Result<RootUpdate, String> {
        Ok(RootUpdate {
            kind: self.kind,
            name: Arc::from(self.name.as_bytes()),
            expect: match self.condition {
                If::Any => Expect::Any,
                If::Absent => Expect::Absent,
                If::Present => Expect::Present,
                If::Sequence(sequence) => Expect::Sequence(sequence),
            },
            change: match self.change {
                Move::Set { target, data } => RootChange::Set {
                    target: target.map(Aim::target).transpose()?,
                    data: data.into_bytes().into(),
                },
                Move::Rename { to } => RootChange::Rename {
                    to: Arc::from(to.as_bytes()),
                },
                Move::Delete => RootChange::Delete,
            },
        })
    }
}

fn put_key(key: &Key, out: &mut BytesMut) {
    out.put_u32_le(key.domain.0);
    out.put_u32_le(u32::from(key.kind as u8));
    out.put_slice(&key.id.0);
}

/// Keys as bytes.
pub fn write_keys(keys: &[Key]) -> Bytes {
    let mut out = BytesMut::with_capacity(keys.len() * KEY_BYTES);
    keys.iter().for_each(|key| put_key(key, &mut out));
    out.freeze()
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

fn read_key(bytes: &[u8]) -> Result<Key, String> {
    let kind = number(&bytes[4..8]);
    let known = u8::try_from(kind).ok().and_then(Kind::from_byte);
    Ok(Key {
        domain: Domain(number(&bytes[..4])),
        kind: known.ok_or_else(|| format!("{kind} is no kind of extent"))?,
        id: ContentId(bytes[8..KEY_BYTES].try_into().expect("32 bytes")),
    })
}

/// The keys that bytes are.
///
/// # Errors
/// They are none.
pub fn read_keys(bytes: &[u8]) -> Result<Vec<Key>, String> {
    if !bytes.len().is_multiple_of(KEY_BYTES) {
        return Err(format!("{} bytes are no number of keys", bytes.len()));
    }
    bytes.chunks_exact(KEY_BYTES).map(read_key).collect()
}

/// Extents as bytes.
pub fn write_extents(extents: &[Extent]) -> Bytes {
    let room = extents
        .iter()
        .map(|extent| EXTENT_BYTES_EXTRA + extent.bytes.len());
    let mut out = BytesMut::with_capacity(room.sum());
    for extent in extents {
        put_key(&extent.key, &mut out);
        put_piece(&extent.bytes, &mut out);
    }
    out.freeze()
}

/// Appends a length and the bytes.
///
/// # Panics
/// If they are as long as no extent is.
pub fn put_piece(bytes: &[u8], out: &mut BytesMut) {
    let length = u32::try_from(bytes.len()).expect("an extent is shorter");
    out.put_u32_le(length);
    out.put_slice(bytes);
}

/// The extents that bytes are. They share memory with these.
///
/// # Errors
/// They are none.
pub fn read_extents(mut bytes: Bytes) -> Result<Vec<Extent>, String> {
    let mut extents = Vec::new();
    while !bytes.is_empty() {
        if bytes.len() < EXTENT_BYTES_EXTRA {
            return Err(format!("{} bytes are no extent", bytes.len()));
        }
        let key = read_key(&bytes.split_to(KEY_BYTES))?;
        let piece = take_piece(&mut bytes)?.ok_or("an extent without a length")?;
        extents.push(Extent { key, bytes: piece });
    }
    Ok(extents)
}

/// Takes a length and the bytes; nothing if they say [`NO_LENGTH`].
///
/// # Errors
/// There are fewer bytes.
pub fn take_piece(bytes: &mut Bytes) -> Result<Option<Bytes>, String> {
    if bytes.len() < 4 {
        return Err("a length is missing".into());
    }
    let length = number(&bytes.split_to(4));
    if length == NO_LENGTH {
        return Ok(None);
    }
    let length = length as usize;
    if length > bytes.len() {
        return Err(format!("{length} bytes are announced, {} are there", bytes.len()));
    }
    Ok(Some(bytes.split_to(length)))
}
