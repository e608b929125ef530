use std::ffi::OsString;
use std::path::Path;

use helios_engine::ops::Class;

use super::store::{Store, content};
use super::*;

/// Writes a project of several files whose contents follow from `seed`.
fn project(directory: &Path, seed: u64) {
    std::fs::create_dir_all(directory.join("deep")).expect("directory");
    for number in 0..40 {
        let bytes = &content(seed + number)[..number as usize * 977];
        std::fs::write(directory.join("deep").join(format!("file{number}")), bytes).expect("file");
    }
    std::fs::write(directory.join("seed"), seed.to_string()).expect("file");
}

/// Goal: a store on the device keeps contents and commits across closing and opening. Method: put, commit, close, open,
/// compare, verify everything.
#[test]
#[ignore = "needs a device: README.md"]
fn a_store_is_kept() {
    let address = address().to_string();
    let directory = tempfile::tempdir().expect("directory");
    project(directory.path(), 1);
    let bytes = content(100);
    let store = Store::at(&address);
    store.init(None);
    let id = store.put(&bytes);
    store.commit(directory.path());
    store.close();
    let store = Store::at(&address);
    assert!(store.get(id) == bytes, "another content came back");
    assert_eq!(store.cat("main:seed"), b"1");
    assert!(store.cat("main:deep/file39") == content(40)[..39 * 977]);
    store.is_whole();
    store.close();
}

/// Goal: the format on the device is the same whoever writes it. Method: a store written through SPDK is opened as the
/// file that has the device's bytes, and written further there, and opened through SPDK again; then the same with a store
/// that was made in the file.
#[test]
#[ignore = "needs a device: README.md"]
fn a_store_is_the_same_in_a_file() {
    let Some(file) = std::env::var_os("HELIOS_HW_FILE") else {
        println!("skipped: HELIOS_HW_FILE names no file with the device's bytes");
        return;
    };
    let device = OsString::from(address().to_string());
    let directory = tempfile::tempdir().expect("directory");
    for (seed, first, second) in [(1000, &device, &file), (2000, &file, &device)] {
        project(directory.path(), seed);
        let store = Store::at(first);
        let len = std::fs::metadata(&file).expect("the file").len();
        store.init((first == &file).then_some(len));
        let id = store.put(&content(seed));
        store.commit(directory.path());
        store.close();

        let store = Store::at(second);
        store.is_whole();
        assert!(store.get(id) == content(seed), "another content came back");
        assert_eq!(store.cat("main:seed"), seed.to_string().into_bytes());
        project(directory.path(), seed + 1);
        store.commit(directory.path());
        store.close();

        let store = Store::at(first);
        store.is_whole();
        assert_eq!(store.cat("main:seed"), (seed + 1).to_string().into_bytes());
        assert_eq!(store.cat("main~1:seed"), seed.to_string().into_bytes());
        store.close();
    }
}

/// Goal: a store whose target dies says so and ends. Method: kill the target between two commits.
#[test]
#[ignore = "ends the target: README.md"]
fn killed_target_fails_commits() {
    let target = faults::Target::of_environment().expect("HELIOS_HW_PID is the target's process");
    let directory = tempfile::tempdir().expect("directory");
    project(directory.path(), 7);
    let store = Store::at(address().to_string());
    store.init(None);
    store.commit(directory.path());
    target.kill();
    project(directory.path(), 8);
    let failure = store.try_commit(directory.path());
    println!("{:?}", failure.expect_err("the target is gone"));
    let failure = store.try_close();
    println!("{:?}", failure.expect_err("nothing can be written any more"));
}

/// Goal: what is on the device is not overwritten by mistake. Method: stores made without force over a store, and over
/// foreign bytes at both ends of the device; then one by force.
#[test]
#[ignore = "needs a device: README.md"]
fn a_store_spares_what_is_there() {
    let refused = |words: &str| {
        let store = Store::at(address().to_string());
        let failure = store.try_init(false).expect_err("something is there");
        println!("{failure:?}");
        assert_eq!(failure.class, Class::Invalid);
        assert!(failure.message.contains(words), "{failure:?}");
    };
    let store = Store::at(address().to_string());
    store.init(None);
    store.close();
    refused("holds a Helios store; use --force");

    let device = open(Duration::from_secs(15));
    let mut queue = device.open_queue(1).expect("queue");
    let writes = 16;
    let last = device.geometry().capacity - writes * faults::BYTES as u64;
    for number in 0..writes {
        for end in [0, last] {
            let foreign = faults::write(&mut *queue, end + number * faults::BYTES as u64, 0xa5);
            faults::one(&mut *queue, foreign).1.expect("write");
        }
    }
    drop((queue, device));
    refused("use --force");

    let store = Store::at(address().to_string());
    store.init(None);
    store.is_whole();
    store.close();
}
