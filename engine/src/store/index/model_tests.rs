//! The index against a `HashMap`, and what its keys promise.

use std::collections::HashMap;

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

use super::arena::BUCKET_ENTRIES;
use super::*;
use crate::format::{ContentId, Domain, Kind, SegmentId};

/// A key for a number, under a fixed secret.
pub(super) fn key(secret: &Secret, number: u64) -> IndexKey {
    let mut id = [0u8; 32];
    id[..8].copy_from_slice(&number.to_le_bytes());
    IndexKey::new(secret, Domain(0), Kind::Data, &ContentId(id))
}

pub(super) fn secret() -> Secret {
    Secret::derive(b"the secret of a store under test")
}

/// Those of a store of 1 TiB: directories have a least depth, and imply some bits of each key.
pub(super) fn widths() -> Widths {
    Widths::of(64 << 20, 1 << 14)
}

/// Those of a store so small that directories begin with one bucket.
fn narrow() -> Widths {
    Widths::of(64 << 20, 1 << 10)
}

/// A key of stripe 0 with a chosen spread: what an attacker who knew the secret could make.
fn crowded(number: u32) -> IndexKey {
    IndexKey::of(0, (number & 3) as u8, 77 << 32 | u128::from(number))
}

fn stored(number: u32) -> Slot {
    Slot::Stored {
        segment: SegmentId(number & 0x3ff),
        offset: number.wrapping_mul(3) & 0x3ff_ffff,
        stored_len: number >> 3 & 0x7fff,
    }
}

#[derive(Default, Clone, Copy, PartialEq, Debug)]
struct Flags {
    marked: bool,
    shared: bool,
}

/// By what the index knows of the keys.
type Model = HashMap<IndexKey, (Slot, Flags)>;

/// Compares everything observable.
fn compare(index: &Index, model: &Model, keys: &[IndexKey]) {
    assert_eq!(index.len(), model.len() as u64);
    let mut many = Vec::new();
    index.get_many(keys, &mut many);
    for (key, found) in keys.iter().zip(many) {
        let expected = model.get(&index.widths.known(key)).map(|(slot, _)| *slot);
        assert_eq!(found, expected, "get_many {key:?}");
        assert_eq!(index.get(key), expected, "get {key:?}");
    }
    let mut yielded = 0;
    for entry in (0..STRIPES).flat_map(|stripe| index.entries(stripe)) {
        yielded += 1;
        let flags = Flags {
            marked: entry.marked,
            shared: entry.shared,
        };
        assert_eq!(
            model.get(&entry.key),
            Some(&(entry.slot, flags)),
            "{:?}",
            entry.key
        );
    }
    assert_eq!(yielded, model.len(), "an entry was yielded twice or not at all");
}

fn random_operations(
    widths: Widths,
    seed: u64,
    keys: &[IndexKey],
    steps: usize,
    grow: impl Fn(usize) -> f64,
) {
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let index = Index::new(widths);
    let mut model = Model::new();
    let mut born = false;
    for step in 0..steps {
        let key = &index.widths.known(keys.choose(&mut rng).expect("there are keys"));
        let new = stored(rng.random());
        let had = model.get(key).map(|(slot, _)| *slot);
        let newborn = Flags {
            marked: born,
            shared: false,
        };
        let guess = if rng.random_bool(0.9) {
            had.unwrap_or(new)
        } else {
            stored(1)
        };
        if rng.random_bool(grow(step)) {
            match rng.random_range(0..4) {
                0 | 1 => {
                    let result = index.insert_if_absent(key, new);
                    assert_eq!(result, had.map_or(Ok(()), Err), "insert_if_absent");
                    model.entry(*key).or_insert((new, newborn));
                }
                2 => {
                    assert_eq!(index.upsert(key, new), had, "upsert");
                    model.entry(*key).or_insert((new, newborn)).0 = new;
                }
                _ => {
                    assert_eq!(
                        index.replace_if(key, guess, new),
                        had == Some(guess),
                        "replace_if"
                    );
                    if had == Some(guess) {
                        model.insert(*key, (new, model[key].1));
                    }
                }
            }
        } else {
            assert_eq!(index.remove_if(key, guess), had == Some(guess), "remove_if");
            if had == Some(guess) {
                model.remove(key);
            }
        }
        let flag = if rng.random() { Flag::Marked } else { Flag::Shared };
        let key = &index.widths.known(keys.choose(&mut rng).expect("there are keys"));
        let raised = index.raise(key, flag);
        let expected = model.get_mut(key).map_or(Raised::Absent, |(_, flags)| {
            let bit = if flag == Flag::Marked {
                &mut flags.marked
            } else {
                &mut flags.shared
            };
            if std::mem::replace(bit, true) {
                Raised::Already
            } else {
                Raised::Now
            }
        });
        assert_eq!(raised, expected, "raise {flag:?}");
        if rng.random_ratio(1, 5_000) {
            born = rng.random();
            index.set_born_marked(born);
            (0..STRIPES).for_each(|stripe| index.lower(stripe, Flag::Marked));
            model.values_mut().for_each(|(_, flags)| flags.marked = false);
        }
        if step % 4_000 == 0 {
            compare(&index, &model, keys);
        }
    }
    compare(&index, &model, keys);
    let work = index.work();
    assert!(
        work.splits > 0 && work.merges > 0,
        "the run was meant to split and merge: {work:?}"
    );
}

