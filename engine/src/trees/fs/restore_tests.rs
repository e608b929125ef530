use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::*;
use crate::access::Access;
use crate::error::Error;
use crate::trees::Change;
use crate::trees::fs::testing::store;
use crate::trees::fs::testing::{Committed, commit, commit_all, control, everything, see, settle, write};
use crate::trees::fs::{Cancel, ScanOptions, inspect, status};

fn look(store: &Access, directory: &Path, options: &ScanOptions) -> Scan {
    inspect(store, directory, options, None, &control()).expect("readable")
}

fn restore_with(
    store: &Access,
    directory: &Path,
    to: &Committed,
    options: &RestoreOptions,
) -> Result<Restored> {
    let scan = look(store, directory, &ScanOptions::default());
    Restore::plan(store, &scan, to.root(), options, &control())?.apply(&control())
}

/// What restoring by default would do to the directory that was looked at.
fn plan<'a>(store: &'a Access, scan: &'a Scan, to: &Committed) -> Restore<'a> {
    Restore::plan(store, scan, to.root(), &RestoreOptions::default(), &control()).expect("readable")
}

fn restore(store: &Access, directory: &Path, to: &Committed) -> Restored {
    let options = RestoreOptions {
        devices: true,
        ..RestoreOptions::default()
    };
    restore_with(store, directory, to, &options).expect("permission and room")
}

fn paths(differences: &[crate::trees::Difference]) -> Vec<String> {
    differences
        .iter()
        .map(|difference| {
            let sign = match &difference.change {
                Change::Added(_) => '+',
                Change::Removed(_) => '-',
                Change::Modified { .. } => '*',
            };
            format!("{sign}{}", difference.path)
        })
        .collect()
}

/// Goal: whatever happened to a directory, it becomes what it was, all of it. Method: one of everything; damage of every
/// kind; compared by path-based calls. Then once more: nothing is left to do.
#[test]
fn everything_is_put_back() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let root = place.path().join("root");
    fs::create_dir(&root).expect("writable");
    everything(&root);
    let before = see(&root);
    let committed = commit_all(&store, &root, None);
    let at = |name: &str| root.join(name);
    fs::set_permissions(at("a/b"), fs::Permissions::from_mode(0o755)).expect("own directory");
    write(at("a/plain"), "PLAIN");
    write(at("a/noise 5000000"), "short now");
    fs::remove_file(at("a/b/case")).expect("own file");
    fs::rename(at("a/b/Case"), at("a/b/moved")).expect("own file");
    fs::remove_file(at("run.sh")).expect("own file");
    fs::create_dir_all(at("run.sh/is/a/directory")).expect("writable");
    write(at("run.sh/is/a/file"), "x");
    fs::remove_dir_all(at("empty")).expect("own directory");
    write(at("empty"), "a file now");
    fs::remove_file(at("link")).expect("own file");
    symlink("elsewhere", at("link")).expect("writable");
    fs::remove_file(at("0 first")).expect("own file");
    write(at("0 first"), "one file, three names");
    fs::remove_file(at("a/pipe")).expect("own file");
    write(at("a/pipe"), "");
    fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o644)).expect("own file");
    fs::create_dir_all(at("new/with/more")).expect("writable");
    write(at("new/with/file"), "y");

    let done = restore(&store, &root, &committed);
    let after = see(&root);
    for (path, seen) in &before {
        assert_eq!(after.get(path), Some(seen), "{}", path.display());
    }
    assert_eq!(after.len(), before.len());
    assert!(done.warnings.is_empty(), "{:?}", done.warnings);
    let scan = look(&store, &root, &ScanOptions::default());
    assert_eq!(plan(&store, &scan, &committed).actions(), []);
}

/// Goal: only what differs is written. Method: inodes of everything else stay; a dry run lists just that.
#[test]
fn the_rest_is_not_touched() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let root = place.path();
    for number in 0..20 {
        fs::create_dir_all(root.join(format!("d{number}"))).expect("writable");
        write(root.join(format!("d{number}/file")), format!("{number}"));
    }
    let committed = commit_all(&store, root, None);
    let stamps = || -> Vec<(u64, i64, i64)> {
        (0..20)
            .map(|number| fs::metadata(root.join(format!("d{number}/file"))).expect("is there"))
            .map(|data| (data.ino(), data.ctime(), data.ctime_nsec()))
            .collect()
    };
    let before = stamps();
    write(root.join("d7/file"), "changed");
    fs::set_permissions(root.join("d8/file"), fs::Permissions::from_mode(0o600)).expect("own file");
    let scan = look(&store, root, &ScanOptions::default());
    let plan = plan(&store, &scan, &committed);
    let actions: Vec<(String, RestoreStep)> = plan
        .actions()
        .into_iter()
        .map(|action| (action.path.to_string(), action.step))
        .collect();
    let expected = [
        ("d7/file", RestoreStep::Replace),
        ("d8/file", RestoreStep::Metadata),
    ];
    assert_eq!(actions, expected.map(|(path, step)| (path.to_owned(), step)));
    let done = plan.apply(&control()).expect("permission and room");
    assert_eq!((done.written, done.adjusted, done.removed), (1, 1, 0));
    let after = stamps();
    for number in (0..20).filter(|number| ![7, 8].contains(number)) {
        assert_eq!(before[number], after[number], "d{number}/file");
    }
    assert_eq!(before[8].0, after[8].0, "metadata is set in place");
}

