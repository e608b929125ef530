use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::format::{Domain, Kind};
use crate::reactor::block_on;
use crate::trees::testing::{Plan, file, trees};
use crate::trees::{FileTime, Xattr};

fn plant(trees: &Trees, plan: Plan) -> Entry {
    let (root, _, extents) = plan.build();
    block_on(async {
        let mut batch = trees.store.batch();
        batch.put(extents).await.unwrap();
        batch.submit().await.unwrap();
    });
    root
}

fn show(differences: &[Difference]) -> Vec<String> {
    let sign = |change: &Change| match change {
        Change::Added(_) => '+',
        Change::Removed(_) => '-',
        Change::Modified { .. } => '~',
    };
    differences
        .iter()
        .map(|difference| format!("{}{}", sign(&difference.change), difference.path))
        .collect()
}

fn diff(trees: &Trees, old: &Entry, new: &Entry, prefixes: &[&str]) -> Vec<Difference> {
    let prefixes: Vec<TreePath> = prefixes
        .iter()
        .map(|prefix| TreePath::new(prefix).unwrap())
        .collect();
    block_on(trees.diff(old, new, &prefixes)).unwrap()
}

/// Goal: each kind of difference is reported once, in order. Method: two trees with one of each.
#[test]
fn every_kind_of_difference_is_reported() {
    let trees = trees();
    let old = [
        ("a", "1"),
        ("b/x", "1"),
        ("b.c", "1"),
        ("gone/deep/x", "1"),
        ("kind", "1"),
        ("same/x", "1"),
        ("turn/x", "1"),
    ];
    let new = [
        ("a", "2"),
        ("b/x", "1"),
        ("b/y", "1"),
        ("b.c", "1"),
        ("kind/x", "1"),
        ("new/", ""),
        ("same/x", "1"),
        ("turn", "1"),
    ];
    let (old, new) = (plant(&trees, Plan::of(&old)), plant(&trees, Plan::of(&new)));
    let expected = [
        "~a",
        "+b/y",
        "-gone",
        "-gone/deep",
        "-gone/deep/x",
        "-kind",
        "+kind",
        "+kind/x",
        "+new",
        "-turn",
        "+turn",
        "-turn/x",
    ];
    assert_eq!(show(&diff(&trees, &old, &new, &[])), expected);
    assert_eq!(show(&diff(&trees, &old, &old, &[])), Vec::<String>::new());
    assert_eq!(
        show(&diff(&trees, &old, &new, &["gone/deep", "kind"])),
        ["-gone/deep", "-gone/deep/x", "-kind", "+kind", "+kind/x"]
    );
    assert_eq!(show(&diff(&trees, &old, &new, &["b"])), ["+b/y"]);
    assert_eq!(
        show(&diff(&trees, &old, &new, &["nothing"])),
        Vec::<String>::new()
    );
}

