//! Forgetting: which commits of a branch's history stay, and the record that says so.
//!
//! The newest commits that the rules name stay as an unbroken history, because both rules (so many, so young) hold
//! for every later commit too; its end is the new floor (`liveness`). Older commits stay one by one if a tag with a
//! fitting name names them. The floors of all tags on the branch rise with the branch's.
//! Only roots change here; what becomes unreachable is the collector's. A floor never goes down: what was forgotten
//! can't be had back, not even while it is still stored.
//! Times count from the newest commit, not from now: a branch that rests loses nothing.
//! Rejected: removing tags that no rule names; a tag is a promise of its own.

use std::collections::{HashMap, HashSet};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::branches::{self, Head, is_race};
use super::{Trees, liveness};
use crate::access::Ack;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::limits::BRANCH_KEPT_MAX;
use crate::store::{Expect, RootChange, RootKind, RootUpdate};

/// Lost races after which forgetting gives up.
const RACES_MAX: usize = 16;
/// Tags changed by one batch: their records have to fit one frame.
const TAGS_AT_ONCE: usize = 512;

/// Which commits stay. The newest always does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// This many of the newest.
    pub last: Option<u64>,
    /// Those at most this much older than the newest, in nanoseconds.
    pub within_ns: Option<u64>,
    /// Those named by tags whose names fit one of these glob patterns.
    pub tags: Vec<String>,
}

/// What forgetting did to a branch, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// The branch.
    pub branch: String,
    /// Commits that stay in its history.
    pub kept: u64,
    /// Commits that leave it.
    pub forgotten: u64,
    /// The oldest commit of the unbroken history.
    pub oldest: ContentId,
    /// Its time: nanoseconds since 1970.
    pub oldest_ns: u64,
}

/// [`Keep`], checked, and what has been read of histories so far: branches share them.
pub struct Forgetting {
    keep: Keep,
    tags: GlobSet,
    /// Time and first parent.
    read: HashMap<ContentId, (u64, Option<ContentId>)>,
}

impl Forgetting {
    /// By these rules.
    ///
    /// # Errors
    /// `Invalid` if there is no rule, or one makes no sense.
    pub fn new(keep: Keep) -> Result<Forgetting> {
        if keep.last.is_none() && keep.within_ns.is_none() && keep.tags.is_empty() {
            let reason = "it would leave nothing but the newest commit; say what stays, with --keep-last N, \
                          --keep-within SPAN or --keep-tag PATTERN";
            return Err(Error::invalid("forgetting without a rule", reason));
        }
        if keep.last == Some(0) {
            return Err(Error::invalid(
                "keeping the last 0 commits",
                "the newest always stays: at least 1",
            ));
        }
        let mut tags = GlobSetBuilder::new();
        for pattern in &keep.tags {
            let glob = GlobBuilder::new(pattern).literal_separator(false).build();
            tags.add(
                glob.map_err(|error| Error::invalid(format!("tag pattern `{pattern}`"), error.to_string()))?,
            );
        }
        let tags = tags
            .build()
            .map_err(|error| Error::invalid("tag patterns", error.to_string()))?;
        Ok(Forgetting {
            keep,
            tags,
            read: HashMap::new(),
        })
    }
}

/// What the rules say of one history.
struct Verdict {
    forgotten: Forgotten,
    /// Older commits that stay, newest first.
    also: Vec<ContentId>,
    /// Tags on the history.
    tags: Vec<String>,
}

impl Trees {
    /// Cuts the history of branch `name`; with `dry_run` only says what that would do. The answer has acknowledgements
    /// if anything changed.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if the branch is moved elsewhere meanwhile; the store's.
    pub async fn forget(
        &self,
        name: &str,
        rules: &mut Forgetting,
        dry_run: bool,
    ) -> Result<(Forgotten, Vec<Ack>)> {
        let head = self.existing(RootKind::Branch, name)?;
        let verdict = self.judge(name, &head, rules).await?;
        let data = head.data()?;
        let mut cut = data.clone();
        let mut acks = Vec::new();
        // Nothing below means nothing to cut: the history may go on to its beginning, or ends at the present floor.
        if verdict.forgotten.forgotten == 0 {
            return Ok((verdict.forgotten, acks));
        }
        let floor_ns = verdict.forgotten.oldest_ns;
        cut.cut(floor_ns, &verdict.also);
        if dry_run || cut == data {
            return Ok((verdict.forgotten, acks));
        }
        // Tags first: until the branch's own floor rises, a next attempt finds them again.
        for tags in verdict.tags.chunks(TAGS_AT_ONCE) {
            acks.extend(self.cut_tags(tags, floor_ns).await?);
        }
        acks.push(self.cut_branch(name, &head, floor_ns, &verdict.also).await?);
        Ok((verdict.forgotten, acks))
    }

