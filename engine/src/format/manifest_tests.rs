//! Tests of manifests: what is encoded is decoded, and nothing else is accepted.

use proptest::prelude::*;

use super::*;
use crate::format::layout_check::layout;

const CONTENT: ContentId = ContentId([7; 32]);

fn chunk(byte: u8, length: u32) -> Piece {
    Piece::Chunk {
        id: ContentId([byte; 32]),
        length,
    }
}

fn sample() -> Vec<Piece> {
    vec![
        chunk(1, 70_000),
        Piece::Hole { length: 1 << 40 },
        chunk(2, 1),
        chunk(1, 70_000),
    ]
}

/// Damages one field and makes the checksum right again, as a hostile writer would.
fn forge(bytes: &Bytes, change: impl FnOnce(&mut ManifestHeader, &mut Vec<u8>)) -> Bytes {
    let mut header = *header_of(bytes).expect("a manifest").0;
    let mut records = bytes[HEADER_BYTES..].to_vec();
    change(&mut header, &mut records);
    let mut forged = [header.as_bytes(), &records].concat();
    header.checksum = U32::new(crc32c(&forged[CHECKSUM_END..]));
    forged[..HEADER_BYTES].copy_from_slice(header.as_bytes());
    forged.into()
}

/// Goal: FORMAT.md is true about manifests. Method: offsets and sizes of every field, both ways.
#[test]
fn the_byte_tables_are_what_the_code_does() {
    layout!(ManifestHeader: magic, checksum, version, level, role, records, reserved, length, content);
    layout!(ManifestRecord: id, length);
}

/// Goal: what is encoded is what is decoded, for both roles and all levels. Method: encode, decode, compare.
#[test]
fn round_trip() {
    let root = Manifest::encode(Role::Root(CONTENT), 0, &sample());
    let manifest = Manifest::decode_root(root.clone(), CONTENT).expect("root");
    assert_eq!(manifest.pieces().collect::<Vec<_>>(), sample());
    assert_eq!(manifest.length(), (1 << 40) + 140_001);
    assert_eq!(
        (manifest.level(), manifest.len(), manifest.piece(4)),
        (0, 4, None)
    );
    assert!(is_whole(&root));

    for level in 1..=MANIFEST_LEVEL_MAX {
        let pieces = [Piece::Part {
            id: ContentId([9; 32]),
            length: 5 << 30,
        }];
        let part = Manifest::encode(Role::Part, level, &pieces);
        let id = Manifest::part_id(&part);
        let manifest = Manifest::decode_part(part, id).expect("part");
        assert_eq!(manifest.pieces().collect::<Vec<_>>(), pieces);
        assert_eq!(manifest.level(), level);
    }
}

/// Goal: nothing passes for another content's manifest, nor a part for a root or the reverse. Method: decode each
/// as everything it is not.
#[test]
fn roles_and_contents_are_bound() {
    let root = Manifest::encode(Role::Root(CONTENT), 0, &sample());
    let part = Manifest::encode(Role::Part, 0, &sample());
    let part_id = Manifest::part_id(&part);
    assert_eq!(
        Manifest::decode_root(root.clone(), part_id).expect_err("other"),
        ManifestDamage::Misplaced
    );
    assert_eq!(
        Manifest::decode_root(part.clone(), part_id).expect_err("part"),
        ManifestDamage::Misplaced
    );
    assert_eq!(
        Manifest::decode_part(part.clone(), CONTENT).expect_err("other"),
        ManifestDamage::Misplaced
    );
    let as_part = Manifest::part_id(&root);
    assert_eq!(
        Manifest::decode_part(root, as_part).expect_err("root"),
        ManifestDamage::Misplaced
    );
    assert_ne!(
        part_id,
        hash::content_id(&part),
        "a user's content cannot have a part's id"
    );
}

/// Goal: no single flipped bit is accepted. Method: flip each bit of a small manifest.
#[test]
fn every_single_bit_flip_is_refused() {
    let root = Manifest::encode(Role::Root(CONTENT), 0, &sample());
    for bit in 0..root.len() * 8 {
        let mut bytes = root.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Manifest::decode_root(bytes.into(), CONTENT).is_err(), "bit {bit}");
    }
}

/// Goal: every length but the right one is refused. Method: all truncations, and additions up to a record.
#[test]
fn every_other_length_is_refused() {
    let root = Manifest::encode(Role::Root(CONTENT), 0, &sample());
    for bytes in 0..root.len() {
        assert!(
            Manifest::decode_root(root.slice(..bytes), CONTENT).is_err(),
            "{bytes}"
        );
    }
    for more in 1..=RECORD_BYTES {
        let longer = [&root[..], &vec![0; more]].concat();
        assert!(
            Manifest::decode_root(longer.into(), CONTENT).is_err(),
            "{more} more"
        );
    }
}

