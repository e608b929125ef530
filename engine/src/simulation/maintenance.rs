//! Upkeep of the store while clients work: the only place that calls it.

use std::sync::Arc;

use super::client::{Client, Stop};
use super::content::Content;
use super::model::Violation;
use super::owned::DOMAINS;
use super::scrub;
use crate::error::Error;
use crate::store::{Audit, Scope};
use crate::trees::TreeTrace;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    /// A checkpoint of the working store.
    Checkpoint,
    /// A collection.
    Collect,
    /// A collection of what is young.
    CollectYoung,
    /// Cleaning until this many segments more are free.
    Clean(u8),
    /// Scrub of the whole store.
    Scrub,
}

impl Maintenance {
    /// What a plan may draw from.
    pub const ALL: [Maintenance; 6] = [
        Maintenance::Checkpoint,
        Maintenance::Collect,
        Maintenance::CollectYoung,
        Maintenance::Clean(1),
        Maintenance::Clean(20),
        Maintenance::Scrub,
    ];
    /// What changes the device.
    pub const CHANGING: [Maintenance; 4] = [
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
            Maintenance::CollectYoung => "collect young",
            Maintenance::Clean(_) => "clean",
            Maintenance::Scrub => "scrub",
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
        Maintenance::Collect | Maintenance::CollectYoung => {
            client.stage.model.lock().collection_begins();
            let trace = Arc::new(TreeTrace);
            let collected = match what {
                Maintenance::Collect => store.collect(trace, false).await,
                _ => store.collect_young(trace).await,
            };
            if collected.is_ok() {
                note_swept(client);
            }
            client.stage.model.lock().collection_ends();
            collected.map(|collected| {
                let mut tally = tally.lock();
                let swept = match collected.scope {
                    Scope::All => "extents swept",
                    Scope::Young => "young extents swept",
                };
                tally.add(swept, collected.swept);
                tally.add("segments freed", collected.segments_freed);
            })
        }
        Maintenance::Clean(segments) => store.clean(u64::from(segments)).await.map(|cleaned| {
            let mut tally = tally.lock();
            tally.add("extents moved", cleaned.moved);
            tally.add("segments freed", cleaned.segments_freed);
        }),
        Maintenance::Scrub => match scrub::scrub(&store, |_| true).await {
            Ok(found) => {
                tally.lock().add("extents scrubbed", found.extents);
                let device = &client.stage.device;
                let excused = client.stage.damaged || device.is_dead() || device.faults_injected() > 0;
                match excused {
                    true => Ok(()),
                    false => return Ok(scrub::judge(&found)?),
                }
            }
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => Ok(()),
        Err(Error::Damaged { .. } | Error::NotFound { .. }) if client.stage.damaged => Ok(()),
        Err(error) => client.judge(&error),
    }
}

/// Notes what is not there after a collection. Only while nobody else collects: what another has swept and not yet
/// made durable may come back.
fn note_swept(client: &Client) {
    let mut model = client.stage.model.lock();
    if !model.collects_alone() || client.stage.by_itself {
        return;
    }
    for domain in DOMAINS {
        // Empty extents are in no dead set.
        let absent: Vec<Content> = model
            .contents
            .iter()
            .filter(|((at, content), known)| *at == domain && content.len > 0 && known.writing == 0)
            .map(|((_, content), _)| *content)
            .collect();
        let ids: Vec<_> = absent.iter().map(|content| content.id()).collect();
        for (content, there) in absent.into_iter().zip(
            client
                .stage
                .objects(domain)
                .exist(&ids)
                .expect("the store is here"),
        ) {
            if let Some(known) = model.contents.get_mut(&(domain, content)).filter(|_| !there) {
                known.gone = true;
            }
        }
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
