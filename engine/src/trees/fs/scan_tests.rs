use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::trees::fs::Cancel;
use crate::trees::fs::testing::store;
use crate::trees::fs::testing::{commit, commit_all, control, settle, write};

fn sample(directory: &Path) {
    fs::create_dir_all(directory.join("a/b")).expect("writable");
    fs::create_dir(directory.join("empty")).expect("writable");
    write(directory.join("one"), "1");
    write(directory.join("a/two"), "22");
    write(directory.join("a/b/three"), "333");
    symlink("a/two", directory.join("link")).expect("writable");
}

/// Goal: nothing is read twice, and nothing is built when nothing changed. Method: commit, settle, commit, edit,
/// commit; the counts tell.
#[test]
fn only_changes_are_read() {
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    sample(directory.path());
    settle();
    let first = commit_all(&store, directory.path(), None);
    assert_eq!(first.scan.counts().files, 4);
    assert_eq!(first.scan.counts().directories, 4);
    assert_eq!(first.scan.counts().read_files, 4);
    let second = commit_all(&store, directory.path(), first.cache.clone());
    assert_eq!(second.scan.counts().read_files, 0);
    assert_eq!(second.scan.counts().built_directories, 0);
    assert!(second.scan.stat_cache().is_none());
    assert_eq!(second.root(), first.root());

    write(directory.path().join("a/b/three"), "3.3");
    let third = commit_all(&store, directory.path(), second.cache);
    assert_eq!(third.scan.counts().read_files, 1);
    assert_eq!(third.scan.counts().built_directories, 3, "a/b, a and the root");
    assert_ne!(third.root().id, first.root().id);
}

/// Goal: a commit with a cache gives the same tree as one without. Method: random edits of every kind, each followed
/// by both. The seed is printed.
#[test]
fn the_cache_never_changes_the_tree() {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    let seed = 20_261;
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    sample(directory.path());
    let names = [
        "one",
        "a/two",
        "a/b/three",
        "a/new",
        "empty/x",
        "dir2/y",
        "dir2/z",
    ];
    let mut cache = None;
    for step in 0..120 {
        let path = directory.path().join(names[random.random_range(0..names.len())]);
        let _ = fs::create_dir_all(path.parent().expect("has one"));
        match random.random_range(0..8) {
            0..=2 => write(&path, format!("{:03}", random.random_range(0..1000))),
            3 => drop(fs::remove_file(&path)),
            4 => drop(fs::set_permissions(
                &path,
                fs::Permissions::from_mode(random.random_range(0o600..0o700)),
            )),
            5 => {
                let other = directory.path().join(names[random.random_range(0..names.len())]);
                drop(fs::rename(&path, other));
            }
            6 => {
                let other = directory.path().join(names[random.random_range(0..names.len())]);
                drop(fs::hard_link(&path, other));
            }
            _ => drop(fs::remove_dir_all(directory.path().join("dir2"))),
        }
        if random.random_bool(0.3) {
            settle();
        }
        let with = commit_all(&store, directory.path(), cache);
        let without = commit_all(&store, directory.path(), None);
        assert_eq!(with.root(), without.root(), "seed {seed} step {step}");
        cache = with.cache;
    }
}

/// Goal: a change of the same size in the tick of the clock in which the file was committed is committed next time.
/// Method: write and commit back to back, with the modification time put back as well, many times.
#[test]
fn a_change_in_the_same_tick_is_not_missed() {
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    let path = directory.path().join("file");
    let mut cache = None;
    let mut last = None;
    let mut doubted = 0;
    for round in 0..200 {
        // In place: the inode stays, so that only times could tell.
        write(&path, format!("{round:05}"));
        let committed = commit_all(&store, directory.path(), cache);
        let id = committed.scan.entry(0, 0).id;
        assert_eq!(id, crate::hash::content_id(format!("{round:05}").as_bytes()));
        assert_ne!(Some(id), last);
        last = Some(id);
        // Nothing has changed now, and the cache can't know: at least once this must come within a tick.
        let again = commit_all(&store, directory.path(), committed.cache);
        doubted += again.scan.counts().read_files;
        cache = again.cache;
    }
    assert!(doubted > 0, "a file just written was trusted each time");
}

