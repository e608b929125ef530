use super::*;
use crate::limits::BRANCH_JUMPS_MAX;
use crate::reactor::block_on;
use crate::trees::CommitOptions;
use crate::trees::testing::{commit, tick, trees};

fn step(trees: &Trees, branch: &str, content: &str) -> ContentId {
    commit(trees, branch, &[("a", content)], &CommitOptions::default())
        .unwrap()
        .commit
}

/// Goal: branches are made, listed, moved, renamed and removed. Method: one after the other.
#[test]
fn branches_live_and_die() {
    let trees = trees();
    let one = step(&trees, "main", "1");
    let two = step(&trees, "main", "2");
    block_on(async {
        trees.create_branch("work", one).await.unwrap();
        let names: Vec<String> = trees
            .branches()
            .unwrap()
            .into_iter()
            .map(|branch| branch.name)
            .collect();
        assert_eq!(names, ["main", "work"]);
        assert!(matches!(
            trees.create_branch("work", one).await,
            Err(Error::Exists { .. })
        ));
        assert!(matches!(
            trees.create_branch("-x", one).await,
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(
            trees.create_branch("lost", ContentId([1; 32])).await,
            Err(Error::NotFound { .. })
        ));

        let stale = trees.move_branch("work", two, ExpectHead::Is(two)).await;
        assert!(matches!(stale, Err(Error::Conflict { .. })));
        trees.move_branch("work", two, ExpectHead::Is(one)).await.unwrap();
        assert_eq!(trees.branch("work").unwrap().commit, two);

        assert!(matches!(
            trees.rename_branch("work", "main").await,
            Err(Error::Exists { .. })
        ));
        assert!(matches!(
            trees.rename_branch("gone", "new").await,
            Err(Error::NotFound { .. })
        ));
        trees.rename_branch("work", "play").await.unwrap();
        assert!(matches!(trees.branch("work"), Err(Error::NotFound { .. })));
        assert_eq!(trees.branch("play").unwrap().commit, two);

        let stale = trees.delete_branch("play", ExpectHead::Is(one)).await;
        assert!(matches!(stale, Err(Error::Conflict { .. })));
        trees.delete_branch("play", ExpectHead::Any).await.unwrap();
        assert!(matches!(
            trees.delete_branch("play", ExpectHead::Any).await,
            Err(Error::NotFound { .. })
        ));
    });
}

/// Goal: tags stay where they are unless forced. Method: make, refuse, force, remove.
#[test]
fn tags_stay() {
    let trees = trees();
    let one = step(&trees, "main", "1");
    let two = step(&trees, "main", "2");
    block_on(async {
        trees.create_tag("v1", one, false).await.unwrap();
        assert!(matches!(
            trees.create_tag("v1", two, false).await,
            Err(Error::Exists { .. })
        ));
        trees.create_tag("v1", two, true).await.unwrap();
        assert_eq!(trees.tag("v1").unwrap().commit, two);
        trees.create_tag("v2", two, true).await.unwrap();
        assert_eq!(trees.tags().unwrap().len(), 2);
        trees.delete_tag("v1").await.unwrap();
        assert!(matches!(trees.tag("v1"), Err(Error::NotFound { .. })));
    });
}

/// Goal: many branches are made at once or not at all. Method: overlapping numbers.
#[test]
fn many_branches_are_made_together() {
    let trees = trees();
    let one = step(&trees, "main", "1");
    block_on(async {
        let (names, _) = trees.create_branches("agent-{n}", 1, 100, one, 0).await.unwrap();
        assert_eq!(
            (names.len(), names[0].as_str(), names[99].as_str()),
            (100, "agent-1", "agent-100")
        );
        let taken = trees
            .create_branches("agent-{n}", 100, 5, one, 0)
            .await
            .map(|_| ());
        let Err(Error::Exists { what }) = taken else {
            panic!("taken")
        };
        assert_eq!(what, "branch agent-100");
        assert!(matches!(
            trees.create_branches("agent", 1, 2, one, 0).await,
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(
            trees.create_branches("a-{n}", 1, u64::MAX, one, 0).await,
            Err(Error::Invalid { .. })
        ));
        assert_eq!(trees.branches().unwrap().len(), 101);
    });
}

/// Goal: the head at any time is the head that was current then. Method: commits, jumps back and forth, to commits
/// older and newer than the moment, with the head noted after every step; every noted time is asked for.
#[test]
fn the_head_at_any_time_is_exact() {
    let trees = trees();
    let elsewhere = step(&trees, "elsewhere", "0");
    let future = CommitOptions {
        time_ns: Some(trees.store.now_ns() + 1_000_000),
        ..CommitOptions::default()
    };
    let future = commit(&trees, "future", &[("a", "f")], &future).unwrap().commit;
    let before = tick(&trees);
    let mut noted: Vec<(u64, ContentId)> = Vec::new();
    let note = |noted: &mut Vec<(u64, ContentId)>, head: ContentId| {
        assert_eq!(trees.branch("main").unwrap().commit, head);
        noted.push((tick(&trees), head));
        tick(&trees);
    };
    let moved = |to| block_on(trees.move_branch("main", to, ExpectHead::Any)).unwrap();
    let mut heads = Vec::new();
    for content in ["1", "2", "3"] {
        heads.push(step(&trees, "main", content));
        note(&mut noted, heads[heads.len() - 1]);
    }
    // Back, on from there, to a foreign commit, to one whose time is yet to come and on from there, then forward to
    // a descendant that was made before the move.
    for to in [heads[0], elsewhere, heads[2], heads[1]] {
        moved(to);
        note(&mut noted, to);
        let next = step(&trees, "main", &format!("after {to}"));
        note(&mut noted, next);
    }
    moved(future);
    note(&mut noted, future);
    let next = step(&trees, "main", "after the future");
    moved(elsewhere);
    note(&mut noted, elsewhere);
    moved(next);
    note(&mut noted, next);
    block_on(async {
        trees.rename_branch("main", "renamed").await.unwrap();
        for (time_ns, head) in noted {
            assert_eq!(trees.head_at("renamed", time_ns).await.unwrap(), head);
        }
        assert!(matches!(
            trees.head_at("renamed", before).await,
            Err(Error::NotFound { .. })
        ));
    });
}

/// Goal: when more moves happen than a record can hold, old times have no answer, and never a wrong one. Method:
/// twice as many moves; every noted time is answered rightly or refused.
#[test]
fn forgotten_moves_are_refused() {
    let trees = trees();
    let heads: Vec<ContentId> = ["1", "2", "3"]
        .map(|content| step(&trees, "main", content))
        .into();
    let mut noted = Vec::new();
    for index in 0..BRANCH_JUMPS_MAX * 2 {
        let to = heads[index % 3];
        block_on(trees.move_branch("main", to, ExpectHead::Any)).unwrap();
        noted.push((tick(&trees), to));
        tick(&trees);
    }
    let answers = noted.iter().map(
        |(time_ns, head)| match block_on(trees.head_at("main", *time_ns)) {
            Ok(found) => {
                assert_eq!(found, *head);
                true
            }
            Err(error) => {
                assert!(matches!(error, Error::NotFound { .. }));
                false
            }
        },
    );
    let answers: Vec<bool> = answers.collect();
    assert!(
        answers.is_sorted()
            && !answers[0]
            && answers.iter().filter(|known| **known).count() >= BRANCH_JUMPS_MAX
    );
    let data = trees.existing(RootKind::Branch, "main").unwrap().root.data;
    assert_eq!(BranchData::decode(&data).unwrap().jumps.len(), BRANCH_JUMPS_MAX);
}
