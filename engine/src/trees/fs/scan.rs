//! From a real directory to a tree: walk, read what changed, build the directories that differ.
//!
//! Life of a scan: the walk (`walk`) lists everything and compares with the stat cache; contents that the cache vouches
//! for are held in the store, or read again should the store not have them any more; the rest is read (`read`);
//! directories that differ are built level by level from the deepest, those that do not keep their node. What comes
//! out is the root entry for a commit and the cache for the next scan. With nothing changed the cost is the walk.
//!
//! What can't be read fails the scan by default: a state that silently lacks files is no backup, and a restore of it
//! would delete them. With [`ScanOptions::skip_unreadable`] such files are left out, counted as warnings, and a
//! restore over this directory leaves them alone. (restic and borg go on by default and tell by exit code; they never
//! delete from the source, which a restore in place does.)

use std::os::fd::AsFd;
use std::path::Path;

use bytes::Bytes;

use super::build;
use super::control::{Control, Doubt, SharedWarnings, Warnings};
use super::folder::Folder;
use super::ignore_rules::Rules;
use super::links;
use super::listing::{Item, Listing};
use super::platform::{self, FileId};
use super::read::{self, Sink};
use super::stat_cache::{Form, StatCache};
use super::walk::{self, WalkOptions};
use crate::access::{Access, Batch};
use crate::error::{Error, Result};
use crate::format::{ContentId, Domain};
use crate::objects::Objects;
use crate::store::Key;
use crate::trees::{Attributes, Entry, EntryKind, content_kind};

/// What of a directory is committed, and how. The default is everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOptions {
    /// Patterns (as in `.gitignore`) of names to leave out, relative to the directory.
    pub excludes: Vec<String>,
    /// Obey `.gitignore` files and `.git/info/exclude` as well as `.heliosignore`.
    pub gitignore: bool,
    /// Keep modification times. Without them equal contents give equal trees whenever they were written.
    pub times: bool,
    /// Keep owner and group.
    pub owner: bool,
    /// Keep extended attributes and ACLs.
    pub xattrs: bool,
    /// Commit directories that other file systems are mounted on as empty ones.
    pub one_file_system: bool,
    /// Leave out what can't be read instead of failing.
    pub skip_unreadable: bool,
    /// Accept `/` and the home directory.
    pub force: bool,
    /// Files that are never part of a tree wherever they are: the store's own.
    pub leave_out: Vec<FileId>,
    /// Domain of everything stored.
    pub domain: Domain,
}

impl Default for ScanOptions {
    fn default() -> Self {
        ScanOptions {
            excludes: Vec::new(),
            gitignore: false,
            times: true,
            owner: true,
            xattrs: true,
            one_file_system: false,
            skip_unreadable: false,
            force: false,
            leave_out: Vec::new(),
            domain: Domain::default(),
        }
    }
}

/// What a scan went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ScanCounts {
    /// Names other than directories.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Bytes of all files, holes included, links counted once per name.
    pub bytes: u64,
    /// Files that had to be read.
    pub read_files: u64,
    /// Bytes of these.
    pub read_bytes: u64,
    /// Directories that had to be built.
    pub built_directories: u64,
}

/// A directory as it was found. Holds about 200 bytes of memory per name.
pub struct Scan {
    pub(super) listing: Listing,
    pub(super) form: Form,
    root: Option<Entry>,
    cache: Option<Bytes>,
    counts: ScanCounts,
    warnings: Warnings,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan")
            .field("root", &self.root)
            .field("counts", &self.counts)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

impl Scan {
    /// The root entry of the tree; `None` for a scan that stored nothing.
    pub fn root(&self) -> Option<&Entry> {
        self.root.as_ref()
    }

    /// The stat cache to keep for the next scan; `None` when the one used is still right.
    pub fn stat_cache(&self) -> Option<&Bytes> {
        self.cache.as_ref()
    }

    /// What was gone through.
    pub fn counts(&self) -> ScanCounts {
        self.counts
    }

    /// What was left out.
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// The item as a tree holds it.
    pub(super) fn entry(&self, directory: usize, item: usize) -> Entry {
        entry_of(&self.listing, self.form, directory, item)
    }

