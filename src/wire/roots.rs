//! Roots, changes of roots, and what the store refuses, as messages about extents carry them: JSON, in heads.

use std::sync::Arc;

use helios_engine::Error;
use helios_engine::format::{ContentId, Domain, Kind, RootId, SegmentId};
use helios_engine::ops::{ByteString, Failure};
use helios_engine::store::{Expect, Root, RootChange, RootKind, RootUpdate, Target};
use serde::{Deserialize, Serialize};

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
