//! The values callers exchange with a store: keys, extents, roots and their updates.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::root_record::RootRecord;
use crate::format::{ContentId, Domain, Kind, RootId};
use crate::limits::{EXTENT_BYTES_MAX, ROOT_DATA_BYTES_MAX, ROOT_NAME_BYTES_MAX};

/// Names one extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Deduplication domain.
    pub domain: Domain,
    /// Name space within the domain.
    pub kind: Kind,
    /// Hash of the extent's bytes, as its kind defines it.
    pub id: ContentId,
}

/// An extent offered to a batch. The caller has computed `key.id` from `bytes`.
#[derive(Debug, Clone)]
pub struct Extent<P = Bytes> {
    /// Its name.
    pub key: Key,
    /// Its bytes, at most [`EXTENT_BYTES_MAX`](crate::limits::EXTENT_BYTES_MAX).
    pub bytes: P,
}

/// The bytes of an extent that is offered: the caller's own, or borrowed, which counts a reference only where the store keeps
/// them.
pub trait Payload: AsRef<[u8]> {
    /// Makes them the store's.
    fn into_bytes(self) -> Bytes;
}

impl Payload for Bytes {
    fn into_bytes(self) -> Bytes {
        self
    }
}

impl Payload for &Bytes {
    fn into_bytes(self) -> Bytes {
        self.clone()
    }
}

/// What kind of name keeps content alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum RootKind {
    /// A moving name of a commit.
    Branch = 1,
    /// A fixed name of a commit.
    Tag = 2,
    /// A counted pin of a content.
    Pin = 3,
    /// Which branch a directory follows, and its stat cache.
    Workspace = 4,
    /// A volume.
    Volume = 5,
    /// A volume snapshot.
    Snapshot = 6,
    /// A setting of the store; keeps nothing alive.
    Setting = 7,
}

/// What a root points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Kind of the extent.
    pub kind: Kind,
    /// Its id.
    pub id: ContentId,
}

/// A root as it is visible now.
#[derive(Debug, Clone)]
pub struct Root {
    /// Never reused.
    pub id: RootId,
    /// Its kind.
    pub kind: RootKind,
    /// Its name; unique within its kind.
    pub name: Arc<[u8]>,
    /// Domain of everything it reaches.
    pub domain: Domain,
    /// Counts the changes of this root.
    pub sequence: u64,
    /// What it keeps alive, if anything.
    pub target: Option<Target>,
    /// Owned by the layer that made the root; at most `ROOT_DATA_BYTES_MAX`.
    pub data: Bytes,
    /// When it last changed: nanoseconds since 1970.
    pub changed_ns: u64,
}

/// What a root must be for an update to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Anything, absent included.
    Any,
    /// No such root.
    Absent,
    /// Some such root.
    Present,
    /// The root with exactly this sequence (read earlier with [`Store::root`](super::Store::root)).
    Sequence(u64),
}

/// One root change; all changes of a batch happen together or not at all.
#[derive(Debug, Clone)]
pub struct RootUpdate {
    /// Kind of the root.
    pub kind: RootKind,
    /// Its present name.
    pub name: Arc<[u8]>,
    /// Condition.
    pub expect: Expect,
    /// What to do.
    pub change: RootChange,
}

/// What happens to a root.
#[derive(Debug, Clone)]
pub enum RootChange {
    /// Creates or moves it.
    Set {
        /// New target.
        target: Option<Target>,
        /// New data.
        data: Bytes,
    },
    /// Gives it another name; the new name must be free.
    Rename {
        /// New name.
        to: Arc<[u8]>,
    },
    /// Removes it.
    Delete,
}

/// What a batch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchCounts {
    /// Extents offered.
    pub offered: u64,
    /// Extents the store did not have.
    pub new: u64,
    /// Bytes offered.
    pub offered_bytes: u64,
    /// Bytes of the new extents.
    pub new_bytes: u64,
}

impl<P: Payload> Extent<P> {
    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.as_ref().len()
    }

    /// Refuses what no frame can carry.
    pub(crate) fn check(&self) -> Result<()> {
        if self.len() > EXTENT_BYTES_MAX {
            let reason = format!("{} bytes; an extent holds at most {EXTENT_BYTES_MAX}", self.len());
            return Err(Error::invalid(
                format!("{} {}", self.key.kind, self.key.id),
                reason,
            ));
        }
        Ok(())
    }
}

impl RootKind {
    const ALL: [RootKind; 7] = [
        RootKind::Branch,
        RootKind::Tag,
        RootKind::Pin,
        RootKind::Workspace,
        RootKind::Volume,
        RootKind::Snapshot,
        RootKind::Setting,
    ];
    /// All kinds.
    pub fn all() -> impl Iterator<Item = RootKind> {
        RootKind::ALL.into_iter()
    }

    /// How many kinds there are.
    pub(super) const COUNT: usize = RootKind::ALL.len();

    /// Place among the kinds, below `COUNT`.
    pub(super) fn number(self) -> usize {
        self as usize - 1
    }

    /// The kind with this number, if there is one.
    pub fn from_byte(byte: u8) -> Option<RootKind> {
        RootKind::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

const _: () = {
    let mut number = 0;
    while number < RootKind::COUNT {
        assert!(RootKind::ALL[number] as usize == number + 1);
        number += 1;
    }
};

impl RootUpdate {
    /// Refuses what no record can carry.
    pub(super) fn check(&self) -> Result<()> {
        let new_name = match &self.change {
            RootChange::Rename { to } => to,
            _ => &self.name,
        };
        for name in [&self.name, new_name] {
            if name.is_empty() || name.len() > ROOT_NAME_BYTES_MAX {
                let reason = format!(
                    "{} bytes long; 1 to {ROOT_NAME_BYTES_MAX} are allowed",
                    name.len()
                );
                return Err(Error::invalid(
                    format!("name {}", String::from_utf8_lossy(name)),
                    reason,
                ));
            }
        }
        if let RootChange::Set { data, .. } = &self.change
            && data.len() > ROOT_DATA_BYTES_MAX
        {
            let reason = format!(
                "{} bytes of data; at most {ROOT_DATA_BYTES_MAX} are allowed",
                data.len()
            );
            return Err(Error::invalid(
                format!("root {}", String::from_utf8_lossy(&self.name)),
                reason,
            ));
        }
        Ok(())
    }
}

impl Root {
    /// The record that says this, or that the root is gone.
    pub(super) fn record(&self, deleted: bool) -> RootRecord {
        RootRecord {
            root: self.id,
            sequence: self.sequence,
            changed_ns: self.changed_ns,
            domain: self.domain,
            kind: self.kind as u8,
            deleted,
            target: self.target.map(|target| (target.kind, target.id)),
            name: self.name.clone(),
            data: self.data.clone(),
        }
    }

    /// The root a live record describes; `None` for kinds this program does not know.
    pub(super) fn from_record(record: &RootRecord) -> Option<Root> {
        Some(Root {
            id: record.root,
            kind: RootKind::from_byte(record.kind)?,
            name: record.name.clone(),
            domain: record.domain,
            sequence: record.sequence,
            target: record.target.map(|(kind, id)| Target { kind, id }),
            data: record.data.clone(),
            changed_ns: record.changed_ns,
        })
    }
}