    /// The root directory as a tree holds it, without an id unless it was built.
    pub(super) fn root_entry(&self) -> Option<Entry> {
        let own = self.listing.root.as_ref()?;
        Some(make_entry(&self.listing, self.form, own, Bytes::new()))
    }
}

/// An item as a tree holds it. A directory that has not been built has no id.
pub(super) fn entry_of(listing: &Listing, form: Form, directory: usize, item: usize) -> Entry {
    let directory = &listing.directories[directory];
    let item = &directory.items[item];
    make_entry(listing, form, item, directory.name(item))
}

fn make_entry(listing: &Listing, form: Form, item: &Item, name: Bytes) -> Entry {
    let zero = ContentId([0; 32]);
    Entry {
        name,
        kind: item.kind,
        mode: item.stat.mode,
        size: match item.kind {
            EntryKind::File | EntryKind::Symlink => item.stat.size,
            _ => 0,
        },
        id: match item.kind {
            EntryKind::Directory => listing.directories[item.child].node.unwrap_or(zero),
            EntryKind::File | EntryKind::Symlink => item.id,
            _ => zero,
        },
        attributes: Attributes {
            mtime: form.times.then_some(item.stat.mtime),
            uid: form.owner.then_some(item.stat.uid),
            gid: form.owner.then_some(item.stat.gid),
            xattrs: item.xattrs.clone(),
            device: matches!(item.kind, EntryKind::CharDevice | EntryKind::BlockDevice)
                .then_some(item.stat.device),
            link_group: item.link_group,
        },
    }
}

/// Scans `directory` and puts what the store lacks into `batch`. The caller commits [`Scan::root`] and, with the same
/// batch or a later one, keeps [`Scan::stat_cache`] (see `workspace`). Waits for the file system and the store on the
/// calling thread and `control.threads - 1` others.
///
/// # Errors
/// `Refused` for `/` and the home directory unless forced; `Unreadable` with the paths that can't be read; `Path`
/// if the directory itself can't be; `Invalid` for a bad exclude pattern; `Cancelled`; the store's errors.
pub fn scan(
    store: &Access,
    directory: &Path,
    options: &ScanOptions,
    cache: Option<Bytes>,
    batch: &mut Batch,
    control: &Control,
) -> Result<Scan> {
    run(store, directory, options, cache, Some(batch), control)
}

/// Scans `directory` without storing anything, to be compared with a tree.
///
/// # Errors
/// As [`scan`].
pub fn inspect(
    store: &Access,
    directory: &Path,
    options: &ScanOptions,
    cache: Option<Bytes>,
    control: &Control,
) -> Result<Scan> {
    run(store, directory, options, cache, None, control)
}

fn run(
    store: &Access,
    directory: &Path,
    options: &ScanOptions,
    cache: Option<Bytes>,
    mut batch: Option<&mut Batch>,
    control: &Control,
) -> Result<Scan> {
    let root = open_root(directory, options.force)?;
    let form = Form {
        domain: options.domain,
        times: options.times,
        owner: options.owner,
        xattrs: options.xattrs,
    };
    // A cache without extended attributes can't stand in for a scan with them, and the other way round.
    let cache = cache
        .and_then(StatCache::decode)
        .filter(|cache| cache.device() == root.id().device && cache.form().xattrs == form.xattrs)
        .filter(|cache| cache.form().domain == form.domain);
    let warnings = SharedWarnings::default();
    let walk_options = WalkOptions {
        rules: Rules::root(&options.excludes)?,
        gitignore: options.gitignore,
        xattrs: options.xattrs,
        one_file_system: options.one_file_system,
        leave_out: &options.leave_out,
        cache: cache.as_ref(),
    };
    let mut listing = walk::walk(&root, &walk_options, control, &warnings)?;
    if cache.as_ref().is_none_or(|cache| cache.form() != form) {
        listing
            .directories
            .iter_mut()
            .for_each(|directory| directory.dirty = true);
    }
    if let Some(batch) = batch.as_deref_mut() {
        hold_known(&mut listing, options.domain, batch)?;
    }
    let groups = links::group(&mut listing);
    let objects = Objects::new(store.clone()).in_domain(options.domain);
    let sink = match batch.as_deref_mut() {
        Some(batch) => Sink::Batch {
            objects: &objects,
            batch: parking_lot::Mutex::new(batch),
        },
        None => Sink::Ids,
    };
    let read = read::read_contents(&mut listing, &groups, options.xattrs, &sink, control, &warnings)?;
    let gone = listing
        .directories
        .iter_mut()
        .map(drop_gone)
        .fold(false, |any, gone| any | gone);
    if gone {
        // A file fewer may be a link group fewer.
        links::group(&mut listing);
    }
    report_failures(&mut listing, options, &warnings)?;
    listing.carry_dirt();
    build::keep_clean_nodes(&mut listing);

    let mut scan = Scan {
        counts: count(&listing, read),
        listing,
        form,
        root: None,
        cache: None,
        warnings: Warnings::default(),
    };
    if let Some(batch) = batch {
        build::hold_nodes(&mut scan.listing, options.domain, batch)?;
        scan.counts.built_directories = build::build(store, &mut scan.listing, form, batch, control)?;
        let own = scan.listing.root.as_ref();
        scan.root = own.map(|item| make_entry(&scan.listing, form, item, Bytes::new()));
        let clean = scan.counts.built_directories == 0 && own.is_some_and(|item| item.known);
        if !clean {
            scan.cache = Some(build::encode_cache(&scan.listing, form, cache.as_ref()));
        }
    }
    scan.warnings = warnings.into_inner();
    Ok(scan)
}

/// Opens the directory and refuses the two that nobody means.
fn open_root(directory: &Path, force: bool) -> Result<std::sync::Arc<Folder>> {
    let problem = |error| Error::path("open directory", directory, error);
    let fd = platform::open_given(directory).map_err(problem)?;
    let id = platform::stat_open(fd.as_fd()).map_err(problem)?.id;
    let is = |path: &Path| {
        platform::open_given(path)
            .and_then(|fd| platform::stat_open(fd.as_fd()))
            .is_ok_and(|stat| stat.id == id)
    };
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let guarded = is(Path::new("/")) || home.is_some_and(|home| is(Path::new(&home)));
    if guarded && !force {
        return Err(Error::Refused {
            what: format!(
                "{} is the root or the home directory; name a directory inside it, or insist with --force",
                directory.display()
            ),
        });
    }
    Folder::root(fd, directory).map_err(problem)
}

/// Holds the contents that the cache vouches for; those that the store lacks are to be read again.
fn hold_known(listing: &mut Listing, domain: Domain, batch: &mut Batch) -> Result<()> {
    /// Probed at once: enough for look-ups to overlap, little enough to stay in the CPU's cache.
    const PROBES: usize = 1024;
    let mut keys: Vec<Key> = Vec::with_capacity(PROBES);
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(PROBES);
    let mut missing: Vec<(usize, usize)> = Vec::new();
    let mut probe = |keys: &mut Vec<Key>, places: &mut Vec<(usize, usize)>| -> Result<()> {
        let held = batch.hold(keys)?;
        missing.extend(
            places
                .iter()
                .zip(held)
                .filter(|(_, held)| !held)
                .map(|(place, _)| *place),
        );
        keys.clear();
        places.clear();
        Ok(())
    };
    for (index, directory) in listing.directories.iter().enumerate() {
        for (position, item) in directory.items.iter().enumerate() {
            if !item.known || !matches!(item.kind, EntryKind::File | EntryKind::Symlink) {
                continue;
            }
            keys.push(Key {
                domain,
                kind: content_kind(item.stat.size),
                id: item.id,
            });
            places.push((index, position));
            if keys.len() == PROBES {
                probe(&mut keys, &mut places)?;
            }
        }
    }
    probe(&mut keys, &mut places)?;
    for (index, position) in missing {
        listing.directories[index].items[position].known = false;
        listing.directories[index].dirty = true;
    }
    Ok(())
}

/// Removes items whose file was deleted while the scan ran; whether there were any.
fn drop_gone(directory: &mut super::listing::Directory) -> bool {
    let before = directory.items.len();
    directory.items.retain(|item| !item.gone);
    directory.items.len() != before
}

fn report_failures(listing: &mut Listing, options: &ScanOptions, warnings: &SharedWarnings) -> Result<()> {
    const LISTED: usize = 10;
    if listing.failures.is_empty() {
        return Ok(());
    }
    if options.skip_unreadable {
        for failure in &listing.failures {
            warnings.add(Doubt::UnreadableSkipped, || failure.path.clone(), &failure.reason);
        }
        return Ok(());
    }
    let mut list: Vec<String> = listing
        .failures
        .iter()
        .take(LISTED)
        .map(|failure| format!("{}: {}", failure.path.display(), failure.reason))
        .collect();
    if listing.failures.len() > LISTED {
        list.push(format!("and {} more", listing.failures.len() - LISTED));
    }
    Err(Error::Unreadable {
        count: listing.failures.len() as u64,
        list: list.join("; "),
    })
}

fn count(listing: &Listing, read: read::ReadCounts) -> ScanCounts {
    let mut counts = ScanCounts {
        directories: listing.directories.len() as u64,
        read_files: read.files,
        read_bytes: read.bytes,
        ..ScanCounts::default()
    };
    let items = listing.directories.iter().flat_map(|directory| &directory.items);
    for item in items.filter(|item| item.kind != EntryKind::Directory) {
        counts.files += 1;
        if item.kind == EntryKind::File {
            counts.bytes += item.stat.size;
        }
    }
    counts
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
