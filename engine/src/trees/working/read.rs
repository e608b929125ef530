//! Looking at a tree as it is now, changes included.

use std::cmp::Ordering;

use bytes::Bytes;

use super::edit::{Content, DirectoryIndex, Edit, Pending};
use super::locate::Located;
use super::{Stop, WorkingTree};
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::format::node::EntryKind;
use crate::trees::directory_read::{Expected, fetch, resolve};
use crate::trees::entry::Entry;
use crate::trees::node::{Decoded, Item, decode_item, describe as describe_entry};
use crate::trees::path::{TreePath, describe};

/// What a working tree says about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The entry. If it is pending its id is zeroes or that of the last commit, and an mtime that the next commit
    /// will set is still the one before.
    pub entry: Entry,
    /// True if it, or something below it, has changed since the last commit.
    pub pending: bool,
}

/// Where the bytes of a file are.
enum Source {
    Memory(Bytes),
    Store(ContentId, u64),
}

impl WorkingTree {
    /// The whole content of a file, or the target of a link (links are never followed).
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it has no content, or the path is malformed; what reading the content answers.
    pub async fn read(&mut self, path: impl AsRef<[u8]>) -> Result<Bytes> {
        loop {
            match self.try_read(path.as_ref()) {
                Ok(Source::Memory(bytes)) => return Ok(bytes),
                Ok(Source::Store(id, size)) => return self.fetch_content(id, size).await,
                Err(stop) => self.load(stop).await?,
            }
        }
    }

    fn try_read(&mut self, path: &[u8]) -> Result<Source, Stop> {
        let Located {
            directory,
            name,
            spot,
        } = self.locate(path)?;
        let found = spot.and_then(|spot| self.entry(directory, name, spot));
        let pending = found.ok_or_else(|| Error::not_found(describe(path)))?;
        let kind = EntryKind::from_byte(pending.record.kind);
        if !kind.is_some_and(EntryKind::has_content) {
            return Err(Error::invalid(describe(path), "it has no content to read").into());
        }
        Ok(match pending.content {
            Content::Bytes(bytes) => Source::Memory(bytes),
            Content::Stored { id, size } => Source::Store(id, size),
            Content::Kept | Content::Directory(_) => {
                Source::Store(pending.record.id, pending.record.size.get())
            }
        })
    }

    /// What a path names; the top directory with an empty path.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a malformed path; whatever reading nodes answers.
    pub async fn stat(&mut self, path: impl AsRef<[u8]>) -> Result<Stat> {
        if TreePath::new(&path)?.is_root() {
            let entry = self.root.clone();
            return Ok(Stat {
                entry,
                pending: self.is_dirty(),
            });
        }
        let (name, found) = loop {
            match self.try_stat(path.as_ref()) {
                Ok(found) => break found,
                Err(stop) => self.load(stop).await?,
            }
        };
        let stats = self.stats(vec![(name, found)]).await?;
        stats
            .into_iter()
            .next()
            .ok_or_else(|| Error::not_found(describe(path.as_ref())))
    }

    fn try_stat(&mut self, path: &[u8]) -> Result<(Bytes, Pending), Stop> {
        let Located {
            directory,
            name,
            spot,
        } = self.locate(path)?;
        let found = spot.and_then(|spot| self.entry(directory, name, spot));
        let found = found.ok_or_else(|| Error::not_found(describe(path)))?;
        Ok((Bytes::copy_from_slice(name), found))
    }

