//! Merges and histories: how far a branch moves, what is refused, what is read, and what runs beside a merge.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::tests::*;
use super::*;
use crate::format::Kind;
use crate::reactor::block_on;
use crate::store::Extent;
use crate::trees::testing::{Plan, commit, tick, trees};
use crate::trees::{Forgetting, Keep, TreeTrace};

/// Goal: a branch that has it already stays, one that is behind moves, and a merge commit is made only where it is
/// needed or asked for. Method: the same two commits every way; the branch remembers where it was.
#[test]
fn branches_move_only_as_far_as_they_must() {
    let trees = trees();
    let first = commit(&trees, "main", &[("a", "1")], &CommitOptions::default())
        .unwrap()
        .commit;
    block_on(trees.create_branch("agent", first)).unwrap();
    let second = commit(
        &trees,
        "agent",
        &[("a", "2"), ("b", "1")],
        &CommitOptions::default(),
    )
    .unwrap()
    .commit;
    let dry = MergeOptions {
        dry_run: true,
        ..MergeOptions::default()
    };
    let planned = merge(&trees, second, &dry).unwrap();
    assert_eq!(
        (planned.result, planned.commit),
        (MergeResult::FastForward, Some(second))
    );
    assert_eq!(trees.branch("main").unwrap().commit, first);

    let commit_asked = MergeOptions {
        no_fast_forward: true,
        message: "why".into(),
        author: "who".into(),
        ..MergeOptions::default()
    };
    block_on(trees.create_branch("other", first)).unwrap();
    let made = block_on(trees.merge("other", second, &commit_asked)).unwrap();
    assert_eq!(made.result, MergeResult::Merged);
    let read = block_on(trees.read_commit(made.commit.unwrap())).unwrap();
    let theirs = block_on(trees.read_commit(second)).unwrap();
    assert_eq!((read.root, read.counts), (theirs.root, theirs.counts));
    assert_eq!(
        (&read.parents[..], &read.message[..], &read.author[..]),
        (&[first, second][..], "why", "who")
    );
    assert!(read.time_ns > theirs.time_ns);

    let before_ns = tick(&trees);
    let durable = MergeOptions {
        durable: true,
        ..MergeOptions::default()
    };
    let moved = merge(&trees, second, &durable).unwrap();
    assert_eq!((moved.result, moved.changes.len()), (MergeResult::FastForward, 2));
    assert_eq!(trees.branch("main").unwrap().commit, second);
    assert_eq!(block_on(trees.head_at("main", before_ns)).unwrap(), first);
    for theirs in [second, first] {
        let stays = merge(&trees, theirs, &durable).unwrap();
        assert_eq!(
            (stays.result, stays.commit),
            (MergeResult::UpToDate, Some(second))
        );
        assert!(stays.changes.is_empty());
    }
    assert_eq!(
        merge(&trees, first, &commit_asked).unwrap().result,
        MergeResult::UpToDate
    );
    assert!(matches!(
        block_on(trees.merge("nowhere", first, &durable)),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        merge(&trees, ContentId([9; 32]), &durable),
        Err(Error::NotFound { .. })
    ));
}

/// Goal: a second merge of the same branches starts from the first. Method: merge, go on on both sides, merge again:
/// what was changed before the first merge is no conflict.
#[test]
fn merges_build_on_merges() {
    let trees = trees();
    let [.., theirs] = fork(
        &trees,
        &[("a", "1"), ("b", "1")],
        &[("a", "2"), ("b", "1")],
        &[("a", "1"), ("b", "2")],
    );
    merge(&trees, theirs, &MergeOptions::default()).unwrap();
    let step = |branch: &str, files: Files<'_>| {
        commit(&trees, branch, files, &CommitOptions::default())
            .unwrap()
            .commit
    };
    step("main", &[("a", "3"), ("b", "2")]);
    let again = step("agent", &[("a", "1"), ("b", "3")]);
    let outcome = merge(&trees, again, &MergeOptions::default()).unwrap();
    assert_eq!(outcome.bases, [theirs]);
    assert_eq!(head(&trees).root, Plan::of(&[("a", "3"), ("b", "3")]).build().0);
}

