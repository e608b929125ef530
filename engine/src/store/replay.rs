//! Replays the logs after an unclean end, frame by frame, from where the checkpoint saw them.
//!
//! Rules (DESIGN 8): a bad frame at or below a sequence known to be acknowledged is damage: named, skipped, and
//! replay goes on at the next frame that proves it. Any other bad frame is the tail of its log. A frame whose
//! dependency vector is unmet is ignored together with everything after it, and with everything that depends on
//! those, until nothing changes.
//! A frame that follows an earlier one than the last holds anew what comes after that: writing it had failed (P4), and
//! what was taken from there is forgotten.
//! Payload is checked (by the extents' checksums) only where no acknowledgement is known: in the tail.
//! Rejected: stopping at the first bad frame; it would silently drop acknowledged work behind one rotten sector.

use std::collections::HashMap;

use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use super::log::OpenSegment;
use super::recovery::Damage;
use super::segments::{Places, SegmentUse};
use super::superblocks::read;
use crate::canary::{self, Canary};
use crate::device::DmaBuffer;
use crate::error::Result;
use crate::format::checkpoint::{Checkpoint, RESERVED, SegmentRecord};
use crate::format::checksum::crc32c;
use crate::format::frame::{
    Dependency, Descriptor, FrameHeader, Head, NO_SEGMENT, Place, decode_head, head_bytes_hint,
};
use crate::format::root_record::RootRecord;
use crate::format::segment::footer_units;
use crate::format::superblock::Superblock;
use crate::format::{Kind, LogId, SegmentId};
use crate::limits::{FRAME_BYTES_MAX, UNIT_BYTES};
use crate::reactor::Local;

/// What the logs hold beyond the checkpoint.
pub(super) struct Replayed {
    /// Accepted descriptors by segment.
    pub extents: Vec<(SegmentId, Vec<Descriptor>)>,
    /// Accepted root records, in log order.
    pub records: Vec<RootRecord>,
    /// Every segment that took frames or might have, with what is accepted in it.
    pub segments: Vec<(LogId, OpenSegment)>,
    pub damage: Vec<Damage>,
    pub frames: u64,
}

/// A frame found in a log.
struct Found {
    at: SegmentUse,
    unit: u32,
    header: FrameHeader,
    dependencies: Vec<Dependency>,
    descriptors: Vec<Descriptor>,
}

/// One log as found.
struct FoundLog {
    log: LogId,
    /// The opening that is replayed.
    incarnation: U64,
    frames: Vec<Found>,
    /// Highest sequence known to be acknowledged.
    acknowledged: u64,
    /// Highest sequence before the first frame, and the checksum that the first frame names.
    base: (u64, u32),
    segments: Vec<(SegmentUse, u32, Vec<Descriptor>)>,
}

struct Reader<'a> {
    local: &'a Local,
    name: &'a str,
    superblock: &'a Superblock,
    places: Places,
    window: Option<(u64, usize, DmaBuffer)>,
    /// Segments that the checkpoint lists, with the log for which one is reserved.
    listed: HashMap<u32, Option<LogId>>,
}

/// Bytes read at once while following a log.
const WINDOW_BYTES: usize = 256 << 10;

