//! A stripe: the directory that leads from a key to its bucket, and the lock of the bucket's writers.
//!
//! Extendible hashing: the low `depth` bits of a key's spread index the directory; several words may name one bucket.
//! Because the low bits are used, doubling leaves the old half where it is: the directory is a list of segments that
//! are never moved or freed, and doubling copies names, never entries. Invariants: a word always names some header;
//! whether it is the right one the bucket's identity tells, so readers may use a directory of any age. One change
//! moves the entries of at most one bucket (counted in [`Work`], tested).

use std::sync::atomic::{
    AtomicU32, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use parking_lot::{Mutex, MutexGuard};

use super::arena::{Arena, BUCKET_ENTRIES, NONE, Name, prefetch};
use super::bucket::{Bucket, Found, Identity, Item};
use super::entry::{Sought, Widths};

/// Depth of a directory that has only its first segment.
const DEPTH_MIN: u32 = 4;
const SEGMENTS: usize = 15;
/// 2^18 words per stripe lead to more buckets than the arena can name.
const DEPTH_MAX: u32 = DEPTH_MIN + SEGMENTS as u32 - 1;
/// Two sister buckets with at most this many entries together become one: far enough from a full bucket that
/// inserts and removals in turn don't split and merge in turn.
const MERGE_ENTRIES: usize = BUCKET_ENTRIES * 5 / 8;
/// A removal looks for its sister only below this count.
const MERGE_LOOK: usize = BUCKET_ENTRIES * 3 / 8;

/// What readers need: one cache line, written only when the directory doubles.
#[repr(align(64))]
pub(super) struct Directory {
    depth: AtomicU32,
    segments: [AtomicU32; SEGMENTS],
}

/// What writers need, apart from what readers read.
#[repr(align(64))]
#[derive(Default)]
pub(super) struct Gate {
    lock: Mutex<Work>,
    entries: AtomicUsize,
}

/// What changes of a stripe have cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Buckets split in two.
    pub splits: u64,
    /// Buckets merged into their sister.
    pub merges: u64,
    /// Most entries read or moved by a single split or merge.
    pub entries_max: usize,
    /// Most directory words written by a single change.
    pub words_max: usize,
}

impl Directory {
    /// An empty directory of 2^`depth` empty buckets.
    pub(super) fn new(arena: &Arena, stripe: usize, depth: u32) -> Directory {
        let directory = Directory {
            depth: AtomicU32::new(depth.max(DEPTH_MIN)),
            segments: Default::default(),
        };
        // The first segment's words, then as many again as there are already.
        let counts = std::iter::once(DEPTH_MIN).chain(DEPTH_MIN..);
        for (segment, bits) in directory.segments.iter().zip(counts).take(directory.parts()) {
            segment.store(arena.carve_words(1 << bits), Relaxed);
        }
        for prefix in 0..1 << depth {
            let identity = Identity::new(stripe, depth, prefix);
            let bucket = Bucket::make(arena, stripe, identity);
            directory.lead(arena, identity, bucket.name(), &mut Work::default());
        }
        directory
    }

    /// Segments in use.
    fn parts(&self) -> usize {
        (self.depth.load(Relaxed) - DEPTH_MIN + 1) as usize
    }

    #[inline]
    pub(super) fn depth(&self) -> u32 {
        self.depth.load(Acquire)
    }

