//! A bucket: up to 64 entries that share a stripe and the low bits of their spread.
//!
//! A header of two cache lines holds what a look-up needs to choose an entry: version, identity, the flags of all
//! entries as bit maps, the names of up to eight groups, and a one-byte print per entry. Groups of eight packed
//! 28-byte entries are added and removed one at a time, so a bucket is never emptier than half of a header and one
//! group: 31 to 36 bytes per entry in all.
//! Invariants: entries are packed at positions 0..count; everything is written under the stripe's lock and, except
//! for flags, inside [`version::write`]. The identity says which keys a bucket holds; live buckets of a stripe
//! partition its keys, so a consistent read of a bucket that covers a key is the truth about that key, whichever
//! (stale) way led to it.
//! Rejected: fixed 4 KiB pages split in halves (uniform keys fill all pages in step, and the average occupancy falls
//! to half right after the splits: 58 bytes per entry); structure of arrays within a group (three cache lines per
//! look-up instead of 1.4).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::arena::{Arena, BUCKET_ENTRIES, ENTRY_WORDS, GROUP_ENTRIES, Group, Header, NONE, Name, prefetch};
use super::key::IndexKey;
use super::slot::{Flag, Slot};
use super::version;

/// Which keys a bucket holds, and how many of them it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64);

impl Identity {
    /// Of a bucket that holds nothing and covers no key.
    pub(super) const DEAD: Identity = Identity(0);
    const LIVE: u64 = 1 << 63;

    /// A live bucket for the keys of `stripe` whose spread ends in the `depth` bits of `prefix`.
    pub(super) fn new(stripe: usize, depth: u32, prefix: u32) -> Identity {
        debug_assert!(depth < 32 && prefix >> depth == 0);
        Identity(Self::LIVE | (stripe as u64) << 48 | u64::from(depth) << 40 | u64::from(prefix))
    }

    fn with_count(self, count: usize) -> Identity {
        Identity(self.0 & !(0xff << 32) | (count as u64) << 32)
    }

    pub(super) fn count(self) -> usize {
        usize::from((self.0 >> 32) as u8)
    }

    pub(super) fn depth(self) -> u32 {
        u32::from((self.0 >> 40) as u8)
    }

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
    At(usize, [u32; 3]),
}

