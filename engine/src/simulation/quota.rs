//! A quota on the branches of one client, for the length of an opening.
//!
//! Set before clients work, with nothing measured, so that what counts is what the store answers each commit has
//! stored. One client only: those of several could race past a limit, and be right.

use super::client::{Client, Stage, Stop};
use super::model::{Model, Violation};
use super::owned::domain_of;
use crate::error::Error;
use crate::format::Domain;
use crate::trees::Trees;

/// The domain whose clients may have quotas.
const DOMAIN: Domain = Domain(0);

/// A quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Whose branches.
    pub client: usize,
    /// Most that they may store, in bytes.
    pub limit_bytes: u64,
}

impl Quota {
    /// A quota for a client, if it may have one.
    pub fn new(client: usize, limit_bytes: u64) -> Option<Quota> {
        (domain_of(client) == DOMAIN).then_some(Quota { client, limit_bytes })
    }
}

fn prefix(client: usize) -> String {
    format!("c{client}/")
}

/// Replaces all quotas by this one, or by none.
pub(super) async fn set(stage: &Stage, quota: Option<Quota>) -> Result<(), Violation> {
    if stage.model.lock().quota.is_none() && quota.is_none() {
        return Ok(());
    }
    let ours: Vec<(String, u64)> = quota
        .map(|quota| (prefix(quota.client), quota.limit_bytes))
        .into_iter()
        .collect();
    let trees = Trees::new(stage.store.clone(), DOMAIN);
    let set = trees
        .set_quotas(&ours, |prefixes| Ok(vec![0; prefixes.len()]))
        .await;
    let set = match set {
        Ok(ack) => ack.durable().await,
        Err(error) => Err(error),
    };
    match set {
        Ok(()) => {}
        // The one before is still in force.
        Err(Error::Full { .. } | Error::DiskFull { .. }) => return Ok(()),
        Err(_) if stage.damaged => return Ok(()),
        Err(error) => return Violation::new(format!("setting a quota: {error}")),
    }
    stage.model.lock().set_quota(quota);
    Ok(())
}

/// What the store says of quotas after an opening. `stored` are the bytes that the states a client may be in have.
pub(super) fn check(stage: &Stage, model: &Model, stored: &[u64]) -> Result<(), Violation> {
    let Some(quota) = model.quota else { return Ok(()) };
    let trees = Trees::new(stage.store.clone(), DOMAIN);
    let all = trees
        .quotas()
        .map_err(|error| Violation(format!("listing quotas: {error}")))?;
    let holds = match &all[..] {
        [found] => {
            found.prefix == prefix(quota.client)
                && found.limit_bytes == quota.limit_bytes
                && stored.contains(&found.used_bytes)
        }
        _ => false,
    };
    match holds {
        true => Ok(()),
        false => Violation::new(format!(
            "{quota:?} with one of {stored:?} bytes stored became {all:?}"
        )),
    }
}

/// Judges the answer to a commit on a branch of `client`: the bytes it stored, or its refusal.
pub(super) fn judge(client: &Client, answer: Result<u64, &Error>) -> Result<(), Stop> {
    let (quota, used) = {
        let mut model = client.stage.model.lock();
        let quota = model.quota.filter(|quota| quota.client == client.number);
        let used = model.owned(client.number).stored();
        // After a commit that was not answered and a quota that could not be replaced nothing is known.
        match (quota, used) {
            (Some(_), None) => return Ok(()),
            (quota, used) => (quota, used.unwrap_or(0)),
        }
    };
    match (quota, answer) {
        (Some(quota), Ok(stored)) if used + stored > quota.limit_bytes => client.astray(format!(
            "{stored} more bytes than {used} were stored, and {} is the limit",
            quota.limit_bytes
        )),
        (_, Ok(_)) => Ok(()),
        (
            Some(quota),
            Err(Error::OverQuota {
                used: said,
                needed,
                limit,
                ..
            }),
        ) if *limit == quota.limit_bytes && *said == used && used + needed > *limit => {
            client.stage.tally.lock().count("refused: over quota");
            Ok(())
        }
        (_, Err(error)) => client.astray(format!("refused with {used} bytes stored: {error}")),
    }
}
