use super::*;
use crate::reactor::block_on;
use crate::trees::testing::{Plan, commit, directory, trees};
use crate::trees::{CommitOptions, PendingDirectory, build_many};

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

/// Goal: what a path names is found, and nothing else. Method: every kind of path, a symbolic link among them.
#[test]
fn paths_are_looked_up() {
    let trees = trees();
    let files = [("a/b/c", "1"), ("a/d", "22"), ("e", "333")];
    let done = commit(&trees, "main", &files, &CommitOptions::default()).unwrap();
    block_on(async {
        let find = async |text: &str| trees.entry_at(done.commit, &path(text)).await;
        assert_eq!(find("a/b/c").await.unwrap().size, 1);
        assert_eq!(find("").await.unwrap().id, done.tree);
        assert_eq!(find("a/b").await.unwrap().kind, EntryKind::Directory);
        for absent in ["x", "a/x", "a/b/x", "a/x/y"] {
            assert!(
                matches!(find(absent).await, Err(Error::NotFound { .. })),
                "{absent}"
            );
        }
        assert!(matches!(find("e/x").await, Err(Error::Invalid { .. })));
        let file = find("e").await.unwrap();
        assert!(matches!(trees.list(&file).await, Err(Error::Invalid { .. })));
        assert!(trees.walk(&file).is_err());
    });
}

/// Goal: a walk shows everything once, in the order of paths. Method: many directories, some of them equal, with names
/// that sort between a directory and what is in it.
#[test]
fn walks_show_everything_in_order() {
    let trees = trees();
    let mut files: Vec<(String, &str)> = vec![("a.b".into(), "1"), ("empty/".into(), "")];
    for number in 0..300 {
        files.push((format!("a/{number:03}/x"), "1"));
        files.push((format!("a/{number:03}.d/y/z"), "2"));
    }
    let borrowed: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, content)| (path.as_str(), *content))
        .collect();
    let done = commit(&trees, "main", &borrowed, &CommitOptions::default()).unwrap();
    block_on(async {
        let root = trees.read_commit(done.commit).await.unwrap().root;
        let mut walk = trees.walk(&root).unwrap();
        let mut seen = Vec::new();
        while let Some((path, entry)) = walk.next().await.unwrap() {
            assert_eq!(path.name(), Some(&entry.name[..]));
            seen.push(path);
        }
        assert!(seen.is_sorted_by(|a, b| a < b));
        assert_eq!(seen.len(), 601 + 300 * 3 + 2);
        assert_eq!(trees.count(&[root.id]).await.unwrap(), done.counts);
    });
}

/// Goal: a tree that names one directory over and over costs what its nodes cost. Method: forty levels of twenty names
/// for the same directory: 20^40 files.
#[test]
fn repeated_directories_are_counted_once_per_level() {
    let trees = trees();
    let (bottom, _, mut extents) = Plan::of(&[("a", "1")]).build();
    let mut id = bottom.id;
    for _ in 0..40 {
        let entries = (0..20)
            .map(|number| directory(format!("d{number:02}").as_bytes(), id))
            .collect();
        id = build_many(trees.domain, vec![PendingDirectory { entries }], &mut extents).unwrap()[0];
    }
    block_on(async {
        let mut batch = trees.batch();
        batch.put(extents).await.unwrap();
        batch.submit().await.unwrap();
        let counts = trees.count(&[id, bottom.id]).await.unwrap();
        assert_eq!(
            counts,
            TreeCounts {
                files: u64::MAX,
                bytes: u64::MAX
            }
        );
    });
}
