//! Requests about names: all or nothing where several are meant, and refusals that change nothing.

use super::testing::Place;
use super::*;
use crate::format::ContentId;

fn create(place: &Place, name: &str, count: Option<u32>, force: bool) -> Request {
    Request::Branch(BranchRequest::Create {
        name: name.into(),
        revision: Some("main".into()),
        directory: place.project().into(),
        count,
        force,
        expires_ns: None,
    })
}

fn names(branches: &[(String, ContentId)]) -> Vec<&str> {
    branches.iter().map(|(name, _)| &name[..]).collect()
}

/// Goal: numbered branches come all or none, and move only by force. Method: one of the numbers is taken.
#[test]
fn numbered_branches_come_together() {
    let place = Place::new();
    let first = place.commit().commit;
    place
        .call(create(&place, "agent-{n}/work", Some(2), false))
        .unwrap();
    place.call(create(&place, "b-2", None, false)).unwrap();
    place.write("file", "two");
    let second = place.commit().commit;
    let before = place.branches();
    assert_eq!(names(&before), ["agent-0/work", "agent-1/work", "b-2", "main"]);
    assert_eq!(
        place.refused(create(&place, "b", Some(5), false)),
        Class::Conflict
    );
    assert_eq!(place.refused(create(&place, "b-2", None, false)), Class::Conflict);
    assert_eq!(place.branches(), before);
    place.call(create(&place, "b", Some(5), true)).unwrap();
    let after = place.branches();
    assert_eq!(
        names(&after),
        [
            "agent-0/work",
            "agent-1/work",
            "b-0",
            "b-1",
            "b-2",
            "b-3",
            "b-4",
            "main"
        ]
    );
    for (name, commit) in after {
        let expected = if name.starts_with("agent") { first } else { second };
        assert_eq!(commit, expected, "{name}");
    }
}

/// Goal: a list of names with one that is unknown removes none, of branches, tags and histories; a name is never given
/// twice. Method: such lists, and renaming to a name that is taken.
#[test]
fn one_unknown_name_stops_all() {
    let place = Place::new();
    place.commit();
    place.write("file", "two");
    place.commit();
    place.call(create(&place, "other", None, false)).unwrap();
    let tag = |name: &str, force| {
        Request::Tag(TagRequest::Create {
            name: name.into(),
            revision: Some("main~1".into()),
            directory: place.project().into(),
            force,
        })
    };
    place.call(tag("v1", false)).unwrap();
    assert_eq!(place.refused(tag("v1", false)), Class::Conflict);
    place.call(tag("v1", true)).unwrap();
    let before = place.branches();

    let list = || vec![ByteString::from("other"), "nope".into()];
    let delete = Request::Branch(BranchRequest::Delete { names: list() });
    assert_eq!(place.refused(delete), Class::NotFound);
    let rename = Request::Branch(BranchRequest::Rename {
        from: "other".into(),
        to: "main".into(),
    });
    assert_eq!(place.refused(rename), Class::Conflict);
    let forget = Request::Forget(ForgetRequest {
        branches: list(),
        keep_last: Some(1),
        ..ForgetRequest::default()
    });
    assert_eq!(place.refused(forget), Class::NotFound);
    let without_rule = Request::Forget(ForgetRequest::default());
    assert_eq!(place.refused(without_rule), Class::Invalid);
    assert_eq!(place.branches(), before);
    assert_eq!(
        place.cat("other~1:file").unwrap(),
        b"one",
        "nothing was forgotten"
    );
    let names = vec!["v1".into(), "v2".into()];
    let delete = Request::Tag(TagRequest::Delete { names });
    assert_eq!(place.refused(delete), Class::NotFound);
    assert_eq!(place.cat("v1:file").unwrap(), b"one");
    let names = vec!["v1".into()];
    place.call(Request::Tag(TagRequest::Delete { names })).unwrap();
    assert_eq!(place.cat("v1:file").unwrap_err().class, Class::NotFound);
}

