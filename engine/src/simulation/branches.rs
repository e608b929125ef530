//! What clients do with branches and trees, and comparing a tree with what it must be.

use super::client::{Client, Stop};
use super::commits::options;
use super::history;
use super::model::{Files, Number, Violation};
use super::owned::BranchModel;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::trees::{EntryKind, ExpectHead, Trees, WorkingTree};

/// The name of a client's branch.
pub(super) fn name_of(client: usize, slot: u8) -> String {
    format!("c{client}/{slot}")
}

/// The client and slot of a branch's name.
pub(super) fn owner_of(name: &str) -> Option<(usize, u8)> {
    let (client, slot) = name.strip_prefix('c')?.split_once('/')?;
    Some((client.parse().ok()?, slot.parse().ok()?))
}

/// The number a commit carries.
pub(super) async fn read_number(trees: &Trees, id: ContentId) -> Result<Option<Number>> {
    Ok(trees.read_commit(id).await?.message.parse().ok())
}

/// What is wrong about a tree that should have these files.
pub(super) async fn compare(tree: &mut WorkingTree, files: &Files) -> Result<Result<(), Violation>> {
    let mut waiting = vec![String::new()];
    let mut found = 0;
    while let Some(directory) = waiting.pop() {
        for stat in tree.list(&directory).await? {
            let name = String::from_utf8_lossy(&stat.entry.name).into_owned();
            let path = match directory.is_empty() {
                true => name,
                false => format!("{directory}/{name}"),
            };
            if stat.entry.kind == EntryKind::Directory {
                waiting.push(path);
                continue;
            }
            let Some(content) = files.get(&path) else {
                return Ok(Violation::new(format!("{path} is in the tree and should not be")));
            };
            if tree.read(&path).await? != content.bytes() {
                return Ok(Violation::new(format!("{path} does not hold {content}")));
            }
            found += 1;
        }
    }
    if found == files.len() {
        return Ok(Ok(()));
    }
    Ok(Violation::new(format!(
        "{found} files instead of {}",
        files.len()
    )))
}

impl Client {
    pub fn name(&self, slot: u8) -> String {
        name_of(self.number, slot)
    }

    /// An own branch.
    pub fn at(&self, slot: u8) -> Option<BranchModel> {
        let mut model = self.stage.model.lock();
        model.owned(self.number).branches.get(&slot).cloned()
    }

    /// Some branch of the domain, and where it is.
    pub fn some_branch(&self, which: u64) -> Result<Option<(String, ContentId)>, Stop> {
        let all = match self.trees.branches() {
            Ok(all) => all,
            Err(error) => return self.judge(&error).map(|()| None),
        };
        let place = which.checked_rem(all.len() as u64);
        let place = place.and_then(|place| all.get(usize::try_from(place).ok()?));
        Ok(place.map(|branch| (branch.name.clone(), branch.commit)))
    }

    pub fn files(&self, number: Option<Number>) -> Files {
        let model = self.stage.model.lock();
        number
            .and_then(|number| model.commits.get(&number))
            .map_or_else(Files::new, |commit| commit.files.as_ref().clone())
    }

    /// The number of a commit that some branch is at.
    pub async fn number_of(&self, trees: &Trees, id: ContentId) -> Result<Number, Stop> {
        let known = self.stage.model.lock().ids.get(&id).copied();
        if let Some(number) = known {
            return Ok(number);
        }
        match read_number(trees, id).await {
            Ok(Some(number)) if self.stage.model.lock().commits.contains_key(&number) => {
                self.stage.model.lock().name(number, id);
                Ok(number)
            }
            Ok(_) => Ok(Violation::new(format!("commit {id} was made by nobody"))?),
            Err(error) => {
                self.judge(&error)?;
                Err(Stop::Over)
            }
        }
    }
}

pub(super) async fn create(client: &mut Client, slot: u8, from: u64, durable: bool) -> Result<(), Stop> {
    if client.at(slot).is_some() {
        return Ok(());
    }
    let Some((source, id)) = client.some_branch(from)? else {
        return Ok(());
    };
    let number = client.number_of(&client.trees, id).await?;
    // Who else may have the commit in its history is there only until it is removed.
    let branch = BranchModel::new(number, Some(number), false);
    client.stage.model.lock().begin(client.number, |owned| {
        owned.branches.insert(slot, branch);
    });
    let cut = client.stage.model.lock().cut_for(number);
    let made = match client.trees.create_branch(&client.name(slot), id).await {
        // The branch is gone meanwhile, and the commit with it.
        Err(Error::NotFound { .. }) => {
            client.stage.model.lock().refused(client.number);
            return Ok(());
        }
        made => made,
    };
    let there = client
        .trees
        .branch(&source)
        .is_ok_and(|branch| branch.commit == id);
    if made.is_ok() && there {
        client.stage.model.lock().reaches(client.number, slot, cut);
    }
    answered(client, made, durable).await
}

