use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::reactor::block_on;
use crate::trees::testing::{commit, trees};
use crate::trees::{CommitOptions, Forgetting, Keep};

/// Time of the first commit of a graph.
const BEGIN_NS: u64 = 1_800_000_000_000_000_000;

/// A graph of commits; numbers are indices.
struct Graph {
    ids: Vec<ContentId>,
    parents: Vec<Vec<usize>>,
    times_ns: Vec<u64>,
}

impl Graph {
    fn new() -> Graph {
        Graph {
            ids: Vec::new(),
            parents: Vec::new(),
            times_ns: Vec::new(),
        }
    }

    /// Commits on a branch of its own.
    fn add(&mut self, trees: &Trees, seed: u64, parents: &[usize], time_ns: u64) -> usize {
        let index = self.ids.len();
        let options = CommitOptions {
            message: format!("{seed} {index}"),
            parents: Some(parents.iter().map(|parent| self.ids[*parent]).collect()),
            allow_unchanged: true,
            time_ns: Some(time_ns),
            ..CommitOptions::default()
        };
        let made = commit(trees, &format!("g{seed}-{index}"), &[("a", "1")], &options).unwrap();
        self.ids.push(made.commit);
        self.parents.push(parents.to_vec());
        self.times_ns.push(made.time_ns);
        index
    }

    /// A commit and all before it, as far as `followed` says.
    fn before(&self, from: usize, followed: impl Fn(usize, usize) -> bool) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![from];
        while let Some(at) = waiting.pop() {
            if found.insert(at) {
                waiting.extend(
                    self.parents[at]
                        .iter()
                        .copied()
                        .filter(|parent| followed(at, *parent)),
                );
            }
        }
        found
    }

    /// The best of what two commits have in common, by going through all of it.
    fn best(&self, sides: [usize; 2], followed: impl Fn(usize, usize) -> bool + Copy) -> BTreeSet<ContentId> {
        let [ours, theirs] = sides.map(|side| self.before(side, followed));
        let common: BTreeSet<usize> = ours.intersection(&theirs).copied().collect();
        let above = |at: &usize| {
            common
                .iter()
                .any(|other| other != at && self.before(*other, followed).contains(at))
        };
        common
            .iter()
            .filter(|at| !above(at))
            .map(|at| self.ids[*at])
            .collect()
    }
}

/// A graph whose commits have up to three parents, several roots now and then.
fn random_graph(trees: &Trees, seed: u64, random: &mut StdRng, skewed: bool) -> Graph {
    let mut graph = Graph::new();
    let size = random.random_range(2..14);
    for index in 0..size {
        let mut parents: Vec<usize> = Vec::new();
        if index > 0 && random.random_range(0..8) > 0 {
            for _ in 0..[1, 1, 2, 2, 2, 3][random.random_range(0..6)] {
                // Mostly late ones, so that lines get long.
                let parent = index - 1 - random.random_range(0..index.min(4));
                if !parents.contains(&parent) {
                    parents.push(parent);
                }
            }
        }
        let time_ns = match skewed {
            true => BEGIN_NS + random.random_range(0..20),
            false => BEGIN_NS + 10 * index as u64,
        };
        graph.add(trees, seed, &parents, time_ns);
    }
    graph
}

/// Goal: the best common ancestors are found in every graph, whatever the times in its commits say. Method: random
/// graphs against going through all ancestors, half of them with times at random; every pair of commits both ways
/// round.
#[test]
fn bases_are_those_of_an_exhaustive_search() {
    let trees = trees();
    let (mut several, mut none) = (0, 0);
    for seed in 0..150 {
        let mut random = StdRng::seed_from_u64(seed);
        let graph = random_graph(&trees, seed, &mut random, seed % 2 == 1);
        for _ in 0..12 {
            // Late ones have the most in common.
            let size = graph.ids.len();
            let sides = [0, 1].map(|_| size - 1 - random.random_range(0..size.min(6)));
            let expected = graph.best(sides, |_, _| true);
            let found = block_on(trees.common(sides.map(|side| graph.ids[side]))).unwrap();
            let turned = block_on(trees.common([sides[1], sides[0]].map(|side| graph.ids[side]))).unwrap();
            assert_eq!(found, turned, "seed {seed}");
            assert!(!found.hidden && found.cut_ns.is_none(), "seed {seed}: {found:?}");
            assert_eq!(
                found.bases.iter().copied().collect::<BTreeSet<_>>(),
                expected,
                "seed {seed} {sides:?}"
            );
            assert_eq!(found.bases.len(), expected.len());
            let times = found.bases.iter().map(|id| {
                let index = graph.ids.iter().position(|known| known == id).unwrap();
                graph.times_ns[index]
            });
            assert!(times.is_sorted_by(|a, b| a >= b), "seed {seed}: newest first");
            several += usize::from(expected.len() > 1);
            none += usize::from(expected.is_empty());
        }
    }
    assert!(
        several > 20 && none > 20,
        "{several} {none}: the graphs are too plain"
    );
}

