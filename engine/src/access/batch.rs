//! A batch of either store, and what it leaves behind.

use std::sync::Arc;

use super::link::{Open, RemoteBatch};
use crate::error::Result;
use crate::format::Domain;
use crate::store::{self, BatchCounts, Extent, Key, Lease, Payload, RootUpdate};

/// Extents and root changes that go into the store together; see [`store::Batch`].
pub enum Batch {
    /// Of a store that this process has open.
    Own(Box<store::Batch>),
    /// Of a store that another process owns.
    Far(RemoteBatch),
}

impl Batch {
    /// The domain that roots made by this batch get (0 unless set).
    pub fn in_domain(self, domain: Domain) -> Batch {
        match self {
            Batch::Own(batch) => Batch::Own(batch.in_domain(domain)),
            Batch::Far(batch) => Batch::Far(batch.in_domain(domain)),
        }
    }

    /// Is refused by a store that is full, rather than wait until it has made room. Over a link it changes nothing: only the
    /// owner makes room.
    pub fn without_making_room(self) -> Batch {
        match self {
            Batch::Own(batch) => Batch::Own(batch.without_making_room()),
            far @ Batch::Far(_) => far,
        }
    }

    /// Offers extents; those the store has are held, and do not travel. Says of each whether it is new: neither in the store
    /// nor offered before.
    ///
    /// # Errors
    /// `Invalid` for an extent that is too long; the store's; the link's.
    pub async fn put<P: Payload>(&mut self, extents: Vec<Extent<P>>) -> Result<Vec<bool>> {
        match self {
            Batch::Own(batch) => batch.put(extents).await,
            Batch::Far(batch) => batch.put(extents),
        }
    }

    /// Holds extents the caller knows by id and will reference; false for those the store does not have.
    ///
    /// # Errors
    /// The link's.
    pub fn hold(&mut self, keys: &[Key]) -> Result<Vec<bool>> {
        match self {
            Batch::Own(batch) => Ok(batch.hold(keys)),
            Batch::Far(batch) => batch.hold(keys),
        }
    }

    /// [`hold`](Self::hold) for one extent.
    ///
    /// # Errors
    /// The link's.
    pub fn hold_one(&mut self, key: Key) -> Result<bool> {
        match self {
            Batch::Own(batch) => Ok(batch.hold_one(key)),
            Batch::Far(batch) => Ok(batch.hold(&[key])?.contains(&true)),
        }
    }

    /// Adds a root change. It comes with the last part of the batch, whatever is put after it.
    pub fn set_root(&mut self, update: RootUpdate) {
        match self {
            Batch::Own(batch) => batch.set_root(update),
            Batch::Far(batch) => batch.set_root(update),
        }
    }

    /// What has been offered so far.
    pub fn counts(&self) -> BatchCounts {
        match self {
            Batch::Own(batch) => batch.counts(),
            Batch::Far(batch) => batch.counts(),
        }
    }

    /// Makes everything visible at once. On an error no root has changed, unless it says that the outcome is unknown.
    ///
    /// # Errors
    /// `Conflict` and its like if a root is not what an update expects; `Full`; the store's; the link's.
    pub async fn submit(self) -> Result<Ack> {
        match self {
            Batch::Own(batch) => {
                let ack = batch.submit().await?;
                Ok(Ack {
                    lease: ack.lease.clone(),
                    way: Way::Own(ack),
                })
            }
            Batch::Far(batch) => {
                let (open, lease) = batch.submit()?;
                Ok(Ack {
                    lease,
                    way: Way::Far(open),
                })
            }
        }
    }
}

/// Proof that a batch is visible, and the way to wait until it is durable.
#[derive(Debug, Clone)]
pub struct Ack {
    /// Keeps its extents alive.
    pub lease: Lease,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    Own(store::Ack),
    Far(Arc<Open>),
}

impl Ack {
    /// Completes when the batch survives power loss; an error means its outcome is unknown.
    ///
    /// # Errors
    /// The write that carried it failed; the link's.
    pub async fn durable(&self) -> Result<()> {
        match &self.way {
            Way::Own(ack) => ack.durable().await,
            Way::Far(open) => open.durable(),
        }
    }
}
