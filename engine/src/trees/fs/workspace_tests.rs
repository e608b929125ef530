use std::fs;

use super::*;
use crate::access::Access;
use crate::trees::fs::testing::store;
use crate::trees::fs::testing::{commit, settle, write};

fn follow(store: &Access, directory: &Path, options: &ScanOptions) -> (u64, Known) {
    let known = Workspace::find(store, directory).expect("is there");
    let cache = match &known {
        Known::Here(workspace) => workspace.stat_cache(store).expect("the store works"),
        Known::Before(_) | Known::No => None,
    };
    let committed = commit(store, directory, options, cache).expect("readable");
    let mut batch = store.batch();
    let cache = committed.scan.stat_cache();
    Workspace::record(store, &mut batch, directory, "work", options, cache, &known).expect("fits");
    store.block_on(batch.submit()).expect("room");
    (committed.scan.counts().read_files, known)
}

/// Goal: the record stays with a directory that is moved, and is not taken for its own by a copy or by a new directory
/// in the old place; no change is skipped in any of these. Method: files read by each commit are counted.
#[test]
fn records_follow_directories() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("first")).expect("writable");
    for number in 0..5 {
        write(at("first").join(number.to_string()), number.to_string());
    }
    settle();
    let options = ScanOptions {
        excludes: vec!["*.o".into()],
        gitignore: true,
        ..ScanOptions::default()
    };
    assert_eq!(follow(&store, &at("first"), &options), (5, Known::No));
    settle();
    let (read, known) = follow(&store, &at("first"), &options);
    let Known::Here(workspace) = known else {
        panic!("{known:?}");
    };
    assert_eq!(read, 0);
    assert_eq!(
        (workspace.branch.as_str(), &workspace.path, &workspace.options),
        ("work", &at("first"), &options)
    );

    // Moved, and changed on the way.
    fs::rename(at("first"), at("second")).expect("own directory");
    write(at("second/3"), "x");
    let (read, known) = follow(&store, &at("second"), &options);
    assert!(
        matches!(&known, Known::Here(workspace) if workspace.path == at("first")),
        "{known:?}"
    );
    assert_eq!(read, 1);

    // A copy with all times, as `cp -a` makes it, is a stranger.
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(at("second"))
        .arg(at("copy"))
        .status();
    assert!(copied.expect("cp is there").success());
    let (read, known) = follow(&store, &at("copy"), &options);
    assert_eq!((read, known), (5, Known::No));

    // Another directory in the old place: its branch is suggested, its files are read.
    fs::rename(at("copy"), at("aside")).expect("own directory");
    fs::rename(at("second"), at("copy")).expect("own directory");
    let (_, known) = follow(&store, &at("copy"), &options);
    assert!(matches!(known, Known::Here(_)), "it is the first directory");
    fs::remove_dir_all(at("copy")).expect("own directory");
    fs::create_dir(at("copy")).expect("writable");
    write(at("copy/0"), "0");
    let (read, known) = follow(&store, &at("copy"), &options);
    assert!(
        matches!(&known, Known::Before(workspace) if workspace.branch == "work"),
        "{known:?}"
    );
    assert_eq!(read, 1);
    assert_eq!(Workspace::list(&store).expect("the store is here").len(), 3);
}

/// Goal: a record can be removed, and one that is too long is refused with the way out.
#[test]
fn records_are_forgotten_and_bounded() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    follow(&store, place.path(), &ScanOptions::default());
    let Known::Here(workspace) = Workspace::find(&store, place.path()).expect("is there") else {
        panic!("it has a record");
    };
    let mut batch = store.batch();
    workspace.forget(&mut batch);
    store.block_on(batch.submit()).expect("room");
    assert_eq!(
        Workspace::find(&store, place.path()).expect("is there"),
        Known::No
    );

    let options = ScanOptions {
        excludes: vec!["x".repeat(5000)],
        ..ScanOptions::default()
    };
    let mut batch = store.batch();
    let answer = Workspace::record(
        &store,
        &mut batch,
        place.path(),
        "work",
        &options,
        None,
        &Known::No,
    );
    assert!(
        answer
            .expect_err("must fail")
            .to_string()
            .contains(".heliosignore")
    );
}

/// Goal: two commits of one directory at once can't overwrite each other's record.
#[test]
fn the_faster_record_wins() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    follow(&store, place.path(), &ScanOptions::default());
    let known = Workspace::find(&store, place.path()).expect("is there");
    follow(&store, place.path(), &ScanOptions::default());
    let mut batch = store.batch();
    Workspace::record(
        &store,
        &mut batch,
        place.path(),
        "other",
        &ScanOptions::default(),
        None,
        &known,
    )
    .expect("fits");
    assert!(matches!(
        store.block_on(batch.submit()),
        Err(Error::Conflict { .. })
    ));
}
