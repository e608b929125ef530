//! Tests of hashing: the official vectors and the `blake3` crate as oracle, at every SIMD level.

use proptest::prelude::*;

use super::kernel::Level;
use super::*;

/// Every level this machine can run, and the emulated one.
fn levels() -> Vec<Level> {
    let mut levels = Level::supported();
    levels.push(Level::Emulated);
    levels
}

const CONTEXTS: [Context; 5] = [
    Context::Plain,
    Context::Node,
    Context::Commit,
    Context::VolumeNode,
    Context::ManifestPart,
];

/// The context under which the official vectors are derived.
const OFFICIAL_CONTEXT: &str = "BLAKE3 2019-12-27 16:29:52 test vectors context";

/// What the crate makes of it.
fn oracle(context: Context, bytes: &[u8]) -> ContentId {
    ContentId(match context.text() {
        None => *blake3::hash(bytes).as_bytes(),
        Some(text) => blake3::derive_key(text, bytes),
    })
}

struct Vector {
    input: Vec<u8>,
    hash: ContentId,
    derived: ContentId,
}

/// The official BLAKE3 vectors (first 32 bytes of each output): length, hash, hash under [`OFFICIAL_CONTEXT`].
fn official() -> Vec<Vector> {
    let lines = include_str!("vectors.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'));
    let vectors: Vec<Vector> = lines
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let bytes: usize = fields[0].parse().expect("length");
            Vector {
                input: (0..bytes).map(|at| (at % 251) as u8).collect(),
                hash: fields[1].parse().expect("hash"),
                derived: fields[2].parse().expect("derived hash"),
            }
        })
        .collect();
    assert_eq!(vectors.len(), 35, "the official file has 35 cases");
    vectors
}

fn derived_at(level: Level, contents: &[&[u8]]) -> Vec<ContentId> {
    let key = blake3::hazmat::hash_derive_key_context(OFFICIAL_CONTEXT);
    let one = |bytes: &[u8]| {
        use blake3::hazmat::HasherExt;
        *blake3::Hasher::new_from_context_key(&key)
            .update(bytes)
            .finalize()
            .as_bytes()
    };
    let hashes = batch::hashes(level, &context::derived(&key), contents, one);
    hashes.into_iter().map(ContentId).collect()
}

/// Goal: our plain and derived hashing are BLAKE3. Method: each official vector by itself, whole and streamed in
/// uneven pieces; then repeated into a batch of its own (so that even the shortest fills lanes).
#[test]
fn official_vectors_one_by_one() {
    for Vector { input, hash, derived } in official() {
        assert_eq!(content_id(&input), hash, "{} bytes", input.len());
        let mut hasher = Hasher::new();
        for piece in input.chunks(997) {
            hasher.update(piece);
        }
        assert_eq!(hasher.finish(), hash, "{} bytes streamed", input.len());
        for level in levels() {
            assert_eq!(
                id_at(level, Context::Plain, &input),
                hash,
                "{} bytes, {level:?}",
                input.len()
            );
            let batch = vec![&input[..]; 5];
            assert_eq!(
                ids_at(level, Context::Plain, &batch),
                [hash; 5],
                "{} bytes, {level:?}",
                input.len()
            );
            assert_eq!(
                derived_at(level, &batch),
                [derived; 5],
                "{} bytes, {level:?}",
                input.len()
            );
        }
    }
}

/// Goal: contents of a batch do not disturb each other. Method: all official vectors in one batch, in both orders.
#[test]
fn official_vectors_as_one_batch() {
    let mut vectors = official();
    for _ in 0..2 {
        let inputs: Vec<&[u8]> = vectors.iter().map(|vector| &vector.input[..]).collect();
        let expected: Vec<ContentId> = vectors.iter().map(|vector| vector.hash).collect();
        let derived: Vec<ContentId> = vectors.iter().map(|vector| vector.derived).collect();
        for level in levels() {
            assert_eq!(ids_at(level, Context::Plain, &inputs), expected, "{level:?}");
            assert_eq!(derived_at(level, &inputs), derived, "{level:?}");
        }
        vectors.reverse();
    }
}

/// Goal: every tail length, chunk boundary and lane position is right. Method: a batch of all lengths from 0 to
/// 3 chunks and a bit against the crate, under a context and plain.
#[test]
fn every_length_up_to_three_chunks() {
    let input: Vec<u8> = (0..3200u32).map(|at| ((at * 31) >> 3) as u8).collect();
    let contents: Vec<&[u8]> = (0..=input.len()).map(|bytes| &input[..bytes]).collect();
    for context in [Context::Plain, Context::Node] {
        let expected: Vec<ContentId> = contents.iter().map(|bytes| oracle(context, bytes)).collect();
        for level in levels() {
            assert_eq!(ids_at(level, context, &contents), expected, "{level:?}");
        }
    }
}

