//! Listing a directory and all below it, and finding out what need not be read again.
//!
//! The walk is the whole cost of a commit without changes, so it makes one system call per name (plus four per
//! directory), in parallel, and compares with the stat cache as it goes. It keeps about 200 bytes per name until
//! the commit is made, and never more than a bounded number of open directories. It reads no file contents.
//!
//! A walk is not a snapshot: names may come and go while it runs. Each file by itself is seen in one state.
//! What vanishes between being listed and being looked at was deleted before the commit, and is left out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::control::{Control, Counter, Doubt, Phase, SharedWarnings};
use super::folder::Folder;
use super::ignore_rules::{IGNORE_FILE_BYTES_MAX, Rules};
use super::known::Known;
use super::listing::{Directory, Failure, Item, Listing, assemble, unopened_directory};
use super::names::{RawItem, list_sorted};
use super::parallel::{self, Queue};
use super::platform::{self, FileId, Found, Stat};
use super::stat_cache::{StatCache, is_settled};
use super::stat_record::Record;
use super::xattr::{self, XattrPlace};
use crate::error::Result;
use crate::format::ContentId;
use crate::trees::{EntryKind, FileTime, Xattr};

/// What a walk is to find.
pub(super) struct WalkOptions<'a> {
    /// Rules to start with.
    pub(super) rules: Arc<Rules>,
    /// Obey `.gitignore` files as well.
    pub(super) gitignore: bool,
    /// List extended attributes.
    pub(super) xattrs: bool,
    /// Enter no other file system.
    pub(super) one_file_system: bool,
    /// Files to leave out wherever they are.
    pub(super) leave_out: &'a [FileId],
    /// What is known from last time.
    pub(super) cache: Option<&'a StatCache>,
}

/// A directory to be listed.
struct Task {
    index: usize,
    parent: usize,
    depth: u32,
    /// The directory above and the name in it; for the root the directory itself.
    place: Place,
    rules: Arc<Rules>,
    section: Option<usize>,
    /// What the cache says about the directory itself.
    record: Option<Record>,
}

enum Place {
    Root(Arc<Folder>),
    In(Arc<Above>, Bytes),
}

/// A directory whose subdirectories are still to be opened.
struct Above {
    folder: Arc<Folder>,
    pending: AtomicUsize,
}

struct Walk<'a> {
    options: &'a WalkOptions<'a>,
    warnings: &'a SharedWarnings,
    counter: Counter<'a>,
    /// Next index to give to a directory.
    next: AtomicUsize,
    /// Device of the root.
    device: u64,
    failures: Mutex<Vec<Failure>>,
}

/// One thread's buffers and results.
struct Worker {
    /// Directories by index, with their own items.
    found: Vec<(usize, Directory, Item)>,
    listing: Vec<u8>,
    local: Option<(u64, bool)>,
}

/// Lists everything below `root`.
pub(super) fn walk(
    root: &Arc<Folder>,
    options: &WalkOptions<'_>,
    control: &Control,
    warnings: &SharedWarnings,
) -> Result<Listing> {
    let walk = Walk {
        options,
        warnings,
        counter: control.phase(Phase::Walk, 0, 0),
        next: AtomicUsize::new(1),
        device: root.id().device,
        failures: Mutex::default(),
    };
    let first = Task {
        index: 0,
        parent: 0,
        depth: 0,
        place: Place::Root(Arc::clone(root)),
        rules: Arc::clone(&options.rules),
        section: options.cache.map(|_| 0),
        record: options.cache.map(|cache| cache.root().clone()),
    };
    let worker = || Worker {
        found: Vec::new(),
        listing: Vec::new(),
        local: None,
    };
    let workers = parallel::run(control, [first], worker, |worker, task, queue| {
        walk.visit(worker, task, queue)
    })?;
    let mut listing = assemble(workers.into_iter().flat_map(|worker| worker.found));
    listing.failures = walk.failures.into_inner();
    listing.failures.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(listing)
}

