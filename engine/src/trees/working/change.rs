//! Changing a tree: every operation finds its place first, and changes nothing unless all of it can be done.

use bytes::Bytes;

use super::edit::{Content, Directory, DirectoryIndex, Edit, Pending, Place, ROOT};
use super::locate::{Located, Spot, owned};
use super::{Stop, WorkingTree};
use crate::error::{Error, Result};
use crate::format::node::{EntryKind, Tags};
use crate::trees::TreeCounts;
use crate::trees::path::{TreePath, describe};
use crate::trees::tree;

impl WorkingTree {
    /// Writes a whole file: a new one (mode 0644) in an existing directory, or new content for an existing one, which
    /// keeps its mode, owner and extended attributes. One of several hard links becomes a file of its own.
    ///
    /// # Errors
    /// `NotFound` if the directory is missing; `Invalid` if the name stands for something else than a file, or the
    /// path is malformed; what storing a large content answers.
    pub async fn write(&mut self, path: impl AsRef<[u8]>, bytes: impl Into<Bytes>) -> Result<()> {
        let mut content = Some(self.take_content(bytes.into()).await?);
        while let Err(stop) = self.try_write(path.as_ref(), &mut content) {
            self.load(stop).await?;
        }
        self.spill_if_full().await
    }

    fn try_write(&mut self, path: &[u8], content: &mut Option<Content>) -> Result<(), Stop> {
        let Located {
            directory,
            name,
            spot,
        } = self.locate(path)?;
        let Some(spot) = spot else {
            let Some(content) = content.take() else {
                return Ok(());
            };
            self.count(1, 0, content.size(0));
            self.insert(directory, name, Pending::new(EntryKind::File, 0o644, content))?;
            return Ok(());
        };
        let (kind, size, tags) = self.fields(directory, name, spot);
        if kind != EntryKind::File as u8 {
            return Err(
                Error::invalid(describe(path), "it is not a file; remove it before writing one").into(),
            );
        }
        let Some(content) = content.take() else {
            return Ok(());
        };
        self.count(0, size, content.size(0));
        if tags.has(Tags::LINK_GROUP) {
            let pending = self.entry(directory, name, spot);
            self.insert(directory, name, unlinked(pending, content))?;
            return Ok(());
        }
        self.pending_bytes += content.in_memory();
        match spot {
            Spot::Added => {
                let before = self.directory_mut(directory).added.get_mut(name).map(|pending| {
                    pending.touched = true;
                    std::mem::replace(&mut pending.content, content)
                });
                self.pending_bytes -= before.map_or(0, |content| content.in_memory());
                self.touch(directory);
            }
            Spot::Slot(leaf, slot) => self.set_written(directory, leaf, slot, content),
        }
        Ok(())
    }

    /// Makes a directory (mode 0755) in an existing one.
    ///
    /// # Errors
    /// `Exists`; `NotFound` if the directory above is missing; `Invalid` if the path is malformed.
    pub async fn create_directory(&mut self, path: impl AsRef<[u8]>) -> Result<()> {
        while let Err(stop) = self.try_create_directory(path.as_ref()) {
            self.load(stop).await?;
        }
        Ok(())
    }

    /// Makes a directory and those above it that are missing; nothing if it is there.
    ///
    /// # Errors
    /// `Invalid` if something on the way is not a directory, or the path is malformed.
    pub async fn create_directories(&mut self, path: impl AsRef<[u8]>) -> Result<()> {
        let mut at = TreePath::root();
        for name in TreePath::new(path)?.components() {
            at = at.join(name);
            match self.create_directory(&at).await {
                Err(Error::Exists { .. }) => {}
                done => done?,
            }
        }
        // The last name may have been there as something else.
        while let Err(stop) = self.directory_at(at.as_bytes()).map(|_| ()) {
            self.load(stop).await?;
        }
        Ok(())
    }

    fn try_create_directory(&mut self, path: &[u8]) -> Result<(), Stop> {
        let Located {
            directory,
            name,
            spot,
        } = self.locate(path)?;
        absent(path, spot)?;
        let index = self.keep(Directory::made(directory, Place::Added(owned(name))));
        let pending = Pending::new(EntryKind::Directory, 0o755, Content::Directory(index));
        self.insert(directory, name, pending)?;
        self.touch(index);
        Ok(())
    }

