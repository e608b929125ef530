//! Sixteen lanes: one `__m512i` holds one word of each.
//!
//! Messages and results are transposed by the eight-lane code of [`avx2`](super::avx2), half the lanes at a
//! time, and joined. That code is tested wherever there is AVX2, and costs 6 % more instructions per block than a
//! 16 x 16 transposition of its own.
//!
//! `unsafe` here is the load of 16 counters or flags from an array of exactly that size, and the call into code
//! compiled for AVX-512 after the processor was asked for it.
#![allow(
    unsafe_code,
    reason = "vector intrinsics, and a call into code for the processor found"
)]

use std::arch::x86_64::*;

use super::{BLOCK_BYTES, Job, Mode, avx2};

pub(super) const LANES: usize = 16;
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
    // SAFETY: the only requirement of `compress_lanes` is AVX2 and AVX-512F, and the line above made sure of it.
    unsafe { compress_lanes(mode, jobs, out) }
}

lanes_kernel!(#[target_feature(enable = "avx2,avx512f")]);

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

/// Lanes 0 to 7 from `low`, 8 to 15 from `high`.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn join(low: __m256i, high: __m256i) -> Words {
    _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1)
}

/// Sixteen message words of one block of every lane.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn message(blocks: &[&[u8; BLOCK_BYTES]; LANES]) -> [Words; 16] {
    let low = avx2::message(&std::array::from_fn(|lane| blocks[lane]));
    let high = avx2::message(&std::array::from_fn(|lane| blocks[lane + avx2::LANES]));
    std::array::from_fn(|word| join(low[word], high[word]))
}

/// The chaining value of every lane.
#[inline]
#[target_feature(enable = "avx2,avx512f")]
fn finish(h: [Words; 8]) -> [[u8; 32]; LANES] {
    let low = avx2::finish(std::array::from_fn(|at| _mm512_castsi512_si256(h[at])));
    let high = avx2::finish(std::array::from_fn(|at| _mm512_extracti64x4_epi64(h[at], 1)));
    std::array::from_fn(|lane| {
        if lane < avx2::LANES {
            low[lane]
        } else {
            high[lane - avx2::LANES]
        }
    })
}