/// Goal: ignored paths stay, whatever the tree holds; extra files go or stay as asked.
#[test]
fn ignored_files_stay_and_extra_files_go() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let root = place.path();
    fs::create_dir_all(root.join("src")).expect("writable");
    fs::create_dir_all(root.join("target")).expect("writable");
    write(root.join("src/main"), "1");
    write(root.join("target/old object"), "committed before it was ignored");
    let committed = commit_all(&store, root, None);
    write(root.join(".heliosignore"), "target/\n*.log\n");
    write(root.join("target/old object"), "newer");
    write(root.join("target/object"), "new");
    fs::create_dir_all(root.join("extra/deep")).expect("writable");
    write(root.join("extra/file"), "x");
    write(root.join("extra/deep/keep.log"), "ignored");
    write(root.join("src/main"), "2");
    write(root.join("src/more"), "z");
    let exists = |name: &str| root.join(name).exists();

    let keep = RestoreOptions {
        delete: Some(false),
        ..RestoreOptions::default()
    };
    restore_with(&store, root, &committed, &keep).expect("works");
    assert_eq!(fs::read(root.join("src/main")).expect("is there"), b"1");
    assert!(exists("extra/file") && exists("src/more") && exists(".heliosignore"));

    let some = RestoreOptions {
        paths: vec![TreePath::new("src").expect("a path")],
        delete: Some(true),
        ..RestoreOptions::default()
    };
    restore_with(&store, root, &committed, &some).expect("works");
    assert!(exists("extra/file") && !exists("src/more"));

    let done = restore(&store, root, &committed);
    assert!(
        !exists("extra/file") && exists("extra/deep/keep.log"),
        "ignored below an extra directory"
    );
    assert!(exists("target/object"));
    assert_eq!(
        fs::read(root.join("target/old object")).expect("is there"),
        b"newer"
    );
    assert!(
        done.warnings.count(Doubt::IgnoredKept) >= 2,
        "{:?}",
        done.warnings
    );
    assert!(!exists(".heliosignore"), "it is no part of the tree");
}

/// Goal: a restore never leaves its directory. Method: directories replaced by links to a place outside; a hard link to
/// a file outside, whose metadata differ.
#[test]
fn links_planted_inside_lead_nowhere() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let (root, outside) = (place.path().join("root"), place.path().join("outside"));
    fs::create_dir_all(root.join("a/b")).expect("writable");
    fs::create_dir(&outside).expect("writable");
    write(root.join("a/b/file"), "inside");
    write(root.join("mode"), "same");
    let committed = commit_all(&store, &root, None);
    fs::remove_dir_all(root.join("a")).expect("own directory");
    symlink(&outside, root.join("a")).expect("writable");
    fs::remove_file(root.join("mode")).expect("own file");
    write(outside.join("victim"), "same");
    fs::set_permissions(outside.join("victim"), fs::Permissions::from_mode(0o600)).expect("own file");
    fs::hard_link(outside.join("victim"), root.join("mode")).expect("links work");
    // The names of the outside look as the tree wants them.
    fs::create_dir(outside.join("b")).expect("writable");
    let before = see(&outside);
    restore(&store, &root, &committed);
    assert_eq!(see(&outside), before);
    assert_eq!(fs::read(root.join("a/b/file")).expect("is there"), b"inside");
    assert!(
        !fs::symlink_metadata(root.join("a"))
            .expect("is there")
            .is_symlink()
    );
}

