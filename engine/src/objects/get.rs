//! Contents come out into memory: whole, many at once, or a range.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::pins::not_found;
use super::{GetStream, Objects, Section};
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::{ContentId, Kind};
use crate::limits::GET_BYTES_MAX;
use crate::store::Key;

/// A content as it is stored.
pub(super) enum Stored {
    /// All of it.
    Whole(Bytes),
    /// What it is made of.
    Listed(Manifest),
}

impl Objects {
    /// A whole content of at most [`GET_BYTES_MAX`] bytes, verified.
    pub async fn get(&self, id: ContentId) -> Result<Bytes> {
        match self.open(id).await? {
            Stored::Whole(bytes) => Ok(bytes),
            Stored::Listed(manifest) => Box::pin(self.collect_all(id, manifest)).await,
        }
    }

    /// Many contents, each as [`get`](Objects::get) answers it; reads of small ones are sorted and merged.
    pub async fn get_batch(&self, ids: &[ContentId]) -> Vec<Result<Bytes>> {
        let keys: Vec<Key> = ids.iter().map(|id| self.key_of(Kind::Data, *id)).collect();
        let mut contents = self.store.get_many(&keys).await;
        for (id, content) in ids.iter().zip(&mut contents) {
            if is_missing(content) {
                *content = match self.manifest(*id).await {
                    Ok(manifest) => self.collect_all(*id, manifest).await,
                    Err(error) => Err(error),
                };
            }
        }
        contents
    }

    /// The bytes of a content in `range`, at most [`GET_BYTES_MAX`] of them, verified chunk by chunk. A range that
    /// ends beyond the content ends with it; one that starts beyond it is an error.
    pub async fn get_range(&self, id: ContentId, range: Range<u64>) -> Result<Bytes> {
        match self.open(id).await? {
            Stored::Whole(bytes) => {
                let range = clip(range, bytes.len() as u64)?;
                let at = |position| usize::try_from(position).expect("inside bytes in memory");
                Ok(bytes.slice(at(range.start)..at(range.end)))
            }
            Stored::Listed(manifest) => {
                let range = clip(range, manifest.length())?;
                Box::pin(self.collect(id, manifest, range)).await
            }
        }
    }

    /// Bytes of a content, without reading more than its manifest.
    pub async fn length(&self, id: ContentId) -> Result<u64> {
        match self.kinds(&[id])?[0] {
            Some(Kind::Data) => {
                let length = self.store.length(self.key_of(Kind::Data, id))?;
                Ok(u64::from(length.ok_or_else(|| not_found(id))?))
            }
            Some(_) => Ok(self.manifest(id).await?.length()),
            None => Err(not_found(id)),
        }
    }

    /// Starts reading a content piece by piece; the end verifies the whole.
    pub async fn get_stream(&self, id: ContentId) -> Result<GetStream> {
        Ok(match self.open(id).await? {
            Stored::Whole(bytes) => GetStream::whole(bytes),
            Stored::Listed(manifest) => {
                let range = 0..manifest.length();
                GetStream::listed(self, id, manifest, range)
            }
        })
    }

    /// Starts reading a range of a content piece by piece, verified chunk by chunk. For the bounds of the range see
    /// [`get_range`](Objects::get_range).
    pub async fn get_stream_range(&self, id: ContentId, range: Range<u64>) -> Result<GetStream> {
        match self.open(id).await? {
            Stored::Whole(_) => Ok(GetStream::whole(self.get_range(id, range).await?)),
            Stored::Listed(manifest) => {
                let range = clip(range, manifest.length())?;
                Ok(GetStream::listed(self, id, manifest, range))
            }
        }
    }

    /// Small contents, which are most, take one look-up, and carry no state about of what only large ones need.
    async fn open(&self, id: ContentId) -> Result<Stored> {
        let whole = self.store.get(self.key_of(Kind::Data, id)).await;
        if is_missing(&whole) {
            return Ok(Stored::Listed(Box::pin(self.manifest(id)).await?));
        }
        whole.map(Stored::Whole)
    }

    /// The root manifest of a content.
    pub(super) async fn manifest(&self, id: ContentId) -> Result<Manifest> {
        let bytes = self.store.get(self.key_of(Kind::Manifest, id)).await;
        if is_missing(&bytes) {
            return Err(not_found(id));
        }
        Manifest::decode_root(bytes?, id).map_err(|damage| Error::Inconsistent {
            id,
            kind: Kind::Manifest,
            damage: damage.to_string(),
        })
    }

    async fn collect_all(&self, id: ContentId, manifest: Manifest) -> Result<Bytes> {
        let range = 0..manifest.length();
        self.collect(id, manifest, range).await
    }

    async fn collect(&self, id: ContentId, manifest: Manifest, range: Range<u64>) -> Result<Bytes> {
        let length = range.end - range.start;
        if length > GET_BYTES_MAX {
            let reason = format!("{length} bytes are too many for memory at once; stream them");
            return Err(Error::invalid(format!("content {id}"), reason));
        }
        let length = usize::try_from(length).expect("at most GET_BYTES_MAX");
        let mut bytes = BytesMut::with_capacity(length);
        let mut stream = GetStream::listed(self, id, manifest, range);
        while let Some(section) = stream.next().await? {
            match section {
                Section::Data(data) => bytes.extend_from_slice(&data),
                Section::Hole(zeros) => {
                    bytes.resize(bytes.len() + usize::try_from(zeros).expect("inside the range"), 0);
                }
            }
        }
        Ok(bytes.freeze())
    }
}

fn is_missing(answer: &Result<Bytes>) -> bool {
    matches!(answer, Err(Error::NotFound { .. }))
}

/// `range` within a content of `length` bytes.
fn clip(range: Range<u64>, length: u64) -> Result<Range<u64>> {
    if range.start > range.end || range.start > length {
        let reason = format!("not a range of a content of {length} bytes");
        return Err(Error::invalid(
            format!("range {}..{}", range.start, range.end),
            reason,
        ));
    }
    Ok(range.start..range.end.min(length))
}
