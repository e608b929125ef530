//! Where a branch was at a time.
//!
//! Between two remembered moves the head only went to commits made on top of it, whose times rise along first parents:
//! so the head at a time is the first commit not later, on the line that was the branch's then.

use super::Trees;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::store::RootKind;

impl Trees {
    /// The head of branch `name` at `time_ns` (nanoseconds since 1970).
    ///
    /// # Errors
    /// `NotFound` if the branch did not exist then, or its moves of that time are forgotten (it keeps the last
    /// [`BRANCH_JUMPS_MAX`](crate::limits::BRANCH_JUMPS_MAX) of them).
    pub async fn head_at(&self, name: &str, time_ns: u64) -> Result<ContentId> {
        Ok(self.line_at(name, time_ns).await?.0)
    }

    /// The same, with the floor of its history.
    pub(super) async fn line_at(&self, name: &str, time_ns: u64) -> Result<(ContentId, u64)> {
        let head = self.existing(RootKind::Branch, name)?;
        let data = head.data()?;
        if time_ns < data.created_ns {
            let made = super::time::format_utc(data.created_ns);
            return Err(Error::not_found(format!(
                "branch {name}, made {made}, at an earlier time"
            )));
        }
        if time_ns < data.known_since_ns {
            let known = super::time::format_utc(data.known_since_ns);
            let what = format!("branch {name}, whose moves are remembered since {known}, at an earlier time");
            return Err(Error::not_found(what));
        }
        let next = data.jumps.partition_point(|jump| jump.time_ns.get() <= time_ns);
        let here = (head.commit, data.floor_ns);
        let line = data
            .jumps
            .get(next)
            .map_or(here, |jump| (jump.old_head, jump.floor_ns.get()));
        let base_ns = match next.checked_sub(1) {
            Some(last) => data.jumps[last].base_time_ns.get(),
            None => data.base_time_ns,
        };
        self.first_not_after(name, line, time_ns.max(base_ns)).await
    }

    /// The first commit of a line (its tip and its floor) along first parents that is not later than `time_ns`.
    async fn first_not_after(
        &self,
        name: &str,
        (tip, floor_ns): (ContentId, u64),
        time_ns: u64,
    ) -> Result<(ContentId, u64)> {
        let mut id = tip;
        loop {
            let commit = self.read_commit(id).await?;
            if commit.time_ns <= time_ns {
                return Ok((id, floor_ns));
            }
            let Some(parent) = commit.parents.first() else {
                return Err(Error::not_found(format!("a state before commit {}", id.short())));
            };
            if commit.time_ns <= floor_ns {
                let what = format!(
                    "branch {name} at that time: what it was before {} was forgotten; a state of then is",
                    super::time::format_utc(commit.time_ns)
                );
                return Err(Error::not_found(what));
            }
            id = *parent;
        }
    }
}
