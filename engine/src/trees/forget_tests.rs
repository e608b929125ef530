use super::*;
use crate::format::Kind;
use crate::reactor::block_on;
use crate::trees::testing::{commit, tick, trees};
use crate::trees::{Ancestors, CommitOptions, Histories};

const MINUTE_NS: u64 = 60_000_000_000;
/// Time of the first commit.
const BEGIN_NS: u64 = 1_800_000_000_000_000_000;

/// Ten commits on `main`, a minute apart, oldest first.
fn ten(trees: &Trees) -> Vec<ContentId> {
    (0..10)
        .map(|step| {
            let options = CommitOptions {
                time_ns: Some(BEGIN_NS + step * MINUTE_NS),
                ..CommitOptions::default()
            };
            tick(trees);
            commit(trees, "main", &[("a", &step.to_string())], &options)
                .unwrap()
                .commit
        })
        .collect()
}

fn forget(trees: &Trees, branch: &str, keep: Keep) -> Forgotten {
    block_on(trees.forget(branch, &mut Forgetting::new(keep).unwrap(), false))
        .unwrap()
        .0
}

fn last(count: u64) -> Keep {
    Keep {
        last: Some(count),
        ..Keep::default()
    }
}

fn within(minutes: u64) -> Keep {
    Keep {
        within_ns: Some(minutes * MINUTE_NS),
        ..Keep::default()
    }
}

fn tagged(pattern: &str) -> Keep {
    Keep {
        tags: vec![pattern.into()],
        ..Keep::default()
    }
}

/// What a log of `branch` shows.
fn log(trees: &Trees, branch: &str) -> Vec<ContentId> {
    block_on(async {
        let resolved = trees.resolve(branch).await.unwrap();
        let log = trees.log(resolved.commit, Ancestors::All, 0);
        let mut log = log.down_to(resolved.floor_ns).and(&resolved.kept);
        let mut ids = Vec::new();
        while let Some(logged) = log.next().await.unwrap() {
            ids.push(logged.id);
        }
        ids
    })
}

/// What the branches and tags keep alive.
fn alive(trees: &Trees) -> Vec<ContentId> {
    let histories = Histories::new(trees.store.clone());
    let mut found = Vec::new();
    for kind in [RootKind::Branch, RootKind::Tag] {
        for root in trees.store.roots(kind).unwrap() {
            block_on(histories.root(&root, &mut found)).unwrap();
        }
    }
    found.retain(|(kind, _)| *kind == Kind::Commit);
    found.into_iter().map(|(_, id)| id).collect()
}

fn newest_first(ids: &[ContentId]) -> Vec<ContentId> {
    ids.iter().rev().copied().collect()
}

/// Goal: each rule keeps what it says, and nothing else stays reachable. Method: one rule each on ten commits; what a
/// log shows, what ancestors and times name, and what a trace finds have to agree.
#[test]
fn each_rule_keeps_what_it_says() {
    for (keep, left) in [
        (last(3), 3),
        (within(4), 5),
        (last(1), 1),
        (last(99), 10),
        (within(0), 1),
    ] {
        let trees = trees();
        let ids = ten(&trees);
        let told = forget(&trees, "main", keep.clone());
        assert_eq!((told.kept, told.forgotten), (left, 10 - left), "{keep:?}");
        let stays = newest_first(&ids[10 - left as usize..]);
        assert_eq!(told.oldest, stays[stays.len() - 1]);
        assert_eq!(log(&trees, "main"), stays);
        assert_eq!(alive(&trees), stays);
        let resolve = |revision: String| block_on(trees.resolve(&revision)).map(|resolved| resolved.commit);
        assert_eq!(resolve(format!("main~{}", left - 1)).unwrap(), told.oldest);
        assert!(matches!(
            resolve(format!("main~{left}")),
            Err(Error::NotFound { .. })
        ));
        let again = forget(&trees, "main", keep);
        assert_eq!((again.kept, again.forgotten), (left, 0));
    }
}

