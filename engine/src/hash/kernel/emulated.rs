//! Sixteen lanes, or rows of four inputs, in plain Rust: the same steps as the AVX-512 kernel, testable on every machine.

use super::{BLOCK_BYTES, Job, Mode};

const LANES: usize = 16;
const INPUTS: usize = 4;
type Words = [u32; LANES];

pub(super) fn compress(mode: &Mode, jobs: &[Job<'_>], out: &mut [[u8; 32]]) {
    for group in jobs.chunks(LANES) {
        match group.len() {
            ..=4 => compress_rows::<1>(mode, group, out),
            5..=8 => compress_rows::<2>(mode, group, out),
            _ => compress_lanes(mode, group, out),
        }
    }
}

lanes_kernel!();
rows_kernel!();

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

fn parts(blocks: &[&[u8; BLOCK_BYTES]; INPUTS], at: usize) -> Words {
    let word = |input: usize, word: usize| u32::from_le_bytes(blocks[input].as_chunks::<4>().0[word]);
    std::array::from_fn(|to| word(to / 4, at * 4 + to % 4))
}

fn transpose(rows: [Words; 4]) -> [Words; 4] {
    std::array::from_fn(|column| std::array::from_fn(|at| rows[at % 4][at / 4 * 4 + column]))
}

fn prefetch(_: *const [u8; BLOCK_BYTES]) {}

fn load_rows(rows: &[[u32; 4]; INPUTS]) -> Words {
    std::array::from_fn(|word| rows[word / 4][word % 4])
}

fn store_rows(rows: Words) -> [[u8; 16]; INPUTS] {
    let bytes = rows.map(u32::to_le_bytes);
    std::array::from_fn(|input| std::array::from_fn(|byte| bytes[input * 4 + byte / 4][byte % 4]))
}

/// Which word an order of four two-bit numbers has at this place.
fn chosen(order: i32, place: usize) -> usize {
    (order >> (2 * place) & 3) as usize
}

fn turn<const ORDER: i32>(row: Words) -> Words {
    std::array::from_fn(|at| row[at / 4 * 4 + chosen(ORDER, at % 4)])
}

fn pair<const ORDER: i32>(a: Words, b: Words) -> Words {
    std::array::from_fn(|at| if at % 4 < 2 { a } else { b }[at / 4 * 4 + chosen(ORDER, at % 4)])
}

fn even_over(below: Words, above: Words) -> Words {
    std::array::from_fn(|at| if at % 2 == 0 { above[at] } else { below[at] })
}

fn ends_over(below: Words, above: Words) -> Words {
    std::array::from_fn(|at| {
        if matches!(at % 4, 0 | 3) {
            above[at]
        } else {
            below[at]
        }
    })
}

fn where_last(now: Words, end: Words, last: Words, full: Words) -> Words {
    std::array::from_fn(|at| if now[at] == end[at] { last[at] } else { full[at] })
}

fn until_last(now: Words, end: Words, new: Words, old: Words) -> Words {
    std::array::from_fn(|at| if now[at] <= end[at] { new[at] } else { old[at] })
}
