//! The way of a large content into a batch: cut, hash, list, put; a group of a few megabytes at a time.
//!
//! While one group is cut, the one before it is hashed on other cores, as chunks and as a part of the whole, and
//! those before that are written by the reactors. What is kept is bounded: two groups, and the records of the
//! manifest that are in no part yet.

use bytes::Bytes;

use super::chunker::{Chunker, Step};
use super::listing::Listing;
use super::put_stream::{LEFT_OVER_MAX, WINDOW_BYTES};
use super::workers::{self, Task};
use super::{Objects, Offered};
use crate::access::Batch;
use crate::error::{Error, Result};
use crate::format::manifest::Piece;
use crate::format::{ContentId, Kind};
use crate::hash::Hasher;
use crate::limits::CONTENT_BYTES_MAX;
use crate::store::{Extent, Key};

/// Bytes of content that are hashed together. What a stream cuts off one window is one group, so that it is hashed beside the
/// cutting of the next window.
const GROUP_BYTES: usize = WINDOW_BYTES + LEFT_OVER_MAX;

/// Refuses contents of more than [`CONTENT_BYTES_MAX`] bytes.
pub(super) fn check_length(length: Option<u64>) -> Result<u64> {
    length
        .filter(|length| *length <= CONTENT_BYTES_MAX)
        .ok_or_else(|| {
            Error::invalid(
                "content",
                format!("longer than {CONTENT_BYTES_MAX} bytes; store it as several"),
            )
        })
}

/// A piece that has been cut but not hashed.
enum Cut {
    Chunk(Bytes),
    Hole(u64),
}

/// Pieces of one window that have been cut and not hashed.
#[derive(Default)]
struct Group {
    /// What the chunks are slices of.
    window: Bytes,
    cuts: Vec<Cut>,
}

/// One large content on its way in.
pub(super) struct Ingest {
    objects: Objects,
    chunker: Chunker,
    whole: Hasher,
    length: u64,
    listing: Listing,
    group: Group,
}

impl Ingest {
    pub fn new(objects: &Objects) -> Self {
        Ingest {
            objects: objects.clone(),
            chunker: Chunker::new(),
            whole: Hasher::new(),
            length: 0,
            listing: Listing::default(),
            group: Group::default(),
        }
    }

    /// Takes what can be decided from the front of `window` and says how much that is; the rest has to be at the
    /// front of the next window. `end`: the content ends with it, and everything is taken.
    pub async fn absorb(&mut self, batch: &mut Batch, window: &Bytes, end: bool) -> Result<usize> {
        let mut at = 0;
        loop {
            let group = std::mem::take(&mut self.group);
            let (chunker, next) = (&mut self.chunker, &mut self.group);
            let mut full = false;
            let cutting: Task<'_> = Box::new(|| full = cut_group(chunker, window, &mut at, end, next));
            let ids = hash_group(&self.objects, &mut self.whole, &group, Some(cutting));
            self.store(batch, group.cuts, ids).await?;
            if !full {
                return Ok(at);
            }
        }
    }

    /// Lengthens the hole at the end of what was absorbed, if it ends in one; `bytes` is whole units.
    pub fn lengthen_hole(&mut self, bytes: u64) -> bool {
        let in_hole = self.chunker.in_hole();
        if in_hole {
            self.chunker.lengthen_hole(bytes);
        }
        in_hole
    }

    /// Extents put so far that no stored manifest lists.
    pub fn unlisted(&self) -> Vec<Key> {
        self.listing
            .unlisted()
            .map(|(kind, id)| self.objects.key_of(kind, id))
            .collect()
    }

    /// Bytes of content kept in memory.
    pub fn buffered(&self) -> usize {
        let bytes = |cut: &Cut| match cut {
            Cut::Chunk(bytes) => bytes.len(),
            Cut::Hole(_) => 0,
        };
        self.group.cuts.iter().map(bytes).sum()
    }

    /// Puts the manifest. Everything has been absorbed, the end included.
    pub async fn finish(mut self, batch: &mut Batch) -> Result<Offered> {
        let group = std::mem::take(&mut self.group);
        let ids = hash_group(&self.objects, &mut self.whole, &group, None);
        self.store(batch, group.cuts, ids).await?;
        let id = self.whole.finish();
        let (parts, root) = self.listing.finish(id);
        let key = self.objects.key_of(Kind::Manifest, id);
        let part = |(id, bytes)| Extent {
            key: self.objects.key_of(Kind::Manifest, id),
            bytes,
        };
        let extents = parts.into_iter().map(part).chain([Extent { key, bytes: root }]);
        let new = batch.put(extents.collect()).await?;
        Ok(Offered {
            id,
            length: self.length,
            new: new.last() == Some(&true),
        })
    }

