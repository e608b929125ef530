//! What a durable frame changes: the index names the device, what lives there is counted, memory is given back.

use super::{InFlight, Writer};
use crate::store::histogram::Class;
use crate::store::index::{IndexKey, Slot};
use crate::store::pending::{NO_SLOT, PendingBatch};
use crate::store::usage::Place;

impl Writer {
    /// Points the index at the device, counts what is alive there, and gives the memory back.
    pub(super) fn settle(&self, frame: InFlight) {
        let mut descriptors = frame.descriptors.iter();
        let mut moves = Vec::new();
        let mut moved = Vec::new();
        let now = self.local.clock().now();
        for queued in frame.batches {
            if queued.is_commit {
                self.shared
                    .latencies
                    .record(Class::DurableCommit, now.0.saturating_sub(queued.since.0));
            }
            for (item, extent) in (0..).zip(&queued.batch.extents) {
                let descriptor = descriptors.next().expect("one descriptor per extent");
                let place = Place {
                    segment: frame.segment,
                    offset: descriptor.offset.get(),
                    len: descriptor.stored_len.get(),
                };
                moves.push((extent.index_key, queued.batch.slot_of(item), place.slot()));
            }
            // Before the batch goes: until then a look-up finds its bytes in memory.
            self.shared.index.replace_many_if(&moves, &mut moved);
            self.count(&queued.batch, &moves, &moved);
            moves.clear();
            for _ in &queued.records {
                descriptors.next().expect("one descriptor per record");
            }
            if queued.batch.slot != NO_SLOT {
                self.shared.pending.release(&queued.batch);
            }
        }
    }

    /// Counts the extents of a batch as alive in their new places, and as dead in the places they came from.
    fn count(&self, batch: &PendingBatch, moves: &[(IndexKey, Slot, Slot)], moved: &[bool]) {
        if moves.is_empty() {
            return;
        }
        let usage = &self.shared.usage;
        let places = || moves.iter().filter_map(|(_, _, to)| Place::of(*to));
        let now_ns = self.local.clock().wall_ns();
        usage.born(places().map(|place| (place, now_ns)));
        let mut died = Vec::new();
        let mut rivals = Vec::new();
        for (((extent, place), (key, ..)), moved) in batch.extents.iter().zip(places()).zip(moves).zip(moved)
        {
            match extent.moved_from {
                Some(from) if *moved => died.push(from),
                // It died or moved while the copy was on its way.
                Some(_) => died.push(place),
                None if !*moved => rivals.push((*key, place)),
                None => {}
            }
        }
        if !died.is_empty() {
            usage.died(died);
        }
        if !rivals.is_empty() {
            usage.rivals(rivals);
        }
    }
}
