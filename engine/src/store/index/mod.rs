//! The index: from (domain, kind, id) to where an extent's bytes are, for every extent of a store, in memory.
//!
//! Owns the map and its memory; knows no I/O. Four levels: `key` turns names into keyed pseudo-random bits; those
//! choose one of [`STRIPES`] stripes (`stripe`: a directory for readers, a lock for writers), the directory leads to
//! a bucket (`bucket`: up to 32 entries, 20 to 23 bytes each with all overhead), whose memory comes from `arena`. `entry`
//! says how slot and key share 16 bytes, and what it means that not all of the key has room there.
//!
//! Invariants: look-ups take no lock and write no shared line (`version`); a writer locks one stripe and moves the
//! entries of at most one bucket, however large the index; keys cannot be chosen to meet without the secret.
//! Callers see keys, slots and flags only.
//!
//! Rejected: `hashbrown` per stripe (55 bytes per entry with 32-byte keys; growth copies a table while a put waits),
//! `dashmap` and kin (reader locks), partitioning by core (a hop per object).

mod arena;
mod bucket;
mod entry;
mod key;
mod prints;
mod scan;
mod siphash;
mod slot;
mod stripe;
mod version;

#[cfg(test)]
mod concurrency_tests;
#[cfg(test)]
mod entry_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod version_tests;

use std::sync::atomic::{self, AtomicBool, AtomicU32, Ordering};

use arrayvec::ArrayVec;

use arena::Arena;
use bucket::{Bucket, Found};
pub use entry::{KEY_BITS, PENDING_PLACES_MAX, Widths};
use entry::{Sought, is_up};
pub use key::{IndexKey, KeySet, STRIPES, Secret};
pub use scan::Entries;
pub use slot::{Entry, Flag, Raised, Slot};
pub use stripe::Work;
use stripe::{Directory, Gate, Writer};

/// Look-ups in flight at once in [`Index::get_many`].
const BATCH: usize = 32;
/// Optimistic reads of one key before the reader waits for the writer instead.
const ATTEMPTS: usize = 64;

/// Largest number of extents one index can hold; the configured bound of a store is below it.
pub const EXTENTS_MAX: u64 = 1_500_000_000;

/// RAM the index needs for this many extents, in bytes: an upper bound, checked by tests from 1 M entries up.
pub fn memory_for(extents: u64, widths: Widths) -> u64 {
    const FIXED_BYTES: u64 = 3 << 20;
    const ENTRY_BYTES: u64 = 24;
    // Header and directory word; what is in use by many extents is counted twice.
    const BUCKET_BYTES: u64 = 68;
    let least = (STRIPES as u64 * BUCKET_BYTES) << widths.implied_bits();
    FIXED_BYTES + least + extents.saturating_mul(ENTRY_BYTES)
}

/// A key of a batch on its way: what is sought, and the word of the directory that names its bucket.
struct Way<'a> {
    sought: Sought,
    word: &'a AtomicU32,
}

/// Filled where it lies: moving one of these costs more than a look-up.
type Ways<'a> = ArrayVec<Way<'a>, BATCH>;

/// The map of a store's extents. Share it by reference or `Arc`; every method may be called from any thread.
pub struct Index {
    widths: Widths,
    arena: Arena,
    directories: Box<[Directory]>,
    gates: Box<[Gate]>,
    born_marked: AtomicBool,
}

impl Index {
    /// An empty index.
    pub fn new(widths: Widths) -> Index {
        Index::with_room(widths, 0)
    }

    /// An empty index whose buckets are made for about this many extents, so that filling it splits few of them.
    pub fn with_room(widths: Widths, extents: u64) -> Index {
        let arena = Arena::new();
        let depth = stripe::depth_for(extents / STRIPES as u64).max(widths.implied_bits());
        Index {
            directories: (0..STRIPES)
                .map(|stripe| Directory::new(&arena, stripe, depth))
                .collect(),
            gates: (0..STRIPES).map(|_| Gate::default()).collect(),
            arena,
            widths,
            born_marked: AtomicBool::new(false),
        }
    }

    /// Brings near what a look-up of the key begins with; worth it where something else is to be done first.
    #[inline]
    pub fn prefetch(&self, key: &IndexKey) {
        let sought = self.widths.sought(key);
        arena::prefetch(self.directories[sought.stripe].word_of(&self.arena, sought.spread));
    }

    /// Where the extent's bytes are.
    #[inline]
    pub fn get(&self, key: &IndexKey) -> Option<Slot> {
        self.slot_of(&self.widths.sought(key))
    }

