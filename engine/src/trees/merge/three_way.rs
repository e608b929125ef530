//! Merging trees: what has to change in ours, and where that cannot be said.
//!
//! Directories are gone through from the top, where both sides have changed something in them; one that only one side
//! has changed is taken as it is and never opened. Within a directory each side is compared with each base (`pair`):
//! names that no comparison answers are the same everywhere. So a merge reads what the sides have changed, whatever the
//! size of the trees, all directories of one round as one batch.
//!
//! A directory that one side has removed, or made something else, goes only if the other side has changed nothing in it
//! but times; that is looked at when the rest is done.
//!
//! **Hard links** are a number that the names of one file share, so two sides may each be right and together say that
//! files with different contents are one. Each group of what is taken is therefore compared with what ours has of it.
//! A name that is the same on all sides has the content that both sides give to the group, so only what ours has
//! changed has to be looked at, and that only if links are taken at all.
//! Invariant: applied to ours, the changes give the merged tree; paths in them do not contain each other, except that
//! the own fields of a directory may change beside what is in it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::rules::{self, Sides, Taken};
use super::{Clash, Conflict};
use crate::error::Result;
use crate::format::ContentId;
use crate::trees::diff::Change;
use crate::trees::node::Item;
use crate::trees::pair::{self, Pair};
use crate::trees::path::TreePath;
use crate::trees::{Difference, Entry, Trees};

/// A change of ours.
#[derive(Clone)]
pub(super) struct Edit {
    pub path: TreePath,
    pub old: Option<Item>,
    /// With the id of `old`, a directory keeps what is in it.
    pub new: Option<Item>,
}

/// What a merge of trees comes to.
#[derive(Default)]
pub(super) struct Merged {
    /// By path.
    pub edits: Vec<Edit>,
    /// The edits, name by name; none where there are conflicts.
    pub differences: Vec<Difference>,
    /// By path.
    pub conflicts: Vec<Conflict>,
}

/// A directory that both sides have changed.
struct Open {
    path: TreePath,
    /// For each base: from it to ours, and to theirs.
    pairs: Vec<[Pair; 2]>,
}

/// What a name stands for, as far as the comparisons of one directory say.
struct Heard {
    bases: Vec<Option<Option<Item>>>,
    sides: [Option<Option<Item>>; 2],
}

#[derive(Default)]
struct Search {
    open: Vec<Open>,
    edits: Vec<Edit>,
    clashes: Vec<(TreePath, Clash, Sides)>,
    /// Names where one side has a directory and the other has none.
    uneven: Vec<(TreePath, Sides)>,
}

