//! Making this opening the owner of the logs, durably, before the first write is taken.
//!
//! After a clean close a superblock with the new incarnation is enough; after anything else (or with another number of
//! reactors) every segment that a log does not go on in gets its footer, every log a fresh segment, and a whole
//! checkpoint is written.
//! Invariant: a log never goes on in a segment after a crash; a write of the dead owner may still land there.

use std::collections::BTreeSet;

use zerocopy::little_endian::U64;

use super::checkpoint::{self, Contents, store_checkpoint};
use super::log::{LogEnd, footer, write_bytes};
use super::recovery::Recovered;
use super::segments::{Places, SegmentState, SegmentTable};
use super::superblocks;
use crate::error::Result;
use crate::format::LogId;
use crate::limits::UNIT_BYTES;
use crate::reactor::Local;

/// A store has at most one log per this many segments.
const SEGMENTS_PER_LOG_MIN: u32 = 6;

/// Where each of at most `reactors` logs goes on in the new incarnation.
pub(super) async fn take_over(
    local: &Local,
    name: &str,
    recovered: &mut Recovered,
    reactors: usize,
) -> Result<Vec<LogEnd>> {
    let places = Places::of(&recovered.superblock);
    let mut block = recovered.superblock.clone();
    block.incarnation = U64::new(block.incarnation.get() + 1);
    let mut ends = std::mem::take(&mut recovered.ends);
    // A small store has fewer logs than reactors: each needs a segment to fill and one to go on in.
    let logs_max = (places.segment_count / SEGMENTS_PER_LOG_MIN).clamp(1, u32::from(u16::MAX));
    let count = u16::try_from(reactors.min(logs_max as usize)).expect("clamped above");
    // A checkpoint repeats the descriptors of open segments, at most half the bytes of each.
    let roots_bytes: usize = recovered
        .roots
        .iter()
        .map(|root| root.record(false).encoded_len())
        .sum();
    let open_bytes = places.segment_bytes() / 2 * u64::from(count);
    let body_max = roots_bytes + usize::try_from(open_bytes).expect("memory for the open segments");
    recovered
        .table
        .expect_checkpoint_parts(checkpoint::parts(&places, body_max));
    // One more, for what cleaning moves.
    let count = count + 1;
    let fits = recovered.clean
        && ends.len() == usize::from(count)
        && (0..count).all(|log| ends.contains_key(&LogId(log)));
    let mut logs: Vec<LogEnd> = Vec::new();
    if !fits {
        // Logs beyond the number of reactors end here.
        // In order: what is released and sealed when must not differ from run to run.
        let mut ending: Vec<_> = ends.extract_if(|log, _| log.0 >= count).collect();
        ending.sort_unstable_by_key(|(log, _)| *log);
        for (log, end) in ending {
            if let Some(next) = end.next {
                recovered.table.release(next.segment);
            }
            recovered.unsealed.extend(end.current.map(|open| (log, open)));
        }
    }
    for (log, open) in std::mem::take(&mut recovered.unsealed) {
        let (bytes, first_unit) = footer(
            &places,
            (&block.store, &block.secret()),
            &open,
            log,
            (0, recovered.usage.newest_ns(open.id())),
        );
        let offset = places.offset(open.id(), u64::from(first_unit) * UNIT_BYTES as u64);
        let len = bytes.len() as u64;
        let failed = |source| superblocks::refused(name, offset, len, source);
        // The end of a segment that was never filled may not be allocated yet.
        superblocks::claim_space(local, offset, len)
            .await
            .map_err(failed)?;
        write_bytes(local, offset, &bytes).await.map_err(failed)?;
        let state = SegmentState::Sealed {
            log,
            end_unit: open.next_unit,
            footer_unit: first_unit,
        };
        recovered.table.set(open.id(), state);
    }
    for log in (0..count).map(LogId) {
        let end = ends.remove(&log).unwrap_or_else(|| LogEnd {
            log,
            current: None,
            next: recovered.table.reserve_for(log),
            predecessor: 0,
            next_sequence: 1,
        });
        logs.push(end);
    }
    if fits {
        block.sequence = U64::new(block.sequence.get() + 1);
        superblocks::store(local, name, &block).await?;
    } else {
        let table = parking_lot::Mutex::new(std::mem::replace(&mut recovered.table, SegmentTable::new(0)));
        let contents = Contents {
            ends: logs.clone(),
            roots: recovered.roots.iter().map(|root| root.record(false)).collect(),
            counters: recovered.checkpoint.counters,
            // The dead owner's last writes may still land: nothing is freed so soon.
            freed: BTreeSet::new(),
            offers: Vec::new(),
        };
        let stored = store_checkpoint(local, name, &mut block, (&table, &recovered.usage), contents).await;
        recovered.table = table.into_inner();
        stored?;
    }
    recovered.superblock = block;
    Ok(logs)
}
