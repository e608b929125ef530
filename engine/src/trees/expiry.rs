//! Branches that go by themselves: each may say when.
//!
//! An expired branch is a branch like any other until somebody sweeps: it can be read, moved, kept. So nothing has to
//! look at the clock when it reads a name, and a sweep is an ordinary removal: on demand, by `gc`, and by a store that is
//! about to collect because space runs low.
//! Invariant: a sweep removes exactly the state it has seen, so a branch whose expiry is put off meanwhile stays.
//! Rejected: hiding expired branches from readers; what keeps content alive would depend on the clock. Sweeping
//! whenever a store is opened; whoever comes to put an expiry off, or to go on with the branch, would come too late.

use super::branches::is_race;
use super::{Reference, Trees};
use crate::access::Ack;
use crate::error::{Error, Result};
use crate::store::{Expect, RootChange, RootKind, RootUpdate};

impl Trees {
    /// Says when branch `name` goes by itself: nanoseconds since 1970; 0: never.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_expiry(&self, name: &str, expires_ns: u64) -> Result<Ack> {
        self.change(RootKind::Branch, name, super::ExpectHead::Any, |head, _| {
            let mut data = head.data()?;
            data.expires_ns = expires_ns;
            Ok(RootChange::Set {
                target: head.root.target,
                data: data.encode().into(),
            })
        })
        .await
    }

    /// The branches that have expired by `now_ns`, by name.
    ///
    /// # Errors
    /// `Invalid` if a record is malformed.
    pub fn expired(&self, now_ns: u64) -> Result<Vec<Reference>> {
        let mut branches = self.branches()?;
        branches.retain(|branch| branch.expires_ns != 0 && branch.expires_ns <= now_ns);
        Ok(branches)
    }

    /// Removes the branches that have expired by now. Answers them; one that changes at this moment stays for the next
    /// sweep.
    ///
    /// # Errors
    /// The store's.
    pub async fn expire(&self) -> Result<(Vec<Reference>, Vec<Ack>)> {
        let now_ns = self.store.now_ns();
        let (mut removed, mut acks) = (Vec::new(), Vec::new());
        for branch in self.expired(now_ns)? {
            let head = match self.existing(RootKind::Branch, &branch.name) {
                Err(Error::NotFound { .. }) => continue,
                head => head?,
            };
            let expires_ns = head.data()?.expires_ns;
            if expires_ns == 0 || expires_ns > now_ns {
                continue;
            }
            // This may be part of making room.
            let mut batch = self.batch().without_making_room();
            batch.set_root(RootUpdate {
                kind: RootKind::Branch,
                name: head.root.name.clone(),
                expect: Expect::Sequence(head.root.sequence),
                change: RootChange::Delete,
            });
            match batch.submit().await {
                Err(error) if is_race(&error) => {}
                done => {
                    acks.push(done?);
                    removed.push(branch);
                }
            }
        }
        if !removed.is_empty() {
            self.quotas.forget();
        }
        Ok((removed, acks))
    }
}
