use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::reactor::block_on;
use crate::trees::testing::{commit, trees};
use crate::trees::{CommitOptions, ExpectHead, Forgetting, Keep};

fn roots(trees: &Trees) -> Vec<Root> {
    let mut roots = trees.store.roots(RootKind::Branch).unwrap();
    roots.extend(trees.store.roots(RootKind::Tag).unwrap());
    roots
}

/// The commits that the roots keep.
fn alive(trees: &Trees, roots: &[Root]) -> BTreeSet<ContentId> {
    let histories = Histories::new(trees.store.clone());
    let mut found = Vec::new();
    for root in roots {
        block_on(histories.root(root, &mut found)).unwrap();
    }
    let count = found.len();
    let found: BTreeSet<ContentId> = found.into_iter().map(|(_, id)| id).collect();
    assert_eq!(found.len(), count, "a commit was answered twice");
    found
}

fn keep_last(trees: &Trees, branch: &str, last: u64) {
    let keep = Keep {
        last: Some(last),
        ..Keep::default()
    };
    block_on(trees.forget(branch, &mut Forgetting::new(keep).unwrap(), false)).unwrap();
}

/// Goal: no root ever reaches a commit that a collection may have taken, whatever is done to branches and tags.
/// Method: random commits, merges, forks, moves, tags, removals and cuts; everything that no root reaches counts as
/// collected from then on; after each step the histories of all roots are followed by hand.
#[test]
fn what_was_collected_is_never_reached() {
    for seed in 0..40 {
        let mut random = StdRng::seed_from_u64(seed);
        let trees = trees();
        let mut known: BTreeSet<ContentId> = BTreeSet::new();
        let mut gone: BTreeSet<ContentId> = BTreeSet::new();
        for step in 0..60 {
            let branch = format!("b{}", random.random_range(0..4));
            let there: Vec<ContentId> = known.difference(&gone).copied().collect();
            let any = |random: &mut StdRng| there.get(random.random_range(0..there.len().max(1))).copied();
            match random.random_range(0..12) {
                0 => {
                    let _ = block_on(trees.delete_branch(&branch, ExpectHead::Any));
                }
                1 | 2 => {
                    let _ = any(&mut random).map(|id| block_on(trees.create_branch(&branch, id)));
                }
                3 => {
                    let _ =
                        any(&mut random).map(|id| block_on(trees.move_branch(&branch, id, ExpectHead::Any)));
                }
                4 => {
                    let _ = any(&mut random).map(|id| block_on(trees.create_tag(&branch, id, true)));
                }
                5 => {
                    let _ = block_on(trees.delete_tag(&branch));
                }
                6 | 7 if trees.branch(&branch).is_ok() => {
                    keep_last(&trees, &branch, random.random_range(1..4));
                }
                8 => {
                    let head = trees.branch(&branch).ok().map(|branch| branch.commit);
                    let mut parents: Vec<ContentId> = head.into_iter().chain(any(&mut random)).collect();
                    parents.dedup();
                    let options = CommitOptions {
                        parents: Some(parents),
                        ..CommitOptions::default()
                    };
                    let made = commit(&trees, &branch, &[("a", &step.to_string())], &options).unwrap();
                    known.insert(made.commit);
                }
                _ => {
                    let content = step.to_string();
                    let made =
                        commit(&trees, &branch, &[("a", &content)], &CommitOptions::default()).unwrap();
                    known.insert(made.commit);
                }
            }
            let roots = roots(&trees);
            let alive = alive(&trees, &roots);
            let lost: Vec<&ContentId> = alive.intersection(&gone).collect();
            assert!(lost.is_empty(), "seed {seed}, step {step}: {lost:?}");
            if random.random_bool(0.3) {
                gone.extend(known.difference(&alive));
            }
            for reference in trees.branches().unwrap().into_iter().chain(trees.tags().unwrap()) {
                assert!(alive.contains(&reference.commit), "seed {seed}, step {step}");
            }
        }
    }
}

/// Goal: commits that many branches share are gone through once, and the order of roots changes no answer. Method:
/// branches off a long history, some cut at different places; counts and sets.
#[test]
fn shared_histories_are_read_once() {
    let trees = trees();
    for step in 0..50 {
        commit(
            &trees,
            "main",
            &[("a", &step.to_string())],
            &CommitOptions::default(),
        )
        .unwrap();
    }
    let head = trees.branch("main").unwrap().commit;
    block_on(trees.create_branches("agent-{n}", 0, 100, head, 0)).unwrap();
    for number in 0..100 {
        let branch = format!("agent-{number}");
        commit(&trees, &branch, &[("b", &branch)], &CommitOptions::default()).unwrap();
        keep_last(&trees, &branch, 1 + number % 40);
    }
    let mut roots = roots(&trees);
    Histories::order(&mut roots);
    assert_eq!(&roots[0].name[..], b"main", "the longest history comes first");
    let forward = alive(&trees, &roots);
    assert_eq!(forward.len(), 150);
    roots.reverse();
    assert_eq!(alive(&trees, &roots), forward);
    block_on(trees.delete_branch("main", ExpectHead::Any)).unwrap();
    let cut: Vec<Root> = trees.store.roots(RootKind::Branch).unwrap();
    // The longest cut history has 40 commits, one of them its own.
    assert_eq!(alive(&trees, &cut).len(), 100 + 39);
}

/// Goal: a new root takes over the floor of the history it begins in. Method: every way to make one, after a cut.
#[test]
fn floors_are_inherited() {
    let trees = trees();
    let ids: Vec<ContentId> = (0..6)
        .map(|step| {
            let made = commit(
                &trees,
                "main",
                &[("a", &step.to_string())],
                &CommitOptions::default(),
            );
            made.unwrap().commit
        })
        .collect();
    let time = |index: usize| block_on(trees.read_commit(ids[index])).unwrap().time_ns;
    keep_last(&trees, "main", 3);
    block_on(async {
        trees.create_branch("head", ids[5]).await.unwrap();
        trees.create_branch("middle", ids[4]).await.unwrap();
        trees.create_branch("forgotten", ids[1]).await.unwrap();
        trees.create_tag("tag", ids[3], false).await.unwrap();
        trees.create_branch("other", ids[5]).await.unwrap();
        trees.move_branch("other", ids[2], ExpectHead::Any).await.unwrap();
    });
    let floor = |name: &str| trees.branch(name).unwrap().floor_ns;
    assert_eq!(
        (floor("main"), floor("head"), floor("middle")),
        (time(3), time(3), time(3))
    );
    assert_eq!((floor("forgotten"), floor("other")), (time(1), time(2)));
    assert_eq!(trees.tag("tag").unwrap().floor_ns, time(3));
    let other = trees.existing(RootKind::Branch, "other").unwrap();
    assert_eq!(other.data().unwrap().jumps[0].floor_ns.get(), time(3));
}