/// Goal: a file whose times and size were put back is read again all the same (its ctime moved).
#[test]
fn putting_the_times_back_hides_nothing() {
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    let path = directory.path().join("file");
    write(&path, "before");
    settle();
    let first = commit_all(&store, directory.path(), None);
    let stamp = fs::metadata(&path).and_then(|it| it.modified()).expect("has one");
    write(&path, "after!");
    let file = fs::File::options().write(true).open(&path).expect("writable");
    file.set_modified(stamp).expect("own file");
    let second = commit_all(&store, directory.path(), first.cache.clone());
    assert_eq!(second.scan.counts().read_files, 1);
    assert_ne!(first.root().id, second.root().id);
}

/// Goal: what the cache vouches for and the store does not have is read again. Method: the cache of one store is
/// used with another.
#[test]
fn the_store_is_asked_for_what_the_cache_knows() {
    let directory = tempfile::tempdir().expect("a place");
    sample(directory.path());
    settle();
    let first = commit_all(&store(), directory.path(), None);
    let other = store();
    let second = commit_all(&other, directory.path(), first.cache.clone());
    assert_eq!(second.root(), first.root());
    assert_eq!(second.scan.counts().read_files, 4);
    let entries = other
        .block_on(crate::trees::entries(&other, Domain::default(), second.root().id))
        .expect("the other store has the tree");
    assert_eq!(entries.len(), 4);
}

/// Goal: the names of one file share a number that depends on the tree alone. Method: links in several directories, the
/// same tree made twice in another order, and links from outside.
#[test]
fn hard_links_are_numbered_by_the_tree() {
    let store = store();
    let make = |order: [usize; 3]| {
        let directory = tempfile::tempdir().expect("a place");
        let names = ["z", "a/m", "b"];
        fs::create_dir(directory.path().join("a")).expect("writable");
        write(directory.path().join(names[order[0]]), "same");
        for &next in &order[1..] {
            let to = directory.path().join(names[next]);
            fs::hard_link(directory.path().join(names[order[0]]), to).expect("links work");
        }
        write(directory.path().join("single"), "one name here");
        directory
    };
    let (first, second) = (make([0, 1, 2]), make([2, 0, 1]));
    fs::hard_link(first.path().join("single"), second.path().join("single2")).expect("links work");
    fs::remove_file(second.path().join("single2")).expect("writable");
    let options = ScanOptions {
        times: false,
        ..ScanOptions::default()
    };
    let one = commit(&store, first.path(), &options, None).expect("readable");
    let two = commit(&store, second.path(), &options, None).expect("readable");
    assert_eq!(one.root().id, two.root().id);
    let root = &one.scan.listing.directories[0];
    let group = |name: &[u8]| root.items[root.find(name).expect("is there")].link_group;
    assert!(group(b"z").is_some() && group(b"z") == group(b"b"));
    assert_eq!(group(b"single"), None);
    // One of the group fewer is another group only if the first path is gone.
    fs::remove_file(first.path().join("z")).expect("writable");
    let three = commit(&store, first.path(), &options, one.cache.clone()).expect("readable");
    let four = commit(&store, first.path(), &options, None).expect("readable");
    assert_eq!(three.root(), four.root());
}

/// Goal: what is ignored is left out, also when a cache from before the rule exists.
#[test]
fn ignored_names_are_left_out() {
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    sample(directory.path());
    settle();
    let first = commit_all(&store, directory.path(), None);
    write(directory.path().join("a/.heliosignore"), "two\n");
    write(directory.path().join(".gitignore"), "one\n");
    let second = commit_all(&store, directory.path(), first.cache.clone());
    assert_eq!(
        second.scan.counts().files,
        5,
        "one, link, three and the two ignore files"
    );
    let options = ScanOptions {
        gitignore: true,
        excludes: vec!["b/".into()],
        ..ScanOptions::default()
    };
    let third = commit(&store, directory.path(), &options, second.cache).expect("readable");
    assert_eq!(third.scan.counts().files, 3, "link and the two ignore files");
    assert_eq!(third.scan.counts().directories, 3, "the root, a and empty");
}

