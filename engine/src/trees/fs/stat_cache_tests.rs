use proptest::prelude::*;

use super::*;
use crate::format::ContentId;
use crate::trees::fs::platform::{FileId, Found};
use crate::trees::fs::stat_record::has_id;
use crate::trees::{EntryKind, Xattr};

const ZERO: ContentId = ContentId([0; 32]);

fn form() -> Form {
    Form {
        domain: Domain(7),
        times: true,
        owner: false,
        xattrs: true,
    }
}

fn record(kind: EntryKind, size: u64) -> Record {
    Record {
        kind,
        racy: false,
        mode: 0o644,
        uid: 1000,
        gid: 100,
        size,
        mtime: FileTime {
            seconds: 1_700_000_000,
            nanoseconds: 5,
        },
        ctime: FileTime {
            seconds: 1_700_000_001,
            nanoseconds: 999_999_999,
        },
        file: FileId {
            device: 42,
            inode: size + 1,
        },
        device: (0, 0),
        id: ZERO,
        xattrs: Vec::new(),
        link_group: None,
    }
}

fn records_of(cache: &StatCache, section: usize) -> Vec<(Vec<u8>, Record)> {
    let mut cursor = cache.records(section);
    let mut found = Vec::new();
    while let Some(record) = cursor.advance() {
        let record = record.expect("what was written parses").clone();
        found.push((cursor.name().to_vec(), record));
    }
    found
}

fn any_time() -> impl Strategy<Value = FileTime> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanoseconds)| FileTime { seconds, nanoseconds })
}

prop_compose! {
    fn any_record()(
        kind in 1..=6u8,
        racy: bool,
        mode in 0..0o10000u16,
        owner: (u32, u32),
        size: u64,
        mtime in any_time(),
        ctime in any_time(),
        file in (prop_oneof![Just(42u64), any::<u64>()], any::<u64>()),
        device: (u32, u32),
        id: [u8; 32],
        xattrs in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..300)), 0..3),
        link_group: Option<u64>,
    ) -> Record {
        let kind = EntryKind::from_byte(kind).expect("1 to 6 are kinds");
        Record {
            kind, racy, mode, uid: owner.0, gid: owner.1, size, mtime, ctime,
            file: FileId { device: file.0, inode: file.1 },
            device: if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) { device } else { (0, 0) },
            id: if has_id(kind) { ContentId(id) } else { ZERO },
            xattrs: xattrs.into_iter().map(|(name, value)| Xattr { name: name.into(), value: value.into() }).collect(),
            link_group,
        }
    }
}

proptest! {
    /// Goal: what is written is what is read, for any values. Method: random records in one directory.
    #[test]
    fn records_survive(records in prop::collection::btree_map(prop::collection::vec(1..=255u8, 1..=255), any_record(), 0..20)) {
        let records: Vec<(Vec<u8>, Record)> = records.into_iter().filter(|(_, record)| record.kind != EntryKind::Directory).collect();
        let root = record(EntryKind::Directory, 0);
        let mut writer = Writer::new(form(), 42, &root);
        let mut section = writer.section();
        for (name, record) in &records {
            section.put(name, record);
        }
        writer.append(&section);
        let cache = StatCache::decode(writer.finish()).expect("what was written parses");
        prop_assert_eq!(cache.form(), form());
        prop_assert_eq!(cache.root(), &root);
        prop_assert_eq!(records_of(&cache, 0), records);
    }

    /// Goal: bytes that are not a cache are refused and never a panic or a hang. Method: flip, cut and extend.
    #[test]
    fn damaged_caches_are_refused_quietly(at in any::<prop::sample::Index>(), bit in 0..8u32, cut in any::<prop::sample::Index>()) {
        let bytes = nested().to_vec();
        let mut flipped = bytes.clone();
        flipped[at.index(bytes.len())] ^= 1 << bit;
        let cut = bytes[..cut.index(bytes.len())].to_vec();
        for bytes in [flipped, cut] {
            if let Some(cache) = StatCache::decode(bytes.into()) {
                for section in 0..=cache.sections.len() {
                    let mut cursor = cache.records(section);
                    while let Some(Some(_)) = cursor.advance() {}
                    cache.sibling(section);
                }
            }
        }
    }
}

/// root: a/ (with x/ (empty), y), b, c/ (with z)
fn nested() -> Bytes {
    let directory = record(EntryKind::Directory, 0);
    let mut writer = Writer::new(form(), 42, &directory);
    for names in [
        &[("a", true), ("b", false), ("c", true)][..],
        &[("x", true), ("y", false)],
        &[],
        &[("z", false)],
    ] {
        let mut section = writer.section();
        for (name, is_directory) in names {
            let kind = if *is_directory {
                EntryKind::Directory
            } else {
                EntryKind::File
            };
            section.put(name.as_bytes(), &record(kind, 9));
        }
        writer.append(&section);
    }
    writer.finish()
}

/// Goal: sections are found by position in the tree, and copying them all gives the same file.
#[test]
fn sections_follow_the_tree() {
    let bytes = nested();
    let cache = StatCache::decode(bytes.clone()).expect("parses");
    let names = |section| -> Vec<String> {
        let names = records_of(&cache, section).into_iter().map(|(name, _)| name);
        names
            .map(|name| String::from_utf8(name).expect("ASCII"))
            .collect()
    };
    assert_eq!(names(0), ["a", "b", "c"]);
    assert_eq!(names(1), ["x", "y"]);
    assert!(names(2).is_empty());
    assert_eq!(names(cache.sibling(1)), ["z"]);
    let (all, first, last) = (
        cache.raw_subtree(0),
        cache.raw_subtree(1),
        cache.raw_subtree(cache.sibling(1)),
    );
    assert!(all.ends_with(&[first, last].concat()));
    let mut copy = Writer::new(form(), 42, &record(EntryKind::Directory, 0));
    copy.copy(&all[..all.len() - first.len() - last.len()]);
    copy.copy(first);
    copy.copy(last);
    assert_eq!(copy.finish(), bytes);
}

/// Goal: a change in the tick of the clock in which a file was looked at is never missed.
#[test]
fn recent_changes_are_not_settled() {
    let now = FileTime {
        seconds: 100,
        nanoseconds: 500_000_000,
    };
    let stat = |seconds, nanoseconds| {
        let time = FileTime { seconds, nanoseconds };
        Stat {
            found: Found::Kind(EntryKind::File),
            mode: 0,
            links: 1,
            uid: 0,
            gid: 0,
            size: 0,
            blocks: 0,
            mtime: FileTime {
                seconds: 0,
                nanoseconds: 0,
            },
            ctime: time,
            id: FileId::default(),
            device: (0, 0),
        }
    };
    assert!(!is_settled(&stat(100, 500_000_000), now, true), "the same tick");
    assert!(!is_settled(&stat(100, 490_000_000), now, true), "one tick before");
    assert!(!is_settled(&stat(101, 1), now, true), "the future");
    assert!(is_settled(&stat(100, 400_000_000), now, true));
    assert!(
        !is_settled(&stat(100, 400_000_000), now, false),
        "another machine's clock"
    );
    assert!(!is_settled(&stat(99, 0), now, true), "whole seconds");
    assert!(is_settled(&stat(90, 0), now, true));
}