    #[inline]
    fn slot_of(&self, sought: &Sought) -> Option<Slot> {
        match self.look(sought) {
            Found::At(_, entry) => Some(self.widths.slot_of(entry)),
            _ => None,
        }
    }

    /// [`get`](Self::get) for many keys at once, several times as fast: `slots` becomes the answers in the order asked.
    pub fn get_many(&self, keys: &[IndexKey], slots: &mut Vec<Option<Slot>>) {
        slots.clear();
        slots.reserve(keys.len());
        for keys in keys.chunks(BATCH) {
            self.get_batch(keys, slots);
        }
    }

    /// Each step touches memory that the step before has asked for, so that the misses of a batch overlap.
    fn get_batch(&self, keys: &[IndexKey], slots: &mut Vec<Option<Slot>>) {
        let mut ways = Ways::new();
        self.find_ways(keys, |key| key, &mut ways);
        let mut looks: ArrayVec<(Option<u64>, Bucket<'_>, u32), BATCH> = ArrayVec::new();
        looks.extend(ways.iter().map(|way| {
            let bucket = self.bucket(way);
            let seen = version::begin_read(bucket.version());
            let candidates = bucket.candidates(&way.sought);
            bucket.prefetch_entries(candidates.unwrap_or(0));
            (
                seen.filter(|_| candidates.is_some()),
                bucket,
                candidates.unwrap_or(0),
            )
        }));
        for (Way { sought, .. }, (version, bucket, candidates)) in ways.iter().zip(&looks) {
            let found = version.map(|seen| {
                (
                    bucket.choose(sought, *candidates),
                    version::unchanged(bucket.version(), seen),
                )
            });
            slots.push(match found {
                Some((Found::At(_, entry), true)) => Some(self.widths.slot_of(entry)),
                Some((Found::Absent, true)) => None,
                _ => self.slot_of(sought),
            });
        }
    }

    /// Finds the buckets of up to [`BATCH`] keys and brings their headers near.
    fn find_ways<'a, T>(&'a self, entries: &[T], key: impl Fn(&T) -> &IndexKey, ways: &mut Ways<'a>) {
        ways.extend(entries.iter().map(|entry| {
            let sought = self.widths.sought(key(entry));
            let word = self.directories[sought.stripe].word_of(&self.arena, sought.spread);
            arena::prefetch(word);
            Way { sought, word }
        }));
        for way in ways.iter() {
            self.bucket(way).prefetch();
        }
    }

    /// The bucket that the directory names now.
    #[inline]
    fn bucket(&self, way: &Way<'_>) -> Bucket<'_> {
        stripe::bucket_at(&self.arena, way.word)
    }

    /// Adds an entry, or says which slot the key has already.
    pub fn insert_if_absent(&self, key: &IndexKey, slot: Slot) -> Result<(), Slot> {
        let sought = self.widths.sought(key);
        let mut writer = self.writer(sought.stripe);
        match writer.find(&sought) {
            (_, Some((_, existing))) => Err(self.widths.slot_of(existing)),
            (bucket, None) => {
                writer.insert(bucket, &sought, self.entry(&sought, slot));
                Ok(())
            }
        }
    }

    /// [`insert_if_absent`](Self::insert_if_absent) for many keys, several times as fast; keys that are there keep
    /// their slots.
    pub fn insert_many_if_absent(&self, entries: &[(IndexKey, Slot)]) {
        for entries in entries.chunks(BATCH) {
            let mut ways = Ways::new();
            self.find_ways_to_change(entries, |(key, _)| key, &mut ways);
            for ((_, slot), way @ Way { sought, .. }) in entries.iter().zip(&ways) {
                let mut writer = self.writer(sought.stripe);
                // Somebody else's equal extent may have come first.
                if let (bucket, None) = writer.find_from(self.bucket(way), sought) {
                    writer.insert(bucket, sought, self.entry(sought, *slot));
                }
            }
        }
    }

    /// As [`find_ways`](Self::find_ways), for what will be changed there: the locks, and where new entries go.
    fn find_ways_to_change<'a, T>(
        &'a self,
        entries: &[T],
        key: impl Fn(&T) -> &IndexKey,
        ways: &mut Ways<'a>,
    ) {
        for key in entries.iter().map(&key) {
            self.gates[key.stripe()].prefetch();
        }
        self.find_ways(entries, key, ways);
        for way in ways.iter() {
            self.bucket(way).prefetch_end();
        }
    }

