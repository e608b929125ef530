//! Finding the directory and the entry that a path means, without waiting.

use std::hash::{BuildHasherDefault, Hasher};

use bytes::Bytes;

use super::edit::{Content, Directory, DirectoryIndex, Edit, Pending, Place, ROOT};
use super::memory::path_bytes;
use super::nodes::Nodes;
use super::{Stop, WorkingTree};
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::format::node::EntryKind;
use crate::trees::node::Item;
use crate::trees::path::{TreePath, components, describe};

/// Paths of directories that are remembered, and their bytes.
const PATHS_MAX: usize = 4096;
const PATH_BYTES_MAX: usize = 128 << 10;

/// Directories by the paths that callers wrote.
pub(super) type PathMap =
    std::collections::HashMap<Box<[u8]>, DirectoryIndex, BuildHasherDefault<PathHasher>>;

/// Eight bytes at a time. Not for keys of others: here somebody who grinds paths slows down his own tree, and no more
/// than `PATHS_MAX` comparisons at a time.
#[derive(Debug, Default)]
pub(super) struct PathHasher(u64);

impl PathHasher {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for PathHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let mut own = [0; 8];
            own.copy_from_slice(word);
            self.mix(u64::from_le_bytes(own));
        }
        let rest = words
            .remainder()
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.mix(rest);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64 ^ 0x5851_f42d_4c95_7f2d);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What has to be loaded before an operation can go on.
#[derive(Debug)]
pub(super) enum Want {
    /// A leaf of a loaded directory.
    Leaf(DirectoryIndex, u32),
    /// The directory that stands in this place.
    Directory(DirectoryIndex, Place, ContentId),
}

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    /// In a leaf, changed or not.
    Slot(u32, u8),
    /// Among the names added.
    Added,
}

/// What a path means: a directory, and a name in it that may be there or not.
pub(super) struct Located<'p> {
    pub directory: DirectoryIndex,
    pub name: &'p [u8],
    pub spot: Option<Spot>,
}

impl WorkingTree {
    /// Loads what an operation stopped for.
    pub(super) async fn load(&mut self, stop: Stop) -> Result<()> {
        match stop {
            Stop::Failed(error) => Err(error),
            // Apart, so that operations that find everything loaded do not carry the state of a read about.
            Stop::Load(want) => Box::pin(self.load_wanted(want)).await,
        }
    }

    async fn load_wanted(&mut self, want: Want) -> Result<()> {
        match want {
            Want::Leaf(directory, leaf) => {
                let bytes = self
                    .directory(directory)
                    .nodes
                    .load_leaf(&self.trees, leaf)
                    .await?;
                self.fill_leaf(directory, leaf, bytes);
                Ok(())
            }
            Want::Directory(parent, place, id) => {
                let nodes = Nodes::load(&self.trees, id).await?;
                let index = self.keep(Directory::new(parent, place.clone(), nodes));
                self.set_child(parent, &place, index);
                Ok(())
            }
        }
    }

    /// Makes an entry a loaded directory without marking it as changed.
    fn set_child(&mut self, directory: DirectoryIndex, place: &Place, child: DirectoryIndex) {
        let directory = self.directory_mut(directory);
        match place {
            Place::Slot { leaf, slot } => {
                let node = &mut directory.nodes.levels[0][*leaf as usize];
                match node.edits.iter_mut().find(|(edited, _)| edited == slot) {
                    Some((_, Edit::Entry(pending))) => pending.content = Content::Directory(child),
                    _ => node.put_child(*slot, child),
                }
            }
            Place::Added(name) => {
                if let Some(pending) = directory.added.get_mut(&name[..]) {
                    pending.content = Content::Directory(child);
                }
            }
        }
    }

