//! The descriptors of a sealed segment: from its footer, or where that is damaged from its frames.
//!
//! A footer is read into one buffer, checked there and used there: opening a store goes through all of them.

use super::replay;
use super::segments::{Places, SegmentUse};
use crate::device::DmaBuffer;
use crate::error::Result;
use crate::format::frame::Descriptor;
use crate::format::segment::Trailer;
use crate::format::superblock::Superblock;
use crate::limits::UNIT_BYTES;
use crate::reactor::Local;

/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 20;

/// A footer that was found whole.
pub(super) struct Footer {
    bytes: DmaBuffer,
    trailer: Trailer,
}

impl Footer {
    /// The segment's descriptors.
    pub fn descriptors(&self) -> &[Descriptor] {
        let descriptors = self.trailer.unchecked_descriptors(&self.bytes);
        descriptors.expect("checked when it was read")
    }

    /// When the newest extent of the segment was new.
    pub fn newest_ns(&self) -> u64 {
        self.trailer.newest_ns.get()
    }
}

/// The footer of a segment; `None` if it is damaged or cannot be read.
pub(super) async fn footer(
    local: &Local,
    superblock: &Superblock,
    at: SegmentUse,
    footer_unit: u32,
) -> Result<Option<Footer>> {
    let places = Places::of(superblock);
    if footer_unit >= places.segment_units {
        return Ok(None);
    }
    let len = (places.segment_units - footer_unit) as usize * UNIT_BYTES;
    let start = places.offset(at.segment, u64::from(footer_unit) * UNIT_BYTES as u64);
    let mut bytes = local.buffer(len)?;
    for from in (0..len).step_by(PIECE_BYTES) {
        let piece = from..(from + PIECE_BYTES).min(len);
        let (back, result) = local.read(start + from as u64, bytes, piece).await;
        if result.is_err() {
            return Ok(None);
        }
        bytes = back;
    }
    let last = &bytes[len - UNIT_BYTES..len];
    let trailer = Trailer::decode(last, places.segment_units, &superblock.secret()).filter(|trailer| {
        trailer.store == superblock.store
            && trailer.segment == at.segment.0
            && trailer.generation == at.generation
            && trailer.first_unit == footer_unit
    });
    let trailer = trailer.filter(|trailer| trailer.descriptors(&bytes).is_some());
    Ok(trailer.map(|trailer| Footer { bytes, trailer }))
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
    if let Some(footer) = footer(local, superblock, at, footer_unit).await? {
        return Ok((footer.descriptors().to_vec(), false));
    }
    let found = replay::scan_segment(local, name, superblock, at, end_unit, &mut Vec::new()).await?;
    Ok((found, true))
}
