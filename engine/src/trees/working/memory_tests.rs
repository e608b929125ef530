//! What a working tree lets go of, what it keeps, and that nobody can tell the difference.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::reactor::block_on;
use crate::store::Store;
use crate::trees::testing::{commit, trees};
use crate::trees::{CommitOptions, ExpectHead, TreeTrace};

fn own(trees: &Trees) -> &Store {
    trees.store.own().expect("a store of this process")
}

fn plain() -> WorkingOptions {
    WorkingOptions {
        times: false,
        ..WorkingOptions::default()
    }
}

/// Path of a file: 50 in each directory, 20 directories in each above.
fn path(number: usize) -> String {
    format!("p{}/d{}/f{number}", number / 1000, number / 50)
}

/// A branch with that many files, each with its path as content.
fn plant(trees: &Trees, branch: &str, files: usize) {
    block_on(async {
        let mut tree = trees.open_new(branch, plain()).unwrap();
        for number in 0..files {
            let path = path(number);
            if number % 50 == 0 {
                tree.create_directories(path.rsplit_once('/').unwrap().0)
                    .await
                    .unwrap();
            }
            tree.write(&path, path.clone()).await.unwrap();
        }
        tree.commit("all").await.unwrap();
    });
}

fn loaded(tree: &WorkingTree) -> usize {
    tree.directories.iter().count()
}

async fn read(tree: &mut WorkingTree, path: &str) -> String {
    let bytes = tree.read(path).await.unwrap();
    tree.check_memory();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Goal: a path that was remembered never leads into a directory that has taken the place of the one it led to. Method: two
/// directories with a file of the same name, one loaded where the other was.
#[test]
fn remembered_paths_do_not_lead_elsewhere() {
    let trees = trees();
    let files = [("a/x/f", "of a"), ("b/x/f", "of b")];
    commit(&trees, "main", &files, &CommitOptions::default()).unwrap();
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        assert_eq!(read(&mut tree, "a/x/f").await, "of a");
        assert!(tree.exists("b/x").await.unwrap());
        let place = tree.by_path[&b"a/x"[..]];
        // One directory goes, and nothing else.
        let before = loaded(&tree);
        tree.release(tree.loaded_bytes() - 1);
        assert_eq!(loaded(&tree), before - 1);
        assert!(tree.directories.get(place as usize).is_none());
        assert_eq!(read(&mut tree, "b/x/f").await, "of b");
        assert_eq!(tree.by_path[&b"b/x"[..]], place, "the place is used again");
        assert_eq!(read(&mut tree, "a/x/f").await, "of a");
        assert_eq!(read(&mut tree, "b/x/f").await, "of b");
        tree.write("a/x/g", "new").await.unwrap();
        tree.release(0);
        assert!(!tree.exists("b/x/g").await.unwrap());
        assert_eq!(read(&mut tree, "a/x/g").await, "new");
    });
}

/// Goal: what has changed, and the way to it, stays; all else goes and comes again. Method: changes of every kind, a release
/// after each.
#[test]
fn changes_outlast_a_release() {
    let trees = trees();
    plant(&trees, "main", 3_000);
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        let whole: usize = {
            for number in 0..3_000 {
                read(&mut tree, &path(number)).await;
            }
            tree.memory_bytes()
        };
        tree.release(0);
        tree.check_memory();
        assert!(
            tree.memory_bytes() * 20 < whole,
            "{} of {whole}",
            tree.memory_bytes()
        );
        tree.write(path(7), "seven").await.unwrap();
        tree.release(0);
        tree.rename("p0/d1", "p1/moved").await.unwrap();
        tree.release(0);
        tree.remove("p2/d45").await.unwrap();
        tree.release(0);
        tree.create_directories("new/inner").await.unwrap();
        tree.release(0);
        tree.write("new/inner/f", "new").await.unwrap();
        tree.release(0);
        tree.set_mode("p2/d41", 0o700).await.unwrap();
        tree.release(0);
        tree.check_memory();
        let look = async |tree: &mut WorkingTree| {
            for number in 0..3_000 {
                let (old, new) = (path(number), path(number).replace("p0/d1/", "p1/moved/"));
                match number {
                    7 => assert_eq!(read(tree, &old).await, "seven"),
                    2250..2300 => assert!(!tree.exists(&old).await.unwrap()),
                    _ => assert_eq!(read(tree, &new).await, old),
                }
                if number % 97 == 0 {
                    tree.release(20_000);
                }
            }
            assert_eq!(read(tree, "new/inner/f").await, "new");
            assert_eq!(tree.stat("p2/d41").await.unwrap().entry.mode, 0o700);
        };
        look(&mut tree).await;
        tree.commit("changed").await.unwrap();
        tree.release(0);
        assert_eq!(loaded(&tree), 1);
        look(&mut tree).await;
        look(&mut trees.open_branch("main", plain()).await.unwrap()).await;
    });
}

