//! Leases: temporary roots held by operations, streams and working trees in progress.
//!
//! A lease keeps its references itself; the registry only knows which leases live, so that a collection can ask
//! each of them (its handshake) and a put pays one lock of its own lease, never a shared one.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::api::Key;

/// Keeps what it names alive until the last clone is dropped, whatever roots do.
#[derive(Debug, Clone)]
pub struct Lease(Arc<Held>);

#[derive(Debug, Default)]
struct Held(Mutex<Vec<Key>>);

impl Lease {
    /// Adds a reference.
    pub fn hold(&self, key: Key) {
        self.0.0.lock().push(key);
    }

    /// Adds references.
    pub fn hold_many(&self, keys: impl IntoIterator<Item = Key>) {
        self.0.0.lock().extend(keys);
    }

    /// Everything it holds.
    pub fn keys(&self) -> Vec<Key> {
        self.0.0.lock().clone()
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
        live.iter().flat_map(|held| held.0.lock().clone()).collect()
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
