//! What a branch remembers besides its head: when it was made, and every move that was not a new commit on top.
//!
//! With it, "the head at time T" has an exact answer: between two jumps the head only ever moved to commits made
//! on top of it, whose times rise along first parents. Kept in the branch's root record; bounded: when full, the
//! oldest jump goes, and times before it have no answer any more.
//!
//! Also how far back the history reaches: parents are followed from commits later than the floor only (`trees::reach`
//! says why). Every remembered head has a floor of its own, because the head may move to a history cut elsewhere.
//! Tags have the same data, without jumps.
//! Invariants: jump times rise strictly, the first is not before `known_since_ns`; kept commits rise strictly, so that
//! a set has one encoding.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ContentId;
use crate::limits::{BRANCH_JUMPS_MAX, BRANCH_KEPT_MAX, ROOT_DATA_BYTES_MAX};

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
    /// Kept commits that follow the jumps.
    pub kept: U16,
    /// Must be zero.
    pub reserved_too: U16,
    /// When the branch was made: nanoseconds since 1970.
    pub created_ns: U64,
    /// Heads before this time are forgotten; `created_ns` while none is.
    pub known_since_ns: U64,
    /// Time in the commit that was the head at `known_since_ns`.
    pub base_time_ns: U64,
    /// Parents of commits of this time and earlier are no part of the history; 0: everything is.
    pub floor_ns: U64,
    /// When the branch goes by itself: nanoseconds since 1970; 0: never.
    pub expires_ns: U64,
    /// Bytes that commits on the branch have stored since `stored_since_ns`, for quotas.
    pub stored_bytes: U64,
    /// The measurement of quotas since which they are counted: nanoseconds since 1970; 0: none.
    pub stored_since_ns: U64,
}

/// One move of the head that was not a new commit on top of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BranchJump {
    /// When: nanoseconds since 1970.
    pub time_ns: U64,
    /// Time in the commit the head moved to.
    pub base_time_ns: U64,
    /// Floor of the history of the head before.
    pub floor_ns: U64,
    /// Head before.
    pub old_head: ContentId,
}

const _: () = assert!(size_of::<BranchHeader>() == 64);
const _: () = assert!(size_of::<BranchJump>() == 56);
const _: () = assert!(
    size_of::<BranchHeader>()
        + BRANCH_JUMPS_MAX * size_of::<BranchJump>()
        + BRANCH_KEPT_MAX * size_of::<ContentId>()
        <= ROOT_DATA_BYTES_MAX
);

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
    /// Parents of commits of this time and earlier are no part of the head's history; 0: everything is.
    pub floor_ns: u64,
    /// When the branch goes by itself: nanoseconds since 1970; 0: never.
    pub expires_ns: u64,
    /// Bytes that commits on the branch have stored since `stored_since_ns`, for quotas.
    pub stored_bytes: u64,
    /// The measurement of quotas since which they are counted: nanoseconds since 1970; 0: none.
    pub stored_since_ns: u64,
    /// In the order they happened.
    pub jumps: Vec<BranchJump>,
    /// Commits below the floor that are kept all the same, each by itself; rising.
    pub kept: Vec<ContentId>,
}

