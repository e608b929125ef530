//! What one client owns, as the oracle sees it: branches with their histories, tags, pins; and whether what a store
//! holds is that.
//!
//! A history is a head and a *cut*: the oldest commit that must be there. Where the client's own forgetting made the
//! cut it is *exact*: nothing older may be there either. A branch that was made from another one, or moved, may reach
//! further back than the oracle knows, because the store takes the longest history there is.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Content;
use super::model::Number;
use crate::format::Domain;

/// One client of this many works in a domain of its own kind.
const DOMAINS_EVERY: usize = 4;

/// The deduplication domain a client works in.
pub(super) fn domain_of(client: usize) -> Domain {
    Domain(u32::from(client % DOMAINS_EVERY == DOMAINS_EVERY - 1))
}

/// The domains there are.
pub(super) const DOMAINS: [Domain; 2] = [Domain(0), Domain(1)];

/// A branch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BranchModel {
    pub head: Number,
    /// The oldest commit of its history; none: it goes on to the first.
    pub cut: Option<Number>,
    /// Nothing older than the cut belongs to it.
    pub exact: bool,
    /// Older commits that stay all the same.
    pub kept: BTreeSet<Number>,
    /// Bytes stored by commits on it since quotas were measured; none: a commit was not answered.
    pub stored: Option<u64>,
}

impl BranchModel {
    /// A branch whose history is `cut` there.
    pub fn new(head: Number, cut: Option<Number>, exact: bool) -> BranchModel {
        BranchModel {
            head,
            cut,
            exact,
            kept: BTreeSet::new(),
            stored: Some(0),
        }
    }

    /// Whether a branch that was found is this one. Numbers rise along a history.
    fn is(&self, found: &BranchModel) -> bool {
        let reaches = match self.exact {
            true => found.cut == self.cut,
            false => found.cut <= self.cut,
        };
        found.head == self.head && reaches
    }
}

/// What one client owns.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Owned {
    /// Branches by slot.
    pub branches: BTreeMap<u8, BranchModel>,
    /// Tags by slot.
    pub tags: BTreeMap<u8, Number>,
    /// Pins of its own contents, and its share of the pins of those that all put.
    pub pins: BTreeMap<Content, u64>,
}

impl Owned {
    /// Whether what was found is this state. Shares of pins cannot be told apart; they are compared as sums.
    pub fn is(&self, found: &Owned) -> bool {
        let own = |owned: &Owned| -> BTreeMap<Content, u64> {
            let own = owned.pins.iter().filter(|(content, _)| content.owner().is_some());
            own.map(|(content, count)| (*content, *count)).collect()
        };
        let branches = self.branches.len() == found.branches.len()
            && self
                .branches
                .iter()
                .zip(&found.branches)
                .all(|((slot, branch), (at, found))| slot == at && branch.is(found));
        branches && self.tags == found.tags && own(self) == own(found)
    }

    /// Goes on with what was found of this state: now the histories are known.
    pub fn settle(&self, mut found: Owned) -> Owned {
        for (slot, branch) in &mut found.branches {
            if let Some(known) = self.branches.get(slot) {
                branch.kept.clone_from(&known.kept);
                branch.stored = known.stored;
            }
        }
        found
    }

    /// Bytes stored on all its branches, if they are known.
    pub fn stored(&self) -> Option<u64> {
        self.branches.values().map(|branch| branch.stored).sum()
    }
}
