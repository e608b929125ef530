use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::access::Access;
use crate::format::{Domain, Kind};
use crate::limits::EXTENT_BYTES_MAX;
use crate::reactor::block_on;
use crate::store::{Extent, Key};
use crate::trees::testing::{Plan, commit, tick, trees};
use crate::trees::{CommitOptions, FileTime, TreePath, ids};

fn plain() -> WorkingOptions {
    WorkingOptions {
        times: false,
        ..WorkingOptions::default()
    }
}

/// Goal: an agent's day: open a branch, write, read, commit, go on. Method: as said, with what others see in between.
#[test]
fn changes_are_seen_by_others_after_the_commit() {
    let trees = trees();
    commit(
        &trees,
        "main",
        &[("src/a", "old"), ("src/b", "b")],
        &CommitOptions::default(),
    )
    .unwrap();
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        tree.write("src/a", "new").await.unwrap();
        tree.write("src/c", "c").await.unwrap();
        assert_eq!(tree.read("src/a").await.unwrap(), "new");
        let mut other = trees.open_branch("main", plain()).await.unwrap();
        assert_eq!(other.read("src/a").await.unwrap(), "old");
        assert!(!other.exists("src/c").await.unwrap());
        let done = tree.commit("step").await.unwrap();
        assert_eq!((done.unchanged, done.parent), (false, other.base()));
        assert_eq!(done.counts, TreeCounts { files: 3, bytes: 5 });
        assert_eq!(done.written.new, 2 + 2 + 1, "two contents, two nodes, one commit");
        other.reset_to_head().await.unwrap();
        assert_eq!(other.read("src/a").await.unwrap(), "new");
        assert!(tree.commit("nothing").await.unwrap().unchanged);
    });
}

/// Goal: a directory that stays empty until the commit can be read back from the store. Method: one just made, and one
/// emptied again, each in a store that has no other empty directory.
#[test]
fn directories_without_entries_are_stored() {
    for emptied in [false, true] {
        let trees = trees();
        block_on(async {
            let mut tree = trees.open_new("main", plain()).unwrap();
            tree.create_directories("empty/inner").await.unwrap();
            if emptied {
                tree.write("empty/inner/file", "x").await.unwrap();
                tree.remove("empty/inner/file").await.unwrap();
            }
            tree.write("file", "x").await.unwrap();
            tree.commit("made").await.unwrap();
            let mut again = trees.open_branch("main", plain()).await.unwrap();
            assert_eq!(again.list("empty").await.unwrap().len(), 1);
            assert!(again.list("empty/inner").await.unwrap().is_empty());
        });
    }
}

/// Goal: two trees on one branch cannot overwrite each other. Method: both commit; the second is refused, keeps its
/// changes, and can be forked to a branch of its own.
#[test]
fn a_moved_branch_is_a_conflict() {
    let trees = trees();
    commit(&trees, "main", &[("a", "1")], &CommitOptions::default()).unwrap();
    block_on(async {
        let mut one = trees.open_branch("main", plain()).await.unwrap();
        let mut two = trees.open_branch("main", plain()).await.unwrap();
        one.write("a", "one").await.unwrap();
        two.write("a", "two").await.unwrap();
        two.write("b", "two").await.unwrap();
        let head = one.commit("").await.unwrap().commit;
        let Err(Error::Conflict { found, .. }) = two.commit("").await else {
            panic!("a conflict")
        };
        assert_eq!(found, head.to_string());
        assert_eq!(
            (two.read("a").await.unwrap(), two.is_dirty()),
            (Bytes::from("two"), true)
        );
        let mut fork = two.fork("side").await.unwrap();
        fork.commit("").await.unwrap();
        assert_eq!(fork.read("b").await.unwrap(), "two");
        two.reset_to_head().await.unwrap();
        assert_eq!(two.read("a").await.unwrap(), "one");
        assert!(!two.exists("b").await.unwrap());
        assert!(matches!(
            trees.open_new("side", plain()),
            Err(Error::Exists { .. })
        ));
    });
}