/// Goal: what has changed of an entry is told. Method: change one thing at a time.
#[test]
fn what_has_changed_is_told() {
    let trees = trees();
    let xattr = Xattr {
        name: Bytes::from_static(b"user.x"),
        value: vec![1; 600].into(),
    };
    let mut near = xattr.clone();
    near.value = Bytes::from_static(b"near");
    let none = Changed::default();
    type Case = (fn(&mut Entry), Changed);
    let changes: Vec<Case> = vec![
        (
            |entry| entry.id = ContentId([1; 32]),
            Changed {
                content: true,
                ..none
            },
        ),
        (|entry| entry.mode = 0o600, Changed { mode: true, ..none }),
        (
            |entry| entry.attributes.uid = Some(1),
            Changed { owner: true, ..none },
        ),
        (
            |entry| entry.attributes.mtime = Some(FileTime::from_ns(1)),
            Changed { mtime: true, ..none },
        ),
        (
            |entry| entry.attributes.link_group = Some(1),
            Changed { links: true, ..none },
        ),
        (
            |entry| entry.attributes.xattrs.clear(),
            Changed { xattrs: true, ..none },
        ),
        (
            |entry| entry.attributes.xattrs.truncate(1),
            Changed { xattrs: true, ..none },
        ),
    ];
    for (change, expected) in changes {
        let mut plan = Plan::of(&[]);
        let mut entry = file(b"", b"1");
        entry.attributes.xattrs = vec![
            Xattr {
                name: Bytes::from_static(b"user.a"),
                ..near.clone()
            },
            xattr.clone(),
        ];
        plan.entries.insert(TreePath::new("d/f").unwrap(), entry.clone());
        let old = plant(&trees, plan);
        let mut plan = Plan::of(&[]);
        let mut changed_entry = entry.clone();
        change(&mut changed_entry);
        plan.entries
            .insert(TreePath::new("d/f").unwrap(), changed_entry.clone());
        let found = diff(&trees, &old, &plant(&trees, plan), &[]);
        let [
            Difference {
                path,
                change: Change::Modified { old, new, changed },
            },
        ] = &found[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!((path.as_bytes(), *changed), (&b"d/f"[..], expected));
        for (found, given) in [(old, &entry), (new, &changed_entry)] {
            assert_eq!(
                *found,
                Entry {
                    name: Bytes::from_static(b"f"),
                    ..given.clone()
                }
            );
        }
    }
}

/// Goal: directories report their own attributes and not that something below has changed. Method: both at once.
#[test]
fn directories_report_their_own_attributes() {
    let trees = trees();
    let old = plant(&trees, Plan::of(&[("d/x", "1"), ("e/x", "1")]));
    let mut plan = Plan::of(&[("d/x", "2"), ("e/x", "2")]);
    let mut directory = crate::trees::testing::directory(b"", ContentId([0; 32]));
    directory.mode = 0o700;
    plan.entries.insert(TreePath::new("d").unwrap(), directory);
    let mut new = plant(&trees, plan);
    new.mode = 0o711;
    let found = diff(&trees, &old, &new, &[]);
    assert_eq!(show(&found), ["~.", "~d", "~d/x", "~e/x"]);
    let Change::Modified { changed, .. } = &found[1].change else {
        panic!("modified")
    };
    assert_eq!(
        *changed,
        Changed {
            mode: true,
            ..Changed::default()
        }
    );
}

/// Goal: a difference costs what it is, not what the trees are. Method: put only the nodes that are not shared into a
/// store of their own; a diff that opened a shared node would fail.
#[test]
fn shared_nodes_are_never_read() {
    let mut files = BTreeMap::new();
    for directory in 0..30 {
        for file in 0..300 {
            files.insert(format!("d{directory}/f{file:04}"), format!("in {directory}"));
        }
    }
    let build = |files: &BTreeMap<String, String>| {
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_str()))
            .collect();
        Plan::of(&files).build()
    };
    let (old, _, old_extents) = build(&files);
    files.insert("d7/f0100".into(), "2".into());
    files.insert("d8/f0100x".into(), "1".into());
    files.remove("d9/f0299");
    let (new, _, new_extents) = build(&files);
    let ids =
        |extents: &[crate::store::Extent]| extents.iter().map(|extent| extent.key.id).collect::<HashSet<_>>();
    let (old_ids, new_ids) = (ids(&old_extents), ids(&new_extents));
    let mut own = old_extents;
    own.extend(new_extents);
    own.retain(|extent| {
        extent.key.kind == Kind::Node
            && !(old_ids.contains(&extent.key.id) && new_ids.contains(&extent.key.id))
    });
    let nodes = own
        .iter()
        .map(|extent| extent.key.id)
        .collect::<HashSet<_>>()
        .len();
    let trees = Trees::new(crate::store::testing::store(), Domain(0));
    block_on(async {
        let mut batch = trees.store.batch();
        batch.put(own).await.unwrap();
        batch.submit().await.unwrap();
    });
    assert_eq!(
        show(&diff(&trees, &old, &new, &[])),
        ["~d7/f0100", "+d8/f0100x", "-d9/f0299"]
    );
    assert!(nodes < 60, "{nodes}");
}

fn files() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = prop_oneof!["[a-c]{1,2}", "[a-z]{1,3}"];
    let path = proptest::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    proptest::collection::btree_map(path, "[01]", 0..60)
}

/// Drops paths that lie below a file.
fn consistent(files: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let above = |path: &str| {
        let ends = path.match_indices('/').map(|(at, _)| &path[..at]);
        ends.map(str::to_owned).collect::<Vec<_>>()
    };
    let kept = files
        .keys()
        .filter(|path| !above(path).iter().any(|path| files.contains_key(path)));
    kept.map(|path| (path.clone(), files[path].clone())).collect()
}

proptest! {
    /// Goal: the difference of any two trees is exactly what comparing every path gives. Method: random trees, and
    /// trees that share a part.
    #[test]
    fn differences_are_exact(old in files(), new in files(), shared in files()) {
        let trees = trees();
        let whole = |own: &BTreeMap<String, String>| {
            let mut files = shared.clone();
            files.extend(own.clone());
            consistent(files)
        };
        let (old, new) = (whole(&old), whole(&new));
        let plant = |files: &BTreeMap<String, String>| {
            let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
            plant(&trees, Plan::of(&files))
        };
        let everything = |files: &BTreeMap<String, String>| {
            let mut all: BTreeMap<TreePath, Option<String>> = BTreeMap::new();
            for (path, content) in files {
                let path = TreePath::new(path).unwrap();
                let mut above = path.clone();
                while let Some(parent) = above.parent().filter(|parent| !parent.is_root()) {
                    all.insert(parent.clone(), None);
                    above = parent;
                }
                all.insert(path, Some(content.clone()));
            }
            all
        };
        let (old_all, new_all) = (everything(&old), everything(&new));
        let mut expected = Vec::new();
        let mut paths: Vec<&TreePath> = old_all.keys().chain(new_all.keys()).collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            match (old_all.get(path), new_all.get(path)) {
                (Some(old), Some(new)) if old.is_some() != new.is_some() => {
                    expected.push(format!("-{path}"));
                    expected.push(format!("+{path}"));
                }
                (Some(old), Some(new)) if old != new => expected.push(format!("~{path}")),
                (Some(_), None) => expected.push(format!("-{path}")),
                (None, Some(_)) => expected.push(format!("+{path}")),
                _ => {}
            }
        }
        prop_assert_eq!(show(&diff(&trees, &plant(&old), &plant(&new), &[])), expected);
    }
}
