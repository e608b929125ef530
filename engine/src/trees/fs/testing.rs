//! For the tests of this module: directories with everything in them, and a comparison that shares no code with what is
//! tested.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::control::Control;
use super::scan::{Scan, ScanOptions, scan};
use crate::access::Access;
use crate::error::Result;
use crate::trees::Entry;

/// An empty store in memory.
pub(super) fn store() -> Access {
    crate::store::testing::store().into()
}

pub(super) fn control() -> Control {
    Control {
        threads: 3,
        ..Control::default()
    }
}

/// What `commit` made.
pub(super) struct Committed {
    pub(super) scan: Scan,
    pub(super) cache: Option<Bytes>,
}

impl Committed {
    pub(super) fn root(&self) -> &Entry {
        self.scan.root().expect("a scan that stores has a root")
    }
}

pub(super) fn commit(
    store: &Access,
    directory: &Path,
    options: &ScanOptions,
    cache: Option<Bytes>,
) -> Result<Committed> {
    let mut batch = store.batch();
    let scan = scan(store, directory, options, cache.clone(), &mut batch, &control())?;
    store.block_on(batch.submit())?;
    let cache = scan.stat_cache().cloned().or(cache);
    Ok(Committed { scan, cache })
}

pub(super) fn commit_all(store: &Access, directory: &Path, cache: Option<Bytes>) -> Committed {
    commit(store, directory, &ScanOptions::default(), cache).expect("a readable directory")
}

pub(super) fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    fs::write(path, content).expect("a writable directory");
}

/// Waits until the clock that files are stamped with has moved past what the cache doubts.
pub(super) fn settle() {
    let now = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
    };
    let start = now();
    while now() - start < 40_000_000 {
        std::thread::yield_now();
    }
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Everything that a name has, as the system tells it by path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    content: Vec<u8>,
    device: u64,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the same file.
    same_as: PathBuf,
    /// Takes less room than it has bytes, by 64 KiB at least.
    sparse: bool,
}

/// Everything below a directory, itself included.
pub(super) fn see(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut first: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let relative = path.strip_prefix(root).expect("below the root").to_owned();
        let data = fs::symlink_metadata(&path).expect("is there");
        let content = if data.file_type().is_symlink() {
            fs::read_link(&path)
                .expect("a link")
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else if data.is_file() {
            fs::read(&path).expect("readable")
        } else {
            Vec::new()
        };
        if data.is_dir() {
            let mut names: Vec<PathBuf> = fs::read_dir(&path)
                .expect("a directory")
                .map(|entry| entry.expect("a name").path())
                .collect();
            names.sort();
            todo.extend(names.into_iter().rev());
        }
        let same_as = match data.is_dir() {
            true => relative.clone(),
            false => first
                .entry((data.dev(), data.ino()))
                .or_insert_with(|| relative.clone())
                .clone(),
        };
        let is_device = data.file_type().is_char_device() || data.file_type().is_block_device();
        let known = seen.insert(
            relative,
            Seen {
                mode: data.mode(),
                owner: (data.uid(), data.gid()),
                mtime: (data.mtime(), data.mtime_nsec()),
                content,
                device: if is_device { data.rdev() } else { 0 },
                xattrs: xattrs(&path),
                same_as,
                sparse: data.is_file() && data.blocks() * 512 + (64 << 10) <= data.size(),
            },
        );
        assert!(known.is_none());
    }
    seen
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0u8; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0u8; 65536];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("just listed");
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}

pub(super) fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).expect("attributes work here");
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let omit = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_OMIT,
    };
    let times = rustix::fs::Timestamps {
        last_access: omit,
        last_modification: rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        },
    };
    rustix::fs::utimensat(
        rustix::fs::CWD,
        path,
        &times,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .expect("own file");
}

