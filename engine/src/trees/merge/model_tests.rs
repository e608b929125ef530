//! Random merges against a plain map of paths.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::reactor::block_on;
use crate::trees::testing::{Plan, directory, file, trees};
use crate::trees::{FileTime, TreeCounts};

/// What a path is in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Thing {
    /// Nothing for a directory.
    content: Option<u8>,
    mode: u16,
    mtime: u64,
}

impl Thing {
    fn file(content: u8) -> Thing {
        Thing {
            content: Some(content),
            mode: 0o644,
            mtime: 0,
        }
    }

    fn directory() -> Thing {
        Thing {
            content: None,
            mode: 0o755,
            mtime: 0,
        }
    }

    fn is_directory(self) -> bool {
        self.content.is_none()
    }

    /// All that may be in conflict.
    fn lasting(self) -> (Option<u8>, u16) {
        (self.content, self.mode)
    }
}

/// Every path of a tree; the top directory is the empty one.
type Map = BTreeMap<String, Thing>;

fn empty() -> Map {
    Map::from([(String::new(), Thing::directory())])
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}/{name}")
    }
}

fn above(path: &str) -> Option<&str> {
    (!path.is_empty()).then(|| path.rsplit_once('/').map_or("", |(above, _)| above))
}

/// What is at and below a path, by what follows it.
fn below(map: &Map, path: &str) -> BTreeMap<String, Thing> {
    let at = |other: &str| path.is_empty() || other == path || other.starts_with(&format!("{path}/"));
    map.iter()
        .filter(|(other, _)| at(other))
        .map(|(other, thing)| (other[path.len()..].to_owned(), *thing))
        .collect()
}

fn cut(map: &mut Map, path: &str) {
    for inner in below(map, path).into_keys() {
        map.remove(&format!("{path}{inner}"));
    }
}

/// The merge as it is described: names one after the other, from the top.
struct Oracle<'a> {
    bases: &'a [Map],
    ours: &'a Map,
    theirs: &'a Map,
    merged: Map,
    conflicts: BTreeSet<String>,
}

impl Oracle<'_> {
    fn run(bases: &[Map], ours: &Map, theirs: &Map) -> (Map, BTreeSet<String>) {
        let mut oracle = Oracle {
            bases,
            ours,
            theirs,
            merged: Map::new(),
            conflicts: BTreeSet::new(),
        };
        oracle.decide("");
        (oracle.merged, oracle.conflicts)
    }

    fn mtime(&self, path: &str) -> u64 {
        let (ours, theirs) = (self.ours[path].mtime, self.theirs[path].mtime);
        let all = |time| {
            let mut bases = self.bases.iter().map(|base| base.get(path));
            bases.all(|base| base.is_some_and(|base| base.mtime == time))
        };
        match (all(ours), all(theirs)) {
            (true, _) => theirs,
            (_, true) => ours,
            _ => ours.max(theirs),
        }
    }

    fn decide(&mut self, path: &str) {
        let (ours, theirs) = (self.ours.get(path).copied(), self.theirs.get(path).copied());
        let directory = |thing: Option<Thing>| thing.is_some_and(Thing::is_directory);
        if !directory(ours) && !directory(theirs) || directory(ours) && directory(theirs) {
            let lasting = |thing: Option<Thing>| thing.map(Thing::lasting);
            let bases: Vec<_> = self
                .bases
                .iter()
                .map(|base| lasting(base.get(path).copied()))
                .collect();
            let all = |side| bases.iter().all(|base| *base == lasting(side));
            let taken = if lasting(ours) == lasting(theirs) || all(theirs) {
                ours
            } else if all(ours) {
                theirs
            } else {
                self.conflicts.insert(path.to_owned());
                ours
            };
            if let Some(mut taken) = taken {
                if ours.is_some() && theirs.is_some() {
                    taken.mtime = self.mtime(path);
                }
                self.merged.insert(path.to_owned(), taken);
            }
            if directory(ours) {
                let names: BTreeSet<String> = [self.ours, self.theirs]
                    .into_iter()
                    .flat_map(|map| map.keys())
                    .filter(|inner| above(inner) == Some(path))
                    .cloned()
                    .collect();
                for inner in names {
                    self.decide(&inner);
                }
            }
            return;
        }
        let lasting = |map: &Map| -> BTreeMap<String, (Option<u8>, u16)> {
            let inside = below(map, path).into_iter();
            inside.map(|(path, thing)| (path, thing.lasting())).collect()
        };
        let all = |side: &Map| self.bases.iter().all(|base| lasting(base) == lasting(side));
        let taken = if all(self.ours) {
            self.theirs
        } else {
            if !all(self.theirs) {
                self.conflicts.insert(path.to_owned());
            }
            self.ours
        };
        for (inner, thing) in below(taken, path) {
            self.merged.insert(format!("{path}{inner}"), thing);
        }
    }
}

