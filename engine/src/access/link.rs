//! The other side of a link: what the owner of a store is asked, and the batches that it keeps for us.
//!
//! Calls wait on the calling thread, and may come from several, side by side. They are few and each is about many extents,
//! because every one is a round trip; bytes can be asked for ahead ([`Link::get_many`]). A batch asks by id first: only extents
//! that the owner lacks travel, in groups of [`PUT_BYTES_MAX`].
//! Invariant: a batch that the owner keeps for us ends there when the last of what stands for it here (batch, acknowledgement,
//! lease) is dropped, or with the connection; until it is submitted one thread at a time asks about it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::format::Domain;
use crate::limits::EXTENT_BYTES_MAX;
use crate::reactor::YieldNow;
use crate::store::{BatchCounts, Extent, Keeper, Key, Lease, Payload, Root, RootKind, RootUpdate};

/// Extents that one question is about, at most.
pub const KEYS_AT_ONCE_MAX: usize = 16 << 10;
/// Bytes of extents that travel together, at most.
pub const PUT_BYTES_MAX: usize = 2 << 20;

const _: () = assert!(PUT_BYTES_MAX >= EXTENT_BYTES_MAX);

/// A batch that the owner keeps for a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchNumber(pub u64);

/// An answer that has been asked for; calling it waits for it on the calling thread, dropping it gives it up.
pub type Coming<T> = Box<dyn FnOnce() -> Result<T> + Send>;

/// A conversation with the process that owns a store. Any call fails once the conversation is over.
pub trait Link: Send + Sync {
    /// Stored lengths of extents, none for those that are not there; at most [`KEYS_AT_ONCE_MAX`].
    ///
    /// # Errors
    /// The link's.
    fn lengths(&self, keys: &[Key]) -> Result<Vec<Option<u32>>>;

    /// Asks for the verified bytes of extents, at most [`KEYS_AT_ONCE_MAX`], and does not wait for them.
    ///
    /// # Errors
    /// The link's, now or in the answer. What is wrong with one extent is its own answer.
    fn get_many(&self, keys: &[Key]) -> Result<Coming<Vec<Result<Bytes>>>>;

    /// The root of this kind and name.
    ///
    /// # Errors
    /// The link's.
    fn root(&self, kind: RootKind, name: &[u8]) -> Result<Option<Root>>;

    /// All roots of a kind, by name.
    ///
    /// # Errors
    /// The link's.
    fn roots(&self, kind: RootKind) -> Result<Vec<Root>>;

    /// Starts a batch.
    ///
    /// # Errors
    /// There are too many already; the link's.
    fn begin(&self) -> Result<BatchNumber>;

    /// Makes a batch hold extents; false for those that are not there. At most [`KEYS_AT_ONCE_MAX`].
    ///
    /// # Errors
    /// The link's.
    fn hold(&self, batch: BatchNumber, keys: &[Key]) -> Result<Vec<bool>>;

    /// Adds extents to a batch; at most [`KEYS_AT_ONCE_MAX`], and [`PUT_BYTES_MAX`] bytes of them.
    ///
    /// # Errors
    /// `Invalid` if one is not what its key says, or refers to what is not there; `Full`; the store's; the link's. The batch
    /// is of no use any more.
    fn put(&self, batch: BatchNumber, extents: Vec<Extent>) -> Result<()>;

    /// Makes a batch visible. From then on it stands for its acknowledgement.
    ///
    /// # Errors
    /// As [`Batch::submit`](super::Batch::submit).
    fn submit(&self, batch: BatchNumber, domain: Domain, updates: Vec<RootUpdate>) -> Result<()>;

    /// Waits until a submitted batch survives power loss.
    ///
    /// # Errors
    /// Its outcome is unknown.
    fn durable(&self, batch: BatchNumber) -> Result<()>;

    /// Ends a batch: abandons it if it was not submitted. What it held is held no longer.
    fn end(&self, batch: BatchNumber);

    /// Waits until everything visible before the call is durable.
    ///
    /// # Errors
    /// The outcome of what was under way is unknown.
    fn flush(&self) -> Result<()>;
}

/// Asks about any number of extents.
pub(super) fn lengths(link: &dyn Link, keys: &[Key]) -> Result<Vec<Option<u32>>> {
    let mut lengths = Vec::with_capacity(keys.len());
    for some in keys.chunks(KEYS_AT_ONCE_MAX) {
        lengths.extend(link.lengths(some)?);
    }
    Ok(lengths)
}

/// Gets any number of extents. Asks when it is polled for the first time, and waits on the calling thread after that. A link that
/// fails says so once, and has nothing to say of the others.
pub(super) async fn get_many(link: &dyn Link, keys: &[Key]) -> Vec<Result<Bytes>> {
    let mut answers = Vec::with_capacity(keys.len());
    for some in keys.chunks(KEYS_AT_ONCE_MAX) {
        let found = match link.get_many(some) {
            Ok(coming) => {
                YieldNow::default().await;
                coming()
            }
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => answers.extend(found),
            Err(error) => {
                answers.push(Err(error));
                break;
            }
        }
    }
    answers.resize_with(keys.len(), || Err(Error::Closed));
    answers
}

