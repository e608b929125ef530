use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::access::Access;
use crate::format::Kind;
use crate::format::node::NodeView;
use crate::limits::{NODE_BYTES_MAX, XATTRS_INLINE_BYTES_MAX};
use crate::reactor::block_on;
use crate::trees::{Attributes, EntryKind, FileTime, Xattr};

const DOMAIN: Domain = Domain(0);

fn file(name: &str, content: u64) -> Entry {
    let mut id = [1; 32];
    id[..8].copy_from_slice(&content.to_le_bytes());
    Entry {
        name: Bytes::copy_from_slice(name.as_bytes()),
        kind: EntryKind::File,
        mode: 0o644,
        size: content,
        id: ContentId(id),
        attributes: Attributes {
            mtime: Some(FileTime::from_ns(content)),
            ..Attributes::default()
        },
    }
}

fn files(count: usize) -> Vec<Entry> {
    (0..count)
        .map(|index| file(&format!("file-{index:06}.rs"), index as u64))
        .collect()
}

fn build(entries: Vec<Entry>) -> (ContentId, Vec<Extent>) {
    let mut extents = Vec::new();
    let ids = build_many(DOMAIN, vec![PendingDirectory { entries }], &mut extents).unwrap();
    (ids[0], extents)
}

fn stored(extents: Vec<Extent>) -> Access {
    let store = Access::from(crate::store::testing::store());
    block_on(async {
        let mut batch = store.batch();
        batch.put(extents).await.unwrap();
        batch.submit().await.unwrap();
    });
    store
}

fn node_set(extents: &[Extent]) -> HashSet<ContentId> {
    extents
        .iter()
        .filter(|extent| extent.key.kind == Kind::Node)
        .map(|extent| extent.key.id)
        .collect()
}

/// Goal: directories of every size read back whole, by name and in pages. Method: sizes around the node bounds
/// and over several levels.
#[test]
fn directories_read_back() {
    for count in [0, 1, 5, 6, 7, 24, 25, 150, 2_000] {
        let entries = files(count);
        let (id, extents) = build(entries.clone());
        let store = stored(extents);
        block_on(async {
            assert_eq!(
                super::entries(&store, DOMAIN, id).await.unwrap(),
                entries,
                "{count}"
            );
            for entry in entries.iter().step_by(7) {
                let found = find(&store, DOMAIN, id, &entry.name).await.unwrap();
                assert_eq!(found.as_ref(), Some(entry));
            }
            for absent in [&b"a"[..], b"file-000001", b"zzz"] {
                assert_eq!(find(&store, DOMAIN, id, absent).await.unwrap(), None);
            }
            for (after, limit) in [
                (None, 10),
                (Some("file-000003.rs"), 40),
                (Some("file-000003"), 3),
                (Some("z"), 3),
                (None, 0),
            ] {
                let page = list_from(&store, DOMAIN, id, after.map(str::as_bytes), limit)
                    .await
                    .unwrap();
                let rest = entries
                    .iter()
                    .filter(|entry| after.is_none_or(|after| entry.name > after.as_bytes()));
                assert_eq!(
                    page,
                    rest.take(limit).cloned().collect::<Vec<_>>(),
                    "{count} {after:?} {limit}"
                );
            }
        });
    }
}

/// Goal: going through a large directory page by page sees each entry once. Method: pages of odd sizes.
#[test]
fn pages_cover_the_directory() {
    let entries = files(1_000);
    let (id, extents) = build(entries.clone());
    let store = stored(extents);
    for limit in [1, 13, 24, 100, 999, 5_000] {
        let mut seen: Vec<Entry> = Vec::new();
        loop {
            let after = seen.last().map(|entry| entry.name.clone());
            let page = block_on(list_from(&store, DOMAIN, id, after.as_deref(), limit)).unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit);
            seen.extend(page);
        }
        assert_eq!(seen, entries);
    }
}

/// Goal: the order in which entries are given does not matter. Method: shuffles of one directory; seed 1.
#[test]
fn the_order_of_entries_does_not_matter() {
    let (id, _) = build(files(500));
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..5 {
        let mut shuffled = files(500);
        shuffled.shuffle(&mut rng);
        assert_eq!(build(shuffled).0, id);
    }
}

