use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::access::Access;
use crate::format::{ContentId, Kind};
use crate::store::Key;
use crate::trees::fs::remove;
use crate::trees::fs::testing::store;
use crate::trees::fs::testing::{commit, commit_all, control, everything, is_root, see, write};
use crate::trees::fs::{Cancel, Phase, ScanOptions};
use crate::trees::{Attributes, PendingDirectory, build_many};

fn all() -> MaterializeOptions {
    MaterializeOptions {
        devices: true,
        ..MaterializeOptions::default()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("a name").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Goal: what was committed comes back, all of it. Method: one of everything, compared by path-based calls; into a
/// new directory and into an existing empty one.
#[test]
fn everything_comes_back() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let from = place.path().join("from");
    fs::create_dir(&from).expect("writable");
    everything(&from);
    let before = see(&from);
    let committed = commit_all(&store, &from, None);
    assert_eq!(see(&from), before, "a commit changes nothing");
    assert!(
        committed.scan.warnings().is_empty(),
        "{:?}",
        committed.scan.warnings()
    );
    let existing = place.path().join("existing");
    fs::create_dir(&existing).expect("writable");
    fs::set_permissions(&existing, fs::Permissions::from_mode(0o2775)).expect("own directory");
    for to in [place.path().join("new"), existing] {
        let done =
            materialize(&store, committed.root(), &to, &all(), &control()).expect("room and permission");
        let after = see(&to);
        for (path, seen) in &before {
            assert_eq!(Some(seen), after.get(path), "{}", path.display());
        }
        assert_eq!(before.len(), after.len());
        assert!(done.warnings.is_empty(), "{:?}", done.warnings);
        assert_eq!(done.files + done.directories, before.len() as u64);
    }
    assert_eq!(
        names(place.path()),
        ["existing", "from", "new"],
        "nothing temporary stays"
    );
}

/// Goal: a tree written and committed again is the same tree. Method: ids, with and without times.
#[test]
fn a_round_trip_is_the_same_tree() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let (from, to) = (place.path().join("from"), place.path().join("to"));
    fs::create_dir(&from).expect("writable");
    everything(&from);
    let first = commit_all(&store, &from, None);
    materialize(&store, first.root(), &to, &all(), &control()).expect("works");
    assert_eq!(commit_all(&store, &to, None).root(), first.root());
    let options = ScanOptions {
        times: false,
        owner: false,
        xattrs: false,
        ..ScanOptions::default()
    };
    let bare = commit(&store, &from, &options, None).expect("works");
    assert_ne!(bare.root().id, first.root().id);
    let to = place.path().join("bare");
    materialize(&store, bare.root(), &to, &all(), &control()).expect("works");
    assert_eq!(
        commit(&store, &to, &options, None).expect("works").root(),
        bare.root()
    );
}

/// Goal: what is there is never overwritten.
#[test]
fn occupied_targets_are_refused() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let from = place.path().join("from");
    fs::create_dir(&from).expect("writable");
    write(from.join("file"), "content");
    let committed = commit_all(&store, &from, None);
    symlink("nowhere", place.path().join("dangling")).expect("writable");
    write(place.path().join("a file"), "mine");
    let before = see(place.path());
    for target in [
        "from",
        "dangling",
        "a file",
        "a file/below",
        "from/..",
        "from/file",
    ] {
        let target = place.path().join(target);
        let answer = materialize(&store, committed.root(), &target, &all(), &control());
        assert!(
            matches!(answer, Err(Error::Exists { .. })),
            "{}: {answer:?}",
            target.display()
        );
    }
    let answer = materialize(
        &store,
        committed.root(),
        &place.path().join("no/such"),
        &all(),
        &control(),
    );
    assert!(matches!(answer, Err(Error::Path { .. })));
    assert_eq!(see(place.path()), before);
}