/// Goal: a tree at a commit cannot commit until it has a branch. Method: open by id, try, fork.
#[test]
fn a_tree_without_a_branch_cannot_commit() {
    let trees = trees();
    let base = commit(&trees, "main", &[("a", "1")], &CommitOptions::default())
        .unwrap()
        .commit;
    block_on(async {
        let mut tree = trees.open_commit(base, plain()).await.unwrap();
        tree.write("a", "2").await.unwrap();
        assert!(matches!(tree.commit("").await, Err(Error::Invalid { .. })));
        let mut fork = tree.fork("mine").await.unwrap();
        fork.commit("").await.unwrap();
        assert_eq!(trees.branch("mine").unwrap().commit, fork.base().unwrap());
        let blank = trees.open_new("blank", plain()).unwrap();
        assert!(matches!(blank.fork("other").await, Err(Error::Invalid { .. })));
    });
}

/// Goal: times follow the policy. Method: which mtimes a commit sets with times on, and that none changes with off.
#[test]
fn times_are_set_once_per_commit() {
    let trees = trees();
    block_on(async {
        let mut tree = trees.open_new("main", WorkingOptions::default()).unwrap();
        for name in ["d/a", "d/b", "d/c", "e/x"] {
            tree.create_directories(&name[..1]).await.unwrap();
            tree.write(name, name).await.unwrap();
        }
        let first = FileTime::from_ns(tree.commit("").await.unwrap().time_ns);
        tick(&trees);
        let mtime =
            async |tree: &mut WorkingTree, path: &str| tree.stat(path).await.unwrap().entry.attributes.mtime;
        for path in ["", "d", "d/a", "e", "e/x"] {
            assert_eq!(mtime(&mut tree, path).await, Some(first), "{path:?}");
        }
        // New bytes, the same bytes again, another mode, a move, a new name in a directory.
        tree.write("d/a", "new").await.unwrap();
        tree.write("d/b", "d/b").await.unwrap();
        tree.set_mode("d/c", 0o600).await.unwrap();
        tree.rename("e/x", "e/y").await.unwrap();
        let second = FileTime::from_ns(tree.commit("").await.unwrap().time_ns);
        assert!(second > first);
        for (path, time) in [
            ("d/a", second),
            ("d/b", first),
            ("d/c", first),
            ("d", first),
            ("e", second),
            ("e/y", first),
        ] {
            assert_eq!(mtime(&mut tree, path).await, Some(time), "{path}");
        }
        let mut still = trees.open_branch("main", plain()).await.unwrap();
        tick(&trees);
        still.write("d/a", "newer").await.unwrap();
        still.write("d/n", "").await.unwrap();
        still.commit("").await.unwrap();
        assert_eq!(mtime(&mut still, "d/a").await, Some(second));
        assert_eq!(mtime(&mut still, "d/n").await, None);
        assert_eq!(mtime(&mut still, "d").await, Some(first));
    });
}

/// Goal: writing an old content again is no change. Method: with times on.
#[test]
fn equal_contents_are_no_change() {
    let trees = trees();
    commit(
        &trees,
        "main",
        &[("a", "1"), ("d/b", "2")],
        &CommitOptions::default(),
    )
    .unwrap();
    block_on(async {
        let mut tree = trees
            .open_branch("main", WorkingOptions::default())
            .await
            .unwrap();
        tree.write("a", "1").await.unwrap();
        tree.write("d/b", "x").await.unwrap();
        tree.write("d/b", "2").await.unwrap();
        assert!(tree.is_dirty());
        assert!(tree.commit("").await.unwrap().unchanged);
        assert!(!tree.is_dirty());
    });
}

