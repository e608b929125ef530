//! Doing what a restore has planned: remove, make directories, write files, link, set metadata, in this order.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::io::Errno;

use super::compare::{Comparison, Delta};
use super::control::{Control, Doubt};
use super::folder::Folder;
use super::groups::{self, Groups};
use super::parallel::{self, Queue};
use super::restore::{Restore, RestoreStep, Restored};
use super::writer::{Spot, Writer};
use super::{metadata, platform};
use crate::error::{Error, Result};
use crate::limits::EXTENT_BYTES_MAX;
use crate::trees::{Entry, EntryKind};
/// What happened to a directory, so that it can be completed at the end.
#[derive(Default, Clone, Copy)]
struct Touch {
    /// Names in it changed, or its own metadata is to be set.
    changed: bool,
    /// Its mode before it was opened up for writing.
    mode: Option<u16>,
}

pub(super) struct Applying<'a, 'b> {
    restore: &'a Restore<'b>,
    writer: Writer<'a>,
    control: &'a Control,
    /// By pair; the scan's, or made.
    folders: Vec<Mutex<Option<Arc<Folder>>>>,
    touched: Vec<Mutex<Touch>>,
    written: AtomicU64,
    written_bytes: AtomicU64,
    adjusted: AtomicU64,
    removed: AtomicU64,
}

/// Files to be written: large ones by the index of their difference.
enum Task<'a> {
    Small(Vec<Small<'a>>),
    Large(usize),
}

/// A small file to be written: index of its difference, and what that wants.
struct Small<'a> {
    index: usize,
    want: &'a Entry,
}

impl AsRef<Entry> for Small<'_> {
    fn as_ref(&self) -> &Entry {
        self.want
    }
}

impl<'a, 'b> Applying<'a, 'b> {
    pub(super) fn new(
        restore: &'a Restore<'b>,
        writer: Writer<'a>,
        control: &'a Control,
    ) -> Applying<'a, 'b> {
        let pairs = restore.comparison.pairs.len();
        Applying {
            restore,
            writer,
            control,
            folders: (0..pairs).map(|_| Mutex::default()).collect(),
            touched: (0..pairs).map(|_| Mutex::default()).collect(),
            written: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            adjusted: AtomicU64::new(0),
            removed: AtomicU64::new(0),
        }
    }
    fn comparison(&self) -> &Comparison {
        &self.restore.comparison
    }

    fn delta(&self, index: usize) -> &Delta {
        &self.restore.comparison.deltas[index]
    }

