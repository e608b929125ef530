//! Scrubs what everything else hangs on: both superblocks and both copies of the checkpoint.
//!
//! One damaged copy does no harm until the other one is damaged too. So a store that takes writes gets new ones at
//! once: a checkpoint writes all four, elsewhere.

use crate::error::Result;
use crate::format::superblock::Superblock;
use crate::reactor::Local;
use crate::store::{Store, checkpoint, superblocks};

impl Store {
    /// Reads both superblocks and both copies of the checkpoint. Answers what is damaged, a sentence each, after it was
    /// written anew if the store takes writes.
    ///
    /// # Errors
    /// `Closed`, or what [`checkpoint`](Store::checkpoint) answers.
    pub async fn scrub_anchors(&self) -> Result<Vec<String>> {
        self.maintain(|local, store| async move { scrub(&local, &store).await })
            .await
    }
}

/// The same as part of a maintenance job.
pub(super) async fn scrub(local: &Local, store: &Store) -> Result<Vec<String>> {
    let shared = store.shared();
    let block = store.0.superblock.lock().clone();
    let mut damaged = Vec::new();
    for copy in 0..2 {
        let unit = superblocks::read_copy(local, &shared.name, &block, copy).await;
        let found = unit
            .map_err(|error| error.to_string())
            .and_then(|unit| Superblock::decode(&unit, copy).map_err(|error| error.to_string()));
        match found {
            Ok(found) if found.sequence == block.sequence => {}
            Ok(found) => damaged.push(format!(
                "superblock {copy}: it is number {}, not {}",
                found.sequence, block.sequence
            )),
            Err(reason) => damaged.push(format!("superblock {copy}: {reason}")),
        }
        if let Err(reason) = checkpoint::verify_copy(local, &shared.name, &block, copy).await {
            damaged.push(format!("checkpoint, copy {copy}: {reason}"));
        }
    }
    for what in &damaged {
        tracing::error!(store = shared.name, "{what}");
    }
    if !damaged.is_empty() && shared.check_writable().is_ok() {
        checkpoint::take(local, store).await?;
    }
    Ok(damaged)
}