/// Goal: histories without anything in common are refused with the way out, which takes nothing for granted. Method:
/// two branches made apart; the same file, another, and one that differs.
#[test]
fn unrelated_histories_are_refused_unless_allowed() {
    let trees = trees();
    commit(
        &trees,
        "main",
        &[("same", "1"), ("ours", "1")],
        &CommitOptions::default(),
    )
    .unwrap();
    let other = commit(
        &trees,
        "other",
        &[("same", "1"), ("theirs", "1")],
        &CommitOptions::default(),
    )
    .unwrap();
    let refused = merge(&trees, other.commit, &MergeOptions::default()).unwrap_err();
    assert!(
        matches!(&refused, Error::Refused { what } if what.contains("no history in common") && what.contains("--allow-unrelated")),
        "{refused}"
    );
    let allowed = MergeOptions {
        allow_unrelated: true,
        ..MergeOptions::default()
    };
    let outcome = merge(&trees, other.commit, &allowed).unwrap();
    assert_eq!((outcome.result, outcome.bases.len()), (MergeResult::Merged, 0));
    assert_eq!(
        head(&trees).root,
        Plan::of(&[("same", "1"), ("ours", "1"), ("theirs", "1")])
            .build()
            .0
    );
    let odd = commit(&trees, "odd", &[("same", "2")], &CommitOptions::default()).unwrap();
    let outcome = merge(&trees, odd.commit, &allowed).unwrap();
    assert_eq!(conflicts(&outcome), [("same".to_owned(), Clash::BothAdded)]);
}

/// Goal: what was forgotten is not guessed: the refusal says since when there is a history, and nothing that is gone is
/// asked for. Method: forget on both branches, collect, merge.
#[test]
fn forgotten_bases_are_refused() {
    let trees = trees();
    let [base, ..] = fork(
        &trees,
        &[("a", "1")],
        &[("a", "1"), ("b", "1")],
        &[("a", "1"), ("c", "1")],
    );
    let theirs = commit(
        &trees,
        "agent",
        &[("a", "1"), ("c", "2")],
        &CommitOptions::default(),
    )
    .unwrap()
    .commit;
    commit(
        &trees,
        "main",
        &[("a", "1"), ("b", "2")],
        &CommitOptions::default(),
    )
    .unwrap();
    for branch in ["main", "agent"] {
        let keep = Keep {
            last: Some(1),
            ..Keep::default()
        };
        block_on(trees.forget(branch, &mut Forgetting::new(keep).unwrap(), false)).unwrap();
    }
    block_on(trees.store.flush()).unwrap();
    block_on(trees.store.own().unwrap().collect(Arc::new(TreeTrace), false)).unwrap();
    assert!(block_on(trees.read_commit(base)).is_err(), "collected");
    let refused = merge(&trees, theirs, &MergeOptions::default()).unwrap_err();
    assert!(
        matches!(&refused, Error::Refused { what } if what.contains("was forgotten") && what.contains("--allow-unrelated")),
        "{refused}"
    );
    let allowed = MergeOptions {
        allow_unrelated: true,
        ..MergeOptions::default()
    };
    assert_eq!(
        merge(&trees, theirs, &allowed).unwrap().result,
        MergeResult::Merged
    );
    assert_eq!(
        head(&trees).root,
        Plan::of(&[("a", "1"), ("b", "2"), ("c", "2")]).build().0
    );
    // The merged history reaches as far as both did: nothing that is gone belongs to it.
    block_on(async {
        let resolved = trees.resolve("main").await.unwrap();
        let mut log = trees
            .log(resolved.commit, crate::trees::Ancestors::All, 0)
            .down_to(resolved.floor_ns);
        while log.next().await.unwrap().is_some() {}
    });
}

/// Goal: a merge costs what the sides have changed, not what the trees are. Method: a store that lacks every node that
/// two of the trees share, except those on the way to a change; a merge that opened another would fail.
#[test]
fn shared_nodes_are_never_read() {
    let mut files = std::collections::BTreeMap::new();
    for directory in 0..20 {
        for file in 0..300 {
            // Other contents in each, so that directories share no nodes with each other.
            files.insert(format!("d{directory:02}/f{file:04}"), format!("in {directory}"));
        }
    }
    let build = |files: &std::collections::BTreeMap<String, String>| {
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, content)| (&path[..], &content[..]))
            .collect();
        Plan::of(&files).build()
    };
    let base = build(&files);
    let (mut ours, mut theirs, mut both) = (files.clone(), files.clone(), files);
    for (path, content, sides) in [
        ("d01/f0001", "2", [true, false]),
        ("d01/f0200", "2", [false, true]),
        ("d02/f0100", "2", [false, true]),
        ("d03/f0100", "2", [true, false]),
        ("d04/f0100x", "2", [true, false]),
        ("d04/f0200x", "2", [false, true]),
    ] {
        if sides[0] {
            ours.insert(path.into(), content.into());
        }
        if sides[1] {
            theirs.insert(path.into(), content.into());
        }
        both.insert(path.into(), content.into());
    }
    let (ours, theirs, expected) = (build(&ours), build(&theirs), build(&both));
    let ids = |extents: &[Extent]| extents.iter().map(|extent| extent.key.id).collect::<HashSet<_>>();
    let all = [&base.2, &ours.2, &theirs.2].map(|extents| ids(extents));
    let mut own: Vec<Extent> = [base.2.clone(), ours.2, theirs.2].concat();
    own.retain(|extent| extent.key.kind == Kind::Node && !all.iter().all(|ids| ids.contains(&extent.key.id)));
    let trees = trees();
    block_on(async {
        let mut batch = trees.store.batch();
        batch.put(own).await.unwrap();
        batch.submit().await.unwrap();
        let tops = Sides {
            bases: vec![Some(item_of(&base.0).unwrap())],
            ours: Some(item_of(&ours.0).unwrap()),
            theirs: Some(item_of(&theirs.0).unwrap()),
        };
        let merged = trees.three_way(tops).await.unwrap();
        let shown: Vec<String> = merged.edits.iter().map(|edit| edit.path.to_string()).collect();
        assert_eq!(shown, ["d01/f0200", "d02", "d04/f0200x"]);
        assert_eq!(counted(ours.1, &merged.differences), expected.1);
    });
}