/// Goal: contents don't move boundaries. Method: change every field but the name of every entry; the names in
/// each node stay.
#[test]
fn the_shape_depends_on_names_only() {
    let names_of = |extents: &[Extent]| -> Vec<Vec<Vec<u8>>> {
        let names = |extent: &Extent| match NodeView::decode(&extent.bytes).unwrap() {
            NodeView::Leaf(leaf) => leaf.iter().map(|(name, ..)| name.to_vec()).collect(),
            NodeView::Inner(inner) => inner.iter().map(|(name, _)| name.to_vec()).collect(),
        };
        extents.iter().map(names).collect()
    };
    let (_, before) = build(files(700));
    let mut changed = files(700);
    for entry in &mut changed {
        entry.kind = EntryKind::Symlink;
        entry.id = ContentId([5; 32]);
        entry.attributes = Attributes {
            uid: Some(3),
            ..Attributes::default()
        };
    }
    let (_, after) = build(changed);
    assert_eq!(names_of(&before), names_of(&after));
}

/// Goal: every node of every level has its end where the shape says. Method: check the nodes of large directories.
#[test]
fn every_node_is_canonical() {
    let (_, extents) = build(files(20_000));
    for extent in &extents {
        assert!(extent.bytes.len() <= NODE_BYTES_MAX);
        let canonical = match NodeView::decode(&extent.bytes).unwrap() {
            NodeView::Leaf(leaf) => shape::is_canonical(0, leaf.iter().map(|(name, ..)| name)),
            NodeView::Inner(inner) => shape::is_canonical(inner.level(), inner.iter().map(|(name, _)| name)),
        };
        assert!(canonical);
    }
}

/// Goal: one new name changes a path of nodes, not the directory. Method: many single insertions into 20,000
/// names; count the nodes that were not there before; seed 2.
#[test]
fn one_new_name_changes_few_nodes() {
    let (_, extents) = build(files(20_000));
    let before = node_set(&extents);
    let mut rng = StdRng::seed_from_u64(2);
    let mut fresh = Vec::new();
    for _ in 0..15 {
        let mut entries = files(20_000);
        entries.push(file(&format!("file-{:06}.new", rng.random_range(0..20_000)), 1));
        let (_, extents) = build(entries);
        fresh.push(node_set(&extents).difference(&before).count());
    }
    fresh.sort_unstable();
    assert!(fresh[7] <= 8, "median: {fresh:?}");
    assert!(fresh[14] <= 40, "worst: {fresh:?}");
}

/// Goal: a directory of 100,000 entries builds, reads back, and has nodes of about 1 KiB.
#[test]
fn large_directories_have_small_nodes() {
    let entries = files(100_000);
    let (id, extents) = build(entries.clone());
    let bytes: usize = extents.iter().map(|extent| extent.bytes.len()).sum();
    let average = bytes / extents.len();
    assert!((700..1_200).contains(&average), "{average}");
    assert_eq!(
        block_on(super::entries(&stored(extents), DOMAIN, id)).unwrap(),
        entries
    );
}

/// Goal: many directories built together are what each is alone. Method: compare ids and read all at once.
#[test]
fn directories_build_and_read_in_batches() {
    let directories: Vec<Vec<Entry>> = [0, 3, 40, 700, 1, 0].into_iter().map(files).collect();
    let pending = directories.iter().map(|entries| PendingDirectory {
        entries: entries.clone(),
    });
    let mut extents = Vec::new();
    let ids = build_many(DOMAIN, pending.collect(), &mut extents).unwrap();
    for (id, entries) in ids.iter().zip(&directories) {
        assert_eq!(*id, build(entries.clone()).0);
    }
    assert_eq!(ids[0], empty_directory().0);
    let store = stored(extents);
    assert_eq!(block_on(entries_many(&store, DOMAIN, &ids)).unwrap(), directories);
    assert_eq!(
        block_on(entries_many(&store, DOMAIN, &[])).unwrap(),
        Vec::<Vec<Entry>>::new()
    );
}