impl<'a> Reader<'a> {
    fn new(local: &'a Local, name: &'a str, superblock: &'a Superblock) -> Reader<'a> {
        Reader {
            local,
            name,
            superblock,
            places: Places::of(superblock),
            window: None,
            listed: HashMap::new(),
        }
    }

    /// Whether a log may have come to this segment since the checkpoint.
    fn may_go_on(&self, log: LogId, segment: SegmentId) -> bool {
        segment.0 < self.places.segment_count
            && self
                .listed
                .get(&segment.0)
                .is_none_or(|reserved| *reserved == Some(log))
    }

    /// `len` bytes from a unit of a segment; short at the segment's end. Unreadable bytes read as zeroes, which no
    /// structure accepts.
    async fn bytes(&mut self, segment: SegmentId, unit: u32, len: usize) -> &[u8] {
        let at = u64::from(unit) * UNIT_BYTES as u64;
        let room = usize::try_from(self.places.segment_bytes() - at).expect("a segment is below 2 GiB");
        let len = len.min(room);
        let offset = self.places.offset(segment, at);
        let covered = self
            .window
            .as_ref()
            .is_some_and(|(from, have, _)| *from <= offset && offset + len as u64 <= from + *have as u64);
        if !covered {
            let want = len.max(WINDOW_BYTES.min(room));
            let buffer = read(self.local, self.name, offset, want).await;
            self.window = Some(match buffer {
                Ok(buffer) => (offset, want, buffer),
                Err(_) => (offset, want, DmaBuffer::heap(want)),
            });
        }
        let (from, _, buffer) = self.window.as_ref().expect("just filled");
        let start = usize::try_from(offset - from).expect("inside the window");
        &buffer[start..start + len]
    }

    /// The frame at a unit, if a head of this store, place and log holds there.
    async fn frame(&mut self, log: LogId, at: SegmentUse, unit: u32) -> Option<Found> {
        if unit >= self.places.segment_units {
            return None;
        }
        let place = Place {
            store: self.superblock.store,
            segment: at.segment.0,
            generation: at.generation,
            log: log.0,
        };
        let secret = self.superblock.secret();
        let segment_units = self.places.segment_units;
        let head_len = head_bytes_hint(self.bytes(at.segment, unit, UNIT_BYTES).await)?;
        let bytes = self.bytes(at.segment, unit, head_len).await;
        let Head {
            header,
            dependencies,
            descriptors,
        } = decode_head(bytes, &place, unit, &secret).ok()?;
        if unit + header.units.get() > segment_units {
            return None;
        }
        Some(Found {
            at,
            unit,
            dependencies: dependencies.to_vec(),
            descriptors: descriptors.to_vec(),
            header,
        })
    }

    /// Whether every stored byte of a frame has its checksum.
    async fn payload_holds(&mut self, frame: &Found) -> bool {
        let len = frame.header.units.get() as usize * UNIT_BYTES;
        let bytes = self.bytes(frame.at.segment, frame.unit, len).await;
        let start = frame.unit as usize * UNIT_BYTES;
        frame.descriptors.iter().all(|descriptor| {
            let from = descriptor.offset.get() as usize - start;
            let to = from + descriptor.stored_len.get() as usize;
            bytes
                .get(from..to)
                .is_some_and(|stored| crc32c(stored) == descriptor.checksum.get())
        })
    }

    async fn records(&mut self, frame: &Found, damage: &mut Vec<Damage>) -> Vec<RootRecord> {
        let mut records = Vec::new();
        for descriptor in frame
            .descriptors
            .iter()
            .filter(|descriptor| descriptor.kind() == Some(Kind::Root))
        {
            let offset = descriptor.offset.get();
            let unit = offset / u32::try_from(UNIT_BYTES).expect("4096");
            let skip = offset as usize % UNIT_BYTES;
            let len = descriptor.stored_len.get() as usize;
            let bytes = &self.bytes(frame.at.segment, unit, skip + len).await[skip..];
            let whole = bytes.len() == len && crc32c(bytes) == descriptor.checksum.get();
            match whole.then(|| RootRecord::decode(bytes)).flatten() {
                Some((record, _)) => records.push(record),
                None => damage.push(Damage {
                    segment: frame.at.segment,
                    offset: u64::from(offset),
                    what: "a root record is damaged; its root keeps an older state".into(),
                }),
            }
        }
        records
    }
}

/// Reads all logs beyond the checkpoint. `open` gives (and gives up) the descriptors of segments open at its time.
pub(super) async fn replay(
    local: &Local,
    name: &str,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
    open: &mut HashMap<u32, Vec<Descriptor>>,
) -> Result<Replayed> {
    let mut reader = Reader::new(local, name, superblock);
    let places = reader.places;
    let reserved = |record: &SegmentRecord| (record.state == RESERVED).then_some(LogId(record.log.get()));
    reader.listed = checkpoint
        .segments
        .iter()
        .map(|record| (record.segment.get(), reserved(record)))
        .collect();
    let mut damage = Vec::new();
    let mut logs = Vec::new();
    for record in &checkpoint.logs {
        let at = SegmentUse {
            segment: SegmentId(record.segment.get()),
            generation: record.generation.get(),
        };
        let next = SegmentUse {
            segment: SegmentId(record.next_segment.get()),
            generation: record.next_generation.get(),
        };
        let start = Cursor {
            at,
            unit: record.unit.get(),
            next: record.next.get().max(1),
            following: (next.segment.0 != NO_SEGMENT).then_some(next),
        };
        let carried = open.remove(&at.segment.0).unwrap_or_default();
        let mut found = FoundLog {
            log: LogId(record.log.get()),
            incarnation: superblock.incarnation,
            frames: Vec::new(),
            acknowledged: start.next - 1,
            base: (start.next - 1, record.predecessor.get()),
            segments: Vec::new(),
        };
        let is_inside =
            at.segment.0 < places.segment_count && (1..=places.segment_units).contains(&start.unit);
        if is_inside {
            found.segments.push((at, start.unit, carried));
            follow(&mut reader, &mut found, start, &mut damage).await;
        }
        logs.push(found);
    }
    for log in &mut logs {
        cut_torn_tail(&mut reader, log).await;
    }
    cut_unmet(&mut logs);
    let mut replayed = Replayed {
        extents: Vec::new(),
        records: Vec::new(),
        segments: Vec::new(),
        damage: Vec::new(),
        frames: 0,
    };
    for log in logs {
        let mut segments: Vec<OpenSegment> = log
            .segments
            .into_iter()
            .map(|(at, unit, carried)| OpenSegment::new(at, places.segment_units, unit, unit, carried))
            .collect();
        for frame in &log.frames {
            replayed.frames += 1;
            replayed.records.extend(reader.records(frame, &mut damage).await);
            replayed
                .extents
                .push((frame.at.segment, frame.descriptors.clone()));
            let segment = segments.iter_mut().find(|open| open.at == frame.at);
            segment
                .expect("every frame lies in a segment of its log")
                .accept(frame.unit + frame.header.units.get(), &frame.descriptors);
        }
        replayed
            .segments
            .extend(segments.into_iter().map(|segment| (log.log, segment)));
    }
    replayed.damage = damage;
    Ok(replayed)
}

/// Where the next frame of a log is expected.
struct Cursor {
    at: SegmentUse,
    unit: u32,
    next: u64,
    following: Option<SegmentUse>,
}

/// Finds the frames of a log from the cursor on.
async fn follow(reader: &mut Reader<'_>, found: &mut FoundLog, mut cursor: Cursor, damage: &mut Vec<Damage>) {
    let log = found.log;
    let units = reader.places.segment_units;
    // Descriptors that the footer of the present segment has to hold.
    let mut listed = found.listed();
    loop {
        let mut next = found.follow_up(reader.frame(log, cursor.at, cursor.unit).await);
        // Where the log was before, it never comes again.
        let been = |at: SegmentId| found.segments.iter().any(|(been, ..)| been.segment == at);
        let following = cursor
            .following
            .filter(|next| reader.may_go_on(log, next.segment) && !been(next.segment));
        if next.is_none()
            && let Some(at) = following
        {
            next = found.follow_up(reader.frame(log, at, 1).await);
        }
        if next.is_none() {
            next = look_beyond(reader, found, &cursor, following, damage).await;
        }
        let Some((frame, kept)) = next else { return };
        if frame.at != cursor.at {
            found.segments.push((frame.at, 1, Vec::new()));
            listed = 0;
        }
        if kept < found.frames.len() {
            found.frames.truncate(kept);
            listed = found.listed();
        }
        listed += frame.descriptors.len();
        if frame.unit + frame.header.units.get() + footer_units(listed) > units {
            // No writer leaves a segment without room for its footer.
            return;
        }
        let header = &frame.header;
        let next = SegmentUse {
            segment: SegmentId(header.next_segment.get()),
            generation: header.next_generation.get(),
        };
        // A log that had none may have got a next segment from the checkpoint.
        let known = following.filter(|_| frame.at == cursor.at);
        cursor = Cursor {
            at: frame.at,
            unit: frame.unit + header.units.get(),
            next: header.last.get().saturating_add(1),
            following: (next.segment.0 != NO_SEGMENT).then_some(next).or(known),
        };
        found.acknowledged = found.acknowledged.max(header.acknowledged.get());
        found.frames.push(frame);
    }
}

impl FoundLog {
    /// After how many of the frames found so far this one comes, if it does. Fewer than all: it holds anew what the
    /// others hold, because writing these failed.
    fn place_of(&self, frame: &Found) -> Option<usize> {
        let header = &frame.header;
        let before = header.first.get().checked_sub(1)?;
        // What is known to be acknowledged is never written anew.
        let is_of_this_opening = header.incarnation == self.incarnation || canary::is(Canary::LateFrame);
        if !is_of_this_opening || before < self.acknowledged.min(self.last()) {
            return None;
        }
        let count = self
            .frames
            .partition_point(|found| found.header.last.get() <= before);
        if canary::is(Canary::MissedRewrite) && count < self.frames.len() {
            return None;
        }
        let (last, checksum) = match count.checked_sub(1) {
            Some(number) => {
                let header = &self.frames[number].header;
                (header.last.get(), header.checksum.get())
            }
            None => self.base,
        };
        (last == before && header.predecessor.get() == checksum).then_some(count)
    }

