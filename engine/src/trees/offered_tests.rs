use super::*;
use crate::format::branch::BranchData;
use crate::reactor::block_on;
use crate::store::Expect;
use crate::trees::testing::{self, tick, trees};
use crate::trees::{CommitOptions, CommitOutcome, Forgetting, Keep};

fn branch(name: &str, target: ContentId, data: &BranchData) -> RootUpdate {
    RootUpdate {
        kind: RootKind::Branch,
        name: name.as_bytes().into(),
        expect: Expect::Any,
        change: RootChange::Set {
            target: Some(Target {
                kind: Kind::Commit,
                id: target,
            }),
            data: data.encode().into(),
        },
    }
}

fn commit(trees: &Trees, branch: &str, files: &[(&str, &str)]) -> CommitOutcome {
    testing::commit(trees, branch, files, &CommitOptions::default()).expect("a commit")
}

fn check(trees: &Trees, update: &RootUpdate, parents: &[ContentId]) -> Result<Vec<Key>> {
    block_on(trees.check_offered_root(update, Domain(0), parents))
}

/// Goal: what this process makes is what it would accept. Method: every extent of a few commits, read back and offered; they refer
/// to each other only.
#[test]
fn what_is_made_here_is_accepted() {
    let trees = trees();
    let first = commit(&trees, "main", &[("a", "1"), ("b/c", "2")]);
    let second = commit(&trees, "main", &[("a", "1"), ("b/c", "3")]);
    let mut open = vec![(Kind::Commit, first.commit), (Kind::Commit, second.commit)];
    let mut extents = Vec::new();
    while let Some((kind, id)) = open.pop() {
        if kind == Kind::Data {
            // These trees are stored without their contents.
            continue;
        }
        let key = Key {
            domain: Domain(0),
            kind,
            id,
        };
        let bytes = block_on(trees.store.get(key)).expect("there");
        extent_references(kind, &bytes, &mut open).expect("sound");
        extents.push(Extent { key, bytes });
    }
    let mut references = Vec::new();
    check_offered(&extents, &mut references).expect("sound");
    assert!(references.len() >= extents.len() - 2);
    for key in references.into_iter().filter(|key| key.kind != Kind::Data) {
        assert!(extents.iter().any(|extent| extent.key == key), "{key:?}");
    }
}

/// Goal: an id that is not that of the bytes is refused whatever the kind, and so is a form that is none. Method: each extent of a
/// commit with one bit changed, under its id and under the id it has then.
#[test]
fn changed_bytes_are_refused() {
    let trees = trees();
    let made = commit(&trees, "main", &[("a", "1")]);
    for (kind, id) in [(Kind::Commit, made.commit), (Kind::Node, made.tree)] {
        let key = Key {
            domain: Domain(0),
            kind,
            id,
        };
        let mut bytes = block_on(trees.store.get(key)).expect("there").to_vec();
        bytes[0] ^= 1;
        let refused = |id| {
            let key = Key { id, ..key };
            let bytes = Bytes::from(bytes.clone());
            check_offered(&[Extent { key, bytes }], &mut Vec::new()).expect_err("changed")
        };
        assert!(refused(id).to_string().contains("another id"));
        let id = crate::hash::typed_id(kind, &bytes);
        assert!(matches!(refused(id), Error::Invalid { .. }));
    }
}

/// Goal: a branch names what it is asked to keep, and no history that was cut. Method: one like those made here; one whose record is
/// none, one whose name is none; after a history was forgotten, one that claims all of it.
#[test]
fn branches_begin_histories_that_are_there() {
    let trees = trees();
    let mut ids = Vec::new();
    for content in ["1", "2", "3"] {
        ids.push(commit(&trees, "main", &[("a", content)]).commit);
        tick(&trees);
    }
    let last = ids[2];
    let whole = BranchData::new(1, 1, 0);
    let named = check(&trees, &branch("new", last, &whole), &[ids[1]]).expect("whole");
    assert_eq!(named.iter().map(|key| key.id).collect::<Vec<_>>(), [last]);
    assert!(check(&trees, &branch("a..b", last, &whole), &[]).is_err());
    let mut bare = branch("new", last, &whole);
    bare.change = RootChange::Set {
        target: None,
        data: Bytes::new(),
    };
    assert!(check(&trees, &bare, &[]).is_err());
    let mut broken = branch("new", last, &whole);
    if let RootChange::Set { data, .. } = &mut broken.change {
        *data = data.slice(..3);
    }
    assert!(check(&trees, &broken, &[]).is_err());
    let keep = Keep {
        last: Some(1),
        ..Keep::default()
    };
    block_on(trees.forget("main", &mut Forgetting::new(keep).expect("rules"), false)).expect("cut");
    let refused = check(&trees, &branch("new", last, &whole), &[ids[2]]).expect_err("it was cut");
    assert!(refused.to_string().contains("forgotten"), "{refused}");
    let head = trees
        .head("main")
        .expect("sound")
        .expect("there")
        .data()
        .expect("sound");
    check(&trees, &branch("new", last, &head), &[ids[2]]).expect("as far as it goes");
}
