//! From a tree to a new directory.
//!
//! The directory is made under a temporary name beside its place (`.NAME.helios-*`) and renamed when it is complete, so
//! its name never stands for half a tree; on an error or when cancelled it is removed. An existing empty directory is
//! filled where it is, and emptied again on an error. Nothing is flushed to disk: like `cp`, and unlike the store.
//!
//! Directories are listed and files written by a few threads. One piece of work lists up to [`LISTED`] directories
//! with one merged read, or writes groups of small files ([`groups`]), or streams one large file; what is listed or written
//! next is on its way meanwhile. A directory gets its mode and time when the last name in it is written. Names that are one file are written once and linked at the end.
//! Everything is created relative to open directories that this call has made, by single names that must not exist,
//! with links never followed: neither a hostile tree nor somebody who plants links meanwhile can make it write
//! elsewhere.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use parking_lot::Mutex;
use rustix::io::Errno;

use super::control::{Control, Doubt, Phase, SharedWarnings, Warnings};
use super::folder::Folder;
use super::groups::{self, Groups};
use super::parallel::{self, Queue};
use super::pending::{Job, Node, Task};
use super::platform;
use super::site::Site;
use super::writer::{Keep, Spot, Writer};
use crate::access::Access;
use crate::error::{Error, Result};
use crate::format::Domain;
use crate::limits::EXTENT_BYTES_MAX;
use crate::objects::Objects;
use crate::reactor::Started;
use crate::trees::{Entry, EntryKind, entries_many};

/// Directories listed as one piece of work.
const LISTED: usize = 32;

/// What of a tree is written, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterializeOptions {
    /// Patterns (as in `.gitignore`, `!` included) of the paths to write; with none, everything. Directories that
    /// lead to them are made as well.
    pub includes: Vec<String>,
    /// Bring back owners. Only root may give files away; for others it is a counted warning.
    pub owner: bool,
    /// Bring back modification times.
    pub times: bool,
    /// Bring back extended attributes and ACLs.
    pub xattrs: bool,
    /// Create device nodes. Needs privilege; without it, or without this, they are left out with a counted warning.
    pub devices: bool,
    /// Domain of the tree.
    pub domain: Domain,
}