/// Goal: the index does what a map does. Method: random operations on keys that crowd one stripe, so that buckets
/// split and merge often, in waves of growth and shrinkage, compared with a `HashMap`.
#[test]
fn it_behaves_like_a_map_in_one_stripe() {
    let keys: Vec<IndexKey> = (0..3_000).map(crowded).collect();
    for seed in 0..4 {
        let widths = if seed % 2 == 0 { widths() } else { narrow() };
        random_operations(widths, seed, &keys, 60_000, |step| {
            if step / 6_000 % 2 == 0 { 0.85 } else { 0.12 }
        });
    }
}

/// Goal: the same over all stripes, absent keys included. Method: as above, keys as stores make them.
#[test]
fn it_behaves_like_a_map_in_all_stripes() {
    let secret = secret();
    let keys: Vec<IndexKey> = (0..200_000).map(|number| key(&secret, number)).collect();
    let (index, mut model) = (Index::new(narrow()), Model::new());
    for (number, key) in (0u32..).zip(&keys[..150_000]) {
        assert_eq!(index.insert_if_absent(key, stored(number)), Ok(()));
        model.insert(index.widths.known(key), (stored(number), Flags::default()));
    }
    compare(&index, &model, &keys);
    for key in &keys[1_000..150_000] {
        let (slot, _) = model.remove(&index.widths.known(key)).expect("inserted above");
        assert!(index.remove_if(key, slot));
    }
    compare(&index, &model, &keys);
    assert!(index.work().merges > 0);
}

/// Goal: kinds and domains are name spaces of their own, and the secret matters. Method: one id under every kind,
/// several domains and two secrets; all keys differ in every part the index uses.
#[test]
fn equal_ids_of_other_kinds_domains_and_stores_are_other_keys() {
    let id = ContentId([7; 32]);
    let mut keys = Vec::new();
    for secret in [Secret::derive(b"one"), Secret::derive(b"two")] {
        for domain in [0, 1, 2, 256, u32::MAX] {
            for kind in [
                Kind::Data,
                Kind::Manifest,
                Kind::Node,
                Kind::Commit,
                Kind::VolumeNode,
            ] {
                keys.push(IndexKey::new(&secret, Domain(domain), kind, &id));
            }
        }
    }
    let index = Index::new(widths());
    for (number, key) in (0u32..).zip(&keys) {
        assert_eq!(
            index.insert_if_absent(key, stored(number)),
            Ok(()),
            "key {number} met another"
        );
    }
    for (number, key) in (0u32..).zip(&keys) {
        assert_eq!(index.get(key), Some(stored(number)));
    }
}

/// Goal: keys made together are those made one by one. Method: as many as fill groups, more and fewer, with domains and
/// kinds that differ.
#[test]
fn keys_made_together_are_keys_made_one_by_one() {
    let secret = secret();
    for count in 0..40u8 {
        let names: Vec<(Domain, Kind, ContentId)> = (0..count)
            .map(|number| {
                let kind = if number % 3 == 0 { Kind::Data } else { Kind::Node };
                let id = ContentId([number ^ count; 32]);
                (Domain(u32::from(number % 5) << 29), kind, id)
            })
            .collect();
        let together = IndexKey::many(
            &secret,
            names.iter().map(|(domain, kind, id)| (*domain, *kind, id)),
        );
        let each = names
            .iter()
            .map(|(domain, kind, id)| IndexKey::new(&secret, *domain, *kind, id));
        assert_eq!(together, each.collect::<Vec<_>>(), "{count} names");
    }
}

/// Goal: every bit of the id counts. Method: flip each of the 256; no two keys agree.
#[test]
fn every_bit_of_the_id_changes_the_key() {
    let secret = secret();
    let mut seen = std::collections::HashSet::new();
    seen.insert(IndexKey::new(&secret, Domain(0), Kind::Data, &ContentId([0; 32])));
    for bit in 0..256 {
        let mut id = [0u8; 32];
        id[bit / 8] = 1 << (bit % 8);
        assert!(seen.insert(IndexKey::new(&secret, Domain(0), Kind::Data, &ContentId(id))));
    }
}