/// Goal: only what is asked for is written, with the directories that lead to it.
#[test]
fn includes_choose() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let from = place.path().join("from");
    fs::create_dir_all(from.join("a/b")).expect("writable");
    fs::create_dir_all(from.join("c/d")).expect("writable");
    for name in ["a/b/x.rs", "a/y.txt", "c/d/z.rs", "c/w"] {
        write(from.join(name), name);
    }
    fs::hard_link(from.join("a/y.txt"), from.join("c/link.rs")).expect("links work");
    let committed = commit_all(&store, &from, None);
    let tree = |includes: &[&str], name: &str| {
        let options = MaterializeOptions {
            includes: includes.iter().map(|&pattern| pattern.to_owned()).collect(),
            ..all()
        };
        let to = place.path().join(name);
        materialize(&store, committed.root(), &to, &options, &control()).expect("works");
        let paths = see(&to)
            .into_keys()
            .map(|path| path.to_string_lossy().into_owned());
        paths.filter(|path| !path.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(
        tree(&["*.rs"], "1"),
        ["a", "a/b", "a/b/x.rs", "c", "c/d", "c/d/z.rs", "c/link.rs"]
    );
    assert_eq!(tree(&["/c/d"], "2"), ["c", "c/d", "c/d/z.rs"]);
    assert_eq!(tree(&["nothing"], "3"), [""; 0]);
}

/// Goal: an error or ctrl-C at any moment leaves nothing behind. Method: cancel at each report of progress in turn;
/// and a tree whose last content is missing.
#[test]
fn nothing_is_left_of_what_is_not_finished() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let from = place.path().join("from");
    fs::create_dir(&from).expect("writable");
    everything(&from);
    let committed = commit_all(&store, &from, None);
    let existing = place.path().join("existing");
    fs::create_dir(&existing).expect("writable");
    let mut finished = 0;
    for at in 0..12 {
        for target in [place.path().join("new"), existing.clone()] {
            let cancel = Cancel::default();
            let (count, flag) = (AtomicUsize::new(0), cancel.clone());
            let report = move |progress: &crate::trees::fs::Progress| {
                assert_eq!(progress.phase, Phase::Write);
                if count.fetch_add(1, Ordering::Relaxed) == at {
                    flag.cancel();
                }
            };
            let control = Control {
                cancel,
                report: Some(Arc::new(report)),
                ..control()
            };
            match materialize(&store, committed.root(), &target, &all(), &control) {
                Err(Error::Cancelled) => assert_eq!(names(&existing), [""; 0]),
                Ok(_) => {
                    finished += 1;
                    // The standard library can't remove what is in unwritable directories.
                    let fd = platform::open_given(&target).expect("just made");
                    remove::empty(&Folder::root(fd, &target).expect("just made")).expect("own directory");
                    fs::remove_dir(&target).expect("own directory");
                    fs::create_dir_all(&existing).expect("writable");
                }
                Err(other) => panic!("{other}"),
            }
            assert_eq!(names(place.path()), ["existing", "from"]);
        }
    }
    assert!(finished < 24, "some were cancelled");

    let bad = tree_of(&store, vec![file("present", b"here"), missing("absent")]);
    let answer = materialize(&store, &bad, &place.path().join("new"), &all(), &control());
    assert!(matches!(answer, Err(Error::NotFound { .. })), "{answer:?}");
    assert_eq!(names(place.path()), ["existing", "from"]);
}

fn bare(name: &str, kind: EntryKind, size: u64, id: ContentId) -> Entry {
    Entry {
        name: Bytes::copy_from_slice(name.as_bytes()),
        kind,
        mode: 0o755,
        size,
        id,
        attributes: Attributes::default(),
    }
}

fn file(name: &str, content: &[u8]) -> (Entry, Bytes) {
    let id = crate::hash::content_id(content);
    let content = Bytes::copy_from_slice(content);
    (bare(name, EntryKind::File, content.len() as u64, id), content)
}

fn missing(name: &str) -> (Entry, Bytes) {
    (bare(name, EntryKind::File, 7, ContentId([7; 32])), Bytes::new())
}

/// A tree made by hand; contents of entries that have some are stored.
fn tree_of(store: &Access, entries: Vec<(Entry, Bytes)>) -> Entry {
    let mut extents = Vec::new();
    for (entry, content) in &entries {
        if entry.size == content.len() as u64 && entry.size > 0 {
            extents.push(crate::store::Extent {
                key: Key {
                    domain: Domain::default(),
                    kind: Kind::Data,
                    id: entry.id,
                },
                bytes: content.clone(),
            });
        }
    }
    let directory = PendingDirectory {
        entries: entries.into_iter().map(|(entry, _)| entry).collect(),
    };
    let id = build_many(Domain::default(), vec![directory], &mut extents)
        .expect("names that a directory takes")[0];
    let mut batch = store.batch();
    store.block_on(batch.put(extents)).expect("room");
    store.block_on(batch.submit()).expect("room");
    bare("", EntryKind::Directory, 0, id)
}