impl BranchData {
    /// A branch made at `now_ns` at a commit of time `base_time_ns` whose history reaches down to `floor_ns`.
    pub fn new(now_ns: u64, base_time_ns: u64, floor_ns: u64) -> BranchData {
        BranchData {
            created_ns: now_ns,
            known_since_ns: now_ns,
            base_time_ns,
            floor_ns,
            expires_ns: 0,
            stored_bytes: 0,
            stored_since_ns: 0,
            jumps: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Records that the head left `old_head` for a commit of time `base_time_ns` whose history reaches down to
    /// `floor_ns`.
    pub fn jump(&mut self, now_ns: u64, old_head: ContentId, base_time_ns: u64, floor_ns: u64) {
        let last = self
            .jumps
            .last()
            .map_or(self.known_since_ns, |jump| jump.time_ns.get());
        if self.jumps.len() == BRANCH_JUMPS_MAX {
            self.drop_jumps(1);
        }
        self.jumps.push(BranchJump {
            time_ns: now_ns.max(last.saturating_add(1)).into(),
            base_time_ns: base_time_ns.into(),
            floor_ns: self.floor_ns.into(),
            old_head,
        });
        self.floor_ns = floor_ns;
    }

    /// Cuts the history: moves before `floor_ns` are forgotten, the heads remembered reach down to it at most, and of
    /// what lies below only `kept` stays (the first [`BRANCH_KEPT_MAX`] of them). A floor never goes down.
    pub fn cut(&mut self, floor_ns: u64, kept: &[ContentId]) {
        self.floor_ns = self.floor_ns.max(floor_ns);
        let floor_ns = self.floor_ns;
        self.drop_jumps(self.jumps.partition_point(|jump| jump.time_ns.get() < floor_ns));
        for jump in &mut self.jumps {
            jump.floor_ns = jump.floor_ns.get().max(floor_ns).into();
        }
        self.kept = kept[..kept.len().min(BRANCH_KEPT_MAX)].to_vec();
        self.kept.sort_unstable();
        self.kept.dedup();
    }

    /// Forgets the oldest `count` jumps.
    fn drop_jumps(&mut self, count: usize) {
        if let Some(last) = self.jumps.drain(..count).next_back() {
            self.known_since_ns = last.time_ns.get();
            self.base_time_ns = last.base_time_ns.get();
        }
    }

    /// Checks and reads `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<BranchData, BranchDamage> {
        let (header, rest) = BranchHeader::read_from_prefix(bytes).map_err(|_| BranchDamage)?;
        let (jumps, rest) = <[BranchJump]>::ref_from_prefix_with_elems(rest, header.jumps.get().into())
            .map_err(|_| BranchDamage)?;
        let kept = <[ContentId]>::ref_from_bytes(rest).map_err(|_| BranchDamage)?;
        let known_since_ns = header.known_since_ns.get();
        let rising = jumps.is_sorted_by(|a, b| a.time_ns.get() < b.time_ns.get());
        let known = jumps
            .first()
            .is_none_or(|jump| jump.time_ns.get() >= known_since_ns);
        let counted = jumps.len() <= BRANCH_JUMPS_MAX
            && kept.len() == usize::from(header.kept.get())
            && kept.len() <= BRANCH_KEPT_MAX;
        let rising = rising && kept.is_sorted_by(|a, b| a < b);
        let plain = header.version == BRANCH_VERSION && header.reserved == 0 && header.reserved_too == 0;
        if !plain || !counted || !rising || !known || header.created_ns.get() > known_since_ns {
            return Err(BranchDamage);
        }
        Ok(BranchData {
            created_ns: header.created_ns.get(),
            known_since_ns,
            base_time_ns: header.base_time_ns.get(),
            floor_ns: header.floor_ns.get(),
            expires_ns: header.expires_ns.get(),
            stored_bytes: header.stored_bytes.get(),
            stored_since_ns: header.stored_since_ns.get(),
            jumps: jumps.to_vec(),
            kept: kept.to_vec(),
        })
    }

    /// The encoding, at most [`ROOT_DATA_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let count = |number: usize| u16::try_from(number).expect("bounded by ROOT_DATA_BYTES_MAX");
        let header = BranchHeader {
            version: BRANCH_VERSION,
            reserved: 0,
            jumps: count(self.jumps.len()).into(),
            kept: count(self.kept.len()).into(),
            reserved_too: 0.into(),
            created_ns: self.created_ns.into(),
            known_since_ns: self.known_since_ns.into(),
            base_time_ns: self.base_time_ns.into(),
            floor_ns: self.floor_ns.into(),
            expires_ns: self.expires_ns.into(),
            stored_bytes: self.stored_bytes.into(),
            stored_since_ns: self.stored_since_ns.into(),
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(self.jumps.as_bytes());
        bytes.extend_from_slice(self.kept.as_bytes());
        bytes
    }
}

#[cfg(test)]
#[path = "branch_tests.rs"]
mod tests;