/// One entry on its way between buckets.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) key: IndexKey,
    pub(super) slot: [u32; 3],
    pub(super) marked: bool,
    pub(super) shared: bool,
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
        prefetch(&self.header.prints);
    }

    #[inline]
    fn entry(&self, position: usize) -> Option<&'a [AtomicU32; ENTRY_WORDS]> {
        let group = self.header.groups[position / GROUP_ENTRIES].load(Relaxed);
        // Only a torn read meets a missing group.
        (group != NONE).then(|| &self.arena.block::<Group>(group).0[position % GROUP_ENTRIES])
    }

    #[inline]
    fn entry_held(&self, position: usize) -> &'a [AtomicU32; ENTRY_WORDS] {
        self.entry(position)
            .expect("positions below the count have a group")
    }

    /// Positions whose print is the key's: few, mostly the right one or none.
    #[inline]
    pub(super) fn candidates(&self, key: &IndexKey) -> Option<u64> {
        let identity = self.identity();
        if !identity.covers(key.stripe(), key.spread()) {
            return None;
        }
        let mask = 1u64
            .checked_shl(identity.count() as u32)
            .map_or(u64::MAX, |bit| bit - 1);
        Some(matching(&self.header.prints, key.print()) & mask)
    }

    /// Brings the first candidate's entry near.
    #[inline]
    pub(super) fn prefetch_entry(&self, candidates: u64) {
        if candidates != 0
            && let Some(entry) = self.entry(candidates.trailing_zeros() as usize)
        {
            prefetch(&entry[0]);
            prefetch(&entry[ENTRY_WORDS - 1]);
        }
    }

    /// Which of the candidates has the whole key.
    #[inline]
    pub(super) fn choose(&self, key: &IndexKey, mut candidates: u64) -> Found {
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

    /// The entry at a position below the count.
    pub(super) fn item(&self, position: usize) -> Option<Item> {
        let entry = self.entry(position)?;
        Some(Item {
            key: IndexKey::from_words([0, 1, 2, 3].map(|word: usize| entry[word].load(Relaxed))),
            slot: [4, 5, 6].map(|word: usize| entry[word].load(Relaxed)),
            marked: self.flag(Flag::Marked, position),
            shared: self.flag(Flag::Shared, position),
        })
    }

    fn flags(&self, flag: Flag) -> &'a AtomicU64 {
        match flag {
            Flag::Marked => &self.header.marked,
            Flag::Shared => &self.header.shared,
        }
    }

    pub(super) fn flag(&self, flag: Flag, position: usize) -> bool {
        self.flags(flag).load(Relaxed) >> position & 1 == 1
    }

    /// Sets one flag. Under the stripe's lock, but outside the version: flags are no part of a look-up's answer.
    pub(super) fn set_flag(&self, flag: Flag, position: usize, up: bool) {
        let flags = self.flags(flag);
        let bit = 1 << position;
        let before = flags.load(Relaxed);
        flags.store(if up { before | bit } else { before & !bit }, Relaxed);
    }

    /// Lowers one flag of all entries.
    pub(super) fn lower(&self, flag: Flag) {
        self.flags(flag).store(0, Relaxed);
    }

    /// Makes an unused block a live, empty bucket.
    pub(super) fn make(arena: &'a Arena, identity: Identity) -> Bucket<'a> {
        let stripe = identity.0 >> 48 & 0x7fff;
        let bucket = Bucket::at(arena, arena.allocate::<Header>(stripe as usize));
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
            self.shrink(stripe, 0);
            self.header.identity.store(Identity::DEAD.0, Relaxed);
        });
        self.arena.free::<Header>(stripe, self.name);
    }

    /// Adds an entry; there must be room.
    pub(super) fn push(&self, stripe: usize, item: &Item) {
        version::write(self.version(), || self.append(stripe, item));
    }

    /// Replaces the slot at a position.
    pub(super) fn set_slot(&self, position: usize, slot: Slot) {
        let entry = self.entry_held(position);
        version::write(self.version(), || {
            for (word, value) in entry[4..].iter().zip(slot.pack()) {
                word.store(value, Relaxed);
            }
        });
    }

    /// Removes the entry at a position; the last one takes its place.
    pub(super) fn remove(&self, stripe: usize, position: usize) {
        let last = self.identity().count() - 1;
        let item = self.item(last).expect("the last entry has a group");
        version::write(self.version(), || {
            self.put(position, &item);
            self.set_count(last);
            self.shrink(stripe, last);
        });
    }

    /// Makes `items` the whole contents, under a new identity.
    pub(super) fn refill(&self, stripe: usize, identity: Identity, items: &[Item]) {
        version::write(self.version(), || {
            self.header.identity.store(identity.0, Relaxed);
            for (position, item) in items.iter().enumerate() {
                self.grow(stripe, position);
                self.put(position, item);
            }
            self.set_count(items.len());
            self.shrink(stripe, items.len());
        });
    }

    fn append(&self, stripe: usize, item: &Item) {
        let count = self.identity().count();
        self.grow(stripe, count);
        self.put(count, item);
        self.set_count(count + 1);
    }

    fn set_count(&self, count: usize) {
        let identity = self.identity().with_count(count);
        self.header.identity.store(identity.0, Relaxed);
    }

    /// Makes sure that `position` has a group.
    fn grow(&self, stripe: usize, position: usize) {
        let group = &self.header.groups[position / GROUP_ENTRIES];
        if group.load(Relaxed) == NONE {
            group.store(self.arena.allocate::<Group>(stripe), Relaxed);
        }
    }

    /// Gives back the groups that `count` entries do not need.
    fn shrink(&self, stripe: usize, count: usize) {
        for group in &self.header.groups[count.div_ceil(GROUP_ENTRIES)..] {
            let name = group.swap(NONE, Relaxed);
            if name != NONE {
                self.arena.free::<Group>(stripe, name);
            }
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
        self.set_flag(Flag::Marked, position, item.marked);
        self.set_flag(Flag::Shared, position, item.shared);
    }
}

/// Bit per position whose byte equals `print`: eight bytes at a time in plain integers. The intrinsics for it want
/// `unsafe` and are not faster next to a cache miss.
#[inline]
fn matching(prints: &[AtomicU64; BUCKET_ENTRIES / 8], print: u8) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const REST: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    /// Moves the lowest bit of byte i to bit 56 + i.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let wanted = u64::from(print) * LOW;
    let mut found = 0;
    for (part, word) in prints.iter().enumerate() {
        let different = word.load(Relaxed) ^ wanted;
        let equal = !(((different & REST) + REST) | different | REST); // 0x80 in equal bytes, 0 elsewhere
        found |= (equal >> 7).wrapping_mul(GATHER) >> 56 << (part * 8);
    }
    found
}
