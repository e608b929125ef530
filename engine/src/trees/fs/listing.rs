//! What a walk found: every directory with its names, as one flat list.

use std::sync::Arc;

use bytes::Bytes;

use super::folder::Folder;
use super::ignore_rules::Rules;
use super::platform::{FileId, Found, Stat};
use crate::format::ContentId;
use crate::trees::{EntryKind, FileTime, Xattr};

/// One name.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) kind: EntryKind,
    /// Place of the name in the directory's `names`: start and length.
    pub(super) name: (u32, u8),
    pub(super) stat: Stat,
    /// Content; of a directory the node that the cache knows.
    pub(super) id: ContentId,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) link_group: Option<u64>,
    /// Index of the subdirectory.
    pub(super) child: usize,
    /// The id (and the attributes) are those of the file as it is now.
    pub(super) known: bool,
    /// Was there when the directory was listed, and is not any more.
    pub(super) gone: bool,
    /// The file changed so recently that its times prove nothing next time.
    pub(super) racy: bool,
}

/// One directory.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) folder: Arc<Folder>,
    pub(super) rules: Arc<Rules>,
    /// In order of their names.
    pub(super) items: Vec<Item>,
    pub(super) names: Bytes,
    /// Index of the directory above; the root is its own.
    pub(super) parent: usize,
    /// Levels below the root.
    pub(super) depth: u32,
    /// Its section in the cache.
    pub(super) section: Option<usize>,
    /// Its listing, or something in or below it, differs from what the cache says.
    pub(super) dirty: bool,
    /// Its node in the tree, once built or known to be the same as last time.
    pub(super) node: Option<ContentId>,
    /// Names that are there and were left out (ignored, sockets, unreadable): a restore leaves them alone.
    pub(super) left_out: Vec<Bytes>,
    /// The file system stamps changes with this machine's clock (see `stat_cache`).
    pub(super) local: bool,
    /// Another file system is mounted here and was not entered.
    pub(super) closed: bool,
}

impl Directory {
    /// The name of one of its items.
    pub(super) fn name(&self, item: &Item) -> Bytes {
        let start = item.name.0 as usize;
        self.names.slice(start..start + usize::from(item.name.1))
    }

    /// The same, without a reference.
    pub(super) fn name_bytes(&self, item: &Item) -> &[u8] {
        let start = item.name.0 as usize;
        &self.names[start..start + usize::from(item.name.1)]
    }

    /// The item with this name.
    #[cfg(test)]
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        self.items
            .binary_search_by(|item| self.name_bytes(item).cmp(name))
            .ok()
    }
}

/// A path that could not be listed or read, and why.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) path: std::path::PathBuf,
    pub(super) reason: String,
}

/// Everything found. Directories come after the one that holds them; index 0 is the root.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) directories: Vec<Directory>,
    /// The root directory as an item without a name.
    pub(super) root: Option<Item>,
    pub(super) failures: Vec<Failure>,
}

impl Listing {
    /// Marks every directory that has a marked one below it.
    pub(super) fn carry_dirt(&mut self) {
        // Directories come after the one that holds them, so one pass backwards reaches the root.
        for index in (1..self.directories.len()).rev() {
            if self.directories[index].dirty {
                let parent = self.directories[index].parent;
                self.directories[parent].dirty = true;
            }
        }
    }

    /// The path of an item, for messages.
    pub(super) fn path(&self, (directory, item): (usize, usize)) -> std::path::PathBuf {
        let directory = &self.directories[directory];
        directory
            .folder
            .path(directory.name_bytes(&directory.items[item]))
    }
}

/// Puts the directories in order, with each subdirectory's item completed; items whose directory is gone go too.
///
/// `found` has every directory and its own item under the index that the walk gave it.
pub(super) fn assemble(found: impl Iterator<Item = (usize, Directory, Item)>) -> Listing {
    let mut slots: Vec<Option<(Directory, Item)>> = Vec::new();
    for (index, directory, item) in found {
        if slots.len() <= index {
            slots.resize_with(index + 1, || None);
        }
        slots[index] = Some((directory, item));
    }
    // New indices without the gaps.
    let mut place = vec![usize::MAX; slots.len()];
    let mut count = 0;
    for (index, slot) in slots.iter().enumerate() {
        if slot.is_some() {
            place[index] = count;
            count += 1;
        }
    }
    let mut listing = Listing::default();
    listing.directories.reserve(count);
    let mut items: Vec<Option<Item>> = Vec::with_capacity(count);
    for (mut directory, item) in slots.into_iter().flatten() {
        directory.parent = place[directory.parent];
        items.push(Some(item));
        listing.directories.push(directory);
    }
    for directory in &mut listing.directories {
        let before = directory.items.len();
        let names = &directory.names;
        let left_out = &mut directory.left_out;
        directory.items.retain_mut(|item| {
            if item.kind != EntryKind::Directory {
                return true;
            }
            let index = place.get(item.child).copied().unwrap_or(usize::MAX);
            let name = item.name;
            let Some(own) = items.get_mut(index).and_then(Option::take) else {
                let start = name.0 as usize;
                left_out.push(names.slice(start..start + usize::from(name.1)));
                return false;
            };
            *item = Item {
                name,
                child: index,
                ..own
            };
            true
        });
        directory.dirty |= directory.items.len() != before || directory.items.iter().any(|item| !item.known);
    }
    listing.root = items.first_mut().and_then(Option::take);
    listing.carry_dirt();
    listing
}

/// Stands for a directory's metadata until the directory itself has been opened.
pub(super) fn unopened_directory() -> Stat {
    let zero = FileTime {
        seconds: 0,
        nanoseconds: 0,
    };
    Stat {
        found: Found::Kind(EntryKind::Directory),
        mode: 0,
        links: 0,
        uid: 0,
        gid: 0,
        size: 0,
        blocks: 0,
        mtime: zero,
        ctime: zero,
        id: FileId::default(),
        device: (0, 0),
    }
}