/// Goal: ids cannot be ground to flood a stripe. Method: ids that share a 28-byte prefix or suffix, are consecutive,
/// or all fell into one stripe under another secret, spread like random keys: chi-squared over 1,024 stripes stays
/// within six standard deviations of its mean.
#[test]
fn chosen_ids_do_not_flood_a_stripe() {
    let (ours, theirs) = (secret(), Secret::derive(b"a secret the attacker owns"));
    let keyed = |secret: &Secret, id: [u8; 32]| IndexKey::new(secret, Domain(0), Kind::Data, &ContentId(id));
    let tail = |number: u32| {
        let mut id = [0xaa; 32];
        id[28..].copy_from_slice(&number.to_le_bytes());
        id
    };
    let head = |number: u32| {
        let mut id = [0xbb; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        id
    };
    let ground: Vec<[u8; 32]> = (0u32..)
        .map(head)
        .filter(|id| keyed(&theirs, *id).stripe() == 5)
        .take(20_000)
        .collect();
    for ids in [
        (0..100_000).map(tail).collect(),
        (0..100_000).map(head).collect::<Vec<_>>(),
        ground,
    ] {
        let mut counts = vec![0f64; STRIPES];
        for id in &ids {
            counts[keyed(&ours, *id).stripe()] += 1.0;
        }
        let mean = ids.len() as f64 / STRIPES as f64;
        let chi: f64 = counts.iter().map(|count| (count - mean).powi(2) / mean).sum();
        let freedom = (STRIPES - 1) as f64;
        let deviation = (chi - freedom).abs() / (2.0 * freedom).sqrt();
        assert!(
            deviation < 6.0,
            "chi-squared {chi} with {freedom} degrees of freedom"
        );
    }
}

/// Goal: growth and shrinkage are bounded work. Method: fill and empty; the counters say that no single change moved
/// more than one bucket or wrote more directory words than one stripe has.
#[test]
fn no_change_moves_more_than_one_bucket() {
    let secret = secret();
    let index = Index::new(narrow());
    for number in 0..400_000 {
        let _ = index.insert_if_absent(&key(&secret, number), stored(1));
    }
    for number in 0..400_000 {
        assert!(index.remove_if(&key(&secret, number), stored(1)));
    }
    let work = index.work();
    assert!(
        work.splits > 4 * STRIPES as u64 && work.merges > STRIPES as u64,
        "{work:?}"
    );
    assert!(work.entries_max <= BUCKET_ENTRIES, "{work:?}");
    assert!(
        work.words_max <= 64,
        "400 entries per stripe have at most 64 words: {work:?}"
    );
    assert!(index.is_empty());
}

/// Goal: changes of many keys at once do what they do one by one, keys that come twice and that are there already
/// included. Method: random groups of up to 100 keys on two indexes, one changed by groups and one singly.
#[test]
fn groups_are_like_single_changes() {
    let seed = 5;
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let keys: Vec<IndexKey> = (0..2_000).map(|number| key(&secret(), number)).collect();
    let (grouped, single) = (Index::new(widths()), Index::new(widths()));
    for _ in 0..300 {
        let count = rng.random_range(0..100);
        let entries: Vec<(IndexKey, Slot)> = (0..count)
            .map(|_| {
                (
                    *keys.choose(&mut rng).expect("there are keys"),
                    stored(rng.random()),
                )
            })
            .collect();
        let changes: Vec<(IndexKey, Slot, Slot)> = entries
            .iter()
            .map(|(key, slot)| {
                let is = single.get(key).filter(|_| rng.random_bool(0.7));
                (*key, is.unwrap_or(stored(1)), *slot)
            })
            .collect();
        if rng.random() {
            grouped.insert_many_if_absent(&entries);
            for (key, slot) in &entries {
                let _ = single.insert_if_absent(key, *slot);
            }
        } else {
            grouped.replace_many_if(&changes, &mut Vec::new());
            for (key, expected, new) in &changes {
                single.replace_if(key, *expected, *new);
            }
        }
    }
    assert!(single.len() > 1_000, "only {} entries", single.len());
    assert_eq!(grouped.len(), single.len());
    for key in &keys {
        assert_eq!(grouped.get(key), single.get(key), "{key:?}");
    }
}

/// Goal: setting many slots at once does what setting them one by one under the same rule does. Method: random entries,
/// keys repeated within a group too, against a map; the larger offset wins.
#[test]
fn upserts_in_groups_are_upserts_one_by_one() {
    let (index, secret) = (Index::with_room(widths(), 5_000), secret());
    let mut random = SmallRng::seed_from_u64(11);
    let mut model: HashMap<u64, Slot> = HashMap::new();
    let offset = |slot: Slot| match slot {
        Slot::Stored { offset, .. } => offset,
        Slot::Pending { .. } => unreachable!("none is made"),
    };
    let mut before = Vec::new();
    for _ in 0..200 {
        let numbers: Vec<(u64, Slot)> = (0..random.random_range(1..200))
            .map(|_| {
                let slot = Slot::Stored {
                    segment: SegmentId(random.random_range(0..9)),
                    offset: random.random_range(0..1 << 20),
                    stored_len: 7,
                };
                (random.random_range(0..5_000), slot)
            })
            .collect();
        let entries: Vec<(IndexKey, Slot)> = numbers
            .iter()
            .map(|(number, slot)| (key(&secret, *number), *slot))
            .collect();
        index.upsert_many_if(&entries, |old, new| offset(old) < offset(new), &mut before);
        for ((number, slot), before) in numbers.iter().zip(&before) {
            assert_eq!(model.get(number), before.as_ref());
            if before.is_none_or(|before| offset(before) < offset(*slot)) {
                model.insert(*number, *slot);
            }
        }
    }
    assert_eq!(index.len(), model.len() as u64);
    for (number, slot) in &model {
        assert_eq!(index.get(&key(&secret, *number)), Some(*slot));
    }
}