    /// The directory and name of `path`, which may not be the root.
    pub(super) fn locate<'p>(&mut self, path: &'p [u8]) -> Result<Located<'p>, Stop> {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let split = path.iter().rposition(|byte| *byte == b'/');
        let (above, name) = match split {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        if split == Some(0) || matches!(name, b"" | b"." | b"..") {
            return Err(refused(path));
        }
        let directory = self.directory_at(above)?;
        let spot = self.spot(directory, name)?;
        // A name that is there is one that can be.
        if spot.is_none() && !crate::format::node::is_name(name) {
            return Err(refused(path));
        }
        Ok(Located {
            directory,
            name,
            spot,
        })
    }

    /// The directory at `path`.
    pub(super) fn directory_at(&mut self, path: &[u8]) -> Result<DirectoryIndex, Stop> {
        if path.is_empty() {
            return Ok(ROOT);
        }
        if let Some(index) = self.by_path.get(path).copied() {
            self.mark_used(index);
            return Ok(index);
        }
        let mut at = ROOT;
        for name in components(path)? {
            let name = name?;
            let spot = self.spot(at, name)?;
            let spot = spot.ok_or_else(|| Error::not_found(describe(path)))?;
            at = self.inside(at, name, spot)?.ok_or_else(|| {
                Error::invalid(
                    describe(path),
                    format!("`{}` is not a directory", name.escape_ascii()),
                )
            })?;
            self.mark_used(at);
        }
        if self.by_path.len() >= PATHS_MAX || self.path_bytes >= PATH_BYTES_MAX {
            self.forget_paths();
        }
        self.path_bytes += path_bytes(path);
        self.by_path.insert(path.into(), at);
        Ok(at)
    }

    /// Where `name` is in a directory; nothing if it is not there.
    pub(super) fn spot(&self, directory: DirectoryIndex, name: &[u8]) -> Result<Option<Spot>, Stop> {
        let inside = self.directory(directory);
        if !inside.added.is_empty() && inside.added.contains_key(name) {
            return Ok(Some(Spot::Added));
        }
        Ok(match self.slot(directory, name)? {
            Some((leaf, slot)) => {
                let gone = matches!(
                    inside.nodes.levels[0][leaf as usize].edit(slot),
                    Some(Edit::Removed)
                );
                (!gone).then_some(Spot::Slot(leaf, slot))
            }
            None => None,
        })
    }

    /// The entry of a leaf that is called `name`, gone or not.
    pub(super) fn slot(&self, directory: DirectoryIndex, name: &[u8]) -> Result<Option<(u32, u8)>, Stop> {
        let nodes = &self.directory(directory).nodes;
        let index = nodes.leaf_for(name);
        let node = &nodes.levels[0][index as usize];
        if node.bytes.is_empty() {
            return Err(Stop::Load(Want::Leaf(directory, index)));
        }
        Ok(node.names.find(&node.bytes, name).map(|slot| (index, slot)))
    }

    /// The loaded directory that an entry is; nothing if it is something else.
    pub(super) fn inside(
        &self,
        directory: DirectoryIndex,
        name: &[u8],
        spot: Spot,
    ) -> Result<Option<DirectoryIndex>, Stop> {
        let within = self.directory(directory);
        match spot {
            Spot::Slot(leaf, slot) => {
                let node = &within.nodes.levels[0][leaf as usize];
                let place = Place::Slot { leaf, slot };
                match node.edit(slot) {
                    Some(Edit::Entry(pending)) => opened(directory, place, pending),
                    Some(Edit::Content(_)) => Ok(None),
                    Some(Edit::Removed) | None => match (node.child(slot), node.record(slot)) {
                        (Some(child), _) => Ok(Some(child)),
                        (None, Some(record)) if record.kind == EntryKind::Directory as u8 => {
                            Err(Stop::Load(Want::Directory(directory, place, record.id)))
                        }
                        _ => Ok(None),
                    },
                }
            }
            Spot::Added => match within.added.get_key_value(name) {
                Some((name, pending)) => opened(directory, Place::Added(name.clone()), pending),
                None => Ok(None),
            },
        }
    }

    /// The entry at a spot as it is now: fields, attributes and content.
    pub(super) fn entry(&self, directory: DirectoryIndex, name: &[u8], spot: Spot) -> Option<Pending> {
        let within = self.directory(directory);
        match spot {
            Spot::Added => within.added.get(name).cloned(),
            Spot::Slot(leaf, slot) => {
                let node = &within.nodes.levels[0][leaf as usize];
                match node.edit(slot) {
                    Some(Edit::Entry(pending)) => Some((**pending).clone()),
                    Some(Edit::Removed) => None,
                    Some(Edit::Content(content)) => Some(Pending::of_item(
                        self.item(directory, leaf, slot)?,
                        content.clone(),
                    )),
                    None => Some(Pending::of_item(
                        self.item(directory, leaf, slot)?,
                        node.child(slot).map_or(Content::Kept, Content::Directory),
                    )),
                }
            }
        }
    }

    /// An entry as its leaf has it.
    pub(super) fn item(&self, directory: DirectoryIndex, leaf: u32, slot: u8) -> Option<Item> {
        let node = &self.directory(directory).nodes.levels[0][leaf as usize];
        let view = node.leaf()?;
        let slot = usize::from(slot);
        Some(Item {
            name: owned(view.name(slot)),
            record: view.records()[slot],
            attributes: owned(view.raw_attributes(slot)),
        })
    }
}

/// The directory that a changed entry is.
fn opened(
    directory: DirectoryIndex,
    place: Place,
    pending: &Pending,
) -> Result<Option<DirectoryIndex>, Stop> {
    match pending.content {
        Content::Directory(index) => Ok(Some(index)),
        _ if pending.is_directory() => Err(Stop::Load(Want::Directory(directory, place, pending.record.id))),
        _ => Ok(None),
    }
}

/// Why a path with an impossible last name, or an absolute one, cannot be used.
fn refused(path: &[u8]) -> Stop {
    match TreePath::new(path) {
        Err(error) => Stop::Failed(error),
        Ok(path) if path.is_root() => Stop::Failed(Error::invalid(
            "path `.`",
            "the top directory itself cannot be changed this way",
        )),
        Ok(_) => {
            let reason = "write it without `.` and without repeated `/` at its end";
            Stop::Failed(Error::invalid(describe(path), reason))
        }
    }
}

/// A copy of a name.
pub(super) fn owned(name: &[u8]) -> Bytes {
    Bytes::copy_from_slice(name)
}
