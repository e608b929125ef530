//! The names of things: newtypes, never bare integers.

use std::fmt;
use std::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// BLAKE3-256: of the plain bytes for user content, of a kind's own derive-key context for nodes and commits.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct ContentId(pub [u8; 32]);

impl ContentId {
    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// A text is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is 64 hexadecimal digits, as b3sum prints them")]
pub struct ParseIdError;

impl FromStr for ContentId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(ParseIdError);
        }
        let mut id = [0u8; 32];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16).ok_or(ParseIdError)?;
            let low = char::from(pair[1]).to_digit(16).ok_or(ParseIdError)?;
            *byte = u8::try_from(high << 4 | low).map_err(|_| ParseIdError)?;
        }
        Ok(ContentId(id))
    }
}

impl serde::Serialize for ContentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ContentId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What an extent is. Kinds are separate name spaces: the same id under two kinds is two extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// User bytes: a whole content or one chunk of it.
    Data = 1,
    /// The extent list of a large content, under the content's own id.
    Manifest = 2,
    /// A state-tree node.
    Node = 3,
    /// A commit.
    Commit = 4,
    /// A volume map node.
    VolumeNode = 5,
    /// A root record: lives in frames, never in the index.
    Root = 6,
}

impl Kind {
    /// Whether its bytes can refer to other extents.
    pub fn has_references(self) -> bool {
        matches!(
            self,
            Kind::Manifest | Kind::Node | Kind::Commit | Kind::VolumeNode
        )
    }

    /// The kind with this number, if there is one.
    pub fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Data,
            2 => Kind::Manifest,
            3 => Kind::Node,
            4 => Kind::Commit,
            5 => Kind::VolumeNode,
            6 => Kind::Root,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Data => "data",
            Kind::Manifest => "manifest",
            Kind::Node => "tree node",
            Kind::Commit => "commit",
            Kind::VolumeNode => "volume node",
            Kind::Root => "root record",
        })
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// Deduplication domain: equal bytes in two domains are two extents. 0 is the common one.
    Domain(u32)
);
number!(
    /// Logical segment; the segment table maps it to places on devices.
    SegmentId(u32)
);
number!(
    /// One reactor's log.
    LogId(u16)
);
number!(
    /// Position in a log: one per batch, from 1, without gaps.
    Sequence(u64)
);
number!(
    /// A root's number, never reused.
    RootId(u64)
);
