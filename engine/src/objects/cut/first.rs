//! The first cutting rule: FastCDC, 2020 version, normalization level 1. Nothing is stored by it any more; damaged chunks
//! of what was can only be found again in other copies by cutting as they were cut.

use fastcdc::v2020::{Normalization, select_masks};

use crate::limits::CHUNK_BYTES;

/// Like [`cut`](super::cut), by the first rule.
pub(super) fn cut(data: &[u8]) -> usize {
    let [min, average, max] = CHUNK_BYTES;
    let (strict, loose) = select_masks(average, Normalization::Level1);
    let source = &data[..data.len().min(max)];
    let (_, bytes) = fastcdc::v2020::cut(source, min, average, max, strict, loose, strict << 1, loose << 1);
    bytes
}