impl Default for MaterializeOptions {
    fn default() -> Self {
        MaterializeOptions {
            includes: Vec::new(),
            owner: true,
            times: true,
            xattrs: true,
            devices: false,
            domain: Domain::default(),
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct Materialized {
    /// Names other than directories.
    pub files: u64,
    /// Directories, the new one included.
    pub directories: u64,
    /// Bytes of all files, holes included.
    pub bytes: u64,
    /// What could not be brought back.
    pub warnings: Warnings,
}

/// Makes `target` a directory with the contents of the tree under `root`. Waits for the file system and the store on
/// the calling thread and `control.threads - 1` others.
///
/// # Errors
/// `Exists` if `target` is there and not an empty directory; `Path` with what the system said; `Invalid` for a bad
/// pattern or a tree that no file system can hold; `Cancelled`; the store's errors. Then nothing is left behind.
pub fn materialize(
    store: &Access,
    root: &Entry,
    target: &Path,
    options: &MaterializeOptions,
    control: &Control,
) -> Result<Materialized> {
    if root.kind != EntryKind::Directory {
        return Err(Error::invalid("tree", "is not a directory; use cat for a file"));
    }
    let includes = parse_includes(&options.includes)?;
    let place = Site::prepare(target)?;
    let outcome = fill(store, root, &place.folder, includes.as_ref(), options, control);
    match outcome.and_then(|done| place.finish().map(|()| done)) {
        Ok(done) => Ok(done),
        Err(error) => {
            // The first error is the one to tell; what can't be removed is in the way next time.
            if let Err(left) = place.undo() {
                tracing::warn!(path = %place.folder.path(b"").display(), error = %left, "could not be removed");
            }
            Err(error)
        }
    }
}

fn parse_includes(patterns: &[String]) -> Result<Option<Gitignore>> {
    let mut builder = GitignoreBuilder::new("");
    for pattern in patterns {
        if let Err(error) = builder.add_line(None, pattern) {
            return Err(Error::invalid(
                format!("include pattern {pattern:?}"),
                error.to_string(),
            ));
        }
    }
    let matcher = builder
        .build()
        .map_err(|error| Error::invalid("include patterns", error.to_string()))?;
    Ok((!patterns.is_empty()).then_some(matcher))
}

/// Directories whose entries are on their way.
struct Listing {
    nodes: Vec<Arc<Node>>,
    entries: Started<Result<Vec<Vec<Entry>>>>,
}

struct Fill<'a> {
    store: &'a Access,
    options: &'a MaterializeOptions,
    includes: Option<&'a Gitignore>,
    writer: Writer<'a>,
    control: &'a Control,
    /// First name of each link group; its directory stays open for work until all links are made.
    links: Mutex<HashMap<u64, (Arc<Node>, Bytes)>>,
    /// Names to be linked at the end.
    linked: Mutex<Vec<Job>>,
    files: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
}

fn fill(
    store: &Access,
    root: &Entry,
    folder: &Arc<Folder>,
    includes: Option<&Gitignore>,
    options: &MaterializeOptions,
    control: &Control,
) -> Result<Materialized> {
    let objects = Objects::new(store.clone()).in_domain(options.domain);
    let warnings = SharedWarnings::default();
    let counter = control.phase(Phase::Write, 0, 0);
    let keep = Keep {
        owner: options.owner,
        times: options.times,
        xattrs: options.xattrs,
        devices: options.devices,
    };
    let fill = Fill {
        store,
        options,
        includes,
        writer: Writer::new(&objects, keep, true, &warnings, control, &counter),
        control,
        links: Mutex::default(),
        linked: Mutex::default(),
        files: AtomicU64::new(0),
        directories: AtomicU64::new(1),
        bytes: AtomicU64::new(0),
    };
    let root = Arc::new(Node {
        parent: None,
        entry: root.clone(),
        folder: Mutex::new(Some(Arc::clone(folder))),
        included: includes.is_none(),
        pending: AtomicUsize::new(1),
    });
    parallel::run(
        control,
        [Task::List(Arc::clone(&root))],
        || (),
        |(), task, queue| fill.work(task, queue),
    )?;
    fill.link_all()?;
    assert_eq!(
        root.pending.load(Ordering::Relaxed),
        0,
        "every directory is complete"
    );
    let done = Materialized {
        files: fill.files.into_inner(),
        directories: fill.directories.into_inner(),
        bytes: fill.bytes.into_inner(),
        warnings: Warnings::default(),
    };
    Ok(Materialized {
        warnings: warnings.into_inner(),
        ..done
    })
}

impl Fill<'_> {
    fn work(&self, task: Task, queue: &Queue<Task>) -> Result<()> {
        let mut listing = None;
        match task {
            Task::List(node) => {
                let mut nodes = vec![node];
                let more = queue.take_more(LISTED - 1, |task| matches!(task, Task::List(_)));
                nodes.extend(more.into_iter().filter_map(|task| match task {
                    Task::List(node) => Some(node),
                    Task::Small(_) | Task::Large(_) => None,
                }));
                listing = Some(self.start_listing(nodes));
            }
            Task::Small(group) => self.write_groups(group, queue, &mut listing)?,
            Task::Large(job) => self.write_large(job)?,
        }
        while let Some(now) = listing.take() {
            if let Some(group) = self.list(now, queue)? {
                self.write_groups(group, queue, &mut listing)?;
            }
        }
        Ok(())
    }

    fn start_listing(&self, nodes: Vec<Arc<Node>>) -> Listing {
        let ids: Vec<_> = nodes.iter().map(|node| node.entry.id).collect();
        let (store, domain) = (self.store.clone(), self.options.domain);
        Listing {
            nodes,
            entries: Started::new(async move { entries_many(&store, domain, &ids).await }),
        }
    }

    /// Makes what is in directories that has no content, and hands on the rest but for a group of small files, which it
    /// returns.
    fn list(&self, listing: Listing, queue: &Queue<Task>) -> Result<Option<Vec<Job>>> {
        let nodes = listing.nodes;
        let listed = self.store.block_on(listing.entries)?;
        let mut directories = Vec::new();
        let mut large = Vec::new();
        let mut small = Groups::new();
        for (node, entries) in nodes.iter().zip(listed) {
            for entry in entries {
                self.control.check()?;
                let included = node.included || self.includes(node, &entry);
                let job = |node: &Arc<Node>, entry: Entry| {
                    node.pending.fetch_add(1, Ordering::Relaxed);
                    Job {
                        node: Arc::clone(node),
                        entry,
                    }
                };
                match entry.kind {
                    EntryKind::Directory => {
                        node.pending.fetch_add(1, Ordering::Relaxed);
                        let child = Arc::new(Node {
                            parent: Some(Arc::clone(node)),
                            entry,
                            folder: Mutex::new(None),
                            included,
                            pending: AtomicUsize::new(1),
                        });
                        if included {
                            self.folder(&child)?;
                        }
                        directories.push(Task::List(child));
                    }
                    _ if !included => {}
                    _ if self.is_further_link(node, &entry) => self.linked.lock().push(job(node, entry)),
                    EntryKind::Fifo | EntryKind::CharDevice | EntryKind::BlockDevice => {
                        self.write_node(node, &entry)?;
                    }
                    EntryKind::File if entry.size > EXTENT_BYTES_MAX as u64 => {
                        large.push(Task::Large(job(node, entry)));
                    }
                    EntryKind::File | EntryKind::Symlink => {
                        let bytes = entry.size;
                        small.push(job(node, entry), bytes);
                    }
                }
            }
        }
        // Files are taken before directories: what is pending stays small.
        queue.extend(directories.into_iter().rev());
        queue.extend(large);
        let mut groups = small.finish();
        let own = groups.pop();
        queue.extend(groups.into_iter().map(Task::Small));
        nodes
            .iter()
            .try_for_each(|node| self.complete(Arc::clone(node)))?;
        Ok(own)
    }

    fn includes(&self, node: &Node, entry: &Entry) -> bool {
        let path = node.relative(&entry.name);
        self.includes.is_none_or(|includes| {
            includes
                .matched(
                    Path::new(OsStr::from_bytes(&path)),
                    entry.kind == EntryKind::Directory,
                )
                .is_ignore()
        })
    }

    /// Whether another name of this file is written; if not, this one is it.
    fn is_further_link(&self, node: &Arc<Node>, entry: &Entry) -> bool {
        let Some(group) = entry.attributes.link_group else {
            return false;
        };
        let mut links = self.links.lock();
        if links.contains_key(&group) {
            return true;
        }
        node.pending.fetch_add(1, Ordering::Relaxed);
        links.insert(group, (Arc::clone(node), entry.name.clone()));
        false
    }

    /// The folder of a directory, made if need be with those above it.
    fn folder(&self, node: &Arc<Node>) -> Result<Arc<Folder>> {
        if let Some(folder) = &*node.folder.lock() {
            return Ok(Arc::clone(folder));
        }
        let mut missing = vec![node];
        let mut above = loop {
            let Some(parent) = missing.last().and_then(|node| node.parent.as_ref()) else {
                unreachable!("the root has its folder from the start");
            };
            let found = parent.folder.lock().clone();
            match found {
                Some(folder) => break folder,
                None => missing.push(parent),
            }
        };
        for node in missing.into_iter().rev() {
            let mut slot = node.folder.lock();
            above = match &*slot {
                Some(folder) => Arc::clone(folder), // Another thread was faster.
                None => {
                    let name = &node.entry.name;
                    let problem = |error| Error::path("create directory", above.path(name), error);
                    let fd = above.handle().map_err(problem)?;
                    platform::make_directory(fd.as_fd(), name).map_err(problem)?;
                    let (folder, _, _) = Folder::open(&above, name.clone()).map_err(problem)?;
                    self.directories.fetch_add(1, Ordering::Relaxed);
                    *slot = Some(Arc::clone(&folder));
                    folder
                }
            };
        }
        Ok(above)
    }

    /// Writes a group, and others that wait while there are enough for everybody; then directories may be on their way, to be
    /// listed next.
    fn write_groups(
        &self,
        group: Vec<Job>,
        queue: &Queue<Task>,
        listing: &mut Option<Listing>,
    ) -> Result<()> {
        let is_directory = |task: &Task| matches!(task, Task::List(_));
        self.write_small(group, || {
            if listing.is_some() {
                return None;
            }
            let first = queue.take_ahead(|task| !matches!(task, Task::Large(_)))?;
            let mut nodes = match first {
                Task::Small(group) => return Some(group),
                Task::List(node) => vec![node],
                Task::Large(_) => unreachable!("does not fit"),
            };
            while nodes.len() < LISTED
                && let Some(Task::List(node)) = queue.take_ahead(is_directory)
            {
                nodes.push(node);
            }
            *listing = Some(self.start_listing(nodes));
            None
        })
    }

    fn write_large(&self, job: Job) -> Result<()> {
        self.stream(&*self.folder(&job.node)?, &job.entry)?;
        self.complete(job.node)
    }

    /// Writes a file whose content comes in pieces.
    fn stream(&self, folder: &Folder, entry: &Entry) -> Result<()> {
        let fd = open(folder)?;
        let path = || folder.path(&entry.name);
        let spot = Spot {
            directory: fd.as_fd(),
            name: &entry.name,
            path: &path,
        };
        self.writer.file(&spot, entry, None)?;
        self.count(entry);
        Ok(())
    }

    fn write_small(&self, group: Vec<Job>, more: impl FnMut() -> Option<Vec<Job>>) -> Result<()> {
        let mut last: Option<(Arc<Node>, Arc<Folder>, Arc<OwnedFd>)> = None;
        groups::write(
            self.store,
            self.options.domain,
            group,
            more,
            |job: Job, content| {
                self.control.check()?;
                let (folder, fd) = match &last {
                    Some((node, folder, fd)) if Arc::ptr_eq(node, &job.node) => (folder, fd),
                    _ => {
                        let folder = self.folder(&job.node)?;
                        let fd = open(&folder)?;
                        let (_, folder, fd) = last.insert((Arc::clone(&job.node), folder, fd));
                        (&*folder, &*fd)
                    }
                };
                let path = || folder.path(&job.entry.name);
                let spot = Spot {
                    directory: fd.as_fd(),
                    name: &job.entry.name,
                    path: &path,
                };
                match job.entry.kind {
                    EntryKind::Symlink => self.writer.symlink(&spot, &job.entry, content)?,
                    _ => self.writer.file(&spot, &job.entry, Some(content))?,
                }
                self.count(&job.entry);
                self.complete(job.node)
            },
        )
    }

    fn write_node(&self, node: &Arc<Node>, entry: &Entry) -> Result<()> {
        let folder = self.folder(node)?;
        let fd = open(&folder)?;
        let path = || folder.path(&entry.name);
        let spot = Spot {
            directory: fd.as_fd(),
            name: &entry.name,
            path: &path,
        };
        if self.writer.node(&spot, entry)? {
            self.count(entry);
        }
        Ok(())
    }

    fn count(&self, entry: &Entry) {
        self.files.fetch_add(1, Ordering::Relaxed);
        if entry.kind == EntryKind::File {
            self.bytes.fetch_add(entry.size, Ordering::Relaxed);
        }
    }

    /// Gives further names to files that are written by now.
    fn link_all(&self) -> Result<()> {
        let linked = std::mem::take(&mut *self.linked.lock());
        let links = std::mem::take(&mut *self.links.lock());
        for job in linked {
            self.control.check()?;
            let group = job.entry.attributes.link_group.unwrap_or_default();
            let Some((node, name)) = links.get(&group) else {
                unreachable!("a further name has a first one");
            };
            let (from, to) = (self.folder(node)?, self.folder(&job.node)?);
            let problem = |error| Error::path("link", to.path(&job.entry.name), error);
            let (from_fd, to_fd) = (from.handle().map_err(problem)?, to.handle().map_err(problem)?);
            match platform::link(from_fd.as_fd(), name, to_fd.as_fd(), &job.entry.name) {
                Ok(()) => {
                    self.count(&job.entry);
                    self.complete(job.node)?;
                }
                Err(error)
                    if matches!(
                        Errno::from_io_error(&error),
                        Some(Errno::PERM | Errno::NOTSUP | Errno::MLINK | Errno::NOENT | Errno::XDEV)
                    ) =>
                {
                    self.copy_instead(job, &error, &to)?;
                }
                Err(error) => return Err(problem(error)),
            }
        }
        links.into_values().try_for_each(|(node, _)| self.complete(node))
    }

    /// Writes a file of its own where a link can't be made (no links there, too many, or the node left out).
    fn copy_instead(&self, job: Job, error: &io::Error, to: &Folder) -> Result<()> {
        match job.entry.kind {
            EntryKind::File if job.entry.size > EXTENT_BYTES_MAX as u64 => self.stream(to, &job.entry)?,
            EntryKind::File | EntryKind::Symlink => {
                let path = to.path(&job.entry.name);
                self.writer.warnings.add(Doubt::LinkCopied, || path, error);
                return self.write_small(vec![job], || None);
            }
            _ => self.write_node(&job.node, &job.entry)?,
        }
        self.writer
            .warnings
            .add(Doubt::LinkCopied, || to.path(&job.entry.name), error);
        self.complete(job.node)
    }

    /// One thing less to do in this directory. The last one completes it, which is one thing less above.
    fn complete(&self, mut node: Arc<Node>) -> Result<()> {
        while node.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            let folder = node.folder.lock().clone();
            if let Some(folder) = folder {
                let fd = open(&folder)?;
                let path = || folder.path(b"");
                let spot = Spot {
                    directory: fd.as_fd(),
                    name: b"",
                    path: &path,
                };
                self.writer.open_metadata(fd.as_fd(), &node.entry, false, &spot)?;
                folder.release();
            }
            match &node.parent {
                Some(parent) => node = Arc::clone(parent),
                None => break,
            }
        }
        Ok(())
    }
}

/// The descriptor of a folder.
fn open(folder: &Folder) -> Result<Arc<OwnedFd>> {
    folder
        .handle()
        .map_err(|error| Error::path("open", folder.path(b""), error))
}

#[cfg(test)]
#[path = "materialize_tests.rs"]
mod tests;