/// Goal: files of many groups come with the contents that are theirs, and one content that is not there is an error that
/// leaves nothing behind, in whichever group it is. Method: more files than a worker takes ahead, some of them empty, by 1, 2
/// and 8 threads; then without one of them.
#[test]
fn many_groups_are_written_and_one_may_fail() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let content = |number: usize| match number % 9 {
        0 => String::new(),
        _ => format!("file {number}, ").repeat(number % 70),
    };
    let files: Vec<(Entry, Bytes)> = (0..1200)
        .map(|number| file(&format!("{number:04}"), content(number).as_bytes()))
        .collect();
    let root = tree_of(&store, files.clone());
    let missing_at = [1, 200, 599, 1199];
    for threads in [1, 2, 8] {
        let control = Control { threads, ..control() };
        let to = place.path().join("to");
        let done = materialize(&store, &root, &to, &all(), &control).expect("works");
        assert_eq!((done.files, done.directories), (1200, 1));
        for number in 0..1200 {
            let written = fs::read_to_string(to.join(format!("{number:04}"))).expect("written");
            assert_eq!(written, content(number), "file {number} by {threads} threads");
        }
        fs::remove_dir_all(&to).expect("own directory");
        for at in missing_at {
            let mut files = files.clone();
            files[at] = missing(&format!("{at:04}"));
            let bad = tree_of(&store, files);
            let answer = materialize(&store, &bad, &to, &all(), &control);
            assert!(matches!(answer, Err(Error::NotFound { .. })), "{answer:?}");
            assert_eq!(
                names(place.path()),
                [""; 0],
                "without file {at} by {threads} threads"
            );
        }
    }
}

/// Goal: many directories are made with the files that are theirs, and one that cannot be listed is an error that leaves nothing
/// behind, whether it is listed now or ahead. Method: two levels of more directories than are listed together, each with a
/// file, by 1, 2 and 8 threads; then with one that the store does not have.
#[test]
fn many_directories_are_listed_and_one_may_fail() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let nowhere = || bare("gone", EntryKind::Directory, 0, ContentId([9; 32]));
    let tree = |gone: Option<(usize, usize)>| {
        let outer = (0..50).map(|number| {
            let inner = (0..3).map(|second| {
                let content = format!("{number}/{second}");
                let mut entries = vec![file("file", content.as_bytes())];
                entries.extend((gone == Some((number, second))).then(|| (nowhere(), Bytes::new())));
                let mut directory = tree_of(&store, entries);
                directory.name = Bytes::from(format!("{second}"));
                (directory, Bytes::new())
            });
            let mut directory = tree_of(&store, inner.collect());
            directory.name = Bytes::from(format!("{number:02}"));
            (directory, Bytes::new())
        });
        tree_of(&store, outer.collect())
    };
    let sound = tree(None);
    for threads in [1, 2, 8] {
        let control = Control { threads, ..control() };
        let to = place.path().join("to");
        let done = materialize(&store, &sound, &to, &all(), &control).expect("works");
        assert_eq!((done.files, done.directories), (150, 201));
        for (number, second) in (0..50).flat_map(|number| (0..3).map(move |second| (number, second))) {
            let file = to.join(format!("{number:02}/{second}/file"));
            let written = fs::read_to_string(file).expect("written");
            assert_eq!(written, format!("{number}/{second}"), "by {threads} threads");
        }
        fs::remove_dir_all(&to).expect("own directory");
        for gone in [(0, 0), (25, 1), (49, 2)] {
            let answer = materialize(&store, &tree(Some(gone)), &to, &all(), &control);
            assert!(matches!(answer, Err(Error::NotFound { .. })), "{answer:?}");
            assert_eq!(
                names(place.path()),
                [""; 0],
                "without {gone:?} by {threads} threads"
            );
        }
    }
}