    /// The frame, and what [`place_of`](Self::place_of) says of it.
    fn follow_up(&self, frame: Option<Found>) -> Option<(Found, usize)> {
        let frame = frame?;
        let kept = self.place_of(&frame)?;
        Some((frame, kept))
    }

    /// Descriptors in the last of its segments.
    fn listed(&self) -> usize {
        self.segments.last().map_or(0, |(at, _, carried)| {
            let here = self.frames.iter().rev().take_while(|frame| frame.at == *at);
            carried.len() + here.map(|frame| frame.descriptors.len()).sum::<usize>()
        })
    }

    /// Highest sequence found.
    fn last(&self) -> u64 {
        self.frames
            .last()
            .map_or(self.base.0, |frame| frame.header.last.get())
    }
}

/// Looks behind a place where no frame follows, at every unit of the rest of the segment and at the segment after it:
/// for a frame that holds anew what a failed write left in doubt, or for one that says that what is missing was
/// acknowledged. Then what is missing is damage, not the tail, and the log goes on at the first frame that leads
/// there.
///
/// A head binds its own place, log and opening, so payload cannot pass for one.
async fn look_beyond(
    reader: &mut Reader<'_>,
    found: &FoundLog,
    cursor: &Cursor,
    following: Option<SegmentUse>,
    damage: &mut Vec<Damage>,
) -> Option<(Found, usize)> {
    let mut beyond: Vec<Found> = Vec::new();
    let mut is_proven = false;
    let places = std::iter::once((cursor.at, cursor.unit + 1)).chain(following.map(|next| (next, 1)));
    'search: for (at, from) in places {
        let mut unit = from;
        while unit < reader.places.segment_units {
            let Some(frame) = reader.frame(found.log, at, unit).await else {
                unit += 1;
                continue;
            };
            unit += frame.header.units.get().max(1);
            if let Some(kept) = found.place_of(&frame) {
                return Some((frame, kept));
            }
            let header = &frame.header;
            if header.incarnation != found.incarnation || header.first.get() < cursor.next {
                continue;
            }
            is_proven = header.acknowledged.get() >= cursor.next || canary::is(Canary::SkippedGap);
            beyond.push(frame);
            if is_proven {
                break 'search;
            }
        }
    }
    if !is_proven {
        return None;
    }
    let mut first = beyond.pop()?;
    while let Some(frame) = beyond.pop() {
        let leads = frame.header.checksum == first.header.predecessor
            && frame.header.last.get().checked_add(1) == Some(first.header.first.get());
        if leads {
            first = frame;
        }
    }
    let (log, next, resumed) = (found.log, cursor.next, first.header.first.get());
    damage.push(Damage {
        segment: cursor.at.segment,
        offset: u64::from(cursor.unit) * UNIT_BYTES as u64,
        what: match resumed > next {
            true => format!(
                "log {log}: acknowledged batches {next} to {} are unreadable",
                resumed - 1
            ),
            false => format!(
                "log {log}: a frame that ends with batch {} is unreadable",
                next - 1
            ),
        },
    });
    Some((first, found.frames.len()))
}

