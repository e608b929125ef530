//! The stat cache's records of one directory, gone through along with the names found in it.
//!
//! Both come in byte order, so the comparison is one merge without a look-up.

use super::stat_cache::StatCache;
use super::stat_record::{Cursor, Record};
use crate::trees::EntryKind;

/// The cache's records of one directory, gone through along with its names.
pub(super) struct Known<'a> {
    of: Option<(&'a StatCache, Cursor<'a>)>,
    /// Whether the present record's name was asked for; `None` when there is no present record.
    asked: Option<bool>,
    /// Some record has no name any more, or can't be read.
    missing: bool,
}

impl<'a> Known<'a> {
    pub(super) fn new(cache: Option<&'a StatCache>, section: Option<usize>) -> Known<'a> {
        let mut known = Known {
            of: cache
                .zip(section)
                .map(|(cache, section)| (cache, cache.records(section))),
            asked: None,
            missing: false,
        };
        known.step();
        known
    }

    fn step(&mut self) {
        let next = self.of.as_mut().and_then(|(_, cursor)| cursor.advance());
        self.missing |= matches!(next, Some(None));
        self.asked = next.flatten().map(|_| false);
    }

    /// Leaves the present record behind; a directory's sections with it.
    fn pass(&mut self) {
        self.missing |= self.asked == Some(false);
        if let Some((cache, cursor)) = &mut self.of
            && cursor.record().kind == EntryKind::Directory
        {
            cursor.pass_child(cache.sibling(cursor.child()));
        }
        self.step();
    }

    /// The record of this name; names come in byte order, each once.
    pub(super) fn find(&mut self, name: &[u8]) -> Option<&Record> {
        while self.asked.is_some() {
            match self.of.as_ref()?.1.name().cmp(name) {
                std::cmp::Ordering::Less => self.pass(),
                std::cmp::Ordering::Equal => {
                    self.asked = Some(true);
                    return Some(self.of.as_ref()?.1.record());
                }
                std::cmp::Ordering::Greater => return None,
            }
        }
        None
    }

    /// The record of this subdirectory and its section.
    pub(super) fn directory(&mut self, name: &[u8]) -> (Option<Record>, Option<usize>) {
        let record = self
            .find(name)
            .filter(|record| record.kind == EntryKind::Directory)
            .cloned();
        let section = self.of.as_ref().map(|(_, cursor)| cursor.child());
        let section = section.filter(|_| record.is_some());
        (record, section)
    }

    /// Goes through the rest; whether the cache knows names that are not there any more.
    pub(super) fn finish(&mut self) -> bool {
        while self.asked.is_some() {
            self.pass();
        }
        self.missing
    }
}
