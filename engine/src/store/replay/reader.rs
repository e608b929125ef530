//! Reads frames of logs from the device, a window at a time.
//!
//! Owns what makes bytes at a place a frame of this log, and what its records and payload are worth. Invariant: a frame that
//! comes out of here belongs to this store, to the log and to the use of the segment that were asked for.

use std::collections::HashMap;

use crate::device::DmaBuffer;
use crate::format::checksum::crc32c;
use crate::format::frame::{Dependency, Descriptor, FrameHeader, Head, Place, decode_head, head_bytes_hint};
use crate::format::root_record::RootRecord;
use crate::format::superblock::Superblock;
use crate::format::{Kind, LogId, SegmentId};
use crate::limits::UNIT_BYTES;
use crate::reactor::Local;
use crate::store::recovery::Damage;
use crate::store::segments::{Places, SegmentUse};
use crate::store::superblocks::read;

/// A frame found in a log.
pub(super) struct Found {
    pub at: SegmentUse,
    pub unit: u32,
    pub header: FrameHeader,
    pub dependencies: Vec<Dependency>,
    pub descriptors: Vec<Descriptor>,
}
pub(super) struct Reader<'a> {
    pub local: &'a Local,
    pub name: &'a str,
    pub superblock: &'a Superblock,
    pub places: Places,
    pub window: Option<(u64, usize, DmaBuffer)>,
    /// Segments that the checkpoint lists, with the log for which one is reserved.
    pub listed: HashMap<u32, Option<LogId>>,
}

/// Bytes read at once while following a log.
const WINDOW_BYTES: usize = 256 << 10;

impl<'a> Reader<'a> {
    pub fn new(local: &'a Local, name: &'a str, superblock: &'a Superblock) -> Reader<'a> {
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
    pub fn may_go_on(&self, log: LogId, segment: SegmentId) -> bool {
        segment.0 < self.places.segment_count
            && self
                .listed
                .get(&segment.0)
                .is_none_or(|reserved| *reserved == Some(log))
    }

    /// `len` bytes from a unit of a segment; short at the segment's end. Unreadable bytes read as zeroes, which no
    /// structure accepts.
    pub async fn bytes(&mut self, segment: SegmentId, unit: u32, len: usize) -> &[u8] {
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
    pub async fn frame(&mut self, log: LogId, at: SegmentUse, unit: u32) -> Option<Found> {
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
    pub async fn payload_holds(&mut self, frame: &Found) -> bool {
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

    pub async fn records(&mut self, frame: &Found, damage: &mut Vec<Damage>) -> Vec<RootRecord> {
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