/// One change at random. Times only go up, as those of real files mostly do.
fn change(map: &mut Map, random: &mut StdRng, wide: bool) {
    let name = |random: &mut StdRng| match wide {
        true => format!("n{:03}", random.random_range(0..260)),
        false => ["a", "b", "c", "d"][random.random_range(0..4)].to_owned(),
    };
    let directories: Vec<String> = map
        .iter()
        .filter(|(_, thing)| thing.is_directory())
        .map(|(path, _)| path.clone())
        .collect();
    let within = &directories[random.random_range(0..directories.len())];
    let deep = within.matches('/').count() >= 2;
    let path = join(within, &name(random));
    let there = map.get(&path).copied();
    match (random.random_range(0..10), there) {
        (0..4, None) => drop(map.insert(path, Thing::file(random.random_range(0..3)))),
        (4..6, None) if !deep => drop(map.insert(path, Thing::directory())),
        (0..3, Some(thing)) if !thing.is_directory() => {
            let content = Some(random.random_range(0..3));
            map.insert(path, Thing { content, ..thing });
        }
        (3..5, Some(_)) => cut(map, &path),
        (5, Some(thing)) => {
            let mode = [0o600, 0o700, 0o755][random.random_range(0..3)];
            map.insert(path, Thing { mode, ..thing });
        }
        (6, Some(thing)) => {
            let mtime = thing.mtime + random.random_range(1..4);
            map.insert(path, Thing { mtime, ..thing });
        }
        (7, Some(thing)) => {
            cut(map, &path);
            let other = if thing.is_directory() {
                Thing::file(1)
            } else {
                Thing::directory()
            };
            map.insert(path, other);
        }
        (8, _) => {
            let top = map.get_mut("").expect("a tree has a top");
            top.mtime += 1;
        }
        _ => {}
    }
}

fn changed(map: &Map, random: &mut StdRng, most: usize, wide: bool) -> Map {
    let mut map = map.clone();
    for _ in 0..random.random_range(0..=most) {
        change(&mut map, random, wide);
    }
    map
}

fn entry(thing: Thing) -> Entry {
    let mut entry = match thing.content {
        Some(content) => file(b"", content.to_string().as_bytes()),
        None => directory(b"", ContentId([0; 32])),
    };
    entry.mode = thing.mode;
    entry.attributes.mtime = (thing.mtime > 0).then(|| FileTime::from_ns(thing.mtime));
    entry
}

fn build(map: &Map) -> (Entry, TreeCounts, Vec<crate::store::Extent>) {
    let mut plan = Plan::of(&[]);
    for (path, thing) in map {
        if let Some(content) = thing.content {
            plan.contents.push(content.to_string().into());
        }
        plan.entries.insert(TreePath::new(path).unwrap(), entry(*thing));
    }
    plan.build()
}

fn commit(trees: &Trees, branch: &str, parents: &[ContentId], map: &Map) -> ContentId {
    let (root, counts, extents) = build(map);
    block_on(async {
        let mut batch = trees.store.batch();
        batch.put(extents).await.unwrap();
        let options = CommitOptions {
            message: branch.to_owned(),
            parents: Some(parents.to_vec()),
            allow_unchanged: true,
            ..CommitOptions::default()
        };
        let made = trees.commit_tree(batch, branch, root, counts, &options).await;
        made.unwrap().commit
    })
}

fn without_directory_ids(changes: &[Difference]) -> Vec<Difference> {
    let mut changes = changes.to_vec();
    for change in &mut changes {
        if let Change::Modified { old, new, .. } = &mut change.change
            && new.kind == EntryKind::Directory
        {
            (old.id, new.id) = (ContentId([0; 32]), ContentId([0; 32]));
        }
    }
    changes
}

/// Merges, compares with the model, and says whether it was clean.
fn check(trees: &Trees, case: &str, bases: &[Map], sides: [&Map; 2], commits: [ContentId; 2]) -> bool {
    let [ours, theirs] = sides;
    let (merged, conflicts) = Oracle::run(bases, ours, theirs);
    let branch = format!("merge-{case}");
    block_on(trees.create_branch(&branch, commits[0])).unwrap();
    let options = MergeOptions {
        no_fast_forward: true,
        ..MergeOptions::default()
    };
    let dry = MergeOptions {
        dry_run: true,
        ..options.clone()
    };
    let planned = block_on(trees.merge(&branch, commits[1], &dry)).unwrap();
    assert_eq!(
        trees.branch(&branch).unwrap().commit,
        commits[0],
        "{case}: a dry run"
    );
    let outcome = block_on(trees.merge(&branch, commits[1], &options)).unwrap();
    let shown: BTreeSet<String> = outcome
        .conflicts
        .iter()
        .map(|conflict| String::from_utf8_lossy(conflict.path.as_bytes()).into_owned())
        .collect();
    let context = || format!("{case}: {bases:?}\nours {ours:?}\ntheirs {theirs:?}");
    assert_eq!(shown, conflicts, "{}", context());
    assert_eq!(shown.len(), outcome.conflicts.len(), "{}", context());
    assert_eq!(
        (planned.result, &planned.conflicts),
        (outcome.result, &outcome.conflicts)
    );
    assert_eq!(
        without_directory_ids(&planned.changes),
        without_directory_ids(&outcome.changes),
        "{}",
        context()
    );
    if !conflicts.is_empty() {
        assert_eq!(outcome.result, MergeResult::Conflicts);
        assert_eq!(trees.branch(&branch).unwrap().commit, commits[0]);
        return false;
    }
    assert_eq!(outcome.result, MergeResult::Merged);
    block_on(async {
        let made = trees.read_commit(outcome.commit.unwrap()).await.unwrap();
        let (root, counts, _) = build(&merged);
        assert_eq!(made.root, root, "{}\nmerged {merged:?}", context());
        assert_eq!(
            (made.counts, &made.parents[..]),
            (counts, &commits[..]),
            "{}",
            context()
        );
        let before = trees.read_commit(commits[0]).await.unwrap();
        assert_eq!(
            trees.diff(&before.root, &made.root, &[]).await.unwrap(),
            outcome.changes,
            "{}",
            context()
        );
    });
    true
}

