//! The rules for names: what is clean, what is a conflict, and what an entry is made of.

use bytes::Bytes;

use super::*;
use crate::reactor::block_on;
use crate::trees::testing::{Plan, commit, directory, file, trees};
use crate::trees::{FileTime, Xattr};

pub(super) type Files<'a> = &'a [(&'a str, &'a str)];

/// Branches `main` and `agent` with these trees, made from a commit with the first.
pub(super) fn fork(trees: &Trees, base: Files<'_>, ours: Files<'_>, theirs: Files<'_>) -> [ContentId; 3] {
    let step = |branch: &str, files: Files<'_>| {
        let options = CommitOptions {
            message: branch.into(),
            allow_unchanged: true,
            ..CommitOptions::default()
        };
        commit(trees, branch, files, &options).unwrap().commit
    };
    let base = step("main", base);
    block_on(trees.create_branch("agent", base)).unwrap();
    [base, step("main", ours), step("agent", theirs)]
}

pub(super) fn merge(trees: &Trees, theirs: ContentId, options: &MergeOptions) -> Result<MergeOutcome> {
    block_on(trees.merge("main", theirs, options))
}

pub(super) fn merged(base: Files<'_>, ours: Files<'_>, theirs: Files<'_>) -> (Trees, MergeOutcome) {
    let trees = trees();
    let [.., theirs] = fork(&trees, base, ours, theirs);
    let outcome = merge(&trees, theirs, &MergeOptions::default()).unwrap();
    (trees, outcome)
}

pub(super) fn conflicts(outcome: &MergeOutcome) -> Vec<(String, Clash)> {
    outcome
        .conflicts
        .iter()
        .map(|conflict| (conflict.path.to_string(), conflict.clash))
        .collect()
}

pub(super) fn head(trees: &Trees) -> Commit {
    block_on(trees.read_commit(trees.branch("main").unwrap().commit)).unwrap()
}

/// Builds trees whose entries a closure has changed, and commits them as [`fork`] does.
pub(super) fn fork_entries(trees: &Trees, plans: [Plan; 3]) -> [ContentId; 3] {
    let mut ids = Vec::new();
    for (index, plan) in plans.into_iter().enumerate() {
        let (root, counts, extents) = plan.build();
        let branch = ["main", "main", "agent"][index];
        if index == 2 {
            block_on(trees.create_branch("agent", ids[0])).unwrap();
        }
        let options = CommitOptions {
            message: index.to_string(),
            allow_unchanged: true,
            ..CommitOptions::default()
        };
        let made = block_on(async {
            let mut batch = trees.store.batch();
            batch.put(extents).await.unwrap();
            trees.commit_tree(batch, branch, root, counts, &options).await
        });
        ids.push(made.unwrap().commit);
    }
    [ids[0], ids[1], ids[2]]
}

pub(super) fn plan(entries: Vec<(&str, Entry)>) -> Plan {
    let mut plan = Plan::of(&[]);
    for (path, entry) in entries {
        plan.entries.insert(TreePath::new(path).unwrap(), entry);
    }
    plan
}

pub(super) fn plain(content: &str) -> Entry {
    file(b"", content.as_bytes())
}

pub(super) fn with(mut entry: Entry, change: impl FnOnce(&mut Entry)) -> Entry {
    change(&mut entry);
    entry
}

pub(super) fn at(time: u64) -> Option<FileTime> {
    Some(FileTime::from_ns(time))
}