/// Goal: impossible operations are refused with what is wrong, and change nothing. Method: one of each.
#[test]
fn impossible_operations_are_refused() {
    let trees = trees();
    commit(
        &trees,
        "main",
        &[("d/a", "1"), ("f", "1"), ("g", "1"), ("e/x/y", "1")],
        &CommitOptions::default(),
    )
    .unwrap();
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        for path in [
            "", "/", "/a", "..", "../a", "a/..", "d/../f", ".", "d/.", "a\0", "a//",
        ] {
            assert!(
                matches!(tree.write(path, "x").await, Err(Error::Invalid { .. })),
                "{path:?}"
            );
        }
        assert!(matches!(
            tree.write(vec![b'x'; 256], "x").await,
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(tree.write("d", "x").await, Err(Error::Invalid { .. })));
        assert!(matches!(tree.write("f/x", "x").await, Err(Error::Invalid { .. })));
        assert!(matches!(
            tree.write("n/x", "x").await,
            Err(Error::NotFound { .. })
        ));
        assert!(matches!(
            tree.write("big", vec![0; EXTENT_BYTES_MAX + 1]).await,
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(tree.read("d").await, Err(Error::Invalid { .. })));
        assert!(matches!(tree.read("n").await, Err(Error::NotFound { .. })));
        assert!(matches!(tree.list("f").await, Err(Error::Invalid { .. })));
        assert!(matches!(tree.list("n").await, Err(Error::NotFound { .. })));
        assert!(matches!(
            tree.create_directory("f").await,
            Err(Error::Exists { .. })
        ));
        assert!(matches!(
            tree.create_directories("d/a/b").await,
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(
            tree.create_directories("d/a").await,
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(tree.symlink("f", "x").await, Err(Error::Exists { .. })));
        assert!(matches!(tree.symlink("l", "").await, Err(Error::Invalid { .. })));
        assert!(matches!(tree.remove("n").await, Err(Error::NotFound { .. })));
        assert!(matches!(tree.remove("").await, Err(Error::Invalid { .. })));
        assert!(matches!(tree.rename("n", "m").await, Err(Error::NotFound { .. })));
        assert!(matches!(tree.rename("f", "d").await, Err(Error::Exists { .. })));
        assert!(matches!(tree.rename("d", "f").await, Err(Error::Exists { .. })));
        assert!(matches!(
            tree.rename("e", "e/x/z").await,
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(
            tree.rename("e", "n/e").await,
            Err(Error::NotFound { .. })
        ));
        assert!(matches!(
            tree.set_mode("f", 0o10000).await,
            Err(Error::Invalid { .. })
        ));
        assert!(!tree.is_dirty());
        assert!(tree.commit("").await.unwrap().unchanged);
    });
}

/// Goal: paths may be written in other ways where that is clear. Method: spellings of one path.
#[test]
fn spellings_of_a_path_are_one() {
    let trees = trees();
    commit(&trees, "main", &[("d/e/a", "1")], &CommitOptions::default()).unwrap();
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        for path in ["d/e/a", "./d/e/a", "d//e/a", "d/./e/a", "d/e//a"] {
            assert_eq!(tree.read(path).await.unwrap(), "1", "{path}");
        }
        for path in ["d/e", "d/e/", "./d//e"] {
            assert_eq!(tree.list(path).await.unwrap().len(), 1, "{path}");
        }
        tree.create_directory("d/f/").await.unwrap();
        assert!(tree.exists("d/f").await.unwrap());
        // Remembered paths don't outlive their directories.
        tree.rename("d", "c").await.unwrap();
        assert!(!tree.exists("d/e/a").await.unwrap());
        assert_eq!(tree.read("c/e/a").await.unwrap(), "1");
        tree.remove("c/e").await.unwrap();
        tree.write("c/e", "a file now").await.unwrap();
        assert!(matches!(tree.read("c/e/a").await, Err(Error::Invalid { .. })));
    });
}

/// Goal: whole directories move and go without being read. Method: a store that has the top directory's nodes only.
#[test]
fn directories_move_without_being_read() {
    let (root, counts, extents) = Plan::of(&[("deep/a/b", "1"), ("top", "2")]).build();
    let kept: Vec<Extent> = extents
        .into_iter()
        .filter(|extent| extent.key.id == root.id)
        .collect();
    let trees = Trees::new(crate::store::testing::store(), Domain(0));
    block_on(async {
        let mut batch = trees.store.batch();
        batch.put(kept).await.unwrap();
        trees
            .commit_tree(batch, "main", root, counts, &CommitOptions::default())
            .await
            .unwrap();
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        tree.create_directory("new").await.unwrap();
        tree.rename("deep", "new/deeper").await.unwrap();
        let done = tree.commit("").await.unwrap();
        assert_eq!(done.counts, counts);
        assert!(matches!(
            tree.list("new/deeper").await,
            Err(Error::NotFound { .. })
        ));
    });
}

/// Goal: a failed commit leaves the tree as it was. Method: a commit refused for its message, then a good one.
#[test]
fn a_failed_commit_changes_nothing() {
    let trees = trees();
    commit(
        &trees,
        "main",
        &[("d/a", "1"), ("d/b", "1")],
        &CommitOptions::default(),
    )
    .unwrap();
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        tree.write("d/a", "2").await.unwrap();
        tree.remove("d/b").await.unwrap();
        tree.write("d/c", "3").await.unwrap();
        assert!(matches!(
            tree.commit(&"x".repeat(70_000)).await,
            Err(Error::Invalid { .. })
        ));
        assert!(tree.is_dirty());
        assert_eq!(tree.read("d/c").await.unwrap(), "3");
        let done = tree.commit("shorter").await.unwrap();
        let names: Vec<Bytes> = trees
            .list(
                &trees
                    .entry_at(done.commit, &TreePath::new("d").unwrap())
                    .await
                    .unwrap(),
            )
            .await
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(names, ["a", "c"]);
    });
}