/// Waits as asked and tells the model.
pub(super) async fn answered(
    client: &Client,
    made: Result<crate::access::Ack>,
    durable: bool,
) -> Result<(), Stop> {
    let done = match made {
        Ok(ack) if durable => ack.durable().await,
        made => made.map(drop),
    };
    match done {
        Ok(()) => {
            client.done(durable);
            Ok(())
        }
        Err(error) => client.judge_change(&error),
    }
}

pub(super) async fn rename(client: &mut Client, slot: u8, to: u8, durable: bool) -> Result<(), Stop> {
    let Some(branch) = client.at(slot).filter(|_| client.at(to).is_none()) else {
        return Ok(());
    };
    client.open.remove(&slot);
    client.open.remove(&to);
    client.stage.model.lock().begin(client.number, |owned| {
        owned.branches.remove(&slot);
        owned.branches.insert(to, branch);
    });
    let renamed = client
        .trees
        .rename_branch(&client.name(slot), &client.name(to))
        .await;
    answered(client, renamed, durable).await
}

pub(super) async fn delete(client: &mut Client, slot: u8, durable: bool) -> Result<(), Stop> {
    if client.at(slot).is_none() {
        return Ok(());
    }
    client.open.remove(&slot);
    client.stage.model.lock().begin(client.number, |owned| {
        owned.branches.remove(&slot);
    });
    let deleted = client
        .trees
        .delete_branch(&client.name(slot), ExpectHead::Any)
        .await;
    answered(client, deleted, durable).await
}

pub(super) async fn roll_back(client: &mut Client, slot: u8, back: u64, durable: bool) -> Result<(), Stop> {
    let Some(branch) = client.at(slot) else {
        return Ok(());
    };
    let target = {
        let mut model = client.stage.model.lock();
        let chain = model.chain(&branch);
        let place = usize::try_from(back).unwrap_or(0).min(chain.len() - 1);
        let to = chain[place];
        let Some(id) = model.commits.get(&to).and_then(|commit| commit.id) else {
            return Ok(());
        };
        // Another history it is in may reach further back, and is taken then.
        let moved = BranchModel {
            head: to,
            exact: branch.exact && to == branch.head,
            ..branch
        };
        model.begin(client.number, |owned| {
            owned.branches.insert(slot, moved);
        });
        id
    };
    client.open.remove(&slot);
    let moved = client
        .trees
        .move_branch(&client.name(slot), target, ExpectHead::Any)
        .await;
    answered(client, moved, durable).await
}

pub(super) async fn read(client: &mut Client, slot: u8) -> Result<(), Stop> {
    let Some(branch) = client.at(slot) else {
        return match client.trees.branch(&client.name(slot)) {
            Err(Error::NotFound { .. }) => Ok(()),
            _ => client.astray("a branch that should not exist does"),
        };
    };
    let number = branch.head;
    let files = client.files(Some(number));
    let compared = async {
        let mut tree = client.trees.open_branch(&client.name(slot), options()).await?;
        let base = tree.base();
        let expected = client.stage.model.lock().commits[&number].id;
        let compared = match base == expected {
            true => compare(&mut tree, &files).await?,
            false => Ok(()),
        };
        let reference = client.trees.branch(&client.name(slot))?;
        let history = history::read(&client.trees, &client.stage.model, number, &reference).await?;
        Ok((base, compared, history))
    };
    match compared.await {
        Ok((base, compared, history)) => {
            let found = match base {
                Some(id) => Some(client.number_of(&client.trees, id).await?),
                None => None,
            };
            if found != Some(number) {
                return client.astray(format!("the branch is at {found:?} instead of {number}"));
            }
            compared?;
            let cut = history?;
            match cut == branch.cut || !branch.exact && cut < branch.cut {
                true => Ok(()),
                false => client.astray(format!("its history ends at {cut:?} instead of {:?}", branch.cut)),
            }
        }
        Err(error) => client.judge(&error),
    }
}
