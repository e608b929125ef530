//! Where data between holes is cut: the second version of the cutting rule, and the search for a border.
//!
//! Whether a chunk may end at a place depends on the 64 bytes before it alone. In arithmetic modulo 2^16, `b[n]` being
//! the byte `n + 1` before the place:
//!
//! - `newer` is the sum of `b[n] * K^n` for n from 0 to 31, `older` that of `b[n] * K^(n - 32)` for n from 32 to 63;
//! - `hash` is `newer + floor(older * C / 2^16)`;
//! - the chunk may end there if the bits of `hash` that a mask names are those of `D`, and those of `older` are zero.
//!
//! It ends at the first such place from the smallest length on: below the average length 18 bits decide (strict), from
//! there 14 (loose). At the latest it ends at the largest length, or with its data.
//!
//! Invariant: every [`Level`] finds the same border. The sums here are in plain Rust; those of `x86` are the same, many
//! places at once. Both do the same work whatever the data is. The constants are bits of BLAKE3's initialisation vector:
//! a `K` of the largest order modulo 2^16, a large `C`, and a `D` that no run of one byte gives.
//!
//! Rejected (figures in ARCHITECTURE.md): the rolling hash of FastCDC, also in four lanes that start 64 bytes ahead, for
//! each step waits for the step before; windows of 32 bytes and less, which see too few different places in repetitive
//! text; a cheap filter with a second look at what it finds, which some data makes slow; local extremes (RAM) and rising
//! sequences (SeqCDC), which need no hash but find less in common.

mod first;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;
use std::sync::LazyLock;

use crate::limits::CHUNK_BYTES;

/// Bytes before a border that decide about it.
pub(super) const WINDOW_BYTES: usize = 64;
const HALF: usize = WINDOW_BYTES / 2;
const K: u16 = 0x9B05;
const C: u16 = 0xF53A;
const D: u16 = 0x1F83;

/// Which bits decide: those of the hash must be those of [`D`], those of the older sum zero.
#[derive(Debug, Clone, Copy)]
struct Masks {
    hash: u16,
    older: u16,
}

const STRICT: Masks = Masks {
    hash: 0xFFFF,
    older: 0xC000,
};
const LOOSE: Masks = Masks {
    hash: 0xFFFC,
    older: 0,
};

const _: () = assert!(
    CHUNK_BYTES[0] >= 2 * WINDOW_BYTES,
    "windows are inside their chunk, and what warms the sums up"
);

/// Instructions that the search is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// What every processor of the architecture has.
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The widest this machine runs.
    fn detected() -> Level {
        static DETECTED: LazyLock<Level> =
            LazyLock::new(|| Level::supported().last().copied().unwrap_or(Level::Plain));
        *DETECTED
    }

    /// All that this machine runs, narrowest first.
    fn supported() -> Vec<Level> {
        let mut levels = vec![Level::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            if x86::avx2::supported() {
                levels.push(Level::Avx2);
            }
            if x86::avx512::supported() {
                levels.push(Level::Avx512);
            }
        }
        levels
    }

    /// The first of `places` in `data` that the masks let be a border. Panics if the machine lacks the level.
    fn first(self, data: &[u8], places: Range<usize>, masks: Masks) -> Option<usize> {
        let whole_groups = match self {
            Level::Plain => Err(places.start),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::avx2::first(data, places.clone(), masks),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::avx512::first(data, places.clone(), masks),
        };
        match whole_groups {
            Ok(place) => Some(place),
            Err(rest) => first_place(data, rest..places.end, masks),
        }
    }
}

/// How contents are cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Rule {
    /// As some were that are stored already.
    First,
    /// As this module says.
    #[default]
    Second,
}

impl Rule {
    /// See [`cut`].
    pub fn cut(self, data: &[u8]) -> usize {
        match self {
            Rule::First => first::cut(data),
            Rule::Second => cut(data),
        }
    }
}

/// The length of the chunk at the front of `data`, which reaches the end of its stretch or is at least as long as the
/// longest chunk. Not zero unless `data` is empty.
pub(super) fn cut(data: &[u8]) -> usize {
    cut_at(Level::detected(), data)
}

fn cut_at(level: Level, data: &[u8]) -> usize {
    let [min, average, max] = CHUNK_BYTES;
    let end = data.len().min(max);
    if end <= min {
        return end;
    }
    let middle = end.min(average);
    level
        .first(data, min..middle, STRICT)
        .or_else(|| level.first(data, middle..end, LOOSE))
        .unwrap_or(end)
}

/// Places that are hashed together: their sums stay in the first-level cache.
const BLOCK: usize = 1024;
/// Bytes of a block and the window before its first place; as many sums are computed, one more than count.
const SUMS: usize = BLOCK + WINDOW_BYTES;

/// The search in plain Rust. A block of places is hashed in passes that double the bytes that each sum is over, so that
/// a compiler finds vectors by itself.
fn first_place(data: &[u8], places: Range<usize>, masks: Masks) -> Option<usize> {
    let mut sums = [0; SUMS + HALF];
    let mut at = places.start;
    while at < places.end {
        let from = &data[at - WINDOW_BYTES..];
        let found = match from.first_chunk() {
            Some(bytes) => first_in_block(bytes, masks, &mut sums),
            None => {
                let mut bytes = [0; SUMS];
                bytes[..from.len()].copy_from_slice(from);
                first_in_block(&bytes, masks, &mut sums)
            }
        };
        if let Some(place) = found {
            return Some(at + place).filter(|place| *place < places.end);
        }
        at += BLOCK;
    }
    None
}

/// The first of a block's places that may be a border.
fn first_in_block(bytes: &[u8; SUMS], masks: Masks, sums: &mut [u16; SUMS + HALF]) -> Option<usize> {
    for (sum, byte) in sums.iter_mut().zip(bytes) {
        *sum = u16::from(*byte);
    }
    double::<1>(sums);
    double::<2>(sums);
    double::<4>(sums);
    double::<8>(sums);
    double::<16>(sums);
    let mut any = 0;
    for at in 0..BLOCK {
        let (older, newer) = (sums[at], sums[at + HALF]);
        let hash = newer.wrapping_add(((u32::from(older) * u32::from(C)) >> 16) as u16);
        let differs = ((hash ^ D) & masks.hash) | (older & masks.older);
        sums[at] = differs;
        any |= u16::from(differs == 0);
    }
    match any {
        0 => None,
        _ => sums[..BLOCK].iter().position(|differs| *differs == 0),
    }
}

/// Makes sums over `BYTES` bytes, each named by the place of its oldest byte, sums over twice as many.
fn double<const BYTES: usize>(sums: &mut [u16; SUMS + HALF]) {
    for at in 0..SUMS {
        sums[at] = sums[at]
            .wrapping_mul(const { power(BYTES) })
            .wrapping_add(sums[at + BYTES]);
    }
}

/// `K` to the power of `exponent`.
const fn power(exponent: usize) -> u16 {
    match exponent {
        0 => 1,
        _ => K.wrapping_mul(power(exponent - 1)),
    }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
