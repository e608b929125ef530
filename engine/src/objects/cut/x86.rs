//! The search for a border on x86-64: a step of 32 places with AVX-512, of 16 with AVX2.
//!
//! One place has one 16-bit lane. A step takes the sums over 2, 4, 8, 16 and 32 bytes that end at its places from
//! those of half as many bytes, of its own places and of places before them, which are in the registers of the steps
//! before. The steps are written once, in a macro; a module per instruction set supplies the vector operations.
//!
//! `unsafe` here is the load of a vector from an array of at least its size, and the call into code compiled for
//! what the processor was asked for.
#![allow(
    unsafe_code,
    reason = "vector intrinsics, and calls into code for the processor found"
)]

use std::ops::Range;

use super::{C, D, Masks, WINDOW_BYTES, power};

/// Places that are looked at before the next branch.
pub(super) const GROUP: usize = 64;
const _: () = assert!(GROUP == WINDOW_BYTES, "one group warms the sums up");

macro_rules! kernel {
    ($features:literal, $($feature:tt),+) => {
        /// Whether the processor has what this is compiled for.
        pub fn supported() -> bool {
            $(is_x86_feature_detected!($feature))&&+
        }

        /// Looks for the first of `places` in `data` that the masks let be a border, in whole groups. An error is
        /// the place it got to.
        pub fn first(data: &[u8], places: Range<usize>, masks: Masks) -> Result<usize, usize> {
            assert!(supported(), "called on a processor without {}", $features);
            // SAFETY: the only requirement of `search` is what the line above made sure of.
            unsafe { search(data, places, masks) }
        }

        #[target_feature(enable = $features)]
        fn search(data: &[u8], places: Range<usize>, masks: Masks) -> Result<usize, usize> {
            let constants = Constants::new(masks);
            let mut sums = Sums::new();
            // The place after the newest byte of the lowest lane is `at`.
            let mut at = places.start - GROUP;
            let (newest, _) = data[at - 1..places.end - 1].as_chunks::<GROUP>();
            let (before, _) = data[at - 2..places.end - 2].as_chunks::<GROUP>();
            for (newest, before) in newest.iter().zip(before) {
                let found = group(&mut sums, &constants, newest, before);
                if found != 0 && at >= places.start {
                    return Ok(at + found.trailing_zeros() as usize);
                }
                at += GROUP;
            }
            Err(at)
        }

        struct Constants {
            k: [Words; 5],
            c: Words,
            d: Words,
            hash: Words,
            older: Words,
        }

        impl Constants {
            #[inline]
            #[target_feature(enable = $features)]
            fn new(masks: Masks) -> Self {
                Constants {
                    k: [
                        splat(power(1)),
                        splat(power(2)),
                        splat(power(4)),
                        splat(power(8)),
                        splat(power(16)),
                    ],
                    c: splat(C),
                    d: splat(D),
                    hash: splat(masks.hash),
                    older: splat(masks.older),
                }
            }
        }

        /// The sums of the steps before, by the bytes they are over.
        struct Sums {
            two: Words,
            four: Words,
            eight: Words,
            sixteen: Words,
            all: Words,
            /// Those over 32 bytes two steps ago.
            all_earlier: Words,
        }

        impl Sums {
            #[inline]
            #[target_feature(enable = $features)]
            fn new() -> Self {
                let zero = splat(0);
                Sums {
                    two: zero,
                    four: zero,
                    eight: zero,
                    sixteen: zero,
                    all: zero,
                    all_earlier: zero,
                }
            }
        }

        /// Lanes of zero are borders.
        #[inline]
        #[target_feature(enable = $features)]
        fn step(sums: &mut Sums, constants: &Constants, newest: Words, before: Words) -> Words {
            let Constants { k, c, d, hash, older } = constants;
            let two = add(newest, multiply(before, k[0]));
            let four = add(two, multiply(back2(two, sums.two), k[1]));
            let eight = add(four, multiply(back4(four, sums.four), k[2]));
            let sixteen = add(eight, multiply(back8(eight, sums.eight), k[3]));
            let all = add(sixteen, multiply(back16(sixteen, sums.sixteen), k[4]));
            let before = back32(sums.all, sums.all_earlier);
            *sums = Sums {
                two,
                four,
                eight,
                sixteen,
                all,
                all_earlier: sums.all,
            };
            let sum = add(all, multiply_high(before, *c));
            or(and(xor(sum, *d), *hash), and(before, *older))
        }
    };
}

/// AVX2.
pub(super) mod avx2 {
    use super::*;
    use std::arch::x86_64::*;

    const LANES: usize = 16;
    type Words = __m256i;

    kernel!("avx2", "avx2");

