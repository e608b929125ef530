//! Builds frames: takes queued batches, lays them out, fills a DMA buffer.
//!
//! A batch that depends on another log in a way not yet met starts a frame of its own. So a frame only depends on
//! what was visible before its first batch, and no two frames can wait for each other.

use std::collections::VecDeque;

use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32, U64};

use super::Queued;
use crate::canary::{self, Canary};
use crate::device::DmaBuffer;
use crate::format::checksum::crc32c;
use crate::format::frame::{self, Dependency, Descriptor, FrameHeader, Layout};
use crate::format::root_record::RootRecord;
use crate::format::segment::footer_units;
use crate::format::{ContentId, Kind, LogId, Secret};
use crate::limits::{FRAME_BYTES_MAX, UNIT_BYTES};

/// Upper bound of what a batch takes in a segment, footer share included: the room it must be admitted with.
pub(in crate::store) fn cost_of(
    extents: impl Iterator<Item = usize>,
    records: impl Iterator<Item = usize>,
) -> u64 {
    // One unit of rounding before the first aligned extent, one at the end of the frame, one for the footer.
    let mut bytes = frame::head_bytes(MAX_DEPENDENCIES, 0) + 3 * UNIT_BYTES;
    for len in extents.chain(records) {
        bytes += 2 * size_of::<Descriptor>();
        bytes += if frame::is_aligned(len) {
            len.next_multiple_of(UNIT_BYTES)
        } else {
            len
        };
    }
    bytes as u64
}

/// Largest number of logs a frame can depend on.
const MAX_DEPENDENCIES: usize = 64;

/// One item of a frame.
enum Item<'a> {
    Extent(&'a crate::store::pending::PendingExtent),
    Record(crate::format::Domain, u64, u64, Vec<u8>),
}

impl Item<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Item::Extent(extent) => &extent.bytes,
            Item::Record(_, _, _, bytes) => bytes,
        }
    }

    fn descriptor(&self, offset: u32) -> Descriptor {
        let bytes = self.bytes();
        let len = U32::new(u32::try_from(bytes.len()).expect("an extent is at most 1 MiB"));
        let (id, kind, domain) = match self {
            Item::Extent(extent) => (extent.key.id, extent.key.kind, extent.key.domain),
            Item::Record(domain, root, sequence, _) => {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&root.to_le_bytes());
                id[8..16].copy_from_slice(&sequence.to_le_bytes());
                (ContentId(id), Kind::Root, *domain)
            }
        };
        Descriptor {
            id,
            kind: kind as u8,
            codec: 0,
            reserved: U16::new(0),
            domain: U32::new(domain.0),
            key_id: U32::new(0),
            plain_len: len,
            stored_len: len,
            checksum: U32::new(crc32c(bytes)),
            offset: U32::new(offset),
            reserved_too: U32::new(0),
        }
    }
}

/// The batches of one frame, laid out but not yet placed in a segment.
pub(super) struct Plan {
    pub batches: Vec<Queued>,
    pub dependencies: Vec<(LogId, u64)>,
    layout: Layout,
    descriptors: usize,
}

