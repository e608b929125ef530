//! Sixteen lanes in plain Rust: the same steps as the AVX-512 kernel, testable on every machine.

use super::{BLOCK_BYTES, Job, Mode};

const LANES: usize = 16;
type Words = [u32; LANES];

pub(super) fn compress(mode: &Mode, jobs: &[Job<'_>], out: &mut [[u8; 32]]) {
    compress_lanes(mode, jobs, out);
}

lanes_kernel!();

fn splat(word: u32) -> Words {
    [word; LANES]
}

fn words(words: &[u32; LANES]) -> Words {
    *words
}

fn add(a: Words, b: Words) -> Words {
    std::array::from_fn(|lane| a[lane].wrapping_add(b[lane]))
}

fn xor(a: Words, b: Words) -> Words {
    std::array::from_fn(|lane| a[lane] ^ b[lane])
}

fn rotate16(a: Words) -> Words {
    a.map(|word| word.rotate_right(16))
}

fn rotate12(a: Words) -> Words {
    a.map(|word| word.rotate_right(12))
}

fn rotate8(a: Words) -> Words {
    a.map(|word| word.rotate_right(8))
}

fn rotate7(a: Words) -> Words {
    a.map(|word| word.rotate_right(7))
}

fn rounds(v: &mut [Words; 16], m: &[Words; 16]) {
    rounds!(v, m);
}

fn select(mask: Words, yes: Words, no: Words) -> Words {
    std::array::from_fn(|lane| (yes[lane] & mask[lane]) | (no[lane] & !mask[lane]))
}

fn message(blocks: &[&[u8; BLOCK_BYTES]; LANES]) -> [Words; 16] {
    std::array::from_fn(|word| {
        std::array::from_fn(|lane| u32::from_le_bytes(blocks[lane].as_chunks::<4>().0[word]))
    })
}

fn finish(h: [Words; 8]) -> [[u8; 32]; LANES] {
    std::array::from_fn(|lane| {
        let mut value = [0; 32];
        for (bytes, word) in value.as_chunks_mut::<4>().0.iter_mut().zip(h) {
            *bytes = word[lane].to_le_bytes();
        }
        value
    })
}
