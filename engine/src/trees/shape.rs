//! Where a directory splits into nodes: decided by names alone.
//!
//! A name *begins* a node of a level if the top bits of its SipHash-1-3 under that level's fixed public key are
//! zero. Going through the names in order, a node ends before a name that begins one, but never before it has
//! the least number of records, and always when it has the most ([`NODE_ENTRIES`]). So the same set of names
//! gives the same shape whatever the order and history of the changes, and names chosen by an enemy make nodes
//! of the least or the most records, no worse. Each level takes the first names of the nodes below as its names.
//!
//! Rejected: splitting by encoded size (a content change would move boundaries, and nodes could not be patched
//! in place), and by a rolling hash over the encoding (the same, and slower).

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::limits::NODE_ENTRIES;

/// "helios 2", half of the fixed key; the level is the other half.
const KEY: u64 = u64::from_le_bytes(*b"helios 2");
/// One name in eight begins a node, which gives nodes of 12 records on average within the bounds.
const BITS: u32 = 3;

/// True if `name` begins a node of `level` wherever the bounds allow it.
fn begins(level: u8, name: &[u8]) -> bool {
    let mut hasher = SipHasher13::new_with_keys(KEY, u64::from(level));
    hasher.write(name);
    hasher.finish() >> (u64::BITS - BITS) == 0
}

/// Whether a node of `level` that has `records` so far ends before `next`.
pub(super) fn ends_before(level: u8, records: usize, next: &[u8]) -> bool {
    let [least, _, most] = NODE_ENTRIES;
    records >= least && (records >= most || begins(level, next))
}

/// Whether one node of `level` holding `names`, the last of its level or not, has its end where it must.
#[cfg(test)]
pub(super) fn is_canonical<'a>(level: u8, names: impl Iterator<Item = &'a [u8]>) -> bool {
    names
        .enumerate()
        .all(|(records, name)| !ends_before(level, records, name))
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