impl Plan {
    /// Takes as many batches from the front of the queue as fit one frame. `durable` gives what a log has
    /// acknowledged; `limit` the last sequence that may join the one it is given. A frame that can begin in the `left`
    /// bytes of the segment takes no more than fits there: what does not fit any more is lost.
    pub fn take(
        queue: &mut VecDeque<Queued>,
        durable: impl Fn(LogId) -> u64,
        limit: impl Fn(u64) -> u64,
        left: u64,
    ) -> Option<Plan> {
        let front = queue.front()?;
        let last_allowed = limit(front.batch.sequence);
        let frame_max = FRAME_BYTES_MAX as u64;
        let cost_max = if front.cost <= left {
            frame_max.min(left)
        } else {
            frame_max
        };
        let mut batches: Vec<Queued> = Vec::new();
        let mut dependencies: Vec<(LogId, u64)> = Vec::new();
        let mut cost = 0;
        while let Some(front) = queue.front() {
            let unmet: Vec<(LogId, u64)> = front
                .depends_on
                .iter()
                .copied()
                .filter(|(log, sequence)| durable(*log) < *sequence && !canary::is(Canary::DroppedDependency))
                .collect();
            let first = batches.is_empty();
            let joins =
                unmet.is_empty() && cost + front.cost <= cost_max && front.batch.sequence <= last_allowed;
            if !first && !joins {
                break;
            }
            cost += front.cost;
            for (log, sequence) in unmet {
                match dependencies.iter_mut().find(|(known, _)| *known == log) {
                    Some((_, highest)) => *highest = (*highest).max(sequence),
                    None => dependencies.push((log, sequence)),
                }
            }
            batches.extend(queue.pop_front());
        }
        if batches.is_empty() {
            return None;
        }
        let lengths: Vec<usize> = batches
            .iter()
            .flat_map(|queued| {
                let extents = queued.batch.extents.iter().map(|extent| extent.bytes.len());
                extents.chain(queued.records.iter().map(RootRecord::encoded_len))
            })
            .collect();
        let layout = Layout::new(dependencies.len(), lengths.iter().copied());
        assert!(
            layout.units as usize * UNIT_BYTES <= FRAME_BYTES_MAX,
            "a frame was planned larger than allowed"
        );
        Some(Plan {
            batches,
            dependencies,
            layout,
            descriptors: lengths.len(),
        })
    }

    /// Units of the frame.
    pub fn units(&self) -> u32 {
        self.layout.units
    }

    /// Number of descriptors.
    pub fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// Bytes the batches were admitted with beyond what the frame takes.
    pub fn refund(&self, descriptors_before: usize) -> i64 {
        let admitted: u64 = self.batches.iter().map(|queued| queued.cost).sum();
        let footer = footer_units(descriptors_before + self.descriptors) - footer_units(descriptors_before);
        let used = u64::from(self.layout.units + footer) * UNIT_BYTES as u64;
        i64::try_from(admitted).expect("small") - i64::try_from(used).expect("small")
    }

    /// Fills `buffer` with the frame. `header` gives place and order; returns the head's checksum and the descriptors.
    pub fn encode(
        &self,
        mut header: FrameHeader,
        secret: &Secret,
        buffer: &mut DmaBuffer,
    ) -> (u32, Vec<Descriptor>) {
        let items: Vec<Item<'_>> = self
            .batches
            .iter()
            .flat_map(|queued| {
                let extents = queued.batch.extents.iter().map(Item::Extent);
                extents.chain(queued.records.iter().map(|record| {
                    Item::Record(record.domain, record.root.0, record.sequence, record.encode())
                }))
            })
            .collect();
        let start = header.unit.get() * u32::try_from(UNIT_BYTES).expect("4096");
        let frame = &mut buffer[..self.layout.units as usize * UNIT_BYTES];
        let mut descriptors = Vec::with_capacity(items.len());
        let mut filled = frame::head_bytes(self.dependencies.len(), items.len());
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_unstable_by_key(|item| self.layout.offsets[*item]);
        for item in order {
            let at = self.layout.offsets[item] as usize;
            let bytes = items[item].bytes();
            // Buffers are reused: what lies between extents must not leak old memory.
            frame[filled..at.max(filled)].fill(0);
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            filled = filled.max(at + bytes.len());
        }
        frame[filled..].fill(0);
        for (item, offset) in items.iter().zip(&self.layout.offsets) {
            descriptors.push(item.descriptor(start + offset));
        }
        let dependencies: Vec<Dependency> = self
            .dependencies
            .iter()
            .map(|(log, sequence)| Dependency {
                log: U16::new(log.0),
                reserved: U16::new(0),
                sequence: U64::new(*sequence),
            })
            .collect();
        header.units = U32::new(self.layout.units);
        let checksum = frame::encode_head(header, &dependencies, &descriptors, secret, frame);
        (checksum, descriptors)
    }

    /// First and last sequence.
    pub fn sequences(&self) -> (u64, u64) {
        let first = self.batches.first().expect("a plan has a batch").batch.sequence;
        let last = self.batches.last().expect("a plan has a batch").batch.sequence;
        (first, last)
    }
}

/// A header without facts.
pub(super) fn blank_header() -> FrameHeader {
    FrameHeader::new_zeroed()
}
