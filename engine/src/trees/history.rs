//! The way back from a commit: along first parents, or everything it was made from, down to the floor of the history
//! (`liveness`).

use std::collections::{BinaryHeap, HashSet};

use super::Trees;
use super::commit::Commit;
use crate::error::{Error, Result};
use crate::format::ContentId;

/// Which ancestors a log shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ancestors {
    /// The states a branch went through: first parents only.
    #[default]
    First,
    /// Every commit that can be reached, newest first.
    All,
}

/// A commit with its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedCommit {
    /// Its id.
    pub id: ContentId,
    /// The commit.
    pub commit: Commit,
}

/// A log in progress; see [`Trees::log`].
pub struct Log {
    trees: Trees,
    ancestors: Ancestors,
    since_ns: u64,
    floor_ns: u64,
    seen: HashSet<ContentId>,
    /// Ids that have yet to be read.
    next: Vec<ContentId>,
    ready: BinaryHeap<Waiting>,
}

/// A commit that was read and has yet to be shown: the newest first, ids decide between equal times.
struct Waiting(LoggedCommit);

impl Trees {
    /// The commits from `start` back to (and including) those made at `since_ns`, newest first.
    pub fn log(&self, start: ContentId, ancestors: Ancestors, since_ns: u64) -> Log {
        Log {
            trees: self.clone(),
            ancestors,
            since_ns,
            floor_ns: 0,
            seen: HashSet::from([start]),
            next: vec![start],
            ready: BinaryHeap::new(),
        }
    }

    /// The ancestor of `id` that is `count` first parents away in a history with this floor (0: without one).
    ///
    /// # Errors
    /// `NotFound` if there are not that many.
    pub async fn ancestor(&self, id: ContentId, count: u64, floor_ns: u64) -> Result<ContentId> {
        let mut at = id;
        for step in 0..count {
            let commit = self.read_commit(at).await?;
            if commit.time_ns <= floor_ns && !commit.parents.is_empty() {
                let since = super::time::format_utc(commit.time_ns);
                return Err(Error::not_found(format!(
                    "commit {}~{count} (what was before {}~{step} of {since} was forgotten)",
                    id.short(),
                    id.short()
                )));
            }
            at = *commit.parents.first().ok_or_else(|| {
                Error::not_found(format!(
                    "commit {}~{count} (it has {step} first parents)",
                    id.short()
                ))
            })?;
        }
        Ok(at)
    }
}

impl Log {
    /// Follows parents only from commits later than `floor_ns`.
    #[must_use]
    pub fn down_to(mut self, floor_ns: u64) -> Log {
        self.floor_ns = floor_ns;
        self
    }

    /// Also shows these commits, which lie below the floor.
    #[must_use]
    pub fn and(mut self, kept: &[ContentId]) -> Log {
        for id in kept {
            if self.seen.insert(*id) {
                self.next.push(*id);
            }
        }
        self
    }

    /// The next commit; nothing at the end.
    ///
    /// # Errors
    /// A commit that cannot be read. The log cannot go on behind it.
    pub async fn next(&mut self) -> Result<Option<LoggedCommit>> {
        let ids = std::mem::take(&mut self.next);
        if !ids.is_empty() {
            let commits = self.trees.read_commits(&ids).await?;
            let logged = ids
                .into_iter()
                .zip(commits)
                .map(|(id, commit)| LoggedCommit { id, commit });
            let since_ns = self.since_ns;
            self.ready.extend(
                logged
                    .filter(|logged| logged.commit.time_ns >= since_ns)
                    .map(Waiting),
            );
        }
        let Some(Waiting(logged)) = self.ready.pop() else {
            return Ok(None);
        };
        let shown = match self.ancestors {
            _ if logged.commit.time_ns <= self.floor_ns => &[],
            Ancestors::First => &logged.commit.parents[..logged.commit.parents.len().min(1)],
            Ancestors::All => &logged.commit.parents[..],
        };
        for parent in shown {
            if self.seen.insert(*parent) {
                self.next.push(*parent);
            }
        }
        Ok(Some(logged))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> std::cmp::Ordering {
        let key = |waiting: &Waiting| (waiting.0.commit.time_ns, waiting.0.id);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
