//! Opening: from the bytes on the device to the table of segments, the index, the roots and the ends of the logs.
//!
//! The checkpoint gives the state at its time; sealed segments give the index through their footers, or their frames
//! where a footer is damaged ([`loading`](super::loading)); after an unclean end the logs are replayed from where the
//! checkpoint saw them ([`replay`](super::replay)). Reads only: the verdict is made durable by the caller, before
//! it accepts writes.

use std::collections::HashMap;
use std::sync::Arc;

use super::api::Root;
use super::checkpoint;
use super::index::Index;
use super::loading::Loading;
use super::log::{LogEnd, OpenSegment};
use super::replay;
use super::segments::{Places, SegmentState, SegmentTable, SegmentUse};
use super::superblocks;
use super::usage::Usage;
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::format::checkpoint::{Checkpoint, LogRecord};
use crate::format::frame::{Descriptor, NO_SEGMENT};
use crate::format::root_record::RootRecord;
use crate::format::superblock::Superblock;
use crate::format::{LogId, SegmentId};
use crate::reactor::{Handle, Local};

/// Something on the device that should be readable and is not.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Damage {
    /// Logical segment.
    pub segment: SegmentId,
    /// Byte offset in the segment.
    pub offset: u64,
    /// What is lost or was worked around.
    pub what: String,
}

/// What opening found.
pub(super) struct Recovered {
    pub superblock: Superblock,
    pub table: SegmentTable,
    pub usage: Usage,
    pub roots: Vec<Root>,
    pub checkpoint: Checkpoint,
    /// Logs that go on where they stopped (after a clean close), by log number.
    pub ends: HashMap<LogId, LogEnd>,
    /// Segments that need a footer because their log does not go on in them.
    pub unsealed: Vec<(LogId, OpenSegment)>,
    /// Nothing had to be replayed.
    pub clean: bool,
    pub damage: Vec<Damage>,
    /// Frames read again.
    pub replayed_frames: u64,
}

impl Recovered {
    /// Where the logs stand, for a store that takes no writes.
    pub fn standing(&self) -> Vec<LogEnd> {
        let unsealed = self.unsealed.iter().map(|(log, open)| LogEnd {
            log: *log,
            current: Some(open.clone()),
            next: None,
            predecessor: 0,
            next_sequence: 1,
        });
        self.ends.values().cloned().chain(unsealed).collect()
    }
}