    /// Goes back along first parents, to the floor, and judges every commit.
    async fn judge(&self, name: &str, head: &Head, rules: &mut Forgetting) -> Result<Verdict> {
        let data = head.data()?;
        let mut tags: HashMap<ContentId, Vec<String>> = HashMap::new();
        for tag in self.tags()? {
            tags.entry(tag.commit).or_default().push(tag.name);
        }
        let mut on_it = Vec::new();
        let (mut kept, mut forgotten) = (0, 0);
        let mut also = Vec::new();
        let mut oldest = (head.commit, 0);
        let mut unbroken = true;
        let mut newest_ns = 0;
        let mut next = Some(head.commit);
        let mut below: HashSet<ContentId> = data.kept.iter().copied().collect();
        while let Some(id) = next {
            let (time_ns, parent) = self.step_back(id, rules).await?;
            let names = tags.remove(&id).unwrap_or_default();
            let tagged = names.iter().any(|name| rules.tags.is_match(name));
            if id == head.commit {
                newest_ns = time_ns;
            }
            let last = rules.keep.last.is_some_and(|last| kept < last);
            let within = rules
                .keep
                .within_ns
                .is_some_and(|span| time_ns >= newest_ns.saturating_sub(span));
            unbroken = unbroken && (id == head.commit || last || within);
            if unbroken {
                kept += 1;
                oldest = (id, time_ns);
            } else if tagged && also.len() < BRANCH_KEPT_MAX {
                also.push(id);
            } else {
                forgotten += 1;
            }
            on_it.extend(names);
            below.remove(&id);
            next = parent.filter(|_| time_ns > data.floor_ns);
        }
        // What an earlier rule kept below the floor stays if it is named still.
        let mut below: Vec<(u64, ContentId)> = self.times(below, rules).await?;
        below.sort_unstable_by(|a, b| b.cmp(a));
        for (_, id) in below {
            let names = tags.remove(&id).unwrap_or_default();
            let tagged = names.iter().any(|name| rules.tags.is_match(name));
            if tagged && also.len() < BRANCH_KEPT_MAX {
                also.push(id);
            } else {
                forgotten += 1;
            }
        }
        Ok(Verdict {
            forgotten: Forgotten {
                branch: name.to_owned(),
                kept: kept + also.len() as u64,
                forgotten,
                oldest: oldest.0,
                oldest_ns: oldest.1,
            },
            also,
            tags: on_it,
        })
    }

    async fn times(&self, ids: HashSet<ContentId>, rules: &mut Forgetting) -> Result<Vec<(u64, ContentId)>> {
        let mut times = Vec::with_capacity(ids.len());
        for id in ids {
            times.push((self.step_back(id, rules).await?.0, id));
        }
        Ok(times)
    }

    /// Time and first parent of a commit.
    async fn step_back(&self, id: ContentId, rules: &mut Forgetting) -> Result<(u64, Option<ContentId>)> {
        if let Some(known) = rules.read.get(&id) {
            return Ok(*known);
        }
        let commit = self.read_commit(id).await?;
        let step = (commit.time_ns, commit.parents.first().copied());
        rules.read.insert(id, step);
        Ok(step)
    }

    /// Raises the floor of a branch that still has the history seen in `seen`; commits on top of it do no harm.
    async fn cut_branch(&self, name: &str, seen: &Head, floor_ns: u64, also: &[ContentId]) -> Result<Ack> {
        let moves = |head: &Head| head.data().map(|data| data.jumps);
        let jumps = moves(seen)?;
        for _ in 0..RACES_MAX {
            let head = self.existing(RootKind::Branch, name)?;
            if head.root.id != seen.root.id || moves(&head)? != jumps {
                return Err(branches::moved(name, Some(seen.commit), Some(head.commit)));
            }
            let mut data = head.data()?;
            data.cut(floor_ns, also);
            let mut batch = self.batch();
            self.hold_commits(&mut batch, also)?;
            if !liveness::has_floors(&self.store)? {
                batch.set_root(liveness::floors_mark());
            }
            batch.set_root(set(&head, data.encode()));
            match batch.submit().await {
                Err(error) if is_race(&error) => {}
                done => return done,
            }
        }
        Err(busy(name))
    }

    /// Raises the floors of tags; those that are gone meanwhile are none of our business.
    async fn cut_tags(&self, names: &[String], floor_ns: u64) -> Result<Option<Ack>> {
        for _ in 0..RACES_MAX {
            let mut updates = Vec::new();
            for name in names {
                let tag = match self.existing(RootKind::Tag, name) {
                    Err(Error::NotFound { .. }) => continue,
                    tag => tag?,
                };
                let mut data = tag.data()?;
                if data.floor_ns < floor_ns {
                    data.cut(floor_ns, &[]);
                    updates.push(set(&tag, data.encode()));
                }
            }
            if updates.is_empty() {
                return Ok(None);
            }
            let mut batch = self.batch();
            if !liveness::has_floors(&self.store)? {
                batch.set_root(liveness::floors_mark());
            }
            for update in updates {
                batch.set_root(update);
            }
            match batch.submit().await {
                Err(error) if is_race(&error) => {}
                done => return done.map(Some),
            }
        }
        Err(busy("of tags"))
    }
}

/// The root with other data.
fn set(head: &Head, data: Vec<u8>) -> RootUpdate {
    RootUpdate {
        kind: head.root.kind,
        name: head.root.name.clone(),
        expect: Expect::Sequence(head.root.sequence),
        change: RootChange::Set {
            target: head.root.target,
            data: data.into(),
        },
    }
}

fn busy(name: &str) -> Error {
    Error::Conflict {
        root: format!("branch {name}"),
        expected: "a moment without commits".into(),
        found: format!("{RACES_MAX} of them in a row"),
    }
}

#[cfg(test)]
#[path = "forget_tests.rs"]
mod tests;
