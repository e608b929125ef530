//! Small files, written in groups: the contents of a group come with one merged read, and while one group is written the
//! next [`AHEAD`] are on their way.
//!
//! Invariant: a worker has the contents of so many groups and one at most. Which groups it may take ahead its caller says (`more`).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::access::Access;
use crate::error::Result;
use crate::format::{Domain, Kind};
use crate::reactor::Started;
use crate::store::Key;
use crate::trees::{Entry, EntryKind};

/// Files of one group.
const FILES: usize = 128;
/// Bytes of one group.
const BYTES: u64 = 1 << 20;

/// Groups on their way while one is written.
const AHEAD: usize = 3;

/// Files put into groups as they come.
pub(super) struct Groups<T> {
    full: Vec<Vec<T>>,
    last: Vec<T>,
    last_bytes: u64,
}

impl<T> Groups<T> {
    pub(super) fn new() -> Groups<T> {
        Groups {
            full: Vec::new(),
            last: Vec::new(),
            last_bytes: 0,
        }
    }

    /// Adds a file of this many bytes.
    pub(super) fn push(&mut self, file: T, bytes: u64) {
        // What a tree says of sizes may be anything.
        let together = self.last_bytes.saturating_add(bytes);
        let full = self.last.len() == FILES || (!self.last.is_empty() && together > BYTES);
        if full {
            self.full.push(std::mem::take(&mut self.last));
        }
        self.last_bytes = if full { bytes } else { together };
        self.last.push(file);
    }

    /// The groups, none of them empty, in the order in which they were begun.
    pub(super) fn finish(mut self) -> Vec<Vec<T>> {
        if !self.last.is_empty() {
            self.full.push(self.last);
        }
        self.full
    }
}

/// Hands the files of `group` to `write` with their contents, then those of the groups that `more` has, each of which is
/// being read while the one before is written.
pub(super) fn write<T: AsRef<Entry>>(
    store: &Access,
    domain: Domain,
    group: Vec<T>,
    mut more: impl FnMut() -> Option<Vec<T>>,
    mut write: impl FnMut(T, &[u8]) -> Result<()>,
) -> Result<()> {
    let start = |group: Vec<T>| {
        let entries = group.iter().map(AsRef::as_ref);
        let keys: Vec<Key> = entries
            .filter(|entry| has_content(entry))
            .map(|entry| Key {
                domain,
                kind: Kind::Data,
                id: entry.id,
            })
            .collect();
        let store = store.clone();
        let contents = Started::new(async move { store.get_many(&keys).await });
        (group, contents)
    };
    let mut coming = VecDeque::from([start(group)]);
    while let Some((group, contents)) = coming.pop_front() {
        while coming.len() < AHEAD {
            match more() {
                Some(group) => coming.push_back(start(group)),
                None => break,
            }
        }
        let mut contents = store.block_on(contents).into_iter();
        for file in group {
            let content = match has_content(file.as_ref()) {
                true => contents.next().expect("an answer for each key")?,
                false => Bytes::new(),
            };
            write(file, &content)?;
        }
    }
    Ok(())
}

fn has_content(entry: &Entry) -> bool {
    entry.size > 0 && matches!(entry.kind, EntryKind::File | EntryKind::Symlink)
}
