//! The content store: whole contents by their BLAKE3 id, of any size, deduplicated.
//!
//! A content of at most [`EXTENT_BYTES_MAX`] bytes is one data extent under its id. A larger one is cut by content
//! (`chunker`) into chunks and holes, listed by a manifest under the content's id (`format::manifest`). Which of
//! the two a content is follows from its length alone, so equal contents are always stored alike.
//!
//! What is verified, and where: the store compares every data extent with its id when the bytes enter memory, so
//! every chunk is verified on every path. Manifests carry their own checksum and the id they belong to. A read of a
//! whole content also hashes what the manifest put together and compares it with the content's id. A missing or
//! misfitting chunk is [`Error::Inconsistent`](crate::Error::Inconsistent), which names content, chunk and offset.
//!
//! A large content is hashed twice, once as chunks and once as a whole; its id cannot be had from chunk hashes, for
//! chunks do not end where BLAKE3's tree does. The two passes run on different cores (`workers`). Contents of one
//! extent are hashed once.
//!
//! All calls are `async` and need no particular executor; [`Objects::blocking`] has the same ones for threads.

mod blocking;
mod chunker;
mod cut;
mod get;
mod get_stream;
mod ingest;
mod listing;
mod pieces;
mod pins;
mod put;
mod put_from;
mod put_stream;
mod walk;
mod workers;

use std::num::NonZero;

pub use blocking::{Blocking, ContentReader, ContentWriter};
pub use chunker::{Chunker, Step};
pub use get_stream::{GetStream, Section};
pub(crate) use pieces::pieces;
pub use pins::Pin;
pub use put::{Durability, Offered, Put, PutOptions};
pub(crate) use put_from::read_full;
pub use put_stream::PutStream;

use crate::access::Access;
use crate::error::Result;
use crate::format::{ContentId, Domain, Kind};
use crate::limits::EXTENT_BYTES_MAX;
use crate::store::Key;

/// The contents of one deduplication domain of a store. Cheap to clone.
///
/// ```no_run
/// # async fn example(store: helios_engine::store::Store) -> helios_engine::Result<()> {
/// use helios_engine::objects::Objects;
///
/// let objects = Objects::new(store);
/// let put = objects.put("hello").await?;
/// assert_eq!(objects.get(put.id).await?, "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Objects {
    store: Access,
    domain: Domain,
    threads: NonZero<usize>,
}

impl Objects {
    /// The contents of the common domain (0). Large contents are hashed on up to four cores.
    pub fn new(store: impl Into<Access>) -> Self {
        Objects {
            store: store.into(),
            domain: Domain::default(),
            threads: workers::threads_default(),
        }
    }

    /// The contents of another domain of the same store.
    pub fn in_domain(mut self, domain: Domain) -> Self {
        self.domain = domain;
        self
    }

    /// How many threads, the caller's included, hash a large content; 1 never starts any.
    pub fn with_threads(mut self, threads: NonZero<usize>) -> Self {
        self.threads = threads;
        self
    }

    /// The store below, or the way to it.
    pub fn store(&self) -> &Access {
        &self.store
    }

    /// The domain of every content reached through this handle.
    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// The extent that stands for a content of this length: its data, or its manifest.
    pub fn key(&self, id: ContentId, length: u64) -> Key {
        self.key_of(
            if length <= EXTENT_BYTES_MAX as u64 {
                Kind::Data
            } else {
                Kind::Manifest
            },
            id,
        )
    }

    /// Whether the store has this content. From the index alone; a hit is no promise without a lease.
    ///
    /// # Errors
    /// This and the next three fail only over a link.
    pub fn exists(&self, id: ContentId) -> Result<bool> {
        Ok(self.exist(&[id])?[0])
    }

    /// Which of these contents the store has, as one look-up.
    ///
    /// # Errors
    /// As [`Objects::exists`].
    pub fn exist(&self, ids: &[ContentId]) -> Result<Vec<bool>> {
        Ok(self.kinds(ids)?.iter().map(Option::is_some).collect())
    }

    /// Whether the store has this content, for callers who know its length: one probe instead of two.
    ///
    /// # Errors
    /// As [`Objects::exists`].
    pub fn content_exists(&self, id: ContentId, length: u64) -> Result<bool> {
        Ok(self.contents_exist(&[(id, length)])?[0])
    }

    /// Which of these contents of known length the store has, as one look-up.
    ///
    /// # Errors
    /// As [`Objects::exists`].
    pub fn contents_exist(&self, contents: &[(ContentId, u64)]) -> Result<Vec<bool>> {
        let keys: Vec<Key> = contents
            .iter()
            .map(|(id, length)| self.key(*id, *length))
            .collect();
        self.store.contains(&keys)
    }

    fn key_of(&self, kind: Kind, id: ContentId) -> Key {
        Key {
            domain: self.domain,
            kind,
            id,
        }
    }

    /// How each content is stored, if it is. A chunk is a content too.
    fn kinds(&self, ids: &[ContentId]) -> Result<Vec<Option<Kind>>> {
        const KINDS: [Kind; 2] = [Kind::Data, Kind::Manifest];
        let keys: Vec<Key> = ids
            .iter()
            .flat_map(|id| KINDS.map(|kind| self.key_of(kind, *id)))
            .collect();
        let found = self.store.contains(&keys)?;
        let kinds = found
            .as_chunks::<2>()
            .0
            .iter()
            .map(|found| {
                KINDS
                    .into_iter()
                    .zip(found)
                    .find_map(|(kind, found)| found.then_some(kind))
            })
            .collect();
        Ok(kinds)
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod pins_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod testing;
