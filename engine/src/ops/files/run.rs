//! Carries steps out.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::large::Large;
use super::patch::patched;
use super::room::{Room, Taken};
use super::{FileResult, FileResults, FileStat, FileStep, FilesOpened, OpenFiles, STEPS_MAX, mtime_ns};
use crate::error::{Error, Result};
use crate::limits::EXTENT_BYTES_MAX;
use crate::objects::Objects;
use crate::ops::{ByteString, Durability, Failure};
use crate::reactor::{Local, Nanos};
use crate::trees::{CommitOptions, EntryKind, ExpectHead, Stat, Trees, WorkingOptions, WorkingTree};

/// Bytes of new contents that wait in memory for the commit; beyond, they go to the store ahead of it.
const PENDING_BYTES_MAX: usize = 4 << 20;
/// Most bytes of a file that are read or changed in one step: all of them are in memory then.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of loaded directories that a tree keeps; beyond, those not used lately go. Ten edits at random places of 28,000
/// files touch about 90 KiB of directories, all of them are 3.4 MiB: what an agent is at stays, and a thousand agents that have
/// been everywhere take half a gigabyte.
const LOADED_BYTES_MAX: usize = 512 << 10;
/// What is left of them then, so that not every step has to look for more.
const LOADED_BYTES_LEFT: usize = LOADED_BYTES_MAX / 4 * 3;
/// Bodies of calls up to this length lie in buffers that may be larger than they are.
const BUFFER_BYTES: usize = 256 << 10;
/// What an entry takes from when it is listed until it is sent.
const LISTED_BYTES: u64 = 512;

/// Steps are done for as long as this before others have their turn.
const TURN: Duration = Duration::from_micros(50);

/// A turn of the reactor the steps run on, if they do.
struct Turn(Option<(Local, Nanos)>);

impl Turn {
    /// Begins now.
    fn new() -> Turn {
        Turn(Local::current().map(|local| {
            let now = local.clock().now();
            (local, now)
        }))
    }

    async fn end_if_long(&mut self) {
        let Some((local, began)) = &mut self.0 else { return };
        if local.clock().now().since(*began) >= TURN {
            local.yield_now().await;
            *began = local.clock().now();
        }
    }
}

/// An open working tree.
pub struct Files {
    tree: WorkingTree,
    objects: Objects,
    /// Bytes of the bodies of calls that contents waiting for the commit are parts of, and so keep whole.
    bodies: usize,
    /// Loaded directories may take this much before some are let go.
    loaded_max: usize,
}

fn text(name: &ByteString, what: &str) -> Result<String> {
    String::from_utf8(name.as_bytes().to_vec())
        .map_err(|_| Error::invalid(format!("{what} `{name}`"), "it is not UTF-8"))
}

impl Files {
    /// Opens one.
    ///
    /// # Errors
    /// No such branch; the branch to be made exists; an impossible name.
    pub async fn open(trees: &Trees, objects: &Objects, request: &OpenFiles) -> Result<Files> {
        let branch = text(&request.branch, "branch")?;
        // A reactor may run this: nothing may wait for other threads.
        let alone = objects.clone().with_threads(NonZero::<usize>::MIN);
        let options = WorkingOptions {
            author: request.author.clone(),
            times: !request.no_times,
            pending_bytes_max: PENDING_BYTES_MAX,
            large: Some(Arc::new(Large(alone.clone()))),
        };
        let tree = match &request.fork {
            Some(fork) => {
                let fork = text(fork, "branch")?;
                let head = trees.branch(&branch)?.commit;
                trees
                    .create_branch_until(&fork, head, request.expires_ns.unwrap_or(0))
                    .await?;
                trees.open_branch(&fork, options).await?
            }
            None => match trees.open_branch(&branch, options.clone()).await {
                Err(Error::NotFound { .. }) if request.create => trees.open_new(&branch, options)?,
                opened => opened?,
            },
        };
        Ok(Files::new(tree, alone))
    }

    fn new(tree: WorkingTree, objects: Objects) -> Files {
        Files {
            tree,
            objects,
            bodies: 0,
            loaded_max: LOADED_BYTES_MAX,
        }
    }

    /// What it is.
    pub fn opened(&self) -> FilesOpened {
        let counts = self.tree.counts();
        FilesOpened {
            branch: self.tree.branch().unwrap_or_default().into(),
            commit: self.tree.base(),
            files: counts.files,
            bytes: counts.bytes,
        }
    }

