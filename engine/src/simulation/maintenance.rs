//! Upkeep of the store while clients work: the only place that calls it.

use std::sync::Arc;

use super::client::{Client, Stop};
use super::model::Violation;
use crate::error::Error;
use crate::store::Audit;
use crate::trees::TreeTrace;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    /// A checkpoint of the working store.
    Checkpoint,
    /// A collection.
    Collect,
    /// Cleaning until this many segments more are free.
    Clean(u8),
}

impl Maintenance {
    /// What a plan may draw from.
    pub const ALL: [Maintenance; 4] = [
        Maintenance::Checkpoint,
        Maintenance::Collect,
        Maintenance::Clean(1),
        Maintenance::Clean(20),
    ];

    /// Its name, for counting.
    pub fn word(self) -> &'static str {
        match self {
            Maintenance::Checkpoint => "checkpoint",
            Maintenance::Collect => "collect",
            Maintenance::Clean(_) => "clean",
        }
    }
}

/// Does it as one operation of a client.
pub(super) async fn maintain(client: &mut Client, what: Maintenance) -> Result<(), Stop> {
    let store = client.stage.store.clone();
    let tally = client.stage.tally.clone();
    let done = match what {
        Maintenance::Checkpoint => store.checkpoint().await.map(|report| {
            tally.lock().add("segments freed", report.segments_freed);
        }),
        Maintenance::Collect => {
            client.stage.model.lock().collection_begins();
            let collected = store.collect(Arc::new(TreeTrace), false).await;
            client.stage.model.lock().collection_ends();
            collected.map(|collected| {
                let mut tally = tally.lock();
                tally.add("extents swept", collected.swept);
                tally.add("segments freed", collected.segments_freed);
            })
        }
        Maintenance::Clean(segments) => store.clean(u64::from(segments)).await.map(|cleaned| {
            let mut tally = tally.lock();
            tally.add("extents moved", cleaned.moved);
            tally.add("segments freed", cleaned.segments_freed);
        }),
    };
    match done {
        Ok(()) => Ok(()),
        Err(Error::Damaged { .. } | Error::NotFound { .. }) if client.stage.damaged => Ok(()),
        Err(error) => client.judge(&error),
    }
}

/// What is on the device and what is in memory must say the same.
pub(super) fn judge_audit(audit: &Audit) -> Result<(), Violation> {
    match audit.wrong {
        0 => Ok(()),
        wrong => Violation::new(format!(
            "the audit found {wrong} contradictions: {:?}",
            audit.first_wrong
        )),
    }
}
