//! Reading what is new or changed: small files in groups that are hashed as one batch, large ones as streams.
//!
//! A file's content counts only if the file was the same before and after it was read: size, times and inode. If not,
//! it is read again, a few times at once and, should that not do, a few times more after everything else has been
//! read (which is the pause that a busy writer needs). Then it is reported. Memory is bounded by one group or one
//! stream per thread.
//!
//! Between the look before and the reading, calls that are writing to the file are waited for: they have stamped it
//! when they began, so that both looks may agree around half a call.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::control::{Control, Counter, Doubt, Phase, SharedWarnings};
use super::links::{Groups, Place};
use super::listing::{Failure, Item, Listing};
use super::parallel;
use super::platform::{self, Found, Stat};
use super::stat_cache::is_settled;
use super::stream;
use super::xattr::{self, XattrPlace};
use crate::access::Batch;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::hash;
use crate::limits::EXTENT_BYTES_MAX;
use crate::objects::Objects;
use crate::store::Extent;
use crate::trees::{EntryKind, Xattr};

/// Bytes and files of one group at most.
const GROUP_BYTES: u64 = 1 << 20;
const GROUP_FILES: usize = 256;
/// Times that a file is read at once while it keeps changing.
const TRIES: usize = 3;
/// Times that all of these are taken up again at the end.
const ROUNDS: usize = 3;

/// Where contents go.
pub(super) enum Sink<'a> {
    /// Into a batch of the store.
    Batch {
        objects: &'a Objects,
        batch: Mutex<&'a mut Batch>,
    },
    /// Nowhere: only their ids are wanted.
    Ids,
}

impl Sink<'_> {
    /// Hands over contents that are one extent each.
    pub(super) fn put(&self, ids: &[ContentId], contents: impl Iterator<Item = Bytes>) -> Result<()> {
        let Sink::Batch { objects, batch } = self else {
            return Ok(());
        };
        let extents: Vec<Extent> = ids
            .iter()
            .zip(contents)
            .map(|(&id, bytes)| Extent {
                key: objects.key(id, bytes.len() as u64),
                bytes,
            })
            .collect();
        objects.store().block_on(batch.lock().put(extents))?;
        Ok(())
    }
}

/// What came of one item.
struct Update {
    place: Place,
    outcome: Outcome,
}

enum Outcome {
    /// Read, in this state.
    Read(ContentId, State),
    /// Deleted since the walk.
    Gone,
    /// Changed each time; what it was at last, if it could be seen.
    Busy(Option<Stat>),
    /// The system would not let us.
    Failed(String),
}

/// A file as it was while it was read.
struct State {
    stat: Stat,
    /// `None` if they were not asked for or can't be had.
    xattrs: Option<Vec<Xattr>>,
    racy: bool,
}

/// How much was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReadCounts {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Reads the contents of all items that are not known yet, and completes them.
pub(super) fn read_contents(
    listing: &mut Listing,
    groups: &Groups,
    xattrs: bool,
    sink: &Sink<'_>,
    control: &Control,
    warnings: &SharedWarnings,
) -> Result<ReadCounts> {
    // Of names that are one file only the first is read.
    let mut same_as: HashMap<Place, Place> = HashMap::new();
    for members in groups {
        same_as.extend(members[1..].iter().map(|member| (*member, members[0])));
    }
    let mut wanted: Vec<Place> = Vec::new();
    let mut followers: Vec<(Place, Place)> = Vec::new();
    for (index, directory) in listing.directories.iter().enumerate() {
        for (position, item) in directory.items.iter().enumerate() {
            if item.known || !matches!(item.kind, EntryKind::File | EntryKind::Symlink) {
                continue;
            }
            let place = (index, position);
            match same_as.get(&place) {
                Some(first) if !listing.directories[first.0].items[first.1].known => {
                    followers.push((place, *first));
                }
                _ => wanted.push(place),
            }
        }
    }
    if wanted.is_empty() {
        return Ok(ReadCounts::default());
    }
    let size = |place: &Place| listing.directories[place.0].items[place.1].stat.size;
    let bytes = wanted.iter().map(size).sum();
    let counter = control.phase(Phase::Read, wanted.len() as u64, bytes);
    let mut counts = ReadCounts::default();
    for round in 0..=ROUNDS {
        let updates = {
            let reader = Reader {
                listing,
                xattrs,
                sink,
                control,
                warnings,
                counter: &counter,
            };
            reader.read_all(&wanted)?
        };
        wanted = apply(listing, updates, round == ROUNDS, &mut counts);
        if round == 0 {
            wanted.extend(follow(listing, &followers));
        }
        if wanted.is_empty() {
            break;
        }
    }
    for directory in &mut listing.directories {
        directory
            .items
            .iter_mut()
            .filter(|item| item.gone)
            .for_each(|_| directory.dirty = true);
    }
    Ok(counts)
}

