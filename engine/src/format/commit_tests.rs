use std::mem::offset_of;

use proptest::prelude::*;

use super::*;
use crate::format::node::FileTime;

fn sample() -> CommitView<'static> {
    CommitView {
        time_ns: 1_700_000_000_000_000_001,
        files: 3,
        bytes: 900,
        tree: ContentId([1; 32]),
        mode: 0o755,
        attributes: AttributeView {
            mtime: Some(FileTime::from_ns(5)),
            ..AttributeView::default()
        },
        parents: vec![ContentId([2; 32]), ContentId([3; 32])],
        author: "agent-7",
        message: "Fix the build",
        replaces: Some(ContentId([4; 32])),
        others: vec![(9, b"later")],
    }
}

/// Goal: the structs are where the byte tables say. Method: offsets.
#[test]
fn fields_are_where_the_tables_say() {
    assert_eq!(offset_of!(CommitHeader, parents), 1);
    assert_eq!(offset_of!(CommitHeader, fields), 2);
    assert_eq!(offset_of!(CommitHeader, time_ns), 4);
    assert_eq!(offset_of!(CommitHeader, files), 12);
    assert_eq!(offset_of!(CommitHeader, bytes), 20);
    assert_eq!(offset_of!(CommitHeader, root), 28);
    assert_eq!(offset_of!(CommitField, length), 2);
}

/// Goal: commits read back, unknown fields included. Method: a full and a bare one.
#[test]
fn commits_read_back() {
    let bare = CommitView {
        parents: Vec::new(),
        author: "",
        message: "",
        replaces: None,
        others: Vec::new(),
        attributes: AttributeView::default(),
        ..sample()
    };
    for commit in [sample(), bare] {
        let bytes = commit.encode().unwrap();
        assert_eq!(CommitView::decode(&bytes).unwrap(), commit);
    }
}

/// Goal: a commit has one encoding. Method: flip every bit; what still decodes encodes to the flipped bytes.
#[test]
fn every_accepted_bit_flip_is_canonical() {
    let bytes = sample().encode().unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(view) = CommitView::decode(&flipped) {
            assert_eq!(view.encode().unwrap(), flipped, "bit {bit}");
        }
    }
    for length in 0..bytes.len() {
        assert!(CommitView::decode(&bytes[..length]).is_err(), "length {length}");
    }
}

/// Goal: what no commit can hold is refused when written. Method: one of each.
#[test]
fn impossible_commits_are_refused() {
    let long = "x".repeat(COMMIT_MESSAGE_BYTES_MAX + 1);
    let refused = |change: fn(&mut CommitView<'_>)| {
        let mut commit = sample();
        change(&mut commit);
        commit.encode().unwrap_err()
    };
    assert_eq!(
        CommitView {
            message: &long,
            ..sample()
        }
        .encode(),
        Err(CommitDamage::Field(FIELD_MESSAGE))
    );
    assert_eq!(
        refused(|commit| commit.parents[1] = commit.parents[0]),
        CommitDamage::Parents
    );
    assert_eq!(
        refused(|commit| commit.parents = (0..=COMMIT_PARENTS_MAX as u8)
            .map(|byte| ContentId([byte; 32]))
            .collect()),
        CommitDamage::Parents
    );
    assert_eq!(
        refused(|commit| commit.others = vec![(CRITICAL, b"x")]),
        CommitDamage::Unknown(CRITICAL)
    );
    assert_eq!(
        refused(|commit| commit.others = vec![(FIELD_MESSAGE, b"x")]),
        CommitDamage::Field(FIELD_MESSAGE)
    );
    assert_eq!(
        refused(|commit| commit.others = vec![(9, b"")]),
        CommitDamage::Field(9)
    );
    assert_eq!(
        refused(|commit| commit.mode = 0o10000),
        CommitDamage::Root(NodeDamage::Record)
    );
}

proptest! {
    /// Goal: no bytes make decoding panic, and whatever decodes is canonical. Method: random tails behind a valid
    /// header.
    #[test]
    fn arbitrary_bytes_are_refused_or_canonical(
        parents in 0u8..3, fields in 0u16..3,
        tail in proptest::collection::vec(prop_oneof![Just(0u8), Just(1u8), any::<u8>()], 0..120),
    ) {
        let mut bytes = sample().encode().unwrap();
        bytes.truncate(size_of::<CommitHeader>() + 12);
        bytes[1] = parents;
        bytes[2..4].copy_from_slice(&fields.to_le_bytes());
        bytes.extend_from_slice(&tail);
        if let Ok(view) = CommitView::decode(&bytes) {
            prop_assert_eq!(view.encode().unwrap(), bytes);
        }
    }
}
