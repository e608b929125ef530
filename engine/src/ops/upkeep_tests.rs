//! Requests that look for damage and mend it, and what others answer while there is some.

use std::sync::Arc;

use super::testing::{Place, flip, pattern};
use super::*;

fn scrub(place: &Place, request: ScrubRequest) -> Scrubbed {
    match place.call(Request::Scrub(request)).unwrap() {
        Reply::Scrubbed(scrubbed) => scrubbed,
        other => panic!("{other:?}"),
    }
}

/// A store whose branch `main` holds a small and a large file, with a byte of each damaged. A twin was made of the same
/// files.
fn damaged() -> (Place, Place, [Vec<u8>; 2]) {
    let contents = [pattern(100_000, 1), pattern(3 << 20, 2)];
    let [place, twin] = [Place::new(), Place::new()];
    for place in [&place, &twin] {
        place.write("deep/small", &contents[0]);
        place.write("large", &contents[1]);
        place.commit();
        place.client.close().unwrap();
    }
    for content in &contents {
        flip(&place.store(), &content[50_000..50_032]);
    }
    (place, twin, contents)
}

/// Goal: damage is named with the paths to it, and stays until a source really has the bytes; every kind of source will
/// do. Method: a source without them, then a file and a directory together, or another store.
#[test]
fn damage_is_mended_from_any_source() {
    for from_store in [false, true] {
        let (place, twin, contents) = damaged();
        let project = place.project();
        let nothing = place.root.path().join("nothing");
        std::fs::write(&nothing, "of use").unwrap();
        let found = scrub(
            &place,
            ScrubRequest {
                repair_from: vec![nothing.as_path().into()],
                ..ScrubRequest::default()
            },
        );
        assert_eq!((found.damage.len(), found.repaired), (2, 0), "{found:?}");
        for path in ["main:deep/small", "main:large"] {
            let named = |extent: &DamagedExtent| extent.kept_by.iter().any(|name| name == path);
            assert!(found.damage.iter().any(named), "{path}: {found:?}");
        }
        assert_eq!(place.cat("main:large").unwrap_err().class, Class::Damaged);

        let missing = ScrubRequest {
            repair_from: vec![place.root.path().join("missing").into()],
            ..ScrubRequest::default()
        };
        assert_eq!(place.refused(Request::Scrub(missing)), Class::NotFound);

        let repair_from = match from_store {
            true => vec![twin.store().into()],
            false => vec![project.join("large").into(), project.join("deep").into()],
        };
        let mended = scrub(
            &place,
            ScrubRequest {
                repair_from,
                // More than there is, so there is nothing to wait for.
                bytes_per_second: Some(u64::MAX),
                ..ScrubRequest::default()
            },
        );
        assert_eq!((mended.damage.len(), mended.repaired), (0, 2), "{mended:?}");
        assert_eq!(scrub(&place, ScrubRequest::default()).damage, []);
        assert_eq!(place.cat("main:deep/small").unwrap(), contents[0]);
        assert_eq!(place.cat("main:large").unwrap(), contents[1]);
    }
}

/// Stops its request at the first step of a stage.
struct Stopping(Cancel, Stage);

impl Exchange for Stopping {
    fn reporter(&self) -> Reporter {
        let (cancel, stage) = (self.0.clone(), self.1);
        Arc::new(move |step| {
            if step.stage == stage {
                cancel.cancel();
            }
        })
    }

    fn warn(&mut self, _: &Warning) {}

