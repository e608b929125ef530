//! Making a directory that is there equal to a tree, writing only what differs.
//!
//! In two steps, so that the caller can commit the present state in between (which makes a restore undoable) or stop
//! after the first: [`Restore::plan`] compares a scan with the tree, [`Restore::apply`] does what was planned. What is
//! ignored, in the directory or by the rules that hold there, is never touched; nor is what the scan left out. Extra
//! files go by default if the whole tree is restored, and stay if only some paths are (see [`RestoreOptions::delete`]).
//!
//! A file is written under a temporary name beside its place and renamed, so that each name is either old or new at
//! any moment, and a repetition finishes what was interrupted. Before something is replaced or removed it must be
//! what the scan saw; if someone has changed it since, the restore stops with an error that names it. (Between that look
//! and the rename a few microseconds remain.) Everything is relative to open directories and single names, links never
//! followed. Metadata alone is changed in place only for files with one name, through the very file that was looked at:
//! a second name could lie outside the directory.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::compare::{self, Comparison, Delta, Scope};
use super::control::{Control, Doubt, Phase, SharedWarnings, Warnings};
use super::folder::Folder;
use super::parallel;
use super::platform;
use super::scan::Scan;
use super::writer::{Keep, Spot, Writer};
use crate::error::{Error, Result};
use crate::format::Kind;
use crate::limits::EXTENT_BYTES_MAX;
use crate::objects::Objects;
use crate::store::{Key, Store};
use crate::trees::{Changed, Entry, EntryKind, TreePath};

/// What of a tree is restored, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Only these paths and what is below them; with none, everything.
    pub paths: Vec<TreePath>,
    /// Whether files that the tree does not have are removed. By default they are when everything is restored, and are
    /// not when paths are given, as people who bring back single files expect.
    pub delete: Option<bool>,
    /// Create device nodes. Without it they are left out with a counted warning.
    pub devices: bool,
}

/// What happens to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RestoreStep {
    /// Removed, with what is below it listed by itself.
    Remove,
    /// Made.
    Create,
    /// Written anew.
    Replace,
    /// Its mode, time, owner or attributes are set.
    Metadata,
}

/// One planned change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreAction {
    /// Where.
    pub path: TreePath,
    /// What.
    pub step: RestoreStep,
    /// Kind of what is removed or made.
    pub kind: EntryKind,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Names made or written anew.
    pub written: u64,
    /// Bytes of these.
    pub written_bytes: u64,
    /// Names whose metadata alone was set.
    pub adjusted: u64,
    /// Names removed.
    pub removed: u64,
    /// What was left alone or could not be brought back.
    pub warnings: Warnings,
}

/// A planned restore of one scanned directory.
pub struct Restore<'a> {
    store: &'a Store,
    scan: &'a Scan,
    options: RestoreOptions,
    comparison: Comparison,
    steps: Vec<Vec<RestoreStep>>,
}

impl<'a> Restore<'a> {
    /// Compares the scanned directory with the tree under `root`.
    ///
    /// # Errors
    /// `Invalid` if `root` is not a directory; `Unreadable` never (the scan has said so); whatever reading the tree
    /// answers; `Cancelled`.
    pub fn plan(
        store: &'a Store,
        scan: &'a Scan,
        root: &Entry,
        options: &RestoreOptions,
        control: &Control,
    ) -> Result<Restore<'a>> {
        let scope = Scope {
            paths: &options.paths,
            shield: true,
        };
        let comparison = compare::compare(store, scan, root, &scope, control)?;
        let delete = options.delete.unwrap_or(options.paths.is_empty());
        let user = platform::effective_user();
        let steps = comparison
            .deltas
            .iter()
            .map(|delta| steps(delta, scan, delete, user));
        Ok(Restore {
            store,
            scan,
            options: options.clone(),
            steps: steps.collect(),
            comparison,
        })
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(Vec::is_empty)
    }

    /// What would be done, in the order of paths.
    pub fn actions(&self) -> Vec<RestoreAction> {
        let mut actions = Vec::new();
        for (delta, steps) in self.comparison.deltas.iter().zip(&self.steps) {
            for &step in steps {
                let entry = match step {
                    RestoreStep::Remove => delta.have.as_ref().map(|(entry, _)| entry),
                    _ => delta.want.as_ref(),
                };
                actions.push(RestoreAction {
                    path: self.path(delta),
                    step,
                    kind: entry.map_or(EntryKind::File, |entry| entry.kind),
                });
            }
        }
        actions.sort_by(|a, b| a.path.cmp(&b.path).then(a.step.cmp(&b.step)));
        actions
    }

    /// Does what was planned.
    ///
    /// # Errors
    /// `Path` with the first name that could not be removed, made or set, or that has changed since the scan; the
    /// store's; `Cancelled`. What has been done by then is done; the same restore may be repeated.
    pub fn apply(&self, control: &Control) -> Result<Restored> {
        let warnings = SharedWarnings::default();
        for path in &self.comparison.shielded {
            let root = self.scan.listing.directories.first();
            let shown = || root.map_or_else(PathBuf::new, |root| root.folder.path(path.as_bytes()));
            warnings.add(Doubt::IgnoredKept, shown, "is ignored here");
        }
        let writes = self
            .steps
            .iter()
            .filter(|steps| steps.iter().any(|step| *step != RestoreStep::Remove));
        let counter = control.phase(Phase::Write, writes.count() as u64, 0);
        let objects = Objects::new(self.store.clone()).in_domain(self.scan.form.domain);
        let keep = Keep {
            owner: true,
            times: true,
            xattrs: self.scan.form.xattrs,
            devices: self.options.devices,
        };
        let done = {
            let applying = Applying {
                restore: self,
                writer: Writer::new(&objects, keep, false, &warnings, control, &counter),
                control,
                folders: self.comparison.pairs.iter().map(|_| Mutex::new(None)).collect(),
                touched: self
                    .comparison
                    .pairs
                    .iter()
                    .map(|_| Mutex::new(Touch::default()))
                    .collect(),
                written: AtomicU64::new(0),
                written_bytes: AtomicU64::new(0),
                adjusted: AtomicU64::new(0),
                removed: AtomicU64::new(0),
            };
            let outcome = applying.run();
            // Directories that were opened up for writing are closed again whatever happened.
            let closed = applying.finish_directories();
            outcome.and(closed)?;
            Restored {
                written: applying.written.into_inner(),
                written_bytes: applying.written_bytes.into_inner(),
                adjusted: applying.adjusted.into_inner(),
                removed: applying.removed.into_inner(),
                warnings: Warnings::default(),
            }
        };
        Ok(Restored {
            warnings: warnings.into_inner(),
            ..done
        })
    }

    fn path(&self, delta: &Delta) -> TreePath {
        match delta.name.is_empty() {
            true => TreePath::root(),
            false => self.comparison.pairs[delta.pair].path.join(&delta.name),
        }
    }
}