/// Goal: an agent's tree stays within what it is given, however long it works. Method: a tree of 28,000 files, ten edits at
/// random places and a commit, a release, again and again; the most that was held in the first rounds is not exceeded later.
#[test]
fn a_long_lived_tree_stays_within_its_budget() {
    const KEEP: usize = 512 << 10;
    let trees = trees();
    plant(&trees, "main", 28_000);
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        let mut number = 0;
        let mut most = 0;
        let mut once = 0;
        for round in 0..300 {
            for _ in 0..10 {
                number = (number + 10_007) % 28_000;
                tree.write(path(number), format!("{round}")).await.unwrap();
            }
            tree.commit("step").await.unwrap();
            if round == 0 {
                once = tree.memory_bytes();
            }
            most = most.max(tree.memory_bytes());
            tree.release(KEEP);
            assert!(tree.loaded_bytes() <= KEEP);
        }
        tree.check_memory();
        for number in 0..28_000 {
            tree.stat(path(number)).await.unwrap();
        }
        let whole = tree.memory_bytes();
        println!("ten edits: {once} bytes, at most {most}, all directories: {whole}");
        assert!(most < KEEP + once + (64 << 10), "{most}");
        assert!(whole > 4 * KEEP, "{whole}");
    });
}

/// Goal: what is used stays, what was used once goes first. Method: one directory read between all the others.
#[test]
fn what_is_used_stays() {
    let trees = trees();
    plant(&trees, "main", 5_000);
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        let mut gone = 0;
        for number in (0..5_000).step_by(50) {
            read(&mut tree, &path(number)).await;
            gone += usize::from(!tree.by_path.contains_key(&b"p0/d0"[..]));
            read(&mut tree, &path(3)).await;
            tree.release(60_000);
        }
        assert!(loaded(&tree) < 20);
        assert!(gone <= 2, "{gone}");
    });
}

/// Goal: forks have the nodes of directories that they change in common with the tree they came from, but for those that a
/// commit replaced; and what one of them commits the other does not see. Method: one file changed in a fork; the encoded nodes
/// that both have, counted by where they lie, before and after the commit, and the file in both.
#[test]
fn forks_share_nodes() {
    let trees = trees();
    plant(&trees, "main", 5_000);
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        let before = read(&mut tree, &path(0)).await;
        let nodes = |tree: &WorkingTree| {
            let directories = tree.directories.iter();
            let nodes = directories.flat_map(|directory| directory.nodes.levels.iter().flatten());
            nodes.map(|node| node.bytes.as_ptr()).collect::<Vec<_>>()
        };
        let replaced = |fork: &WorkingTree| {
            let (own, others) = (nodes(fork), nodes(&tree));
            assert_eq!(own.len(), others.len());
            own.iter()
                .zip(others)
                .filter(|(own, other)| **own != *other)
                .count()
        };
        let mut fork = tree.fork("fork").await.unwrap();
        fork.write(path(0), "of the fork").await.unwrap();
        assert_eq!(replaced(&fork), 0);
        fork.commit("step").await.unwrap();
        // A leaf, and what is above it, in each directory on the way.
        let levels: usize = fork
            .directories
            .iter()
            .map(|directory| directory.nodes.levels.len())
            .sum();
        assert_eq!(replaced(&fork), levels);
        assert!(levels < nodes(&tree).len());
        fork.write(path(0), "once more").await.unwrap();
        fork.commit("step").await.unwrap();
        assert_eq!(read(&mut tree, &path(0)).await, before);
        assert_eq!(read(&mut fork, &path(0)).await, "once more");
    });
}

/// Goal: a fork copies the places of few directories, whatever is loaded. Method: blocks of places that a tree of 100 directories
/// and its fork have in common: after the fork, after reads, after a change in each, and after the tree was let go.
#[test]
fn forks_share_places() {
    let trees = trees();
    plant(&trees, "main", 5_000);
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        for number in (0..5_000).step_by(50) {
            read(&mut tree, &path(number)).await;
        }
        let shared =
            |fork: &WorkingTree, tree: &WorkingTree| fork.directories.blocks_shared(&tree.directories);
        let mut fork = tree.fork("fork").await.unwrap();
        let blocks = shared(&tree, &tree);
        assert!(blocks >= 6 && shared(&fork, &tree) == blocks, "{blocks}");
        read(&mut fork, &path(2_500)).await;
        read(&mut tree, &path(4_000)).await;
        assert_eq!(shared(&fork, &tree), blocks);
        // The changed directory, the one above it and the top lie in three blocks at most.
        fork.write(path(4_999), "of the fork").await.unwrap();
        assert!((blocks - 3..blocks).contains(&shared(&fork, &tree)));
        fork.commit("own").await.unwrap();
        assert!((blocks - 3..blocks).contains(&shared(&fork, &tree)));
        tree.release(0);
        assert_eq!(shared(&fork, &tree), 0);
        assert_eq!(read(&mut fork, &path(1)).await, path(1));
        assert_eq!(read(&mut tree, &path(4_999)).await, path(4_999));
        tree.check_memory();
        fork.check_memory();
    });
}

