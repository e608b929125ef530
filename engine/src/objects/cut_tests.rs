//! Tests of the cutting rule: against its definition, at every level, and for what it is there to do.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::objects::testing::noise;

/// The definition of FORMAT.md, word for word and one place after the other.
fn by_definition(data: &[u8]) -> usize {
    if data.len() <= 16_384 {
        return data.len();
    }
    let end = data.len().min(262_144);
    let sum = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum: u32, byte| (sum * 39_685 + u32::from(*byte)) % 65_536)
    };
    for place in 16_384..end {
        let newer = sum(&data[place - 32..place]);
        let older = sum(&data[place - 64..place - 32]);
        let hash = (newer + older * 62_778 / 65_536) % 65_536;
        let found = match place {
            ..65_536 => hash == 8067 && older < 16_384,
            _ => hash / 4 == 8067 / 4,
        };
        if found {
            return place;
        }
    }
    end
}

fn lengths(data: &[u8]) -> Vec<usize> {
    let mut rest = data;
    std::iter::from_fn(|| {
        let bytes = cut(rest);
        rest = &rest[bytes..];
        (bytes > 0).then_some(bytes)
    })
    .collect()
}

/// All levels say the same, and it is returned.
fn agreed(data: &[u8]) -> usize {
    let bytes = cut_at(Level::Plain, data);
    for level in Level::supported().into_iter().skip(1) {
        assert_eq!(cut_at(level, data), bytes, "{level:?}, {} bytes", data.len());
    }
    bytes
}

/// Repeats of a short pattern, words of a small alphabet, or noise.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        0usize..300_000,
        (0usize..70).prop_map(|blocks| 4096 * blocks),
        16_300usize..16_600
    ];
    let pattern = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..80),
        (any::<u64>(), 1u8..=255).prop_map(|(seed, most)| {
            let mut bytes = noise(300_000, seed);
            bytes.iter_mut().for_each(|byte| *byte %= most);
            bytes
        }),
        any::<u64>().prop_map(|seed| noise(300_000, seed)),
    ];
    (length, pattern).prop_map(|(length, pattern)| pattern.into_iter().cycle().take(length).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Goal: a level never cuts elsewhere than another. Method: random lengths of noise, small alphabets and patterns.
    #[test]
    fn levels_agree(data in data()) {
        let mut rest = &data[..];
        while !rest.is_empty() {
            rest = &rest[agreed(rest)..];
        }
    }
}

/// Goal: the code is the documented definition. Method: noise, text and a small alphabet, cut by both, with lengths
/// around every bound.
#[test]
fn code_follows_the_definition() {
    let text: Vec<u8> = (0..30_000)
        .flat_map(|line: u32| format!("{line}: {}\n", line.pow(2)).into_bytes())
        .collect();
    let letters: Vec<u8> = noise(300_000, 4)
        .iter()
        .map(|byte| b"ACGT"[usize::from(byte % 4)])
        .collect();
    for content in [noise(600_000, 3), text, letters] {
        let mut rest = &content[..];
        while !rest.is_empty() {
            let bytes = by_definition(rest);
            assert_eq!(agreed(rest), bytes);
            rest = &rest[bytes..];
        }
    }
}

/// Goal: bounds and ends of vectors are exact. Method: data that ends at a border, a byte before and after it, and around
/// the groups and blocks of the search, at every level.
#[test]
fn ends_are_exact() {
    let content = noise(300_000, 8);
    let border = by_definition(&content);
    assert!((20_000..250_000).contains(&border), "{border}");
    let smallest = CHUNK_BYTES[0];
    let around = [
        border,
        smallest,
        smallest + WINDOW_BYTES,
        smallest + BLOCK,
        smallest + 2 * BLOCK,
        CHUNK_BYTES[1],
    ];
    for end in around.into_iter().flat_map(|at| at - 2..at + 3) {
        assert_eq!(agreed(&content[..end]), border.min(end), "{end}");
    }
    assert_eq!(agreed(&[]), 0);
}