/// Goal: rules add up, and tagged commits stay one by one. Method: a tag inside what goes, seen by a log; the tag goes
/// away, the commit stays until the next rule does not name it.
#[test]
fn tagged_commits_stay_one_by_one() {
    let trees = trees();
    let ids = ten(&trees);
    block_on(trees.create_tag("release-1", ids[2], false)).unwrap();
    block_on(trees.create_tag("nightly", ids[4], false)).unwrap();
    let keep = Keep {
        tags: vec!["release-*".into()],
        ..last(2)
    };
    let told = forget(&trees, "main", keep.clone());
    assert_eq!((told.kept, told.forgotten), (3, 7));
    assert_eq!(log(&trees, "main"), [ids[9], ids[8], ids[2]]);
    assert_eq!(
        log(&trees, "nightly"),
        [ids[4]],
        "a tag keeps its commit, and nothing that was forgotten"
    );
    assert_eq!(alive(&trees).len(), 4);
    block_on(trees.delete_tag("nightly")).unwrap();
    assert_eq!(alive(&trees).len(), 3);
    assert_eq!(forget(&trees, "main", keep).forgotten, 0);
    block_on(trees.delete_tag("release-1")).unwrap();
    assert_eq!(alive(&trees).len(), 3, "kept by the branch");
    assert_eq!(forget(&trees, "main", tagged("release-*")).forgotten, 2);
    assert_eq!(alive(&trees), [ids[9]]);
}

/// Goal: commits go on as before, and a cut stays where it is. Method: commits after a cut, then a milder rule.
#[test]
fn a_cut_history_goes_on() {
    let trees = trees();
    let ids = ten(&trees);
    forget(&trees, "main", last(2));
    let next = commit(&trees, "main", &[("a", "next")], &CommitOptions::default())
        .unwrap()
        .commit;
    assert_eq!(log(&trees, "main"), [next, ids[9], ids[8]]);
    assert_eq!(forget(&trees, "main", last(50)).forgotten, 0);
    assert_eq!(log(&trees, "main"), [next, ids[9], ids[8]]);
}

/// Goal: a branch that was not named keeps what it had. Method: a fork; the trace of both.
#[test]
fn other_branches_keep_their_history() {
    let trees = trees();
    let ids = ten(&trees);
    block_on(trees.create_branch("fork", ids[6])).unwrap();
    forget(&trees, "main", last(1));
    assert_eq!(log(&trees, "fork"), newest_first(&ids[..7]));
    assert_eq!(alive(&trees).len(), 8);
    forget(&trees, "fork", last(2));
    assert_eq!(alive(&trees).len(), 3);
}

/// Goal: a time before the floor says that it was forgotten, one after it still has its answer. Method: times between
/// commits made by the store's clock.
#[test]
fn times_before_the_floor_say_so() {
    let trees = trees();
    let mut moments = Vec::new();
    for step in 0..5 {
        let made = commit(
            &trees,
            "main",
            &[("a", &step.to_string())],
            &CommitOptions::default(),
        );
        moments.push((made.unwrap().commit, tick(&trees)));
    }
    forget(&trees, "main", last(2));
    for (index, (id, time_ns)) in moments.into_iter().enumerate() {
        match block_on(trees.head_at("main", time_ns)) {
            Ok(found) => assert!(index >= 3 && found == id),
            Err(error) => {
                assert!(index < 3, "{index}: {error}");
                assert!(error.to_string().contains("forgotten"), "{error}");
            }
        }
    }
}

/// Goal: rules that make no sense are refused, and a dry run changes nothing.
#[test]
fn refusals_and_rehearsals() {
    for keep in [Keep::default(), last(0), tagged("[")] {
        assert!(matches!(Forgetting::new(keep), Err(Error::Invalid { .. })));
    }
    let trees = trees();
    let ids = ten(&trees);
    let mut rules = Forgetting::new(last(4)).unwrap();
    let (told, acks) = block_on(trees.forget("main", &mut rules, true)).unwrap();
    assert_eq!((told.forgotten, acks.len()), (6, 0));
    assert_eq!(log(&trees, "main"), newest_first(&ids));
    let unknown = block_on(trees.forget("nope", &mut rules, true));
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
}

/// Goal: a branch that moves back within its history keeps the rest of it, whatever was forgotten on others. Method:
/// another branch at the commit it moves to has forgotten everything before.
#[test]
fn moving_back_keeps_what_is_before() {
    let trees = trees();
    let ids = ten(&trees);
    block_on(trees.create_branch("other", ids[6])).unwrap();
    forget(&trees, "other", last(1));
    block_on(trees.move_branch("main", ids[6], crate::trees::ExpectHead::Any)).unwrap();
    assert_eq!(log(&trees, "main").len(), 7);
    assert_eq!(log(&trees, "other").len(), 1);
}