/// Fills a directory with one of everything that a tree can hold.
pub(super) fn everything(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("a/b/c")).expect("writable");
    fs::create_dir_all(at("empty/nested empty")).expect("writable");
    write(at("a/plain"), "plain");
    write(at("a/none"), "");
    write(at("a/b/Case"), "upper");
    write(at("a/b/case"), "lower");
    write(root.join(OsStr::from_bytes(b"a/b/not \xff\xfe utf-8\n")), "bytes");
    write(
        at("a/b/c/name of 255 bytes").with_file_name("n".repeat(255)),
        "long",
    );
    write(at("run.sh"), "#!/bin/sh\n");
    fs::set_permissions(at("run.sh"), fs::Permissions::from_mode(0o4751)).expect("own file");
    write(at("secret"), "read only");
    fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o400)).expect("own file");

    // Content of several extents, and just around the sizes where the way of storing changes.
    let noise = |length: usize| -> Vec<u8> {
        let mut state = length as u64 | 1;
        (0..length)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect()
    };
    for length in [4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_000] {
        write(at(&format!("a/noise {length}")), noise(length));
    }
    let holes = fs::File::create(at("holes")).expect("writable");
    use std::os::unix::fs::FileExt;
    holes.set_len(9 << 20).expect("holes work");
    holes.write_all_at(&noise(10_000), 3 << 20).expect("writable");
    let small_holes = fs::File::create(at("small holes")).expect("writable");
    small_holes.set_len(800 << 10).expect("holes work");
    small_holes.write_all_at(b"data", 300 << 10).expect("writable");

    symlink("a/plain", at("link")).expect("writable");
    symlink("../../nowhere", at("a/dangling")).expect("writable");
    symlink("/etc/passwd", at("a/absolute")).expect("writable");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("a/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .expect("pipes work");
    write(at("a/linked"), "one file, three names");
    fs::hard_link(at("a/linked"), at("a/b/c/second")).expect("links work");
    fs::hard_link(at("a/linked"), at("0 first")).expect("links work");
    fs::hard_link(at("link"), at("a/b/link too")).expect("links to links work");

    set_xattr(&at("a/plain"), "user.colour", b"blue\0and green");
    set_xattr(&at("a/plain"), "user.large", &noise(2000));
    set_xattr(&at("a/b"), "user.on-directory", b"yes");
    // An access list: owner rw, user 1 r, group r, mask r, others none.
    let acl: Vec<u8> = [
        &2u32.to_le_bytes()[..],
        &[1, 0, 6, 0, 255, 255, 255, 255],
        &[2, 0, 4, 0, 1, 0, 0, 0],
        &[4, 0, 4, 0, 255, 255, 255, 255],
        &[16, 0, 4, 0, 255, 255, 255, 255],
        &[32, 0, 0, 0, 255, 255, 255, 255],
    ]
    .concat();
    set_xattr(&at("a/none"), "system.posix_acl_access", &acl);
    set_xattr(&at("empty"), "system.posix_acl_default", &acl);
    if is_root() {
        set_xattr(&at("link"), "trusted.on-link", b"root only");
        std::os::unix::fs::lchown(at("run.sh"), Some(1234), Some(4321)).expect("root may");
        fs::set_permissions(at("run.sh"), fs::Permissions::from_mode(0o4751)).expect("own file");
        std::os::unix::fs::lchown(at("link"), Some(1), Some(2)).expect("root may");
        std::os::unix::fs::lchown(at("empty"), Some(3), Some(4)).expect("root may");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("a/null"),
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 3),
        )
        .expect("root may");
    }
    set_time(&at("a/plain"), 1_234_567_890, 123_456_789);
    set_time(&at("a/none"), -5, 1);
    set_time(&at("link"), 99, 7);
    set_time(&at("a/pipe"), 98, 0);
    fs::set_permissions(at("a/b"), fs::Permissions::from_mode(0o1555)).expect("own directory");
    set_time(&at("a/b"), 1_000, 1_000);
    set_time(&at("empty"), 2_000, 999_999_999);
    set_time(&at("a"), 3_000, 5);
    set_time(root, 4_000, 6);
}
