//! Where a large content is cut: content-defined chunks and holes.
//!
//! Holes come first: a run of at least [`HOLE_BYTES_MIN`] zero bytes in whole [`UNIT_BYTES`] blocks, counted from
//! the start of the content, is a hole; a shorter last block of zeros belongs to the run that reaches it. What lies
//! between holes is cut by its bytes (`cut`), starting anew after each hole.
//!
//! Invariant: the cuts depend on the bytes alone, not on the pieces they arrive in nor on whether a hole was told or
//! found. So equal contents have equal manifests. A cut is made only when the longest chunk or the end of its run of
//! data is in sight.
//!
//! The chunker keeps no bytes: it looks at the caller's window and says how much of its front to take. Rejected:
//! owning the bytes, which costs a copy of every content that is in memory anyway; looking for zeros in the same pass
//! as for cuts: most blocks say no with their first bytes, and cuts are not looked for in all of them.

use super::cut::Rule;
use crate::limits::{CHUNK_BYTES, HOLE_BYTES_MIN, UNIT_BYTES};

/// What to do with the front of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Take this many bytes: they are a chunk.
    Chunk(usize),
    /// Drop this many bytes: they are zeros of a hole that has not ended yet.
    Zeros(usize),
    /// A hole of this many bytes has ended just before the window. Nothing to take.
    Hole(u64),
    /// Nothing can be said before the window is longer, or, at the end, nothing is left.
    More,
}

/// Cuts one content. See the module's file for the rules.
#[derive(Debug, Default)]
pub struct Chunker {
    rule: Rule,
    /// Bytes of the window whose blocks have been looked at: up to a block border of the content, or its end.
    scanned: usize,
    /// How many of them, at their end, are blocks of zeros.
    zeros: usize,
    /// Bytes of the hole under way; the window starts inside it, on a block border.
    hole: u64,
}

impl Chunker {
    /// A chunker at the start of a content.
    pub fn new() -> Self {
        Chunker::default()
    }

    /// One that cuts as contents were cut before.
    pub(super) fn by_first_rule() -> Self {
        Chunker {
            rule: Rule::First,
            ..Chunker::default()
        }
    }

    /// The next step for a `window` that starts where the previous steps ended; `end` says that the content ends
    /// with it. The caller takes or drops the bytes named before calling again, and adds more only at the end.
    pub fn next(&mut self, window: &[u8], end: bool) -> Step {
        if self.hole > 0 {
            return self.next_in_hole(window, end);
        }
        loop {
            let data = self.scanned - self.zeros;
            let last = end && self.scanned == window.len();
            if self.zeros >= HOLE_BYTES_MIN {
                if data > 0 {
                    return self.chunk(&window[..data]);
                }
                self.hole = self.zeros as u64;
                let zeros = std::mem::take(&mut self.zeros);
                return self.pass(zeros, Step::Zeros(zeros));
            } else if last && self.scanned > 0 {
                self.zeros = 0;
                return self.chunk(window);
            } else if data >= CHUNK_BYTES[2] {
                return self.chunk(&window[..data]);
            }
            let Some(block) = self.block(&window[self.scanned..], end) else {
                return Step::More;
            };
            self.scanned += block.len();
            // Zeros that need a short last block to be long enough are not: they fall short by more.
            self.zeros = if is_zero(block) {
                self.zeros + block.len()
            } else {
                0
            };
        }
    }

    /// Lengthens the hole under way by `bytes`, whole blocks, without their zeros going through a window. Only
    /// right when [`in_hole`](Chunker::in_hole) and all whole blocks of the window have been dropped.
    pub fn lengthen_hole(&mut self, bytes: u64) {
        assert!(
            self.hole > 0 && bytes.is_multiple_of(UNIT_BYTES as u64),
            "only whole blocks, in a hole"
        );
        self.hole += bytes;
    }

    /// Whether the window starts inside a hole.
    pub fn in_hole(&self) -> bool {
        self.hole > 0
    }

    fn next_in_hole(&mut self, window: &[u8], end: bool) -> Step {
        let mut zeros = 0;
        while let Some(block) = self.block(&window[zeros..], end) {
            if !is_zero(block) {
                break;
            }
            zeros += block.len();
        }
        if zeros > 0 {
            self.hole += zeros as u64;
            self.scanned = zeros;
            return self.pass(zeros, Step::Zeros(zeros));
        }
        match self.block(window, end) {
            None if !end => Step::More,
            _ => Step::Hole(std::mem::take(&mut self.hole)),
        }
    }

    /// The block at the front of `rest`, if it is all there: shorter than a unit only at the end.
    fn block<'a>(&self, rest: &'a [u8], end: bool) -> Option<&'a [u8]> {
        match rest.get(..UNIT_BYTES) {
            None if end && !rest.is_empty() => Some(rest),
            block => block,
        }
    }

    /// A chunk from the front of `data`, which is as long as the longest chunk or reaches the end of its run.
    fn chunk(&mut self, data: &[u8]) -> Step {
        let bytes = self.rule.cut(data);
        self.pass(bytes, Step::Chunk(bytes))
    }

    fn pass(&mut self, bytes: usize, step: Step) -> Step {
        self.scanned -= bytes;
        step
    }
}

/// Whether all bytes are zero. Most blocks say no within their first bytes; the rest is one `memcmp`.
fn is_zero(block: &[u8]) -> bool {
    static ZEROS: [u8; UNIT_BYTES] = [0; UNIT_BYTES];
    let (head, tail) = block.split_at(block.len().min(16));
    head.iter().all(|byte| *byte == 0) && tail == &ZEROS[..tail.len()]
}

#[cfg(test)]
#[path = "chunker_tests.rs"]
mod tests;
