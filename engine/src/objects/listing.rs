//! Builds the manifests of one content while its chunks go by, in bounded memory.
//!
//! Records gather until more have come than one manifest holds; then parts are cut off the front and listed one
//! level up, where the same rule holds. A part ends after a record whose chunk id says so (1 of 4096), within
//! bounds; so two versions of a huge content share the parts between their differences.
//! Invariant: the manifests depend on the sequence of pieces only.

use bytes::Bytes;

use crate::format::manifest::{MANIFEST_RECORDS_MAX, MANIFEST_RECORDS_MIN, Manifest, Piece, Role};
use crate::format::{ContentId, Kind};

/// The records of each level that are in no part yet.
pub(super) struct Listing {
    levels: Vec<Vec<Piece>>,
    /// Fewest and most records of a manifest; smaller than the format's in tests of many levels.
    bounds: [usize; 2],
}

impl Default for Listing {
    fn default() -> Self {
        Listing::with_bounds([MANIFEST_RECORDS_MIN, MANIFEST_RECORDS_MAX])
    }
}

impl Listing {
    fn with_bounds(bounds: [usize; 2]) -> Self {
        Listing {
            levels: Vec::new(),
            bounds,
        }
    }

    /// Adds the next chunk or hole.
    pub fn push(&mut self, piece: Piece) {
        self.push_at(0, piece);
    }

    /// A part that is complete and has to be stored, if there is one. Ask until there is none.
    pub fn part(&mut self) -> Option<(ContentId, Bytes)> {
        let level = self
            .levels
            .iter()
            .position(|pieces| pieces.len() > self.bounds[1])?;
        Some(self.cut_part(level))
    }

    /// Kinds and ids of the extents that stored manifests do not list yet.
    pub fn unlisted(&self) -> impl Iterator<Item = (Kind, ContentId)> + '_ {
        self.levels.iter().flatten().filter_map(Piece::target)
    }

    /// The last parts, and the root of `content`.
    pub fn finish(mut self, content: ContentId) -> (Vec<(ContentId, Bytes)>, Bytes) {
        let mut parts = Vec::new();
        for level in 0.. {
            let pieces = self.levels.get(level).map_or(&[][..], Vec::as_slice);
            if level + 1 >= self.levels.len() && pieces.len() <= self.bounds[1] {
                return (
                    parts,
                    Manifest::encode(Role::Root(content), number(level), pieces),
                );
            }
            while !self.levels[level].is_empty() {
                parts.push(self.cut_part(level));
            }
        }
        unreachable!("each level has a thousandth of the records of the one below")
    }

    fn push_at(&mut self, level: usize, piece: Piece) {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(piece);
    }

    fn cut_part(&mut self, level: usize) -> (ContentId, Bytes) {
        let pieces = &mut self.levels[level];
        let most = pieces.len().min(self.bounds[1]);
        let ends = |records: &usize| ends_part(&pieces[records - 1]);
        let end = (self.bounds[0]..most).find(ends).unwrap_or(most);
        let rest = pieces.split_off(end);
        let part = std::mem::replace(pieces, rest);
        let bytes = Manifest::encode(Role::Part, number(level), &part);
        let id = Manifest::part_id(&bytes);
        self.push_at(
            level + 1,
            Piece::Part {
                id,
                length: part.iter().map(Piece::length).sum(),
            },
        );
        (id, bytes)
    }
}

/// Whether a part may end after this record.
fn ends_part(piece: &Piece) -> bool {
    piece
        .target()
        .is_some_and(|(_, id)| id.0[0] == 0 && id.0[1] & 15 == 0)
}

fn number(level: usize) -> u8 {
    // `CONTENT_BYTES_MAX` cannot fill the highest level; `Manifest::encode` asserts the bound.
    u8::try_from(level).unwrap_or(u8::MAX)
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
