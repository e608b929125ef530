use super::*;
use crate::reactor::block_on;
use crate::trees::CommitOptions;
use crate::trees::testing::{commit, tick, trees};

fn step(trees: &Trees, branch: &str, parents: Option<Vec<ContentId>>) -> ContentId {
    let content = tick(trees).to_string();
    let options = CommitOptions {
        parents,
        ..CommitOptions::default()
    };
    commit(trees, branch, &[("a", &content)], &options)
        .unwrap()
        .commit
}

fn ids(mut log: Log) -> Vec<ContentId> {
    let mut ids = Vec::new();
    while let Some(logged) = block_on(log.next()).unwrap() {
        ids.push(logged.id);
    }
    ids
}

/// Goal: a log shows first parents or everything, newest first, each commit once. Method: a history with a merge and
/// a criss-cross.
#[test]
fn logs_show_what_they_should() {
    let trees = trees();
    let base = step(&trees, "main", None);
    let left = step(&trees, "main", None);
    let right = step(&trees, "side", Some(vec![base]));
    let merge = step(&trees, "main", Some(vec![left, right]));
    let cross = step(&trees, "side", Some(vec![right, left]));
    let last = step(&trees, "main", Some(vec![merge, cross]));
    assert_eq!(
        ids(trees.log(last, Ancestors::First, 0)),
        [last, merge, left, base]
    );
    assert_eq!(
        ids(trees.log(last, Ancestors::All, 0)),
        [last, cross, merge, right, left, base]
    );
    let since = block_on(trees.read_commit(merge)).unwrap().time_ns;
    assert_eq!(ids(trees.log(last, Ancestors::All, since)), [last, cross, merge]);
    assert_eq!(ids(trees.log(last, Ancestors::First, since)), [last, merge]);
}

/// Goal: the nth ancestor is found, and too far back says so. Method: a chain.
#[test]
fn ancestors_are_counted() {
    let trees = trees();
    let chain: Vec<ContentId> = (0..5).map(|_| step(&trees, "main", None)).collect();
    for back in 0..5 {
        assert_eq!(
            block_on(trees.ancestor(chain[4], back, 0)).unwrap(),
            chain[4 - back as usize]
        );
    }
    assert!(matches!(
        block_on(trees.ancestor(chain[4], 5, 0)),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        block_on(trees.read_commit(ContentId([0; 32]))),
        Err(Error::NotFound { .. })
    ));
}
