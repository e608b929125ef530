//! Eight lanes: one `__m256i` holds one word of each; or, for up to four jobs, a row of two inputs.
//!
//! `unsafe` here is loads and stores through raw pointers made from references of exactly the length read or
//! written, and the call into code compiled for AVX2 after the processor was asked for it.
#![allow(unsafe_code, reason = "vector intrinsics on pointers to blocks")]

use std::arch::asm;
use std::arch::x86_64::*;

use super::{BLOCK_BYTES, Job, Mode};

/// Jobs that take a word of each register.
const LANES: usize = 8;
/// Jobs that take a row of one register.
const INPUTS: usize = 2;
type Words = __m256i;

/// Whether the processor has what this file is compiled for.
pub(super) fn supported() -> bool {
    is_x86_feature_detected!("avx2")
}

/// See [`super::compress`].
pub(super) fn compress(mode: &Mode, jobs: &[Job<'_>], out: &mut [[u8; 32]]) {
    assert!(supported(), "AVX2 kernel called on a processor without AVX2");
    // SAFETY: the only requirement of `compress_all` is AVX2, and the line above made sure of it.
    unsafe { compress_all(mode, jobs, out) }
}

#[target_feature(enable = "avx2")]
fn compress_all(mode: &Mode, jobs: &[Job<'_>], out: &mut [[u8; 32]]) {
    for group in jobs.chunks(LANES) {
        match group.len() {
            ..=2 => compress_rows::<1>(mode, group, out),
            3..=4 => compress_rows::<2>(mode, group, out),
            _ => compress_lanes(mode, group, out),
        }
    }
}

/// Bytes of every word turned right by 16 bits, as a shuffle takes them.
const ROTATE_16: [u32; LANES] = rotated([0x0100_0302, 0x0504_0706, 0x0908_0b0a, 0x0d0c_0f0e]);
/// Bytes of every word turned right by 8 bits.
const ROTATE_8: [u32; LANES] = rotated([0x0003_0201, 0x0407_0605, 0x080b_0a09, 0x0c0f_0e0d]);

/// The same shuffle for both halves of a register.
const fn rotated([a, b, c, d]: [u32; 4]) -> [u32; LANES] {
    [a, b, c, d, a, b, c, d]
}

/// Half of four independent quarter-rounds: message words, rotation of `d`, shift pairs of `b`, then the registers
/// of rows b, c and d. Register 8 is scratch; `v[8]` is read from and written to memory where row c has it.
macro_rules! half {
    ($x0:literal, $x1:literal, $x2:literal, $x3:literal, $rotate:literal, $right:literal, $left:literal, columns) => {
        half!(@ $x0, $x1, $x2, $x3, $rotate, $right, $left, 4, 5, 6, 7, 12, 13, 14, 15,
            "vpaddd ymm8, ymm12, [{s}]\n", "vpaddd ymm9, ymm9, ymm13\n",
            "vpaddd ymm10, ymm10, ymm14\n", "vpaddd ymm11, ymm11, ymm15\n", 8, 9, 10, 11)
    };
    ($x0:literal, $x1:literal, $x2:literal, $x3:literal, $rotate:literal, $right:literal, $left:literal, diagonals) => {
        half!(@ $x0, $x1, $x2, $x3, $rotate, $right, $left, 5, 6, 7, 4, 15, 12, 13, 14,
            "vpaddd ymm10, ymm10, ymm15\n", "vpaddd ymm11, ymm11, ymm12\n",
            "vpaddd ymm8, ymm13, [{s}]\n", "vpaddd ymm9, ymm9, ymm14\n", 10, 11, 8, 9)
    };
    (@ $x0:literal, $x1:literal, $x2:literal, $x3:literal, $rotate:literal, $right:literal, $left:literal,
     $b0:literal, $b1:literal, $b2:literal, $b3:literal, $d0:literal, $d1:literal, $d2:literal, $d3:literal,
     $c_add_0:literal, $c_add_1:literal, $c_add_2:literal, $c_add_3:literal,
     $c0:literal, $c1:literal, $c2:literal, $c3:literal) => {
        concat!(
            "vpaddd ymm0, ymm0, [{m} + 32 * ", $x0, "]\n",
            "vpaddd ymm1, ymm1, [{m} + 32 * ", $x1, "]\n",
            "vpaddd ymm2, ymm2, [{m} + 32 * ", $x2, "]\n",
            "vpaddd ymm3, ymm3, [{m} + 32 * ", $x3, "]\n",
            "vpaddd ymm0, ymm0, ymm", $b0, "\n",
            "vpaddd ymm1, ymm1, ymm", $b1, "\n",
            "vpaddd ymm2, ymm2, ymm", $b2, "\n",
            "vpaddd ymm3, ymm3, ymm", $b3, "\n",
            "vpxor ymm", $d0, ", ymm", $d0, ", ymm0\n",
            "vpxor ymm", $d1, ", ymm", $d1, ", ymm1\n",
            "vpxor ymm", $d2, ", ymm", $d2, ", ymm2\n",
            "vpxor ymm", $d3, ", ymm", $d3, ", ymm3\n",
            "vmovdqa ymm8, [{s} + ", $rotate, "]\n",
            "vpshufb ymm", $d0, ", ymm", $d0, ", ymm8\n",
            "vpshufb ymm", $d1, ", ymm", $d1, ", ymm8\n",
            "vpshufb ymm", $d2, ", ymm", $d2, ", ymm8\n",
            "vpshufb ymm", $d3, ", ymm", $d3, ", ymm8\n",
            $c_add_0, $c_add_1, $c_add_2, $c_add_3,
            "vpxor ymm", $b0, ", ymm", $b0, ", ymm", $c0, "\n",
            "vpxor ymm", $b1, ", ymm", $b1, ", ymm", $c1, "\n",
            "vpxor ymm", $b2, ", ymm", $b2, ", ymm", $c2, "\n",
            "vpxor ymm", $b3, ", ymm", $b3, ", ymm", $c3, "\n",
            "vmovdqa [{s}], ymm8\n",
            half!(@rotate $b0, $right, $left),
            half!(@rotate $b1, $right, $left),
            half!(@rotate $b2, $right, $left),
            half!(@rotate $b3, $right, $left),
        )
    };
    (@rotate $b:literal, $right:literal, $left:literal) => {
        concat!(
            "vpsrld ymm8, ymm", $b, ", ", $right, "\n",
            "vpslld ymm", $b, ", ymm", $b, ", ", $left, "\n",
            "vpor ymm", $b, ", ymm", $b, ", ymm8\n",
        )
    };
}

/// One round with its order of message words (table 2 of the BLAKE3 paper).
macro_rules! round {
    ($a:literal, $b:literal, $c:literal, $d:literal, $e:literal, $f:literal, $g:literal, $h:literal,
     $i:literal, $j:literal, $k:literal, $l:literal, $n:literal, $o:literal, $p:literal, $q:literal) => {
        concat!(
            half!($a, $c, $e, $g, 32, 12, 20, columns),
            half!($b, $d, $f, $h, 64, 7, 25, columns),
            half!($i, $k, $n, $p, 32, 12, 20, diagonals),
            half!($j, $l, $o, $q, 64, 7, 25, diagonals),
        )
    };
}

lanes_kernel!(#[target_feature(enable = "avx2")]);
rows_kernel!(#[target_feature(enable = "avx2")]);

#[inline]
#[target_feature(enable = "avx2")]
fn splat(word: u32) -> Words {
    _mm256_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
fn words(words: &[u32; LANES]) -> Words {
    // SAFETY: `words` is 32 readable bytes, and an unaligned load asks for no more.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: Words, b: Words) -> Words {
    _mm256_xor_si256(a, b)
}

/// The seven rounds, in assembly: the state takes all 16 registers and a rotation needs one more, so one word of
/// the state (`v[8]`) lives in memory. Left to itself the compiler spills more and loses a sixth of the rate (measured
/// on Zen 3).
#[inline]
#[target_feature(enable = "avx2")]
fn rounds(v: &mut [Words; 16], m: &[Words; 16]) {
    /// Operands of [`half`] that are not in registers.
    #[repr(C, align(32))]
    struct Scratch {
        v8: Words,
        rotate16: Words,
        rotate8: Words,
    }
    let mut scratch = Scratch {
        v8: v[8],
        rotate16: words(&ROTATE_16),
        rotate8: words(&ROTATE_8),
    };
    // SAFETY: reads 512 bytes at `m` and reads and writes the 96 of `scratch`; both are references or locals of
    // exactly that size, aligned to 32 bytes by their types. Registers changed are declared; no stack, no flags.
    unsafe {
        asm!(
            round!(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
            round!(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8),
            round!(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1),
            round!(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6),
            round!(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4),
            round!(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7),
            round!(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13),
            m = in(reg) m.as_ptr(),
            s = in(reg) &raw mut scratch,
            inout("ymm0") v[0],
            inout("ymm1") v[1],
            inout("ymm2") v[2],
            inout("ymm3") v[3],
            inout("ymm4") v[4],
            inout("ymm5") v[5],
            inout("ymm6") v[6],
            inout("ymm7") v[7],
            out("ymm8") _,
            inout("ymm9") v[9],
            inout("ymm10") v[10],
            inout("ymm11") v[11],
            inout("ymm12") v[12],
            inout("ymm13") v[13],
            inout("ymm14") v[14],
            inout("ymm15") v[15],
            options(nostack, preserves_flags),
        );
    }
    v[8] = scratch.v8;
}

/// `yes` where `mask` is all ones, `no` where it is zero.
#[inline]
#[target_feature(enable = "avx2")]
fn select(mask: Words, yes: Words, no: Words) -> Words {
    _mm256_blendv_epi8(no, yes, mask)
}

/// Asks for a block that is used soon: a hint, for which the address may be anything.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn prefetch(block: *const [u8; BLOCK_BYTES]) {
    _mm_prefetch::<_MM_HINT_T0>(block.cast());
}

/// 16 bytes of a block.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn part(block: &[u8; BLOCK_BYTES], at: usize) -> __m128i {
    let (parts, _) = block.as_chunks::<16>();
    // SAFETY: a part is 16 readable bytes, and an unaligned load asks for no more.
    unsafe { _mm_loadu_si128(parts[at].as_ptr().cast()) }
}

/// The same 16 bytes of every block.
#[inline]
#[target_feature(enable = "avx2")]
fn parts(blocks: &[&[u8; BLOCK_BYTES]; INPUTS], at: usize) -> Words {
    _mm256_inserti128_si256(
        _mm256_castsi128_si256(part(blocks[0], at)),
        part(blocks[1], at),
        1,
    )
}

/// In every 128 bits: four rows of four words become four columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [Words; 4]) -> [Words; 4] {
    let [a, b, c, d] = rows;
    let ab = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let cd = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab.0, cd.0),
        _mm256_unpackhi_epi64(ab.0, cd.0),
        _mm256_unpacklo_epi64(ab.1, cd.1),
        _mm256_unpackhi_epi64(ab.1, cd.1),
    ]
}

/// A row of every input.
#[inline]
#[target_feature(enable = "avx2")]
fn load_rows(rows: &[[u32; 4]; INPUTS]) -> Words {
    // SAFETY: `rows` is 32 readable bytes, and an unaligned load asks for no more.
    unsafe { _mm256_loadu_si256(rows.as_ptr().cast()) }
}

/// A row of every input, as bytes: x86 is little-endian, so they are in BLAKE3's order.
#[inline]
#[target_feature(enable = "avx2")]
fn store_rows(rows: Words) -> [[u8; 16]; INPUTS] {
    let mut bytes = [[0; 16]; INPUTS];
    // SAFETY: `bytes` is 32 writable bytes, and an unaligned store writes no more.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), rows) };
    bytes
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: Words, b: Words) -> Words {
    _mm256_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate16(a: Words) -> Words {
    _mm256_shuffle_epi8(a, words(&ROTATE_16))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate12(a: Words) -> Words {
    _mm256_or_si256(_mm256_srli_epi32(a, 12), _mm256_slli_epi32(a, 20))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate8(a: Words) -> Words {
    _mm256_shuffle_epi8(a, words(&ROTATE_8))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate7(a: Words) -> Words {
    _mm256_or_si256(_mm256_srli_epi32(a, 7), _mm256_slli_epi32(a, 25))
}

/// The words of every row in another order.
#[inline]
#[target_feature(enable = "avx2")]
fn turn<const ORDER: i32>(row: Words) -> Words {
    _mm256_shuffle_epi32::<ORDER>(row)
}

/// Two words of `a` and two of `b`.
#[inline]
#[target_feature(enable = "avx2")]
fn pair<const ORDER: i32>(a: Words, b: Words) -> Words {
    _mm256_castps_si256(_mm256_shuffle_ps::<ORDER>(
        _mm256_castsi256_ps(a),
        _mm256_castsi256_ps(b),
    ))
}

/// `above` at places 0 and 2 of every row, and `below` at the others.
#[inline]
#[target_feature(enable = "avx2")]
fn even_over(below: Words, above: Words) -> Words {
    _mm256_blend_epi32::<0b0101_0101>(below, above)
}

/// `above` at places 0 and 3 of every row, and `below` at the others.
#[inline]
#[target_feature(enable = "avx2")]
fn ends_over(below: Words, above: Words) -> Words {
    _mm256_blend_epi32::<0b1001_1001>(below, above)
}

/// `last` where `now` is the end, `full` elsewhere.
#[inline]
#[target_feature(enable = "avx2")]
fn where_last(now: Words, end: Words, last: Words, full: Words) -> Words {
    select(_mm256_cmpeq_epi32(now, end), last, full)
}

/// `new` where `now` is not past the end, `old` elsewhere.
#[inline]
#[target_feature(enable = "avx2")]
fn until_last(now: Words, end: Words, new: Words, old: Words) -> Words {
    select(_mm256_cmpgt_epi32(now, end), old, new)
}