/// Goal: forks share what is loaded, let go of it on their own, and the last one frees it. Method: a directory watched from
/// outside.
#[test]
fn forks_let_go_on_their_own() {
    let trees = trees();
    plant(&trees, "main", 1_000);
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        read(&mut tree, &path(0)).await;
        let watched: Weak<Directory> = tree.watch(tree.by_path[&b"p0/d0"[..]]);
        let mut fork = tree.fork("fork").await.unwrap();
        assert_eq!(fork.loaded_bytes() / 1024, tree.loaded_bytes() / 1024);
        tree.release(0);
        assert!(watched.upgrade().is_some());
        assert_eq!(read(&mut fork, &path(0)).await, path(0));
        fork.write(path(1), "of the fork").await.unwrap();
        fork.release(0);
        assert_eq!(read(&mut tree, &path(1)).await, path(1));
        fork.commit("own").await.unwrap();
        fork.release(0);
        assert!(watched.upgrade().is_none());
        assert_eq!(read(&mut fork, &path(1)).await, "of the fork");
        let mut again = fork.fork("again").await.unwrap();
        drop(fork);
        assert_eq!(read(&mut again, &path(1)).await, "of the fork");
    });
}

/// Goal: P5 for what was let go: it can be loaded again whatever has become of the branch. Method: a tree that keeps nothing,
/// whose branch moves on, forgets and is removed, with collections between; all its files are read, and it commits.
#[test]
fn what_was_let_go_is_not_collected() {
    let trees = trees();
    plant(&trees, "main", 1_000);
    let collect = || {
        block_on(trees.store.flush()).unwrap();
        block_on(own(&trees).collect(Arc::new(TreeTrace), false)).unwrap()
    };
    let mut tree = block_on(trees.open_branch("main", plain())).unwrap();
    block_on(tree.write(path(3), "not committed")).unwrap();
    tree.release(0);
    let mut other = block_on(trees.open_branch("main", plain())).unwrap();
    for number in 0..1_000 {
        block_on(other.write(path(number), format!("other {number}"))).unwrap();
    }
    block_on(other.commit("everything else")).unwrap();
    drop(other);
    collect();
    let check = |tree: &mut WorkingTree| {
        for number in 0..1_000 {
            let expected = if number == 3 {
                "not committed".into()
            } else {
                path(number)
            };
            assert_eq!(block_on(read(tree, &path(number))), expected);
        }
        tree.release(0);
    };
    check(&mut tree);
    block_on(trees.delete_branch("main", ExpectHead::Any)).unwrap();
    assert!(collect().swept > 1_000, "what the other one wrote is gone");
    check(&mut tree);
    let mut fork = block_on(tree.fork("kept")).unwrap();
    drop(tree);
    collect();
    block_on(fork.commit("at last")).unwrap();
    fork.release(0);
    block_on(trees.delete_branch("kept", ExpectHead::Any)).unwrap();
    collect();
    check(&mut fork);
}