    /// Lists and puts a hashed group.
    async fn store(&mut self, batch: &mut Batch, group: Vec<Cut>, ids: Vec<ContentId>) -> Result<()> {
        let keys: Vec<Key> = ids
            .iter()
            .map(|id| self.objects.key_of(Kind::Data, *id))
            .collect();
        let known = self.objects.store.contains(&keys)?;
        let mut ids = ids.into_iter();
        let mut chunks = Vec::with_capacity(keys.len());
        for cut in group {
            let piece = match cut {
                Cut::Hole(length) => Piece::Hole { length },
                Cut::Chunk(bytes) => {
                    let id = ids.next().expect("one id per chunk");
                    let length = u32::try_from(bytes.len()).expect("chunks are smaller than extents");
                    chunks.push(bytes);
                    Piece::Chunk { id, length }
                }
            };
            self.length = check_length(self.length.checked_add(piece.length()))?;
            self.listing.push(piece);
        }
        // A chunk is a slice of its window. Few new ones would keep all of it in memory until they are durable.
        let total: usize = chunks.iter().map(Bytes::len).sum();
        let new: usize = chunks
            .iter()
            .zip(&known)
            .filter(|(_, known)| !**known)
            .map(|(bytes, _)| bytes.len())
            .sum();
        if new < total / 2 {
            for (bytes, _) in chunks.iter_mut().zip(&known).filter(|(_, known)| !**known) {
                *bytes = Bytes::copy_from_slice(bytes);
            }
        }
        let extents = keys
            .into_iter()
            .zip(chunks)
            .map(|(key, bytes)| Extent { key, bytes });
        batch.put(extents.collect()).await?;
        while let Some((id, bytes)) = self.listing.part() {
            let key = self.objects.key_of(Kind::Manifest, id);
            batch.put(vec![Extent { key, bytes }]).await?;
        }
        Ok(())
    }
}

/// Cuts pieces off `window` from `at` on until a group is full (then true) or nothing more can be decided.
fn cut_group(chunker: &mut Chunker, window: &Bytes, at: &mut usize, end: bool, group: &mut Group) -> bool {
    group.window = window.clone();
    let mut bytes = 0;
    while bytes < GROUP_BYTES {
        match chunker.next(&window[*at..], end) {
            Step::More => return false,
            Step::Zeros(zeros) => *at += zeros,
            Step::Hole(length) => group.cuts.push(Cut::Hole(length)),
            Step::Chunk(length) => {
                group.cuts.push(Cut::Chunk(window.slice(*at..*at + length)));
                *at += length;
                bytes += length;
            }
        }
    }
    true
}

/// Hashes what a group has of the whole content. Chunks that follow each other are taken as one: at every other border BLAKE3
/// has a chunk of its own to finish, block by block, and smaller subtrees to hash together.
fn take_in(whole: &mut Hasher, group: &Group) {
    let Group { window, cuts } = group;
    let mut run = 0..0;
    for cut in cuts {
        match cut {
            Cut::Chunk(bytes) => {
                let start = bytes.as_ptr().addr() - window.as_ptr().addr();
                if start != run.end {
                    whole.update(&window[run]);
                    run = start..start;
                }
                run.end = start + bytes.len();
            }
            Cut::Hole(length) => {
                whole.update(&window[std::mem::take(&mut run)]);
                whole.update_zeroes(*length);
            }
        }
    }
    whole.update(&window[run]);
}

/// The ids of the chunks of `group`; the whole content's hash takes the group in. `beside` runs at the same time.
fn hash_group(
    objects: &Objects,
    whole: &mut Hasher,
    group: &Group,
    beside: Option<Task<'_>>,
) -> Vec<ContentId> {
    let chunks: Vec<&[u8]> = group
        .cuts
        .iter()
        .filter_map(|cut| match cut {
            Cut::Chunk(bytes) => Some(&bytes[..]),
            Cut::Hole(_) => None,
        })
        .collect();
    let mut ids = vec![ContentId([0; 32]); chunks.len()];
    let mut tasks: Vec<Task<'_>> = beside.into_iter().collect();
    if !group.cuts.is_empty() {
        tasks.push(Box::new(|| take_in(whole, group)));
    }
    tasks.extend(workers::id_tasks(&chunks, &mut ids));
    workers::run(objects.threads, tasks);
    ids
}
