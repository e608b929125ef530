//! Contents that are in memory go in: one, or many as one batch.

use std::borrow::Borrow;
use std::sync::Arc;

use bytes::Bytes;

use super::ingest::Ingest;
use super::pins::PINS_MAX;
use super::{Objects, PutStream, workers};
use crate::access::{Ack, Batch};
use crate::error::{Error, Result};
use crate::format::{ContentId, Kind};
use crate::limits::EXTENT_BYTES_MAX;
use crate::store::{Extent, Key, Lease};

/// When a call that changes the store answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// As soon as other clients see the change; power loss within a few milliseconds may undo it.
    Visible,
    /// When the change survives power loss.
    #[default]
    Durable,
}

/// How a content is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// When the call answers.
    pub durability: Durability,
    /// Pins the content once more, so that it stays when its lease is gone.
    pub pin: bool,
}

/// A content that is in the store.
#[derive(Debug, Clone)]
pub struct Put {
    /// BLAKE3 of its bytes.
    pub id: ContentId,
    /// Its bytes.
    pub length: u64,
    /// Whether the store did not have it yet.
    pub new: bool,
    /// Its place in the log, and the lease that keeps it alive until it is dropped or something else names it. All
    /// contents of a batch have the same.
    pub ack: Arc<Ack>,
}

impl Put {
    /// Keeps the content alive until dropped.
    pub fn lease(&self) -> &Lease {
        &self.ack.lease
    }

    /// Completes when the content survives power loss.
    pub async fn durable(&self) -> Result<()> {
        self.ack.durable().await
    }
}

/// A content that a batch carries; it is in the store once the batch is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// BLAKE3 of its bytes.
    pub id: ContentId,
    /// Its bytes.
    pub length: u64,
    /// Whether the store did not have it yet.
    pub new: bool,
}

impl Objects {
    /// Puts a content and waits until it is durable.
    pub async fn put(&self, content: impl Into<Bytes>) -> Result<Put> {
        self.put_with(content, PutOptions::default()).await
    }

    /// Puts a content.
    pub async fn put_with(&self, content: impl Into<Bytes>, options: PutOptions) -> Result<Put> {
        let puts = self.put_batch(&[content.into()], options).await?;
        Ok(puts.into_iter().next().expect("one answer per content"))
    }

    /// Puts many contents, hashed as one batch and visible together; at most 1024 if they are to be pinned. Answers
    /// are in the order of the contents. What the store has already is only hashed and looked up.
    pub async fn put_batch<B: Borrow<Bytes>>(&self, contents: &[B], options: PutOptions) -> Result<Vec<Put>> {
        if options.pin && contents.len() > PINS_MAX {
            let reason = format!("{} to pin at once; {PINS_MAX} are allowed", contents.len());
            return Err(Error::invalid("contents", reason));
        }
        let mut batch = self.batch();
        let offered = self.offer(&mut batch, contents).await?;
        let ack = Arc::new(self.submit(batch, &offered, options).await?);
        let put = |Offered { id, length, new }| Put {
            id,
            length,
            new,
            ack: Arc::clone(&ack),
        };
        Ok(offered.into_iter().map(put).collect())
    }

    /// Adds contents to a batch of the caller, who submits it together with what refers to them.
    pub async fn offer<B: Borrow<Bytes>>(&self, batch: &mut Batch, contents: &[B]) -> Result<Vec<Offered>> {
        let contents = contents.iter().map(Borrow::borrow);
        let small: Vec<&[u8]> = contents
            .clone()
            .filter(|content| content.len() <= EXTENT_BYTES_MAX)
            .map(|content| &content[..])
            .collect();
        let ids = workers::content_ids(self.threads, &small);
        let mut extents = Vec::with_capacity(small.len());
        let mut ids = ids.into_iter();
        let mut offered = Vec::with_capacity(contents.len());
        for content in contents {
            if content.len() > EXTENT_BYTES_MAX {
                offered.push(Box::pin(self.offer_large(batch, content)).await?);
                continue;
            }
            let id = ids.next().expect("one id per small content");
            extents.push(Extent {
                key: self.key_of(Kind::Data, id),
                bytes: content,
            });
            offered.push(Offered {
                id,
                length: content.len() as u64,
                new: false,
            });
        }
        let new = batch.put(extents).await?;
        let small = offered
            .iter_mut()
            .filter(|offered| offered.length <= EXTENT_BYTES_MAX as u64);
        small.zip(new).for_each(|(offered, new)| offered.new = new);
        Ok(offered)
    }

    /// Adds a content of more than one extent.
    async fn offer_large(&self, batch: &mut Batch, content: &Bytes) -> Result<Offered> {
        let mut ingest = Ingest::new(self);
        ingest.absorb(batch, content, true).await?;
        ingest.finish(batch).await
    }

    /// Starts putting a content that arrives in pieces or is larger than memory.
    pub fn put_stream(&self, options: PutOptions) -> PutStream {
        PutStream::new(self.clone(), options)
    }

    pub(super) fn batch(&self) -> Batch {
        self.store.batch().in_domain(self.domain)
    }

    /// Submits a batch that carries `offered`, pins them if asked, and waits as asked.
    pub(super) async fn submit(&self, batch: Batch, offered: &[Offered], options: PutOptions) -> Result<Ack> {
        let mut ack = batch.submit().await?;
        if options.pin && !offered.is_empty() {
            let contents: Vec<Key> = offered
                .iter()
                .map(|content| self.key(content.id, content.length))
                .collect();
            ack = Box::pin(self.pin_visibly(&contents)).await?;
        }
        if options.durability == Durability::Durable {
            ack.durable().await?;
        }
        Ok(ack)
    }
}
