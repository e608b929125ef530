//! Tests of the chunker against a plain description of its rules, and against the ways bytes can arrive.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Chunk(usize),
    Hole(u64),
}

/// Bytes that look random, from a seed.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// The rules of the module, on a whole content, without regard to speed.
fn expected(content: &[u8]) -> Vec<Piece> {
    let blocks: Vec<&[u8]> = content.chunks(UNIT_BYTES).collect();
    let is_zero = |at: usize| blocks[at].iter().all(|byte| *byte == 0);
    let mut pieces = Vec::new();
    let mut data = Vec::new();
    let mut at = 0;
    while at < blocks.len() {
        let run = (at..blocks.len()).take_while(|at| is_zero(*at)).count();
        let bytes: usize = blocks[at..at + run].iter().map(|block| block.len()).sum();
        if bytes >= HOLE_BYTES_MIN {
            cut_data(&std::mem::take(&mut data), &mut pieces);
            pieces.push(Piece::Hole(bytes as u64));
            at += run;
        } else {
            for block in &blocks[at..at + run.max(1)] {
                data.extend_from_slice(block);
            }
            at += run.max(1);
        }
    }
    cut_data(&data, &mut pieces);
    pieces
}

fn cut_data(mut data: &[u8], pieces: &mut Vec<Piece>) {
    while !data.is_empty() {
        let bytes = Rule::Second.cut(data);
        pieces.push(Piece::Chunk(bytes));
        data = &data[bytes..];
    }
}

/// Runs the chunker as a stream does: the window grows by the given sizes (repeated), told holes are not looked at.
fn streamed(content: &[u8], sizes: &[usize]) -> Vec<Piece> {
    let mut chunker = Chunker::new();
    let mut pieces = Vec::new();
    let mut window = Vec::new();
    let mut rest = content;
    let mut sizes = sizes.iter().cycle();
    loop {
        let size = (*sizes.next().expect("cycle")).min(rest.len());
        window.extend_from_slice(&rest[..size]);
        rest = &rest[size..];
        let end = rest.is_empty();
        loop {
            match chunker.next(&window, end) {
                Step::Chunk(bytes) => {
                    pieces.push(Piece::Chunk(bytes));
                    window.drain(..bytes);
                }
                Step::Zeros(bytes) => {
                    assert!(
                        window.drain(..bytes).all(|byte| byte == 0),
                        "only zeros are dropped"
                    );
                }
                Step::Hole(bytes) => pieces.push(Piece::Hole(bytes)),
                Step::More => break,
            }
        }
        assert!(
            window.len() <= CHUNK_BYTES[2] + HOLE_BYTES_MIN + UNIT_BYTES,
            "the undecided window is bounded"
        );
        if end {
            assert!(window.is_empty(), "at the end nothing is left");
            return pieces;
        }
    }
}

/// A content made of runs of noise and of zeros.
fn mixed(runs: &[(bool, usize)], seed: u64) -> Vec<u8> {
    let mut content = Vec::new();
    for (at, (zero, bytes)) in runs.iter().enumerate() {
        match zero {
            true => content.resize(content.len() + bytes, 0),
            false => content.extend(noise(*bytes, seed.wrapping_add(at as u64))),
        }
    }
    content
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Goal: cuts depend on bytes alone and follow the rules. Method: random runs of noise and zeros in random
    /// piece sizes against the plain description on the whole content.
    #[test]
    fn pieces_do_not_matter(
        runs in prop::collection::vec((any::<bool>(), prop_oneof![0usize..200_000, (0usize..40).prop_map(|n| n * 4096)]), 0..8),
        sizes in prop::collection::vec(prop_oneof![1000usize..5000, 10_000usize..400_000], 1..5),
        seed: u64,
    ) {
        let content = mixed(&runs, seed);
        prop_assert_eq!(streamed(&content, &sizes), expected(&content));
    }
}

/// Goal: the border cases of holes. Method: runs of zeros one block and one byte around the smallest hole, at the
/// start, in the middle and at the end, aligned and not.
#[test]
fn borders_of_holes() {
    for before in [0, 1, 4095, 4096, 300_000] {
        for zeros in [
            0,
            4096,
            HOLE_BYTES_MIN - 4096,
            HOLE_BYTES_MIN - 1,
            HOLE_BYTES_MIN,
            HOLE_BYTES_MIN + 1,
            80_000,
        ] {
            for after in [0, 1, 4096, 300_000] {
                let content = mixed(&[(false, before), (true, zeros), (false, after)], 7);
                assert_eq!(
                    streamed(&content, &[100_000]),
                    expected(&content),
                    "{before} {zeros} {after}"
                );
            }
        }
    }
}

/// Goal: zeros never become chunks of their own beyond the rule. Method: contents of zeros only.
#[test]
fn zeros_alone() {
    assert_eq!(
        streamed(&vec![0; HOLE_BYTES_MIN + 5], &[4096]),
        [Piece::Hole(HOLE_BYTES_MIN as u64 + 5)]
    );
    assert_eq!(
        streamed(&vec![0; HOLE_BYTES_MIN - 1], &[4096]),
        [Piece::Chunk(HOLE_BYTES_MIN - 1)]
    );
    assert_eq!(streamed(&[], &[4096]), []);
}

/// Goal: an insertion changes few chunks (that is what cutting by content is for). Method: insert three bytes near
/// the front of 8 MB and count chunks in common.
#[test]
fn an_insertion_moves_few_cuts() {
    let content = noise(8 << 20, 3);
    let edited = [&content[..100_000], b"new", &content[100_000..]].concat();
    let chunks = |content: &[u8]| {
        let mut at = 0;
        let mut found = std::collections::HashSet::new();
        for piece in expected(content) {
            if let Piece::Chunk(bytes) = piece {
                found.insert(content[at..at + bytes].to_vec());
                at += bytes;
            }
        }
        found
    };
    let (old, new) = (chunks(&content), chunks(&edited));
    assert!(old.len() > 50, "{}", old.len());
    assert!(new.difference(&old).count() <= 3);
}
