//! Files that resist being read: changing meanwhile, unreadable, lying about their length.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::Error;
use crate::hash::content_id;
use crate::trees::fs::testing::store;
use crate::trees::fs::testing::{commit, commit_all, control, everything, is_root, set_xattr, settle, write};
use crate::trees::fs::{Cancel, Control, Doubt, Phase, ScanOptions, scan};

/// Whether two writes in a row get two times, as kernels from 6.13 on see to when someone has looked in between.
/// Without it a change within one tick of the clock can't be seen by anyone.
fn times_are_fine(directory: &Path) -> bool {
    let path = directory.join("probe");
    let stamp = |content: &str| {
        write(&path, content);
        let data = fs::metadata(&path).expect("just written");
        (data.ctime(), data.ctime_nsec())
    };
    let fine = (0..20).all(|_| stamp("a") != stamp("b"));
    fs::remove_file(&path).expect("own file");
    fine
}

/// Ends a writing thread when the test does, also by a failure: the scope would wait for it for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Goal: a file that is being rewritten is committed in one of its states or reported, never as a mixture. Method: a
/// thread writes all of one letter, then all of the next, in single calls, most of the time (small and chunked sizes).
#[test]
fn a_file_being_rewritten_is_never_a_mixture() {
    for (length, pause) in [(50_000usize, 10), (1_000_000, 2), (3 << 20, 200)] {
        let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
        if !times_are_fine(directory.path()) {
            return;
        }
        let path = directory.path().join("file");
        let states: Vec<Vec<u8>> = (b'a'..=b'e').map(|letter| vec![letter; length]).collect();
        let ids: Vec<_> = states.iter().map(|state| content_id(state)).collect();
        write(&path, &states[0]);
        let stop = AtomicBool::new(false);
        let (mut whole, mut reported) = (0, 0);
        std::thread::scope(|scope| {
            let _stop = Stop(&stop);
            scope.spawn(|| {
                let file = fs::File::options().write(true).open(&path).expect("own file");
                for state in states.iter().cycle() {
                    file.write_all_at(state, 0).expect("room");
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    for _ in 0..pause {
                        std::thread::yield_now();
                    }
                }
            });
            for _ in 0..30 {
                match commit(&store, directory.path(), &ScanOptions::default(), None) {
                    Ok(committed) => {
                        whole += 1;
                        assert!(
                            ids.contains(&committed.scan.entry(0, 0).id),
                            "a mixture was committed"
                        );
                    }
                    Err(Error::Unreadable { count: 1, list }) => {
                        reported += 1;
                        assert!(list.contains("file") && list.contains("changing"), "{list}");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        });
        println!("{length} bytes: {whole} committed, {reported} reported");
        let last = commit_all(&store, directory.path(), None);
        assert!(ids.contains(&last.scan.entry(0, 0).id));
    }
}

/// Goal: a file that grows and is cut while it is read is committed as it was at one moment, or reported. Method: a
/// thread appends numbered lines and starts over; what is committed must be lines without a gap.
#[test]
fn a_growing_file_is_committed_without_a_gap() {
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    if !times_are_fine(directory.path()) {
        return;
    }
    let path = directory.path().join("log");
    write(&path, "");
    let line = |number: u64| format!("{number:015}\n");
    let text = |lines: u64| (0..lines).map(line).collect::<String>();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let file = fs::File::options().write(true).open(&path).expect("own file");
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                file.write_all_at(line(number).as_bytes(), number * 16)
                    .expect("room");
                number += 1;
                if number == 100_000 {
                    file.set_len(0).expect("own file");
                    number = 0;
                }
                for _ in 0..20 {
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..40 {
            if let Ok(committed) = commit(&store, directory.path(), &ScanOptions::default(), None) {
                let entry = committed.scan.entry(0, 0);
                assert_eq!(entry.size % 16, 0);
                assert_eq!(
                    entry.id,
                    content_id(text(entry.size / 16).as_bytes()),
                    "{} bytes",
                    entry.size
                );
            }
        }
    });
}

/// A directory with files that this process can't read: its own as a user, the system's as root.
fn unreadable_place(own: &Path) -> Option<PathBuf> {
    if !is_root() {
        write(own.join("secret"), "x");
        fs::set_permissions(own.join("secret"), fs::Permissions::from_mode(0o000)).expect("own file");
        fs::create_dir(own.join("closed")).expect("writable");
        fs::set_permissions(own.join("closed"), fs::Permissions::from_mode(0o000)).expect("own directory");
        return Some(own.to_owned());
    }
    let buses = fs::read_dir("/sys/bus").ok()?.flatten().map(|entry| entry.path());
    buses.into_iter().find(|bus| {
        let probe = fs::symlink_metadata(bus.join("drivers_probe"));
        probe.is_ok_and(|data| data.mode() & 0o777 == 0o200) && fs::read(bus.join("drivers_probe")).is_err()
    })
}

/// Goal: what can't be read fails the commit by default and is named; if asked to, it is left out and counted.
#[test]
fn unreadable_files_are_reported_or_skipped() {
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    let Some(place) = unreadable_place(directory.path()) else {
        println!("there is nothing that root can't read here");
        return;
    };
    let Err(Error::Unreadable { count, list }) = commit(&store, &place, &ScanOptions::default(), None) else {
        panic!("a commit that lacks files");
    };
    assert!(count >= 1);
    assert!(list.contains(&*place.to_string_lossy()), "{list}");
    let skipping = ScanOptions {
        skip_unreadable: true,
        ..ScanOptions::default()
    };
    let committed = commit(&store, &place, &skipping, None).expect("the rest");
    assert_eq!(committed.scan.warnings().count(Doubt::UnreadableSkipped), count);
    if !is_root() {
        fs::set_permissions(place.join("closed"), fs::Permissions::from_mode(0o700)).expect("own directory");
    }
}

/// Goal: a change of attributes alone is committed. Method: with a cache that knew the file.
#[test]
fn attributes_alone_are_a_change() {
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    let path = directory.path().join("file");
    write(&path, "content");
    fs::create_dir(directory.path().join("sub")).expect("writable");
    settle();
    let first = commit_all(&store, directory.path(), None);
    set_xattr(&path, "user.note", b"1");
    let second = commit_all(&store, directory.path(), first.cache.clone());
    assert_eq!(second.scan.entry(0, 0).attributes.xattrs.len(), 1);
    set_xattr(&directory.path().join("sub"), "user.note", b"2");
    let third = commit_all(&store, directory.path(), second.cache.clone());
    assert_eq!(third.scan.entry(0, 1).attributes.xattrs.len(), 1);
    assert_eq!(commit_all(&store, directory.path(), None).root(), third.root());
}

/// Goal: a commit that is cancelled at any moment harms nothing: the next one is whole. Method: cancel at each report in
/// turn.
#[test]
fn a_cancelled_commit_can_be_repeated() {
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    everything(directory.path());
    let whole = commit_all(&store, directory.path(), None);
    for at in 0..12u64 {
        let other = crate::trees::fs::testing::store();
        let (cancel, count) = (Cancel::default(), AtomicU64::new(0));
        let flag = cancel.clone();
        let stopping = Control {
            cancel,
            report: Some(Arc::new(move |progress: &crate::trees::fs::Progress| {
                assert_ne!(progress.phase, Phase::Write);
                if count.fetch_add(1, Ordering::Relaxed) == at {
                    flag.cancel();
                }
            })),
            ..control()
        };
        let mut batch = other.batch();
        match scan(
            &other,
            directory.path(),
            &ScanOptions::default(),
            None,
            &mut batch,
            &stopping,
        ) {
            Ok(_) | Err(Error::Cancelled) => drop(batch),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(
            commit_all(&other, directory.path(), None).root(),
            whole.root(),
            "cancelled at {at}"
        );
    }
}

/// Goal: with `one_file_system`, what is mounted inside is an empty directory. Method: `/dev` with its `/dev/shm`.
#[test]
fn mounts_are_not_entered_if_asked() {
    let device = |path: &str| fs::metadata(path).map(|data| data.dev()).ok();
    if device("/dev").is_none() || device("/dev/shm").is_none() || device("/dev") == device("/dev/shm") {
        return;
    }
    let (store, place) = (store(), Path::new("/dev"));
    let mark = tempfile::NamedTempFile::new_in("/dev/shm").expect("writable");
    let options = ScanOptions {
        one_file_system: true,
        skip_unreadable: true,
        ..ScanOptions::default()
    };
    let committed = commit(&store, place, &options, None).expect("readable");
    let listing = &committed.scan.listing;
    let root = &listing.directories[0];
    let shm = &root.items[root.find(b"shm").expect("is there")];
    let inside = &listing.directories[shm.child];
    assert!(inside.closed && inside.items.is_empty());
    drop(mark);
}