impl Trees {
    /// Merges top directories.
    ///
    /// # Errors
    /// Whatever reading nodes answers; `Invalid` for nodes that do not make a directory.
    pub(super) async fn three_way(&self, tops: Sides) -> Result<Merged> {
        let ours = tops.ours.clone();
        let bases: Vec<Option<Item>> = tops.bases.clone();
        let mut search = Search::default();
        search.decide(TreePath::root(), tops)?;
        while !search.open.is_empty() {
            search.round(self).await?;
        }
        for (path, sides) in std::mem::take(&mut search.uneven) {
            self.decide_uneven(path, sides, &mut search).await?;
        }
        let Search {
            mut edits,
            mut clashes,
            ..
        } = search;
        edits.sort_by(|a, b| a.path.cmp(&b.path));
        let mut differences = Vec::new();
        if clashes.is_empty() {
            let pairs = edits
                .iter()
                .map(|edit| (edit.path.clone(), edit.old.clone(), edit.new.clone()));
            differences = self.diff_items(pairs.collect()).await?;
            let base = bases.into_iter().next().flatten();
            self.check_links(base, ours, &differences, &mut clashes).await?;
        }
        clashes.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Merged {
            edits,
            differences,
            conflicts: self.conflicts(clashes).await?,
        })
    }

    /// A directory on one side and none on the other: it has to be unchanged, times aside, where it is one.
    async fn decide_uneven(&self, path: TreePath, sides: Sides, search: &mut Search) -> Result<()> {
        let mut taken = None;
        if self.is_unchanged(&sides, sides.ours.as_ref()).await? {
            taken = Some(Taken::Theirs);
        } else if self.is_unchanged(&sides, sides.theirs.as_ref()).await? {
            taken = Some(Taken::Ours);
        }
        match taken {
            Some(taken) => search.take(path, &sides, taken),
            None => {
                search.clash(path, sides);
                Ok(())
            }
        }
    }

    /// Whether all bases have what a side has, with everything below, times aside.
    async fn is_unchanged(&self, sides: &Sides, side: Option<&Item>) -> Result<bool> {
        for base in &sides.bases {
            if !rules::is_alike(base.as_ref(), side)? {
                return Ok(false);
            }
            let pair = (TreePath::root(), base.clone(), side.cloned());
            let only_time = |difference: &Difference| match &difference.change {
                Change::Modified { changed, .. } => changed.is_only_mtime(),
                Change::Added(_) | Change::Removed(_) => false,
            };
            if !self.diff_items(vec![pair]).await?.iter().all(only_time) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Finds links that are taken and whose group has another content in what stays of ours.
    async fn check_links(
        &self,
        base: Option<Item>,
        ours: Option<Item>,
        differences: &[Difference],
        clashes: &mut Vec<(TreePath, Clash, Sides)>,
    ) -> Result<()> {
        let mut taken: HashMap<u64, Vec<(&TreePath, &Entry)>> = HashMap::new();
        for (path, entry) in differences.iter().filter_map(linked) {
            let group = entry.attributes.link_group.unwrap_or_default();
            taken.entry(group).or_default().push((path, entry));
        }
        if taken.is_empty() {
            return Ok(());
        }
        let mut replaced: HashMap<&TreePath, Option<&Entry>> = HashMap::new();
        for difference in differences {
            let old = replaced.entry(&difference.path).or_default();
            if let Change::Removed(entry) | Change::Modified { old: entry, .. } = &difference.change {
                *old = Some(entry);
            }
        }
        let pair = (TreePath::root(), base, ours);
        let changed = self.diff_items(vec![pair]).await?;
        let mut groups: HashMap<u64, Vec<(&TreePath, &Entry)>> = taken.clone();
        for (path, entry) in changed.iter().filter_map(linked) {
            let group = entry.attributes.link_group.unwrap_or_default();
            if !replaced.contains_key(path)
                && let Some(members) = groups.get_mut(&group)
            {
                members.push((path, entry));
            }
        }
        for (group, members) in groups {
            let first = members.first().map(|(_, entry)| *entry);
            if members
                .iter()
                .all(|(_, entry)| first.is_some_and(|first| is_one_file(first, entry)))
            {
                continue;
            }
            for (path, entry) in taken.get(&group).into_iter().flatten() {
                let old = replaced.get(path).copied().flatten();
                let sides = Sides {
                    bases: vec![None],
                    ours: old.map(super::item_of).transpose()?,
                    theirs: Some(super::item_of(entry)?),
                };
                clashes.push(((*path).clone(), Clash::Links, sides));
            }
        }
        Ok(())
    }

    /// Conflicts as callers see them.
    async fn conflicts(&self, clashes: Vec<(TreePath, Clash, Sides)>) -> Result<Vec<Conflict>> {
        let of = |sides: &Sides| {
            let base = sides.bases.iter().flatten().next().cloned();
            [base, sides.ours.clone(), sides.theirs.clone()]
        };
        let sides: Vec<[Option<Item>; 3]> = clashes.iter().map(|(_, _, sides)| of(sides)).collect();
        let mut entries = self
            .entries_of(sides.iter().flatten().flatten())
            .await?
            .into_iter();
        let mut conflicts = Vec::with_capacity(clashes.len());
        for ((path, clash, _), sides) in clashes.into_iter().zip(&sides) {
            let [base, ours, theirs] =
                [0, 1, 2].map(|side| sides[side].as_ref().and_then(|_| entries.next()));
            conflicts.push(Conflict {
                path,
                clash,
                base,
                ours,
                theirs,
            });
        }
        Ok(conflicts)
    }
}

/// The entry that a difference brings, if it is one of several links.
fn linked(difference: &Difference) -> Option<(&TreePath, &Entry)> {
    let entry = match &difference.change {
        Change::Added(entry) | Change::Modified { new: entry, .. } => entry,
        Change::Removed(_) => return None,
    };
    entry.attributes.link_group?;
    Some((&difference.path, entry))
}

/// Whether two links can be names of one file.
fn is_one_file(a: &Entry, b: &Entry) -> bool {
    let rest = |entry: &Entry| {
        let mut attributes = entry.attributes.clone();
        attributes.mtime = None;
        attributes
    };
    (a.kind, a.mode, a.size, a.id) == (b.kind, b.mode, b.size, b.id) && rest(a) == rest(b)
}

impl Search {
    /// Reads one step further down in every open directory, and decides the names of those that have been read.
    async fn round(&mut self, trees: &Trees) -> Result<()> {
        let mut open = std::mem::take(&mut self.open);
        let mut pairs: Vec<&mut Pair> = open
            .iter_mut()
            .flat_map(|open| open.pairs.iter_mut().flatten())
            .filter(|pair| !pair.is_read())
            .collect();
        pair::descend(trees, &mut pairs).await?;
        for open in open {
            if open.pairs.iter().flatten().all(Pair::is_read) {
                for (name, sides) in names(open.pairs) {
                    self.decide(open.path.join(&name), sides)?;
                }
            } else {
                self.open.push(open);
            }
        }
        Ok(())
    }

    fn decide(&mut self, path: TreePath, sides: Sides) -> Result<()> {
        if pair::is_same(sides.ours.as_ref(), sides.theirs.as_ref()) {
            return Ok(());
        }
        let directory = |item: &Option<Item>| {
            item.as_ref()
                .filter(|item| item.is_directory())
                .map(|item| item.record.id)
        };
        match (directory(&sides.ours), directory(&sides.theirs)) {
            (Some(ours), Some(theirs)) => self.decide_directory(path, &sides, ours, theirs),
            (None, None) => match sides.changed()? {
                Some(taken) => self.take(path, &sides, taken),
                None => {
                    self.clash(path, sides);
                    Ok(())
                }
            },
            _ => {
                self.uneven.push((path, sides));
                Ok(())
            }
        }
    }

    /// A directory on both sides: its own fields, and what is in it.
    fn decide_directory(
        &mut self,
        path: TreePath,
        sides: &Sides,
        ours: ContentId,
        theirs: ContentId,
    ) -> Result<()> {
        let inside = sides.inside(ours, theirs);
        match sides.changed()? {
            None => self.clash(path.clone(), sides.clone()),
            Some(taken) => {
                let mut new = sides.take(taken)?;
                if let Some(new) = &mut new {
                    new.record.id = if inside == Some(Taken::Theirs) {
                        theirs
                    } else {
                        ours
                    };
                }
                self.edit(path.clone(), sides.ours.clone(), new);
            }
        }
        if inside.is_none() {
            let pairs = sides
                .bases_inside()
                .map(|base| [Pair::open(base, Some(ours)), Pair::open(base, Some(theirs))]);
            let pairs = pairs.collect();
            self.open.push(Open { path, pairs });
        }
        Ok(())
    }

    fn take(&mut self, path: TreePath, sides: &Sides, taken: Taken) -> Result<()> {
        let new = sides.take(taken)?;
        self.edit(path, sides.ours.clone(), new);
        Ok(())
    }

    fn edit(&mut self, path: TreePath, old: Option<Item>, new: Option<Item>) {
        if !pair::is_same(old.as_ref(), new.as_ref()) {
            self.edits.push(Edit { path, old, new });
        }
    }

    fn clash(&mut self, path: TreePath, sides: Sides) {
        let known = sides.bases.iter().any(Option::is_some);
        let clash = match (&sides.ours, &sides.theirs) {
            (None, _) => Clash::OursRemoved,
            (_, None) => Clash::TheirsRemoved,
            _ if known => Clash::BothChanged,
            _ => Clash::BothAdded,
        };
        self.clashes.push((path, clash, sides));
    }
}

/// The names of a directory that differ in any of its comparisons, in order, with what they stand for on all sides.
fn names(pairs: Vec<[Pair; 2]>) -> Vec<(Bytes, Sides)> {
    let bases = pairs.len();
    let mut heard: BTreeMap<Bytes, Heard> = BTreeMap::new();
    for (base, pairs) in pairs.into_iter().enumerate() {
        for (side, pair) in pairs.into_iter().enumerate() {
            for unequal in pair.unequal() {
                let heard = heard.entry(unequal.name).or_insert_with(|| Heard {
                    bases: vec![None; bases],
                    sides: [None, None],
                });
                heard.bases[base] = Some(unequal.old);
                heard.sides[side] = Some(unequal.new);
            }
        }
    }
    heard
        .into_iter()
        .map(|(name, heard)| (name, heard.complete()))
        .collect()
}

impl Heard {
    /// What was not heard is the same as what it was compared with: a side that differs from no base is like all of
    /// them, and a base that neither side differs from is like both.
    fn complete(self) -> Sides {
        let Heard { bases, sides } = self;
        let any_base = || bases.iter().flatten().next().cloned().flatten();
        let [ours, theirs] = sides.map(|side| side.unwrap_or_else(any_base));
        let bases = bases
            .into_iter()
            .map(|base| base.unwrap_or_else(|| ours.clone()))
            .collect();
        Sides { bases, ours, theirs }
    }
}
