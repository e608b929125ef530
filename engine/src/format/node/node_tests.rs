use std::mem::offset_of;

use proptest::prelude::*;

use super::*;
use crate::format::ContentId;
use crate::limits::{XATTRS_BYTES_MAX, XATTRS_INLINE_BYTES_MAX};

fn record(kind: EntryKind, size: u64) -> LeafRecord {
    let content = kind.has_content() || kind == EntryKind::Directory;
    LeafRecord {
        id: ContentId([if content { 7 } else { 0 }; 32]),
        size: size.into(),
        mode: 0o644.into(),
        kind: kind as u8,
        name_bytes: 0,
        tags: 0.into(),
        attributes_bytes: 0.into(),
    }
}

fn leaf(entries: &[(&str, LeafRecord, AttributeView<'_>)]) -> Vec<u8> {
    let mut encoder = LeafEncoder::default();
    for (name, record, attributes) in entries {
        encoder.push(name.as_bytes(), *record, attributes).unwrap();
    }
    encoder.finish()
}

fn sample() -> Vec<u8> {
    let set = encode_xattrs([(&b"user.a"[..], &b"1"[..]), (b"user.b", b"")].into_iter()).unwrap();
    let full = AttributeView {
        mtime: Some(FileTime {
            seconds: -5,
            nanoseconds: 999_999_999,
        }),
        uid: Some(1000),
        gid: Some(0),
        device: None,
        link_group: Some(3),
        xattrs: XattrView::Here(&set),
    };
    let device = AttributeView {
        device: Some((8, 1)),
        ..AttributeView::default()
    };
    let far = AttributeView {
        xattrs: XattrView::Far {
            id: ContentId([9; 32]),
            bytes: XATTRS_INLINE_BYTES_MAX as u32 + 1,
        },
        ..AttributeView::default()
    };
    leaf(&[
        ("a", record(EntryKind::File, 12), full),
        ("b", record(EntryKind::BlockDevice, 0), device),
        ("c", record(EntryKind::Directory, 0), far),
        ("d", record(EntryKind::Symlink, 3), AttributeView::default()),
    ])
}

fn inner() -> Vec<u8> {
    let mut encoder = InnerEncoder::default();
    encoder.push(b"a", ContentId([1; 32]), 6);
    encoder.push(b"m", ContentId([2; 32]), 24);
    encoder.finish(1)
}

/// Encodes what `view` shows; equal to the input if and only if the input was canonical.
fn again(view: &NodeView<'_>) -> Vec<u8> {
    match view {
        NodeView::Leaf(leaf) => {
            let mut encoder = LeafEncoder::default();
            for (index, (name, record, _)) in leaf.iter().enumerate() {
                encoder
                    .push(name, *record, &leaf.attributes(index).unwrap())
                    .unwrap();
            }
            encoder.finish()
        }
        NodeView::Inner(inner) => {
            let mut encoder = InnerEncoder::default();
            for (name, record) in inner.iter() {
                encoder.push(name, record.id, record.entries.get());
            }
            encoder.finish(inner.level())
        }
    }
}

/// Goal: the structs are where the byte tables say. Method: offsets and sizes.
#[test]
fn fields_are_where_the_tables_say() {
    assert_eq!(offset_of!(NodeHeader, level), 1);
    assert_eq!(offset_of!(NodeHeader, count), 2);
    assert_eq!(offset_of!(NodeHeader, names_bytes), 4);
    assert_eq!(offset_of!(NodeHeader, attributes_bytes), 6);
    assert_eq!(offset_of!(LeafRecord, size), 32);
    assert_eq!(offset_of!(LeafRecord, mode), 40);
    assert_eq!(offset_of!(LeafRecord, kind), 42);
    assert_eq!(offset_of!(LeafRecord, name_bytes), 43);
    assert_eq!(offset_of!(LeafRecord, tags), 44);
    assert_eq!(offset_of!(LeafRecord, attributes_bytes), 46);
    assert_eq!(offset_of!(InnerRecord, entries), 32);
    assert_eq!(offset_of!(InnerRecord, name_bytes), 40);
}

/// Goal: an encoded node reads back as what went in. Method: every attribute and both kinds of nodes.
#[test]
fn nodes_read_back() {
    let bytes = sample();
    let NodeView::Leaf(leaf) = NodeView::decode(&bytes).unwrap() else {
        panic!("a leaf")
    };
    assert_eq!(leaf.len(), 4);
    assert_eq!(leaf.find(b"c"), Ok(2));
    assert_eq!(leaf.find(b"bb"), Err(2));
    let first = leaf.attributes(0).unwrap();
    assert_eq!(
        first.mtime,
        Some(FileTime {
            seconds: -5,
            nanoseconds: 999_999_999
        })
    );
    assert_eq!(
        (first.uid, first.gid, first.link_group),
        (Some(1000), Some(0), Some(3))
    );
    let XattrView::Here(set) = first.xattrs else {
        panic!("in place")
    };
    assert_eq!(
        xattrs(set).unwrap(),
        [(&b"user.a"[..], &b"1"[..]), (b"user.b", b"")]
    );
    let offset = leaf.mtime_offset(0).unwrap();
    assert_eq!(bytes[offset..offset + 12], first.mtime.unwrap().encode());
    assert_eq!(leaf.mtime_offset(1), None);
    assert_eq!(leaf.attributes(1).unwrap().device, Some((8, 1)));

    let bytes = inner();
    let NodeView::Inner(inner) = NodeView::decode(&bytes).unwrap() else {
        panic!("an inner node")
    };
    assert_eq!((inner.level(), inner.len(), inner.entries()), (1, 2, 30));
    assert_eq!(
        [&b"a"[..], b"b", b"m", b"z", b"0"].map(|name| inner.child_for(name)),
        [0, 0, 1, 1, 0]
    );
}

/// Goal: what one decodes has one encoding only. Method: flip every bit of sample nodes; whatever still decodes
/// encodes to the flipped bytes again.
#[test]
fn every_accepted_bit_flip_is_canonical() {
    for bytes in [sample(), inner()] {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(view) = NodeView::decode(&flipped) {
                assert_eq!(again(&view), flipped, "bit {bit}");
            }
        }
    }
}

/// Goal: a cut or lengthened node is refused. Method: every length.
#[test]
fn every_other_length_is_refused() {
    for bytes in [sample(), inner()] {
        for length in 0..bytes.len() {
            assert!(NodeView::decode(&bytes[..length]).is_err(), "length {length}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(NodeView::decode(&longer).unwrap_err(), NodeDamage::Length);
    }
}

/// Goal: impossible entries are refused by the encoder and the decoder alike. Method: one of each.
#[test]
fn impossible_entries_are_refused() {
    let refused = |record: LeafRecord, attributes: AttributeView<'_>| {
        let mut encoder = LeafEncoder::default();
        let damage = encoder.push(b"x", record, &attributes).unwrap_err();
        assert!(encoder.is_empty());
        damage
    };
    let plain = AttributeView::default();
    let device = AttributeView {
        device: Some((1, 1)),
        ..plain
    };
    let linked = AttributeView {
        link_group: Some(1),
        ..plain
    };
    let mut wide = record(EntryKind::File, 1);
    wide.mode = 0o10000.into();
    let mut contented = record(EntryKind::Fifo, 0);
    contented.id = ContentId([1; 32]);
    assert_eq!(refused(wide, plain), NodeDamage::Record);
    assert_eq!(refused(contented, plain), NodeDamage::Record);
    assert_eq!(
        refused(record(EntryKind::Directory, 1), plain),
        NodeDamage::Record
    );
    assert_eq!(
        refused(record(EntryKind::CharDevice, 0), plain),
        NodeDamage::Attributes
    );
    assert_eq!(
        refused(record(EntryKind::File, 0), device),
        NodeDamage::Attributes
    );
    assert_eq!(
        refused(record(EntryKind::Directory, 0), linked),
        NodeDamage::Attributes
    );
    let late = AttributeView {
        mtime: Some(FileTime {
            seconds: 0,
            nanoseconds: 1_000_000_000,
        }),
        ..plain
    };
    assert_eq!(refused(record(EntryKind::File, 0), late), NodeDamage::Attributes);
    let near = XattrView::Far {
        id: ContentId([1; 32]),
        bytes: XATTRS_INLINE_BYTES_MAX as u32,
    };
    assert_eq!(
        refused(
            record(EntryKind::File, 0),
            AttributeView {
                xattrs: near,
                ..plain
            }
        ),
        NodeDamage::Attributes
    );
    let huge = XattrView::Far {
        id: ContentId([1; 32]),
        bytes: XATTRS_BYTES_MAX as u32 + 1,
    };
    assert_eq!(
        refused(
            record(EntryKind::File, 0),
            AttributeView {
                xattrs: huge,
                ..plain
            }
        ),
        NodeDamage::Attributes
    );
}

/// Goal: names no directory can hold, and names out of order, are refused on decode. Method: rewrite the names of
/// a valid node.
#[test]
fn impossible_names_are_refused() {
    let plain = AttributeView::default();
    let file = record(EntryKind::File, 0);
    for (name, valid) in [("ab", true), ("a/", false), ("a\0", false), ("..", false)] {
        let mut bytes = leaf(&[("ab", file, plain)]);
        let at = LeafView::record_offset(1);
        bytes[at..at + 2].copy_from_slice(name.as_bytes());
        assert_eq!(NodeView::decode(&bytes).is_ok(), valid, "{name:?}");
    }
    for (names, valid) in [
        ("ab", true),
        ("ba", false),
        ("aa", false),
        (".a", false),
        ("a.", false),
    ] {
        let mut bytes = leaf(&[("a", file, plain), ("b", file, plain)]);
        let at = LeafView::record_offset(2);
        bytes[at..at + 2].copy_from_slice(names.as_bytes());
        assert_eq!(NodeView::decode(&bytes).is_ok(), valid, "{names:?}");
    }
    assert!(is_name(&[0xff; 255]) && !is_name(&[0xff; 256]) && !is_name(b"") && !is_name(b"."));
}

/// Goal: a set of extended attributes has one encoding. Method: the ways to get it wrong.
#[test]
fn extended_attributes_are_canonical() {
    let encode = |pairs: &[(&[u8], &[u8])]| encode_xattrs(pairs.iter().copied());
    assert!(encode(&[(b"user.a", b""), (b"user.b", b"")]).is_some());
    assert!(encode(&[]).is_none());
    assert!(encode(&[(b"user.b", b""), (b"user.a", b"")]).is_none());
    assert!(encode(&[(b"user.a", b""), (b"user.a", b"")]).is_none());
    assert!(encode(&[(b"", b"")]).is_none());
    assert!(encode(&[(b"a\0", b"")]).is_none());
    assert!(encode(&[(b"user.a", &vec![0; (64 << 10) + 1])]).is_none());
    assert_eq!(xattrs(b"\xff\xff\xff\xff\xffab"), Err(NodeDamage::Attributes));
}

proptest! {
    /// Goal: no bytes make decoding panic, and whatever decodes is canonical. Method: random bytes behind a
    /// plausible header.
    #[test]
    fn arbitrary_bytes_are_refused_or_canonical(
        level in 0u8..3, count in 0u16..4, names in 0u16..8, attributes in 0u16..40,
        body in proptest::collection::vec(prop_oneof![Just(0u8), Just(b'a'), any::<u8>()], 0..220),
    ) {
        let mut bytes = vec![NODE_VERSION, level];
        for field in [count, names, attributes] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&body);
        if let Ok(view) = NodeView::decode(&bytes) {
            prop_assert_eq!(again(&view), bytes);
        }
    }
}