impl Walk<'_> {
    fn visit(&self, worker: &mut Worker, task: Task, queue: &Queue<Task>) -> Result<()> {
        let index = task.index;
        let path = match &task.place {
            Place::Root(folder) => folder.path(b""),
            Place::In(..) => std::path::PathBuf::new(), // Made when needed: it costs an allocation.
        };
        let place = match &task.place {
            Place::Root(_) => None,
            Place::In(above, name) => Some((Arc::clone(above), name.clone())),
        };
        match self.list(worker, task, queue) {
            Ok((directory, item)) => worker.found.push((index, directory, item)),
            Err(error) => {
                // The root must be there. Below it, what is gone was deleted, and the rest is reported at the end.
                let Some((above, name)) = place else {
                    return Err(crate::Error::path("list", path, error));
                };
                if error.kind() != io::ErrorKind::NotFound {
                    self.failures.lock().push(Failure {
                        path: above.folder.path(&name),
                        reason: error.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    fn list(&self, worker: &mut Worker, task: Task, queue: &Queue<Task>) -> io::Result<(Directory, Item)> {
        let (folder, fd, stat) = match &task.place {
            Place::Root(folder) => {
                let fd = folder.handle()?;
                let stat = platform::stat_open(fd.as_fd())?;
                (Arc::clone(folder), fd, stat)
            }
            Place::In(above, name) => {
                let opened = Folder::open(&above.folder, name.clone());
                if above.pending.fetch_sub(1, Ordering::Relaxed) == 1 {
                    above.folder.release();
                }
                opened?
            }
        };
        let fd = fd.as_fd();
        let now = platform::coarse_now();
        let local = match worker.local {
            Some((device, local)) if device == stat.id.device => local,
            _ => {
                let local = platform::stamps_locally(fd);
                worker.local = Some((stat.id.device, local));
                local
            }
        };
        let own = self.own_item(fd, &stat, task.record.as_ref(), now, local, &folder)?;

        let mut directory = Directory {
            folder,
            rules: Arc::clone(&task.rules),
            items: Vec::new(),
            names: Bytes::new(),
            parent: task.parent,
            depth: task.depth,
            section: task.section,
            dirty: task.section.is_none(),
            node: None,
            left_out: Vec::new(),
            local,
            closed: false,
        };
        if self.options.one_file_system && stat.id.device != self.device {
            directory.closed = true;
            directory.folder.release();
            return Ok((directory, own));
        }
        let (names, mut found) = list_sorted(fd, &mut worker.listing)?;
        directory.names = names;
        self.enter_rules(&mut directory, fd, &found);

        let mut known = Known::new(self.options.cache, task.section);
        let mut children = Vec::new();
        self.keep_wanted(
            &mut directory,
            fd,
            &mut found,
            now,
            local,
            &mut known,
            &mut children,
        )?;
        directory.dirty |= known.finish();

        let above = Arc::new(Above {
            folder: Arc::clone(&directory.folder),
            pending: AtomicUsize::new(children.len()),
        });
        if children.is_empty() {
            directory.folder.release();
        }
        let first = self.next.fetch_add(children.len(), Ordering::Relaxed);
        let tasks = children.into_iter().enumerate().map(|(number, child)| {
            directory.items[child.item].child = first + number;
            Task {
                index: first + number,
                parent: task.index,
                depth: task.depth + 1,
                place: Place::In(Arc::clone(&above), directory.name(&directory.items[child.item])),
                rules: Arc::clone(&directory.rules),
                section: child.section,
                record: child.record,
            }
        });
        let tasks: Vec<Task> = tasks.collect();
        // The first is taken last in, so that the order on disk is roughly the order of the walk.
        queue.extend(tasks.into_iter().rev());
        self.counter.add(directory.items.len() as u64, 0);
        Ok((directory, own))
    }

    /// The directory itself, seen from the one above.
    fn own_item(
        &self,
        fd: BorrowedFd<'_>,
        stat: &Stat,
        record: Option<&Record>,
        now: FileTime,
        local: bool,
        folder: &Folder,
    ) -> io::Result<Item> {
        let fits = record.filter(|record| record.fits(stat));
        let mut item = Item {
            kind: EntryKind::Directory,
            name: (0, 0),
            stat: *stat,
            id: ContentId([0; 32]),
            xattrs: Vec::new(),
            link_group: None,
            child: 0,
            known: fits.is_some(),
            gone: false,
            racy: fits.is_none() && !is_settled(stat, now, local),
        };
        if let Some(record) = record {
            item.id = record.id;
        }
        match fits {
            Some(record) => {
                item.xattrs.clone_from(&record.xattrs);
            }
            None if self.options.xattrs => {
                item.xattrs = self.xattrs(XattrPlace::Open(fd), || folder.path(b""));
            }
            None => {}
        }
        Ok(item)
    }

    fn xattrs(&self, place: XattrPlace<'_>, path: impl Fn() -> std::path::PathBuf) -> Vec<Xattr> {
        xattr::list(place).unwrap_or_else(|error| {
            self.warnings.add(Doubt::XattrNotKept, path, error);
            Vec::new()
        })
    }

    /// Adds the rules of ignore files in this directory.
    fn enter_rules(&self, directory: &mut Directory, fd: BorrowedFd<'_>, found: &[RawItem]) {
        let has = |name: &[u8]| {
            found
                .binary_search_by(|item| item.bytes(&directory.names).cmp(name))
                .is_ok()
        };
        let mut files: Vec<&[u8]> = Vec::new();
        if has(b".heliosignore") {
            files.push(b".heliosignore");
        }
        if self.options.gitignore && has(b".gitignore") {
            files.push(b".gitignore");
        }
        let exclude: &[u8] = b".git/info/exclude";
        if self.options.gitignore && directory.depth == 0 && has(b".git") {
            files.push(exclude);
        }
        let mut texts = Vec::new();
        for name in files {
            let text = match name == exclude {
                true => platform::open_beneath(fd, &[b".git", b"info"])
                    .and_then(|info| read_small(info.as_fd(), b"exclude")),
                false => read_small(fd, name),
            };
            match text {
                Ok(text) => texts.push(text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let path = || directory.folder.path(name);
                    self.warnings.add(Doubt::IgnoreRuleUnusable, path, error);
                }
            }
        }
        if !texts.is_empty() {
            let relative = directory.folder.relative(b"");
            directory.rules = directory.rules.enter(&relative, &texts, |line| {
                let path = || directory.folder.path(b"");
                self.warnings.add(Doubt::IgnoreRuleUnusable, path, line);
            });
        }
    }

    /// Looks at every name, leaves out what is to be left out, and compares the rest with the cache.
    #[allow(
        clippy::too_many_arguments,
        reason = "one loop over one directory; its state is the arguments"
    )]
    fn keep_wanted(
        &self,
        directory: &mut Directory,
        fd: BorrowedFd<'_>,
        found: &mut [RawItem],
        now: FileTime,
        local: bool,
        known: &mut Known<'_>,
        children: &mut Vec<Child>,
    ) -> io::Result<()> {
        directory.items.reserve_exact(found.len());
        let names = directory.names.clone();
        let relative = match directory.rules.is_empty() {
            true => None,
            false => Some(directory.folder.relative(b"")),
        };
        for raw in found {
            let name = raw.bytes(&names);
            let mut looked = None;
            if raw.found == Found::Other {
                match platform::stat(fd, name) {
                    Ok(stat) => {
                        raw.found = stat.found;
                        looked = Some(stat);
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => {
                        self.fail(directory, name, &error);
                        continue;
                    }
                }
            }
            if let Some(relative) = &relative {
                let path = match relative.is_empty() {
                    true => name.to_vec(),
                    false => [relative, &b"/"[..], name].concat(),
                };
                let is_directory = raw.found == Found::Kind(EntryKind::Directory);
                if directory.rules.ignores(&path, is_directory) {
                    directory.left_out.push(raw.name(&names));
                    continue;
                }
            }
            let kind = match raw.found {
                Found::Kind(kind) => kind,
                Found::Socket | Found::Other => {
                    let doubt = match raw.found {
                        Found::Socket => Doubt::SocketSkipped,
                        _ => Doubt::UnknownKindSkipped,
                    };
                    directory.left_out.push(raw.name(&names));
                    self.warnings
                        .add(doubt, || directory.folder.path(name), "left out");
                    continue;
                }
            };
            if kind == EntryKind::Directory {
                let (record, section) = known.directory(name);
                directory.dirty |= record.is_none();
                children.push(Child {
                    item: directory.items.len(),
                    record,
                    section,
                });
                directory.items.push(raw.item(kind, unopened_directory()));
                continue;
            }
            let stat = match looked.map_or_else(|| platform::stat(fd, name), Ok) {
                Ok(stat) => stat,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.fail(directory, name, &error);
                    continue;
                }
            };
            if self.options.leave_out.contains(&stat.id) {
                directory.left_out.push(raw.name(&names));
                continue;
            }
            let Found::Kind(kind) = stat.found else {
                continue; // Became a socket since it was listed.
            };
            if kind == EntryKind::Directory {
                // Became a directory since it was listed: listed as one next time.
                directory.dirty = true;
                continue;
            }
            let mut item = raw.item(kind, stat);
            item.racy = !is_settled(&stat, now, local);
            match known.find(name) {
                Some(record) if record.fits(&stat) => {
                    item.id = record.id;
                    item.xattrs.clone_from(&record.xattrs);
                    item.link_group = record.link_group;
                    item.known = true;
                    item.racy = false;
                }
                _ => directory.dirty = true,
            }
            if !item.known && kind != EntryKind::File && self.options.xattrs {
                let path = || directory.folder.path(name);
                item.xattrs = self.xattrs(XattrPlace::Name(fd, name), path);
            }
            directory.items.push(item);
        }
        Ok(())
    }

    fn fail(&self, directory: &mut Directory, name: &[u8], error: &io::Error) {
        directory.left_out.push(Bytes::copy_from_slice(name));
        directory.dirty = true;
        self.failures.lock().push(Failure {
            path: directory.folder.path(name),
            reason: error.to_string(),
        });
    }
}

struct Child {
    item: usize,
    record: Option<Record>,
    section: Option<usize>,
}

/// The whole of a small regular file.
fn read_small(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    let file = platform::open_file(directory, name, false)?;
    let stat = platform::stat_open(file.as_fd())?;
    if stat.found != Found::Kind(EntryKind::File) {
        return Err(io::Error::other("is not a regular file"));
    }
    if stat.size > IGNORE_FILE_BYTES_MAX {
        return Err(io::Error::other("is larger than 1 MiB"));
    }
    let mut text = vec![0; usize::try_from(IGNORE_FILE_BYTES_MAX).unwrap_or(usize::MAX)];
    let length = platform::read_full(file.as_fd(), &mut text)?;
    text.truncate(length);
    Ok(text)
}