    /// True if there is such a path.
    ///
    /// # Errors
    /// As [`WorkingTree::stat`], except `NotFound`.
    pub async fn exists(&mut self, path: impl AsRef<[u8]>) -> Result<bool> {
        match self.stat(path).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How many entries a directory has; the top directory with an empty path. Costs no look at them.
    ///
    /// # Errors
    /// As [`WorkingTree::list`].
    pub async fn count_entries(&mut self, path: impl AsRef<[u8]>) -> Result<u64> {
        let directory = self.directory_of(path.as_ref()).await?;
        let within = self.directory(directory);
        let known = within.nodes.levels.last().map_or(0, |top| top[0].entries);
        Ok(known + within.added.len() as u64 - u64::from(within.removed))
    }

    async fn directory_of(&mut self, path: &[u8]) -> Result<DirectoryIndex> {
        loop {
            match self.directory_at(path.strip_suffix(b"/").unwrap_or(path)) {
                Ok(directory) => return Ok(directory),
                Err(stop) => self.load(stop).await?,
            }
        }
    }

    /// Everything in a directory, in order of names; in the top directory with an empty path.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it is not a directory, or the path is malformed; whatever reading nodes answers.
    pub async fn list(&mut self, path: impl AsRef<[u8]>) -> Result<Vec<Stat>> {
        let directory = self.directory_of(path.as_ref()).await?;
        self.load_leaves(directory).await?;
        let everything = self.everything_in(directory);
        self.stats(everything).await
    }

    /// Loads the leaves of a directory that are missing, as one batch.
    pub(super) async fn load_leaves(&mut self, directory: DirectoryIndex) -> Result<()> {
        let nodes = &self.directory(directory).nodes;
        let missing = nodes.missing_leaves();
        if missing.is_empty() {
            return Ok(());
        }
        let expect = |index: &u32| {
            let node = &nodes.levels[0][*index as usize];
            let (first, entries) = (node.first.clone(), node.entries);
            (
                node.id,
                Some(Expected {
                    level: 0,
                    first,
                    entries,
                }),
            )
        };
        let wanted: Vec<_> = missing.iter().map(expect).collect();
        let fetched = fetch(&self.trees.store, self.trees.domain, &wanted).await?;
        for (index, fetched) in missing.into_iter().zip(fetched) {
            self.fill_leaf(directory, index, fetched.bytes[..].into());
        }
        Ok(())
    }

    /// The entries of a directory whose leaves are loaded, in order of names.
    pub(super) fn everything_in(&self, directory: DirectoryIndex) -> Vec<(Bytes, Pending)> {
        let within = self.directory(directory);
        let mut found = Vec::new();
        let mut added = within.added.iter().peekable();
        for node in &within.nodes.levels[0] {
            let Some(leaf) = node.leaf() else { continue };
            for (slot, (name, record, attributes)) in (0u8..).zip(leaf.iter()) {
                while let Some((new, pending)) = added.next_if(|(new, _)| new[..].cmp(name) == Ordering::Less)
                {
                    found.push((new.clone(), pending.clone()));
                }
                let content = match node.edit(slot) {
                    Some(Edit::Removed) => continue,
                    Some(Edit::Entry(pending)) => {
                        found.push((Bytes::copy_from_slice(name), (**pending).clone()));
                        continue;
                    }
                    Some(Edit::Content(content)) => content.clone(),
                    None => node.child(slot).map_or(Content::Kept, Content::Directory),
                };
                let item = Item {
                    name: Bytes::copy_from_slice(name),
                    record: *record,
                    attributes: Bytes::copy_from_slice(attributes),
                };
                found.push((item.name.clone(), Pending::of_item(item, content)));
            }
        }
        found.extend(added.map(|(name, pending)| (name.clone(), pending.clone())));
        found
    }

    /// Entries for callers, far attributes fetched.
    async fn stats(&self, found: Vec<(Bytes, Pending)>) -> Result<Vec<Stat>> {
        let mut pending = Vec::with_capacity(found.len());
        let mut decoded: Vec<Decoded> = Vec::with_capacity(found.len());
        for (name, entry) in found {
            let mut item = Item {
                name,
                record: entry.record,
                attributes: entry.attributes,
            };
            let mut changed = entry.touched;
            match entry.content {
                Content::Kept => {}
                Content::Bytes(bytes) => {
                    item.record.id = ContentId([0; 32]);
                    item.record.size = (bytes.len() as u64).into();
                }
                Content::Stored { id, size } => {
                    item.record.id = id;
                    item.record.size = size.into();
                }
                Content::Directory(index) => {
                    let inside = self.directory(index);
                    item.record.id = inside.nodes.id();
                    changed |= inside.dirty.is_some();
                }
            }
            let attributes = item.record.attributes(&item.attributes);
            let entry = attributes.and_then(|attributes| decode_item(&item, &attributes));
            decoded.push(
                entry.map_err(|damage| Error::invalid(describe_entry(&item.name), damage.to_string()))?,
            );
            pending.push(changed);
        }
        let entries = resolve(&self.trees.store, self.trees.domain, decoded).await?;
        Ok(entries
            .into_iter()
            .zip(pending)
            .map(|(entry, pending)| Stat { entry, pending })
            .collect())
    }
}