    #[inline]
    fn word<'a>(&self, arena: &'a Arena, index: usize) -> &'a AtomicU32 {
        if index < 1 << DEPTH_MIN {
            return &arena.words(self.segments[0].load(Relaxed), 1 << DEPTH_MIN)[index];
        }
        let bits = index.ilog2();
        let segment = self.segments[(bits - DEPTH_MIN + 1) as usize].load(Relaxed);
        &arena.words(segment, 1 << bits)[index - (1 << bits)]
    }

    /// The word that leads to a key's bucket.
    #[inline]
    pub(super) fn word_of<'a>(&self, arena: &'a Arena, spread: u32) -> &'a AtomicU32 {
        self.word(arena, spread as usize & ((1 << self.depth()) - 1))
    }

    /// The bucket that the directory names for a spread: the right one, or one that was.
    #[inline]
    pub(super) fn bucket<'a>(&self, arena: &'a Arena, spread: u32) -> Bucket<'a> {
        bucket_at(arena, self.word_of(arena, spread))
    }

    /// Doubles the directory; both halves lead to the same buckets.
    fn double(&self, arena: &Arena, work: &mut Work) {
        let depth = self.depth.load(Relaxed);
        assert!(
            depth < DEPTH_MAX,
            "a directory of the index has no room for another bucket"
        );
        let count = 1usize << depth;
        let segment = arena.carve_words(count);
        for (index, word) in arena.words(segment, count).iter().enumerate() {
            word.store(self.word(arena, index).load(Relaxed), Relaxed);
        }
        self.segments[(depth - DEPTH_MIN + 1) as usize].store(segment, Relaxed);
        self.depth.store(depth + 1, Release);
        work.words_max = work.words_max.max(count);
    }

    /// Points all words of a part of the stripe to `name`.
    fn lead(&self, arena: &Arena, identity: Identity, name: Name, work: &mut Work) {
        let step = 1usize << identity.depth();
        let end = 1usize << self.depth.load(Relaxed);
        for index in (identity.prefix() as usize..end).step_by(step) {
            self.word(arena, index).store(name, Release);
        }
        work.words_max = work.words_max.max(end / step);
    }
}

/// The bucket that a word of a directory names.
#[inline]
pub(super) fn bucket_at<'a>(arena: &'a Arena, word: &AtomicU32) -> Bucket<'a> {
    Bucket::at(arena, word.load(Acquire))
}

/// Depth at which the buckets of a stripe with this many entries are half full to full, as splits would have made them.
pub(super) fn depth_for(entries: u64) -> u32 {
    let buckets = entries / (BUCKET_ENTRIES as u64 / 2);
    buckets.max(1).ilog2().min(DEPTH_MAX)
}

impl Gate {
    /// Brings the lock near.
    #[inline]
    pub(super) fn prefetch(&self) {
        prefetch(self);
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.load(Relaxed)
    }
}

/// The right to change one stripe.
pub(super) struct Writer<'a> {
    arena: &'a Arena,
    directory: &'a Directory,
    gate: &'a Gate,
    widths: Widths,
    stripe: usize,
    work: MutexGuard<'a, Work>,
}

impl<'a> Writer<'a> {
    pub(super) fn lock(
        arena: &'a Arena,
        (directory, gate): (&'a Directory, &'a Gate),
        widths: Widths,
        stripe: usize,
    ) -> Self {
        Writer {
            arena,
            directory,
            gate,
            widths,
            stripe,
            work: gate.lock.lock(),
        }
    }

    pub(super) fn work(&self) -> Work {
        *self.work
    }