    fn with(&self, step: RestoreStep) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let steps = self.restore.steps.iter().enumerate();
        steps
            .filter(move |(_, steps)| steps.contains(&step))
            .map(|(index, _)| index)
    }

    /// Does everything, and closes directories that were opened up for writing whatever happened.
    pub(super) fn run(self) -> Result<Restored> {
        let outcome = self.change_all();
        let closed = self.finish_directories();
        outcome.and(closed)?;
        Ok(Restored {
            written: self.written.into_inner(),
            written_bytes: self.written_bytes.into_inner(),
            adjusted: self.adjusted.into_inner(),
            removed: self.removed.into_inner(),
            ..Restored::default()
        })
    }

    fn change_all(&self) -> Result<()> {
        self.remove_all()?;
        self.make_directories()?;
        let (files, links) = self.sort_files();
        parallel::run(
            self.control,
            files,
            || (),
            |(), task, queue| self.write(task, queue),
        )?;
        self.link_all(links)?;
        for index in self.with(RestoreStep::Metadata) {
            self.control.check()?;
            self.adjust(index)?;
        }
        Ok(())
    }

    /// The folder of a pair.
    fn folder(&self, pair: usize) -> Result<Arc<Folder>> {
        if let Some(folder) = &*self.folders[pair].lock() {
            return Ok(Arc::clone(folder));
        }
        match self.comparison().pairs[pair].have {
            Some(have) => Ok(Arc::clone(&self.restore.scan.listing.directories[have].folder)),
            None => unreachable!("directories are made before what is in them"),
        }
    }

    /// A descriptor of a pair's directory, writable for its owner.
    fn open(&self, pair: usize) -> Result<(Arc<Folder>, Arc<OwnedFd>)> {
        let folder = self.folder(pair)?;
        let problem = |error| Error::path("open", folder.path(b""), error);
        let fd = folder.handle().map_err(problem)?;
        let mut touch = self.touched[pair].lock();
        if !touch.changed && platform::effective_user() != 0 {
            let stat = platform::stat_open(fd.as_fd()).map_err(problem)?;
            if stat.mode & 0o300 != 0o300 && stat.uid == platform::effective_user() {
                metadata::set_mode(fd.as_fd(), stat.mode | 0o300).map_err(problem)?;
                touch.mode = Some(stat.mode);
            }
        }
        touch.changed = true;
        drop(touch);
        Ok((folder, fd))
    }

    /// Whether what the scan saw is still there.
    fn check_unchanged(&self, index: usize, folder: &Folder, fd: &OwnedFd) -> Result<()> {
        let delta = self.delta(index);
        let Some((_, (directory, item))) = &delta.have else {
            return Ok(());
        };
        let seen = &self.restore.scan.listing.directories[*directory].items[*item].stat;
        let changed = |error| Error::path("replace", folder.path(&delta.name), error);
        let now = platform::stat(fd.as_fd(), &delta.name).map_err(changed)?;
        // That a name less leads to the same file moves its ctime, and may be this restore's own doing.
        let same = match seen.links > 1 {
            true => (seen.id, seen.size, seen.mtime) == (now.id, now.size, now.mtime),
            false => seen.same_content(&now),
        };
        match same {
            true => Ok(()),
            false => Err(changed(io::Error::other(
                "it has changed since it was looked at; try again",
            ))),
        }
    }

    /// Removes files, then directories from the deepest.
    fn remove_all(&self) -> Result<()> {
        let is_directory = |index: &usize| {
            let have = &self.delta(*index).have;
            have.as_ref()
                .is_some_and(|(entry, _)| entry.kind == EntryKind::Directory)
        };
        let (directories, files): (Vec<usize>, Vec<usize>) =
            self.with(RestoreStep::Remove).partition(is_directory);
        for index in files {
            self.control.check()?;
            let delta = self.delta(index);
            let (folder, fd) = self.open(delta.pair)?;
            self.check_unchanged(index, &folder, &fd)?;
            match platform::remove_file(fd.as_fd(), &delta.name) {
                Ok(()) => drop(self.removed.fetch_add(1, Ordering::Relaxed)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::path("remove", folder.path(&delta.name), error)),
            }
        }
        for index in directories.into_iter().rev() {
            self.control.check()?;
            let delta = self.delta(index);
            let (folder, fd) = self.open(delta.pair)?;
            match platform::remove_directory(fd.as_fd(), &delta.name) {
                Ok(()) => {
                    self.removed.fetch_add(1, Ordering::Relaxed);
                    if let Some(child) = delta.child {
                        // There is nothing left to complete.
                        *self.touched[child].lock() = Touch::default();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && delta.want.is_none() => {
                    let path = || folder.path(&delta.name);
                    self.writer
                        .warnings
                        .add(Doubt::IgnoredKept, path, "holds ignored or new files");
                }
                Err(error) => return Err(Error::path("remove directory", folder.path(&delta.name), error)),
            }
        }
        Ok(())
    }

    /// Makes directories, each before those in it (the order of the comparison).
    fn make_directories(&self) -> Result<()> {
        for index in self.with(RestoreStep::Create) {
            let delta = self.delta(index);
            let (Some(want), Some(child)) = (&delta.want, delta.child) else {
                continue;
            };
            if want.kind != EntryKind::Directory {
                continue;
            }
            self.control.check()?;
            let (folder, fd) = self.open(delta.pair)?;
            let problem = |error| Error::path("create directory", folder.path(&delta.name), error);
            platform::make_directory(fd.as_fd(), &delta.name).map_err(problem)?;
            let (made, _, _) = Folder::open(&folder, delta.name.clone()).map_err(problem)?;
            *self.folders[child].lock() = Some(made);
            self.touched[child].lock().changed = true;
            self.count(want);
        }
        Ok(())
    }

    /// Files to be written, in groups, and names to be linked afterwards with the difference that makes their file.
    fn sort_files(&self) -> (Vec<Task<'_>>, Vec<(usize, Source)>) {
        let mut sources = self.present_links();
        let mut links = Vec::new();
        let mut tasks = Vec::new();
        let mut small = Groups::new();
        let wanted = self.restore.steps.iter().enumerate().filter(|(_, steps)| {
            steps.contains(&RestoreStep::Create) || steps.contains(&RestoreStep::Replace)
        });
        for (index, _) in wanted {
            let Some(want) = &self.delta(index).want else {
                continue;
            };
            if want.kind == EntryKind::Directory {
                continue;
            }
            if let Some(number) = want.attributes.link_group {
                match sources.get(&number) {
                    Some(source) => {
                        links.push((index, source.clone()));
                        continue;
                    }
                    None => drop(sources.insert(number, Source::Written(index))),
                }
            }
            if want.kind == EntryKind::File && want.size > EXTENT_BYTES_MAX as u64 {
                tasks.push(Task::Large(index));
                continue;
            }
            small.push(Small { index, want }, want.size);
        }
        tasks.extend(small.finish().into_iter().map(Task::Small));
        (tasks, links)
    }

    /// Files of the directory that wanted links may be made to: untouched, and just what is wanted.
    fn present_links(&self) -> HashMap<u64, Source> {
        let mut wanted: HashMap<u64, &Entry> = HashMap::new();
        let mut touched = std::collections::HashSet::new();
        for (delta, steps) in self.comparison().deltas.iter().zip(&self.restore.steps) {
            if steps.is_empty() {
                continue;
            }
            if let Some((_, place)) = &delta.have {
                touched.insert(*place);
            }
            if let Some(want) = &delta.want
                && let Some(number) = want.attributes.link_group
            {
                wanted.insert(number, want);
            }
        }
        let mut found = HashMap::new();
        if wanted.is_empty() {
            return found;
        }
        for (index, directory) in self.restore.scan.listing.directories.iter().enumerate() {
            for (position, item) in directory.items.iter().enumerate() {
                let Some(want) = item.link_group.and_then(|number| wanted.get(&number)) else {
                    continue;
                };
                let have = self.restore.scan.entry(index, position);
                let same = (have.kind, have.mode, have.size, have.id)
                    == (want.kind, want.mode, want.size, want.id)
                    && have.attributes == want.attributes;
                if same && !touched.contains(&(index, position)) {
                    let number = want.attributes.link_group.unwrap_or_default();
                    found.entry(number).or_insert(Source::Present(index, position));
                }
            }
        }
        found
    }

    fn write(&self, task: Task<'_>, queue: &Queue<Task<'_>>) -> Result<()> {
        match task {
            Task::Large(index) => self.place(index, None),
            Task::Small(group) => self.write_small(group, || {
                match queue.take_ahead(|task| matches!(task, Task::Small(_)))? {
                    Task::Small(group) => Some(group),
                    Task::Large(_) => unreachable!("does not fit"),
                }
            }),
        }
    }

    fn write_small<'c>(
        &'c self,
        group: Vec<Small<'c>>,
        more: impl FnMut() -> Option<Vec<Small<'c>>>,
    ) -> Result<()> {
        let domain = self.restore.scan.form.domain;
        groups::write(self.restore.store, domain, group, more, |file, content| {
            self.control.check()?;
            self.place(file.index, Some(content))
        })
    }

    /// Writes what is wanted under a temporary name and puts it in place.
    fn place(&self, index: usize, content: Option<&[u8]>) -> Result<()> {
        let delta = self.delta(index);
        let Some(want) = &delta.want else {
            return Ok(());
        };
        let (folder, fd) = self.open(delta.pair)?;
        let temporary = temporary_name();
        let path = || folder.path(&delta.name);
        let spot = Spot {
            directory: fd.as_fd(),
            name: &temporary,
            path: &path,
        };
        let made = match want.kind {
            EntryKind::File => self.writer.file(&spot, want, content).map(|()| true),
            EntryKind::Symlink => self
                .writer
                .symlink(&spot, want, content.unwrap_or_default())
                .map(|()| true),
            _ => self.writer.node(&spot, want),
        };
        match made.and_then(|made| {
            if made {
                self.swap(index, &folder, &fd, &temporary).map(|()| true)
            } else {
                Ok(false)
            }
        }) {
            Ok(true) => self.count(want),
            Ok(false) => {}
            Err(error) => {
                let _ = platform::remove_file(fd.as_fd(), &temporary);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Puts what was written under a temporary name in place.
    fn swap(&self, index: usize, folder: &Folder, fd: &OwnedFd, temporary: &[u8]) -> Result<()> {
        let delta = self.delta(index);
        let replaces = self.restore.steps[index].contains(&RestoreStep::Replace);
        let outcome = if replaces {
            self.check_unchanged(index, folder, fd)?;
            platform::rename(fd.as_fd(), temporary, &delta.name)
        } else {
            platform::rename_new(fd.as_fd(), temporary, &delta.name)
        };
        outcome.map_err(|error| Error::path("create", folder.path(&delta.name), error))
    }

    fn link_all(&self, links: Vec<(usize, Source)>) -> Result<()> {
        for (index, source) in links {
            self.control.check()?;
            let delta = self.delta(index);
            let (from, from_name) = match source {
                Source::Written(index) => {
                    let delta = self.delta(index);
                    (self.folder(delta.pair)?, delta.name.clone())
                }
                Source::Present(directory, item) => {
                    let directory = &self.restore.scan.listing.directories[directory];
                    (
                        Arc::clone(&directory.folder),
                        directory.name(&directory.items[item]),
                    )
                }
            };
            let (folder, fd) = self.open(delta.pair)?;
            let temporary = temporary_name();
            let from_fd = from
                .handle()
                .map_err(|error| Error::path("open", from.path(b""), error))?;
            match platform::link(from_fd.as_fd(), &from_name, fd.as_fd(), &temporary) {
                Ok(()) => {
                    if let Err(error) = self.swap(index, &folder, &fd, &temporary) {
                        let _ = platform::remove_file(fd.as_fd(), &temporary);
                        return Err(error);
                    }
                    // Renaming one name of a file over another does nothing, and leaves both.
                    let _ = platform::remove_file(fd.as_fd(), &temporary);
                    delta.want.iter().for_each(|want| self.count(want));
                }
                Err(error)
                    if matches!(
                        Errno::from_io_error(&error),
                        Some(Errno::PERM | Errno::NOTSUP | Errno::MLINK | Errno::NOENT | Errno::XDEV)
                    ) =>
                {
                    let path = || folder.path(&delta.name);
                    self.writer.warnings.add(Doubt::LinkCopied, path, &error);
                    match &delta.want {
                        Some(want) if want.kind == EntryKind::File && want.size > EXTENT_BYTES_MAX as u64 => {
                            self.place(index, None)?;
                        }
                        Some(want) => self.write_small(vec![Small { index, want }], || None)?,
                        None => {}
                    }
                }
                Err(error) => return Err(Error::path("link", folder.path(&delta.name), error)),
            }
        }
        Ok(())
    }

    /// Sets the metadata of a file; directories get theirs at the end.
    fn adjust(&self, index: usize) -> Result<()> {
        let delta = self.delta(index);
        let Some(want) = &delta.want else {
            return Ok(());
        };
        self.adjusted.fetch_add(1, Ordering::Relaxed);
        if want.kind == EntryKind::Directory {
            if let Some(child) = delta.child {
                self.touched[child].lock().changed = true;
            }
            return Ok(());
        }
        let folder = self.folder(delta.pair)?;
        let problem = |error| Error::path("open", folder.path(&delta.name), error);
        let fd = folder.handle().map_err(problem)?;
        let place = platform::open_place(fd.as_fd(), &delta.name).map_err(problem)?;
        let now = platform::stat_open(place.as_fd()).map_err(problem)?;
        let seen = delta.have.as_ref().map(|(_, (directory, item))| {
            &self.restore.scan.listing.directories[*directory].items[*item].stat
        });
        // By way of the file itself: what is looked at here is what is changed.
        if now.links != 1 || seen.is_none_or(|seen| !seen.same_content(&now)) {
            return Err(problem(io::Error::other(
                "it has changed since it was looked at; try again",
            )));
        }
        let path = || folder.path(&delta.name);
        let spot = Spot {
            directory: fd.as_fd(),
            name: &delta.name,
            path: &path,
        };
        self.writer.place_metadata(place.as_fd(), want, &spot)
    }

    /// Completes the directories that were changed, the deepest first.
    fn finish_directories(&self) -> Result<()> {
        let mut outcome = Ok(());
        for (index, pair) in self.comparison().pairs.iter().enumerate().rev() {
            let touch = *self.touched[index].lock();
            if !touch.changed {
                continue;
            }
            let finished = self.folder(index).and_then(|folder| {
                let problem = |error| Error::path("open", folder.path(b""), error);
                let fd = folder.handle().map_err(problem)?;
                match &pair.want {
                    Some(want) if pair.inside => {
                        let path = || folder.path(b"");
                        let spot = Spot {
                            directory: fd.as_fd(),
                            name: b"",
                            path: &path,
                        };
                        self.writer.open_metadata(fd.as_fd(), want, false, &spot)
                    }
                    _ => match touch.mode {
                        Some(mode) => metadata::set_mode(fd.as_fd(), mode).map_err(problem),
                        None => Ok(()),
                    },
                }
            });
            outcome = outcome.and(finished);
        }
        outcome
    }

    fn count(&self, want: &Entry) {
        self.written.fetch_add(1, Ordering::Relaxed);
        if want.kind == EntryKind::File {
            self.written_bytes.fetch_add(want.size, Ordering::Relaxed);
        }
    }
}

/// The file that a further name is linked to.
#[derive(Clone)]
enum Source {
    /// Written for this difference.
    Written(usize),
    /// There already.
    Present(usize, usize),
}

fn temporary_name() -> Vec<u8> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!(".helios-{:x}-{number:x}~", std::process::id()).into_bytes()
}