    fn output(&mut self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn input(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }

    fn cancel(&self) -> &Cancel {
        &self.0
    }
}

/// Goal: a scrub that was stopped goes on where it was, also by another process, unless told to begin again; a finished
/// one begins again by itself. Method: stop one after its first segment.
#[test]
fn a_stopped_scrub_goes_on() {
    let place = Place::new();
    for number in 0..4 {
        place.write("large", pattern(5 << 20, number));
        place.commit();
        // So that each lies in segments of its own.
        place.client.close().unwrap();
    }
    let whole = scrub(&place, ScrubRequest::default());
    assert!(!whole.resumed && whole.segments > 2, "{whole:?}");
    for restart in [false, true] {
        let mut stopping = Stopping(Cancel::default(), Stage::Checking);
        let stopped = place
            .client
            .call(Request::Scrub(ScrubRequest::default()), &mut stopping);
        assert_eq!(stopped.unwrap_err().class, Class::Cancelled);
        place.client.close().unwrap();
        let rest = scrub(
            &place,
            ScrubRequest {
                restart,
                ..ScrubRequest::default()
            },
        );
        assert_eq!(rest.resumed, !restart);
        assert_eq!(rest.bytes < whole.bytes, !restart, "{rest:?} of {whole:?}");
        assert!(!scrub(&place, ScrubRequest::default()).resumed);
    }
}

/// Goal: while a directory of a branch is damaged, what it holds is not called unused: `check` names the branch, and
/// answers that would be incomplete are refused. Method: flip a bit of a tree node, which holds the names in it.
#[test]
fn a_damaged_directory_makes_answers_incomplete() {
    let place = Place::new();
    place.write("deep/a name that is nowhere else", "kept");
    place.commit();
    place.client.close().unwrap();
    flip(&place.store(), b"a name that is nowhere else");
    for read_data in [false, true] {
        let Reply::Checked(checked) = place.call(Request::Check(CheckRequest { read_data })).unwrap() else {
            panic!("no answer")
        };
        let named = |damage: &Damage| damage.reached_from == Some("main".into());
        assert!(checked.damage.iter().any(named), "{checked:?}");
    }
    let usage = Request::Usage(UsageRequest::default());
    assert_eq!(place.refused(usage), Class::Damaged);
    let quota = Request::Quota(QuotaRequest::Set {
        prefix: "".into(),
        limit_bytes: Some(1 << 30),
    });
    assert_eq!(place.refused(quota), Class::Damaged);
    let kept = blake3::hash(b"kept").to_hex();
    let why = Request::Why(WhyRequest {
        what: kept[..].into(),
        limit: 1,
    });
    let failure = place.call(why).unwrap_err();
    assert_eq!(failure.class, Class::Damaged, "{failure}");
    assert!(failure.hint.unwrap().contains("helios check"));
}

/// Goal: what a name costs alone and what it shares add up, and what is unique is what its removal would free. Method:
/// files of known sizes that do not repeat, on branches that share one, and in a commit without a name.
#[test]
fn costs_add_up() {
    const SIZE: u64 = 100_000;
    let place = Place::new();
    place.write("file", "");
    place.write("base", pattern(SIZE as usize, 1));
    place.commit();
    let create = BranchRequest::Create {
        name: "agent".into(),
        revision: Some("main".into()),
        directory: place.project().into(),
        count: None,
        force: false,
        expires_ns: None,
    };
    place.call(Request::Branch(create)).unwrap();
    place.write("own", pattern(SIZE as usize, 2));
    place.commit_to(Some("agent"));
    let usage = |revisions: &[&str]| {
        let revisions = revisions.iter().map(|name| ByteString::from(*name)).collect();
        match place.call(Request::Usage(UsageRequest { revisions })).unwrap() {
            Reply::Usage(usage) => usage,
            other => panic!("{other:?}"),
        }
    };
    let about = |amount: Amount, files: u64| (files * SIZE..files * SIZE + 4096).contains(&amount.bytes);
    let named = usage(&["agent", "main", "agent~1"]);
    let [agent, main, state] = &named.rows[..] else {
        panic!("{named:?}")
    };
    assert!(
        about(agent.all, 2) && about(agent.unique, 1) && about(agent.shared, 1),
        "{agent:?}"
    );
    assert!(about(main.all, 1) && about(main.unique, 0), "{main:?}");
    assert_eq!(
        (state.kind, main.kind),
        (KeeperKind::Revision, KeeperKind::Branch)
    );
    assert!(about(state.all, 1) && about(state.unique, 0), "{state:?}");
    for row in &named.rows {
        assert_eq!(row.all.bytes, row.unique.bytes + row.shared.bytes);
        assert_eq!(row.all.extents, row.unique.extents + row.shared.extents);
    }
    assert!(about(named.total, 2), "{named:?}");
    assert!(usage(&[]).rows.contains(agent));
    let names = vec!["agent".into()];
    place
        .call(Request::Branch(BranchRequest::Delete { names }))
        .unwrap();
    let left = usage(&[]).total;
    assert_eq!(named.total.bytes - left.bytes, agent.unique.bytes);
    assert_eq!(named.total.extents - left.extents, agent.unique.extents);
}

/// Goal: what a commit leaves out is said, with its path and why. Method: a socket among the files.
#[test]
fn what_is_left_out_is_said() {
    let place = Place::new();
    let path = place.project().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let committed = place.commit();
    assert_eq!(committed.entries.files, 1);
    assert_eq!(committed.warnings.count, 1);
    let [warning] = &committed.warnings.first[..] else {
        panic!("{committed:?}")
    };
    assert!(warning.path.to_string().ends_with("socket"), "{warning:?}");
    assert!(warning.message.contains("without its process"), "{warning:?}");
    assert_eq!(place.cat("main:socket").unwrap_err().class, Class::NotFound);
}

/// Goal: a collection says beforehand what it would forget, forgets exactly that, and keeps the rest. Method: a large
/// file on a branch that is deleted, beside one that stays.
#[test]
fn a_rehearsed_collection_tells_the_truth() {
    let place = Place::new();
    let kept = pattern(2 << 20, 1);
    place.write("kept", &kept);
    place.commit();
    place.write("large", pattern(6 << 20, 2));
    place.commit_to(Some("other"));
    let names = vec!["other".into()];
    place
        .call(Request::Branch(BranchRequest::Delete { names }))
        .unwrap();
    let collect = |dry_run| match place.call(Request::Collect(CollectRequest { dry_run })).unwrap() {
        Reply::Collected(collected) => collected,
        other => panic!("{other:?}"),
    };
    let told = collect(true);
    assert!((6 << 20..7 << 20).contains(&told.forgotten_bytes), "{told:?}");
    assert_eq!((told.segments_freed, told.moved_bytes), (0, 0));
    let done = collect(false);
    assert_eq!(
        (done.alive, done.forgotten, done.forgotten_bytes),
        (told.alive, told.forgotten, told.forgotten_bytes)
    );
    assert_eq!(collect(false).forgotten, 0);
    assert_eq!(place.cat("main:kept").unwrap(), kept);
    let mut stopping = Stopping(Cancel::default(), Stage::Following);
    let usage = Request::Usage(UsageRequest::default());
    let stopped = place.client.call(usage, &mut stopping);
    assert_eq!(stopped.unwrap_err().class, Class::Cancelled);
}

/// Goal: counters tell new contents from those the store had, and commits from contents. Method: one content twice, then
/// a commit; figures by hand.
#[test]
fn counters_tell_new_from_known() {
    let place = Place::new();
    place.commit();
    place.client.close().unwrap();
    let stats = || match place.call(Request::Stats).unwrap() {
        Reply::Stats(stats) => stats,
        other => panic!("{other:?}"),
    };
    let idle = stats();
    assert_eq!((idle.new_objects, idle.new_bytes), (0, 0));
    assert_eq!((idle.dedup_ratio, idle.io_reduction_percent), (1.0, 0.0));
    assert!(
        idle.index_entries >= 3,
        "a content, a directory, a commit: {idle:?}"
    );
    let put = |content: &'static str| {
        let request = Request::Put(PutRequest::default());
        place
            .client
            .call(request, &mut Once(content.as_bytes(), Cancel::default()))
            .unwrap();
    };
    put("a new content");
    put("a new content");
    let busy = stats();
    assert_eq!((busy.new_objects, busy.new_bytes), (1, 13));
    assert_eq!((busy.dedup_ratio, busy.io_reduction_percent), (2.0, 50.0));
    assert_eq!(busy.index_entries, idle.index_entries + 1);
    assert_eq!(busy.totals.new_objects, idle.totals.new_objects + 1);
    assert_eq!(busy.visible.commits, 0, "contents are no commits");
    place.write("file", "two");
    place.commit();
    let committed = stats();
    assert_eq!(committed.visible.commits, 1);
    assert_eq!(committed.totals.commits, idle.totals.commits + 1);
}

/// Gives its bytes once.
struct Once(&'static [u8], Cancel);

impl Exchange for Once {
    fn reporter(&self) -> Reporter {
        Arc::new(|_| {})
    }

    fn warn(&mut self, _: &Warning) {}

    fn output(&mut self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn input(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = std::mem::take(&mut self.0);
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn cancel(&self) -> &Cancel {
        &self.1
    }
}