/// Goal: a merge is what the rules say, for trees of every shape: what is made reads as if it had been built from
/// scratch, sizes and differences included. Method: thousands of small trees against the model; now and then both
/// sides make the same change. One seed for each, so that a failing one can be run alone.
#[test]
fn small_trees_merge_as_the_model_says() {
    let (mut clean, mut all) = (0, 0);
    for group in 0..12u64 {
        let trees = trees();
        for seed in group * 250..(group + 1) * 250 {
            let mut random = StdRng::seed_from_u64(seed);
            let base = changed(&empty(), &mut random, 30, false);
            let mut starts = [base.clone(), base.clone()];
            if seed % 3 == 0 {
                starts = [0, 1].map(|_| changed(&base, &mut random, 3, false));
                starts[1] = starts[0].clone();
            }
            let [ours, theirs] = starts.map(|start| changed(&start, &mut random, 5, false));
            let root = commit(&trees, &format!("b{seed}"), &[], &base);
            let sides = [
                commit(&trees, &format!("o{seed}"), &[root], &ours),
                commit(&trees, &format!("t{seed}"), &[root], &theirs),
            ];
            let case = seed.to_string();
            clean += usize::from(check(&trees, &case, &[base], [&ours, &theirs], sides));
            all += 1;
        }
    }
    assert!(
        clean > all / 4 && clean < all - all / 8,
        "{clean} of {all}: too easy or too hard"
    );
}

/// Goal: the same in directories of many nodes, where names come and go on both sides and nodes split and join. Method:
/// a few hundred names, dozens of changes.
#[test]
fn large_directories_merge_as_the_model_says() {
    let mut clean = 0;
    for group in 0..6u64 {
        let trees = trees();
        for seed in group * 15..(group + 1) * 15 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut base = empty();
            base.insert("d".into(), Thing::directory());
            for within in ["", "d"] {
                for number in 0..random.random_range(0..260) {
                    if random.random_range(0..3) > 0 {
                        base.insert(join(within, &format!("n{number:03}")), Thing::file(0));
                    }
                }
            }
            // Few enough that they rarely meet, and now and then many.
            let most = if seed % 5 == 0 { 120 } else { 25 };
            let [ours, theirs] = [0, 1].map(|_| changed(&base, &mut random, most, true));
            let root = commit(&trees, &format!("b{seed}"), &[], &base);
            let sides = [
                commit(&trees, &format!("o{seed}"), &[root], &ours),
                commit(&trees, &format!("t{seed}"), &[root], &theirs),
            ];
            clean += usize::from(check(&trees, &seed.to_string(), &[base], [&ours, &theirs], sides));
        }
    }
    assert!(clean > 30, "{clean}");
}

/// Goal: with several bases a side has changed a name if any of them says so. Method: branches merged into each other,
/// with trees at random, against the model with all bases.
#[test]
fn several_bases_merge_as_the_model_says() {
    let (mut clean, mut all) = (0, 0);
    for group in 0..4u64 {
        let trees = trees();
        for seed in group * 100..(group + 1) * 100 {
            let mut random = StdRng::seed_from_u64(seed);
            let start = changed(&empty(), &mut random, 25, false);
            let bases = [0, 1].map(|_| changed(&start, &mut random, 3, false));
            let crossed = [0, 1].map(|side| {
                let from: &Map = &bases[side];
                changed(from, &mut random, 3, false)
            });
            let root = commit(&trees, &format!("r{seed}"), &[], &start);
            let known = [0, 1].map(|base| commit(&trees, &format!("b{base}-{seed}"), &[root], &bases[base]));
            let sides = [
                commit(&trees, &format!("o{seed}"), &known, &crossed[0]),
                commit(&trees, &format!("t{seed}"), &[known[1], known[0]], &crossed[1]),
            ];
            // Equal trees made at different times are different commits, so there are always two bases.
            clean += usize::from(check(
                &trees,
                &seed.to_string(),
                &bases,
                [&crossed[0], &crossed[1]],
                sides,
            ));
            all += 1;
        }
    }
    assert!(clean > all / 10, "{clean} of {all}");
}
