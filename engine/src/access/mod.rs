//! The way to a store: the store itself, or a link to the process that owns it.
//!
//! What contents and trees need of a store is small: is an extent there, its bytes, a batch, roots. They ask it of an
//! [`Access`], so that the same code commits and restores directories in the process that owns the store and in one that
//! may not open it, which then uses its own permissions on files and sends only what the owner lacks.
//!
//! Invariants: both ways mean the same, and refuse with the same errors; what a batch was told to be there stays alive until the
//! batch, or what it leaves behind ([`Ack`], [`Lease`]), is dropped. A link may fail at any moment, so look-ups that a store
//! always answers can fail here. Working trees, collection and whatever else belongs to the owner alone use the store.
//! Rejected: a trait in place of the enum; its futures would be boxed, on the owner's side too, or everything above it
//! generic. A client that looks at the store's file by itself while somebody owns it: it would need the owner's rights.

mod batch;
mod link;

use std::sync::Arc;

use bytes::Bytes;

pub use batch::{Ack, Batch};
pub use link::{BatchNumber, Coming, KEYS_AT_ONCE_MAX, Link, PUT_BYTES_MAX, RemoteBatch};

use crate::error::{Error, Result};
use crate::store::{Key, Lease, Root, RootKind, Store};

/// The way to a store. Cheap to clone.
#[derive(Clone)]
pub enum Access {
    /// This process has it open.
    Own(Store),
    /// Another process owns it.
    Far(Arc<dyn Link>),
}

impl From<Store> for Access {
    fn from(store: Store) -> Access {
        Access::Own(store)
    }
}

impl From<&Store> for Access {
    fn from(store: &Store) -> Access {
        Access::Own(store.clone())
    }
}

impl From<&Access> for Access {
    fn from(access: &Access) -> Access {
        access.clone()
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Access::Own(store) => store.fmt(f),
            Access::Far(_) => f.write_str("Far"),
        }
    }
}

impl Access {
    /// The store, if this process has it open.
    pub fn own(&self) -> Option<&Store> {
        match self {
            Access::Own(store) => Some(store),
            Access::Far(_) => None,
        }
    }

    /// Waits for a future on the calling thread.
    ///
    /// # Panics
    /// On a reactor.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Access::Own(store) => store.block_on(future),
            Access::Far(_) => crate::reactor::block_on(future),
        }
    }

    /// Which of the extents are known. Hits are no promise: a batch has to [`hold`](Batch::hold) them.
    ///
    /// # Errors
    /// The link's.
    pub fn contains(&self, keys: &[Key]) -> Result<Vec<bool>> {
        match self {
            Access::Own(store) => Ok(store.contains(keys)),
            Access::Far(link) => {
                let lengths = link::lengths(&**link, keys)?;
                Ok(lengths.iter().map(Option::is_some).collect())
            }
        }
    }

    /// Stored length of an extent in bytes; none if it is not there.
    ///
    /// # Errors
    /// The link's.
    pub fn length(&self, key: Key) -> Result<Option<u32>> {
        match self {
            Access::Own(store) => Ok(store.length(key)),
            Access::Far(link) => Ok(link::lengths(&**link, &[key])?.pop().flatten()),
        }
    }

    /// The verified bytes of an extent.
    ///
    /// # Errors
    /// `NotFound`, `Damaged`, the device's; the link's.
    pub async fn get(&self, key: Key) -> Result<Bytes> {
        match self {
            Access::Own(store) => store.get(key).await,
            Access::Far(link) => link::get_many(&**link, &[key])
                .await
                .pop()
                .unwrap_or_else(|| Err(Error::not_found(format!("{} {}", key.kind, key.id)))),
        }
    }

    /// The verified bytes of many extents, in the order asked.
    pub async fn get_many(&self, keys: &[Key]) -> Vec<Result<Bytes>> {
        match self {
            Access::Own(store) => store.get_many(keys).await,
            Access::Far(link) => link::get_many(&**link, keys).await,
        }
    }

    /// A new lease that holds nothing yet.
    pub fn lease(&self) -> Lease {
        match self {
            Access::Own(store) => store.lease(),
            Access::Far(link) => link::lease(link),
        }
    }

    /// Starts a batch: extents and root changes that become visible together.
    pub fn batch(&self) -> Batch {
        match self {
            Access::Own(store) => Batch::Own(store.batch()),
            Access::Far(link) => Batch::Far(RemoteBatch::new(link)),
        }
    }

    /// The root of this kind and name.
    ///
    /// # Errors
    /// The link's.
    pub fn root(&self, kind: RootKind, name: &[u8]) -> Result<Option<Root>> {
        match self {
            Access::Own(store) => Ok(store.root(kind, name)),
            Access::Far(link) => link.root(kind, name),
        }
    }

    /// All roots of a kind, by name.
    ///
    /// # Errors
    /// The link's.
    pub fn roots(&self, kind: RootKind) -> Result<Vec<Root>> {
        match self {
            Access::Own(store) => Ok(store.roots(kind)),
            Access::Far(link) => link.roots(kind),
        }
    }

    /// Wall-clock time: nanoseconds since 1970.
    pub fn now_ns(&self) -> u64 {
        match self {
            Access::Own(store) => store.now_ns(),
            Access::Far(_) => crate::reactor::Clock::real().wall_ns(),
        }
    }

    /// Waits until everything visible before the call is durable.
    ///
    /// # Errors
    /// The outcome of what was under way is unknown.
    pub async fn flush(&self) -> Result<()> {
        match self {
            Access::Own(store) => store.flush().await,
            Access::Far(link) => link.flush(),
        }
    }
}