/// Goal: P5 with collections at any moment: a tree that keeps nothing never misses what it has let go. Method: a thread that
/// collects without a pause; trees forked from each other whose branches are removed at once, that edit, store contents ahead,
/// commit and read, and let go between all of it.
#[test]
fn collections_beside_leave_what_was_let_go() {
    let trees = trees();
    plant(&trees, "main", 500);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                block_on(own(&trees).collect(Arc::new(TreeTrace), false)).unwrap();
                block_on(own(&trees).collect_young(Arc::new(TreeTrace))).unwrap();
            }
        });
        let options = WorkingOptions {
            pending_bytes_max: 40,
            ..plain()
        };
        let mut tree = block_on(trees.open_branch("main", options)).unwrap();
        block_on(trees.delete_branch("main", ExpectHead::Any)).unwrap();
        let mut expected: Vec<String> = (0..500).map(path).collect();
        for round in 0..60 {
            let branch = format!("b{round}");
            tree = block_on(tree.fork(&branch)).unwrap();
            for edit in 0..6 {
                let number = (round * 89 + edit * 83) % 500;
                expected[number] = format!("{round} {edit}");
                block_on(tree.write(path(number), expected[number].clone())).unwrap();
                tree.release(edit * 2_000);
            }
            if round % 3 > 0 {
                block_on(tree.commit("step")).unwrap();
                tree.release(0);
            }
            block_on(trees.delete_branch(&branch, ExpectHead::Any)).unwrap();
            for number in (round % 7..500).step_by(41) {
                assert_eq!(block_on(read(&mut tree, &path(number))), expected[number]);
            }
            tree.release(0);
        }
        for (number, expected) in expected.iter().enumerate() {
            assert_eq!(&block_on(read(&mut tree, &path(number))), expected);
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Goal: a tree's lease names what it needs, not what it has needed. Method: many commits and many contents stored ahead of
/// them, written over and over, with collections between; what is held is counted, and everything is read in the end.
#[test]
fn a_lease_does_not_grow_with_its_tree() {
    let trees = trees();
    plant(&trees, "main", 200);
    let options = WorkingOptions {
        pending_bytes_max: 100,
        ..plain()
    };
    let mut tree = block_on(trees.open_branch("main", options)).unwrap();
    let mut expected = BTreeMap::new();
    let held = |tree: &WorkingTree| tree.lease.keys().len();
    for round in 0..400 {
        for edit in 0..5 {
            let (at, content) = (
                path((round * 7 + edit) % 20),
                format!("{round} {edit} {}", "x".repeat(60)),
            );
            block_on(tree.write(&at, content.clone())).unwrap();
            expected.insert(at, content);
            // Twenty files at most are stored ahead.
            assert!(held(&tree) <= 1 + 2 * 20 + 64 + 5, "{}", held(&tree));
            assert!(tree.stored_ahead < held(&tree) + 1);
        }
        match round % 8 {
            1 => {
                block_on(tree.commit("step")).unwrap();
                assert_eq!(held(&tree), 1);
            }
            2 => {
                assert!(block_on(tree.commit("changed")).is_ok());
                block_on(tree.write(path(0), expected.get(&path(0)).cloned().unwrap_or(path(0)))).unwrap();
                assert!(block_on(tree.commit("the same again")).unwrap().unchanged);
                assert_eq!(held(&tree), 1);
            }
            _ => {}
        }
        if round % 50 == 9 {
            block_on(trees.store.flush()).unwrap();
            block_on(own(&trees).collect(Arc::new(TreeTrace), false)).unwrap();
            for (at, content) in &expected {
                assert_eq!(&block_on(read(&mut tree, at)), content);
            }
        }
    }
    assert_eq!(own(&trees).stats().leases, 1);
}

/// Goal: leaves of a large directory that stays go too, and come again for whatever needs them. Method: 5,000 names in the top
/// directory, which never goes; changes of names among leaves that are gone.
#[test]
fn leaves_of_what_stays_go_too() {
    let trees = trees();
    let names: Vec<String> = (0..5_000).map(|number| format!("f{number:05}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    commit(&trees, "main", &files, &CommitOptions::default()).unwrap();
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        assert_eq!(tree.list("").await.unwrap().len(), 5_000);
        let whole = tree.loaded_bytes();
        tree.write("f02500", "2").await.unwrap();
        tree.release(0);
        tree.check_memory();
        assert!(
            tree.loaded_bytes() * 2 < whole,
            "{} of {whole}",
            tree.loaded_bytes()
        );
        for step in 0..40 {
            tree.remove(format!("f{:05}", step * 101)).await.unwrap();
            tree.write(format!("f{:05}x", step * 97), "new").await.unwrap();
            tree.release(0);
        }
        let listed = tree.list("").await.unwrap();
        tree.release(0);
        tree.commit("names").await.unwrap();
        tree.check_memory();
        let mut again = trees.open_branch("main", plain()).await.unwrap();
        let names = |listed: &[Stat]| {
            listed
                .iter()
                .map(|stat| stat.entry.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&listed), names(&again.list("").await.unwrap()));
        assert_eq!(again.read("f02500").await.unwrap(), "2");
    });
}

/// Goal: memory that paths and changes take is bounded or known. Method: many spellings of one path; names added and removed.
#[test]
fn paths_and_changes_are_counted() {
    let trees = trees();
    plant(&trees, "main", 100);
    block_on(async {
        let mut tree = trees.open_branch("main", plain()).await.unwrap();
        for number in 1..3_000 {
            let spelled = format!("p0{}d0/f0", "/".repeat(number));
            assert_eq!(read(&mut tree, &spelled).await, path(0));
        }
        assert!(tree.path_bytes < 200 << 10, "{}", tree.path_bytes);
        let before = tree.memory_bytes();
        for number in 0..2_000 {
            tree.write(format!("p0/new{number}"), "").await.unwrap();
        }
        let grown = tree.memory_bytes() - before;
        assert!((2_000 * 200..2_000 * 2_000).contains(&grown), "{grown}");
        for number in 0..2_000 {
            tree.remove(format!("p0/new{number}")).await.unwrap();
        }
        tree.check_memory();
        assert_eq!((tree.change_bytes, tree.pending_bytes), (0, 0));
    });
}
