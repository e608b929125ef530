use super::*;
use crate::reactor::block_on;
use crate::trees::testing::{Plan, commit, tick, trees};
use crate::trees::{Attributes, FileTime, TreePath, Xattr};

fn message(message: &str) -> CommitOptions {
    CommitOptions {
        message: message.into(),
        author: "tester".into(),
        ..CommitOptions::default()
    }
}

/// Goal: a commit reads back with its tree, and the branch is at it. Method: two commits on one branch.
#[test]
fn commits_read_back() {
    let trees = trees();
    let one = commit(&trees, "main", &[("a", "1"), ("d/b", "22")], &message("first")).unwrap();
    let two = commit(&trees, "main", &[("a", "1"), ("d/b", "333")], &message("second")).unwrap();
    assert_eq!(
        (one.parent, two.parent, two.unchanged),
        (None, Some(one.commit), false)
    );
    assert_eq!(trees.branch("main").unwrap().commit, two.commit);
    block_on(async {
        let read = trees.read_commit(two.commit).await.unwrap();
        assert_eq!(
            (read.message.as_str(), read.author.as_str()),
            ("second", "tester")
        );
        assert_eq!(
            (read.counts, read.parents),
            (TreeCounts { files: 2, bytes: 4 }, vec![one.commit])
        );
        let path = TreePath::new("d/b").unwrap();
        assert_eq!(trees.entry_at(two.commit, &path).await.unwrap().size, 3);
        assert_eq!(trees.entry_at(one.commit, &path).await.unwrap().size, 2);
    });
}

/// Goal: the same tree makes no second commit, unless asked for. Method: commit it again both ways.
#[test]
fn unchanged_trees_are_noticed() {
    let trees = trees();
    let one = commit(&trees, "main", &[("a", "1")], &message("")).unwrap();
    let same = commit(
        &trees,
        "main",
        &[("a", "1")],
        &CommitOptions {
            durable: true,
            ..message("")
        },
    )
    .unwrap();
    assert_eq!(
        (same.commit, same.unchanged, same.ack.is_none()),
        (one.commit, true, true)
    );
    let forced = commit(
        &trees,
        "main",
        &[("a", "1")],
        &CommitOptions {
            allow_unchanged: true,
            ..message("")
        },
    );
    let forced = forced.unwrap();
    assert_eq!(
        (forced.parent, forced.unchanged, forced.tree),
        (Some(one.commit), false, one.tree)
    );
}

/// Goal: a commit goes on top of what the caller expects or not at all. Method: each expectation, right and wrong.
#[test]
fn expectations_are_checked() {
    let trees = trees();
    let with = |expect| CommitOptions {
        expect,
        ..message("")
    };
    let one = commit(&trees, "main", &[("a", "1")], &with(ExpectHead::Absent)).unwrap();
    let absent = commit(&trees, "main", &[("a", "2")], &with(ExpectHead::Absent));
    assert!(matches!(absent, Err(Error::Exists { .. })));
    let two = commit(&trees, "main", &[("a", "2")], &with(ExpectHead::Is(one.commit))).unwrap();
    let stale = commit(&trees, "main", &[("a", "3")], &with(ExpectHead::Is(one.commit)));
    let Err(Error::Conflict { expected, found, .. }) = stale else {
        panic!("a conflict")
    };
    assert_eq!(
        (expected, found),
        (one.commit.to_string(), two.commit.to_string())
    );
    let nowhere = commit(&trees, "other", &[("a", "3")], &with(ExpectHead::Is(one.commit)));
    assert!(matches!(nowhere, Err(Error::Conflict { .. })));
    assert_eq!(trees.branch("main").unwrap().commit, two.commit);
}

/// Goal: times rise along first parents, whatever the clock says. Method: a first commit in the future.
#[test]
fn times_rise_along_first_parents() {
    let trees = trees();
    let future = trees.store.now_ns() + 1_000_000_000_000;
    let one = commit(
        &trees,
        "main",
        &[("a", "1")],
        &CommitOptions {
            time_ns: Some(future),
            ..message("")
        },
    )
    .unwrap();
    tick(&trees);
    let two = commit(&trees, "main", &[("a", "2")], &message("")).unwrap();
    assert_eq!((one.time_ns, two.time_ns), (future, future + 1));
}

/// Goal: a commit with other parents than the head is possible and leaves a trace. Method: take a branch back to an
/// earlier state with both as parents.
#[test]
fn other_parents_are_remembered() {
    let trees = trees();
    let one = commit(&trees, "main", &[("a", "1")], &message("")).unwrap();
    let two = commit(&trees, "main", &[("a", "2")], &message("")).unwrap();
    let before = tick(&trees);
    let options = CommitOptions {
        parents: Some(vec![one.commit, two.commit]),
        replaces: Some(two.commit),
        ..message("back")
    };
    let three = commit(&trees, "main", &[("a", "1")], &options).unwrap();
    block_on(async {
        let read = trees.read_commit(three.commit).await.unwrap();
        assert_eq!(
            (read.parents, read.replaces),
            (vec![one.commit, two.commit], Some(two.commit))
        );
        assert_eq!(trees.head_at("main", before).await.unwrap(), two.commit);
    });
    let lost = CommitOptions {
        parents: Some(vec![ContentId([9; 32])]),
        ..message("")
    };
    assert!(matches!(
        commit(&trees, "main", &[("a", "4")], &lost),
        Err(Error::NotFound { .. })
    ));
}

/// Goal: the top directory keeps its mode and attributes, however large. Method: attributes that don't fit the commit.
#[test]
fn attributes_of_the_root_read_back() {
    let trees = trees();
    let (mut root, counts, extents) = Plan::of(&[("a", "1")]).build();
    root.mode = 0o2775;
    root.attributes = Attributes {
        mtime: Some(FileTime {
            seconds: -1,
            nanoseconds: 5,
        }),
        uid: Some(7),
        xattrs: vec![Xattr {
            name: Bytes::from_static(b"user.x"),
            value: vec![1; 5000].into(),
        }],
        ..Attributes::default()
    };
    block_on(async {
        let mut batch = trees.store.batch();
        batch.put(extents).await.unwrap();
        let done = trees
            .commit_tree(batch, "main", root.clone(), counts, &message(""))
            .await
            .unwrap();
        assert_eq!(trees.read_commit(done.commit).await.unwrap().root, root);
        let bytes = trees
            .store
            .get(commit_key(trees.domain, done.commit))
            .await
            .unwrap();
        let references = commit_references(&bytes).unwrap();
        assert_eq!(
            references.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
            [Kind::Node, Kind::Data]
        );
        let again = trees
            .commit_tree(trees.batch(), "main", root, counts, &message(""))
            .await
            .unwrap();
        assert!(again.unchanged);
    });
}

/// Goal: what no commit can hold is refused and changes nothing. Method: a bad name, a long message, a file as root.
#[test]
fn impossible_commits_are_refused() {
    let trees = trees();
    for (branch, text) in [("a..b", String::new()), ("main", "x".repeat(70_000))] {
        let refused = commit(&trees, branch, &[("a", "1")], &message(&text));
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{branch}");
    }
    let root = crate::trees::testing::file(b"", b"");
    let options = message("");
    let refused = trees.commit_tree(trees.batch(), "main", root, TreeCounts::default(), &options);
    assert!(matches!(block_on(refused), Err(Error::Invalid { .. })));
    assert!(trees.branches().unwrap().is_empty());
}