/// Goal: of histories that were cut, a base is answered only if it is the best of the whole graph, and whatever can be
/// known is. Method: random graphs and floors, against a search in the whole graph and one in what both histories
/// still have.
#[test]
fn cut_histories_never_give_a_wrong_base() {
    let trees = trees();
    let (mut certain, mut hidden, mut beyond) = (0, 0, 0);
    for seed in 1000..1300 {
        let mut random = StdRng::seed_from_u64(seed);
        let graph = random_graph(&trees, seed, &mut random, false);
        for _ in 0..12 {
            let sides = [0, 1].map(|_| random.random_range(0..graph.ids.len()));
            let floors_ns = [0, 1].map(|_| match random.random_range(0..3) {
                0 => 0,
                _ => graph.times_ns[random.random_range(0..graph.ids.len())],
            });
            let histories =
                [0, 1].map(|side| graph.before(sides[side], |at, _| graph.times_ns[at] > floors_ns[side]));
            let there = |at: usize| histories.iter().any(|history| history.contains(&at));
            let seen = graph.best(sides, |_, parent| there(parent));
            let whole = graph.best(sides, |_, _| true);
            let ids = sides.map(|side| graph.ids[side]);
            let found = block_on(trees.common_above(ids, floors_ns)).unwrap();
            let context = format!("seed {seed} {sides:?} {floors_ns:?} {found:?}");
            let bases: BTreeSet<ContentId> = found.bases.iter().copied().collect();
            assert_eq!(bases, seen, "{context}");
            if found.hidden {
                hidden += 1;
                continue;
            }
            if bases.is_empty() {
                // Nothing was found; if there was something, the cut is told.
                assert!(whole.is_empty() || found.cut_ns.is_some(), "{context}");
                continue;
            }
            assert_eq!(bases, whole, "{context}");
            certain += usize::from(floors_ns != [0, 0]);
            let alone = [0, 1].map(|side| graph.best(sides, |at, _| graph.times_ns[at] > floors_ns[side]));
            beyond += usize::from(alone.iter().all(|alone| *alone != bases));
        }
    }
    assert!(certain > 200 && hidden > 20, "{certain} {hidden}");
    println!("{certain} certain, {hidden} hidden, {beyond} known through the other side");
}

/// Goal: a base that one side has forgotten is known through the other, and one that both have is an honest answer.
/// Method: two branches from one commit; forget on one, then on both.
#[test]
fn a_base_may_be_kept_by_the_other_side() {
    let trees = trees();
    let step = |branch: &str, content: &str| {
        let committed = commit(&trees, branch, &[("a", content)], &CommitOptions::default());
        committed.unwrap().commit
    };
    let forget = |branch: &str, last: u64| {
        let keep = Keep {
            last: Some(last),
            ..Keep::default()
        };
        block_on(trees.forget(branch, &mut Forgetting::new(keep).unwrap(), false)).unwrap();
    };
    let common = || {
        let heads = ["main", "agent"].map(|branch| trees.branch(branch).unwrap().commit);
        block_on(trees.common(heads)).unwrap()
    };
    step("main", "0");
    let base = step("main", "1");
    block_on(trees.create_branch("agent", base)).unwrap();
    for number in 2..5 {
        step("main", &number.to_string());
        step("agent", &format!("a{number}"));
    }
    assert_eq!(common().bases, [base]);
    // The oldest commit that is left names the base, which the other branch has.
    forget("agent", 3);
    let found = common();
    assert_eq!((&found.bases[..], found.hidden), (&[base][..], false));
    // Now a commit is missing between them.
    forget("agent", 2);
    let found = common();
    assert_eq!((found.bases.len(), found.cut_ns.is_some()), (0, true));
    forget("main", 1);
    assert_eq!(common().bases, []);
}

/// Goal: a long history is not gone through for a base that is near. Method: a store that lacks everything before the
/// base; a search that asked for it would fail.
#[test]
fn only_what_is_new_is_read() {
    let trees = trees();
    let absent = ContentId([7; 32]);
    let build = |parents: Vec<ContentId>, message: &str, time_ns: u64| {
        let root = crate::trees::testing::Plan::of(&[("a", "1")]).build().0;
        let commit = crate::trees::Commit {
            root,
            parents,
            time_ns,
            counts: crate::trees::TreeCounts::default(),
            author: String::new(),
            message: message.to_owned(),
            replaces: None,
            others: Vec::new(),
        };
        let mut extents = Vec::new();
        let id = commit.build(trees.domain, &mut extents).unwrap();
        block_on(async {
            let mut batch = trees.store.batch();
            batch.put(extents).await.unwrap();
            batch.submit().await.unwrap();
        });
        id
    };
    let base = build(vec![absent], "base", BEGIN_NS);
    let ours = build(vec![base], "ours", BEGIN_NS + 1);
    let theirs = build(vec![base], "theirs", BEGIN_NS + 2);
    assert_eq!(block_on(trees.common([ours, theirs])).unwrap().bases, [base]);
    // A parent that is missing is not the end of a history.
    assert!(block_on(trees.common([absent, ours])).is_err());
    let elsewhere = build(vec![ContentId([8; 32])], "elsewhere", BEGIN_NS + 3);
    assert!(block_on(trees.common([ours, elsewhere])).is_err());
}
