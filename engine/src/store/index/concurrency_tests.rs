//! Readers against writers. Every slot says which key and which write it belongs to, so that a torn read, another
//! key's slot, or a lost entry shows.
//! `version_tests` checks the sequence lock alone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;
use crate::format::SegmentId;

const KEYS: u32 = 600;

/// Which slots are written.
#[derive(Clone, Copy)]
enum Slots {
    /// Into entries that hold them in one word, in directories that begin with one bucket.
    Narrow,
    /// Into entries that hold them across both words.
    Wide,
}

/// Keys of stripe 0, so that readers and writers meet in few buckets.
fn key(number: u32) -> IndexKey {
    let spread = number.wrapping_mul(0x9e37_79b9);
    IndexKey::of(0, (number & 1) as u8, 5 << 32 | u128::from(spread))
}

impl Slots {
    fn widths(self) -> Widths {
        match self {
            Slots::Narrow => Widths::of(64 << 20, 1 << 10),
            Slots::Wide => Widths::of(64 << 20, u32::MAX),
        }
    }

    /// A slot whose fields all follow from key and write; half of them pending.
    fn slot(self, number: u32, write: u32) -> Slot {
        let sum = number
            .wrapping_mul(31)
            .wrapping_add(write.wrapping_mul(0x85eb_ca6b));
        let beyond = match self {
            Slots::Narrow => 0,
            Slots::Wide => sum << 10,
        };
        if write.is_multiple_of(2) {
            // All bits of the write, and as much of the sum as there is room for.
            Slot::Stored {
                segment: SegmentId(write & 0x3ff | beyond),
                offset: (write >> 10 & 0xfff) << 14 | sum & 0x3fff | 1,
                stored_len: (write >> 22) << 5 | sum >> 27,
            }
        } else {
            Slot::Pending {
                slot: write & 0x3fff,
                item: write >> 14 & 0xffff,
                generation: sum as u16 & 0xfffc | (write >> 30) as u16,
            }
        }
    }

    /// Which write of this key the slot is, or `None` if it is none.
    fn write_of(self, number: u32, found: Slot) -> Option<u32> {
        let write = match found {
            Slot::Stored {
                segment,
                offset,
                stored_len,
            } => segment.0 & 0x3ff | offset >> 14 << 10 | stored_len >> 5 << 22,
            Slot::Pending {
                slot,
                item,
                generation,
            } => slot | item << 14 | u32::from(generation & 3) << 30,
        };
        (self.slot(number, write) == found).then_some(write)
    }
}

/// Writers of the numbers that are `part` modulo 2: changes, removals and waves of growth that split and merge.
/// Every eighth number is only ever overwritten, with rising writes.
fn write(index: &Index, slots: Slots, (part, seed): (u32, u64), stop: &AtomicBool) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut current: Vec<Option<u32>> = (0..KEYS)
        .map(|number| number.is_multiple_of(8).then_some(0))
        .collect();
    let mut write = 1;
    for step in 0u32.. {
        if stop.load(Relaxed) {
            return;
        }
        let number = rng.random_range(0..KEYS / 2) * 2 + part;
        let old = &mut current[number as usize];
        let shrink = step / 2_000 % 2 == 1 && !number.is_multiple_of(8);
        write += 1;
        match *old {
            Some(was) if shrink => {
                assert!(
                    index.remove_if(&key(number), slots.slot(number, was)),
                    "{number} was there"
                );
                *old = None;
            }
            Some(was) => {
                assert!(index.replace_if(&key(number), slots.slot(number, was), slots.slot(number, write)));
                *old = Some(write);
            }
            None if !shrink => {
                assert_eq!(
                    index.insert_if_absent(&key(number), slots.slot(number, write)),
                    Ok(())
                );
                *old = Some(write);
            }
            None => {}
        }
    }
}

/// Runs two writers beside `read` until it has been called for `reads` keys; `read` returns false to stop early.
#[allow(clippy::disallowed_methods, reason = "the test is about threads")]
fn against_writers(
    slots: Slots,
    seed: u64,
    reads: u64,
    mut read: impl FnMut(&Index, &mut SmallRng) -> bool,
) -> Index {
    println!("seed {seed}");
    let index = Index::new(slots.widths());
    for number in (0..KEYS).step_by(8) {
        assert_eq!(
            index.insert_if_absent(&key(number), slots.slot(number, 0)),
            Ok(())
        );
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for part in 0..2 {
            let (index, stop) = (&index, &stop);
            scope.spawn(move || write(index, slots, (part, seed * 2 + u64::from(part)), stop));
        }
        let mut rng = SmallRng::seed_from_u64(!seed);
        let mut done = 0;
        while done < reads && read(&index, &mut rng) {
            done += 1;
        }
        stop.store(true, Relaxed);
    });
    index
}

