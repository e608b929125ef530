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
/// small, else its chunks, by either rule of cutting.
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
    let mut cutters = [Chunker::new(), Chunker::by_first_rule()].map(|chunker| (chunker, 0));
    loop {
        for (chunker, at) in &mut cutters {
            *at += cut_off(chunker, &window[*at..], end, &mut found);
        }
        if end {
            return Ok(());
        }
        let [(_, one), (_, other)] = &mut cutters;
        let both = (*one).min(*other);
        (*one, *other) = (*one - both, *other - both);
        window.drain(..both);
        end = fill(&mut window)?;
    }
}

/// Calls `found` with every chunk that can be cut off the front of `window`; the bytes they and the holes have.
fn cut_off(
    chunker: &mut Chunker,
    window: &[u8],
    end: bool,
    found: &mut impl FnMut(ContentId, &Bytes),
) -> usize {
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
            Step::More => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::format::manifest::Piece;
    use crate::objects::testing::{self, noise, objects};

    fn found(bytes: &[u8]) -> HashSet<ContentId> {
        let mut ids = HashSet::new();
        pieces(bytes, |id, piece| {
            assert_eq!(id, hash::content_id(piece));
            ids.insert(id);
        })
        .unwrap();
        ids
    }

    /// Goal: what a put makes is found. Method: contents around the borders, holes among them; every extent that the
    /// store has.
    #[test]
    fn pieces_are_what_a_put_stores() {
        let objects = objects();
        for len in [0, 1, 5000, EXTENT_BYTES_MAX, EXTENT_BYTES_MAX + 1, 9 << 20] {
            let mut bytes: Vec<u8> = (0..len).map(|at| (at * at / 7919 % 251) as u8).collect();
            if len > 5 << 20 {
                bytes[3 << 20..4 << 20].fill(0);
            }
            let put = objects.put(Bytes::from(bytes.clone())).unwrap();
            let found = found(&bytes);
            if len <= EXTENT_BYTES_MAX {
                assert_eq!(found, HashSet::from([put.id]));
                continue;
            }
            for piece in testing::pieces(&objects, put.id) {
                if let Piece::Chunk { id, .. } = piece {
                    assert!(found.contains(&id), "{len}: piece {id} of {}", put.id);
                }
            }
        }
    }

    /// Goal: chunks that were cut by the first rule are found as well. Method: noise, cut by FastCDC itself.
    #[test]
    fn pieces_of_the_first_rule_are_found() {
        let bytes = noise(11 << 20, 4);
        let found = found(&bytes);
        let chunks = fastcdc::v2020::FastCDC::new(&bytes, 16 << 10, 64 << 10, 256 << 10);
        for chunk in chunks {
            let id = hash::content_id(&bytes[chunk.offset..chunk.offset + chunk.length]);
            assert!(found.contains(&id), "{} bytes at {}", chunk.length, chunk.offset);
        }
    }
}