/// Reads the store on this device, with all its reactors.
pub(super) async fn recover(local: &Local, name: &str, reactors: &[Handle]) -> Result<(Recovered, Index)> {
    let superblock = superblocks::load(local, name).await?;
    let checkpoint = checkpoint::load(local, name, &superblock).await?;
    let places = Places::of(&superblock);
    let mut table = SegmentTable::new(places.segment_count);
    let refuse = |what: &str| Error::NotAStore {
        store: name.to_owned(),
        reason: format!("its checkpoint contradicts itself ({what}); restore a copy"),
    };
    for record in &checkpoint.segments {
        if record.segment.get() >= places.segment_count || !table.restore(record) {
            return Err(refuse("segment table"));
        }
    }
    checkpoint
        .generations
        .iter()
        .for_each(|(segment, generation)| table.restore_generation(*segment, *generation));
    let loading = Loading::new(name, &superblock, &table, &checkpoint).ok_or_else(|| refuse("dead sets"))?;
    let loading = Arc::new(loading);
    loading.load_sealed(reactors).await?;
    let mut open: HashMap<u32, Vec<Descriptor>> = checkpoint.open_segments.iter().cloned().collect();
    for (segment, descriptors) in &open {
        if *segment >= places.segment_count {
            return Err(refuse("open segments"));
        }
        loading.enter(SegmentId(*segment), descriptors, local.clock().wall_ns());
    }
    let forgotten = canary::is(Canary::ForgottenIncarnation) && superblock.closed.get() > 0;
    let clean = superblock.closed == superblock.incarnation || forgotten;
    let mut recovered = Recovered {
        roots: Vec::new(),
        ends: HashMap::new(),
        unsealed: Vec::new(),
        clean,
        damage: Vec::new(),
        replayed_frames: 0,
        table,
        usage: Usage::new(0),
        superblock,
        checkpoint,
    };
    let mut records: HashMap<u64, RootRecord> = recovered
        .checkpoint
        .roots
        .iter()
        .map(|record| (record.root.0, record.clone()))
        .collect();
    if clean {
        for record in recovered.checkpoint.logs.clone() {
            let end = resume(&recovered, &places, &record, &mut open).ok_or_else(|| refuse("log table"))?;
            recovered.ends.insert(end.log, end);
        }
    } else {
        let replayed = replay::replay(
            local,
            name,
            &recovered.superblock,
            &recovered.checkpoint,
            &mut open,
        )
        .await?;
        recovered.damage = replayed.damage;
        recovered.replayed_frames = replayed.frames;
        for (segment, descriptors) in &replayed.extents {
            loading.enter(*segment, descriptors, local.clock().wall_ns());
        }
        for record in replayed.records {
            let newer = records
                .get(&record.root.0)
                .is_none_or(|known| known.sequence < record.sequence);
            if newer {
                records.insert(record.root.0, record);
            }
        }
        for (log, segment) in replayed.segments {
            let state = SegmentState::Open(log);
            if recovered
                .table
                .get(segment.id())
                .is_some_and(|(state, _)| state == SegmentState::Free)
            {
                recovered.table.claim(segment.at, state);
            } else {
                recovered.table.set(segment.id(), state);
            }
            recovered.unsealed.push((log, segment));
        }
        // What was reserved and never used is free again.
        for at in recovered
            .table
            .find(|state| matches!(state, SegmentState::Reserved(_)))
        {
            recovered.table.release(at.segment);
        }
    }
    let next_root = records.keys().max().map_or(1, |highest| highest + 1);
    if recovered.checkpoint.counters.next_root.get() < next_root {
        recovered.checkpoint.counters.next_root = next_root.into();
    }
    recovered.roots = records
        .values()
        .filter(|record| !record.deleted)
        .filter_map(Root::from_record)
        .collect();
    let mut loaded = loading.finish();
    // What loading found comes before what replay found.
    loaded.damage.append(&mut recovered.damage);
    recovered.damage = loaded.damage;
    recovered.usage = loaded.usage;
    Ok((recovered, loaded.index))
}

/// Where a cleanly closed log goes on.
fn resume(
    recovered: &Recovered,
    places: &Places,
    record: &LogRecord,
    open: &mut HashMap<u32, Vec<Descriptor>>,
) -> Option<LogEnd> {
    let log = LogId(record.log.get());
    let at = SegmentUse {
        segment: SegmentId(record.segment.get()),
        generation: record.generation.get(),
    };
    let (state, generation) = recovered.table.get(at.segment)?;
    if generation != at.generation {
        return None;
    }
    let mut end = LogEnd {
        log,
        current: None,
        next: None,
        predecessor: record.predecessor.get(),
        next_sequence: record.next.get().max(1),
    };
    match state {
        SegmentState::Reserved(owner) if owner == log => end.next = Some(at),
        SegmentState::Open(owner) if owner == log => {
            let unit = record.unit.get();
            let listed = recovered
                .checkpoint
                .segments
                .iter()
                .find(|entry| entry.segment == record.segment)?;
            let descriptors = open.remove(&at.segment.0).unwrap_or_default();
            let footer = crate::format::segment::footer_units(descriptors.len());
            let sane = unit >= 1
                && unit
                    .checked_add(footer)
                    .is_some_and(|end| end <= places.segment_units);
            if !sane {
                return None;
            }
            end.current = Some(OpenSegment::new(
                at,
                places.segment_units,
                unit,
                listed.ready_unit.get(),
                descriptors,
            ));
            if record.next_segment.get() != NO_SEGMENT {
                end.next = Some(SegmentUse {
                    segment: SegmentId(record.next_segment.get()),
                    generation: record.next_generation.get(),
                });
                let (state, generation) = recovered.table.get(end.next?.segment)?;
                if state != SegmentState::Reserved(log) || generation != end.next?.generation {
                    return None;
                }
            }
        }
        _ => return None,
    }
    Some(end)
}