/// Goal: each rule is enforced by itself, not only by the checksum. Method: forge one field each with a right
/// checksum and expect the error that names it.
#[test]
fn forged_fields_are_refused_by_name() {
    let root = Manifest::encode(Role::Root(CONTENT), 0, &sample());
    let record = |at: usize, change: fn(&mut ManifestRecord)| {
        forge(&root, move |_, records| {
            let place = &mut records[at * RECORD_BYTES..(at + 1) * RECORD_BYTES];
            let mut record = ManifestRecord::read_from_bytes(place).expect("record");
            change(&mut record);
            place.copy_from_slice(record.as_bytes());
        })
    };
    let cases = [
        (
            forge(&root, |header, _| header.magic[0] ^= 1),
            ManifestDamage::Magic,
        ),
        (
            forge(&root, |header, _| header.version = U16::new(9)),
            ManifestDamage::Version(9),
        ),
        (
            forge(&root, |header, _| header.level = MANIFEST_LEVEL_MAX + 1),
            ManifestDamage::Field("level"),
        ),
        (
            forge(&root, |header, _| header.level = 1),
            ManifestDamage::Record(0),
        ),
        (
            forge(&root, |header, _| header.role = 2),
            ManifestDamage::Field("role"),
        ),
        (
            forge(&root, |header, _| header.role = 0),
            ManifestDamage::Field("role"),
        ),
        (
            forge(&root, |header, _| header.reserved[3] = 1),
            ManifestDamage::Field("reserved field"),
        ),
        (
            forge(&root, |header, _| header.records = U32::new(u32::MAX)),
            ManifestDamage::Field("number of records"),
        ),
        (
            forge(&root, |header, _| header.records = U32::new(3)),
            ManifestDamage::Length {
                expected: 184,
                found: 224,
            },
        ),
        (
            forge(&root, |header, _| header.length = U64::new(1)),
            ManifestDamage::Sum,
        ),
        (
            forge(&root, |header, _| header.content = ContentId([1; 32])),
            ManifestDamage::Misplaced,
        ),
        (
            record(0, |record| record.length = U64::new(1 << 56)),
            ManifestDamage::Record(0),
        ),
        (
            record(0, |record| record.length = U64::new(1 << 56 | (2 << 20))),
            ManifestDamage::Record(0),
        ),
        (
            record(1, |record| record.id = ContentId([1; 32])),
            ManifestDamage::Record(1),
        ),
        (
            record(1, |record| record.length = U64::new(2 << 56 | ((1 << 56) - 1))),
            ManifestDamage::Sum,
        ),
        (
            record(2, |record| record.length = U64::new(3 << 56 | 5)),
            ManifestDamage::Record(2),
        ),
        (
            record(3, |record| record.length = U64::new(u64::MAX)),
            ManifestDamage::Record(3),
        ),
    ];
    for (at, (bytes, expected)) in cases.into_iter().enumerate() {
        assert_eq!(
            Manifest::decode_root(bytes, CONTENT).expect_err("forged"),
            expected,
            "case {at}"
        );
    }
}

/// Goal: the largest manifest fits an extent. Method: encode one.
#[test]
fn the_largest_fits_an_extent() {
    let pieces = vec![chunk(3, 65_536); MANIFEST_RECORDS_MAX];
    let bytes = Manifest::encode(Role::Root(CONTENT), 0, &pieces);
    assert_eq!(bytes.len(), 655_424);
    assert_eq!(
        Manifest::decode_root(bytes, CONTENT).expect("whole").len(),
        MANIFEST_RECORDS_MAX
    );
}

proptest! {
    /// Goal: no bytes make decoding panic. Method: random bytes, and random changes of a real one with the checksum
    /// made right again.
    #[test]
    fn hostile_bytes_never_panic(noise in prop::collection::vec(any::<u8>(), 0..400), at in 0usize..224, byte: u8) {
        let _ = Manifest::decode_any(noise.into());
        let mut bytes = Manifest::encode(Role::Root(CONTENT), 0, &sample()).to_vec();
        bytes[at] = byte;
        let sum = crc32c(&bytes[CHECKSUM_END..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        if let Ok((_, manifest)) = Manifest::decode_any(bytes.into()) {
            prop_assert_eq!(manifest.pieces().map(|piece| piece.length()).sum::<u64>(), manifest.length());
            prop_assert_eq!(manifest.pieces().count(), manifest.len());
        }
    }
}
