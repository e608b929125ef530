//! A bucket: up to 32 entries that share a stripe and the low bits of their spread.
//!
//! A header of one cache line holds what a look-up needs to choose an entry: version, identity, a one-byte print per
//! entry, and the names of up to four groups of eight packed 28-byte entries. Groups come and go one at a time and
//! the last may be a half, so that a bucket wastes three entries at most: 32 to 36 bytes per entry in all.
//! Invariants: entries are packed at positions 0..count, and the count alone says which groups exist; everything is
//! written under the stripe's lock and (flags apart) inside [`version::write`]. The identity says which keys a bucket
//! holds; live buckets of a stripe partition its keys, so a consistent read of a bucket that covers a key is the
//! truth about that key, whichever (stale) way led to it.
//! Rejected: fixed 4 KiB pages split in halves (uniform keys fill all pages in step, and the average occupancy falls
//! to half right after the splits: 58 bytes per entry); 64 entries and two header lines (measured: no smaller, and
//! 105 to 180 ns per batched look-up among 10 M where this takes 72); structure of arrays within a group (three
//! cache lines per entry instead of 1.4).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::arena::{
    Arena, BUCKET_ENTRIES, EntryWords, GROUP_ENTRIES, Group, HALF_ENTRIES, Half, Header, NONE, Name, prefetch,
};
use super::key::IndexKey;
use super::slot::{FLAGS, Flag, Slot};
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
    /// Position, and the words of slot and flags.
    At(usize, [u32; 3]),
}