    /// Sets the slot of a key, present or not; returns the one it had. Flags stay.
    pub fn upsert(&self, key: &IndexKey, slot: Slot) -> Option<Slot> {
        let sought = self.widths.sought(key);
        let mut writer = self.writer(sought.stripe);
        match writer.find(&sought) {
            (bucket, Some((position, existing))) => {
                bucket.set(position, self.widths.with_slot(existing, slot));
                Some(self.widths.slot_of(existing))
            }
            (bucket, None) => {
                writer.insert(bucket, &sought, self.entry(&sought, slot));
                None
            }
        }
    }

    /// [`upsert`](Self::upsert) for many keys, several times as fast. A key that has a slot keeps it unless `wins`
    /// says yes to that and the new one. `before` becomes the slots that the keys had, in the order given.
    pub fn upsert_many_if(
        &self,
        entries: &[(IndexKey, Slot)],
        wins: impl Fn(Slot, Slot) -> bool,
        before: &mut Vec<Option<Slot>>,
    ) {
        before.clear();
        for entries in entries.chunks(BATCH) {
            let mut ways = Ways::new();
            self.find_ways_to_change(entries, |(key, _)| key, &mut ways);
            for ((_, slot), way @ Way { sought, .. }) in entries.iter().zip(&ways) {
                let mut writer = self.writer(sought.stripe);
                let (bucket, found) = writer.find_from(self.bucket(way), sought);
                let had = found.map(|(_, existing)| self.widths.slot_of(existing));
                match found {
                    None => writer.insert(bucket, sought, self.entry(sought, *slot)),
                    Some((position, existing)) if had.is_some_and(|had| wins(had, *slot)) => {
                        bucket.set(position, self.widths.with_slot(existing, *slot));
                    }
                    Some(_) => {}
                }
                before.push(had);
            }
        }
    }

    /// Sets the slot of a key if it is `expected` now. Flags stay.
    pub fn replace_if(&self, key: &IndexKey, expected: Slot, new: Slot) -> bool {
        let sought = self.widths.sought(key);
        let writer = self.writer(sought.stripe);
        self.replace(writer.find(&sought), expected, new)
    }

    /// [`replace_if`](Self::replace_if) for many keys, each with its expected and its new slot, several times as fast.
    /// `replaced` becomes the answers in the order asked.
    pub fn replace_many_if(&self, changes: &[(IndexKey, Slot, Slot)], replaced: &mut Vec<bool>) {
        replaced.clear();
        for changes in changes.chunks(BATCH) {
            let mut ways = Ways::new();
            self.find_ways_to_change(changes, |(key, _, _)| key, &mut ways);
            for ((_, expected, new), way @ Way { sought, .. }) in changes.iter().zip(&ways) {
                let writer = self.writer(sought.stripe);
                replaced.push(self.replace(writer.find_from(self.bucket(way), sought), *expected, *new));
            }
        }
    }

