//! Tags, and forgetting the history of a branch.

use std::collections::BTreeSet;

use super::branches::{answered, name_of};
use super::client::{Client, Stop};
use super::model::Number;
use super::owned::BranchModel;
use crate::trees::{Forgetting, Keep};

/// The name of a client's tag.
pub(super) fn tag_name(client: usize, slot: u8) -> String {
    name_of(client, slot)
}

/// Tags a commit of the history of an own branch, `back` commits before its head; moves the tag if it exists.
pub(super) async fn tag(
    client: &mut Client,
    slot: u8,
    branch: u8,
    back: u64,
    durable: bool,
) -> Result<(), Stop> {
    let Some(branch) = client.at(branch) else {
        return Ok(());
    };
    let (number, id) = {
        let mut model = client.stage.model.lock();
        let chain = model.chain(&branch);
        let number = chain[usize::try_from(back).unwrap_or(0).min(chain.len() - 1)];
        let Some(id) = model.commits.get(&number).and_then(|commit| commit.id) else {
            return Ok(());
        };
        model.begin(client.number, |owned| {
            owned.tags.insert(slot, number);
        });
        (number, id)
    };
    let made = client
        .trees
        .create_tag(&tag_name(client.number, slot), id, true)
        .await;
    answered(client, made, durable).await?;
    let visible = client
        .stage
        .model
        .lock()
        .owned(client.number)
        .tags
        .get(&slot)
        .copied();
    match client.trees.tag(&tag_name(client.number, slot)) {
        Ok(found) if visible == Some(number) && found.commit != id => client.astray(format!(
            "tag {slot} is at {} instead of commit {number}",
            found.commit
        )),
        _ => Ok(()),
    }
}

/// Removes an own tag.
pub(super) async fn untag(client: &mut Client, slot: u8, durable: bool) -> Result<(), Stop> {
    {
        let mut model = client.stage.model.lock();
        if !model.owned(client.number).tags.contains_key(&slot) {
            return Ok(());
        }
        model.begin(client.number, |owned| {
            owned.tags.remove(&slot);
        });
    }
    let deleted = client.trees.delete_tag(&tag_name(client.number, slot)).await;
    answered(client, deleted, durable).await
}

/// What forgetting must do to a branch: the branch afterwards, how many commits stay and how many go.
fn verdict(
    branch: &BranchModel,
    chain: &[Number],
    last: usize,
    tagged: &BTreeSet<Number>,
) -> (BranchModel, u64, u64) {
    let (stay, older) = chain.split_at(last.min(chain.len()));
    let below = older.iter().chain(&branch.kept);
    let (also, go): (BTreeSet<Number>, BTreeSet<Number>) = below.partition(|number| tagged.contains(number));
    let counts = ((stay.len() + also.len()) as u64, go.len() as u64);
    let mut after = branch.clone();
    if !go.is_empty() {
        after.kept = also;
        if let Some(oldest) = stay.last().filter(|_| !older.is_empty()) {
            after.cut = Some(*oldest);
            after.exact = true;
        }
    } else if !branch.exact {
        // There may be more to forget than the oracle knows.
        after.kept = also;
        after.cut = after.cut.max(stay.last().copied().filter(|_| stay.len() == last));
    }
    (after, counts.0, counts.1)
}

/// Forgets all but the newest commits of an own branch, and those that own tags name if `tagged`.
pub(super) async fn forget(
    client: &mut Client,
    slot: u8,
    last: u64,
    tagged: bool,
    durable: bool,
) -> Result<(), Stop> {
    let Some(branch) = client.at(slot) else {
        return Ok(());
    };
    let keep = Keep {
        last: Some(last),
        within_ns: None,
        tags: match tagged {
            true => vec![format!("c{}/*", client.number)],
            false => Vec::new(),
        },
    };
    let mut rules = match Forgetting::new(keep) {
        Ok(rules) => rules,
        Err(error) => return client.judge(&error),
    };
    let (stay, go) = {
        let mut model = client.stage.model.lock();
        let named: BTreeSet<Number> = match tagged {
            true => model.owned(client.number).tags.values().copied().collect(),
            false => BTreeSet::new(),
        };
        let chain = model.chain(&branch);
        let (after, stay, go) = verdict(&branch, &chain, usize::try_from(last).unwrap_or(1), &named);
        model.begin(client.number, |owned| {
            owned.branches.insert(slot, after);
        });
        (stay, go)
    };
    let name = name_of(client.number, slot);
    let done = match client.trees.forget(&name, &mut rules, false).await {
        Ok((forgotten, acks)) => {
            let said = (forgotten.kept, forgotten.forgotten);
            if branch.exact && said != (stay, go) {
                return client.astray(format!(
                    "forgetting kept {} commits and forgot {}, instead of {stay} and {go}",
                    said.0, said.1
                ));
            }
            let mut done = Ok(());
            for ack in acks.iter().filter(|_| durable) {
                done = done.and(ack.durable().await);
            }
            // Where nothing changed, nothing was waited for.
            done.map(|()| durable && !acks.is_empty())
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(durable) => {
            client.done(durable);
            Ok(())
        }
        Err(error) => client.judge_change(&error),
    }
}