/// Completes items; those to be read again are the answer.
fn apply(listing: &mut Listing, updates: Vec<Update>, last: bool, counts: &mut ReadCounts) -> Vec<Place> {
    let mut again = Vec::new();
    for Update { place, outcome } in updates {
        let reason = match outcome {
            Outcome::Read(id, State { stat, xattrs, racy }) => {
                let item = &mut listing.directories[place.0].items[place.1];
                item.stat = stat;
                item.id = id;
                item.racy = racy;
                item.known = true;
                if let Some(xattrs) = xattrs {
                    item.xattrs = xattrs;
                }
                counts.files += 1;
                counts.bytes += stat.size;
                continue;
            }
            Outcome::Gone => {
                listing.directories[place.0].items[place.1].gone = true;
                continue;
            }
            Outcome::Busy(stat) if !last => {
                if let Some(stat) = stat {
                    listing.directories[place.0].items[place.1].stat = stat;
                }
                again.push(place);
                continue;
            }
            Outcome::Busy(_) => "kept changing while it was read".to_owned(),
            Outcome::Failed(reason) => reason,
        };
        let path = listing.path(place);
        listing.failures.push(Failure { path, reason });
        let directory = &mut listing.directories[place.0];
        let name = directory.name(&directory.items[place.1]);
        directory.items[place.1].gone = true;
        directory.left_out.push(name);
    }
    again
}

/// Completes the further names of files that were read; those that turned out to be other files are the answer.
fn follow(listing: &mut Listing, followers: &[(Place, Place)]) -> Vec<Place> {
    let mut again = Vec::new();
    for (place, first) in followers {
        let first = &listing.directories[first.0].items[first.1];
        let (stat, id, racy, xattrs) = (first.stat, first.id, first.racy, first.xattrs.clone());
        let read = first.known;
        let item = &mut listing.directories[place.0].items[place.1];
        if read && item.stat.same_content(&stat) {
            item.id = id;
            item.racy = racy;
            item.xattrs = xattrs;
            item.known = true;
        } else {
            again.push(*place);
        }
    }
    again
}

struct Reader<'a, 'b> {
    listing: &'a Listing,
    xattrs: bool,
    sink: &'a Sink<'b>,
    control: &'a Control,
    warnings: &'a SharedWarnings,
    counter: &'a Counter<'a>,
}

enum Task {
    Group(Vec<Place>),
    Large(Place),
}

impl Reader<'_, '_> {
    fn read_all(&self, wanted: &[Place]) -> Result<Vec<Update>> {
        let mut large: Vec<(u64, Task)> = Vec::new();
        let mut small: Vec<Task> = Vec::new();
        let (mut group, mut group_bytes) = (Vec::new(), 0);
        for &place in wanted {
            let size = self.stat(place).size;
            if size > EXTENT_BYTES_MAX as u64 {
                large.push((size, Task::Large(place)));
                continue;
            }
            if group.len() == GROUP_FILES || group_bytes + size > GROUP_BYTES {
                small.push(Task::Group(std::mem::take(&mut group)));
                group_bytes = 0;
            }
            group.push(place);
            group_bytes += size;
        }
        if !group.is_empty() {
            small.push(Task::Group(group));
        }
        // The last is done first: the largest file, so that no thread is left with it at the end.
        large.sort_by_key(|(size, _)| *size);
        small.reverse();
        let tasks = small.into_iter().chain(large.into_iter().map(|(_, task)| task));
        let found = parallel::run(
            self.control,
            tasks,
            Vec::new,
            |updates: &mut Vec<Update>, task, _| match task {
                Task::Group(places) => self.read_group(&places, updates),
                Task::Large(place) => self.read_large(place, updates),
            },
        )?;
        Ok(found.into_iter().flatten().collect())
    }

    fn stat(&self, place: Place) -> &Stat {
        &self.listing.directories[place.0].items[place.1].stat
    }

    fn read_group(&self, places: &[Place], updates: &mut Vec<Update>) -> Result<()> {
        let room: u64 = places.iter().map(|&place| self.stat(place).size + 1).sum();
        let mut buffer: Vec<u8> = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
        let mut done: Vec<(Place, std::ops::Range<usize>, State)> = Vec::new();
        let mut open: Option<(usize, Arc<OwnedFd>)> = None;
        for &place in places {
            self.control.check()?;
            let directory = &self.listing.directories[place.0];
            let fd = match &open {
                Some((index, fd)) if *index == place.0 => Arc::clone(fd),
                _ => match directory.folder.handle() {
                    Ok(fd) => {
                        open = Some((place.0, Arc::clone(&fd)));
                        fd
                    }
                    Err(error) => {
                        updates.push(Update {
                            place,
                            outcome: failed(&error),
                        });
                        continue;
                    }
                },
            };
            let start = buffer.len();
            let item = &directory.items[place.1];
            let name = directory.name_bytes(item);
            match self.read_small(fd.as_fd(), name, directory.local, item, &mut buffer) {
                Ok(Ok(state)) => done.push((place, start..buffer.len(), state)),
                Ok(Err(last)) => {
                    buffer.truncate(start);
                    updates.push(Update {
                        place,
                        outcome: Outcome::Busy(Some(last)),
                    });
                }
                Err(error) => {
                    buffer.truncate(start);
                    updates.push(Update {
                        place,
                        outcome: failed(&error),
                    });
                }
            }
        }
        let slices: Vec<&[u8]> = done.iter().map(|(_, range, _)| &buffer[range.clone()]).collect();
        let ids = hash::content_ids(&slices);
        self.counter.add(done.len() as u64, buffer.len() as u64);
        let all = Bytes::from(buffer);
        self.sink
            .put(&ids, done.iter().map(|(_, range, _)| all.slice(range.clone())))?;
        updates.extend(done.into_iter().zip(ids).map(|((place, _, state), id)| Update {
            place,
            outcome: Outcome::Read(id, state),
        }));
        Ok(())
    }