    /// Makes `branch` at the commit this tree started from, and a tree on it that begins with the changes of this one.
    ///
    /// # Errors
    /// The branch exists; an impossible name; there is no commit yet.
    pub async fn fork(&self, branch: &ByteString) -> Result<Files> {
        let tree = self.tree.fork(&text(branch, "branch")?).await?;
        Ok(Files {
            bodies: self.bodies,
            ..Files::new(tree, self.objects.clone())
        })
    }

    /// Bytes of memory it holds between two calls, at most; what it shares with forks counts in full.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Files>() + self.tree.memory_bytes() + self.bodies
    }

    /// Lets go of what it can load again, if that is more than `keep_bytes`.
    pub fn release(&mut self, keep_bytes: usize) {
        if self.tree.loaded_bytes() > keep_bytes {
            self.tree.release(keep_bytes / 4 * 3);
            self.loaded_max = LOADED_BYTES_MAX.max(self.tree.loaded_bytes() * 2);
        }
    }

    /// Lets go of directories if many are loaded.
    fn settle(&mut self) {
        if self.tree.loaded_bytes() > self.loaded_max {
            self.tree.release(LOADED_BYTES_LEFT);
            // What has changes stays, and is not looked through again before there is more of it.
            let left = self.tree.loaded_bytes();
            self.loaded_max = LOADED_BYTES_MAX.max(left + left / 4);
        }
    }

    /// Carries out steps, in order, up to the first that fails. `bytes` are those that the steps bring; what they read is put
    /// into `read`, a piece for each. Memory for it is asked of `room`, which is not given back for what is in `read` and in the
    /// results.
    pub async fn run(
        &mut self,
        steps: &[FileStep],
        mut bytes: Bytes,
        read: &mut Vec<Bytes>,
        room: &dyn Room,
    ) -> FileResults {
        let mut done = FileResults::default();
        if let Err(failure) = check(steps, &bytes) {
            done.failed = Some(failure);
        } else {
            let body = own(steps, &mut bytes);
            done.results.reserve(steps.len());
            let mut turn = Turn::new();
            for step in steps {
                turn.end_if_long().await;
                match self.step(step, &mut bytes, read, room).await {
                    Ok(result) => done.results.push(result),
                    Err(failure) => {
                        done.failed = Some(failure);
                        break;
                    }
                }
                self.settle();
            }
            if let Err(error) = self.keep_bodies(body).await {
                done.failed.get_or_insert(error.into());
            }
        }
        done.changed = self.tree.is_dirty();
        done
    }

    /// Counts a body that contents may be parts of, and stores what waits if such bodies have become many.
    async fn keep_bodies(&mut self, body: usize) -> Result<()> {
        if self.tree.pending_bytes() == 0 {
            self.bodies = 0;
            return Ok(());
        }
        self.bodies += body;
        if self.bodies > PENDING_BYTES_MAX {
            self.tree.store_contents().await?;
            self.bodies = 0;
        }
        Ok(())
    }

    async fn step(
        &mut self,
        step: &FileStep,
        bytes: &mut Bytes,
        read: &mut Vec<Bytes>,
        room: &dyn Room,
    ) -> Result<FileResult, Failure> {
        let mut take = |count: &u64| bytes.split_to(usize::try_from(*count).expect("checked before"));
        match step {
            FileStep::Read { path, offset, length } => {
                let (piece, size) = self.read(path, *offset, *length, room).await?;
                let bytes = piece.len() as u64;
                read.push(piece);
                Ok(FileResult::Read { bytes, size })
            }
            FileStep::Write {
                path,
                bytes: count,
                offset,
                parents,
                mode,
            } => {
                let new = take(count);
                if *parents && let Some(above) = parent(path.as_bytes()) {
                    self.tree.create_directories(above).await?;
                }
                let size = match offset {
                    None => self.replace(path, new).await?,
                    Some(offset) => self.write_at(path, *offset, &new, room).await?,
                };
                if let Some(mode) = mode {
                    self.tree.set_mode(path.as_bytes(), *mode).await?;
                }
                Ok(FileResult::Written { size })
            }
            FileStep::Append { path, bytes: count } => {
                let new = take(count);
                let size = self.size(path).await?.unwrap_or(0);
                let size = self.write_at(path, size, &new, room).await?;
                Ok(FileResult::Written { size })
            }
            FileStep::Truncate { path, size } => {
                check_size(path, *size)?;
                let (content, _taken) = self.file(path, *size, room).await?;
                let mut content = BytesMut::from(&content[..]);
                content.resize(usize::try_from(*size).expect("checked above"), 0);
                let size = self.replace(path, content.freeze()).await?;
                Ok(FileResult::Written { size })
            }
            FileStep::Patch { path, replace } => {
                let (mut content, mut taken) = self.file(path, 0, room).await?;
                for replacement in replace {
                    content = Bytes::from(patched(path, &content, replacement, &mut taken)?);
                }
                let size = self.replace(path, content).await?;
                Ok(FileResult::Written { size })
            }
            FileStep::Rename { from, to } => {
                self.tree.rename(from.as_bytes(), to.as_bytes()).await?;
                Ok(FileResult::Done)
            }
            FileStep::Remove { path, missing_ok } => {
                match self.tree.remove(path.as_bytes()).await {
                    Err(Error::NotFound { .. }) if *missing_ok => {}
                    removed => removed?,
                }
                Ok(FileResult::Done)
            }
            FileStep::Mkdir { path, parents } => {
                match parents {
                    true => self.tree.create_directories(path.as_bytes()).await?,
                    false => self.tree.create_directory(path.as_bytes()).await?,
                }
                Ok(FileResult::Done)
            }
            FileStep::Symlink { path, target } => {
                let target = Bytes::copy_from_slice(target.as_bytes());
                self.tree.symlink(path.as_bytes(), target).await?;
                Ok(FileResult::Done)
            }
            FileStep::SetMode { path, mode } => {
                self.tree.set_mode(path.as_bytes(), *mode).await?;
                Ok(FileResult::Done)
            }
            FileStep::Stat { path } => Ok(FileResult::Stat(stat(self.tree.stat(path.as_bytes()).await?))),
            FileStep::List { path } => {
                let count = self.tree.count_entries(path.as_bytes()).await?;
                let taken = Taken::of(room, count.saturating_mul(LISTED_BYTES))?;
                let entries = self.tree.list(path.as_bytes()).await?;
                taken.keep();
                Ok(FileResult::Listed {
                    entries: entries.into_iter().map(stat).collect(),
                })
            }
            FileStep::Commit {
                message,
                durability,
                expect,
            } => {
                let expected = expect.or(self.tree.base());
                let options = CommitOptions {
                    message: message.clone(),
                    expect: expected.map_or(ExpectHead::Absent, ExpectHead::Is),
                    durable: *durability == Durability::Durable,
                    ..CommitOptions::default()
                };
                let outcome = self.tree.commit_with(&options).await?;
                self.loaded_max = LOADED_BYTES_MAX;
                Ok(FileResult::Committed {
                    commit: outcome.commit,
                    unchanged: outcome.unchanged,
                    files: outcome.counts.files,
                    bytes: outcome.counts.bytes,
                })
            }
            FileStep::Reset { to_head } => {
                match to_head {
                    true => self.tree.reset_to_head().await?,
                    false => self.tree.reset().await?,
                }
                Ok(FileResult::Done)
            }
        }
    }

    /// A part of a file, or of the target of a link, and how long the whole is. Of large files only that part is read.
    async fn read(
        &mut self,
        path: &ByteString,
        offset: u64,
        length: Option<u64>,
        room: &dyn Room,
    ) -> Result<(Bytes, u64), Failure> {
        let part = |size: u64| {
            let start = offset.min(size);
            let end = length.map_or(size, |length| start.saturating_add(length).min(size));
            start..end
        };
        let stat = self.tree.stat(path.as_bytes()).await?;
        let size = stat.entry.size;
        if stat.entry.kind == EntryKind::File && !stat.pending && size > EXTENT_BYTES_MAX as u64 {
            let part = part(size);
            check_size(path, part.end - part.start)?;
            let taken = Taken::of(room, part.end - part.start)?;
            let bytes = self.objects.get_range(stat.entry.id, part).await?;
            taken.keep();
            return Ok((bytes, size));
        }
        let mut taken = Taken::of(room, size)?;
        let content = self.tree.read(path.as_bytes()).await?;
        let size = content.len() as u64;
        let part = part(size);
        let within = |at: u64| usize::try_from(at).expect("within a content in memory");
        let mut piece = content.slice(within(part.start)..within(part.end));
        if piece.len() < content.len() / 2 {
            // It would keep the whole content in memory.
            piece = Bytes::copy_from_slice(&piece);
            taken.only(piece.len() as u64);
        }
        taken.keep();
        Ok((piece, size))
    }

    /// The size of a file; `None` if it is missing.
    async fn size(&mut self, path: &ByteString) -> Result<Option<u64>> {
        match self.tree.stat(path.as_bytes()).await {
            Ok(stat) if stat.entry.kind == EntryKind::File => Ok(Some(stat.entry.size)),
            Ok(_) => Err(Error::invalid(format!("`{path}`"), "it is not a file")),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The content of a file that must be there, with memory for it and for `more` bytes.
    async fn file<'r>(
        &mut self,
        path: &ByteString,
        more: u64,
        room: &'r dyn Room,
    ) -> Result<(Bytes, Taken<'r>), Failure> {
        match self.size(path).await? {
            Some(size) => {
                check_size(path, size)?;
                let taken = Taken::of(room, size + more)?;
                Ok((self.tree.read(path.as_bytes()).await?, taken))
            }
            None => Err(Error::not_found(format!("`{path}`")).into()),
        }
    }

    async fn replace(&mut self, path: &ByteString, content: Bytes) -> Result<u64> {
        let size = content.len() as u64;
        self.tree.write(path.as_bytes(), content).await?;
        Ok(size)
    }

    async fn write_at(
        &mut self,
        path: &ByteString,
        offset: u64,
        new: &Bytes,
        room: &dyn Room,
    ) -> Result<u64, Failure> {
        let end = offset.saturating_add(new.len() as u64);
        check_size(path, end)?;
        let (before, _taken) = match self.size(path).await? {
            Some(size) => self.file(path, end.max(size), room).await?,
            None => (Bytes::new(), Taken::of(room, end)?),
        };
        let start = usize::try_from(offset).expect("checked above");
        let mut content = BytesMut::from(&before[..]);
        content.resize(before.len().max(start + new.len()), 0);
        content[start..start + new.len()].copy_from_slice(new);
        Ok(self.replace(path, content.freeze()).await?)
    }
}

