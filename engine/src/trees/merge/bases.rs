//! What two commits have in common: their best common ancestors.
//!
//! A common ancestor is *best* if no other common ancestor descends from it. Commits are gone through newest first, each
//! painted with the sides that descend from it; a commit with both paints is common, and all before it is settled. The
//! search ends when no commit of one side alone is left, so it reads what was made since the bases and little more. Times
//! rise along first parents; a merged commit may carry any time, so a commit that gets a new paint is gone through
//! again, and where several bases come out, those that descend from another are found by going through all before
//! them.
//!
//! **Histories end at floors** (`liveness`), and each side has its own. A parent is followed where the history of either
//! side has it; where neither has, the parent still counts if the other side's history reaches it, because the commit
//! names it. Behind what remains, forgotten commits may hide a better common ancestor. Commits are later than those
//! that were made before them, so that is possible only if the other side has something as old and not yet common
//! ([`Common::hidden`]). Then no base is known to be the best, and a merge over a worse one could silently bring back
//! what was undone since.
//! Invariant: the answer follows from the commits and their floors alone, not from what a collection has removed yet.
//! Rejected: following parents wherever they happen to be stored still, for that reason.

use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use crate::error::Result;
use crate::format::ContentId;
use crate::trees::Trees;

/// In the history of a side: its floor has not cut it off.
const IN: [u8; 2] = [1 << 0, 1 << 1];
/// A side descends from it, or is it.
const FROM: [u8; 2] = [1 << 2, 1 << 3];
/// Both sides descend from it.
const COMMON: u8 = FROM[0] | FROM[1];
/// A common ancestor descends from it.
const SETTLED: u8 = 1 << 4;

/// What two histories have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Common {
    /// The best common ancestors that are known, newest first; ids decide between equal times.
    pub bases: Vec<ContentId>,
    /// A better one may be among what was forgotten.
    pub hidden: bool,
    /// A history ends at a floor before anything common was found, at a commit of this time.
    pub cut_ns: Option<u64>,
}

/// A commit that was met.
struct Met {
    time_ns: u64,
    parents: Vec<ContentId>,
    flags: u8,
}

impl Met {
    /// The one side that descends from it.
    fn side(&self) -> Option<usize> {
        (0..2).find(|side| self.flags & COMMON == FROM[*side])
    }
}

struct Search {
    floors_ns: [u64; 2],
    met: HashMap<ContentId, Met>,
    /// Newest first; a commit stands here again for each paint it gets.
    queue: BinaryHeap<(u64, ContentId)>,
    /// Commits of the queue that one side alone descends from, with how often they stand in it.
    open: HashMap<ContentId, usize>,
    /// Parents that no history has, with the paint they would have.
    beyond: BTreeMap<ContentId, u8>,
}

impl Trees {
    /// What `sides` have in common. Both are held by leases.
    ///
    /// # Errors
    /// A commit that cannot be read.
    pub(super) async fn common(&self, sides: [ContentId; 2]) -> Result<Common> {
        let mut floors_ns = [0; 2];
        for (floor_ns, side) in floors_ns.iter_mut().zip(sides) {
            *floor_ns = self.floor_of(side, None).await?;
        }
        self.common_above(sides, floors_ns).await
    }

    /// The same for histories with these floors.
    pub(super) async fn common_above(&self, sides: [ContentId; 2], floors_ns: [u64; 2]) -> Result<Common> {
        let mut search = Search {
            floors_ns,
            met: HashMap::new(),
            queue: BinaryHeap::new(),
            open: HashMap::new(),
            beyond: BTreeMap::new(),
        };
        for (side, id) in sides.into_iter().enumerate() {
            search.read(self, &[id]).await?;
            search.paint(id, IN[side] | FROM[side]);
        }
        while !search.open.is_empty() && search.step(self).await? {}
        if search.may_hide(search.cuts()) {
            // A parent that looked forgotten may lie below what is settled.
            while search.step(self).await? {}
        }
        let mut bases: Vec<ContentId> = search
            .met
            .iter()
            .filter(|(_, met)| met.flags & (COMMON | SETTLED) == COMMON)
            .map(|(id, _)| *id)
            .collect();
        if bases.len() > 1 {
            self.drop_ancestors(&mut bases, &search).await?;
        }
        bases.sort_by_key(|id| std::cmp::Reverse((search.met[id].time_ns, *id)));
        let cuts = search.cuts();
        let hidden = search.may_hide(cuts);
        let cut_ns = cuts.into_iter().flatten().max();
        Ok(Common {
            bases,
            hidden,
            cut_ns,
        })
    }

