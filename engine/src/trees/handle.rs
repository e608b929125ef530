//! The handle of all state trees of one store and domain; operations are in the module of their subject.

use std::sync::Arc;

use super::quota;
use crate::access::{Access, Batch};
use crate::format::Domain;

/// State trees of a store. Cheap to clone.
#[derive(Clone)]
pub struct Trees {
    pub(super) store: Access,
    pub(super) domain: Domain,
    /// Shared by all clones.
    pub(super) quotas: Arc<quota::Sums>,
}

impl Trees {
    /// The trees of `store` in `domain`. Quotas add up what goes through this handle and its clones: make one for a
    /// store.
    pub fn new(store: impl Into<Access>, domain: Domain) -> Trees {
        Trees {
            store: store.into(),
            domain,
            quotas: Arc::default(),
        }
    }

    /// The store, or the way to it.
    pub fn store(&self) -> &Access {
        &self.store
    }

    /// The domain of everything these trees reach.
    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// A batch whose roots belong to the domain.
    pub(super) fn batch(&self) -> Batch {
        self.store.batch().in_domain(self.domain)
    }
}

impl std::fmt::Debug for Trees {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trees(domain {})", self.domain)
    }
}