    /// One bit for each place of a group, the first lowest: whether it may be a border.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn group(sums: &mut Sums, constants: &Constants, newest: &[u8; GROUP], before: &[u8; GROUP]) -> u64 {
        let (newest, _) = newest.as_chunks::<LANES>();
        let (before, _) = before.as_chunks::<LANES>();
        let zero = _mm256_setzero_si256();
        let mut lanes = [zero; GROUP / LANES];
        for (lanes, (newest, before)) in lanes.iter_mut().zip(newest.iter().zip(before)) {
            *lanes = _mm256_cmpeq_epi16(step(sums, constants, words(newest), words(before)), zero);
        }
        let any = or(or(lanes[0], lanes[1]), or(lanes[2], lanes[3]));
        if _mm256_testz_si256(any, any) == 1 {
            return 0;
        }
        // Packing works on halves, so the quarters have to be put in order.
        let low = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(lanes[0], lanes[1]));
        let high = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(lanes[2], lanes[3]));
        let bits = |bytes| u64::from(_mm256_movemask_epi8(bytes).cast_unsigned());
        (bits(high) << 32) | bits(low)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn splat(word: u16) -> Words {
        _mm256_set1_epi16(word.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn words(bytes: &[u8; LANES]) -> Words {
        // SAFETY: `bytes` is 16 readable bytes, and an unaligned load asks for no more.
        let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
        _mm256_cvtepu8_epi16(bytes)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(a: Words, b: Words) -> Words {
        _mm256_add_epi16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn multiply(a: Words, b: Words) -> Words {
        _mm256_mullo_epi16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn multiply_high(a: Words, b: Words) -> Words {
        _mm256_mulhi_epu16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn and(a: Words, b: Words) -> Words {
        _mm256_and_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn or(a: Words, b: Words) -> Words {
        _mm256_or_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor(a: Words, b: Words) -> Words {
        _mm256_xor_si256(a, b)
    }

    /// The high half of `previous`, the low half of `now`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn middle(now: Words, previous: Words) -> Words {
        _mm256_permute2x128_si256(previous, now, 0x21)
    }

    /// For each lane the one two places before.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn back2(now: Words, previous: Words) -> Words {
        _mm256_alignr_epi8(now, middle(now, previous), 16 - 2 * 2)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn back4(now: Words, previous: Words) -> Words {
        _mm256_alignr_epi8(now, middle(now, previous), 16 - 2 * 4)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn back8(now: Words, previous: Words) -> Words {
        middle(now, previous)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn back16(_now: Words, previous: Words) -> Words {
        previous
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn back32(_previous: Words, earlier: Words) -> Words {
        earlier
    }
}

/// AVX-512.
pub(super) mod avx512 {
    use super::*;
    use std::arch::x86_64::*;

    const LANES: usize = 32;
    type Words = __m512i;

    kernel!("avx512f,avx512bw", "avx512f", "avx512bw");

    /// One bit for each place of a group, the first lowest: whether it may be a border.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn group(sums: &mut Sums, constants: &Constants, newest: &[u8; GROUP], before: &[u8; GROUP]) -> u64 {
        let (newest, _) = newest.as_chunks::<LANES>();
        let (before, _) = before.as_chunks::<LANES>();
        let mut places = 0;
        for (at, (newest, before)) in newest.iter().zip(before).enumerate() {
            let lanes = step(sums, constants, words(newest), words(before));
            places |= u64::from(_mm512_testn_epi16_mask(lanes, lanes)) << (at * LANES);
        }
        places
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn splat(word: u16) -> Words {
        _mm512_set1_epi16(word.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn words(bytes: &[u8; LANES]) -> Words {
        // SAFETY: `bytes` is 32 readable bytes, and an unaligned load asks for no more.
        let bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
        _mm512_cvtepu8_epi16(bytes)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn add(a: Words, b: Words) -> Words {
        _mm512_add_epi16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn multiply(a: Words, b: Words) -> Words {
        _mm512_mullo_epi16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn multiply_high(a: Words, b: Words) -> Words {
        _mm512_mulhi_epu16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn and(a: Words, b: Words) -> Words {
        _mm512_and_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn or(a: Words, b: Words) -> Words {
        _mm512_or_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn xor(a: Words, b: Words) -> Words {
        _mm512_xor_si512(a, b)
    }

    /// For each lane the one two places before.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn back2(now: Words, previous: Words) -> Words {
        _mm512_alignr_epi32(now, previous, 16 - 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn back4(now: Words, previous: Words) -> Words {
        _mm512_alignr_epi64(now, previous, 8 - 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn back8(now: Words, previous: Words) -> Words {
        _mm512_alignr_epi64(now, previous, 8 - 2)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn back16(now: Words, previous: Words) -> Words {
        _mm512_alignr_epi64(now, previous, 8 - 4)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn back32(previous: Words, _earlier: Words) -> Words {
        previous
    }
}