/// Goal: a content by itself is right, whichever way it goes, and our way is right also where it is not the one taken.
/// Method: every length of up to nine chunks at every level.
#[test]
fn every_length_by_itself() {
    let input: Vec<u8> = (0..9300u32).map(|at| ((at * 37) >> 3) as u8).collect();
    for context in [Context::Plain, Context::Node] {
        let mut ours = 0;
        for bytes in 0..=input.len() {
            let expected = oracle(context, &input[..bytes]);
            for level in levels() {
                assert_eq!(
                    id_at(level, context, &input[..bytes]),
                    expected,
                    "{bytes} bytes, {level:?}"
                );
                if level != Level::Single && (1025..=one::CHUNKS * 1024).contains(&bytes) {
                    let hash = one::hash(level, &context.mode(), &input[..bytes]);
                    assert_eq!(hash, expected.0, "{bytes} bytes, {level:?}");
                }
                ours += u32::from(one::suits(level, bytes));
            }
        }
        assert!(ours > 1000, "our way was taken {ours} times");
    }
}

/// Goal: groups of every size end at their own blocks, in whichever registers they are put. Method: batches of 2 to 20
/// contents whose lengths have nothing in common, forwards and backwards.
#[test]
fn every_number_of_contents() {
    let input: Vec<u8> = (0..4000u32).map(|at| ((at * 41) >> 3) as u8).collect();
    for count in 2..=20 {
        let mut contents: Vec<&[u8]> = (0..count).map(|at| &input[at..at + (at * 397) % 1100]).collect();
        for _ in 0..2 {
            let expected: Vec<ContentId> = contents
                .iter()
                .map(|bytes| oracle(Context::Node, bytes))
                .collect();
            for level in levels() {
                assert_eq!(
                    ids_at(level, Context::Node, &contents),
                    expected,
                    "{count} contents, {level:?}"
                );
            }
            contents.reverse();
        }
    }
}

/// Goal: no two uses share an id, and none but the plain one is plain BLAKE3. Method: the same bytes under all.
#[test]
fn contexts_are_apart() {
    let bytes = b"the same bytes";
    let mut seen: Vec<ContentId> = CONTEXTS.iter().map(|context| id(*context, bytes)).collect();
    assert_eq!(seen[0].0, *blake3::hash(bytes).as_bytes());
    for (context, id) in CONTEXTS.iter().zip(&seen).skip(1) {
        assert_eq!(id.0, blake3::derive_key(context.text().expect("derived"), bytes));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), CONTEXTS.len());
}

/// Goal: holes hash as the zeros they stand for. Method: compare with real zeros around the piece size.
#[test]
fn zeroes_hash_as_bytes() {
    for count in [0, 1, 65_535, 65_536, 65_537, 1_000_000] {
        let mut holes = Hasher::new();
        holes.update(b"before").update_zeroes(count).update(b"after");
        let bytes = [&b"before"[..], &vec![0; count as usize], b"after"].concat();
        assert_eq!(holes.finish(), content_id(&bytes), "{count}");
    }
}

fn ragged() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let length = prop_oneof![
        4 => 0usize..=5000,
        2 => 700usize..=1100,
        1 => (0usize..=9, 0usize..=2).prop_map(|(chunks, more)| (chunks * 1024 + more).saturating_sub(1)),
        1 => 60_000usize..=70_000,
    ];
    let content = (length, any::<u64>()).prop_map(|(bytes, seed)| {
        let mut state = seed | 1;
        let next = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..bytes).map(next).collect()
    });
    prop::collection::vec(content, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Goal: any ragged batch under any context hashes as the crate hashes each content. Method: random batches
    /// at every level; proptest prints the failing batch and keeps its seed.
    #[test]
    fn ragged_batches_equal_the_oracle(contents in ragged(), context in 0..CONTEXTS.len()) {
        let context = CONTEXTS[context];
        let contents: Vec<&[u8]> = contents.iter().map(|bytes| &bytes[..]).collect();
        let expected: Vec<ContentId> = contents.iter().map(|bytes| oracle(context, bytes)).collect();
        for level in levels() {
            prop_assert_eq!(&ids_at(level, context, &contents), &expected, "{:?}", level);
        }
    }
}

/// Goal: windows join seamlessly. Method: more chunks than one window holds, with lengths on its border.
#[test]
fn batches_larger_than_a_window() {
    let input: Vec<u8> = (0..60_000u32).map(|at| (at ^ (at >> 7)) as u8).collect();
    let contents: Vec<&[u8]> = (0..400).map(|at| &input[at..at + (at * 7919) % 59_000]).collect();
    let expected: Vec<ContentId> = contents
        .iter()
        .map(|bytes| oracle(Context::Plain, bytes))
        .collect();
    for level in levels() {
        assert_eq!(ids_at(level, Context::Plain, &contents), expected, "{level:?}");
    }
}

/// Goal: contents of whole chunks, which are not sorted, are as right as others, also in several windows. Method: 1 to 40
/// chunks each, more than two windows hold.
#[test]
fn batches_of_whole_chunks() {
    let input: Vec<u8> = (0..60_000u32).map(|at| (at ^ (at >> 5)) as u8).collect();
    let contents: Vec<&[u8]> = (0..250)
        .map(|at| &input[at..at + 1024 * (1 + at * 17 % 40)])
        .collect();
    let expected: Vec<ContentId> = contents
        .iter()
        .map(|bytes| oracle(Context::Plain, bytes))
        .collect();
    for level in levels() {
        assert_eq!(ids_at(level, Context::Plain, &contents), expected, "{level:?}");
    }
}