    /// Appends the content of a small file or the target of a link to `buffer`. If it kept changing, what it was
    /// at last.
    fn read_small(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        local: bool,
        item: &Item,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Result<State, Stat>> {
        let start = buffer.len();
        let kind = item.kind;
        let mut before = item.stat;
        for _ in 0..TRIES {
            buffer.truncate(start);
            let now = platform::coarse_now();
            if before.found != Found::Kind(kind) || before.size > EXTENT_BYTES_MAX as u64 {
                return Ok(Err(before)); // Another kind of task, if any, takes it up in the next round.
            }
            let (after, xattrs) = if kind == EntryKind::Symlink {
                buffer.extend_from_slice(&platform::read_link(directory, name)?);
                (platform::stat(directory, name)?, None)
            } else {
                let file = platform::open_file(directory, name, quiet(&before))?;
                // One byte more than there should be: what has grown is noticed.
                let want = usize::try_from(before.size).unwrap_or(usize::MAX);
                if want > 0 {
                    platform::await_writers(file.as_fd())?;
                    buffer.resize(start + want + 1, 0);
                    let got = platform::read_full(file.as_fd(), &mut buffer[start..])?;
                    buffer.truncate(start + got);
                }
                let xattrs = self.read_xattrs(file.as_fd());
                (platform::stat_open(file.as_fd())?, xattrs)
            };
            let complete = buffer.len() - start == usize::try_from(after.size).unwrap_or(usize::MAX);
            if before.same_content(&after) && complete {
                return Ok(Ok(State {
                    stat: after,
                    xattrs,
                    racy: !is_settled(&after, now, local),
                }));
            }
            before = after;
        }
        Ok(Err(before))
    }

    fn read_xattrs(&self, file: BorrowedFd<'_>) -> Option<Vec<Xattr>> {
        if !self.xattrs {
            return None;
        }
        match xattr::list(XattrPlace::Open(file)) {
            Ok(xattrs) => Some(xattrs),
            Err(error) => {
                self.warnings
                    .add(Doubt::XattrNotKept, std::path::PathBuf::new, error);
                None
            }
        }
    }

    fn read_large(&self, place: Place, updates: &mut Vec<Update>) -> Result<()> {
        let directory = &self.listing.directories[place.0];
        let item = &directory.items[place.1];
        let outcome = match directory.folder.handle() {
            Ok(fd) => {
                match self.stream(fd.as_fd(), directory.name_bytes(item), directory.local, item.stat) {
                    Ok(outcome) => outcome,
                    Err(Error::Path { source, .. }) => failed(&source),
                    Err(error) => return Err(error), // The store's, or cancelled.
                }
            }
            Err(error) => failed(&error),
        };
        updates.push(Update { place, outcome });
        Ok(())
    }

    fn stream(&self, directory: BorrowedFd<'_>, name: &[u8], local: bool, listed: Stat) -> Result<Outcome> {
        let problem = |error: io::Error| Error::path("read", "", error);
        let mut before = listed;
        for _ in 0..TRIES {
            let now = platform::coarse_now();
            if before.found != Found::Kind(EntryKind::File) || before.size <= EXTENT_BYTES_MAX as u64 {
                return Ok(Outcome::Busy(Some(before)));
            }
            let file = platform::open_file(directory, name, quiet(&before)).map_err(problem)?;
            platform::await_writers(file.as_fd()).map_err(problem)?;
            let (id, length) =
                stream::read(file.as_fd(), before.size, self.sink, self.control, self.counter)?;
            let xattrs = self.read_xattrs(file.as_fd());
            let after = platform::stat_open(file.as_fd()).map_err(problem)?;
            if before.same_content(&after) && length == after.size {
                self.counter.add(1, 0);
                let racy = !is_settled(&after, now, local);
                let stat = after;
                return Ok(Outcome::Read(id, State { stat, xattrs, racy }));
            }
            before = after;
        }
        Ok(Outcome::Busy(Some(before)))
    }
}

/// Whether the access time may be left alone when this file is read.
fn quiet(stat: &Stat) -> bool {
    let user = platform::effective_user();
    user == 0 || user == stat.uid
}

fn failed(error: &io::Error) -> Outcome {
    match rustix::io::Errno::from_io_error(error) {
        Some(Errno::NOENT) => Outcome::Gone,
        // Not of the kind that it was when it was listed.
        Some(Errno::LOOP | Errno::INVAL | Errno::ISDIR | Errno::NXIO) => Outcome::Busy(None),
        _ => Outcome::Failed(error.to_string()),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