/// Goal: writing one of several hard links makes it a file of its own, with everything else it had. Method: a tree with
/// two links.
#[test]
fn a_written_link_is_a_file_of_its_own() {
    let trees = trees();
    let mut plan = Plan::of(&[]);
    for name in ["one", "two"] {
        let mut entry = crate::trees::testing::file(b"", b"1");
        entry.attributes.link_group = Some(7);
        entry.attributes.uid = Some(3);
        plan.entries.insert(TreePath::new(name).unwrap(), entry);
    }
    let (root, counts, extents) = plan.build();
    block_on(async {
        let mut batch = trees.store.batch();
        batch.put(extents).await.unwrap();
        trees
            .commit_tree(batch, "main", root, counts, &CommitOptions::default())
            .await
            .unwrap();
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        tree.write("one", "2").await.unwrap();
        tree.commit("").await.unwrap();
        let one = tree.stat("one").await.unwrap().entry.attributes;
        let two = tree.stat("two").await.unwrap().entry.attributes;
        assert_eq!((one.link_group, one.uid), (None, Some(3)));
        assert_eq!((two.link_group, two.uid), (Some(7), Some(3)));
    });
}

/// Goal: leaves of large directories are loaded when needed. Method: a directory of 5,000 names, one changed; the store
/// counts nothing, so the test looks at what is loaded.
#[test]
fn large_directories_load_their_leaves_lazily() {
    let trees = trees();
    let names: Vec<String> = (0..5_000).map(|number| format!("f{number:05}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    commit(&trees, "main", &files, &CommitOptions::default()).unwrap();
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        let missing = |tree: &WorkingTree| tree.directory(ROOT).nodes.missing_leaves().len();
        let all = missing(&tree);
        assert!(all > 300);
        tree.write("f02500", "2").await.unwrap();
        tree.write("f02500x", "2").await.unwrap();
        assert_eq!(missing(&tree), all - 1);
        let done = tree.commit("").await.unwrap();
        assert!(missing(&tree) + 12 > all, "{}", missing(&tree));
        assert!(done.written.new < 20, "{:?}", done.written);
        assert_eq!(tree.list("").await.unwrap().len(), 5_001);
        assert_eq!(missing(&tree), 0);
    });
}

