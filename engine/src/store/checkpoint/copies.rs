//! Reads and writes checkpoints: two copies in segments of their own, named by the superblock.
//!
//! A new checkpoint goes to free segments; the superblock that names it is written when both copies are durable;
//! only then are the segments of the old one free. A crash in between leaves the old checkpoint in force.

use std::collections::BTreeSet;

use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32, U64};

use super::compose::Draft;
use super::sane;
use crate::error::{Error, Result};
use crate::format::SegmentId;
use crate::format::checkpoint::{Checkpoint, PartHeader};
use crate::format::checksum::{Crc32c, crc32c};
use crate::format::segment::{HOLDS_CHECKPOINT, SegmentHeader};
use crate::format::superblock::{CheckpointPlace, Superblock};
use crate::limits::UNIT_BYTES;
use crate::reactor::Local;
use crate::store::log::write_bytes;
use crate::store::pace::Turns;
use crate::store::segments::{Places, SegmentTable, SegmentUse};
use crate::store::superblocks::{self, read};

/// Body bytes that fit one segment behind its header and the part header.
fn part_bytes_max(places: &Places) -> usize {
    let room = places.segment_bytes() - UNIT_BYTES as u64 - size_of::<PartHeader>() as u64;
    usize::try_from(room).expect("a segment is below 2 GiB")
}

/// Parts that a body of that many bytes takes.
pub(in crate::store) fn parts(places: &Places, body: usize) -> usize {
    body.div_ceil(part_bytes_max(places)).max(1)
}

/// Reads the checkpoint that `block` names, from whichever copy is whole.
pub(in crate::store) async fn load(local: &Local, name: &str, block: &Superblock) -> Result<Checkpoint> {
    let places = Places::of(block);
    let mut reasons = Vec::new();
    for copy in 0..2 {
        match load_copy(local, name, block, &places, copy).await {
            Ok(body) => match Checkpoint::decode(&body) {
                Ok(checkpoint) => match sane::contradiction(&checkpoint, &places) {
                    None => return Ok(checkpoint),
                    Some(what) => reasons.push(format!("copy {copy}: {what}")),
                },
                Err(reason) => reasons.push(format!("copy {copy}: {reason}")),
            },
            Err(reason) => reasons.push(format!("copy {copy}: {reason}")),
        }
    }
    let reason = format!(
        "both copies of its checkpoint are unusable ({}); restore a copy",
        reasons.join("; ")
    );
    Err(Error::NotAStore {
        store: name.to_owned(),
        reason,
    })
}

/// Reads one copy of the checkpoint that `block` names; the reason if it is damaged.
pub(in crate::store) async fn verify_copy(
    local: &Local,
    name: &str,
    block: &Superblock,
    copy: u16,
) -> Result<(), String> {
    let body = load_copy(local, name, block, &Places::of(block), copy).await?;
    Checkpoint::decode(&body)
        .map(drop)
        .map_err(|reason| reason.to_string())
}