/// Goal: a border may be at every place from the smallest length on, the first and the last included, and only there.
/// Method: the 64 bytes before a border found in noise, moved to each of some places in data without a border.
#[test]
fn borders_are_found_everywhere() {
    let content = noise(1 << 20, 5);
    let mut end = 0;
    for bytes in lengths(&content) {
        end += bytes;
        if bytes < CHUNK_BYTES[1] {
            break;
        }
    }
    let window = &content[end - WINDOW_BYTES..end];
    let [min, average, max] = CHUNK_BYTES;
    for place in (min..min + 140)
        .chain(average - 70..average + 70)
        .chain(max - 70..max + 1)
    {
        let mut data = vec![1; max + 100];
        data[place - WINDOW_BYTES..place].copy_from_slice(window);
        assert_eq!(agreed(&data), place, "{place}");
    }
    let mut data = vec![1; max + 100];
    data[min - 1 - WINDOW_BYTES..min - 1].copy_from_slice(window);
    assert_eq!(agreed(&data), max, "a border before the smallest length is none");
}

/// Goal: runs of one byte, the commonest data without content, have no border inside. Method: each of the 256 bytes, as
/// far as the loose masks reach.
#[test]
fn runs_of_one_byte_have_no_border() {
    for byte in 0..=255 {
        let data = vec![byte; CHUNK_BYTES[1] + 300];
        assert_eq!(agreed(&data), data.len(), "{byte}");
    }
}

/// Goal: nobody cuts elsewhere by mistake, which would end deduplication with everything stored before. Method: the
/// lengths for fixed contents, written down.
#[test]
fn cuts_are_part_of_the_format() {
    let text: Vec<u8> = (0..60_000)
        .flat_map(|line| format!("line {line}\n").into_bytes())
        .collect();
    let known: [(Vec<u8>, &[usize]); 3] = [
        (
            noise(1 << 20, 42),
            &[
                87_011, 65_330, 45_700, 91_780, 73_184, 69_168, 60_660, 78_182, 17_353, 20_597, 114_399,
                46_397, 77_118, 54_426, 84_342, 62_929,
            ],
        ),
        (
            text,
            &[
                106_982, 68_209, 66_116, 45_729, 75_857, 47_866, 79_726, 72_661, 73_079, 12_665,
            ],
        ),
        (
            noise(400_000, 6).iter().map(|byte| byte & 1).collect(),
            &[66_518, 93_772, 71_892, 90_406, 77_412],
        ),
    ];
    for (content, known) in known {
        assert_eq!(lengths(&content), known);
    }
}

/// Goal: chunks are as long as planned: 73 KiB on average where bytes are random. Method: 16 MiB of noise.
#[test]
fn lengths_are_as_planned() {
    let lengths = lengths(&noise(16 << 20, 1));
    let average = (16 << 20) / lengths.len();
    assert!((67_000..83_000).contains(&average), "{average}");
    let longer = lengths
        .iter()
        .filter(|bytes| **bytes > 2 * CHUNK_BYTES[1])
        .count();
    assert!(longer * 20 < lengths.len(), "{longer} of {}", lengths.len());
}

/// Goal: edits cost no more than with FastCDC, the rule before. Method: insertions, deletions and overwritten places in
/// noise; the bytes of different chunks over all versions, for both rules at their settings.
#[test]
fn edits_are_found_as_well_as_by_fastcdc() {
    let mut versions = vec![noise(8 << 20, 9)];
    for version in 0..6 {
        let mut content = versions[version].clone();
        for edit in 0..5 {
            let seed = (version * 5 + edit) as u64;
            let at = usize::from_le_bytes(noise(8, seed).try_into().expect("eight bytes"))
                % (content.len() - 5000);
            let new = noise(200 * edit + 1, seed + 99);
            match edit % 3 {
                0 => drop(content.splice(at..at, new)),
                1 => drop(content.drain(at..at + new.len())),
                _ => content[at..at + new.len()].copy_from_slice(&new),
            }
        }
        versions.push(content);
    }
    let ours = different(&versions, cut);
    let theirs = different(&versions, first::cut);
    assert!(ours * 100 <= theirs * 105, "{ours} bytes, {theirs} by FastCDC");
    assert!(ours < 14 << 20, "{ours} bytes of {}", versions.len() * (8 << 20));
}

/// Bytes of the different chunks of all versions.
fn different(versions: &[Vec<u8>], cut: impl Fn(&[u8]) -> usize) -> usize {
    let mut seen = HashSet::new();
    for version in versions {
        let mut rest = &version[..];
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(cut(rest));
            seen.insert(chunk);
            rest = later;
        }
    }
    seen.iter().map(|chunk| chunk.len()).sum()
}