    /// Makes a symbolic link. Its target is kept as it is, and never followed here.
    ///
    /// # Errors
    /// `Exists`; `NotFound` if the directory is missing; `Invalid` for an empty target, one of more than 4,095 bytes
    /// or with a NUL, or a malformed path.
    pub async fn symlink(&mut self, path: impl AsRef<[u8]>, target: impl Into<Bytes>) -> Result<()> {
        let target = target.into();
        if target.is_empty() || target.len() > 4095 || target.contains(&0) {
            let reason = "a link's target has 1 to 4095 bytes and no NUL";
            return Err(Error::invalid(describe(path.as_ref()), reason));
        }
        while let Err(stop) = self.try_symlink(path.as_ref(), &target) {
            self.load(stop).await?;
        }
        Ok(())
    }

    fn try_symlink(&mut self, path: &[u8], target: &Bytes) -> Result<(), Stop> {
        let Located {
            directory,
            name,
            spot,
        } = self.locate(path)?;
        absent(path, spot)?;
        self.count(1, 0, target.len() as u64);
        let pending = Pending::new(EntryKind::Symlink, 0o777, Content::Bytes(target.clone()));
        self.insert(directory, name, pending)
    }

    /// Sets permission, set-id and sticky bits; of the top directory with an empty path.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for other bits or a malformed path.
    pub async fn set_mode(&mut self, path: impl AsRef<[u8]>, mode: u16) -> Result<()> {
        if mode > 0o7777 {
            return Err(Error::invalid(
                format!("mode {mode:o}"),
                "a mode has no bits beyond 7777",
            ));
        }
        if TreePath::new(&path)?.is_root() {
            self.root.mode = mode;
            return Ok(());
        }
        while let Err(stop) = self.try_set_mode(path.as_ref(), mode) {
            self.load(stop).await?;
        }
        Ok(())
    }

    fn try_set_mode(&mut self, path: &[u8], mode: u16) -> Result<(), Stop> {
        let (located, mut pending) = self.present(path)?;
        pending.record.mode = mode.into();
        self.insert(located.directory, located.name, pending)
    }

    /// Removes a name, with everything below it if it is a directory.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a malformed path or the top directory; what counting a directory that is not loaded
    /// answers.
    pub async fn remove(&mut self, path: impl AsRef<[u8]>) -> Result<()> {
        loop {
            let measured = self.measure(path.as_ref()).await?;
            match self.try_remove(path.as_ref(), measured) {
                Ok(()) => return Ok(()),
                Err(stop) => self.load(stop).await?,
            }
        }
    }

    fn try_remove(&mut self, path: &[u8], measured: TreeCounts) -> Result<(), Stop> {
        let (located, pending) = self.present(path)?;
        self.take_out(&located);
        if let Content::Directory(index) = pending.content {
            self.forget(index);
        }
        if pending.is_directory() {
            self.forget_paths();
        }
        self.counts.files = self.counts.files.saturating_sub(measured.files);
        self.counts.bytes = self.counts.bytes.saturating_sub(measured.bytes);
        Ok(())
    }

    /// Gives a file or a directory another name, in the same directory or another. A file at the new name is
    /// replaced by a file; anything else there is in the way. A directory moves with its changes, whatever its size.
    ///
    /// # Errors
    /// `NotFound`; `Exists` if something is in the way; `Invalid` for a malformed path, or a directory that would move
    /// below itself.
    pub async fn rename(&mut self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        while let Err(stop) = self.try_rename(from.as_ref(), to.as_ref()) {
            self.load(stop).await?;
        }
        Ok(())
    }