/// Contents that wait for the commit are parts of the body of their call, which lies in a buffer that others may be in as
/// well. Bodies whose contents will wait are copied; answers how much memory one keeps as long as a part of it waits.
fn own(steps: &[FileStep], bytes: &mut Bytes) -> usize {
    if bytes.is_empty() || bytes.len() > BUFFER_BYTES {
        return bytes.len();
    }
    if matches!(steps.last(), Some(FileStep::Commit { .. })) {
        return bytes.len() + BUFFER_BYTES;
    }
    *bytes = Bytes::copy_from_slice(bytes);
    bytes.len()
}

/// Refuses calls whose steps do not fit what came with them.
fn check(steps: &[FileStep], bytes: &Bytes) -> Result<(), Failure> {
    if steps.len() > STEPS_MAX {
        let reason = format!("{} of them; a call has at most {STEPS_MAX}", steps.len());
        return Err(Error::invalid("steps", reason).into());
    }
    let wanted = steps.iter().map(|step| match step {
        FileStep::Write { bytes, .. } | FileStep::Append { bytes, .. } => u128::from(*bytes),
        _ => 0,
    });
    let wanted: u128 = wanted.sum();
    if wanted != bytes.len() as u128 {
        let reason = format!("they take {wanted} bytes, and {} came with them", bytes.len());
        return Err(Error::invalid("steps", reason).into());
    }
    Ok(())
}

pub(super) fn check_size(path: &ByteString, size: u64) -> Result<()> {
    if size <= FILE_BYTES_MAX {
        return Ok(());
    }
    let reason = format!(
        "it would be {size} bytes long; files of at most {FILE_BYTES_MAX} bytes are changed in place; put larger ones whole with \
         `helios put`"
    );
    Err(Error::invalid(format!("`{path}`"), reason))
}

/// The directory above a path, if that is not the top.
fn parent(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    Some(&path[..slash])
}

fn stat(stat: Stat) -> FileStat {
    let entry = stat.entry;
    let has_id = entry.kind.has_content() && !stat.pending;
    FileStat {
        name: ByteString::from(&entry.name[..]),
        kind: entry.kind,
        mode: entry.mode,
        size: entry.size,
        id: has_id.then_some(entry.id),
        mtime_ns: entry.attributes.mtime.map(mtime_ns),
        changed: stat.pending,
    }
}