/// Goal: extended attributes survive in the node and beside it. Method: sets below, at and above the bound.
#[test]
fn extended_attributes_read_back() {
    let mut entries = files(30);
    // One attribute takes 5 bytes besides its name (6) and value.
    for (index, value) in [
        (3, 1),
        (4, XATTRS_INLINE_BYTES_MAX - 11),
        (5, XATTRS_INLINE_BYTES_MAX - 10),
        (6, 60_000),
    ] {
        entries[index].attributes.xattrs = vec![Xattr {
            name: Bytes::from_static(b"user.x"),
            value: vec![index as u8; value].into(),
        }];
    }
    let (id, extents) = build(entries.clone());
    assert_eq!(
        extents
            .iter()
            .filter(|extent| extent.key.kind == Kind::Data)
            .count(),
        2
    );
    let references: Vec<_> = extents
        .iter()
        .filter(|extent| extent.key.kind == Kind::Node)
        .flat_map(|extent| crate::trees::references(&extent.bytes).unwrap())
        .collect();
    for extent in &extents {
        let key = (extent.key.kind, extent.key.id);
        assert!(extent.key.id == id || references.contains(&key));
    }
    let store = stored(extents);
    assert_eq!(block_on(super::entries(&store, DOMAIN, id)).unwrap(), entries);
    assert_eq!(
        block_on(find(&store, DOMAIN, id, &entries[6].name))
            .unwrap()
            .as_ref(),
        Some(&entries[6])
    );
}

/// Goal: entries that no directory can hold are refused with their name. Method: one of each.
#[test]
fn impossible_entries_are_refused() {
    let refused = |entries: Vec<Entry>| {
        let mut extents = Vec::new();
        build_many(DOMAIN, vec![PendingDirectory { entries }], &mut extents)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(vec![file("a/b", 1)]).contains("a/b"));
    assert!(refused(vec![file("..", 1)]).contains(".."));
    assert!(refused(vec![file("", 1)]).contains("255"));
    assert!(refused(vec![file("b", 1), file("a", 1), file("b", 2)]).contains("twice"));
    let mut sized = file("directory", 5);
    sized.kind = EntryKind::Directory;
    assert!(refused(vec![sized]).contains("directory"));
    let mut unsorted = file("x", 1);
    unsorted.attributes.xattrs = ["user.b", "user.a"]
        .map(|name| Xattr {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::new(),
        })
        .into();
    assert!(refused(vec![unsorted]).contains("sorted"));
}

/// Goal: a node that is valid by itself but lies to its parent is refused. Method: under a valid inner node, put
/// the bytes of other nodes where its children should be.
#[test]
fn nodes_that_do_not_fit_their_parent_are_refused() {
    let (id, extents) = build(files(100));
    let (_, others) = build(files(90).split_off(3));
    let root = extents.iter().find(|extent| extent.key.id == id).unwrap().clone();
    let leaves: Vec<&Extent> = extents
        .iter()
        .filter(|extent| NodeView::decode(&extent.bytes).unwrap().level() == 0)
        .collect();
    let mut forged = vec![root.clone()];
    forged.extend(leaves.iter().map(|leaf| Extent {
        key: leaf.key,
        bytes: others[0].bytes.clone(),
    }));
    forged.extend(
        extents
            .iter()
            .filter(|extent| extent.key.id != id && NodeView::decode(&extent.bytes).unwrap().level() > 0)
            .cloned(),
    );
    let store = stored(forged);
    block_on(async {
        assert!(matches!(
            super::entries(&store, DOMAIN, id).await,
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(
            find(&store, DOMAIN, id, b"file-000050.rs").await,
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(
            list_from(&store, DOMAIN, id, None, 50).await,
            Err(Error::Invalid { .. })
        ));
    });
}

proptest! {
    /// Goal: any set of names makes one directory that reads back. Method: random names and kinds against a map.
    #[test]
    fn any_names_read_back(
        names in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 1..20), any::<u64>(), 0..120),
    ) {
        let names: BTreeMap<Vec<u8>, u64> =
            names.into_iter().filter(|(name, _)| crate::format::node::is_name(name)).collect();
        let entries: Vec<Entry> = names
            .iter()
            .map(|(name, content)| Entry { name: Bytes::copy_from_slice(name), ..file("", *content) })
            .collect();
        let (id, extents) = build(entries.clone());
        prop_assert_eq!(block_on(super::entries(&stored(extents), DOMAIN, id)).unwrap(), entries);
    }
}
