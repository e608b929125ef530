//! Finding a name among the entries of a leaf, and the leaf among those of a directory, with few cache lines touched.
//!
//! A leaf keeps one byte per name (a fingerprint) and where each name ends: a look-up compares 24 bytes at once and
//! then, nearly always, one name. A directory keeps eight bytes of each leaf's first name, taken behind what all of
//! them have in common. Both are rebuilt only when names change.

use crate::format::node::LeafView;
use crate::limits::NODE_ENTRIES;

const SLOTS: usize = NODE_ENTRIES[2];
const _: () = assert!(SLOTS.is_multiple_of(8));

/// Fingerprints and ends of the names of one leaf.
#[derive(Debug, Clone)]
pub(super) struct NameIndex {
    prints: [u8; SLOTS],
    ends: [u16; SLOTS],
    count: u8,
}

impl NameIndex {
    /// Of a leaf that is not loaded: nothing is found in it.
    pub const NONE: NameIndex = NameIndex {
        prints: [0; SLOTS],
        ends: [0; SLOTS],
        count: 0,
    };

    /// Of the names of a leaf.
    pub fn of(leaf: &LeafView<'_>) -> NameIndex {
        let mut index = NameIndex::NONE;
        let mut end = 0;
        for (slot, (name, ..)) in leaf.iter().take(SLOTS).enumerate() {
            end += name.len();
            index.prints[slot] = fingerprint(name);
            // A leaf has far fewer than 65,536 bytes.
            index.ends[slot] = u16::try_from(end).unwrap_or(u16::MAX);
            index.count += 1;
        }
        index
    }

    /// The slot of `name` in the leaf with these bytes, which are those the index was made of.
    pub fn find(&self, leaf: &[u8], name: &[u8]) -> Option<u8> {
        const LOW: u64 = 0x0101_0101_0101_0101;
        let wanted = u64::from(fingerprint(name)) * LOW;
        let names = LeafView::record_offset(usize::from(self.count));
        for (group, prints) in self.prints.chunks_exact(8).enumerate() {
            let mut own = [0; 8];
            own.copy_from_slice(prints);
            let differ = u64::from_le_bytes(own) ^ wanted;
            // The high bit of each byte that is zero, and sometimes of the byte after one: names decide.
            let mut equal = differ.wrapping_sub(LOW) & !differ & (LOW << 7);
            while equal != 0 {
                let slot = group * 8 + equal.trailing_zeros() as usize / 8;
                if slot >= usize::from(self.count) {
                    return None;
                }
                let start = if slot == 0 {
                    0
                } else {
                    usize::from(self.ends[slot - 1])
                };
                let end = usize::from(self.ends[slot]);
                if leaf.get(names + start..names + end) == Some(name) {
                    return u8::try_from(slot).ok();
                }
                equal &= equal - 1;
            }
        }
        None
    }
}

/// One byte that differs for most pairs of names: from both ends, where names differ.
fn fingerprint(name: &[u8]) -> u8 {
    let (front, back) = match (name.first_chunk(), name.last_chunk()) {
        (Some(front), Some(back)) => (u64::from_le_bytes(*front), u64::from_le_bytes(*back)),
        _ => (short_key(name), 0),
    };
    let mixed = (front ^ back.rotate_left(29) ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// Up to eight bytes as a number that sorts as they do.
fn short_key(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let padded = bytes.iter().fold(0u64, |key, byte| key << 8 | u64::from(*byte));
            padded << (8 * (8 - bytes.len())).min(63)
        }
    }
}

/// Which leaf a name belongs to.
#[derive(Debug, Clone, Default)]
pub(super) struct Separators {
    /// Bytes that the first names of all leaves but the first begin with.
    common: Vec<u8>,
    /// Eight bytes behind them, for all leaves but the first.
    keys: Vec<u64>,
}

impl Separators {
    /// Of the first names of all leaves but the first, in order.
    pub fn of<'a>(
        firsts: impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone,
    ) -> Separators {
        let (lowest, highest) = (firsts.clone().next(), firsts.clone().next_back());
        let common = match (lowest, highest) {
            (Some(lowest), Some(highest)) => {
                let length = lowest.iter().zip(highest).take_while(|(a, b)| a == b).count();
                lowest[..length].to_vec()
            }
            _ => Vec::new(),
        };
        let keys = firsts.map(|first| short_key(&first[common.len()..])).collect();
        Separators { common, keys }
    }

    /// The leaf that holds `name` if any does; `first` gives the first name of a leaf.
    pub fn leaf_for<'a>(&self, name: &[u8], first: impl Fn(usize) -> &'a [u8]) -> usize {
        if self.keys.is_empty() {
            return 0;
        }
        let start = &name[..name.len().min(self.common.len())];
        match start.cmp(&self.common[..]) {
            std::cmp::Ordering::Less => return 0,
            std::cmp::Ordering::Greater => return self.keys.len(),
            std::cmp::Ordering::Equal => {}
        }
        let key = short_key(&name[self.common.len()..]);
        // Equal keys leave it to the whole names: longer ones, or ones with zero bytes.
        let mut after = match self.keys.len() {
            ..=16 => self.keys.iter().take_while(|own| **own < key).count(),
            _ => self.keys.partition_point(|own| *own < key),
        };
        while self.keys.get(after) == Some(&key) && first(after + 1) <= name {
            after += 1;
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Goal: the leaf found is the last whose first name is not greater. Method: random names against a plain
        /// search, with bytes that make keys equal.
        #[test]
        fn leaves_are_found(
            names in proptest::collection::btree_set(name(), 1..40), wanted in name(),
        ) {
            let names: Vec<Vec<u8>> = names.into_iter().collect();
            let separators = Separators::of(names[1..].iter().map(|name| &name[..]));
            for wanted in names.iter().chain([&wanted]) {
                let plain = names.iter().filter(|name| *name <= wanted).count().saturating_sub(1);
                prop_assert_eq!(separators.leaf_for(wanted, |leaf| &names[leaf]), plain);
            }
        }

        /// Goal: a name is found where it is, and others are not. Method: random names against a plain search.
        #[test]
        fn names_are_found(names in proptest::collection::btree_set(name(), 0..=SLOTS), wanted in name()) {
            let names: Vec<Vec<u8>> = names.into_iter().collect();
            let all = [vec![0; LeafView::record_offset(names.len())], names.concat()].concat();
            let mut index = NameIndex::NONE;
            let mut end = 0;
            for (slot, name) in names.iter().enumerate() {
                end += name.len();
                index.prints[slot] = fingerprint(name);
                index.ends[slot] = end as u16;
                index.count += 1;
            }
            for wanted in names.iter().chain([&wanted]) {
                let plain = names.iter().position(|name| name == wanted).map(|slot| slot as u8);
                prop_assert_eq!(index.find(&all, wanted), plain);
            }
        }
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        let bytes =
            proptest::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(b'b'), any::<u8>()], 1..14);
        let prefix = prop_oneof![3 => Just(&b"common_"[..]), 1 => Just(&b""[..])];
        (prefix, bytes).prop_map(|(prefix, bytes)| [prefix, &bytes].concat())
    }
}
