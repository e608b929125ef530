//! The prints of a bucket: which of its 32 bytes are equal to one.
#![allow(unsafe_code, reason = "calls a function that needs vector instructions")]
// Reason: the intrinsics are safe only within functions that name the instructions they need.

use super::arena::BUCKET_ENTRIES;

/// Words that hold a byte per position, lowest first.
pub(super) const PRINT_WORDS: usize = BUCKET_ENTRIES / size_of::<u64>();

/// Bit per position whose byte equals `print`.
#[inline]
pub(super) fn matching(words: [u64; PRINT_WORDS], print: u8) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has SSE2.
    let found = unsafe { matching_sse2(words, print) };
    #[cfg(not(target_arch = "x86_64"))]
    let found = matching_anywhere(words, print);
    found
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn matching_sse2([a, b, c, d]: [u64; PRINT_WORDS], print: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let wanted = _mm_set1_epi8(print.cast_signed());
    let low = _mm_set_epi64x(b.cast_signed(), a.cast_signed());
    let high = _mm_set_epi64x(d.cast_signed(), c.cast_signed());
    let low = _mm_movemask_epi8(_mm_cmpeq_epi8(low, wanted)).cast_unsigned();
    let high = _mm_movemask_epi8(_mm_cmpeq_epi8(high, wanted)).cast_unsigned();
    high << 16 | low
}

/// Eight bytes at a time, in plain integers.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn matching_anywhere(words: [u64; PRINT_WORDS], print: u8) -> u32 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const REST: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    /// Moves the lowest bit of byte i to bit 56 + i.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let wanted = u64::from(print) * LOW;
    let mut found = 0;
    for (part, word) in words.into_iter().enumerate() {
        let different = word ^ wanted;
        let equal = !(((different & REST) + REST) | different | REST); // 0x80 in equal bytes, 0 elsewhere
        found |= ((equal >> 7).wrapping_mul(GATHER) >> 56) << (part * 8);
    }
    found as u32
}

const _: () = assert!(BUCKET_ENTRIES == 32, "positions are the bits of a u32");

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: both ways find exactly the positions that have the byte. Method: bytes that are equal, near (one more, one
    /// less, only the highest bit different) or random, at every position, against a loop over the bytes.
    #[test]
    fn exactly_the_equal_bytes_are_found() {
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8 // the best bits
        };
        for round in 0..2000 {
            let print = if round < 256 { round as u8 } else { random() };
            let choices = [
                print,
                print.wrapping_add(1),
                print.wrapping_sub(1),
                print ^ 0x80,
                0,
                255,
            ];
            let bytes: [u8; BUCKET_ENTRIES] = std::array::from_fn(|_| match usize::from(random() % 8) {
                choice if choice < choices.len() => choices[choice],
                _ => random(),
            });
            let expected =
                (0..BUCKET_ENTRIES).fold(0, |found, at| found | u32::from(bytes[at] == print) << at);
            let (chunks, []) = bytes.as_chunks() else {
                unreachable!("whole words")
            };
            let words: [u64; PRINT_WORDS] = std::array::from_fn(|at| u64::from_le_bytes(chunks[at]));
            assert_eq!(matching(words, print), expected, "{bytes:x?}, {print:x}");
            assert_eq!(matching_anywhere(words, print), expected, "{bytes:x?}, {print:x}");
        }
    }
}
