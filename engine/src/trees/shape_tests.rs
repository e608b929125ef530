use super::*;
use crate::limits::NODE_ENTRIES;

fn split(level: u8, names: &[Vec<u8>]) -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut records = 0;
    for name in names {
        if ends_before(level, records, name) {
            sizes.push(records);
            records = 0;
        }
        records += 1;
    }
    sizes.push(records);
    sizes
}

/// Goal: the key, the bits and the hash never change by accident. Method: golden answers.
#[test]
fn boundaries_are_a_constant_of_the_format() {
    let names: Vec<String> = (0..64).map(|index| format!("name-{index}")).collect();
    let bits = |level| {
        names.iter().fold(0u64, |bits, name| {
            bits << 1 | u64::from(begins(level, name.as_bytes()))
        })
    };
    assert_eq!([bits(0), bits(1), bits(2)], GOLDEN);
}

/// Answers for `name-0` to `name-63`, the first name in the highest bit, by level. SipHash-1-3 of the name under
/// the key (`helios 2`, level), both little-endian; a bit is set where the top three bits of the hash are zero.
const GOLDEN: [u64; 3] = [
    0x4080_0080_0440_0000,
    0x8000_0010_0012_1080,
    0x0002_0008_01a0_8280,
];

/// Goal: typical nodes have the typical number of records. Method: a large sample of names, every level.
#[test]
fn typical_nodes_have_the_typical_size() {
    let names: Vec<Vec<u8>> = (0..50_000)
        .map(|index| format!("file-{index:06}").into_bytes())
        .collect();
    for level in 0..4 {
        let sizes = split(level, &names);
        let average = names.len() as f64 / sizes.len() as f64;
        let typical = NODE_ENTRIES[1] as f64;
        assert!(
            (typical - 0.8..typical + 0.8).contains(&average),
            "level {level}: {average}"
        );
    }
}

/// Goal: names chosen by an enemy make nodes within the bounds. Method: grind names that all begin a node,
/// and names of which none does.
#[test]
fn ground_names_stay_within_the_bounds() {
    for begin in [true, false] {
        let names: Vec<Vec<u8>> = (0u32..)
            .map(|index| format!("{index:08}").into_bytes())
            .filter(|name| begins(0, name) == begin)
            .take(5_000)
            .collect();
        let sizes = split(0, &names);
        let (last, full) = sizes.split_last().unwrap();
        let bound = if begin { NODE_ENTRIES[0] } else { NODE_ENTRIES[2] };
        assert!(full.iter().all(|&size| size == bound));
        assert!(*last <= bound);
    }
}

/// Goal: levels split independently, so that a run of node-beginning names does not begin inner nodes as well.
/// Method: among names that begin a leaf, the usual share begins an inner node.
#[test]
fn levels_are_independent() {
    let beginners: Vec<String> = (0..80_000)
        .map(|index| format!("{index}"))
        .filter(|name| begins(0, name.as_bytes()))
        .collect();
    let both = beginners.iter().filter(|name| begins(1, name.as_bytes())).count();
    let share = both as f64 / beginners.len() as f64;
    assert!((0.11..0.14).contains(&share), "{share}");
}