/// Goal: a branch that moves meanwhile is merged into where it is then, and no commit is lost. Method: a thread that
/// commits to the branch while another merges into it, until both have done so some times.
#[test]
fn merges_and_commits_at_once_lose_nothing() {
    const TIMES: usize = 10;
    const TRIES_MAX: usize = 3000;
    let trees = trees();
    let base = commit(&trees, "main", &[("n", "0")], &CommitOptions::default())
        .unwrap()
        .commit;
    block_on(trees.create_branch("agent", base)).unwrap();
    let (commits, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (committed, merged) = std::thread::scope(|scope| {
        let committer = scope.spawn(|| {
            let mut committed = Vec::new();
            let mut number = 0;
            while !done.load(Ordering::Relaxed) && number < TRIES_MAX {
                number += 1;
                let mut tree = block_on(trees.open_branch("main", WorkingOptions::default())).unwrap();
                block_on(tree.write("n", number.to_string())).unwrap();
                match block_on(tree.commit("ours")) {
                    Ok(outcome) => {
                        committed.push(outcome.commit);
                        commits.store(committed.len(), Ordering::Relaxed);
                    }
                    Err(Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            committed
        });
        let mut merged = Vec::new();
        for number in 0..TRIES_MAX {
            if merged.len() > TIMES && commits.load(Ordering::Relaxed) > TIMES && number >= 6 * TIMES {
                break;
            }
            let mut tree = block_on(trees.open_branch("agent", WorkingOptions::default())).unwrap();
            block_on(tree.write(format!("t{number}"), "1")).unwrap();
            let theirs = block_on(tree.commit("theirs")).unwrap().commit;
            match merge(&trees, theirs, &MergeOptions::default()) {
                Ok(outcome) => merged.extend(outcome.commit),
                // The other thread was faster every time.
                Err(Error::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        done.store(true, Ordering::Relaxed);
        (committer.join().unwrap(), merged)
    });
    assert!(
        committed.len() > TIMES && merged.len() > TIMES,
        "{} {}",
        committed.len(),
        merged.len()
    );
    let mut reached = HashSet::new();
    block_on(async {
        let mut log = trees.log(
            trees.branch("main").unwrap().commit,
            crate::trees::Ancestors::All,
            0,
        );
        while let Some(logged) = log.next().await.unwrap() {
            reached.insert(logged.id);
        }
    });
    assert!(committed.iter().chain(&merged).all(|id| reached.contains(id)));
}

/// Goal: a merge beyond a quota changes nothing, and counts once it fits. Method: a quota that new nodes exceed.
#[test]
fn a_quota_refuses_the_whole_merge() {
    let trees = trees();
    let wide = |content: &str| -> Vec<(String, String)> {
        (0..200)
            .map(|n| (format!("d/f{n:03}"), content.to_owned()))
            .collect()
    };
    let files = |files: &[(String, String)], more: &str| {
        let mut files = files.to_vec();
        files.push((format!("d/{more}"), "new".into()));
        files
    };
    let step = |branch: &str, files: &[(String, String)]| {
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, content)| (&path[..], &content[..]))
            .collect();
        commit(&trees, branch, &files, &CommitOptions::default())
            .unwrap()
            .commit
    };
    let base = step("main", &wide("1"));
    block_on(trees.create_branch("agent", base)).unwrap();
    let ours = step("main", &files(&wide("1"), "x"));
    let theirs = step("agent", &files(&wide("1"), "y"));
    let set = |limit: u64| {
        let measure = |prefixes: &[&str]| Ok(vec![0; prefixes.len()]);
        block_on(trees.set_quotas(&[("main".into(), limit)], measure)).unwrap();
    };
    set(50);
    assert!(matches!(
        merge(&trees, theirs, &MergeOptions::default()),
        Err(Error::OverQuota { .. })
    ));
    assert_eq!(trees.branch("main").unwrap().commit, ours);
    set(100_000);
    let outcome = merge(&trees, theirs, &MergeOptions::default()).unwrap();
    assert_eq!(outcome.result, MergeResult::Merged);
    let used = trees.quotas().unwrap()[0].used_bytes;
    assert_eq!(used, outcome.written.new_bytes);
}

/// Goal: a store without room refuses the merge, and is as it was. Method: fill it, merge, make room, merge again.
#[test]
fn a_full_store_refuses_the_whole_merge() {
    let store = crate::store::testing::create(&crate::store::testing::device(48 << 20), 1);
    let trees = Trees::new(store, crate::format::Domain(0));
    let [_, ours, theirs] = fork(
        &trees,
        &[("a", "1")],
        &[("a", "1"), ("b", "1")],
        &[("a", "1"), ("c", "1")],
    );
    let mut fillers = 0;
    let mut size = 512 << 10;
    while size >= 64 {
        let content = format!("{fillers}{}", " ".repeat(size));
        match commit(
            &trees,
            &format!("filler-{fillers}"),
            &[("f", &content)],
            &CommitOptions::default(),
        ) {
            Ok(_) => fillers += 1,
            Err(Error::Full { .. }) => size /= 4,
            Err(error) => panic!("{error}"),
        }
        assert!(fillers < 100_000, "the store never fills");
    }
    match merge(&trees, theirs, &MergeOptions::default()) {
        Err(Error::Full { .. }) => assert_eq!(trees.branch("main").unwrap().commit, ours),
        // A few hundred bytes may have been left.
        Ok(outcome) => assert_eq!(outcome.result, MergeResult::Merged),
        Err(error) => panic!("{error}"),
    }
    for filler in 0..fillers {
        block_on(trees.delete_branch(&format!("filler-{filler}"), ExpectHead::Any)).unwrap();
    }
    block_on(trees.store.flush()).unwrap();
    block_on(trees.store.own().unwrap().collect(Arc::new(TreeTrace), false)).unwrap();
    merge(&trees, theirs, &MergeOptions::default()).unwrap();
    assert_eq!(
        head(&trees).root,
        Plan::of(&[("a", "1"), ("b", "1"), ("c", "1")]).build().0
    );
}

/// Goal: no collection takes away what a merge refers to, even if the merged branch goes while it runs. Method: a thread
/// that collects without a pause; branches that are merged by id and removed at that moment; afterwards all is read.
#[test]
fn collections_leave_what_is_being_merged() {
    let trees = trees();
    trees.store.own().unwrap().set_trace(Arc::new(TreeTrace));
    let wide = |number: usize| -> Vec<(String, String)> {
        (0..40)
            .map(|n| (format!("d{number}/f{n}"), format!("{number} {n}")))
            .collect()
    };
    let base = commit(&trees, "main", &[("a", "1")], &CommitOptions::default())
        .unwrap()
        .commit;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                block_on(trees.store.own().unwrap().collect(Arc::new(TreeTrace), false)).unwrap();
            }
        });
        for number in 0..40 {
            let agent = format!("agent-{number}");
            block_on(trees.create_branch(&agent, base)).unwrap();
            let mut tree = block_on(trees.open_branch(&agent, WorkingOptions::default())).unwrap();
            for (path, content) in wide(number) {
                let path = TreePath::new(path).unwrap();
                block_on(tree.create_directories(path.parent().unwrap())).unwrap();
                block_on(tree.write(&path, content)).unwrap();
            }
            let theirs = block_on(tree.commit("theirs")).unwrap().commit;
            drop(tree);
            let trees = &trees;
            let remover = scope.spawn(move || {
                block_on(trees.delete_branch(&agent, ExpectHead::Any)).unwrap();
            });
            match merge(trees, theirs, &MergeOptions::default()) {
                // Removed and collected before it was looked at: nothing was merged then.
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            remover.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    block_on(trees.store.flush()).unwrap();
    block_on(trees.store.own().unwrap().collect(Arc::new(TreeTrace), false)).unwrap();
    let top = head(&trees);
    let mut files = 0;
    block_on(async {
        let mut walk = trees.walk(&top.root).unwrap();
        while let Some((_, entry)) = walk.next().await.unwrap() {
            if entry.kind == EntryKind::File {
                let key = node::data_key(trees.domain, entry.id);
                assert!(trees.store.get_many(&[key]).await[0].is_ok());
                files += 1;
            }
        }
    });
    assert_eq!(files, top.counts.files);
    assert!(files > 1, "nothing was merged");
}
