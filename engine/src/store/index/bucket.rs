//! A bucket: up to 32 entries that share a stripe and the low bits of their spread.
//!
//! A header of one cache line holds what a look-up needs to choose an entry: version, identity, a one-byte print per
//! entry, and the names of up to four groups of eight entries. Groups come and go one at a time, and the last is made
//! as small as its entries allow, two by two, so that a bucket wastes one entry at most: about 20 bytes per entry in
//! all in an index that has grown, up to 23 where all buckets were made at once and fill in step.
//! Invariants: entries are packed at positions 0..count, and the count alone says which groups exist; everything is
//! written under the stripe's lock and (flags apart) inside [`version::write`]. The identity says which keys a bucket
//! holds; live buckets of a stripe partition its keys, so a consistent read of a bucket that covers a key is the
//! truth about that key, whichever (stale) way led to it.
//! Rejected: fixed 4 KiB pages split in halves (uniform keys fill all pages in step, and the average occupancy falls
//! to half right after the splits); 64 entries and two header lines (measured: no smaller, and 105 to 180 ns per batched
//! look-up among 10 M where this took 72); one block per bucket that grows with it (while all buckets grow in step the
//! blocks they have outgrown are of no use to anybody).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::arena::{
    Arena, BUCKET_ENTRIES, EntryWords, GROUP_ENTRIES, GROUP_STEP, Header, NONE, Name, prefetch,
};
use super::entry::{Sought, is_up};
use super::prints::matching;
use super::slot::Flag;
use super::version;

/// Which keys a bucket holds, and how many of them it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64);

impl Identity {
    /// Of a bucket that holds nothing and covers no key.
    const DEAD: Identity = Identity(0);
    const LIVE: u64 = 1 << 63;

    /// A live, empty bucket for the keys of `stripe` whose spread ends in the `depth` bits of `prefix`.
    pub(super) fn new(stripe: usize, depth: u32, prefix: u32) -> Identity {
        debug_assert!(depth < 32 && prefix >> depth == 0);
        Identity(Self::LIVE | (stripe as u64) << 48 | u64::from(depth) << 40 | u64::from(prefix))
    }

    fn with_count(self, count: usize) -> Identity {
        Identity(self.0 & !(0xff << 32) | (count as u64) << 32)
    }

    #[inline]
    pub(super) fn count(self) -> usize {
        usize::from((self.0 >> 32) as u8)
    }

    #[inline]
    pub(super) fn depth(self) -> u32 {
        u32::from((self.0 >> 40) as u8)
    }

    #[inline]
    pub(super) fn prefix(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(super) fn covers(self, stripe: usize, spread: u32) -> bool {
        let same_stripe = self.0 >> 48 == Self::LIVE >> 48 | stripe as u64;
        same_stripe && (spread ^ self.prefix()) & ((1 << (self.depth() & 31)) - 1) == 0
    }
}

/// What a look at a bucket found; worth nothing until the version is known to have stayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The bucket does not hold this key's part of the stripe.
    Elsewhere,
    Absent,
    /// Position and entry.
    At(usize, u128),
}

/// One entry on its way between buckets.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) print: u8,
    pub(super) entry: u128,
}

/// A bucket in its arena. Reading needs a version check around it; changing needs the stripe's lock.
#[derive(Clone, Copy)]
pub(super) struct Bucket<'a> {
    arena: &'a Arena,
    name: Name,
    header: &'a Header,
}

impl<'a> Bucket<'a> {
    #[inline]
    pub(super) fn at(arena: &'a Arena, name: Name) -> Bucket<'a> {
        Bucket {
            arena,
            name,
            header: arena.block(name),
        }
    }

    pub(super) fn name(&self) -> Name {
        self.name
    }

    #[inline]
    pub(super) fn version(&self) -> &'a AtomicU64 {
        &self.header.version
    }

    #[inline]
    pub(super) fn identity(&self) -> Identity {
        Identity(self.header.identity.load(Relaxed))
    }

    #[inline]
    pub(super) fn prefetch(&self) {
        prefetch(&self.header.version);
    }

