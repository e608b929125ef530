//! The pieces a content is stored as, without a store: for those who look for another copy of a damaged one.

use std::io::Read;

use bytes::Bytes;

use super::chunker::{Chunker, Step};
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::hash;
use crate::limits::EXTENT_BYTES_MAX;

/// Bytes read ahead of the cuts.
const WINDOW_BYTES: usize = 4 << 20;

/// Calls `found` with every extent of data that storing what `source` reads would make: the whole content if it is
/// small, else its chunks.
///
/// # Errors
/// If reading fails.
pub fn pieces(mut source: impl Read, mut found: impl FnMut(ContentId, &Bytes)) -> Result<()> {
    let failed = |error: std::io::Error| Error::path("read", "a source of repair", error);
    let mut window = Vec::with_capacity(WINDOW_BYTES);
    let mut fill = |window: &mut Vec<u8>| -> Result<bool> {
        let wanted = (WINDOW_BYTES - window.len()) as u64;
        let read = source.by_ref().take(wanted).read_to_end(window).map_err(failed)?;
        Ok((read as u64) < wanted)
    };
    let mut end = fill(&mut window)?;
    if end && window.len() <= EXTENT_BYTES_MAX {
        let bytes = Bytes::from(window);
        found(hash::content_id(&bytes), &bytes);
        return Ok(());
    }
    let mut chunker = Chunker::new();
    let mut at = 0;
    loop {
        match chunker.next(&window[at..], end) {
            Step::Chunk(len) => {
                let chunk = Bytes::copy_from_slice(&window[at..at + len]);
                found(hash::content_id(&chunk), &chunk);
                at += len;
            }
            Step::Zeros(len) => at += len,
            Step::Hole(_) => {}
            Step::More if end => return Ok(()),
            Step::More => {
                window.drain(..at);
                at = 0;
                end = fill(&mut window)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Domain, Kind};
    use crate::objects::Objects;
    use crate::store::Key;
    use crate::store::testing;

    /// Goal: the pieces are those that a put makes. Method: contents around the borders, holes among them; the store
    /// must have every piece.
    #[test]
    fn pieces_are_what_a_put_stores() {
        let store = testing::store();
        let objects = Objects::new(store.clone());
        for len in [0, 1, 5000, EXTENT_BYTES_MAX, EXTENT_BYTES_MAX + 1, 9 << 20] {
            let mut bytes: Vec<u8> = (0..len).map(|at| (at * at / 7919 % 251) as u8).collect();
            if len > 5 << 20 {
                bytes[3 << 20..4 << 20].fill(0);
            }
            let put = store.block_on(objects.put(Bytes::from(bytes.clone()))).unwrap();
            let mut count = 0;
            pieces(&bytes[..], |id, piece| {
                count += piece.len();
                let key = Key {
                    domain: Domain(0),
                    kind: Kind::Data,
                    id,
                };
                assert!(store.contains(&[key])[0], "{len}: piece {id} of {}", put.id);
            })
            .unwrap();
            assert!(count <= len && count + (2 << 20) >= len, "{count} of {len} bytes");
        }
    }
}