/// What is to be done about a difference.
fn steps(delta: &Delta, scan: &Scan, delete: bool, user: u32) -> Vec<RestoreStep> {
    match (&delta.want, &delta.have) {
        (None, Some(_)) if delete => vec![RestoreStep::Remove],
        (None, _) => Vec::new(),
        (Some(_), None) => vec![RestoreStep::Create],
        (Some(want), Some((have, _))) if want.kind != have.kind => {
            vec![RestoreStep::Remove, RestoreStep::Create]
        }
        (Some(want), Some((_, (directory, item)))) => {
            let changed = Changed {
                // Only root may give files away; a difference that can't be mended is none.
                owner: delta.changed.owner && user == 0,
                ..delta.changed
            };
            if changed == Changed::default() {
                return Vec::new();
            }
            let in_place = match want.kind {
                EntryKind::Directory => true,
                EntryKind::File => {
                    let links = scan.listing.directories[*directory].items[*item].stat.links;
                    !changed.content && !changed.links && links == 1
                }
                _ => false,
            };
            vec![if in_place {
                RestoreStep::Metadata
            } else {
                RestoreStep::Replace
            }]
        }
    }
}

/// What happened to a directory, so that it can be completed at the end.
#[derive(Default, Clone, Copy)]
struct Touch {
    /// Names in it changed, or its own metadata is to be set.
    changed: bool,
    /// Its mode before it was opened up for writing.
    mode: Option<u16>,
}

struct Applying<'a, 'b> {
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

/// A file to be written: index of its difference.
enum Task {
    Small(Vec<usize>),
    Large(usize),
}

impl Applying<'_, '_> {
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

    fn run(&self) -> Result<()> {
        self.remove_all()?;
        self.make_directories()?;
        let (files, links) = self.sort_files();
        parallel::run(self.control, files, || (), |(), task, _| self.write(task))?;
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
                platform::set_mode(fd.as_fd(), stat.mode | 0o300).map_err(problem)?;
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
    fn sort_files(&self) -> (Vec<Task>, Vec<(usize, Source)>) {
        const GROUP_FILES: usize = 128;
        const GROUP_BYTES: u64 = 1 << 20;
        let mut sources = self.present_links();
        let mut links = Vec::new();
        let mut tasks = Vec::new();
        let (mut group, mut group_bytes) = (Vec::new(), 0);
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
            if group.len() == GROUP_FILES || group_bytes + want.size > GROUP_BYTES {
                tasks.push(Task::Small(std::mem::take(&mut group)));
                group_bytes = 0;
            }
            group_bytes += want.size;
            group.push(index);
        }
        if !group.is_empty() {
            tasks.push(Task::Small(group));
        }
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

    fn write(&self, task: Task) -> Result<()> {
        match task {
            Task::Large(index) => self.place(index, None),
            Task::Small(group) => {
                let wants: Vec<&Entry> = group
                    .iter()
                    .filter_map(|&index| self.delta(index).want.as_ref())
                    .collect();
                let has_content =
                    |want: &Entry| want.size > 0 && matches!(want.kind, EntryKind::File | EntryKind::Symlink);
                let keys: Vec<Key> = wants
                    .iter()
                    .filter(|want| has_content(want))
                    .map(|want| Key {
                        domain: self.restore.scan.form.domain,
                        kind: Kind::Data,
                        id: want.id,
                    })
                    .collect();
                let store = self.restore.store;
                let mut contents = store.block_on(store.get_many(&keys)).into_iter();
                for (index, want) in group.into_iter().zip(wants) {
                    self.control.check()?;
                    let content = match has_content(want) {
                        true => contents.next().unwrap_or(Ok(Bytes::new()))?,
                        false => Bytes::new(),
                    };
                    self.place(index, Some(&content))?;
                }
                Ok(())
            }
        }
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
                    let large = delta.want.as_ref().is_some_and(|want| {
                        want.kind == EntryKind::File && want.size > EXTENT_BYTES_MAX as u64
                    });
                    self.write(if large {
                        Task::Large(index)
                    } else {
                        Task::Small(vec![index])
                    })?;
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
                        Some(mode) => platform::set_mode(fd.as_fd(), mode).map_err(problem),
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

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
