//! Eight lanes: one `__m256i` holds one word of each.
//!
//! `unsafe` here is loads and stores through raw pointers made from references of exactly the length read or
//! written, and the call into code compiled for AVX2 after the processor was asked for it.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{BLOCK_BYTES, Job, Mode};

pub(super) const LANES: usize = 8;
type Words = __m256i;

/// Whether the processor has what this file is compiled for.
pub(super) fn supported() -> bool {
    is_x86_feature_detected!("avx2")
}

/// See [`super::compress`].
pub(super) fn compress(mode: &Mode, jobs: &[Job<'_>], out: &mut [[u8; 32]]) {
    assert!(supported(), "AVX2 kernel called on a processor without AVX2");
    // SAFETY: the only requirement of `compress_lanes` is AVX2, and the line above made sure of it.
    unsafe { compress_lanes(mode, jobs, out) }
}

lanes_kernel!(#[target_feature(enable = "avx2")]);

#[inline]
#[target_feature(enable = "avx2")]
fn splat(word: u32) -> Words {
    _mm256_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn words(words: &[u32; LANES]) -> Words {
    // SAFETY: `words` is 32 readable bytes, and an unaligned load asks for no more.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: Words, b: Words) -> Words {
    _mm256_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: Words, b: Words) -> Words {
    _mm256_xor_si256(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate16(a: Words) -> Words {
    _mm256_or_si256(_mm256_srli_epi32(a, 16), _mm256_slli_epi32(a, 16))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate12(a: Words) -> Words {
    _mm256_or_si256(_mm256_srli_epi32(a, 12), _mm256_slli_epi32(a, 20))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate8(a: Words) -> Words {
    _mm256_or_si256(_mm256_srli_epi32(a, 8), _mm256_slli_epi32(a, 24))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate7(a: Words) -> Words {
    _mm256_or_si256(_mm256_srli_epi32(a, 7), _mm256_slli_epi32(a, 25))
}

/// `yes` where `mask` is all ones, `no` where it is zero.
#[inline]
#[target_feature(enable = "avx2")]
fn select(mask: Words, yes: Words, no: Words) -> Words {
    _mm256_blendv_epi8(no, yes, mask)
}

/// Eight rows of eight words become eight columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [Words; 8]) -> [Words; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    // Pairs of words: the low unpack takes words 0, 1, 4, 5 of both rows, the high one 2, 3, 6, 7.
    let ab = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let cd = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    let ef = (_mm256_unpacklo_epi32(e, f), _mm256_unpackhi_epi32(e, f));
    let gh = (_mm256_unpacklo_epi32(g, h), _mm256_unpackhi_epi32(g, h));
    // Quadruples: columns n and n + 4.
    let abcd = [
        _mm256_unpacklo_epi64(ab.0, cd.0),
        _mm256_unpackhi_epi64(ab.0, cd.0),
        _mm256_unpacklo_epi64(ab.1, cd.1),
        _mm256_unpackhi_epi64(ab.1, cd.1),
    ];
    let efgh = [
        _mm256_unpacklo_epi64(ef.0, gh.0),
        _mm256_unpackhi_epi64(ef.0, gh.0),
        _mm256_unpacklo_epi64(ef.1, gh.1),
        _mm256_unpackhi_epi64(ef.1, gh.1),
    ];
    [
        _mm256_permute2x128_si256(abcd[0], efgh[0], 0x20),
        _mm256_permute2x128_si256(abcd[1], efgh[1], 0x20),
        _mm256_permute2x128_si256(abcd[2], efgh[2], 0x20),
        _mm256_permute2x128_si256(abcd[3], efgh[3], 0x20),
        _mm256_permute2x128_si256(abcd[0], efgh[0], 0x31),
        _mm256_permute2x128_si256(abcd[1], efgh[1], 0x31),
        _mm256_permute2x128_si256(abcd[2], efgh[2], 0x31),
        _mm256_permute2x128_si256(abcd[3], efgh[3], 0x31),
    ]
}

/// Half a block of every lane, as rows.
#[inline]
#[target_feature(enable = "avx2")]
fn rows(blocks: &[&[u8; BLOCK_BYTES]; LANES], half: usize) -> [Words; 8] {
    let row = |lane: usize| {
        let (halves, _) = blocks[lane].as_chunks::<32>();
        let bytes: &[u8; 32] = &halves[half];
        // SAFETY: `bytes` is 32 readable bytes, and an unaligned load asks for no more.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    };
    [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)]
}

/// Sixteen message words of one block of every lane.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn message(blocks: &[&[u8; BLOCK_BYTES]; LANES]) -> [Words; 16] {
    let [m0, m1, m2, m3, m4, m5, m6, m7] = transpose(rows(blocks, 0));
    let [m8, m9, m10, m11, m12, m13, m14, m15] = transpose(rows(blocks, 1));
    [
        m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15,
    ]
}

/// The chaining value of every lane. x86 is little-endian, so the words are already in the order of the bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn finish(h: [Words; 8]) -> [[u8; 32]; LANES] {
    let mut values = [[0u8; 32]; LANES];
    for (value, row) in values.iter_mut().zip(transpose(h)) {
        // SAFETY: `value` is 32 writable bytes, and an unaligned store writes no more.
        unsafe { _mm256_storeu_si256(value.as_mut_ptr().cast(), row) };
    }
    values
}