/// Goal: each rule for files, by itself. Method: a path with every combination of absent, old, new and another new
/// content on the sides.
#[test]
fn files_follow_the_rules() {
    let trees = trees();
    let states = [None, Some("1"), Some("2"), Some("3")];
    for index in 0..64 {
        let [base, ours, theirs] = [index / 16, index / 4 % 4, index % 4].map(|state: usize| &states[state]);
        let files = |state: &Option<&'static str>| {
            let mut files = vec![("other", "0")];
            files.extend(state.map(|content| ("f", content)));
            files
        };
        let expected = if ours == theirs || theirs == base {
            Ok(*ours)
        } else if ours == base {
            Ok(*theirs)
        } else {
            Err(match (base, ours, theirs) {
                (_, None, _) => Clash::OursRemoved,
                (_, _, None) => Clash::TheirsRemoved,
                (None, ..) => Clash::BothAdded,
                _ => Clash::BothChanged,
            })
        };
        let branch = format!("b{index}");
        let other = format!("t{index}");
        let step = |branch: &str, files: &[(&str, &str)]| {
            let options = CommitOptions {
                message: format!("{branch} {index}"),
                allow_unchanged: true,
                ..CommitOptions::default()
            };
            commit(&trees, branch, files, &options).unwrap().commit
        };
        let start = step(&branch, &files(base));
        block_on(trees.create_branch(&other, start)).unwrap();
        let before = step(&branch, &files(ours));
        let theirs_id = step(&other, &files(theirs));
        let outcome = block_on(trees.merge(&branch, theirs_id, &MergeOptions::default())).unwrap();
        let context = format!("{base:?} {ours:?} {theirs:?}");
        let now = trees.branch(&branch).unwrap().commit;
        match expected {
            Ok(content) => {
                assert_eq!(outcome.result, MergeResult::Merged, "{context}");
                assert_eq!(outcome.commit, Some(now), "{context}");
                let found = block_on(async {
                    let made = trees.read_commit(now).await.unwrap();
                    assert_eq!(made.parents, [before, theirs_id]);
                    assert_eq!(made.counts.files, 1 + u64::from(content.is_some()), "{context}");
                    trees
                        .lookup(&made.root, &TreePath::new("f").unwrap())
                        .await
                        .unwrap()
                });
                let content = content.map(|content| file(b"f", content.as_bytes()));
                assert_eq!(found, content, "{context}");
            }
            Err(clash) => {
                assert_eq!(conflicts(&outcome), [("f".to_owned(), clash)], "{context}");
                let conflict = &outcome.conflicts[0];
                let named = |state: &Option<&str>| state.map(|content| file(b"f", content.as_bytes()));
                assert_eq!(conflict.base, named(base), "{context}");
                assert_eq!(conflict.ours, named(ours), "{context}");
                assert_eq!(conflict.theirs, named(theirs), "{context}");
                assert_eq!((now, outcome.commit), (before, Some(before)), "{context}");
                assert!(outcome.changes.is_empty() && outcome.ack.is_none());
            }
        }
    }
}

/// Goal: directories against files and nothing. Method: one tree for each case.
#[test]
fn directories_follow_the_rules() {
    type Case<'a> = (
        Files<'a>,
        Files<'a>,
        Files<'a>,
        Result<Files<'a>, (&'a str, Clash)>,
    );
    let cases: [Case<'_>; 10] = [
        // Each side changes another file of a directory.
        (
            &[("d/a", "1"), ("d/b", "1")],
            &[("d/a", "2"), ("d/b", "1")],
            &[("d/a", "1"), ("d/b", "2")],
            Ok(&[("d/a", "2"), ("d/b", "2")]),
        ),
        // Both make one.
        (
            &[],
            &[("d/a", "1")],
            &[("d/b", "1")],
            Ok(&[("d/a", "1"), ("d/b", "1")]),
        ),
        (
            &[],
            &[("d/a", "1")],
            &[("d/a", "2")],
            Err(("d/a", Clash::BothAdded)),
        ),
        // One is removed where nothing has happened, and where something has.
        (
            &[("d/a", "1"), ("e", "1")],
            &[("e", "2"), ("d/a", "1")],
            &[("e", "1")],
            Ok(&[("e", "2")]),
        ),
        (
            &[("d/a", "1")],
            &[("d/a", "2")],
            &[],
            Err(("d", Clash::TheirsRemoved)),
        ),
        (
            &[("d/a", "1")],
            &[],
            &[("d/a", "1"), ("d/b", "1")],
            Err(("d", Clash::OursRemoved)),
        ),
        // A file becomes a directory, and the other way round.
        (
            &[("x", "1"), ("y", "1")],
            &[("x", "1"), ("y", "2")],
            &[("x/in", "1"), ("y", "1")],
            Ok(&[("x/in", "1"), ("y", "2")]),
        ),
        (
            &[("x", "1")],
            &[("x", "2")],
            &[("x/in", "1")],
            Err(("x", Clash::BothChanged)),
        ),
        (
            &[("x/in", "1"), ("y", "1")],
            &[("x", "1"), ("y", "1")],
            &[("x/in", "1"), ("y", "2")],
            Ok(&[("x", "1"), ("y", "2")]),
        ),
        // Made differently on both sides.
        (&[], &[("x", "1")], &[("x/in", "1")], Err(("x", Clash::BothAdded))),
    ];
    for (base, ours, theirs, expected) in cases {
        let (trees, outcome) = merged(base, ours, theirs);
        match expected {
            Ok(files) => {
                assert_eq!(conflicts(&outcome), [], "{base:?}");
                let (root, counts, _) = Plan::of(files).build();
                let head = head(&trees);
                assert_eq!((head.root, head.counts), (root, counts), "{base:?}");
            }
            Err((path, clash)) => assert_eq!(conflicts(&outcome), [(path.to_owned(), clash)], "{base:?}"),
        }
    }
}

