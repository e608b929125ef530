//! Commits of clients: to their own branches, and to the one that all share.

use std::sync::Arc;

use super::client::{Client, Stop};
use super::content::Content;
use super::model::{Files, MAIN, Number};
use super::owned::BranchModel;
use super::plan::Edit;
use super::quota;
use crate::error::{Error, Result};
use crate::format::Domain;
use crate::trees::{CommitOptions, WorkingOptions, WorkingTree};

/// Where the shared branch is.
const MAIN_DOMAIN: Domain = Domain(0);
/// How often a lost race for the shared branch is run again.
const RACES_MAX: usize = 3;

pub(super) fn options() -> WorkingOptions {
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

/// The contents that edits put.
fn written(edits: &[Edit]) -> Vec<Content> {
    let contents = edits.iter().filter_map(|edit| match edit {
        Edit::Write(_, content) => Some(*content),
        Edit::Remove(_) | Edit::Rename(..) => None,
    });
    contents.collect()
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
    let branch = client.at(slot);
    let base = branch.as_ref().map(|branch| branch.head);
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
        Some(id) => Some(client.number_of(&client.trees, id).await?),
        None => None,
    };
    if found != base {
        return client.astray(format!("branch {slot} is at {found:?} instead of {base:?}"));
    }
    let mut files = client.files(base);
    let contents = written(edits);
    client.stage.model.lock().writes(client.domain(), &contents);
    if let Err(error) = edit(&mut tree, &mut files, edits).await {
        return client.judge_write(&error, &contents);
    }
    // Some trees keep nothing that they can load again, whatever has become of their branch and of what it had.
    if slot % 2 == 1 {
        tree.release(0);
    }
    let number = {
        let mut model = client.stage.model.lock();
        let number = model.commit(Arc::new(files), base);
        model.begin(client.number, |owned| {
            let new = || BranchModel::new(number, None, true);
            let branch = owned.branches.entry(slot).or_insert_with(new);
            (branch.head, branch.stored) = (number, None);
        });
        number
    };
    match tree.commit_with(&commit_options(number, durable)).await {
        Ok(outcome) => {
            quota::judge(client, Ok(outcome.written.new_bytes))?;
            let mut model = client.stage.model.lock();
            model.wrote(client.domain(), &contents);
            model.name(number, outcome.commit);
            model.stored(client.number, slot, outcome.written.new_bytes);
            drop(model);
            client.done(durable);
            client.open.insert(slot, tree);
            Ok(())
        }
        Err(error @ Error::OverQuota { .. }) => {
            quota::judge(client, Err(&error))?;
            let mut model = client.stage.model.lock();
            model.wrote(client.domain(), &contents);
            model.refused(client.number);
            Ok(())
        }
        Err(error) => {
            client.judge_change(&error)?;
            client.stage.model.lock().wrote(client.domain(), &contents);
            Ok(())
        }
    }
}

pub(super) async fn commit_main(client: &mut Client, edits: &[Edit], durable: bool) -> Result<(), Stop> {
    for _ in 0..RACES_MAX {
        let opened = match client.shared.branch(MAIN) {
            Ok(_) => client.shared.open_branch(MAIN, options()).await,
            Err(Error::NotFound { .. }) => client.shared.open_new(MAIN, options()),
            Err(error) => Err(error),
        };
        let mut tree = match opened {
            Ok(tree) => tree,
            Err(error) => return client.judge(&error),
        };
        let base = match tree.base() {
            Some(id) => Some(client.number_of(&client.shared, id).await?),
            None => None,
        };
        let mut files = client.files(base);
        let contents = written(edits);
        client.stage.model.lock().writes(MAIN_DOMAIN, &contents);
        let edited = edit(&mut tree, &mut files, edits).await;
        if let Err(error) = edited {
            client.judge(&error)?;
            client.stage.model.lock().wrote(MAIN_DOMAIN, &contents);
            return Ok(());
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
                model.wrote(MAIN_DOMAIN, &contents);
                model.name(number, outcome.commit);
                model.main_visible.insert(number);
                if durable {
                    model.main_durable.insert(number);
                }
                return Ok(());
            }
            Err(Error::Conflict { .. } | Error::Exists { .. }) => {
                client.stage.tally.lock().count("lost races");
                let mut model = client.stage.model.lock();
                model.wrote(MAIN_DOMAIN, &contents);
                model.main_tried.remove(&number);
            }
            Err(error) => {
                client.judge(&error)?;
                let mut model = client.stage.model.lock();
                model.wrote(MAIN_DOMAIN, &contents);
                model.main_tried.remove(&number);
                return Ok(());
            }
        }
    }
    Ok(())
}