    fn try_rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), Stop> {
        let (source, pending) = self.present(from)?;
        let target = self.locate(to)?;
        if (source.directory, source.name) == (target.directory, target.name) {
            return Ok(());
        }
        if let Content::Directory(moved) = pending.content {
            let mut at = target.directory;
            while at != ROOT && at != moved {
                at = self.directory(at).parent;
            }
            if at == moved {
                return Err(Error::invalid(describe(to), "a directory cannot move below itself").into());
            }
        }
        let replaced = target
            .spot
            .and_then(|spot| self.entry(target.directory, target.name, spot));
        if let Some(replaced) = &replaced {
            if pending.is_directory() || replaced.is_directory() {
                return Err(exists(to).into());
            }
            self.count(-1, replaced.size(), 0);
        }
        // The place of the new name is found already, so putting it there needs nothing more to be loaded.
        self.take_out(&source);
        if pending.is_directory() {
            self.forget_paths();
        }
        self.insert(target.directory, target.name, pending)
    }

    /// What a path names, as a value to be changed.
    fn present<'p>(&mut self, path: &'p [u8]) -> Result<(Located<'p>, Pending), Stop> {
        let located = self.locate(path)?;
        let found = located
            .spot
            .and_then(|spot| self.entry(located.directory, located.name, spot));
        match found {
            Some(pending) => Ok((located, pending)),
            None => Err(Error::not_found(describe(path)).into()),
        }
    }

    /// Kind, size and tags of an entry.
    fn fields(&self, directory: DirectoryIndex, name: &[u8], spot: Spot) -> (u8, u64, Tags) {
        let of = |pending: &Pending| {
            (
                pending.record.kind,
                pending.size(),
                Tags(pending.record.tags.get()),
            )
        };
        let within = self.directory(directory);
        match spot {
            Spot::Added => within.added.get(name).map(of),
            Spot::Slot(leaf, slot) => {
                let node = &within.nodes.levels[0][leaf as usize];
                match node.edit(slot) {
                    Some(Edit::Entry(pending)) => Some(of(pending)),
                    edit => node.record(slot).map(|record| {
                        let kept = record.size.get();
                        let size = edit
                            .and_then(Edit::content)
                            .map_or(kept, |content| content.size(kept));
                        (record.kind, size, Tags(record.tags.get()))
                    }),
                }
            }
        }
        .unwrap_or_default()
    }

    /// Size of what a path names, with everything below it.
    async fn measure(&mut self, path: &[u8]) -> Result<TreeCounts> {
        let top = loop {
            match self.present(path) {
                Ok((_, pending)) => break pending,
                Err(stop) => self.load(stop).await?,
            }
        };
        let mut counts = TreeCounts::default();
        let mut unloaded = Vec::new();
        let mut loaded = Vec::new();
        let mut add = |pending: &Pending, loaded: &mut Vec<DirectoryIndex>| match pending.content {
            Content::Directory(index) => loaded.push(index),
            _ if pending.is_directory() => unloaded.push(pending.record.id),
            _ => {
                counts.files += 1;
                counts.bytes += pending.size();
            }
        };
        add(&top, &mut loaded);
        while let Some(index) = loaded.pop() {
            self.load_leaves(index).await?;
            for pending in self.everything_in(index) {
                add(&pending.1, &mut loaded);
            }
        }
        let below = tree::count(&self.trees.store, self.trees.domain, &unloaded).await?;
        counts.files += below.files;
        counts.bytes += below.bytes;
        Ok(counts)
    }

    fn count(&mut self, files: i64, old_bytes: u64, new_bytes: u64) {
        self.counts.files = self.counts.files.saturating_add_signed(files);
        self.counts.bytes = self
            .counts
            .bytes
            .saturating_sub(old_bytes)
            .saturating_add(new_bytes);
    }
}

/// A file that was one of several links, with new content, on its own.
fn unlinked(pending: Option<Pending>, content: Content) -> Pending {
    let mut own = pending.unwrap_or_else(|| Pending::new(EntryKind::File, 0o644, Content::Kept));
    if let Ok(mut attributes) = own.record.attributes(&own.attributes) {
        attributes.link_group = None;
        let (tags, bytes) = attributes.encoded();
        own.record.tags = tags.0.into();
        own.record.attributes_bytes = u16::try_from(bytes.len()).unwrap_or(u16::MAX).into();
        own.attributes = bytes.into();
    }
    own.content = content;
    own.touched = true;
    own
}

fn absent(path: &[u8], spot: Option<Spot>) -> Result<(), Stop> {
    if spot.is_some() {
        Err(exists(path).into())
    } else {
        Ok(())
    }
}

fn exists(path: &[u8]) -> Error {
    Error::Exists { what: describe(path) }
}