async fn load_copy(
    local: &Local,
    name: &str,
    block: &Superblock,
    places: &Places,
    copy: u16,
) -> Result<Vec<u8>, String> {
    let place = block.checkpoints[usize::from(copy)];
    let mut at = (place.segment.get(), place.generation.get(), place.physical.get());
    let mut body: Vec<u8> = Vec::new();
    let mut expected = 0;
    loop {
        if at.2 >= places.segment_count {
            return Err(format!("segment {} lies outside the device", at.2));
        }
        let start = places.offset(SegmentId(at.2), 0);
        let head = read(local, name, start, 2 * UNIT_BYTES)
            .await
            .map_err(|error| error.to_string())?;
        let header = SegmentHeader::decode(&head, &block.secret())
            .filter(|header| {
                header.holds == HOLDS_CHECKPOINT
                    && header.store == block.store
                    && header.segment == at.0
                    && header.generation == at.1
                    && header.physical == at.2
            })
            .ok_or_else(|| format!("no checkpoint in segment {}", at.0))?;
        debug_assert_eq!(header.units.get(), places.segment_units);
        let part = PartHeader::decode(&head[UNIT_BYTES..], &block.secret())
            .filter(|part| {
                part.store == block.store
                    && part.sequence == block.checkpoint_sequence
                    && part.copy == copy
                    && part.part == expected
                    && part.part_bytes.get() <= part_bytes_max(places) as u64
            })
            .ok_or_else(|| format!("part {expected} is damaged"))?;
        let len = usize::try_from(part.part_bytes.get()).map_err(|_| "too long".to_owned())?;
        let bytes = read_long(
            local,
            name,
            start + UNIT_BYTES as u64,
            size_of::<PartHeader>() + len,
        )
        .await?;
        let bytes = &bytes[size_of::<PartHeader>()..];
        if crc32c(bytes) != part.part_checksum.get() {
            return Err(format!("the bytes of part {expected} are damaged"));
        }
        body.extend_from_slice(bytes);
        expected += 1;
        if expected == part.parts.get() {
            let whole =
                body.len() as u64 == part.body_bytes.get() && crc32c(&body) == part.body_checksum.get();
            return if whole {
                Ok(body)
            } else {
                Err("its parts do not fit together".into())
            };
        }
        at = (
            part.next_segment.get(),
            part.next_generation.get(),
            part.next_physical.get(),
        );
    }
}

async fn read_long(local: &Local, name: &str, offset: u64, len: usize) -> Result<Vec<u8>, String> {
    const PIECE: usize = 1 << 20;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let piece = (len - bytes.len()).min(PIECE);
        let buffer = read(local, name, offset + bytes.len() as u64, piece)
            .await
            .map_err(|error| error.to_string())?;
        bytes.extend_from_slice(&buffer[..piece]);
    }
    Ok(bytes)
}

/// Bytes that are looked at in one turn of the reactor.
pub(super) const PIECE_BYTES: usize = 128 << 10;

/// Writes a checkpoint, then the superblock that names it, and frees the old one's segments in `table`. Returns the
/// bytes of a copy.
///
/// `block` is changed to what is on the device: the caller sets incarnation and `closed` before the call.
///
/// An error leaves the old checkpoint in force, unless `block.sequence` has risen: then either may be, and the
/// segments of both stay taken until another one succeeds.
pub(super) async fn store(
    local: &Local,
    name: &str,
    block: &mut Superblock,
    table: &parking_lot::Mutex<SegmentTable>,
    draft: Draft<'_>,
) -> Result<u64> {
    let places = Places::of(block);
    let (old, segments) = {
        let mut table = table.lock();
        let old: BTreeSet<SegmentId> = table.checkpoint_segments().into_iter().collect();
        let without_own = parts(&places, draft.len_max(&table, 0));
        let len_max = draft.len_max(&table, 2 * (without_own + 1));
        let count = parts(&places, len_max);
        // The next one may be larger; a store that fills up meanwhile must still have room for it.
        table.expect_checkpoint_parts(parts(&places, 2 * len_max));
        let segments = table.reserve_for_checkpoint(count).ok_or_else(|| Error::Full {
            device: name.to_owned(),
            needed: places.segment_bytes() * 2 * count as u64,
            free: 0,
        })?;
        (old, segments)
    };
    // The new checkpoint speaks of the time when the old one's segments are free.
    let body = draft.body(local, table, &old).await;
    block.checkpoint_sequence = U64::new(block.checkpoint_sequence.get() + 1);
    if let Err((doubtful, error)) = store_both(local, block, &places, &segments, &body).await {
        let mut table = table.lock();
        doubtful.iter().for_each(|at| table.doubt(at.segment));
        segments.iter().for_each(|at| table.release(at.segment));
        let len = 2 * body.len() as u64;
        let place = places.offset(doubtful[0].segment, 0);
        return Err(superblocks::refused(name, place, len, error));
    }
    block.sequence = U64::new(block.sequence.get() + 1);
    superblocks::store(local, name, block).await?;
    let mut table = table.lock();
    old.into_iter().for_each(|segment| table.release(segment));
    Ok(body.len() as u64)
}