    /// Under the lock of the stripe.
    fn replace(&self, found: (Bucket<'_>, Option<(usize, u128)>), expected: Slot, new: Slot) -> bool {
        match found {
            (bucket, Some((position, existing))) if self.widths.slot_of(existing) == expected => {
                bucket.set(position, self.widths.with_slot(existing, new));
                true
            }
            _ => false,
        }
    }

    /// Removes an entry if its slot is `expected` now.
    pub fn remove_if(&self, key: &IndexKey, expected: Slot) -> bool {
        let sought = self.widths.sought(key);
        let mut writer = self.writer(sought.stripe);
        match writer.find(&sought) {
            (bucket, Some((position, existing))) if self.widths.slot_of(existing) == expected => {
                writer.remove(bucket, position);
                true
            }
            _ => false,
        }
    }

    /// Whether an entry's [`Flag::Marked`] is up; `None` without an entry.
    pub fn is_marked(&self, key: &IndexKey) -> Option<bool> {
        match self.look(&self.widths.sought(key)) {
            Found::At(_, entry) => Some(is_up(entry, Flag::Marked)),
            _ => None,
        }
    }

    /// Removes an entry if its slot is `expected` now and its [`Flag::Marked`] is down.
    pub fn remove_unmarked(&self, key: &IndexKey, expected: Slot) -> bool {
        let sought = self.widths.sought(key);
        let mut writer = self.writer(sought.stripe);
        match writer.find(&sought) {
            (bucket, Some((position, entry)))
                if !is_up(entry, Flag::Marked) && self.widths.slot_of(entry) == expected =>
            {
                writer.remove(bucket, position);
                true
            }
            _ => false,
        }
    }

    /// Adds an entry, or takes over one whose [`Flag::Marked`] is down: raises its flag and returns the slot it had.
    ///
    /// # Errors
    /// The slot of the entry that is there, if it is marked.
    pub fn insert_or_take_over(&self, key: &IndexKey, slot: Slot) -> Result<Option<Slot>, Slot> {
        let sought = self.widths.sought(key);
        let mut writer = self.writer(sought.stripe);
        match writer.find(&sought) {
            (_, Some((_, existing))) if is_up(existing, Flag::Marked) => Err(self.widths.slot_of(existing)),
            (bucket, Some((position, existing))) => {
                bucket.set(position, self.widths.with_slot(existing, slot));
                bucket.raise(Flag::Marked, position);
                Ok(Some(self.widths.slot_of(existing)))
            }
            (bucket, None) => {
                writer.insert(bucket, &sought, self.entry(&sought, slot));
                Ok(None)
            }
        }
    }

    /// Raises a flag of an entry. Tests before it sets: an entry whose flag is up costs a look-up and no write.
    pub fn raise(&self, key: &IndexKey, flag: Flag) -> Raised {
        let sought = self.widths.sought(key);
        match self.look(&sought) {
            Found::At(_, entry) if is_up(entry, flag) => return Raised::Already,
            Found::At(..) => {}
            _ => return Raised::Absent,
        }
        let writer = self.writer(sought.stripe);
        match writer.find(&sought) {
            (_, None) => Raised::Absent,
            (_, Some((_, entry))) if is_up(entry, flag) => Raised::Already,
            (bucket, Some((position, _))) => {
                bucket.raise(flag, position);
                Raised::Now
            }
        }
    }

    /// Lowers a flag of every entry of a stripe that is there before the call (a bucket at a time).
    pub fn lower(&self, stripe: usize, flag: Flag) {
        let mut spread = Some(0);
        while let Some(at) = spread {
            // The lock is let go between buckets, so that no put waits for a whole stripe.
            let writer = self.writer(stripe);
            let bucket = writer.bucket(at);
            bucket.lower(flag);
            spread = stripe::after(bucket.identity());
        }
    }

    /// Whether entries inserted from now on have [`Flag::Marked`] up.
    pub fn set_born_marked(&self, marked: bool) {
        self.born_marked.store(marked, Ordering::Release);
    }

    /// The entries of one stripe (below [`STRIPES`]), in no order. Holds no lock between steps; an entry that stays
    /// is yielded exactly once, one that comes or goes meanwhile at most once.
    pub fn entries(&self, stripe: usize) -> Entries<'_> {
        Entries::new(self, stripe)
    }

    /// Number of entries. Adds up all stripes: for reports, not for hot paths.
    pub fn len(&self) -> u64 {
        self.gates.iter().map(|gate| gate.entries() as u64).sum()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of RAM the index takes: buckets in use and kept for reuse, directories, locks and tables.
    pub fn memory_bytes(&self) -> u64 {
        let tables = size_of_val::<[Directory]>(&self.directories) + size_of_val::<[Gate]>(&self.gates);
        (self.arena.memory_bytes() + tables + size_of::<Index>()) as u64
    }

    /// What growth and shrinkage have cost so far, over all stripes.
    pub fn work(&self) -> Work {
        (0..STRIPES)
            .map(|stripe| self.writer(stripe).work())
            .fold(Work::default(), |sum, work| Work {
                splits: sum.splits + work.splits,
                merges: sum.merges + work.merges,
                entries_max: sum.entries_max.max(work.entries_max),
                words_max: sum.words_max.max(work.words_max),
            })
    }

    /// What the index holds of a key at one moment during the call; never `Elsewhere`.
    #[inline]
    fn look(&self, sought: &Sought) -> Found {
        let directory = &self.directories[sought.stripe];
        for _ in 0..ATTEMPTS {
            let bucket = directory.bucket(&self.arena, sought.spread);
            if let Some(seen) = version::begin_read(bucket.version()) {
                let found = bucket.find(sought);
                if version::unchanged(bucket.version(), seen) && found != Found::Elsewhere {
                    return found;
                }
            }
            std::hint::spin_loop();
        }
        // A writer was preempted in the middle of a change, or writes without end: wait for it.
        let writer = self.writer(sought.stripe);
        writer.bucket(sought.spread).find(sought)
    }

    /// A new entry.
    fn entry(&self, sought: &Sought, slot: Slot) -> u128 {
        let born = match self.born_marked.load(Ordering::Acquire) {
            true => Flag::Marked.bit(),
            false => 0,
        };
        self.widths.entry(sought, slot) | u128::from(born)
    }

    fn writer(&self, stripe: usize) -> Writer<'_> {
        Writer::lock(
            &self.arena,
            (&self.directories[stripe], &self.gates[stripe]),
            self.widths,
            stripe,
        )
    }
}
