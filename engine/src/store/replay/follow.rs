//! Follows one log from frame to frame, over segments, over what was written anew, and over what has rotted.
//!
//! Invariant: the frames of a log are in the order of their sequences, without a gap but for damage that is named.

use zerocopy::little_endian::U64;

use super::reader::{Found, Reader};
use crate::canary::{self, Canary};
use crate::format::frame::{Descriptor, NO_SEGMENT};
use crate::format::segment::footer_units;
use crate::format::{LogId, SegmentId};
use crate::limits::UNIT_BYTES;
use crate::store::recovery::Damage;
use crate::store::segments::SegmentUse;

/// One log as found.
pub(super) struct FoundLog {
    pub log: LogId,
    /// The opening that is replayed.
    pub incarnation: U64,
    pub frames: Vec<Found>,
    /// Highest sequence known to be acknowledged.
    pub acknowledged: u64,
    /// Highest sequence before the first frame, and the checksum that the first frame names.
    pub base: (u64, u32),
    pub segments: Vec<(SegmentUse, u32, Vec<Descriptor>)>,
}

/// Where the next frame of a log is expected.
pub(super) struct Cursor {
    pub at: SegmentUse,
    pub unit: u32,
    pub next: u64,
    pub following: Option<SegmentUse>,
}

/// Finds the frames of a log from the cursor on.
pub(super) async fn follow(
    reader: &mut Reader<'_>,
    found: &mut FoundLog,
    mut cursor: Cursor,
    damage: &mut Vec<Damage>,
) {
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
    pub fn last(&self) -> u64 {
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
