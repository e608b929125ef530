//! Sixteen lanes: one `__m512i` holds one word of each; or, for up to eight jobs, a row of four inputs.
//!
//! Parts of 16 bytes are put together as they are loaded, so that words only have to change places within 128 bits: of
//! the two units that vectors have, one alone moves words, and rounds keep both busy.
//!
//! `unsafe` here is loads and stores through raw pointers made from references of exactly the length read or
//! written, and the call into code compiled for AVX-512 after the processor was asked for it.
#![allow(
    unsafe_code,
    reason = "vector intrinsics, and a call into code for the processor found"
)]

use std::arch::x86_64::*;

use super::avx2::{self, part, prefetch};
use super::{BLOCK_BYTES, Job, Mode};

/// Jobs that take a word of each register.
const LANES: usize = 16;
/// Jobs that take a row of one register.
const INPUTS: usize = 4;
type Words = __m512i;

/// Whether the processor has what this file is compiled for.
pub(super) fn supported() -> bool {
    is_x86_feature_detected!("avx512f") && avx2::supported()
}

/// See [`super::compress`].
pub(super) fn compress(mode: &Mode, jobs: &[Job<'_>], out: &mut [[u8; 32]]) {
    assert!(
        supported(),
        "AVX-512 kernel called on a processor without AVX-512"
    );
    // SAFETY: the only requirement of `compress_all` is AVX2 and AVX-512F, and the line above made sure of it.
    unsafe { compress_all(mode, jobs, out) }
}

#[target_feature(enable = "avx2,avx512f")]
fn compress_all(mode: &Mode, jobs: &[Job<'_>], out: &mut [[u8; 32]]) {
    for group in jobs.chunks(LANES) {
        match group.len() {
            ..=4 => compress_rows::<1>(mode, group, out),
            5..=8 => compress_rows::<2>(mode, group, out),
            _ => compress_lanes(mode, group, out),
        }
    }
}

lanes_kernel!(#[target_feature(enable = "avx2,avx512f")]);
rows_kernel!(#[target_feature(enable = "avx2,avx512f")]);

#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn splat(word: u32) -> Words {
    _mm512_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn words(words: &[u32; LANES]) -> Words {
    // SAFETY: `words` is 64 readable bytes, and an unaligned load asks for no more.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn add(a: Words, b: Words) -> Words {
    _mm512_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn xor(a: Words, b: Words) -> Words {
    _mm512_xor_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn rotate16(a: Words) -> Words {
    _mm512_ror_epi32(a, 16)
}

#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn rotate12(a: Words) -> Words {
    _mm512_ror_epi32(a, 12)
}

#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn rotate8(a: Words) -> Words {
    _mm512_ror_epi32(a, 8)
}

#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn rotate7(a: Words) -> Words {
    _mm512_ror_epi32(a, 7)
}

#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn rounds(v: &mut [Words; 16], m: &[Words; 16]) {
    rounds!(v, m);
}

/// `yes` where `mask` is all ones, `no` where it is zero.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn select(mask: Words, yes: Words, no: Words) -> Words {
    _mm512_mask_blend_epi32(_mm512_test_epi32_mask(mask, mask), no, yes)
}

/// The same 16 bytes of every block.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn parts(blocks: &[&[u8; BLOCK_BYTES]; INPUTS], at: usize) -> Words {
    let first = _mm512_castsi128_si512(part(blocks[0], at));
    let two = _mm512_inserti32x4(first, part(blocks[1], at), 1);
    let three = _mm512_inserti32x4(two, part(blocks[2], at), 2);
    _mm512_inserti32x4(three, part(blocks[3], at), 3)
}

/// In every 128 bits: four rows of four words become four columns.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn transpose(rows: [Words; 4]) -> [Words; 4] {
    let [a, b, c, d] = rows;
    let ab = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab.0, cd.0),
        _mm512_unpackhi_epi64(ab.0, cd.0),
        _mm512_unpacklo_epi64(ab.1, cd.1),
        _mm512_unpackhi_epi64(ab.1, cd.1),
    ]
}

/// A row of every input.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn load_rows(rows: &[[u32; 4]; INPUTS]) -> Words {
    // SAFETY: `rows` is 64 readable bytes, and an unaligned load asks for no more.
    unsafe { _mm512_loadu_si512(rows.as_ptr().cast()) }
}

/// A row of every input, as bytes: x86 is little-endian, so they are in BLAKE3's order.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn store_rows(rows: Words) -> [[u8; 16]; INPUTS] {
    let mut bytes = [[0; 16]; INPUTS];
    // SAFETY: `bytes` is 64 writable bytes, and an unaligned store writes no more.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), rows) };
    bytes
}

/// The words of every row in another order.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn turn<const ORDER: i32>(row: Words) -> Words {
    _mm512_shuffle_epi32::<ORDER>(row)
}

/// Two words of `a` and two of `b`.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn pair<const ORDER: i32>(a: Words, b: Words) -> Words {
    let pair = _mm512_shuffle_ps::<ORDER>(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b));
    _mm512_castps_si512(pair)
}

/// `above` at places 0 and 2 of every row, and `below` at the others.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn even_over(below: Words, above: Words) -> Words {
    _mm512_mask_blend_epi32(0x5555, below, above)
}

/// `above` at places 0 and 3 of every row, and `below` at the others.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn ends_over(below: Words, above: Words) -> Words {
    _mm512_mask_blend_epi32(0x9999, below, above)
}

/// `last` where `now` is the end, `full` elsewhere.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn where_last(now: Words, end: Words, last: Words, full: Words) -> Words {
    _mm512_mask_blend_epi32(_mm512_cmpeq_epi32_mask(now, end), full, last)
}

/// `new` where `now` is not past the end, `old` elsewhere.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn until_last(now: Words, end: Words, new: Words, old: Words) -> Words {
    _mm512_mask_blend_epi32(_mm512_cmpgt_epi32_mask(now, end), new, old)
}
