//! Compares a store that was just opened with the model, and makes what was found the model's new beginning.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::branches::{compare, owner_of, read_number};
use super::client::Stage;
use super::content::Content;
use super::maintenance::judge_audit;
use super::model::{MAIN, Model, Number, Owned, Violation};
use crate::error::Error;
use crate::format::{ContentId, Domain};
use crate::objects::Objects;
use crate::trees::{Ancestors, Trees, WorkingOptions};

/// Commits of a history that are compared.
const HISTORY_MAX: usize = 32;

/// What the store holds.
#[derive(Default)]
struct Found {
    clients: BTreeMap<usize, Owned>,
    main: Option<Number>,
    /// Heads of branches.
    heads: BTreeMap<Number, ContentId>,
}

/// Compares everything.
pub(super) async fn check(stage: &Stage) -> Result<(), Violation> {
    let checker = Checker {
        stage,
        trees: Trees::new(stage.store.clone(), Domain(0)),
        objects: Objects::new(stage.store.clone()).with_threads(std::num::NonZero::<usize>::MIN),
    };
    let health = stage.store.health();
    if !stage.damaged {
        if !health.damage.is_empty() {
            return Violation::new(format!("damage was found and none was done: {:?}", health.damage));
        }
        if let Some(why) = health.read_only {
            return Violation::new(format!("the store takes no writes: {why}"));
        }
    }
    let mut found = Found::default();
    checker.branches(&mut found).await?;
    checker.pins(&mut found)?;
    checker.trees(&found).await?;
    let contents = checker.contents().await?;
    if !stage.damaged {
        let audit = stage.store.audit().await;
        judge_audit(&audit.map_err(|error| Violation(format!("the audit: {error}")))?)?;
    }
    let mut model = stage.model.lock();
    model.opened();
    if !stage.damaged {
        owners(&model, &found)?;
        shared(&model, &found)?;
    }
    settle(&mut model, found, contents);
    Ok(())
}

struct Checker<'a> {
    stage: &'a Stage,
    trees: Trees,
    objects: Objects,
}

