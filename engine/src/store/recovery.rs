//! Opening: from the bytes on the device to the table of segments, the index, the roots and the ends of the logs.
//!
//! The checkpoint gives the state at its time; sealed segments give the index through their footers (a damaged
//! footer is replaced by the segment's frames); after an unclean end the logs are replayed from where the
//! checkpoint saw them ([`replay`](super::replay)). Reads only: the verdict is made durable by the caller, before
//! it accepts writes.

use std::collections::{HashMap, HashSet};

use super::api::{Key, Root};
use super::checkpoint;
use super::index::{self, Index, IndexKey};
use super::log::{LogEnd, OpenSegment};
use super::replay;
use super::segments::{Places, SegmentState, SegmentTable, SegmentUse};
use super::superblocks::{self, read};
use super::usage::{Place, Usage};
use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::format::checkpoint::{Checkpoint, LogRecord};
use crate::format::frame::{Descriptor, NO_SEGMENT};
use crate::format::root_record::RootRecord;
use crate::format::segment::Trailer;
use crate::format::superblock::Superblock;
use crate::format::{Kind, LogId, SegmentId};
use crate::limits::UNIT_BYTES;
use crate::reactor::{Local, oneshot};

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

/// Footers read at once.
const FOOTERS_IN_FLIGHT: usize = 16;