/// Goal: a look-up returns a slot that was written for its key, entries that stay are always found, and their writes
/// are seen in order. Method: single and batched look-ups against two writers in one stripe.
#[test]
fn look_ups_see_whole_slots_in_order() {
    let mut seen = vec![0; KEYS as usize];
    let mut slots = Vec::new();
    let index = against_writers(Slots::Narrow, 1, 20_000, |index, rng| {
        let numbers: Vec<u32> = (0..40).map(|_| rng.random_range(0..KEYS)).collect();
        let keys: Vec<IndexKey> = numbers.iter().map(|number| key(*number)).collect();
        if rng.random() {
            index.get_many(&keys, &mut slots);
        } else {
            slots.clear();
            slots.extend(keys.iter().map(|key| index.get(key)));
        }
        for (number, found) in numbers.iter().zip(&slots) {
            let write = found.map(|slot| {
                Slots::Narrow
                    .write_of(*number, slot)
                    .unwrap_or_else(|| panic!("{number}: torn {slot:?}"))
            });
            if number.is_multiple_of(8) {
                let write = write.unwrap_or_else(|| panic!("{number} was lost"));
                let last = &mut seen[*number as usize];
                // Batched look-ups of one batch are not ordered among each other; a batch holds few repeats.
                assert!(write >= *last || numbers.iter().filter(|other| *other == number).count() > 1);
                *last = write.max(*last);
            }
        }
        true
    });
    let work = index.work();
    assert!(
        work.splits > 10 && work.merges > 10,
        "writers were meant to split and merge: {work:?}"
    );
}

/// Goal: the test above would notice a missing version check. Method: the same writers, and a reader that looks into
/// buckets without one; it must soon see a torn slot, another key's slot or a lost entry.
#[test]
fn a_reader_without_the_version_check_is_caught() {
    let caught = AtomicU64::new(0);
    against_writers(Slots::Wide, 2, 2_000_000_000, |index, rng| {
        let number = rng.random_range(0..KEYS / 8) * 8;
        let key = key(number);
        let sought = index.widths.sought(&key);
        let bucket = index.directories[0].bucket(&index.arena, sought.spread);
        let right = match bucket.find(&sought) {
            Found::At(_, entry) => Slots::Wide
                .write_of(number, index.widths.slot_of(entry))
                .is_some(),
            Found::Absent => false,
            Found::Elsewhere => true, // even the unchecked reader would look again
        };
        caught.fetch_add(u64::from(!right), Relaxed);
        right
    });
    assert!(
        caught.into_inner() > 0,
        "two thousand million unchecked reads were all consistent"
    );
}

/// Goal: iteration yields every entry that stays exactly once, whatever happens around it. Method: iterate while
/// writers split and merge.
#[test]
fn iteration_yields_each_lasting_entry_once() {
    against_writers(Slots::Narrow, 3, 3_000, |index, _| {
        let mut lasting = vec![0; KEYS as usize];
        for entry in index.entries(0) {
            let number = (0..KEYS)
                .find(|number| index.widths.known(&key(*number)) == entry.key)
                .expect("a key of ours");
            assert!(
                Slots::Narrow.write_of(number, entry.slot).is_some(),
                "torn {:?}",
                entry.slot
            );
            lasting[number as usize] += 1;
        }
        for (number, count) in lasting.iter().enumerate() {
            assert!(*count <= 1, "{number} was yielded {count} times");
            assert!(number % 8 != 0 || *count == 1, "{number} was not yielded");
        }
        true
    });
}

/// Goal: a raised flag is never lost to writers that move entries. Method: raise on lasting entries while writers
/// split and merge; at the end each flag is up, and only the first call says so.
#[test]
fn flags_survive_moves() {
    let mut raised = vec![false; KEYS as usize];
    let index = against_writers(Slots::Narrow, 4, 200_000, |index, rng| {
        let number = rng.random_range(0..KEYS / 8) * 8;
        let expected = if raised[number as usize] {
            Raised::Already
        } else {
            Raised::Now
        };
        assert_eq!(index.raise(&key(number), Flag::Marked), expected, "{number}");
        raised[number as usize] = true;
        true
    });
    for number in (0..KEYS).step_by(8) {
        assert_eq!(index.raise(&key(number), Flag::Marked), Raised::Already);
    }
}
