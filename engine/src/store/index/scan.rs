//! Iteration over a stripe, a bucket at a time, with no lock held in between.
//!
//! Invariant: an entry that is there during the whole iteration is yielded exactly once, whatever is inserted,
//! removed, split or merged meanwhile; one that comes or goes may or may not be. The position is the next spread in
//! bit-reversed order: buckets cover intervals of it, and entries before it are skipped (after a merge).

use super::Index;
use super::bucket::Item;
use super::entry::is_up;
use super::key::IndexKey;
use super::slot::{Entry, Flag};
use super::stripe::after;

/// Iterator over the entries of one stripe; see [`Index::entries`].
pub struct Entries<'a> {
    index: &'a Index,
    stripe: usize,
    /// Next spread to cover; `None` at the end.
    next: Option<u32>,
    found: Vec<Entry>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(index: &'a Index, stripe: usize) -> Entries<'a> {
        Entries {
            index,
            stripe,
            next: Some(0),
            found: Vec::new(),
        }
    }

    /// Reads the bucket that covers `spread` under its stripe's lock.
    fn read(&mut self, spread: u32) {
        let writer = self.index.writer(self.stripe);
        let bucket = writer.bucket(spread);
        let (from, prefix) = (spread.reverse_bits(), bucket.identity().prefix());
        let widths = self.index.widths;
        let wanted = bucket
            .items()
            .filter(|item| widths.spread_of(item.entry, prefix).reverse_bits() >= from);
        let stripe = self.stripe;
        self.found.extend(wanted.map(|Item { print, entry }| Entry {
            key: IndexKey::of(stripe, print, widths.tail_of(entry, prefix)),
            slot: widths.slot_of(entry),
            marked: is_up(entry, Flag::Marked),
            shared: is_up(entry, Flag::Shared),
        }));
        self.next = after(bucket.identity());
    }
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        while self.found.is_empty() {
            let spread = self.next?;
            self.read(spread);
        }
        self.found.pop()
    }
}
