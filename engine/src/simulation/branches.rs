//! What clients do with branches and trees, and comparing a tree with what it must be.

use std::sync::Arc;

use super::client::{Client, Stop};
use super::model::{Files, MAIN, Number, Violation};
use super::plan::Edit;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::trees::{CommitOptions, EntryKind, ExpectHead, Trees, WorkingOptions, WorkingTree};

/// How often a lost race for the shared branch is run again.
const RACES_MAX: usize = 3;

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
    fn name(&self, slot: u8) -> String {
        name_of(self.number, slot)
    }

    /// Where an own branch is.
    fn at(&self, slot: u8) -> Option<Number> {
        let mut model = self.stage.model.lock();
        model.owned(self.number).branches.get(&slot).copied()
    }

    fn files(&self, number: Option<Number>) -> Files {
        let model = self.stage.model.lock();
        number
            .and_then(|number| model.commits.get(&number))
            .map_or_else(Files::new, |commit| commit.files.as_ref().clone())
    }

    /// The number of a commit that some branch is at.
    async fn number_of(&self, id: ContentId) -> Result<Number, Stop> {
        let known = self.stage.model.lock().ids.get(&id).copied();
        if let Some(number) = known {
            return Ok(number);
        }
        match read_number(&self.trees, id).await {
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

fn options() -> WorkingOptions {
    WorkingOptions::default()
}

fn commit_options(number: Number, durable: bool) -> CommitOptions {
    CommitOptions {
        message: number.to_string(),
        durable,
        allow_unchanged: true,
        ..CommitOptions::default()
    }
}

async fn make_parent(tree: &mut WorkingTree, path: &str) -> Result<()> {
    match path.rsplit_once('/') {
        Some((parent, _)) => tree.create_directories(parent).await,
        None => Ok(()),
    }
}

/// Does the same to the tree and to the files it should have.
async fn edit(tree: &mut WorkingTree, files: &mut Files, edits: &[Edit]) -> Result<()> {
    for edit in edits {
        match edit {
            Edit::Write(path, content) => {
                make_parent(tree, path).await?;
                tree.write(path, content.bytes()).await?;
                files.insert(path.clone(), *content);
            }
            Edit::Remove(path) => {
                if files.remove(path).is_some() {
                    tree.remove(path).await?;
                }
            }
            Edit::Rename(from, to) => {
                if let Some(content) = files.get(from).copied()
                    && !files.contains_key(to)
                {
                    make_parent(tree, to).await?;
                    tree.rename(from, to).await?;
                    files.remove(from);
                    files.insert(to.clone(), content);
                }
            }
        }
    }
    Ok(())
}

pub(super) async fn commit(
    client: &mut Client,
    slot: u8,
    edits: &[Edit],
    durable: bool,
    fresh: bool,
) -> Result<(), Stop> {
    let base = client.at(slot);
    let kept = client.open.remove(&slot).filter(|_| !fresh);
    let opened = match (kept, base) {
        (Some(tree), _) => Ok(tree),
        (None, Some(_)) => client.trees.open_branch(&client.name(slot), options()).await,
        (None, None) => client.trees.open_new(&client.name(slot), options()),
    };
    let mut tree = match opened {
        Ok(tree) => tree,
        Err(error) => return client.judge(&error),
    };
    let found = match tree.base() {
        Some(id) => Some(client.number_of(id).await?),
        None => None,
    };
    if found != base {
        return client.astray(format!("branch {slot} is at {found:?} instead of {base:?}"));
    }
    let mut files = client.files(base);
    if let Err(error) = edit(&mut tree, &mut files, edits).await {
        return client.judge(&error);
    }
    let number = {
        let mut model = client.stage.model.lock();
        let number = model.commit(Arc::new(files), base);
        model.begin(client.number, |owned| {
            owned.branches.insert(slot, number);
        });
        number
    };
    match tree.commit_with(&commit_options(number, durable)).await {
        Ok(outcome) => {
            client.stage.model.lock().name(number, outcome.commit);
            client.done(durable);
            client.open.insert(slot, tree);
            Ok(())
        }
        Err(error) => client.judge_change(&error),
    }
}

pub(super) async fn commit_main(client: &mut Client, edits: &[Edit], durable: bool) -> Result<(), Stop> {
    for _ in 0..RACES_MAX {
        let opened = match client.trees.branch(MAIN) {
            Ok(_) => client.trees.open_branch(MAIN, options()).await,
            Err(Error::NotFound { .. }) => client.trees.open_new(MAIN, options()),
            Err(error) => Err(error),
        };
        let mut tree = match opened {
            Ok(tree) => tree,
            Err(error) => return client.judge(&error),
        };
        let base = match tree.base() {
            Some(id) => Some(client.number_of(id).await?),
            None => None,
        };
        let mut files = client.files(base);
        if let Err(error) = edit(&mut tree, &mut files, edits).await {
            return client.judge(&error);
        }
        let number = {
            let mut model = client.stage.model.lock();
            let number = model.commit(Arc::new(files), base);
            model.main_tried.insert(number);
            number
        };
        let answer = tree.commit_with(&commit_options(number, durable)).await;
        match answer {
            Ok(outcome) => {
                let mut model = client.stage.model.lock();
                model.name(number, outcome.commit);
                model.main_visible.insert(number);
                if durable {
                    model.main_durable.insert(number);
                }
                return Ok(());
            }
            Err(Error::Conflict { .. } | Error::Exists { .. }) => {
                client.stage.tally.lock().count("lost races");
                client.stage.model.lock().main_tried.remove(&number);
            }
            Err(error) => {
                client.judge(&error)?;
                client.stage.model.lock().main_tried.remove(&number);
                return Ok(());
            }
        }
    }
    Ok(())
}

pub(super) async fn create(client: &mut Client, slot: u8, from: u64, durable: bool) -> Result<(), Stop> {
    if client.at(slot).is_some() {
        return Ok(());
    }
    let all = match client.trees.branches() {
        Ok(all) => all,
        Err(error) => return client.judge(&error),
    };
    let Some(place) = from.checked_rem(all.len() as u64) else {
        return Ok(());
    };
    let id = all[usize::try_from(place).unwrap_or(0)].commit;
    let number = client.number_of(id).await?;
    client.stage.model.lock().begin(client.number, |owned| {
        owned.branches.insert(slot, number);
    });
    let made = client.trees.create_branch(&client.name(slot), id).await;
    answered(client, made, durable).await
}

/// Waits as asked and tells the model.
async fn answered(client: &Client, made: Result<crate::store::Ack>, durable: bool) -> Result<(), Stop> {
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
    let Some(number) = client.at(slot).filter(|_| client.at(to).is_none()) else {
        return Ok(());
    };
    client.open.remove(&slot);
    client.open.remove(&to);
    client.stage.model.lock().begin(client.number, |owned| {
        owned.branches.remove(&slot);
        owned.branches.insert(to, number);
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
    let Some(number) = client.at(slot) else {
        return Ok(());
    };
    let target = {
        let mut model = client.stage.model.lock();
        let chain = model.chain(number);
        let place = usize::try_from(back).unwrap_or(0).min(chain.len() - 1);
        let to = chain[place];
        let Some(id) = model.commits.get(&to).and_then(|commit| commit.id) else {
            return Ok(());
        };
        model.begin(client.number, |owned| {
            owned.branches.insert(slot, to);
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
    let Some(number) = client.at(slot) else {
        return match client.trees.branch(&client.name(slot)) {
            Err(Error::NotFound { .. }) => Ok(()),
            _ => client.astray("a branch that should not exist does"),
        };
    };
    let files = client.files(Some(number));
    let compared = async {
        let mut tree = client.trees.open_branch(&client.name(slot), options()).await?;
        let base = tree.base();
        let expected = client.stage.model.lock().commits[&number].id;
        let compared = match base == expected {
            true => compare(&mut tree, &files).await?,
            false => Ok(()),
        };
        Ok((base, compared))
    };
    match compared.await {
        Ok((base, compared)) => {
            let found = match base {
                Some(id) => Some(client.number_of(id).await?),
                None => None,
            };
            if found != Some(number) {
                return client.astray(format!("the branch is at {found:?} instead of {number}"));
            }
            Ok(compared?)
        }
        Err(error) => client.judge(&error),
    }
}