    /// The bucket that covers a spread.
    pub(super) fn bucket(&self, spread: u32) -> Bucket<'a> {
        let bucket = self.directory.bucket(self.arena, spread);
        assert!(
            bucket.identity().covers(self.stripe, spread),
            "the index is corrupt"
        );
        bucket
    }

    /// Position and entry of a key, with its bucket.
    pub(super) fn find(&self, sought: &Sought) -> (Bucket<'a>, Option<(usize, u128)>) {
        self.find_in(self.bucket(sought.spread), sought)
    }

    /// The same, where a look before the lock was taken has led to `bucket`, which may since have become another one.
    pub(super) fn find_from(
        &self,
        bucket: Bucket<'a>,
        sought: &Sought,
    ) -> (Bucket<'a>, Option<(usize, u128)>) {
        match bucket.identity().covers(self.stripe, sought.spread) {
            true => self.find_in(bucket, sought),
            false => self.find(sought),
        }
    }

    fn find_in(&self, bucket: Bucket<'a>, sought: &Sought) -> (Bucket<'a>, Option<(usize, u128)>) {
        match bucket.find(sought) {
            Found::At(position, entry) => (bucket, Some((position, entry))),
            Found::Absent => (bucket, None),
            Found::Elsewhere => unreachable!("the identity was checked"),
        }
    }

    /// Adds an entry for a key that has none; `bucket` is where it was not found.
    pub(super) fn insert(&mut self, mut bucket: Bucket<'a>, sought: &Sought, entry: u128) {
        while bucket.identity().count() == BUCKET_ENTRIES {
            self.split(bucket);
            bucket = self.bucket(sought.spread);
        }
        let print = sought.print;
        bucket.push(self.stripe, &Item { print, entry });
        self.gate.entries.store(self.gate.entries() + 1, Relaxed);
    }

    /// Removes an entry found under this lock.
    pub(super) fn remove(&mut self, bucket: Bucket<'a>, position: usize) {
        bucket.remove(self.stripe, position);
        self.gate.entries.store(self.gate.entries() - 1, Relaxed);
        if bucket.identity().count() < MERGE_LOOK {
            self.merge(bucket);
        }
    }

    fn split(&mut self, bucket: Bucket<'a>) {
        let old = bucket.identity();
        if old.depth() == self.directory.depth() {
            self.directory.double(self.arena, &mut self.work);
        }
        let bit = 1 << old.depth();
        let mut up = Vec::with_capacity(BUCKET_ENTRIES);
        let mut stay = Vec::with_capacity(BUCKET_ENTRIES);
        for item in bucket.items() {
            let half = if self.widths.spread_of(item.entry, old.prefix()) & bit != 0 {
                &mut up
            } else {
                &mut stay
            };
            half.push(item);
        }
        // The new bucket is complete and reachable before the old one stops covering its keys: at every moment some
        // bucket answers for each of them, and while both do they agree.
        let upper = Identity::new(self.stripe, old.depth() + 1, old.prefix() | bit);
        let sister = Bucket::make(self.arena, self.stripe, upper);
        sister.refill(self.stripe, upper, &up);
        self.directory
            .lead(self.arena, upper, sister.name(), &mut self.work);
        let lower = Identity::new(self.stripe, old.depth() + 1, old.prefix());
        bucket.refill(self.stripe, lower, &stay);
        self.work.splits += 1;
        self.work.entries_max = self.work.entries_max.max(up.len() + stay.len());
    }

    fn merge(&mut self, bucket: Bucket<'a>) {
        let identity = bucket.identity();
        // Entries do not hold the bits that the least depth implies.
        if identity.depth() == self.widths.implied_bits() {
            return;
        }
        let bit = 1 << (identity.depth() - 1);
        let sister = self.bucket(identity.prefix() ^ bit);
        let together = identity.count() + sister.identity().count();
        if sister.identity().depth() != identity.depth() || together > MERGE_ENTRIES {
            return;
        }
        let items: Vec<Item> = bucket.items().chain(sister.items()).collect();
        let (stays, goes) = if identity.prefix() & bit == 0 {
            (bucket, sister)
        } else {
            (sister, bucket)
        };
        let joint = Identity::new(self.stripe, identity.depth() - 1, identity.prefix() & !bit);
        stays.refill(self.stripe, joint, &items);
        self.directory
            .lead(self.arena, joint, stays.name(), &mut self.work);
        goes.destroy(self.stripe);
        self.work.merges += 1;
        self.work.entries_max = self.work.entries_max.max(items.len());
    }
}

/// The first spread after those a bucket covers, in the order that reads bits from the lowest up; `None` at the end.
///
/// In that order each bucket covers one interval, whatever splits and merges around it.
pub(super) fn after(identity: Identity) -> Option<u32> {
    let step = 1u64 << (32 - identity.depth());
    let next = u64::from(identity.prefix().reverse_bits()) + step;
    u32::try_from(next).ok().map(u32::reverse_bits)
}

const _: () = assert!(NONE == 0 && size_of::<Directory>() == 64 && DEPTH_MAX < 32);