/// Reads the store on this device into `index`.
pub(super) async fn recover(
    local: &Local,
    name: &str,
    make_index: impl FnOnce(&Superblock) -> Index,
) -> Result<(Recovered, Index)> {
    let superblock = superblocks::load(local, name).await?;
    let checkpoint = checkpoint::load(local, name, &superblock).await?;
    let places = Places::of(&superblock);
    let index = make_index(&superblock);
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
    let mut damage = Vec::new();
    let mut loader = Loader::new(index, &superblock, table.len());
    for (segment, generation, offsets) in &checkpoint.dead {
        let segment = SegmentId(*segment);
        let known = table.get(segment).is_some_and(|(_, known)| known == *generation);
        if !known {
            return Err(refuse("dead sets"));
        }
        loader.restore_dead(segment, offsets);
    }
    load_sealed(local, name, &superblock, &table, &mut loader, &mut damage).await?;
    let mut open: HashMap<u32, Vec<Descriptor>> = checkpoint.open_segments.iter().cloned().collect();
    for (segment, descriptors) in &open {
        loader.insert(SegmentId(*segment), descriptors, local.clock().wall_ns());
    }
    let forgotten = canary::is(Canary::ForgottenIncarnation) && superblock.closed.get() > 0;
    let clean = superblock.closed == superblock.incarnation || forgotten;
    let mut recovered = Recovered {
        roots: Vec::new(),
        ends: HashMap::new(),
        unsealed: Vec::new(),
        clean,
        damage,
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
        recovered.damage.extend(replayed.damage);
        recovered.replayed_frames = replayed.frames;
        for (segment, descriptors) in &replayed.extents {
            loader.insert(*segment, descriptors, local.clock().wall_ns());
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
    recovered.damage.extend(loader.beyond.iter().map(|place| Damage {
        segment: place.segment,
        offset: place.offset.into(),
        what: format!("an extent of {} bytes that does not fit the segment", place.len),
    }));
    recovered.usage = loader.usage;
    Ok((recovered, loader.index))
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

/// Fills the index and counts what is alive, from descriptors and dead sets.
struct Loader {
    index: Index,
    usage: Usage,
    secret: index::Secret,
    dead: HashMap<SegmentId, HashSet<u32>>,
    segment_bytes: u64,
    /// Extents that would not fit their segment: whoever wrote them was no Helios.
    beyond: Vec<Place>,
}

impl Loader {
    fn new(index: Index, superblock: &Superblock, segments: usize) -> Loader {
        Loader {
            index,
            usage: Usage::new(segments),
            secret: index::Secret::derive(&superblock.secret),
            dead: HashMap::new(),
            segment_bytes: Places::of(superblock).segment_bytes(),
            beyond: Vec::new(),
        }
    }

    fn restore_dead(&mut self, segment: SegmentId, offsets: &[u32]) {
        if canary::is(Canary::ForgottenDeadSets) {
            return;
        }
        self.usage.restore_dead(segment, offsets.to_vec());
        self.dead.insert(segment, offsets.iter().copied().collect());
    }

    fn insert(&mut self, segment: SegmentId, descriptors: &[Descriptor], newest_ns: u64) {
        let dead = self.dead.get(&segment);
        let mut born = Vec::new();
        let mut died = Vec::new();
        for descriptor in descriptors {
            let Some(kind) = descriptor.kind().filter(|kind| *kind != Kind::Root) else {
                continue;
            };
            let place = Place {
                segment,
                offset: descriptor.offset.get(),
                len: descriptor.stored_len.get(),
            };
            let end = u64::from(place.offset) + u64::from(place.len);
            if end > self.segment_bytes {
                self.beyond.push(place);
                continue;
            }
            if place.len > 0 && dead.is_some_and(|dead| dead.contains(&place.offset)) {
                continue;
            }
            let key = Key {
                domain: descriptor.domain(),
                kind,
                id: descriptor.id,
            };
            let index_key = IndexKey::new(&self.secret, key.domain, key.kind, &key.id);
            match self.index.upsert(&index_key, place.slot()).and_then(Place::of) {
                // The same descriptor again.
                Some(old) if old == place => continue,
                // One of two copies; which one is of no matter.
                Some(old) => died.push(old),
                None => {}
            }
            born.push((place, newest_ns));
        }
        self.usage.born(born);
        self.usage.died(died);
    }
}

async fn load_sealed(
    local: &Local,
    name: &str,
    superblock: &Superblock,
    table: &SegmentTable,
    loader: &mut Loader,
    damage: &mut Vec<Damage>,
) -> Result<()> {
    let sealed = table.find(|state| matches!(state, SegmentState::Sealed { .. }));
    for group in sealed.chunks(FOOTERS_IN_FLIGHT) {
        let mut replies = Vec::new();
        for at in group {
            let Some((
                SegmentState::Sealed {
                    end_unit,
                    footer_unit,
                    ..
                },
                _,
            )) = table.get(at.segment)
            else {
                continue;
            };
            let (sender, receiver) = oneshot::oneshot();
            let (task, name, superblock, at) = (local.clone(), name.to_owned(), superblock.clone(), *at);
            local.spawn(async move {
                let _ = sender.send(load_footer(&task, &name, &superblock, at, footer_unit).await);
            });
            replies.push((at, end_unit, receiver));
        }
        for (at, end_unit, reply) in replies {
            let (descriptors, newest_ns) = match reply.await.ok_or(Error::Closed)?? {
                Some(footer) => footer,
                None => {
                    damage.push(Damage {
                        segment: at.segment,
                        offset: 0,
                        what: "the footer is damaged; the segment was read frame by frame".into(),
                    });
                    let found = replay::scan_segment(local, name, superblock, at, end_unit, damage).await?;
                    (found, 0)
                }
            };
            loader.insert(at.segment, &descriptors, newest_ns);
        }
    }
    Ok(())
}

/// The descriptors of a sealed segment: from its footer, or if that is damaged (which the answer says) frame by frame
/// up to `end_unit`.
pub(super) async fn descriptors(
    local: &Local,
    name: &str,
    superblock: &Superblock,
    at: SegmentUse,
    (footer_unit, end_unit): (u32, u32),
) -> Result<(Vec<Descriptor>, bool)> {
    if let Some((descriptors, _)) = load_footer(local, name, superblock, at, footer_unit).await? {
        return Ok((descriptors, false));
    }
    let found = replay::scan_segment(local, name, superblock, at, end_unit, &mut Vec::new()).await?;
    Ok((found, true))
}

/// The descriptors in a segment's footer and the time of the newest; `None` if it is damaged.
async fn load_footer(
    local: &Local,
    name: &str,
    superblock: &Superblock,
    at: SegmentUse,
    footer_unit: u32,
) -> Result<Option<(Vec<Descriptor>, u64)>> {
    let places = Places::of(superblock);
    if footer_unit >= places.segment_units {
        return Ok(None);
    }
    let units = (places.segment_units - footer_unit) as usize;
    let mut footer = Vec::with_capacity(units * UNIT_BYTES);
    while footer.len() < units * UNIT_BYTES {
        let byte = u64::from(footer_unit) * UNIT_BYTES as u64 + footer.len() as u64;
        let piece = (units * UNIT_BYTES - footer.len()).min(1 << 20);
        let buffer = match read(local, name, places.offset(at.segment, byte), piece).await {
            Ok(buffer) => buffer,
            Err(_) => return Ok(None),
        };
        footer.extend_from_slice(&buffer[..piece]);
    }
    let last = &footer[footer.len() - UNIT_BYTES..];
    let trailer = Trailer::decode(last, places.segment_units, &superblock.secret()).filter(|trailer| {
        trailer.store == superblock.store
            && trailer.segment == at.segment.0
            && trailer.generation == at.generation
            && trailer.first_unit == footer_unit
    });
    Ok(trailer.and_then(|trailer| {
        let descriptors = trailer.descriptors(&footer)?.to_vec();
        Some((descriptors, trailer.newest_ns.get()))
    }))
}