    /// Drops those that others of them descend from.
    async fn drop_ancestors(&self, bases: &mut Vec<ContentId>, search: &Search) -> Result<()> {
        let mut seen: HashSet<ContentId> = HashSet::new();
        // What the search has met is known; below it, all is in the history of either side.
        let mut waiting: Vec<(ContentId, u8)> = bases.iter().map(|id| (*id, search.met[id].flags)).collect();
        let mut walked: HashMap<ContentId, u8> = HashMap::new();
        while let Some((id, flags)) = waiting.pop() {
            let known = walked.entry(id).or_default();
            if *known | flags == *known {
                continue;
            }
            *known |= flags | search.met.get(&id).map_or(0, |met| met.flags);
            let flags = *known;
            let (time_ns, parents) = match search.met.get(&id) {
                Some(met) => (met.time_ns, met.parents.clone()),
                None => {
                    let commit = self.read_commit(id).await?;
                    (commit.time_ns, commit.parents)
                }
            };
            let followed = search.followed(flags, time_ns);
            for parent in parents {
                if followed != 0 || search.met.contains_key(&parent) {
                    seen.insert(parent);
                    waiting.push((parent, followed | SETTLED));
                }
            }
        }
        bases.retain(|id| !seen.contains(id));
        Ok(())
    }
}

impl Search {
    /// Reads those of `ids` that have not been met.
    async fn read(&mut self, trees: &Trees, ids: &[ContentId]) -> Result<()> {
        let mut new: Vec<ContentId> = ids
            .iter()
            .filter(|id| !self.met.contains_key(*id))
            .copied()
            .collect();
        new.sort_unstable();
        new.dedup();
        for (id, commit) in new.iter().zip(trees.read_commits(&new).await?) {
            let met = Met {
                time_ns: commit.time_ns,
                parents: commit.parents,
                flags: 0,
            };
            self.met.insert(*id, met);
            if let Some(flags) = self.beyond.remove(id) {
                self.paint(*id, flags);
            }
        }
        Ok(())
    }

    /// Adds to what is known of a commit that was met, and lists it to be gone through if that is new.
    fn paint(&mut self, id: ContentId, flags: u8) {
        let Some(met) = self.met.get_mut(&id) else { return };
        if met.flags | flags == met.flags {
            return;
        }
        met.flags |= flags;
        let alone = met.flags & SETTLED == 0 && met.side().is_some();
        self.queue.push((met.time_ns, id));
        if !alone {
            self.open.remove(&id);
        } else {
            *self.open.entry(id).or_default() += 1;
        }
    }

    /// A commit was taken from the queue.
    fn leave(&mut self, id: ContentId) {
        if let Some(times) = self.open.get_mut(&id) {
            *times -= 1;
            if *times == 0 {
                self.open.remove(&id);
            }
        }
    }

    /// Which histories the parents of such a commit are in.
    fn followed(&self, flags: u8, time_ns: u64) -> u8 {
        (0..2)
            .filter(|side| flags & IN[*side] != 0 && time_ns > self.floors_ns[*side])
            .fold(0, |followed, side| followed | IN[side])
    }

    /// Takes the newest commit from the queue and passes on to its parents what is known of it. False if there is none.
    async fn step(&mut self, trees: &Trees) -> Result<bool> {
        let Some((_, id)) = self.queue.pop() else {
            return Ok(false);
        };
        self.leave(id);
        let Some(met) = self.met.get(&id) else {
            return Ok(true);
        };
        let parents = met.parents.clone();
        let followed = self.followed(met.flags, met.time_ns);
        let mut passed = met.flags & (COMMON | SETTLED);
        if passed & COMMON == COMMON {
            passed |= SETTLED;
        }
        if followed != 0 {
            self.read(trees, &parents).await?;
        }
        for parent in parents {
            if self.met.contains_key(&parent) {
                self.paint(parent, passed | followed);
            } else {
                *self.beyond.entry(parent).or_default() |= passed;
            }
        }
        Ok(true)
    }

    /// For each side, the time of the newest commit of it alone whose parents are unknown.
    fn cuts(&self) -> [Option<u64>; 2] {
        let mut cuts = [None; 2];
        for met in self.met.values() {
            if let Some(side) = met.side()
                && met.parents.iter().any(|parent| !self.met.contains_key(parent))
            {
                cuts[side] = cuts[side].max(Some(met.time_ns));
            }
        }
        cuts
    }

    /// Whether something that both sides descend from may be behind these cuts.
    fn may_hide(&self, cuts: [Option<u64>; 2]) -> bool {
        if cuts.iter().all(Option::is_some) {
            return true;
        }
        let mut alone = self
            .met
            .values()
            .filter_map(|met| met.side().map(|side| (side, met.time_ns)));
        alone.any(|(side, time_ns)| cuts[1 - side].is_some_and(|cut_ns| time_ns < cut_ns))
    }
}

#[cfg(test)]
#[path = "bases_tests.rs"]
mod tests;
