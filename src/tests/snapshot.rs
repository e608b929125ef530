//! Everything the file system says about a directory, to compare two of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One name: what is compared, bit by bit.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    mode: u32,
    owner: (u32, u32),
    /// Modification time; links included.
    mtime: (i64, i64),
    /// Bytes of a file (hashed), target of a link.
    content: Vec<u8>,
    size: u64,
    /// The first path of the same inode: hard links must stay links.
    twin_of: Option<PathBuf>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Every name below `root`, and `root` itself as the empty path.
pub fn take(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let path = root.join(&relative);
        let metadata = fs::symlink_metadata(&path).expect("a name that was listed");
        let mut size = 0;
        let content = if metadata.is_dir() {
            for entry in fs::read_dir(&path).expect("a directory") {
                waiting.push(relative.join(entry.expect("an entry").file_name()));
            }
            Vec::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path)
                .expect("a link")
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else {
            size = metadata.len();
            let bytes = fs::read(&path).expect("a file");
            blake3::hash(&bytes).as_bytes().to_vec()
        };
        inodes
            .entry(metadata.ino())
            .or_insert_with(Vec::new)
            .push(relative.clone());
        found.insert(
            relative,
            Entry {
                mode: metadata.mode(),
                owner: (metadata.uid(), metadata.gid()),
                mtime: (metadata.mtime(), metadata.mtime_nsec()),
                content,
                size,
                twin_of: None,
                xattrs: xattrs(&path),
            },
        );
    }
    for mut names in inodes.into_values().filter(|names| names.len() > 1) {
        names.sort();
        for name in &names[1..] {
            if let Some(entry) = found.get_mut(name) {
                entry.twin_of = Some(names[0].clone());
            }
        }
    }
    found
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0u8; 64 << 10];
    // File systems without attributes have none to compare.
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0u8; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("a listed attribute");
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}

/// Fails with the first differences, by name.
pub fn assert_same(left: &BTreeMap<PathBuf, Entry>, right: &BTreeMap<PathBuf, Entry>) {
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let different: Vec<String> = names
        .into_iter()
        .filter(|name| left.get(*name) != right.get(*name))
        .take(10)
        .map(|name| {
            format!(
                "{}\n   {:?}\n   {:?}",
                name.display(),
                left.get(name),
                right.get(name)
            )
        })
        .collect();
    assert!(
        different.is_empty(),
        "directories differ:\n{}",
        different.join("\n")
    );
}
