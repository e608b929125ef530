//! The trace of a collection: what roots, leases and extents keep alive, for [`Store::collect`].
//!
//! Roots keep the histories above their floors ([`liveness`](super::liveness)). What is held by name only (by a
//! lease) keeps, if it is a commit, as much of its history as is there: a branch may be made at it before the lease
//! ends, and must find the history it had.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::{Histories, Trees, extent_references};
use crate::error::Result;
use crate::format::{ContentId, Domain, Kind};
use crate::store::{Found, Key, Root, RootKind, Store, Trace, Tracing};

/// What the trees and contents of a store refer to.
pub struct TreeTrace;

impl Trace for TreeTrace {
    fn begin(&self, store: &Store) -> Arc<dyn Tracing> {
        Arc::new(Histories::new(store.clone()))
    }

    fn prune<'a>(&'a self, store: &'a Store) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>> {
        Box::pin(async move {
            let roots = store.roots(RootKind::Branch);
            let domains: BTreeSet<Domain> = roots.iter().map(|root| root.domain).collect();
            for domain in domains {
                Trees::new(store.clone(), domain).expire().await?;
            }
            Ok(())
        })
    }
}

impl Tracing for Histories {
    fn root(self: Arc<Self>, root: Root) -> Pin<Box<dyn Future<Output = Result<Found>> + Send>> {
        Box::pin(async move {
            let mut found = Vec::new();
            Histories::root(&self, &root, &mut found).await?;
            Ok(found)
        })
    }

    fn held(self: Arc<Self>, key: Key) -> Pin<Box<dyn Future<Output = Result<Found>> + Send>> {
        Box::pin(async move {
            let mut found = Vec::new();
            if key.kind == Kind::Commit {
                Histories::held(&self, key, &mut found).await?;
            }
            Ok(found)
        })
    }

    fn references(&self, kind: Kind, bytes: &Bytes, found: &mut Vec<(Kind, ContentId)>) -> Result<()> {
        extent_references(kind, bytes, found)
    }
}
