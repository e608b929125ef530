//! Pins: counted names that keep single contents alive.
//!
//! A pin is a root of kind `Pin` named by domain (4 bytes, little-endian) and content id; its data is the count (8
//! bytes, little-endian). A count changes by compare-and-swap on the root's sequence, so concurrent changes all
//! count. At zero the root is deleted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;

use super::{Durability, Objects};
use crate::access::Ack;
use crate::error::{Error, Result};
use crate::format::{ContentId, Domain, Kind};
use crate::store::{Expect, Key, Root, RootChange, RootKind, RootUpdate, Target};

/// Most pins one batch changes: their records have to fit one frame.
pub(super) const PINS_MAX: usize = 1024;

/// A pinned content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The content.
    pub id: ContentId,
    /// How often it is pinned; at least once.
    pub count: u64,
}

impl Objects {
    /// Pins a content once more and returns how often it is pinned now.
    pub async fn pin(&self, id: ContentId, durability: Durability) -> Result<u64> {
        let kind = self.kinds(&[id])?[0].ok_or_else(|| not_found(id))?;
        if kind == Kind::Manifest {
            // The index knows parts of manifests too; only contents can be pinned.
            self.manifest(id).await?;
        }
        let (count, ack) = self
            .change_pin(self.key_of(kind, id), |count, times| count.checked_add(times))
            .await?;
        self.settle(&ack, durability).await?;
        Ok(count)
    }

    /// Takes one pin back and returns how many are left. A content that is not pinned is an error.
    pub async fn unpin(&self, id: ContentId, durability: Durability) -> Result<u64> {
        // Which kind the content is matters for a pin that stays; read it from the pin.
        let kind = self
            .pin_root(id)?
            .and_then(|root| root.target)
            .map_or(Kind::Data, |target| target.kind);
        let (count, ack) = self
            .change_pin(self.key_of(kind, id), |count, times| count.checked_sub(times))
            .await?;
        self.settle(&ack, durability).await?;
        Ok(count)
    }

    /// How often a content is pinned; 0 for unknown ones too.
    pub fn pin_count(&self, id: ContentId) -> Result<u64> {
        self.pin_root(id)?.map_or(Ok(0), |root| count_of(&root))
    }

    /// Every pinned content of the domain, by id.
    pub fn pins(&self) -> Result<Vec<Pin>> {
        let mut pins = Vec::new();
        for root in self.store.roots(RootKind::Pin)? {
            if let Some(id) = content_of(self.domain, &root) {
                pins.push(Pin {
                    id,
                    count: count_of(&root)?,
                });
            }
        }
        Ok(pins)
    }

    /// Pins each of `contents` once more, all or none; the answer's lease holds them. At most [`PINS_MAX`].
    pub(super) async fn pin_visibly(&self, contents: &[Key]) -> Result<Ack> {
        let (_, ack) = self
            .change_pins(contents, |count, times| count.checked_add(times))
            .await?;
        Ok(ack)
    }

    async fn change_pin(&self, key: Key, change: impl Fn(u64, u64) -> Option<u64>) -> Result<(u64, Ack)> {
        let (counts, ack) = self.change_pins(&[key], change).await?;
        Ok((counts[0], ack))
    }

    /// Changes the counts of `keys` together; `change` gets a count and how often its key is in the list. Returns
    /// the new counts of the different keys.
    async fn change_pins(
        &self,
        keys: &[Key],
        change: impl Fn(u64, u64) -> Option<u64>,
    ) -> Result<(Vec<u64>, Ack)> {
        let mut times: Vec<(Key, u64)> = Vec::with_capacity(keys.len());
        let mut places: HashMap<Key, usize> = HashMap::with_capacity(keys.len());
        for key in keys {
            match places.entry(*key) {
                Entry::Occupied(place) => times[*place.get()].1 += 1,
                Entry::Vacant(place) => {
                    place.insert(times.len());
                    times.push((*key, 1));
                }
            }
        }
        let keys: Vec<Key> = times.iter().map(|(key, _)| *key).collect();
        loop {
            let mut batch = self.batch();
            let held = batch.hold(&keys)?;
            let mut counts = Vec::with_capacity(keys.len());
            for ((key, times), held) in times.iter().zip(held) {
                let (count, update) = self.pin_update(*key, |count| change(count, *times))?;
                if count > 0 && !held {
                    return Err(not_found(key.id));
                }
                counts.push(count);
                batch.set_root(update);
            }
            match batch.submit().await {
                // Somebody else changed a count in between; that is progress, so this ends.
                Err(Error::Conflict { .. } | Error::Exists { .. }) => {}
                submitted => return Ok((counts, submitted?)),
            }
        }
    }

    /// The root change that gives the pin of `key` its new count.
    fn pin_update(&self, key: Key, change: impl Fn(u64) -> Option<u64>) -> Result<(u64, RootUpdate)> {
        let name = name_of(self.domain, key.id);
        let root = self.store.root(RootKind::Pin, &name)?;
        let count = root.as_ref().map_or(Ok(0), count_of)?;
        let count = change(count).ok_or_else(|| Error::not_found(format!("a pin of {}", key.id)))?;
        let change = match count {
            0 => RootChange::Delete,
            _ => RootChange::Set {
                target: Some(Target {
                    kind: key.kind,
                    id: key.id,
                }),
                data: Bytes::copy_from_slice(&count.to_le_bytes()),
            },
        };
        let expect = root.map_or(Expect::Absent, |root| Expect::Sequence(root.sequence));
        Ok((
            count,
            RootUpdate {
                kind: RootKind::Pin,
                name: name.into(),
                expect,
                change,
            },
        ))
    }

    async fn settle(&self, ack: &Ack, durability: Durability) -> Result<()> {
        match durability {
            Durability::Visible => Ok(()),
            Durability::Durable => ack.durable().await,
        }
    }

    fn pin_root(&self, id: ContentId) -> Result<Option<Root>> {
        self.store.root(RootKind::Pin, &name_of(self.domain, id))
    }
}

pub(super) fn not_found(id: ContentId) -> Error {
    Error::not_found(format!("content {id}"))
}

fn name_of(domain: Domain, id: ContentId) -> Vec<u8> {
    [&domain.0.to_le_bytes()[..], &id.0].concat()
}

/// The content a pin of `domain` is named after; none for pins of other domains.
fn content_of(domain: Domain, root: &Root) -> Option<ContentId> {
    let id = root.name.strip_prefix(&domain.0.to_le_bytes())?;
    Some(ContentId(id.try_into().ok()?))
}

fn count_of(root: &Root) -> Result<u64> {
    let count = root.data[..].try_into().map(u64::from_le_bytes);
    count.map_err(|_| {
        let what = format!("pin {}", root.id);
        Error::invalid(
            what,
            format!("its count has {} bytes instead of 8", root.data.len()),
        )
    })
}
