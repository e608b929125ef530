//! Walks the manifests of one content over a range, from part to part, and fetches what they list.

use std::ops::Range;

use bytes::Bytes;

use super::Objects;
use crate::error::{Error, Result};
use crate::format::manifest::{Manifest, Piece};
use crate::format::{ContentId, Kind};
use crate::limits::CHUNK_BYTES;
use crate::store::Key;

/// Bytes of chunks fetched together: enough for merged reads, few enough that two such windows are little memory.
const FETCH_BYTES: usize = 2 << 20;
/// What the last chunk may add to that.
pub(super) const FETCH_BYTES_MAX: usize = FETCH_BYTES + CHUNK_BYTES[2];
/// Records taken together: bounds a window of short holes and chunks.
const FETCH_RECORDS_MAX: usize = 512;

/// A stretch of content as a reader gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Section {
    /// The next bytes.
    Data(Bytes),
    /// The next bytes are this many zeros, stored nowhere.
    Hole(u64),
}

impl Section {
    /// Bytes it stands for.
    pub fn length(&self) -> u64 {
        match self {
            Section::Data(bytes) => bytes.len() as u64,
            Section::Hole(length) => *length,
        }
    }
}

/// A chunk or hole and where in the content it starts.
struct Place {
    offset: u64,
    piece: Piece,
}

/// The rest of a range of one content.
pub(super) struct Walk {
    objects: Objects,
    content: ContentId,
    /// Manifests from the root down, each with the number of its next record.
    path: Vec<(Manifest, usize)>,
    /// Where the next record starts.
    offset: u64,
    range: Range<u64>,
}

impl Walk {
    pub fn new(objects: Objects, content: ContentId, root: Manifest, range: Range<u64>) -> Self {
        Walk {
            objects,
            content,
            path: vec![(root, 0)],
            offset: 0,
            range,
        }
    }

    /// The next sections, cut to the range; none at its end.
    pub async fn fetch(&mut self) -> Result<Vec<Section>> {
        let mut places = Vec::new();
        let mut bytes = 0;
        while bytes < FETCH_BYTES && places.len() < FETCH_RECORDS_MAX {
            let Some(place) = self.next().await? else { break };
            if let Piece::Chunk { length, .. } = place.piece {
                bytes += usize::try_from(length).expect("bounded by an extent");
            }
            places.push(place);
        }
        let keys: Vec<Key> = places
            .iter()
            .filter_map(|place| place.piece.target())
            .map(|(kind, id)| self.objects.key_of(kind, id))
            .collect();
        let mut chunks = self.objects.store.get_many(&keys).await.into_iter();
        let mut sections = Vec::with_capacity(places.len());
        for place in &places {
            let end = place.offset + place.piece.length();
            let wanted = self.range.start.max(place.offset)..self.range.end.min(end);
            sections.push(match place.piece {
                Piece::Hole { .. } => Section::Hole(wanted.end - wanted.start),
                Piece::Chunk { id, length } => {
                    let chunk = chunks.next().expect("one answer per key");
                    let chunk = chunk.map_err(|error| self.explain(error, "chunk", id, place.offset))?;
                    if chunk.len() as u64 != u64::from(length) {
                        let found = chunk.len();
                        return Err(self.damage(format!(
                            "chunk {id} of byte {} has {found} bytes instead of {length}",
                            place.offset
                        )));
                    }
                    let within = |position: u64| {
                        usize::try_from(position - place.offset).expect("a chunk fits memory: it is there")
                    };
                    Section::Data(chunk.slice(within(wanted.start)..within(wanted.end)))
                }
                Piece::Part { .. } => unreachable!("a walk goes down into parts"),
            });
        }
        Ok(sections)
    }

    /// The next chunk or hole that overlaps the range.
    async fn next(&mut self) -> Result<Option<Place>> {
        while self.offset < self.range.end {
            let Some((manifest, at)) = self.path.last_mut() else {
                break;
            };
            let Some(piece) = manifest.piece(*at) else {
                self.path.pop();
                continue;
            };
            *at += 1;
            let offset = self.offset;
            if offset + piece.length() <= self.range.start {
                self.offset += piece.length();
                continue;
            }
            match piece {
                Piece::Part { id, length } => {
                    let level = manifest.level();
                    let part = self.part(id, offset).await?;
                    if (part.level() + 1, part.length()) != (level, length) {
                        return Err(self.damage(format!(
                            "part {id} of byte {offset} is not as long as its list says"
                        )));
                    }
                    self.path.push((part, 0));
                }
                _ => {
                    self.offset += piece.length();
                    return Ok(Some(Place { offset, piece }));
                }
            }
        }
        Ok(None)
    }

    async fn part(&self, id: ContentId, offset: u64) -> Result<Manifest> {
        let bytes = self
            .objects
            .store
            .get(self.objects.key_of(Kind::Manifest, id))
            .await;
        let bytes = bytes.map_err(|error| self.explain(error, "part", id, offset))?;
        Manifest::decode_part(bytes, id)
            .map_err(|damage| self.damage(format!("part {id} of byte {offset} is damaged: {damage}")))
    }

    /// That a listed extent is missing is damage of the content; other errors say themselves what they are.
    fn explain(&self, error: Error, what: &str, id: ContentId, offset: u64) -> Error {
        match error {
            Error::NotFound { .. } => self.damage(format!("{what} {id} of byte {offset} is missing")),
            other => other,
        }
    }

    fn damage(&self, damage: String) -> Error {
        Error::Inconsistent {
            id: self.content,
            kind: Kind::Manifest,
            damage,
        }
    }
}