/// Goal: sockets are skipped and counted, the store's own file is left out silently.
#[test]
fn sockets_and_the_store_are_left_out() {
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    sample(directory.path());
    let _socket =
        std::os::unix::net::UnixListener::bind(directory.path().join("socket")).expect("sockets work");
    write(directory.path().join("image"), "the store");
    let image = fs::metadata(directory.path().join("image")).expect("is there");
    let options = ScanOptions {
        leave_out: vec![FileId {
            device: image.dev(),
            inode: image.ino(),
        }],
        ..ScanOptions::default()
    };
    let committed = commit(&store, directory.path(), &options, None).expect("readable");
    assert_eq!(committed.scan.counts().files, 4);
    assert_eq!(committed.scan.warnings().count(Doubt::SocketSkipped), 1);
    assert_eq!(committed.scan.warnings().counts.len(), 1);
}

/// Goal: the root and the home directory are refused unless forced.
#[test]
fn the_root_directory_is_refused() {
    let store = store();
    let mut batch = store.batch();
    let refused = scan(
        &store,
        Path::new("/"),
        &ScanOptions::default(),
        None,
        &mut batch,
        &control(),
    );
    assert!(matches!(refused, Err(Error::Refused { .. })));
    let dotted = scan(
        &store,
        Path::new("/usr/.."),
        &ScanOptions::default(),
        None,
        &mut batch,
        &control(),
    );
    assert!(matches!(dotted, Err(Error::Refused { .. })));
}

/// Goal: a cancelled scan says so.
#[test]
fn a_cancelled_scan_ends() {
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    sample(directory.path());
    let cancel = Cancel::default();
    cancel.cancel();
    let control = Control { cancel, ..control() };
    let mut batch = store.batch();
    let answer = scan(
        &store,
        directory.path(),
        &ScanOptions::default(),
        None,
        &mut batch,
        &control,
    );
    assert!(matches!(answer, Err(Error::Cancelled)));
}

/// Goal: a directory that is missing, or a file, is an error that names it.
#[test]
fn what_is_no_directory_is_named() {
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    write(directory.path().join("file"), "");
    for name in ["missing", "file"] {
        let path = directory.path().join(name);
        let mut batch = store.batch();
        let answer = scan(
            &store,
            &path,
            &ScanOptions::default(),
            None,
            &mut batch,
            &control(),
        );
        let message = answer.expect_err("must fail").to_string();
        assert!(message.contains(name), "{message}");
    }
}

/// Goal: a thousand levels and more are no special case, with few open files. Method: 1,500 levels, made and removed
/// relative to open directories because no path can name the deepest.
#[test]
fn deep_directories() {
    const LEVELS: usize = 1500;
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    let mut fd = platform::open_given(directory.path()).expect("is there");
    for _ in 0..LEVELS {
        platform::make_directory(fd.as_fd(), b"level").expect("writable");
        fd = platform::open_directory(fd.as_fd(), b"level").expect("just made");
    }
    drop(platform::create_file(fd.as_fd(), b"bottom", 0o600).expect("writable"));
    settle();
    let first = commit_all(&store, directory.path(), None);
    assert_eq!(first.scan.counts().directories, LEVELS as u64 + 1);
    assert_eq!(first.scan.counts().files, 1);
    let second = commit_all(&store, directory.path(), first.cache.clone());
    assert_eq!(second.root(), first.scan.root().expect("a root"));
    assert_eq!(second.scan.counts().built_directories, 0);
}

/// Goal: a large directory and names that are no text. Method: 20,000 names with every byte a name may have.
#[test]
fn many_names_of_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let (store, directory) = (store(), tempfile::tempdir().expect("a place"));
    for number in 0..20_000u32 {
        let mut name = vec![(number % 255 + 1) as u8, b'x'];
        name.extend_from_slice(number.to_string().as_bytes());
        name.iter_mut()
            .filter(|byte| **byte == b'/')
            .for_each(|byte| *byte = b'.');
        fs::File::create(directory.path().join(std::ffi::OsStr::from_bytes(&name)))
            .expect("any name is fine");
    }
    let first = commit_all(&store, directory.path(), None);
    assert_eq!(first.scan.counts().files, 20_000);
    let entries = store
        .block_on(crate::trees::entries(&store, Domain::default(), first.root().id))
        .expect("just committed");
    assert_eq!(entries.len(), 20_000);
    let second = commit_all(&store, directory.path(), first.cache.clone());
    assert_eq!(second.root(), first.scan.root().expect("a root"));
}