/// One entry on its way between buckets.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) key: IndexKey,
    /// Slot and flags.
    pub(super) slot: [u32; 3],
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

    #[inline]
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

    /// Positions whose print is the key's, as bits: few, mostly the right one or none.
    #[inline]
    pub(super) fn candidates(&self, key: &IndexKey) -> Option<u32> {
        let identity = self.identity();
        if !identity.covers(key.stripe(), key.spread()) {
            return None;
        }
        let present = (1u64 << (identity.count() & 63)) - 1;
        Some(matching(&self.header.prints, key.print()) & present as u32)
    }

    /// Brings the first candidate's entry near.
    #[inline]
    pub(super) fn prefetch_entry(&self, candidates: u32) {
        if candidates != 0
            && let Some(entry) = self.entry(candidates.trailing_zeros() as usize)
        {
            prefetch(&entry[0]);
            prefetch(&entry[entry.len() - 1]);
        }
    }

    /// Brings the place near where the next entry will go.
    #[inline]
    pub(super) fn prefetch_end(&self) {
        // Masked, since nothing is locked: a torn read prefetches in vain.
        if let Some(entry) = self.entry(self.identity().count() % BUCKET_ENTRIES) {
            prefetch(&entry[0]);
            prefetch(&entry[entry.len() - 1]);
        }
    }

    /// Which of the candidates has the whole key.
    #[inline]
    pub(super) fn choose(&self, key: &IndexKey, mut candidates: u32) -> Found {
        let wanted = key.words();
        while candidates != 0 {
            let position = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            if let Some(entry) = self.entry(position)
                && (0..4).all(|word| entry[word].load(Relaxed) == wanted[word])
            {
                return Found::At(position, [4, 5, 6].map(|word: usize| entry[word].load(Relaxed)));
            }
        }
        Found::Absent
    }

    /// Looks for a key, without any check that no writer interferes.
    #[inline]
    pub(super) fn find(&self, key: &IndexKey) -> Found {
        self.candidates(key)
            .map_or(Found::Elsewhere, |candidates| self.choose(key, candidates))
    }

    /// All entries. Under the stripe's lock.
    pub(super) fn items(self) -> impl Iterator<Item = Item> {
        (0..self.identity().count()).map(move |position| self.item(position))
    }

    fn item(&self, position: usize) -> Item {
        let entry = self.entry_held(position);
        Item {
            key: IndexKey::from_words([0, 1, 2, 3].map(|word: usize| entry[word].load(Relaxed))),
            slot: [4, 5, 6].map(|word: usize| entry[word].load(Relaxed)),
        }
    }

    /// Raises a flag: one word, so readers need no version to see it whole.
    pub(super) fn raise(&self, flag: Flag, position: usize) {
        let word = &self.entry_held(position)[6];
        word.store(word.load(Relaxed) | flag.bit(), Relaxed);
    }

    /// Lowers a flag of all entries; writes only where it is up.
    pub(super) fn lower(&self, flag: Flag) {
        for position in 0..self.identity().count() {
            let word = &self.entry_held(position)[6];
            let before = word.load(Relaxed);
            if before & flag.bit() != 0 {
                word.store(before & !flag.bit(), Relaxed);
            }
        }
    }

    /// Makes an unused block a live, empty bucket of `stripe`.
    pub(super) fn make(arena: &'a Arena, stripe: usize, identity: Identity) -> Bucket<'a> {
        let bucket = Bucket::at(arena, arena.allocate::<Header>(stripe));
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
        self.arena.free::<Header>(stripe, self.name);
    }

    /// Adds an entry; there must be room.
    pub(super) fn push(&self, stripe: usize, item: &Item) {
        let count = self.identity().count();
        assert!(count < BUCKET_ENTRIES, "a bucket is full");
        version::write(self.version(), || {
            match count % GROUP_ENTRIES {
                0 => self.set_group(count, self.new_group(stripe, false)),
                HALF_ENTRIES => self.resize_group(stripe, count, true),
                _ => {}
            }
            self.put(count, item);
            self.set_count(count + 1);
        });
    }

    /// Replaces the slot at a position; flags stay.
    pub(super) fn set_slot(&self, position: usize, slot: Slot) {
        let entry = self.entry_held(position);
        let mut words = slot.pack();
        words[2] |= entry[6].load(Relaxed) & FLAGS;
        version::write(self.version(), || {
            for (word, value) in entry[4..].iter().zip(words) {
                word.store(value, Relaxed);
            }
        });
    }

    /// Removes the entry at a position; the last one takes its place.
    pub(super) fn remove(&self, stripe: usize, position: usize) {
        let last = self.identity().count() - 1;
        let item = self.item(last);
        version::write(self.version(), || {
            self.put(position, &item);
            self.set_count(last);
            match last % GROUP_ENTRIES {
                0 => {
                    self.free_group(stripe, self.group(last), false);
                    self.set_group(last, NONE);
                }
                HALF_ENTRIES => self.resize_group(stripe, last, false),
                _ => {}
            }
        });
    }

    /// Makes `items` the whole contents, under a new identity.
    pub(super) fn refill(&self, stripe: usize, identity: Identity, items: &[Item]) {
        assert!(items.len() <= BUCKET_ENTRIES, "a bucket is full");
        version::write(self.version(), || {
            self.release_groups(stripe);
            for first in (0..items.len()).step_by(GROUP_ENTRIES) {
                self.set_group(first, self.new_group(stripe, items.len() - first > HALF_ENTRIES));
            }
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

    fn new_group(&self, stripe: usize, whole: bool) -> Name {
        if whole {
            self.arena.allocate::<Group>(stripe)
        } else {
            self.arena.allocate::<Half>(stripe)
        }
    }

    /// Moves the four entries before `position` from a half to a whole group or back.
    fn resize_group(&self, stripe: usize, position: usize, whole: bool) {
        let (old, new) = (self.group(position), self.new_group(stripe, whole));
        for place in 0..HALF_ENTRIES {
            for (to, from) in self
                .arena
                .entry(new, place)
                .iter()
                .zip(self.arena.entry(old, place))
            {
                to.store(from.load(Relaxed), Relaxed);
            }
        }
        self.set_group(position, new);
        self.free_group(stripe, old, !whole);
    }

    /// Gives all groups back, according to the count.
    fn release_groups(&self, stripe: usize) {
        let count = self.identity().count();
        for first in (0..count).step_by(GROUP_ENTRIES) {
            self.free_group(stripe, self.group(first), count - first > HALF_ENTRIES);
            self.set_group(first, NONE);
        }
    }

    fn free_group(&self, stripe: usize, name: Name, whole: bool) {
        if whole {
            self.arena.free::<Group>(stripe, name);
        } else {
            self.arena.free::<Half>(stripe, name);
        }
    }

    fn put(&self, position: usize, item: &Item) {
        let entry = self.entry_held(position);
        let words = item.key.words().into_iter().chain(item.slot);
        for (word, value) in entry.iter().zip(words) {
            word.store(value, Relaxed);
        }
        let prints = &self.header.prints[position / 8];
        let shift = position % 8 * 8;
        let cleared = prints.load(Relaxed) & !(0xff << shift);
        prints.store(cleared | u64::from(item.key.print()) << shift, Relaxed);
    }
}

/// Bit per position whose byte equals `print`: eight bytes at a time in plain integers, since the intrinsics for it
/// want `unsafe`.
#[inline]
fn matching(prints: &[AtomicU64; BUCKET_ENTRIES / 8], print: u8) -> u32 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const REST: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    /// Moves the lowest bit of byte i to bit 56 + i.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let wanted = u64::from(print) * LOW;
    let mut found = 0;
    for (part, word) in prints.iter().enumerate() {
        let different = word.load(Relaxed) ^ wanted;
        let equal = !(((different & REST) + REST) | different | REST); // 0x80 in equal bytes, 0 elsewhere
        found |= ((equal >> 7).wrapping_mul(GATHER) >> 56) << (part * 8);
    }
    found as u32
}

const _: () = assert!(BUCKET_ENTRIES == 32, "positions are the bits of a u32");
