//! What a branch remembers besides its head: when it was made, and every move that was not a new commit on top.
//!
//! With it, "the head at time T" has an exact answer: between two jumps the head only ever moved to commits made
//! on top of it, whose times rise along first parents. Kept in the branch's root record; bounded: when full, the
//! oldest jump goes, and times before it have no answer any more.
//! Invariant: jump times rise strictly, the first is not before `known_since_ns`.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ContentId;
use crate::limits::{BRANCH_JUMPS_MAX, ROOT_DATA_BYTES_MAX};

/// Version of the encoding.
pub const BRANCH_VERSION: u8 = 1;

/// First bytes of a branch's root data. Little-endian, no padding.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BranchHeader {
    /// [`BRANCH_VERSION`].
    pub version: u8,
    /// Must be zero.
    pub reserved: u8,
    /// Jumps that follow.
    pub jumps: U16,
    /// When the branch was made: nanoseconds since 1970.
    pub created_ns: U64,
    /// Heads before this time are forgotten; `created_ns` while none is.
    pub known_since_ns: U64,
    /// Time in the commit that was the head at `known_since_ns`.
    pub base_time_ns: U64,
}

/// One move of the head that was not a new commit on top of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BranchJump {
    /// When: nanoseconds since 1970.
    pub time_ns: U64,
    /// Time in the commit the head moved to.
    pub base_time_ns: U64,
    /// Head before.
    pub old_head: ContentId,
}

const _: () = assert!(size_of::<BranchHeader>() == 28);
const _: () = assert!(size_of::<BranchJump>() == 48);
const _: () =
    assert!(size_of::<BranchHeader>() + BRANCH_JUMPS_MAX * size_of::<BranchJump>() <= ROOT_DATA_BYTES_MAX);

/// Why bytes are not a branch's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record of the branch is malformed, or of a newer version of this program")]
pub struct BranchDamage;

/// The data of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchData {
    /// When the branch was made: nanoseconds since 1970.
    pub created_ns: u64,
    /// Heads before this time are forgotten.
    pub known_since_ns: u64,
    /// Time in the commit that was the head at `known_since_ns`.
    pub base_time_ns: u64,
    /// In the order they happened.
    pub jumps: Vec<BranchJump>,
}

impl BranchData {
    /// A branch made at `now_ns` at a commit of time `base_time_ns`.
    pub fn new(now_ns: u64, base_time_ns: u64) -> BranchData {
        BranchData {
            created_ns: now_ns,
            known_since_ns: now_ns,
            base_time_ns,
            jumps: Vec::new(),
        }
    }

    /// Records that the head left `old_head` for a commit of time `base_time_ns`.
    pub fn jump(&mut self, now_ns: u64, old_head: ContentId, base_time_ns: u64) {
        let last = self
            .jumps
            .last()
            .map_or(self.known_since_ns, |jump| jump.time_ns.get());
        if self.jumps.len() == BRANCH_JUMPS_MAX {
            let oldest = self.jumps.remove(0);
            self.known_since_ns = oldest.time_ns.get();
            self.base_time_ns = oldest.base_time_ns.get();
        }
        self.jumps.push(BranchJump {
            time_ns: now_ns.max(last.saturating_add(1)).into(),
            base_time_ns: base_time_ns.into(),
            old_head,
        });
    }

    /// Checks and reads `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<BranchData, BranchDamage> {
        let (header, rest) = BranchHeader::read_from_prefix(bytes).map_err(|_| BranchDamage)?;
        let jumps = <[BranchJump]>::ref_from_bytes(rest).map_err(|_| BranchDamage)?;
        let known_since_ns = header.known_since_ns.get();
        let rising = jumps.is_sorted_by(|a, b| a.time_ns.get() < b.time_ns.get());
        let known = jumps
            .first()
            .is_none_or(|jump| jump.time_ns.get() >= known_since_ns);
        let counted = jumps.len() == usize::from(header.jumps.get()) && jumps.len() <= BRANCH_JUMPS_MAX;
        let plain = header.version == BRANCH_VERSION && header.reserved == 0;
        if !plain || !counted || !rising || !known || header.created_ns.get() > known_since_ns {
            return Err(BranchDamage);
        }
        Ok(BranchData {
            created_ns: header.created_ns.get(),
            known_since_ns,
            base_time_ns: header.base_time_ns.get(),
            jumps: jumps.to_vec(),
        })
    }

    /// The encoding, at most [`ROOT_DATA_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let count = u16::try_from(self.jumps.len()).expect("bounded by BRANCH_JUMPS_MAX");
        let header = BranchHeader {
            version: BRANCH_VERSION,
            reserved: 0,
            jumps: count.into(),
            created_ns: self.created_ns.into(),
            known_since_ns: self.known_since_ns.into(),
            base_time_ns: self.base_time_ns.into(),
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(self.jumps.as_bytes());
        bytes
    }
}

#[cfg(test)]
#[path = "branch_tests.rs"]
mod tests;
