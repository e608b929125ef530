//! Quotas: how many bytes the branches with a prefix may use.
//!
//! **What counts.** When quotas are measured, the stored bytes that the branches with the prefix reach, histories and
//! earlier states included, each extent once: what `du` would say of them together. From then on, what commits on
//! these branches store that the store did not have. So between measurements a commit only adds two numbers; what
//! other branches share is not charged twice; what is deleted or forgotten counts until the next measurement, except
//! what a removed branch had stored since the last one. Quotas are measured when one is set, on demand, and by
//! `gc`.
//!
//! **Where it is kept.** The limit and the measurement are a setting root; the bytes stored since are in the records of
//! the branches, which a commit writes anyway, and count only for the measurement they name. So they are durable with
//! the commit, and commits on different branches meet in no record. The sum over the branches is kept in memory and
//! added up again before a commit is refused.
//! Rejected: a counter in the quota's record; every commit of hundreds of branches would change it. Measuring at each
//! commit; that reads whole histories.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use zerocopy::IntoBytes;

use super::Trees;
use super::branches::data_of;
use crate::access::Ack;
use crate::error::{Error, Result};
use crate::format::branch::BranchData;
use crate::format::quota::QuotaRecord;
use crate::limits::{QUOTAS_MAX, ROOT_NAME_BYTES_MAX};
use crate::store::{Expect, Root, RootChange, RootKind, RootUpdate};

/// What the names of quotas begin with.
const NAME: &[u8] = b"quota ";

/// A quota as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// It is for branches whose names begin with this.
    pub prefix: String,
    /// Most that they may use, in bytes.
    pub limit_bytes: u64,
    /// What they use, in bytes.
    pub used_bytes: u64,
    /// When that was measured: nanoseconds since 1970. What was stored since is counted.
    pub measured_ns: u64,
}

/// Bytes stored on the branches of each prefix since the measurement at that time, as far as they were added up.
#[derive(Debug, Default)]
pub(super) struct Sums(Mutex<HashMap<String, (u64, u64)>>);

impl Sums {
    /// Branches have come, gone or changed their names.
    pub fn forget(&self) {
        self.0.lock().clear();
    }
}

/// A record with its prefix.
struct Found {
    prefix: String,
    record: QuotaRecord,
}

impl Trees {
    /// All quotas, by prefix.
    ///
    /// # Errors
    /// `Invalid` if a record is malformed.
    pub fn quotas(&self) -> Result<Vec<Quota>> {
        let quota = |found: Found| {
            let stored = self.stored_since(&found)?;
            Ok(Quota {
                limit_bytes: found.record.limit_bytes.get(),
                used_bytes: found.record.measured_bytes.get().saturating_add(stored),
                measured_ns: found.record.measured_ns.get(),
                prefix: found.prefix,
            })
        };
        self.quota_records()?.into_iter().map(quota).collect()
    }

    /// Replaces all quotas: (prefix, limit). `measure` says what the branches with each of these prefixes reach.
    ///
    /// # Errors
    /// `Invalid` if there are too many, or a prefix is too long; what `measure` answers; the store's.
    pub async fn set_quotas(
        &self,
        quotas: &[(String, u64)],
        measure: impl FnOnce(&[&str]) -> Result<Vec<u64>>,
    ) -> Result<Ack> {
        if quotas.len() > QUOTAS_MAX {
            return Err(Error::invalid(
                format!("{} quotas", quotas.len()),
                format!("at most {QUOTAS_MAX}"),
            ));
        }
        for (prefix, _) in quotas {
            if NAME.len() + prefix.len() > ROOT_NAME_BYTES_MAX {
                let most = ROOT_NAME_BYTES_MAX - NAME.len();
                return Err(Error::invalid(
                    format!("prefix `{prefix}`"),
                    format!("it has more than {most} bytes"),
                ));
            }
        }
        let prefixes: Vec<&str> = quotas.iter().map(|(prefix, _)| &prefix[..]).collect();
        // Commits that are made while it is measured may or may not be seen; so they count twice rather than never.
        let before = self.stored_ever(&prefixes)?;
        let measured = measure(&prefixes)?;
        let after = self.stored_ever(&prefixes)?;
        let old = self.quota_records()?;
        // Counters of branches name the measurement by its time.
        let last_ns = old.iter().map(|found| found.record.measured_ns.get()).max();
        let measured_ns = self
            .store
            .now_ns()
            .max(last_ns.map_or(0, |last| last.saturating_add(1)));
        let mut batch = self.batch();
        for old in old {
            if !prefixes.contains(&&old.prefix[..]) {
                batch.set_root(update(&old.prefix, RootChange::Delete));
            }
        }
        for (index, (prefix, limit_bytes)) in quotas.iter().enumerate() {
            let meanwhile = after[index].saturating_sub(before[index]);
            let bytes = measured[index].saturating_add(meanwhile);
            let record = QuotaRecord::new(*limit_bytes, bytes, measured_ns);
            let change = RootChange::Set {
                target: None,
                data: Bytes::copy_from_slice(record.as_bytes()),
            };
            batch.set_root(update(prefix, change));
        }
        self.quotas.forget();
        batch.submit().await
    }