/// Goal: entries are whole: fields of one side are never mixed with those of the other; times alone are no conflict, and
/// the newer stays. Method: a file and a directory, changed one thing at a time on each side.
#[test]
fn entries_are_whole_and_times_no_conflict() {
    let base = || plain("1");
    let same = |entry: Entry| Ok(entry);
    let clash = || Err(Clash::BothChanged);
    let mode = |entry: Entry| with(entry, |entry| entry.mode = 0o755);
    let owner = |entry: Entry| with(entry, |entry| entry.attributes.uid = Some(7));
    let time = |entry: Entry, time| with(entry, |entry| entry.attributes.mtime = at(time));
    let tagged = |entry: Entry, bytes: usize| {
        with(entry, |entry| {
            entry.attributes.xattrs = vec![Xattr {
                name: Bytes::from_static(b"user.x"),
                value: vec![1; bytes].into(),
            }];
        })
    };
    let cases: Vec<(Entry, Entry, Entry, Result<Entry, Clash>)> = vec![
        (base(), mode(base()), plain("2"), clash()),
        (base(), mode(base()), owner(base()), clash()),
        (base(), mode(base()), mode(base()), same(mode(base()))),
        (base(), mode(base()), base(), same(mode(base()))),
        (base(), base(), tagged(base(), 5), same(tagged(base(), 5))),
        // Too large to stay in the node.
        (base(), base(), tagged(base(), 5000), same(tagged(base(), 5000))),
        (
            base(),
            tagged(base(), 5000),
            tagged(base(), 5000),
            same(tagged(base(), 5000)),
        ),
        (base(), tagged(base(), 5000), tagged(base(), 5001), clash()),
        // Times.
        (
            time(base(), 5),
            time(base(), 9),
            time(base(), 7),
            same(time(base(), 9)),
        ),
        (
            time(base(), 5),
            time(base(), 7),
            time(base(), 9),
            same(time(base(), 9)),
        ),
        (
            time(base(), 5),
            time(base(), 5),
            time(base(), 3),
            same(time(base(), 3)),
        ),
        (base(), time(base(), 3), base(), same(time(base(), 3))),
        (
            time(base(), 5),
            time(plain("2"), 7),
            time(plain("2"), 9),
            same(time(plain("2"), 9)),
        ),
        (
            time(base(), 5),
            time(base(), 9),
            time(plain("2"), 7),
            same(time(plain("2"), 9)),
        ),
        (
            time(base(), 5),
            time(mode(base()), 9),
            time(base(), 7),
            same(time(mode(base()), 9)),
        ),
        (time(base(), 5), time(plain("3"), 9), time(plain("2"), 7), clash()),
    ];
    for (index, (base, ours, theirs, expected)) in cases.into_iter().enumerate() {
        for nested in [false, true] {
            let path = if nested { "d/f" } else { "f" };
            let trees = trees();
            let plans = [&base, &ours, &theirs].map(|entry| plan(vec![(path, entry.clone())]));
            let [.., theirs] = fork_entries(&trees, plans);
            let outcome = merge(&trees, theirs, &MergeOptions::default()).unwrap();
            match &expected {
                Ok(entry) => {
                    assert_eq!(conflicts(&outcome), [], "{index}");
                    let found = block_on(trees.lookup(&head(&trees).root, &TreePath::new(path).unwrap()));
                    let expected = with(entry.clone(), |entry| entry.name = Bytes::from_static(b"f"));
                    assert_eq!(found.unwrap(), Some(expected), "{index}");
                }
                Err(clash) => assert_eq!(conflicts(&outcome), [(path.to_owned(), *clash)], "{index}"),
            }
        }
    }
}