/// Goal: a tree whose contents are not as long as it says is refused, not written.
#[test]
fn wrong_lengths_are_refused() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let (mut entry, content) = file("file", b"four");
    tree_of(&store, vec![(entry.clone(), content.clone())]);
    entry.size = 5;
    let bad = tree_of(&store, vec![(entry, content)]);
    let answer = materialize(&store, &bad, &place.path().join("new"), &all(), &control());
    assert!(matches!(answer, Err(Error::Invalid { .. })), "{answer:?}");
    assert!(names(place.path()).is_empty());
}

/// Goal: somebody who swaps directories for links while a tree is written gets nothing written elsewhere. Method: a
/// thread does that as fast as it can, in the temporary directory, for many rounds; the place that the links lead to
/// stays empty.
#[test]
fn racing_links_lead_nowhere() {
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let (from, outside) = (place.path().join("from"), place.path().join("outside"));
    fs::create_dir(&outside).expect("writable");
    for number in 0..40 {
        let directory = from.join(format!("d{number}/e"));
        fs::create_dir_all(&directory).expect("writable");
        write(directory.join("file"), "content");
    }
    let committed = commit_all(&store, &from, None);
    let work = place.path().join("work");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for entry in fs::read_dir(&work).into_iter().flatten().flatten() {
                    for number in (0..40).rev() {
                        let victim = entry.path().join(format!("d{number}"));
                        if fs::rename(&victim, entry.path().join("aside")).is_ok() {
                            let _ = symlink(&outside, &victim);
                        }
                    }
                }
            }
        });
        for round in 0..60 {
            fs::create_dir(&work).expect("writable");
            // Whether it works out or not is up to the race.
            let _ = materialize(
                &store,
                committed.root(),
                &work.join(round.to_string()),
                &all(),
                &control(),
            );
            assert_eq!(names(&outside), [""; 0], "round {round}");
            while fs::remove_dir_all(&work).is_err() && work.exists() {}
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Goal: a deep tree comes back with few open files and no recursion.
#[test]
fn deep_trees_come_back() {
    const LEVELS: usize = 1500;
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let mut id = build_many(
        Domain::default(),
        vec![PendingDirectory::default()],
        &mut Vec::new(),
    )
    .expect("empty")[0];
    let mut extents = Vec::new();
    for _ in 0..LEVELS {
        let directory = PendingDirectory {
            entries: vec![bare("level", EntryKind::Directory, 0, id)],
        };
        id = build_many(Domain::default(), vec![directory], &mut extents).expect("a fine name")[0];
    }
    build_many(Domain::default(), vec![PendingDirectory::default()], &mut extents).expect("empty");
    let mut batch = store.batch();
    store.block_on(batch.put(extents)).expect("room");
    store.block_on(batch.submit()).expect("room");
    let root = bare("", EntryKind::Directory, 0, id);
    let to = place.path().join("to");
    let done = materialize(&store, &root, &to, &all(), &control()).expect("works");
    assert_eq!(done.directories, LEVELS as u64 + 1);
    let options = ScanOptions {
        times: false,
        owner: false,
        ..ScanOptions::default()
    };
    let committed = commit(&store, &to, &options, None).expect("works");
    assert_eq!(committed.root().id, id);
    // The standard library's removal has no trouble with depth either, but this one is ours.
    let folder = Folder::root(platform::open_given(&to).expect("is there"), &to).expect("is there");
    remove::empty(&folder).expect("own directory");
    assert!(names(&to).is_empty());
}

/// Goal: devices need the option; without it they are counted. Method: as root with and without, else not at all.
#[test]
fn devices_are_made_only_on_demand() {
    if !is_root() {
        return;
    }
    let (store, place) = (store(), tempfile::tempdir().expect("a place"));
    let mut device = bare("null", EntryKind::CharDevice, 0, ContentId([0; 32]));
    device.attributes.device = Some((1, 3));
    let root = tree_of(&store, vec![(device, Bytes::new())]);
    let without = MaterializeOptions::default();
    let done = materialize(&store, &root, &place.path().join("1"), &without, &control()).expect("works");
    assert_eq!((done.files, done.warnings.count(Doubt::DeviceSkipped)), (0, 1));
    let done = materialize(&store, &root, &place.path().join("2"), &all(), &control()).expect("works");
    assert_eq!((done.files, done.warnings.count(Doubt::DeviceSkipped)), (1, 0));
}