    /// The data of branch `name` after a commit that stores `new_bytes`.
    ///
    /// # Errors
    /// `OverQuota` if a quota does not allow that.
    pub(super) fn charge(&self, name: &str, data: Bytes, new_bytes: u64) -> Result<Bytes> {
        let mut found = self.quota_records()?;
        found.retain(|found| name.starts_with(&found.prefix));
        let Some(first) = found.first() else {
            return Ok(data);
        };
        for quota in &found {
            let limit = quota.record.limit_bytes.get();
            let over = |stored: u64| {
                let used = quota.record.measured_bytes.get().saturating_add(stored);
                (used.saturating_add(new_bytes) > limit).then_some(used)
            };
            if over(self.stored_since(quota)?).is_none() {
                continue;
            }
            self.quotas.forget();
            if let Some(used) = over(self.stored_since(quota)?) {
                return Err(Error::OverQuota {
                    branch: name.to_owned(),
                    prefix: quota.prefix.clone(),
                    limit,
                    used,
                    needed: new_bytes,
                });
            }
        }
        let damage = |damage| Error::invalid(format!("branch {name}"), format!("{damage}"));
        let mut data = BranchData::decode(&data).map_err(damage)?;
        // All quotas are measured together.
        let since = first.record.measured_ns.get();
        if data.stored_since_ns != since {
            (data.stored_since_ns, data.stored_bytes) = (since, 0);
        }
        data.stored_bytes = data.stored_bytes.saturating_add(new_bytes);
        Ok(data.encode().into())
    }

    /// A commit on branch `name` that [`Trees::charge`] has allowed was made.
    pub(super) fn charged(&self, name: &str, new_bytes: u64) {
        let mut sums = self.quotas.0.lock();
        for (prefix, (_, sum)) in sums.iter_mut() {
            if name.starts_with(&prefix[..]) {
                *sum = sum.saturating_add(new_bytes);
            }
        }
    }

    fn quota_records(&self) -> Result<Vec<Found>> {
        let mut records = Vec::new();
        for root in self.store.roots(RootKind::Setting)? {
            let Some(prefix) = root
                .name
                .strip_prefix(NAME)
                .filter(|_| root.domain == self.domain)
            else {
                continue;
            };
            let malformed = || {
                let what = String::from_utf8_lossy(&root.name).into_owned();
                Error::invalid(
                    what,
                    "its record is malformed, or of a newer version of this program",
                )
            };
            records.push(Found {
                prefix: String::from_utf8(prefix.to_vec()).map_err(|_| malformed())?,
                record: QuotaRecord::decode(&root.data).ok_or_else(malformed)?,
            });
        }
        Ok(records)
    }

    /// What has been stored on the branches of a quota since it was measured.
    fn stored_since(&self, quota: &Found) -> Result<u64> {
        let since = quota.record.measured_ns.get();
        let known = self.quotas.0.lock().get(&quota.prefix).copied();
        if let Some((_, sum)) = known.filter(|(measured_ns, _)| *measured_ns == since) {
            return Ok(sum);
        }
        let sum = self.sum_of(&quota.prefix, |data| data.stored_since_ns == since)?;
        self.quotas.0.lock().insert(quota.prefix.clone(), (since, sum));
        Ok(sum)
    }

    fn stored_ever(&self, prefixes: &[&str]) -> Result<Vec<u64>> {
        prefixes
            .iter()
            .map(|prefix| self.sum_of(prefix, |_| true))
            .collect()
    }

    fn sum_of(&self, prefix: &str, counts: impl Fn(&BranchData) -> bool) -> Result<u64> {
        let branches = self.store.roots(RootKind::Branch)?.into_iter();
        let ours = |root: &Root| root.domain == self.domain && root.name.starts_with(prefix.as_bytes());
        let mut sum = 0u64;
        for root in branches.filter(ours) {
            let data = data_of(&root)?;
            if counts(&data) {
                sum = sum.saturating_add(data.stored_bytes);
            }
        }
        Ok(sum)
    }
}

fn update(prefix: &str, change: RootChange) -> RootUpdate {
    RootUpdate {
        kind: RootKind::Setting,
        name: [NAME, prefix.as_bytes()].concat().into(),
        expect: Expect::Any,
        change,
    }
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
