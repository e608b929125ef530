//! Contents that do not wait in memory for the commit: large ones, and all of them when there are too many.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::edit::{Content, Edit};
use super::record::GONE;
use super::{WorkingTree, commit};
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::limits::EXTENT_BYTES_MAX;
use crate::store::{Extent, Lease};
use crate::trees::commit::commit_key;
use crate::trees::content_kind;
use crate::trees::{ids, node};

/// Contents that a lease may hold besides those that are still wanted, or as many as those.
const HELD_SPARE: usize = 64;

/// What [`LargeContents`] answers with.
pub type LargeFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Contents of more than one extent (1 MiB): the layer of the content store that cuts them into chunks.
pub trait LargeContents: Send + Sync {
    /// Stores `bytes`; the lease keeps them alive until a commit refers to them.
    fn put(&self, bytes: Bytes) -> LargeFuture<'_, (ContentId, Lease)>;

    /// Reads a whole content of `size` bytes.
    fn get(&self, id: ContentId, size: u64) -> LargeFuture<'_, Bytes>;
}

impl WorkingTree {
    /// The content for `bytes`: in memory, or stored at once if it is large.
    pub(super) async fn take_content(&mut self, bytes: Bytes) -> Result<Content> {
        if bytes.len() <= EXTENT_BYTES_MAX {
            return Ok(Content::Bytes(bytes));
        }
        let size = bytes.len() as u64;
        let (id, lease) = self.large(size)?.put(bytes).await?;
        self.hold_ahead([crate::store::Key {
            domain: self.trees.domain,
            kind: content_kind(size),
            id,
        }]);
        drop(lease);
        Ok(Content::Stored { id, size })
    }

    /// The bytes of a stored content.
    pub(super) async fn fetch_content(&self, id: ContentId, size: u64) -> Result<Bytes> {
        if size <= EXTENT_BYTES_MAX as u64 {
            return self.trees.store.get(node::data_key(self.trees.domain, id)).await;
        }
        self.large(size)?.get(id, size).await
    }

    fn large(&self, size: u64) -> Result<Arc<dyn LargeContents>> {
        self.options.large.clone().ok_or_else(|| {
            let reason =
                format!("this working tree was opened for files of at most {EXTENT_BYTES_MAX} bytes");
            Error::invalid(format!("a file of {size} bytes"), reason)
        })
    }

    /// Stores the contents that wait in memory if they have become too many.
    pub(super) async fn spill_if_full(&mut self) -> Result<()> {
        if self.pending_bytes <= self.options.pending_bytes_max {
            return Ok(());
        }
        Box::pin(self.store_contents()).await
    }

    /// Stores the contents that wait in memory for the commit, so that they take none. They stay changes of this tree.
    ///
    /// # Errors
    /// What storing them answers; nothing has changed then.
    pub async fn store_contents(&mut self) -> Result<()> {
        let mut waiting: Vec<Bytes> = Vec::new();
        self.each_content(|content| {
            if let Content::Bytes(bytes) = content {
                waiting.push(bytes.clone());
            }
        });
        let ids = ids::content_ids(&waiting.iter().map(|bytes| &bytes[..]).collect::<Vec<_>>());
        let domain = self.trees.domain;
        let extent = |(id, bytes): (&ContentId, Bytes)| Extent {
            key: node::data_key(domain, *id),
            bytes,
        };
        let mut batch = self.trees.batch();
        batch.put(ids.iter().zip(waiting).map(extent).collect()).await?;
        let ack = batch.submit().await?;
        self.hold_ahead(ids.iter().map(|id| node::data_key(domain, *id)));
        drop(ack);
        let mut ids = ids.into_iter();
        self.each_content(|content| {
            if let Content::Bytes(bytes) = content
                && let Some(id) = ids.next()
            {
                let size = bytes.len() as u64;
                *content = Content::Stored { id, size };
            }
        });
        self.pending_bytes = 0;
        Ok(())
    }

    /// Holds contents that were stored ahead of the commit, and lets go of those that were replaced since if they have
    /// become many.
    fn hold_ahead(&mut self, keys: impl IntoIterator<Item = crate::store::Key>) {
        if self.stored_ahead >= self.renew_lease_at {
            self.renew_lease();
        }
        for key in keys {
            self.lease.hold(key);
            self.stored_ahead += 1;
        }
    }

    /// Takes a lease that holds what the tree needs now in place of the one it has, which holds all that it has needed.
    pub(super) fn renew_lease(&mut self) {
        (self.lease, self.stored_ahead) = self.needed_lease();
        self.renew_lease_at = self.stored_ahead * 2 + HELD_SPARE;
    }

    /// A lease of the base and of what was stored ahead of the commit, and how much that is. It holds all of it before the
    /// tree's own lease can go, so that a collection that looks meanwhile finds one of the two.
    fn needed_lease(&self) -> (Lease, usize) {
        let lease = self.trees.store.lease();
        if let Some(base) = &self.base {
            lease.hold(commit_key(self.trees.domain, base.id));
        }
        let stored = self.hold_stored(&lease);
        (lease, stored)
    }

    /// Makes `lease` hold what was stored ahead of the commit; answers how much that is.
    pub(super) fn hold_stored(&self, lease: &Lease) -> usize {
        let domain = self.trees.domain;
        let mut held = 0;
        for index in self.dirty.iter().filter(|index| **index != GONE) {
            commit::contents_of(self.directory(*index), |content| {
                if let Content::Stored { id, size } = content {
                    let kind = content_kind(*size);
                    lease.hold(crate::store::Key {
                        domain,
                        kind,
                        id: *id,
                    });
                    held += 1;
                }
            });
        }
        held
    }

    /// Visits the content of every changed entry, always in the same order.
    fn each_content(&mut self, mut visit: impl FnMut(&mut Content)) {
        for index in self.dirty.clone().into_iter().filter(|index| *index != GONE) {
            let directory = self.directory_mut(index);
            directory.dirty_leaves.sort_unstable();
            directory.dirty_leaves.dedup();
            for leaf in &directory.dirty_leaves {
                for (_, edit) in &mut directory.nodes.levels[0][*leaf as usize].edits {
                    match edit {
                        Edit::Removed => {}
                        Edit::Content(content) => visit(content),
                        Edit::Entry(pending) => visit(&mut pending.content),
                    }
                }
            }
            directory
                .added
                .values_mut()
                .for_each(|pending| visit(&mut pending.content));
        }
    }
}