/// Goal: what somebody changed after the scan is not overwritten. Method: change between plan and apply.
#[test]
fn changes_after_the_scan_stop_it() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let root = place.path();
    write(root.join("file"), "1");
    let committed = commit_all(&store, root, None);
    for (change, name) in [("replace", "file"), ("remove", "extra"), ("create", "file")] {
        match change {
            "replace" => write(root.join("file"), "2"),
            "remove" => write(root.join("extra"), "x"),
            _ => fs::remove_file(root.join("file")).expect("own file"),
        }
        let scan = look(&store, root, &ScanOptions::default());
        let plan = plan(&store, &scan, &committed);
        write(root.join(name), "somebody's work");
        let answer = plan.apply(&control());
        assert!(matches!(answer, Err(Error::Path { .. })), "{change}: {answer:?}");
        assert_eq!(fs::read(root.join(name)).expect("is there"), b"somebody's work");
        let names = fs::read_dir(root).expect("a directory").count();
        assert_eq!(names, 1 + usize::from(name == "extra"), "nothing temporary stays");
        restore(&store, root, &committed);
    }
}

/// Goal: cancelled at any point, a second run finishes. Method: cancel at each report in turn.
#[test]
fn an_interrupted_restore_can_be_repeated() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let root = place.path();
    for number in 0..300 {
        fs::create_dir_all(root.join(format!("d{}", number % 7))).expect("writable");
        write(
            root.join(format!("d{}/f{number}", number % 7)),
            format!("{number}"),
        );
    }
    let committed = commit_all(&store, root, None);
    let before = see(root);
    for at in 0..4u64 {
        for number in 0..300 {
            write(
                root.join(format!("d{}/f{number}", number % 7)),
                format!("{number}!{at}"),
            );
        }
        let scan = look(&store, root, &ScanOptions::default());
        let plan = plan(&store, &scan, &committed);
        let cancel = Cancel::default();
        let (flag, count) = (cancel.clone(), AtomicU64::new(0));
        let stopping = Control {
            cancel,
            report: Some(Arc::new(move |_| {
                if count.fetch_add(1, Ordering::Relaxed) == at {
                    flag.cancel();
                }
            })),
            ..control()
        };
        let _ = plan.apply(&stopping);
        restore(&store, root, &committed);
        assert_eq!(see(root), before, "cancelled at report {at}");
    }
}

/// Goal: a status says what a commit would change, and stores nothing. Method: edits of each kind, with and without a
/// cache; the store's counters stay.
#[test]
fn status_says_what_a_commit_would_change() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let root = place.path();
    fs::create_dir_all(root.join("same/deep")).expect("writable");
    fs::create_dir_all(root.join("gone")).expect("writable");
    for name in ["same/deep/file", "gone/file", "edited", "kind"] {
        write(root.join(name), name);
    }
    let committed = commit_all(&store, root, None);
    settle();
    let committed = Committed {
        cache: commit_all(&store, root, committed.cache.clone()).cache,
        ..committed
    };
    let check = |cache: Option<Bytes>, paths_wanted: &[TreePath]| {
        let scan = inspect(&store, root, &ScanOptions::default(), cache, &control()).expect("readable");
        let mut found = status(&store, &scan, committed.root(), paths_wanted, &control()).expect("readable");
        // Directories whose names changed have another time as well.
        found.retain(|difference| !matches!(&difference.change, Change::Modified { old, .. } if old.kind == EntryKind::Directory));
        paths(&found)
    };
    assert_eq!(check(committed.cache.clone(), &[]), [""; 0]);
    write(root.join("edited"), "EDITED");
    fs::remove_dir_all(root.join("gone")).expect("own directory");
    fs::remove_file(root.join("kind")).expect("own file");
    fs::create_dir(root.join("kind")).expect("writable");
    write(root.join("kind/new"), "new");
    let expected = ["*edited", "-gone", "-gone/file", "-kind", "+kind", "+kind/new"];
    assert_eq!(check(committed.cache.clone(), &[]), expected);
    assert_eq!(check(None, &[]), expected);
    assert_eq!(
        check(None, &[TreePath::new("gone").expect("a path")]),
        expected[1..3]
    );
    write(root.join(".heliosignore"), "same/\n");
    let now = check(committed.cache.clone(), &[]);
    assert!(now.contains(&"-same/deep/file".to_owned()), "{now:?}");
}

/// Goal: a tree without times and owners can be restored and compared, and what it does not keep is left alone.
#[test]
fn what_the_tree_does_not_keep_is_no_difference() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let root = place.path();
    write(root.join("file"), "1");
    let options = ScanOptions {
        times: false,
        owner: false,
        ..ScanOptions::default()
    };
    let bare = commit(&store, root, &options, None).expect("readable");
    let scan = look(&store, root, &ScanOptions::default());
    assert_eq!(
        status(&store, &scan, bare.root(), &[], &control()).expect("readable"),
        []
    );
    write(root.join("file"), "2");
    let done = restore(&store, root, &bare);
    assert_eq!((done.written, done.adjusted), (1, 0));
    assert_eq!(fs::read(root.join("file")).expect("is there"), b"1");
}