/// A lease over a link is a batch that is never submitted.
pub(super) fn lease(link: &Arc<dyn Link>) -> Lease {
    Lease::kept_by(Box::new(Kept {
        link: Arc::clone(link),
        open: Mutex::default(),
    }))
}

struct Kept {
    link: Arc<dyn Link>,
    open: Mutex<Option<Open>>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({:?})", self.open)
    }
}

impl Keeper for Kept {
    fn keep(&self, keys: &[Key]) {
        let mut slot = self.open.lock();
        let open = match &*slot {
            Some(open) => open,
            None => match Open::begin(&self.link) {
                Ok(open) => slot.insert(open),
                Err(error) => return lost(&error),
            },
        };
        if let Err(error) = open.hold(keys) {
            lost(&error);
        }
    }
}

/// Whatever needs the lease asks the same link, which answers with its error then.
fn lost(error: &Error) {
    tracing::debug!("a lease over a link holds nothing: {error}");
}

/// A batch at the owner; dropping it ends it there.
pub(super) struct Open {
    link: Arc<dyn Link>,
    number: BatchNumber,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Open({:?})", self.number)
    }
}

impl Open {
    fn begin(link: &Arc<dyn Link>) -> Result<Open> {
        Ok(Open {
            number: link.begin()?,
            link: Arc::clone(link),
        })
    }

    fn hold(&self, keys: &[Key]) -> Result<Vec<bool>> {
        let mut held = Vec::with_capacity(keys.len());
        for some in keys.chunks(KEYS_AT_ONCE_MAX) {
            held.extend(self.link.hold(self.number, some)?);
        }
        Ok(held)
    }

    pub(super) fn durable(&self) -> Result<()> {
        self.link.durable(self.number)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.link.end(self.number);
    }
}

/// What a batch becomes when it is submitted: it keeps itself, and all it holds.
#[derive(Debug)]
struct Submitted(Arc<Open>);

impl Keeper for Submitted {
    fn keep(&self, keys: &[Key]) {
        if let Err(error) = self.0.hold(keys) {
            lost(&error);
        }
    }
}

/// Extents and root changes that go into the store of another process together.
pub struct RemoteBatch {
    link: Arc<dyn Link>,
    /// Absent before anything was asked of the owner.
    open: Option<Open>,
    domain: Domain,
    updates: Vec<RootUpdate>,
    counts: BatchCounts,
}

impl RemoteBatch {
    pub(super) fn new(link: &Arc<dyn Link>) -> RemoteBatch {
        RemoteBatch {
            link: Arc::clone(link),
            open: None,
            domain: Domain::default(),
            updates: Vec::new(),
            counts: BatchCounts::default(),
        }
    }

    pub(super) fn in_domain(mut self, domain: Domain) -> RemoteBatch {
        self.domain = domain;
        self
    }

    fn open(&mut self) -> Result<&Open> {
        match &mut self.open {
            Some(open) => Ok(open),
            none => Ok(none.insert(Open::begin(&self.link)?)),
        }
    }

    pub(super) fn put<P: Payload>(&mut self, extents: Vec<Extent<P>>) -> Result<Vec<bool>> {
        if extents.is_empty() {
            return Ok(Vec::new());
        }
        for extent in &extents {
            extent.check()?;
        }
        let keys: Vec<Key> = extents.iter().map(|extent| extent.key).collect();
        // Says what is known, and then what is new.
        let mut answers = self.open()?.hold(&keys)?;
        let mut counts = self.counts;
        let mut lacking = HashSet::new();
        let (mut group, mut group_bytes) = (Vec::new(), 0);
        let (link, number) = (Arc::clone(&self.link), self.open()?.number);
        for (extent, answer) in extents.into_iter().zip(&mut answers) {
            let bytes = extent.len();
            counts.offered += 1;
            counts.offered_bytes += bytes as u64;
            *answer = !*answer && lacking.insert(extent.key);
            if !*answer {
                continue;
            }
            counts.new += 1;
            counts.new_bytes += bytes as u64;
            if group_bytes + bytes > PUT_BYTES_MAX || group.len() == KEYS_AT_ONCE_MAX {
                link.put(number, std::mem::take(&mut group))?;
                group_bytes = 0;
            }
            group_bytes += bytes;
            group.push(Extent {
                key: extent.key,
                bytes: extent.bytes.into_bytes(),
            });
        }
        if !group.is_empty() {
            link.put(number, group)?;
        }
        self.counts = counts;
        Ok(answers)
    }

    pub(super) fn hold(&mut self, keys: &[Key]) -> Result<Vec<bool>> {
        match keys {
            [] => Ok(Vec::new()),
            _ => self.open()?.hold(keys),
        }
    }

    pub(super) fn set_root(&mut self, update: RootUpdate) {
        self.updates.push(update);
    }

    pub(super) fn counts(&self) -> BatchCounts {
        self.counts
    }

    pub(super) fn submit(mut self) -> Result<(Arc<Open>, Lease)> {
        let updates = std::mem::take(&mut self.updates);
        let domain = self.domain;
        let number = self.open()?.number;
        self.link.submit(number, domain, updates)?;
        let open = Arc::new(self.open.take().ok_or(Error::Closed)?);
        let lease = Lease::kept_by(Box::new(Submitted(Arc::clone(&open))));
        Ok((open, lease))
    }
}