impl Checker<'_> {
    /// An error is a violation, unless media were damaged.
    fn excuse(&self, what: &str, error: &Error) -> Result<(), Violation> {
        match self.stage.damaged {
            true => Ok(()),
            false => Violation::new(format!("{what}: {error}")),
        }
    }

    async fn branches(&self, found: &mut Found) -> Result<(), Violation> {
        let all = match self.trees.branches() {
            Ok(all) => all,
            Err(error) => return self.excuse("listing branches", &error),
        };
        for branch in all {
            let what = format!("branch {}", branch.name);
            let number = match read_number(&self.trees, branch.commit).await {
                Ok(number) => number,
                Err(error) => {
                    self.excuse(&what, &error)?;
                    continue;
                }
            };
            let mut model = self.stage.model.lock();
            let known = number.filter(|number| model.commits.contains_key(number));
            let Some(number) = known else {
                return Violation::new(format!("{what} is at a commit that nobody made"));
            };
            let id = model.commits[&number].id;
            if id.is_some_and(|id| id != branch.commit) {
                return Violation::new(format!("{what} is at another commit with the number {number}"));
            }
            model.name(number, branch.commit);
            drop(model);
            found.heads.insert(number, branch.commit);
            match owner_of(&branch.name) {
                Some((client, slot)) => {
                    let owned = found.clients.entry(client).or_default();
                    owned.branches.insert(slot, number);
                }
                None if branch.name == MAIN => found.main = Some(number),
                None => return Violation::new(format!("{what} was made by nobody")),
            }
        }
        Ok(())
    }

    fn pins(&self, found: &mut Found) -> Result<(), Violation> {
        let pins = match self.objects.pins() {
            Ok(pins) => pins,
            Err(error) => return self.excuse("listing pins", &error),
        };
        if pins.is_empty() {
            return Ok(());
        }
        let model = self.stage.model.lock();
        let contents = model.contents.keys().map(|content| (content.id(), *content));
        let contents: HashMap<ContentId, Content> = contents.collect();
        for pin in pins {
            let content = contents.get(&pin.id);
            let Some((content, owner)) = content.and_then(|content| Some((*content, content.owner()?)))
            else {
                return Violation::new(format!("{} is pinned, by nobody", pin.id));
            };
            let owned = found.clients.entry(owner).or_default();
            owned.pins.insert(content, pin.count);
        }
        Ok(())
    }

    /// Every head's tree and history, and the tree of one of its ancestors.
    async fn trees(&self, found: &Found) -> Result<(), Violation> {
        let mut ancestors = BTreeSet::new();
        for (number, id) in &found.heads {
            self.tree(*number, *id).await?;
            let expected = self.stage.model.lock().chain(*number);
            let mut log = self.trees.log(*id, Ancestors::First, 0);
            for step in 0..expected.len().min(HISTORY_MAX) {
                let logged = match log.next().await {
                    Ok(logged) => logged,
                    Err(error) => {
                        self.excuse(&format!("history of commit {number}"), &error)?;
                        break;
                    }
                };
                let at = logged
                    .as_ref()
                    .and_then(|logged| logged.commit.message.parse().ok());
                if at != Some(expected[step]) {
                    return Violation::new(format!(
                        "the history of commit {number} has {at:?} at place {step} of {expected:?}"
                    ));
                }
                if let Some(logged) = logged {
                    self.stage.model.lock().name(expected[step], logged.id);
                }
            }
            ancestors.insert(expected[expected.len() / 2]);
        }
        for number in ancestors {
            let id = self.stage.model.lock().commits[&number].id;
            if let Some(id) = id.filter(|_| !found.heads.contains_key(&number)) {
                self.tree(number, id).await?;
            }
        }
        Ok(())
    }

    async fn tree(&self, number: Number, id: ContentId) -> Result<(), Violation> {
        let files = self.stage.model.lock().commits[&number].files.clone();
        let compared = async {
            let mut tree = self.trees.open_commit(id, WorkingOptions::default()).await?;
            compare(&mut tree, &files).await
        };
        match compared.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Violation(what))) => Violation::new(format!("tree of commit {number}: {what}")),
            Err(error) => self.excuse(&format!("tree of commit {number}"), &error),
        }
    }

    /// Which contents are there; all that must be are.
    async fn contents(&self) -> Result<BTreeSet<Content>, Violation> {
        let known: Vec<(Content, bool)> = {
            let model = self.stage.model.lock();
            let known = model.contents.iter();
            known.map(|(content, known)| (*content, known.durable)).collect()
        };
        let ids: Vec<ContentId> = known.iter().map(|(content, _)| content.id()).collect();
        let mut found = BTreeSet::new();
        for ((content, durable), answer) in known.iter().zip(self.objects.get_batch(&ids).await) {
            match answer {
                Ok(bytes) if bytes == content.bytes() => {
                    found.insert(*content);
                }
                Ok(_) => return Violation::new(format!("{content} was read as other bytes")),
                Err(Error::NotFound { .. }) if !durable => {}
                Err(error) => self.excuse(&format!("content {content}"), &error)?,
            }
        }
        Ok(found)
    }
}

/// Each client owns what it owned after some operation, no earlier than the last that was answered as durable.
fn owners(model: &Model, found: &Found) -> Result<(), Violation> {
    let nothing = Owned::default();
    for (number, client) in &model.clients {
        let owned = found.clients.get(number).unwrap_or(&nothing);
        if !client.states[client.durable..].contains(owned) {
            let known = client.states.iter().position(|state| state == owned);
            return Violation::new(format!(
                "client {number} owns {owned:?}, its state {known:?}; state {} was acknowledged as durable, of {:?}",
                client.durable, client.states
            ));
        }
    }
    match found
        .clients
        .keys()
        .find(|number| !model.clients.contains_key(number))
    {
        Some(number) => Violation::new(format!("client {number} owns something and made nothing")),
        None => Ok(()),
    }
}

/// The shared branch has everything that was answered as durable among its history.
fn shared(model: &Model, found: &Found) -> Result<(), Violation> {
    let chain: BTreeSet<Number> = found
        .main
        .map(|head| model.chain(head).into_iter().collect())
        .unwrap_or_default();
    if let Some(lost) = model.main_durable.difference(&chain).next() {
        return Violation::new(format!(
            "commit {lost} of {MAIN} was acknowledged as durable; {MAIN} is at {:?}",
            found.main
        ));
    }
    match found.main.filter(|head| !model.main_tried.contains(head)) {
        Some(head) => Violation::new(format!("{MAIN} is at {head}, which was never committed to it")),
        None => Ok(()),
    }
}

/// What was found is where the next opening goes on.
fn settle(model: &mut Model, mut found: Found, contents: BTreeSet<Content>) {
    for (number, client) in &mut model.clients {
        client.states = vec![found.clients.remove(number).unwrap_or_default()];
        client.durable = 0;
        client.visible = 0;
    }
    model.main_visible.clear();
    model.main_durable = found.main.into_iter().collect();
    for (content, known) in &mut model.contents {
        known.leased = false;
        known.durable = contents.contains(content);
    }
}