#[derive(Default)]
struct Large(Mutex<Vec<(ContentId, Bytes)>>, Option<Access>);

impl LargeContents for Large {
    fn put(&self, bytes: Bytes) -> LargeFuture<'_, (ContentId, Lease)> {
        let id = ids::content_ids(&[&bytes])[0];
        self.0.lock().push((id, bytes));
        let lease = self.1.as_ref().unwrap().lease();
        Box::pin(async move { Ok((id, lease)) })
    }

    fn get(&self, id: ContentId, size: u64) -> LargeFuture<'_, Bytes> {
        let found = self
            .0
            .lock()
            .iter()
            .find(|(stored, _)| *stored == id)
            .map(|(_, bytes)| bytes.clone());
        Box::pin(async move {
            found
                .filter(|bytes| bytes.len() as u64 == size)
                .ok_or_else(|| Error::not_found("large content"))
        })
    }
}

/// Goal: contents of more than one extent go through the layer that cuts them. Method: one such file, in and out.
#[test]
fn large_contents_go_through_their_layer() {
    let trees = trees();
    let large = Arc::new(Large(Mutex::default(), Some(trees.store.clone())));
    let options = WorkingOptions {
        large: Some(large),
        ..plain()
    };
    block_on(async {
        let mut tree = trees.open_new("main", options.clone()).unwrap();
        let bytes = Bytes::from(vec![7; EXTENT_BYTES_MAX + 5]);
        tree.write("big", bytes.clone()).await.unwrap();
        assert_eq!(tree.read("big").await.unwrap(), bytes);
        tree.commit("").await.unwrap();
        let mut again = trees.open_branch("main", options).await.unwrap();
        assert_eq!(again.read("big").await.unwrap(), bytes);
        assert_eq!(again.stat("big").await.unwrap().entry.size, bytes.len() as u64);
    });
}

/// Goal: contents beyond the bound go to the store ahead of the commit. Method: a small bound; the store has them.
#[test]
fn waiting_contents_are_bounded() {
    let trees = trees();
    let options = WorkingOptions {
        pending_bytes_max: 1000,
        ..plain()
    };
    block_on(async {
        let mut tree = trees.open_new("main", options).unwrap();
        for number in 0..20u8 {
            tree.write(format!("f{number}"), vec![number; 300]).await.unwrap();
            assert!(tree.pending_bytes <= 1000);
        }
        let id = ids::content_ids(&[&[0; 300]])[0];
        assert!(
            trees
                .store
                .contains(&[Key {
                    domain: Domain(0),
                    kind: Kind::Data,
                    id
                }])
                .unwrap()[0]
        );
        tree.rename("f0", "f100").await.unwrap();
        assert_eq!(tree.read("f100").await.unwrap(), vec![0; 300]);
        tree.commit("").await.unwrap();
        assert_eq!(
            tree.counts(),
            TreeCounts {
                files: 20,
                bytes: 6000
            }
        );
        assert_eq!(tree.read("f7").await.unwrap(), vec![7; 300]);
    });
}

/// Goal: the futures can be used from any thread. Method: the compiler.
#[test]
fn futures_are_send() {
    fn is_send<T: Send>(_: &T) {}
    let trees = trees();
    let mut tree = trees.open_new("main", plain()).unwrap();
    is_send(&tree);
    is_send(&tree.write("a", "x"));
    is_send(&tree.rename("a", "b"));
    is_send(&tree.remove("a"));
    is_send(&tree.commit(""));
    is_send(&trees.resolve("main"));
    is_send(
        &trees
            .log(ContentId([0; 32]), crate::trees::Ancestors::All, 0)
            .next(),
    );
}