/// Goal: forgetting drops exactly what a rehearsal has named, from the branches meant only; what is left can be read, and
/// what is forgotten no longer costs anything that could be told. Method: four commits on two branches.
#[test]
fn forgetting_cuts_the_branches_meant() {
    let place = Place::new();
    let commits: Vec<ContentId> = (0..4)
        .map(|number| {
            place.write("file", number.to_string());
            place.commit().commit
        })
        .collect();
    place.call(create(&place, "other", None, false)).unwrap();
    let history = |branch: &str| {
        let request = LogRequest {
            revision: Some(branch.into()),
            directory: place.project().into(),
            ..LogRequest::default()
        };
        match place.call(Request::Log(request)).unwrap() {
            Reply::History(history) => history
                .commits
                .into_iter()
                .map(|commit| commit.commit)
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    let newest_first: Vec<ContentId> = commits.iter().rev().copied().collect();
    for dry_run in [true, false] {
        assert_eq!(history("main"), newest_first);
        let request = ForgetRequest {
            branches: vec!["main".into()],
            keep_last: Some(2),
            dry_run,
            ..ForgetRequest::default()
        };
        let Reply::Forgot(forgot) = place.call(Request::Forget(request)).unwrap() else {
            panic!("no answer")
        };
        assert_eq!(forgot.dry_run, dry_run);
        let told: Vec<_> = forgot
            .branches
            .iter()
            .map(|branch| (branch.kept, branch.forgotten, branch.oldest))
            .collect();
        assert_eq!(told, [(2, 2, commits[2])]);
    }
    assert_eq!(history("main"), newest_first[..2]);
    assert_eq!(history("other"), newest_first);
    let usage = |revision: ContentId| {
        let revisions = vec![revision.to_string().into()];
        place.call(Request::Usage(UsageRequest { revisions }))
    };
    assert!(usage(commits[0]).is_ok(), "another branch has it");
    let names = vec!["other".into()];
    place
        .call(Request::Branch(BranchRequest::Delete { names }))
        .unwrap();
    assert_eq!(usage(commits[0]).unwrap_err().class, Class::NotFound);
    assert!(usage(commits[2]).is_ok());
    let whole_path = UsageRequest {
        revisions: vec!["main:file".into()],
    };
    assert_eq!(place.refused(Request::Usage(whole_path)), Class::Invalid);
}

/// Goal: a sweep takes exactly the branches whose time is over; a rehearsal and a reader change nothing. Method: one
/// expired, one put off, one without an expiry, and a collection, which sweeps too.
#[test]
fn sweeps_take_what_has_expired() {
    let place = Place::new();
    place.commit();
    let create = |name: &str, revision: Option<&str>, expires_ns| {
        Request::Branch(BranchRequest::Create {
            name: name.into(),
            revision: revision.map(ByteString::from),
            directory: place.project().into(),
            count: None,
            force: false,
            expires_ns: Some(expires_ns),
        })
    };
    for name in ["old", "saved"] {
        place.call(create(name, Some("main"), 1)).unwrap();
    }
    place.call(create("young", Some("main"), u64::MAX)).unwrap();
    place.call(create("saved", None, 0)).unwrap();
    assert_eq!(
        place.cat("old:file").unwrap(),
        b"one",
        "it is there until a sweep"
    );
    let removed = |dry_run| match place.call(Request::Expire(ExpireRequest { dry_run })).unwrap() {
        Reply::Expired(expired) => expired
            .removed
            .into_iter()
            .map(|branch| branch.name.to_string())
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(removed(true), ["old"]);
    assert_eq!(removed(false), ["old"]);
    assert_eq!(removed(false), [""; 0]);
    assert_eq!(names(&place.branches()), ["main", "saved", "young"]);

    place.call(create("young", None, 1)).unwrap();
    let collect = |dry_run| match place.call(Request::Collect(CollectRequest { dry_run })).unwrap() {
        Reply::Collected(collected) => collected.expired_branches,
        other => panic!("{other:?}"),
    };
    assert_eq!(collect(true), 1);
    assert_eq!(names(&place.branches()), ["main", "saved", "young"]);
    assert_eq!(collect(false), 1);
    assert_eq!(names(&place.branches()), ["main", "saved"]);
}

/// Goal: a commit beyond a quota changes nothing, and a collection counts anew what a deleted branch held. Method: two
/// branches that fill their quota.
#[test]
fn collections_measure_quotas() {
    let place = Place::new();
    place.write("large", testing::pattern(100_000, 1));
    place.commit_to(Some("agent-1"));
    let used = |request| match place.call(Request::Quota(request)).unwrap() {
        Reply::Quotas(quotas) => quotas.quotas.first().map(|quota| quota.used_bytes),
        other => panic!("{other:?}"),
    };
    let set = |limit_bytes| QuotaRequest::Set {
        prefix: "agent-".into(),
        limit_bytes,
    };
    let first = used(set(Some(250_000))).unwrap();
    assert!((100_000..110_000).contains(&first), "{first}");
    place.write("large", testing::pattern(100_000, 2));
    place.commit_to(Some("agent-2"));
    place.write("large", testing::pattern(100_000, 3));
    let before = place.branches();
    let request = CommitRequest {
        directory: place.project().into(),
        branch: Some("agent-1".into()),
        ..CommitRequest::default()
    };
    assert_eq!(place.refused(Request::Commit(request)), Class::Quota);
    assert_eq!(place.branches(), before);
    assert!(used(QuotaRequest::Measure).unwrap() > 200_000);
    let names = vec!["agent-2".into()];
    place
        .call(Request::Branch(BranchRequest::Delete { names }))
        .unwrap();
    assert!(used(QuotaRequest::List).unwrap() > 200_000, "not measured yet");
    place.call(Request::Collect(CollectRequest::default())).unwrap();
    assert_eq!(used(QuotaRequest::List), Some(first));
    place.commit_to(Some("agent-1"));
    assert_eq!(used(set(None)), None);
    assert_eq!(place.refused(Request::Quota(set(None))), Class::NotFound);
}

/// Goal: pins are counted, never below none, and hold what no branch does. Method: pin twice, let go twice and once too
/// often, with collections between.
#[test]
fn pins_hold_contents() {
    let place = Place::new();
    place.write("other", "pinned");
    let id = ContentId(*blake3::hash(b"pinned").as_bytes());
    let content = ContentRequest { ids: vec![id] };
    assert_eq!(place.refused(Request::Pin(content.clone())), Class::NotFound);
    place.commit();
    let pins = |request| match place.call(request).unwrap() {
        Reply::Pinned(pinned) => pinned.contents[0].pins,
        other => panic!("{other:?}"),
    };
    let exists_after_collecting = || {
        place.call(Request::Collect(CollectRequest::default())).unwrap();
        match place.call(Request::Exists(content.clone())).unwrap() {
            Reply::Found(found) => found.contents[0].exists,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(pins(Request::Pin(content.clone())), 1);
    assert_eq!(pins(Request::Pin(content.clone())), 2);
    let names = vec!["main".into()];
    place
        .call(Request::Branch(BranchRequest::Delete { names }))
        .unwrap();
    assert!(exists_after_collecting());
    let why = WhyRequest {
        what: id.to_string().into(),
        limit: 10,
    };
    let Reply::Kept(kept) = place.call(Request::Why(why)).unwrap() else {
        panic!("no answer")
    };
    assert!(
        kept.keepers.iter().any(|keeper| keeper.kind == KeeperKind::Pin),
        "{kept:?}"
    );
    assert_eq!(pins(Request::Unpin(content.clone())), 1);
    assert!(exists_after_collecting());
    assert_eq!(pins(Request::Unpin(content.clone())), 0);
    assert!(!exists_after_collecting());
    assert!(place.call(Request::Unpin(content.clone())).is_err());
}

/// Goal: each kind of difference is named as what it is, on real directories and between commits alike. Method: a file
/// that is added, removed, changed, turned into a link, and given another mode.
#[test]
fn differences_have_their_kinds() {
    let place = Place::new();
    for name in ["changed", "mode", "removed", "retyped", "same"] {
        place.write(name, name);
    }
    place.commit();
    let project = place.project();
    place.write("added", "new");
    place.write("changed", "another");
    std::fs::remove_file(project.join("removed")).unwrap();
    std::fs::remove_file(project.join("retyped")).unwrap();
    std::os::unix::fs::symlink("same", project.join("retyped")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(project.join("mode"), mode).unwrap();
    let diff = |to: Side, paths: &[&str]| {
        let request = DiffRequest {
            from: "main".into(),
            to,
            paths: paths.iter().map(|path| ByteString::from(*path)).collect(),
        };
        match place.call(Request::Diff(request)).unwrap() {
            Reply::Compared(compared) => compared
                .changes
                .into_iter()
                .filter(|change| change.path != ByteString::from("."))
                .map(|change| (change.path.to_string(), change.change))
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    let expected = [
        ("added", ChangeKind::Added),
        ("changed", ChangeKind::Modified),
        ("mode", ChangeKind::Metadata),
        ("removed", ChangeKind::Removed),
        ("retyped", ChangeKind::Retyped),
    ]
    .map(|(path, kind)| (path.to_owned(), kind));
    assert_eq!(diff(Side::Directory(project.clone().into()), &[]), expected);
    place.commit_to(Some("new"));
    assert_eq!(diff(Side::Revision("new".into()), &[]), expected);
    assert_eq!(
        diff(Side::Revision("new".into()), &["removed", "same"]),
        expected[3..4]
    );
    assert_eq!(diff(Side::Revision("main".into()), &[]), []);
    let of_a_file = DiffRequest {
        from: "main:same".into(),
        to: Side::Revision("new".into()),
        paths: Vec::new(),
    };
    assert_eq!(place.refused(Request::Diff(of_a_file)), Class::Invalid);
    assert_eq!(place.cat("new:retyped").unwrap_err().class, Class::Invalid);
}

/// Goal: an abbreviated id that fits several extents is refused with the candidates, and a longer one is found. Method:
/// two contents whose ids begin alike, looked for by hashing.
#[test]
fn ambiguous_ids_are_refused() {
    let place = Place::new();
    let mut seen = std::collections::HashMap::new();
    let (first, second) = (0u32..)
        .find_map(|number| {
            let content = number.to_string();
            let id = blake3::hash(content.as_bytes()).to_hex().to_string();
            seen.insert(id[..4].to_owned(), content.clone())
                .map(|before| (before, content))
        })
        .unwrap();
    place.write("first", &first);
    place.write("second", &second);
    place.commit();
    let id = blake3::hash(second.as_bytes()).to_hex().to_string();
    let why = |what: &str| {
        place.call(Request::Why(WhyRequest {
            what: what.into(),
            limit: 10,
        }))
    };
    let failure = why(&id[..4]).unwrap_err();
    assert_eq!(failure.class, Class::Invalid);
    assert!(failure.message.contains(&id[..12]), "{failure}");
    let Reply::Kept(kept) = why(&id[..16]).unwrap() else {
        panic!("no answer")
    };
    assert_eq!(kept.id.to_string(), id);
    assert_eq!(kept.keepers[0].path, Some("second".into()));
    assert_eq!(why(&id[..3]).unwrap_err().class, Class::NotFound);
    assert_eq!(why(&"0".repeat(64)).unwrap_err().class, Class::NotFound);
    assert_eq!(why(&"0".repeat(16)).unwrap_err().class, Class::NotFound);
}

/// Goal: a merge goes to the branch that the directory follows, or the one named; conflicts are a reply, which survives
/// the wire; a dry run changes nothing and needs no more than reading. Method: two branches that change one file each,
/// then the same one.
#[test]
fn merges_answer_with_what_they_did() {
    let place = Place::new();
    place.write("other", "one");
    place.commit();
    place.write("file", "agent's");
    place.commit_to(Some("agent"));
    let create = |name: &str, revision: &str| {
        let request = BranchRequest::Create {
            name: name.into(),
            revision: Some(revision.into()),
            directory: place.project().into(),
            count: None,
            force: true,
            expires_ns: None,
        };
        place.call(Request::Branch(request)).unwrap()
    };
    // A commit to a new branch has no parent; one to a branch made at a commit has.
    create("agent", "main");
    place.commit_to(Some("agent"));
    create("try", "main");
    place.write("file", "one");
    place.write("other", "main's");
    place.commit_to(Some("main"));
    let merge = |revision: &str, into: Option<&str>, dry_run: bool| {
        let request = MergeRequest {
            revision: revision.into(),
            into: into.map(ByteString::from),
            directory: place.project().into(),
            dry_run,
            ..MergeRequest::default()
        };
        let reply = place.call(Request::Merge(request)).unwrap();
        let json = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&json).unwrap(), reply, "{json}");
        match reply {
            Reply::Merged(merged) => merged,
            other => panic!("{other:?}"),
        }
    };
    let heads = place.branches();
    let planned = merge("agent", None, true);
    assert_eq!((planned.outcome, planned.commit), (MergeOutcome::Merged, None));
    assert_eq!(planned.branch, "main".into());
    assert_eq!(
        merge("agent", Some("try"), true).outcome,
        MergeOutcome::FastForward
    );
    assert_eq!(place.branches(), heads);
    let merged = merge("agent", None, false);
    assert_eq!(merged.outcome, MergeOutcome::Merged);
    assert_eq!(merged.bases, merged.base.into_iter().collect::<Vec<_>>());
    assert!(merged.new_objects > 0 && merged.new_bytes > 0);
    assert_eq!(place.cat("main:file").unwrap(), b"agent's");
    assert_eq!(place.cat("main:other").unwrap(), b"main's");
    assert_eq!(merge("agent", None, false).outcome, MergeOutcome::UpToDate);

    place.write("file", "main's");
    place.commit_to(Some("main"));
    place.write("file", "agent's second");
    place.commit_to(Some("agent"));
    let heads = place.branches();
    let refused = merge("agent", Some("main"), false);
    assert_eq!(refused.outcome, MergeOutcome::Conflicts);
    assert!(refused.changes.is_empty());
    let conflict = &refused.conflicts[0];
    assert_eq!(
        (&conflict.path, conflict.conflict),
        (&"file".into(), ConflictKind::BothChanged)
    );
    assert_eq!(conflict.ours.map(|node| node.size), Some(6));
    assert_eq!(place.branches(), heads);
    let path = MergeRequest {
        revision: "agent:file".into(),
        directory: place.project().into(),
        ..MergeRequest::default()
    };
    assert_eq!(place.refused(Request::Merge(path)), Class::Invalid);
}
