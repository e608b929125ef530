//! SipHash-2-4 with 128 bits of result (Aumasson and Bernstein, 2012), of messages of one length: of one by itself, or of
//! [`LANES`] messages in lockstep, one to a lane of vector registers.
//!
//! The steps are written once, over arrays of lanes, of which the compiler makes vector instructions. Invariant: what a
//! message's image is does not depend on its neighbours or on the processor.
//! Rejected: the `siphasher` crate for this (one message at a time: 22 ns each, where a group takes 9 with AVX-512; tests
//! compare with it); AVX2 (no rotation and half the registers: 26 ns each).
#![allow(unsafe_code, reason = "calls a function that needs AVX-512")]
// Reason: it may be called only where the processor has the instructions, which is asked just before.

/// Words of a message, with its last, partial one.
pub(super) const WORDS: usize = 5;
/// Messages of a group.
pub(super) const LANES: usize = 8;

/// The secret key, as little-endian words.
pub(super) type SipKey = [u64; 2];

/// A word of every message.
type Row<const N: usize> = [u64; N];

/// The image of one message, its first half first. The highest byte of the last word has to be the length in bytes.
#[inline]
pub(super) fn image(key: SipKey, message: [u64; WORDS]) -> [u64; 2] {
    images(key, &message.map(|word| [word])).map(|[half]| half)
}

/// The images of a group of messages.
#[inline]
pub(super) fn images_of_group(key: SipKey, messages: &[Row<LANES>; WORDS]) -> [Row<LANES>; 2] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has it.
        return unsafe { images_avx512(key, messages) };
    }
    one_by_one(key, messages)
}

fn one_by_one(key: SipKey, messages: &[Row<LANES>; WORDS]) -> [Row<LANES>; 2] {
    let mut images = [[0; LANES]; 2];
    for lane in 0..LANES {
        let [first, second] = image(key, messages.map(|row| row[lane]));
        images[0][lane] = first;
        images[1][lane] = second;
    }
    images
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn images_avx512(key: SipKey, messages: &[Row<LANES>; WORDS]) -> [Row<LANES>; 2] {
    images(key, messages)
}

/// Inlined, so that it is compiled for the instructions of each caller.
#[inline(always)]
fn images<const N: usize>([k0, k1]: SipKey, messages: &[Row<N>; WORDS]) -> [Row<N>; 2] {
    let mut state = [
        [k0 ^ 0x736f_6d65_7073_6575; N],
        // For results of 128 bits.
        [k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee; N],
        [k0 ^ 0x6c79_6765_6e65_7261; N],
        [k1 ^ 0x7465_6462_7974_6573; N],
    ];
    for words in messages {
        state[3] = xor(state[3], *words);
        rounds(&mut state, 2);
        state[0] = xor(state[0], *words);
    }
    state[2] = xor(state[2], [0xee; N]);
    rounds(&mut state, 4);
    let first = fold(state);
    state[1] = xor(state[1], [0xdd; N]);
    rounds(&mut state, 4);
    [first, fold(state)]
}

#[inline(always)]
fn rounds<const N: usize>(state: &mut [Row<N>; 4], count: usize) {
    let [mut a, mut b, mut c, mut d] = *state;
    for _ in 0..count {
        a = add(a, b);
        c = add(c, d);
        b = xor(rotate(b, 13), a);
        d = xor(rotate(d, 16), c);
        a = rotate(a, 32);
        c = add(c, b);
        a = add(a, d);
        b = xor(rotate(b, 17), c);
        d = xor(rotate(d, 21), a);
        c = rotate(c, 32);
    }
    *state = [a, b, c, d];
}

#[inline(always)]
fn fold<const N: usize>([a, b, c, d]: [Row<N>; 4]) -> Row<N> {
    xor(xor(a, b), xor(c, d))
}

#[inline(always)]
fn add<const N: usize>(a: Row<N>, b: Row<N>) -> Row<N> {
    std::array::from_fn(|lane| a[lane].wrapping_add(b[lane]))
}

#[inline(always)]
fn xor<const N: usize>(a: Row<N>, b: Row<N>) -> Row<N> {
    std::array::from_fn(|lane| a[lane] ^ b[lane])
}

#[inline(always)]
fn rotate<const N: usize>(a: Row<N>, bits: u32) -> Row<N> {
    a.map(|word| word.rotate_left(bits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use siphasher::sip128::SipHasher24;

    use super::*;

    /// Bytes whose words with their length are a message.
    const BYTES: usize = WORDS * 8 - 3;

    fn words(bytes: &[u8; BYTES]) -> [u64; WORDS] {
        let mut padded = [0; WORDS * 8];
        padded[..BYTES].copy_from_slice(bytes);
        padded[WORDS * 8 - 1] = BYTES as u8; // a few
        std::array::from_fn(|word| {
            u64::from_le_bytes(padded[word * 8..][..8].try_into().expect("eight bytes"))
        })
    }

    fn by_the_library(key: SipKey, bytes: &[u8; BYTES]) -> [u64; 2] {
        let mut raw = [0; 16];
        raw[..8].copy_from_slice(&key[0].to_le_bytes());
        raw[8..].copy_from_slice(&key[1].to_le_bytes());
        let image = SipHasher24::new_with_key(&raw).hash(bytes);
        [image.h1, image.h2]
    }

    proptest! {
        /// Goal: every way gives what the library gives. Method: random keys and messages, all lanes different, by
        /// each way that the processor has.
        #[test]
        fn images_are_those_of_the_library(
            key: SipKey,
            all in proptest::collection::vec(proptest::array::uniform::<_, BYTES>(any::<u8>()), LANES),
        ) {
            let expected: Vec<[u64; 2]> = all.iter().map(|bytes| by_the_library(key, bytes)).collect();
            let mut messages = [[0; LANES]; WORDS];
            for (lane, bytes) in all.iter().enumerate() {
                prop_assert_eq!(image(key, words(bytes)), expected[lane]);
                for (row, word) in messages.iter_mut().zip(words(bytes)) {
                    row[lane] = word;
                }
            }
            let ways = [images_of_group(key, &messages), one_by_one(key, &messages), images(key, &messages)];
            for [first, second] in ways {
                for (lane, expected) in expected.iter().enumerate() {
                    prop_assert_eq!(&[first[lane], second[lane]], expected);
                }
            }
        }
    }
}
