//! What the two ends of a device show: nothing, a store of Helios, or data of somebody else.
//!
//! Owns the answer that protects data, so that making a store and giving a device away ask the same question. Knows no
//! more of a store than where its name is; the rest is the format's (`format::superblock`).
//! Rejected: a table of signatures of others; whatever is not zero belongs to somebody.

/// What the first and the last unit of a store say at [`MAGIC_OFFSET`].
pub(crate) const STORE_MAGIC: [u8; 8] = *b"HELIOS\r\n";
/// Behind the checksum.
const MAGIC_OFFSET: usize = 4;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// One of them is that of a store.
    pub(crate) store: bool,
    /// The first holds anything at all.
    pub(crate) data: bool,
    /// The first holds something that is not a store's.
    pub(crate) foreign: bool,
}

impl Ends {
    /// Of a device with this first and this last unit.
    pub(crate) fn of(first: &[u8], last: &[u8]) -> Ends {
        let store = |unit: &[u8]| {
            unit.get(MAGIC_OFFSET..)
                .is_some_and(|rest| rest.starts_with(&STORE_MAGIC))
        };
        let data = first.iter().any(|byte| *byte != 0);
        Ends {
            store: store(first) || store(last),
            data,
            foreign: data && !store(first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a store is known by either end, anything else by the first. Method: every combination that differs.
    #[test]
    fn both_ends_count() {
        let (zeroes, mut store, other) = ([0u8; 4096], [0u8; 4096], [7u8; 4096]);
        store[4..12].copy_from_slice(&STORE_MAGIC);
        let ends = |store, data, foreign| Ends { store, data, foreign };
        assert_eq!(Ends::of(&zeroes, &zeroes), ends(false, false, false));
        assert_eq!(Ends::of(&store, &zeroes), ends(true, true, false));
        assert_eq!(Ends::of(&zeroes, &store), ends(true, false, false));
        assert_eq!(Ends::of(&other, &store), ends(true, true, true));
        assert_eq!(Ends::of(&other, &zeroes), ends(false, true, true));
        assert_eq!(Ends::of(&[], &store[..8]), ends(false, false, false));
    }
}