/// Goal: the fields of a directory and what is in it are changed independently; a directory that was only touched can be
/// removed. Method: a mode here and a content there, at the top and below; times only, against a removal.
#[test]
fn a_directory_is_its_fields_and_its_inside() {
    let own = |mode: u16, time: u64| {
        with(directory(b"", ContentId([0; 32])), |entry| {
            entry.mode = mode;
            entry.attributes.mtime = at(time);
        })
    };
    for path in ["", "d", "d/e"] {
        let inner = if path.is_empty() {
            "f".to_owned()
        } else {
            format!("{path}/f")
        };
        let of = |mode, time, content| plan(vec![(path, own(mode, time)), (inner.as_str(), plain(content))]);
        let trees = trees();
        let [.., theirs] = fork_entries(&trees, [of(0o755, 1, "1"), of(0o700, 2, "1"), of(0o755, 3, "2")]);
        let outcome = merge(&trees, theirs, &MergeOptions::default()).unwrap();
        assert_eq!(conflicts(&outcome), [], "{path}");
        assert_eq!(head(&trees).root, of(0o700, 3, "2").build().0, "{path}");

        let trees = crate::trees::testing::trees();
        let [.., theirs] = fork_entries(&trees, [of(0o755, 1, "1"), of(0o700, 2, "1"), of(0o711, 3, "2")]);
        let outcome = merge(&trees, theirs, &MergeOptions::default()).unwrap();
        let shown = if path.is_empty() { "." } else { path };
        assert_eq!(conflicts(&outcome), [(shown.to_owned(), Clash::BothChanged)]);
    }
    let of = |time, with_it: bool| {
        let mut entries = vec![("kept", plain("1"))];
        if with_it {
            let touched = with(plain("1"), |entry| entry.attributes.mtime = at(time));
            entries.extend([("d", own(0o755, time)), ("d/f", touched)]);
        }
        plan(entries)
    };
    let trees = trees();
    let [.., theirs] = fork_entries(&trees, [of(1, true), of(2, true), of(0, false)]);
    assert_eq!(
        merge(&trees, theirs, &MergeOptions::default()).unwrap().result,
        MergeResult::Merged
    );
    assert_eq!(head(&trees).root, of(0, false).build().0);
}

/// Goal: no merge says that files with different contents are one file. Method: links that one side writes through
/// while the other adds another name, and links that agree.
#[test]
fn links_never_join_different_contents() {
    let link = |content: &str| with(plain(content), |entry| entry.attributes.link_group = Some(77));
    let of = |entries: &[(&'static str, &str)]| {
        plan(
            entries
                .iter()
                .map(|(path, content)| (*path, link(content)))
                .collect(),
        )
    };
    let trees = trees();
    let before = [("a", "1"), ("d/b", "1")];
    let [.., theirs] = fork_entries(
        &trees,
        [
            of(&before),
            of(&[("a", "2"), ("d/b", "2")]),
            of(&[("a", "1"), ("c", "1"), ("d/b", "1")]),
        ],
    );
    let outcome = merge(&trees, theirs, &MergeOptions::default()).unwrap();
    assert_eq!(conflicts(&outcome), [("c".to_owned(), Clash::Links)]);
    assert_eq!(
        outcome.conflicts[0].theirs.as_ref().map(|entry| entry.id),
        Some(plain("1").id)
    );

    // The other way round it is what ours has added that does not fit.
    let trees = crate::trees::testing::trees();
    let [.., theirs] = fork_entries(
        &trees,
        [
            of(&before),
            of(&[("a", "1"), ("c", "1"), ("d/b", "1")]),
            of(&[("a", "2"), ("d/b", "2")]),
        ],
    );
    let outcome = merge(&trees, theirs, &MergeOptions::default()).unwrap();
    let expected = ["a", "d/b"].map(|path| (path.to_owned(), Clash::Links));
    assert_eq!(conflicts(&outcome), expected);
    assert_eq!(
        outcome.conflicts[0].ours.as_ref().map(|entry| entry.id),
        Some(plain("1").id)
    );

    let trees = crate::trees::testing::trees();
    let [.., theirs] = fork_entries(
        &trees,
        [
            of(&before),
            of(&[("a", "1"), ("c", "1"), ("d/b", "1")]),
            of(&[("a", "1"), ("d/b", "1"), ("e", "1")]),
        ],
    );
    merge(&trees, theirs, &MergeOptions::default()).unwrap();
    let all = of(&[("a", "1"), ("c", "1"), ("d/b", "1"), ("e", "1")]);
    assert_eq!(head(&trees).root, all.build().0);
}
