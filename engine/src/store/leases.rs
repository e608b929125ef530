//! Leases: temporary roots held by operations, streams and working trees in progress.
//!
//! A lease keeps its references itself; the registry only knows which leases live, so that a collection can ask
//! each of them (its handshake) and a put pays one lock of its own lease, never a shared one.
//! A lease of a store that another process owns is kept by that process; here it only stands for it ([`Keeper`]).

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::api::Key;

/// Keeps what it names alive until the last clone is dropped, whatever roots do.
#[derive(Debug, Clone)]
pub struct Lease(Arc<Held>);

/// Keeps what a lease names where the store is; dropped with the last clone of the lease.
pub trait Keeper: std::fmt::Debug + Send + Sync {
    /// Adds references.
    fn keep(&self, keys: &[Key]);
}

#[derive(Debug, Default)]
struct Held {
    keys: Mutex<Vec<Key>>,
    elsewhere: Option<Box<dyn Keeper>>,
}

impl Lease {
    /// A lease of a store that is not in this process.
    pub fn kept_by(keeper: Box<dyn Keeper>) -> Lease {
        Lease(Arc::new(Held {
            keys: Mutex::default(),
            elsewhere: Some(keeper),
        }))
    }

    /// Adds a reference.
    pub fn hold(&self, key: Key) {
        match &self.0.elsewhere {
            None => self.0.keys.lock().push(key),
            Some(keeper) => keeper.keep(&[key]),
        }
    }

    /// Adds references.
    pub fn hold_many(&self, keys: impl IntoIterator<Item = Key>) {
        match &self.0.elsewhere {
            None => {
                let keys = keys.into_iter();
                let mut held = self.0.keys.lock();
                // One more, so that the parent of a commit, which comes after its nodes, finds room.
                held.reserve(keys.size_hint().0 + 1);
                held.extend(keys);
            }
            Some(keeper) => keeper.keep(&keys.into_iter().collect::<Vec<Key>>()),
        }
    }

    /// Everything it holds in this process.
    pub fn keys(&self) -> Vec<Key> {
        self.0.keys.lock().clone()
    }
}

/// The leases of one store.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    live: Vec<Weak<Held>>,
    /// Length at which the dead are swept out: twice the living after the last sweep.
    sweep_at: usize,
}

impl Leases {
    /// A new lease that holds nothing yet.
    pub fn grant(&self) -> Lease {
        let held = Arc::new(Held::default());
        let mut registry = self.0.lock();
        if registry.live.len() >= registry.sweep_at {
            registry.live.retain(|lease| lease.strong_count() > 0);
            registry.sweep_at = (registry.live.len() * 2).max(64);
        }
        registry.live.push(Arc::downgrade(&held));
        Lease(held)
    }

    /// Everything held by living leases.
    pub fn held(&self) -> Vec<Key> {
        let live: Vec<Arc<Held>> = self.0.lock().live.iter().filter_map(Weak::upgrade).collect();
        live.iter().flat_map(|held| held.keys.lock().clone()).collect()
    }

    /// Number of living leases.
    pub fn count(&self) -> usize {
        self.0
            .lock()
            .live
            .iter()
            .filter(|lease| lease.strong_count() > 0)
            .count()
    }
}
