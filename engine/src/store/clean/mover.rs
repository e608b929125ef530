//! Copies extents that exist to the cleaner's log, a few parts in flight; the index follows when they are durable.
//!
//! Nobody reads the copies before that, so they need no place in the pending table. An extent that dies or moves while
//! its copy is on its way keeps its new state, and the copy is dead.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::Result;
use crate::reactor::Nanos;
use crate::store::log::{Log, Queued, cost_of};
use crate::store::pending::{NO_SLOT, PendingBatch, PendingExtent};
use crate::store::shared::Shared;

/// Parts on their way to the device.
const PARTS_IN_FLIGHT: usize = 12;
/// Cost of one part, unless it is a single large extent. The writer puts several of them into one frame; the end of a
/// segment in which no part fits any more is lost.
pub(in crate::store) const PART_COST: u64 = 128 << 10;

/// The way of copies into the cleaner's log.
pub(in crate::store) struct Mover<'a> {
    shared: &'a Shared,
    log: &'a Arc<Log>,
    /// Sequences not yet durable.
    in_flight: VecDeque<u64>,
}

impl<'a> Mover<'a> {
    /// Into `log`, the cleaner's.
    pub fn new(shared: &'a Shared, log: &'a Arc<Log>) -> Mover<'a> {
        Mover {
            shared,
            log,
            in_flight: VecDeque::new(),
        }
    }

    /// Copies extents that know where they come from.
    ///
    /// # Errors
    /// `Full` if the cleaner's log has no room.
    pub async fn copy(&mut self, now: Nanos, copies: Vec<PendingExtent>) -> Result<()> {
        let mut part = Vec::new();
        let mut cost = 0;
        for copy in copies {
            let takes = cost_of(std::iter::once(copy.bytes.len()), std::iter::empty());
            if cost > 0 && cost + takes > PART_COST {
                self.copy_part(now, std::mem::take(&mut part)).await?;
                cost = 0;
            }
            cost += takes;
            part.push(copy);
        }
        match part.is_empty() {
            true => Ok(()),
            false => self.copy_part(now, part).await,
        }
    }

    async fn copy_part(&mut self, now: Nanos, copies: Vec<PendingExtent>) -> Result<()> {
        let lengths = copies.iter().map(|copy| copy.bytes.len());
        let cost = cost_of(lengths.clone(), std::iter::empty());
        let bytes: usize = lengths.sum();
        if let Err(no_room) = self.log.room.take(cost, false, || self.log.hurry()).await {
            self.shared.check_writable()?;
            return Err(no_room.error(&self.shared.name, cost));
        }
        let since = now;
        let log = self.log.id;
        let place = |sequence| {
            let batch = Arc::new(PendingBatch {
                log,
                sequence,
                slot: NO_SLOT,
                extents: copies,
                bytes,
            });
            let queued = Queued {
                batch,
                records: Vec::new(),
                depends_on: Vec::new(),
                cost,
                is_commit: false,
                since,
            };
            (queued, ())
        };
        let (sequence, ()) = self.log.append(place)?;
        self.in_flight.push_back(sequence);
        if self.in_flight.len() > PARTS_IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            self.log.durable(oldest).await?;
        }
        Ok(())
    }

    /// Waits until all copies are durable.
    pub async fn finish(self) -> Result<()> {
        match self.in_flight.back() {
            Some(last) => self.log.durable(*last).await,
            None => Ok(()),
        }
    }
}