/// Ends a log before its first frame that is neither acknowledged nor whole.
async fn cut_torn_tail(reader: &mut Reader<'_>, log: &mut FoundLog) {
    for number in 0..log.frames.len() {
        let frame = &log.frames[number];
        let in_doubt = frame.header.last.get() > log.acknowledged && !canary::is(Canary::TornReplay);
        if in_doubt && !reader.payload_holds(frame).await {
            log.frames.truncate(number);
            return;
        }
    }
}

/// Ends logs before their first frame that depends on something no log has, until nothing changes.
fn cut_unmet(logs: &mut [FoundLog]) {
    loop {
        let reached: HashMap<LogId, u64> = logs.iter().map(|log| (log.log, log.last())).collect();
        let mut changed = false;
        for log in logs.iter_mut() {
            let unmet = |dependency: &Dependency| {
                reached
                    .get(&LogId(dependency.log.get()))
                    .is_none_or(|last| *last < dependency.sequence.get())
            };
            if let Some(cut) = log
                .frames
                .iter()
                .position(|frame| frame.dependencies.iter().any(unmet))
            {
                log.frames.truncate(cut);
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

/// Reads a sealed segment frame by frame, for want of its footer. Unreadable parts are reported.
pub(super) async fn scan_segment(
    local: &Local,
    name: &str,
    superblock: &Superblock,
    at: SegmentUse,
    end_unit: u32,
    damage: &mut Vec<Damage>,
) -> Result<Vec<Descriptor>> {
    let mut reader = Reader::new(local, name, superblock);
    let places = reader.places;
    let mut descriptors = Vec::new();
    // Last sequences of the frames so far, and how many descriptors came before each.
    let mut frames: Vec<(u64, usize)> = Vec::new();
    let mut unit = 1;
    let mut gap = false;
    while unit < end_unit.min(places.segment_units) {
        let log = FrameHeader::read_from_prefix(reader.bytes(at.segment, unit, UNIT_BYTES).await)
            .map_or(LogId(0), |(header, _)| LogId(header.log.get()));
        match reader.frame(log, at, unit).await {
            Some(frame) => {
                unit += frame.header.units.get().max(1);
                // What is written anew later counts there.
                let kept = frames.partition_point(|(last, _)| *last < frame.header.first.get());
                if let Some((_, before)) = frames.get(kept) {
                    descriptors.truncate(*before);
                    frames.truncate(kept);
                }
                frames.push((frame.header.last.get(), descriptors.len()));
                descriptors.extend(frame.descriptors);
                gap = false;
            }
            None => {
                if !gap {
                    let offset = u64::from(unit) * UNIT_BYTES as u64;
                    damage.push(Damage {
                        segment: at.segment,
                        offset,
                        what: "unreadable frames".into(),
                    });
                }
                gap = true;
                unit += 1;
            }
        }
    }
    debug_assert!(descriptors.len() <= FRAME_BYTES_MAX * places.segment_units as usize);
    Ok(descriptors)
}