/// Segments that are in doubt, and why.
type Doubt<'a> = (&'a [SegmentUse], std::io::Error);

/// Writes both copies, durable.
async fn store_both<'a>(
    local: &Local,
    block: &mut Superblock,
    places: &Places,
    segments: &'a [SegmentUse],
    body: &[u8],
) -> Result<(), Doubt<'a>> {
    let body_checksum = checksum(local, body).await;
    let (first, second) = segments.split_at(segments.len() / 2);
    for (copy, segments) in [(0u16, first), (1, second)] {
        store_copy(local, block, places, copy, segments, (body, body_checksum)).await?;
        block.checkpoints[usize::from(copy)] = place_of(segments[0]);
    }
    local.flush().await.map_err(|error| (segments, error))
}

async fn checksum(local: &Local, bytes: &[u8]) -> u32 {
    let mut turns = Turns::new(local);
    let mut checksum = Crc32c::default();
    for piece in bytes.chunks(PIECE_BYTES) {
        checksum.update(piece);
        turns.breathe(local, 1).await;
    }
    checksum.finish()
}

fn place_of(at: SegmentUse) -> CheckpointPlace {
    CheckpointPlace {
        segment: U32::new(at.segment.0),
        generation: U32::new(at.generation),
        physical: U32::new(at.segment.0),
    }
}

async fn store_copy<'a>(
    local: &Local,
    block: &Superblock,
    places: &Places,
    copy: u16,
    segments: &'a [SegmentUse],
    (body, body_checksum): (&[u8], u32),
) -> Result<(), Doubt<'a>> {
    let chunks: Vec<&[u8]> = body.chunks(part_bytes_max(places)).collect();
    assert!(
        chunks.len() <= segments.len(),
        "a checkpoint outgrew its segments while it was built"
    );
    let parts = chunks.len();
    for (number, (chunk, at)) in chunks.into_iter().zip(segments).enumerate() {
        let next = segments[(number + 1).min(parts - 1)];
        let mut header = SegmentHeader::new_zeroed();
        header.holds = HOLDS_CHECKPOINT;
        header.store = block.store;
        header.segment = U32::new(at.segment.0);
        header.generation = U32::new(at.generation);
        header.physical = U32::new(at.segment.0);
        header.units = block.segment_units;
        header.incarnation = block.incarnation;
        let mut part = PartHeader::new_zeroed();
        part.copy = U16::new(copy);
        part.store = block.store;
        part.sequence = block.checkpoint_sequence;
        part.part = U32::new(u32::try_from(number).expect("few parts"));
        part.parts = U32::new(u32::try_from(parts).expect("few parts"));
        part.part_bytes = U64::new(chunk.len() as u64);
        part.part_checksum = U32::new(checksum(local, chunk).await);
        part.body_bytes = U64::new(body.len() as u64);
        part.body_checksum = U32::new(body_checksum);
        part.next_segment = U32::new(next.segment.0);
        part.next_generation = U32::new(next.generation);
        part.next_physical = U32::new(next.segment.0);
        let mut bytes = header.encode(&block.secret()).to_vec();
        bytes.extend(part.encode(&block.secret()));
        bytes.reserve_exact(chunk.len());
        let mut turns = Turns::new(local);
        for piece in chunk.chunks(PIECE_BYTES) {
            bytes.extend_from_slice(piece);
            turns.breathe(local, 1).await;
        }
        write_part(local, places.offset(at.segment, 0), &bytes)
            .await
            .map_err(|error| (std::slice::from_ref(at), error))?;
    }
    Ok(())
}

async fn write_part(local: &Local, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    let len = (bytes.len() as u64).next_multiple_of(UNIT_BYTES as u64);
    superblocks::claim_space(local, offset, len).await?;
    write_bytes(local, offset, bytes).await
}
