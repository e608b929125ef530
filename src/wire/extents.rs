//! What is asked of a store extent by extent, and how keys and extents are written.
//!
//! Keys and bytes are raw, in bodies: a question about a thousand extents is 40 KB. Everything else is JSON, in heads ([`roots`](super::roots)).
//!
//! | bytes of a key | field |
//! | --- | --- |
//! | 0..4 | domain, little-endian |
//! | 4 | kind: 1 data, 2 manifest, 3 tree node, 4 commit |
//! | 5..8 | zero |
//! | 8..40 | id |
//!
//! An extent is a key, the length of its bytes (four bytes, little-endian), and the bytes.

use bytes::{BufMut, Bytes, BytesMut};
use helios_engine::format::{ContentId, Domain, Kind};
use helios_engine::ops::ByteString;
use helios_engine::store::{Extent, Key, RootKind};
use serde::{Deserialize, Serialize};

pub use super::roots::{Aim, Facts, If, Move, Refused, RootMove, RootTold};

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

/// Extents as bytes, in parts: what is before the bytes of each, and these.
pub fn write_extents(extents: &[Extent]) -> Vec<Bytes> {
    let mut heads = BytesMut::with_capacity(EXTENT_BYTES_EXTRA * extents.len());
    let parts = extents.iter().flat_map(|extent| {
        put_key(&extent.key, &mut heads);
        [head(&mut heads, Some(&extent.bytes)), extent.bytes.clone()]
    });
    parts.collect()
}

/// Lengths and bytes, in parts; [`NO_LENGTH`] for what is absent.
pub fn write_answers(answers: Vec<Option<Bytes>>) -> Vec<Bytes> {
    let mut heads = BytesMut::with_capacity(4 * answers.len());
    let mut parts = Vec::with_capacity(2 * answers.len());
    for answer in answers {
        parts.push(head(&mut heads, answer.as_ref()));
        parts.extend(answer);
    }
    parts
}

/// Ends what is before the bytes of an extent with their length.
fn head(heads: &mut BytesMut, bytes: Option<&Bytes>) -> Bytes {
    let length = bytes.map_or(Ok(NO_LENGTH), |bytes| u32::try_from(bytes.len()));
    heads.put_u32_le(length.expect("an extent is shorter"));
    heads.split().freeze()
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