    #[inline]
    fn entry(&self, position: usize) -> Option<&'a EntryWords> {
        let group = self.header.groups[position / GROUP_ENTRIES % 4].load(Relaxed);
        // Only a torn read meets a missing group.
        (group != NONE).then(|| self.arena.entry(group, position % GROUP_ENTRIES))
    }

    #[inline]
    fn entry_held(&self, position: usize) -> &'a EntryWords {
        self.entry(position)
            .expect("positions below the count have a group")
    }

    /// Positions whose print is the one sought, as bits: few, mostly the right one or none.
    #[inline]
    pub(super) fn candidates(&self, sought: &Sought) -> Option<u32> {
        let identity = self.identity();
        if !identity.covers(sought.stripe, sought.spread) {
            return None;
        }
        let present = (1u64 << (identity.count() & 63)) - 1;
        let prints = self.header.prints.each_ref().map(|word| word.load(Relaxed));
        Some(matching(prints, sought.print) & present as u32)
    }

    /// Brings the candidates' entries near.
    #[inline]
    pub(super) fn prefetch_entries(&self, mut candidates: u32) {
        while candidates != 0 {
            if let Some(entry) = self.entry(candidates.trailing_zeros() as usize) {
                prefetch(entry);
            }
            candidates &= candidates - 1;
        }
    }

    /// Brings the place near where the next entry will go.
    #[inline]
    pub(super) fn prefetch_end(&self) {
        // Masked, since nothing is locked: a torn read prefetches in vain.
        if let Some(entry) = self.entry(self.identity().count() % BUCKET_ENTRIES) {
            prefetch(entry);
        }
    }

    /// Which of the candidates has the key.
    #[inline]
    pub(super) fn choose(&self, sought: &Sought, mut candidates: u32) -> Found {
        while candidates != 0 {
            let position = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            if let Some(words) = self.entry(position) {
                let entry = load(words);
                if sought.is(entry) {
                    return Found::At(position, entry);
                }
            }
        }
        Found::Absent
    }

    /// Looks for a key, without any check that no writer interferes.
    #[inline]
    pub(super) fn find(&self, sought: &Sought) -> Found {
        self.candidates(sought)
            .map_or(Found::Elsewhere, |candidates| self.choose(sought, candidates))
    }

    /// All entries. Under the stripe's lock.
    pub(super) fn items(self) -> impl Iterator<Item = Item> {
        (0..self.identity().count()).map(move |position| self.item(position))
    }

    fn item(&self, position: usize) -> Item {
        let prints = self.header.prints[position / 8].load(Relaxed);
        Item {
            print: (prints >> (position % 8 * 8)) as u8,
            entry: load(self.entry_held(position)),
        }
    }

    /// Raises a flag: one word, so readers need no version to see it whole.
    pub(super) fn raise(&self, flag: Flag, position: usize) {
        let word = &self.entry_held(position)[0];
        word.store(word.load(Relaxed) | flag.bit(), Relaxed);
    }

    /// Lowers a flag of all entries; writes only where it is up.
    pub(super) fn lower(&self, flag: Flag) {
        for position in 0..self.identity().count() {
            let word = &self.entry_held(position)[0];
            let before = word.load(Relaxed);
            if is_up(before.into(), flag) {
                word.store(before & !flag.bit(), Relaxed);
            }
        }
    }

    /// Makes an unused block a live, empty bucket of `stripe`.
    pub(super) fn make(arena: &'a Arena, stripe: usize, identity: Identity) -> Bucket<'a> {
        let bucket = Bucket::at(arena, arena.free_blocks(stripe).take::<Header>());
        version::write(bucket.version(), || {
            for group in &bucket.header.groups {
                group.store(NONE, Relaxed);
            }
            bucket.header.identity.store(identity.0, Relaxed);
        });
        bucket
    }

    /// Takes the bucket out of use and gives all its memory back.
    pub(super) fn destroy(self, stripe: usize) {
        version::write(self.version(), || {
            self.release_groups(stripe);
            self.header.identity.store(Identity::DEAD.0, Relaxed);
        });
        self.arena.free_blocks(stripe).give::<Header>(self.name);
    }

    /// Adds an entry; there must be room.
    pub(super) fn push(&self, stripe: usize, item: &Item) {
        let count = self.identity().count();
        assert!(count < BUCKET_ENTRIES, "a bucket is full");
        version::write(self.version(), || {
            let held = count % GROUP_ENTRIES;
            if held.is_multiple_of(GROUP_STEP) {
                self.resize_group(stripe, count - held, held, held + 1);
            }
            self.put(count, item);
            self.set_count(count + 1);
        });
    }

    /// Replaces the entry at a position by another one of the same key.
    pub(super) fn set(&self, position: usize, entry: u128) {
        let words = self.entry_held(position);
        version::write(self.version(), || store(words, entry));
    }

    /// Removes the entry at a position; the last one takes its place.
    pub(super) fn remove(&self, stripe: usize, position: usize) {
        let last = self.identity().count() - 1;
        let item = self.item(last);
        version::write(self.version(), || {
            self.put(position, &item);
            self.set_count(last);
            let held = last % GROUP_ENTRIES;
            if held.is_multiple_of(GROUP_STEP) {
                self.resize_group(stripe, last - held, held + 1, held);
            }
        });
    }

    /// Makes `items` the whole contents, under a new identity.
    pub(super) fn refill(&self, stripe: usize, identity: Identity, items: &[Item]) {
        assert!(items.len() <= BUCKET_ENTRIES, "a bucket is full");
        version::write(self.version(), || {
            self.release_groups(stripe);
            let mut free = self.arena.free_blocks(stripe);
            for first in (0..items.len()).step_by(GROUP_ENTRIES) {
                let entries = (items.len() - first).min(GROUP_ENTRIES);
                self.set_group(first, free.take_group(entries));
            }
            drop(free);
            for (position, item) in items.iter().enumerate() {
                self.put(position, item);
            }
            self.header
                .identity
                .store(identity.with_count(items.len()).0, Relaxed);
        });
    }

    fn set_count(&self, count: usize) {
        let identity = self.identity().with_count(count);
        self.header.identity.store(identity.0, Relaxed);
    }

    fn group(&self, position: usize) -> Name {
        self.header.groups[position / GROUP_ENTRIES].load(Relaxed)
    }

    fn set_group(&self, position: usize, name: Name) {
        self.header.groups[position / GROUP_ENTRIES].store(name, Relaxed);
    }

    /// Makes a group of room for `before` entries one of room for `after`, either of which may be none. The entries
    /// that both have room for stay.
    fn resize_group(&self, stripe: usize, first: usize, before: usize, after: usize) {
        let old = self.group(first);
        let mut free = self.arena.free_blocks(stripe);
        let new = match after {
            0 => NONE,
            _ => free.take_group(after),
        };
        for place in 0..before.min(after) {
            store(self.arena.entry(new, place), load(self.arena.entry(old, place)));
        }
        self.set_group(first, new);
        if before > 0 {
            free.give_group(before, old);
        }
    }

    /// Gives all groups back, according to the count.
    fn release_groups(&self, stripe: usize) {
        let count = self.identity().count();
        for first in (0..count).step_by(GROUP_ENTRIES) {
            let entries = (count - first).min(GROUP_ENTRIES);
            self.resize_group(stripe, first, entries, 0);
        }
    }

    fn put(&self, position: usize, item: &Item) {
        store(self.entry_held(position), item.entry);
        let prints = &self.header.prints[position / 8];
        let shift = position % 8 * 8;
        let cleared = prints.load(Relaxed) & !(0xff << shift);
        prints.store(cleared | u64::from(item.print) << shift, Relaxed);
    }
}

#[inline]
fn load(words: &EntryWords) -> u128 {
    let [low, high] = words;
    u128::from(high.load(Relaxed)) << u64::BITS | u128::from(low.load(Relaxed))
}

fn store(words: &EntryWords, entry: u128) {
    let [low, high] = words;
    low.store(entry as u64, Relaxed); // the low half
    high.store((entry >> u64::BITS) as u64, Relaxed);
}
