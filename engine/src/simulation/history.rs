//! Reads the history of a branch and compares it with the oracle's.

use parking_lot::Mutex;

use super::model::{Model, Number, Violation};
use crate::error::Result;
use crate::trees::{Ancestors, Reference, Trees};

/// Commits that are compared of a history that nobody cut.
const HISTORY_MAX: usize = 32;

/// The oldest commit of the history of a branch that is at `head`, or nothing if it goes on to the first.
pub(super) async fn read(
    trees: &Trees,
    model: &Mutex<Model>,
    head: Number,
    branch: &Reference,
) -> Result<Result<Option<Number>, Violation>> {
    let expected = model.lock().ancestors(head);
    let cut = branch.floor_ns != 0;
    let mut log = trees
        .log(branch.commit, Ancestors::First, 0)
        .down_to(branch.floor_ns);
    let mut last = None;
    for (step, number) in expected.iter().enumerate() {
        if !cut && step == HISTORY_MAX {
            return Ok(Ok(None));
        }
        let Some(logged) = log.next().await? else {
            if cut {
                return Ok(Ok(last));
            }
            return Ok(Violation::new(format!(
                "the history of commit {head} ends before {number} of {expected:?}"
            )));
        };
        let at: Option<Number> = logged.commit.message.parse().ok();
        if at != Some(*number) {
            return Ok(Violation::new(format!(
                "the history of commit {head} has {at:?} at place {step} of {expected:?}"
            )));
        }
        model.lock().name(*number, logged.id);
        last = at;
    }
    Ok(Ok(None))
}
