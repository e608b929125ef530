//! What is stored wrongly is named, never returned.

use super::testing::{manifest, noise, objects, pieces, plant};
use super::*;
use crate::error::Error;
use crate::format::manifest::{Manifest, Piece, Role};
use crate::hash::content_id;

fn inconsistent<T: std::fmt::Debug>(result: crate::Result<T>, content: ContentId, says: &str) {
    let error = result.expect_err("damaged");
    let named =
        matches!(&error, Error::Inconsistent { id, damage, .. } if *id == content && damage.contains(says));
    assert!(named, "expected {says:?}: {error}");
}

/// Goal: a manifest that is not whole is named as such. Method: plant damaged ones under a content's id.
#[test]
fn a_damaged_manifest_is_named() {
    let objects = objects();
    let whole = Manifest::encode(
        Role::Root(content_id(b"0")),
        0,
        &[Piece::Hole { length: 5 << 20 }],
    );
    // The store itself refuses bytes whose checksum is wrong; these are the damages only the content store can see.
    let other = content_id(b"1");
    plant(&objects, Kind::Manifest, other, whole);
    inconsistent(objects.get(other), other, "belongs to something else");
    inconsistent(objects.get_range(other, 0..1), other, "belongs to something else");
    inconsistent(objects.length(other), other, "belongs to something else");
    assert!(objects.get_stream(other).is_err());

    let garbled = content_id(b"2");
    plant(&objects, Kind::Manifest, garbled, vec![7; 1000]);
    let error = objects.get(garbled).expect_err("garbled");
    assert!(
        matches!(&error, Error::Damaged { id, .. } | Error::Inconsistent { id, .. } if *id == garbled),
        "{error}"
    );
}

/// Goal: a chunk that is not there is damage of the content, at its offset. Method: a manifest that lists one.
#[test]
fn a_missing_chunk_is_named() {
    let objects = objects();
    let there = objects.put(noise(20_000, 1)).expect("put");
    let missing = content_id(b"missing");
    let content = content_id(b"content");
    let pieces = [
        Piece::Chunk {
            id: there.id,
            length: 20_000,
        },
        Piece::Hole { length: 2 << 20 },
        Piece::Chunk {
            id: missing,
            length: 5,
        },
    ];
    plant(
        &objects,
        Kind::Manifest,
        content,
        Manifest::encode(Role::Root(content), 0, &pieces),
    );
    let says = format!("chunk {missing} of byte {} is missing", 20_000 + (2 << 20));
    inconsistent(objects.get(content), content, &says);
    inconsistent(objects.get_range(content, 2_117_152..2_117_153), content, &says);
    let mut stream = objects.get_stream(content).expect("stream");
    inconsistent(
        std::iter::repeat_with(|| stream.next_section())
            .find(Result::is_err)
            .expect("an error"),
        content,
        &says,
    );
    assert_eq!(
        objects
            .get_range(content, 0..100)
            .expect("the rest is there")
            .len(),
        100
    );

    let parted = content_id(b"parted");
    let root = Manifest::encode(
        Role::Root(parted),
        1,
        &[Piece::Part {
            id: missing,
            length: 2 << 20,
        }],
    );
    plant(&objects, Kind::Manifest, parted, root);
    inconsistent(
        objects.get(parted),
        parted,
        &format!("part {missing} of byte 0 is missing"),
    );
}

/// Goal: chunks that are not what the manifest says are named. Method: a wrong length, a wrong order (whole reads
/// only: each chunk is right), a part of another level.
#[test]
fn misfitting_chunks_are_named() {
    let objects = objects();
    let content = noise(3 << 20, 2);
    let id = objects.put(content.clone()).expect("put").id;
    let right = pieces(&objects, id);

    let mut longer = right.clone();
    let Piece::Chunk { id: chunk, length } = longer[1] else {
        panic!("a chunk")
    };
    longer[1] = Piece::Chunk {
        id: chunk,
        length: length + 1,
    };
    let other = content_id(b"longer");
    plant(
        &objects,
        Kind::Manifest,
        other,
        Manifest::encode(Role::Root(other), 0, &longer),
    );
    let says = format!("chunk {chunk} of byte {} has {length} bytes", right[0].length());
    inconsistent(objects.get(other), other, &says);
    inconsistent(
        objects.get_range(other, right[0].length()..right[0].length() + 1),
        other,
        &says,
    );

    let mut swapped = right.clone();
    swapped.swap(0, 1);
    let other = content_id(b"swapped");
    plant(
        &objects,
        Kind::Manifest,
        other,
        Manifest::encode(Role::Root(other), 0, &swapped),
    );
    inconsistent(objects.get(other), other, "what it lists hashes to");
    let mut out = Vec::new();
    inconsistent(
        objects.get_stream(other).expect("stream").copy_to(&mut out),
        other,
        "what it lists hashes to",
    );

    let part = Manifest::encode(Role::Part, 0, &right);
    let part_id = Manifest::part_id(&part);
    plant(&objects, Kind::Manifest, part_id, part);
    for (level, length, name) in [(2, 3 << 20, b"level"), (1, 1, b"short")] {
        let other = content_id(name);
        let root = Manifest::encode(Role::Root(other), level, &[Piece::Part { id: part_id, length }]);
        plant(&objects, Kind::Manifest, other, root);
        inconsistent(objects.get(other), other, "is not as long as its list says");
    }
    assert_eq!(manifest(&objects, id).length(), content.len() as u64);
}

/// Goal: wrong bytes of a chunk never come out. Method: plant a chunk with other bytes of the same length, let it
/// reach the device, then read whole and by range.
#[test]
fn wrong_chunk_bytes_are_named() {
    let objects = objects();
    let (right, wrong) = (noise(50_000, 1), noise(50_000, 2));
    let chunk = content_id(&right);
    plant(&objects, Kind::Data, chunk, wrong);
    let content = content_id(b"content");
    let pieces = [
        Piece::Chunk {
            id: chunk,
            length: 50_000,
        },
        Piece::Hole { length: 2 << 20 },
    ];
    plant(
        &objects,
        Kind::Manifest,
        content,
        Manifest::encode(Role::Root(content), 0, &pieces),
    );
    objects.store().block_on(objects.store().flush()).expect("flush");
    for result in [
        objects.get(content),
        objects.get_range(content, 10..20),
        objects.get(chunk),
    ] {
        let error = result.expect_err("wrong bytes");
        assert!(
            matches!(&error, Error::Damaged { id, .. } if *id == chunk),
            "{error}"
        );
    }
}
