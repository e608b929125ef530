//! Compares a store that was just opened with the model, and makes what was found the model's new beginning.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::branches::{compare, owner_of, read_number};
use super::client::Stage;
use super::content::Content;
use super::maintenance::judge_audit;
use super::model::{ClientModel, Held, MAIN, Model, Number, PinBounds, Violation};
use super::owned::{BranchModel, DOMAINS, Owned, domain_of};
use super::{history, quota, temporary};
use crate::error::Error;
use crate::format::{ContentId, Domain};
use crate::trees::{Reference, Trees, WorkingOptions};

/// What the store holds.
#[derive(Default)]
struct Found {
    clients: BTreeMap<usize, Owned>,
    main: Option<Number>,
    temporaries: BTreeSet<u64>,
    /// Commits that are named by something, with their domain.
    named: BTreeMap<Number, (Domain, ContentId)>,
    /// Pins of contents that all put.
    shared_pins: BTreeMap<Held, u64>,
}

/// What a name of a commit is.
enum Named {
    Branch(usize, u8),
    Main,
    Temporary(u64),
}

/// Compares everything.
pub(super) async fn check(stage: &Stage) -> Result<(), Violation> {
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
    let mut contents = BTreeSet::new();
    for domain in DOMAINS {
        let checker = Checker {
            stage,
            domain,
            trees: Trees::new(stage.store.clone(), domain),
        };
        checker.branches(&mut found).await?;
        checker.tags(&mut found).await?;
        checker.pins(&mut found)?;
        checker.trees(&found).await?;
        contents.extend(checker.contents().await?);
    }
    if !stage.damaged {
        let audit = stage.store.audit().await;
        judge_audit(&audit.map_err(|error| Violation(format!("the audit: {error}")))?)?;
    }
    let mut model = stage.model.lock();
    model.opened(stage.by_itself);
    let bounds = pin_bounds(&model, &found);
    if !stage.damaged {
        owners(&model, &found)?;
        shared(&model, &found)?;
        temporaries(&model, &found)?;
        quotas(stage, &model, &found)?;
    }
    let pins = std::mem::take(&mut found.shared_pins);
    settle(&mut model, found, &contents, stage.damaged);
    // What only the clients of the last opening held may go at once.
    model.let_go();
    match model.share_pins(&pins, &bounds) {
        Err(violation) if !stage.damaged => Err(violation),
        _ => Ok(()),
    }
}

struct Checker<'a> {
    stage: &'a Stage,
    domain: Domain,
    trees: Trees,
}

impl Checker<'_> {
    /// An error is a violation, unless media were damaged.
    fn excuse(&self, what: &str, error: &Error) -> Result<(), Violation> {
        match self.stage.damaged {
            true => Ok(()),
            false => Violation::new(format!("{what}: {error}")),
        }
    }

    /// The number of the commit that `what` is at, if it can be read.
    async fn number(&self, what: &str, id: ContentId) -> Result<Option<Number>, Violation> {
        let number = match read_number(&self.trees, id).await {
            Ok(number) => number,
            Err(error) => {
                self.excuse(what, &error)?;
                return Ok(None);
            }
        };
        let mut model = self.stage.model.lock();
        let known = number.filter(|number| model.commits.contains_key(number));
        let Some(number) = known else {
            return Violation::new(format!("{what} is at a commit that nobody made"));
        };
        let expected = model.commits[&number].id;
        if expected.is_some_and(|expected| expected != id) {
            return Violation::new(format!("{what} is at another commit with the number {number}"));
        }
        model.name(number, id);
        Ok(Some(number))
    }

    async fn branches(&self, found: &mut Found) -> Result<(), Violation> {
        let all = match self.trees.branches() {
            Ok(all) => all,
            Err(error) => return self.excuse("listing branches", &error),
        };
        for branch in all {
            let what = format!("branch {}", branch.name);
            let Some(number) = self.number(&what, branch.commit).await? else {
                continue;
            };
            let cut = self.history(number, &branch).await?;
            found.named.insert(number, (self.domain, branch.commit));
            let name = match (owner_of(&branch.name), temporary::number_of(&branch.name)) {
                (Some((client, slot)), _) if domain_of(client) == self.domain => Named::Branch(client, slot),
                (_, Some(number)) => Named::Temporary(number),
                _ if branch.name == MAIN && self.domain == Domain(0) => Named::Main,
                _ => return Violation::new(format!("{what} was made by nobody")),
            };
            match name {
                Named::Branch(client, slot) => {
                    let owned = found.clients.entry(client).or_default();
                    owned.branches.insert(slot, BranchModel::new(number, cut, true));
                }
                Named::Main => found.main = Some(number),
                Named::Temporary(temporary) => {
                    let model = self.stage.model.lock();
                    let known = model.temporaries.get(&temporary);
                    if known.is_none_or(|known| known.head != number || known.domain != self.domain) {
                        return Violation::new(format!("{what} is at {number}, and was to be {known:?}"));
                    }
                    found.temporaries.insert(temporary);
                }
            }
        }
        Ok(())
    }

    async fn history(&self, number: Number, branch: &Reference) -> Result<Option<Number>, Violation> {
        match history::read(&self.trees, &self.stage.model, number, branch).await {
            Ok(cut) => cut,
            Err(error) => self
                .excuse(&format!("history of commit {number}"), &error)
                .map(|()| None),
        }
    }

    async fn tags(&self, found: &mut Found) -> Result<(), Violation> {
        let all = match self.trees.tags() {
            Ok(all) => all,
            Err(error) => return self.excuse("listing tags", &error),
        };
        for tag in all {
            let what = format!("tag {}", tag.name);
            let Some(number) = self.number(&what, tag.commit).await? else {
                continue;
            };
            self.history(number, &tag).await?;
            found.named.insert(number, (self.domain, tag.commit));
            let owner = owner_of(&tag.name).filter(|(client, _)| domain_of(*client) == self.domain);
            let Some((client, slot)) = owner else {
                return Violation::new(format!("{what} was made by nobody"));
            };
            found.clients.entry(client).or_default().tags.insert(slot, number);
        }
        Ok(())
    }

    fn pins(&self, found: &mut Found) -> Result<(), Violation> {
        let pins = match self.stage.objects(self.domain).pins() {
            Ok(pins) => pins,
            Err(error) => return self.excuse("listing pins", &error),
        };
        if pins.is_empty() {
            return Ok(());
        }
        let model = self.stage.model.lock();
        let contents = model.contents.keys().filter(|(domain, _)| *domain == self.domain);
        let contents: HashMap<ContentId, Content> =
            contents.map(|(_, content)| (content.id(), *content)).collect();
        for pin in pins {
            let Some(content) = contents.get(&pin.id).copied() else {
                return Violation::new(format!("{} is pinned, by nobody", pin.id));
            };
            match content.owner() {
                Some(owner) => {
                    let owned = found.clients.entry(owner).or_default();
                    owned.pins.insert(content, pin.count);
                }
                None => drop(found.shared_pins.insert((self.domain, content), pin.count)),
            }
        }
        Ok(())
    }

    /// The tree of every commit that is named or kept, and of one of the ancestors of each client's branches.
    async fn trees(&self, found: &Found) -> Result<(), Violation> {
        let mut wanted: BTreeSet<Number> = BTreeSet::new();
        {
            let model = self.stage.model.lock();
            for (client, owned) in &found.clients {
                if domain_of(*client) != self.domain {
                    continue;
                }
                for branch in owned.branches.values() {
                    let chain = model.chain(branch);
                    wanted.insert(chain[chain.len() / 2]);
                }
                // Whichever state it is in, this is kept.
                let states = model.clients.get(client).map(|known| matching(known, owned));
                for (slot, branch) in states.iter().flatten().flat_map(|state| &state.branches) {
                    let stays = |number: &&Number| {
                        let kept = |state: &&Owned| state.branches[slot].kept.contains(number);
                        states.iter().flatten().all(kept)
                    };
                    wanted.extend(branch.kept.iter().filter(stays));
                }
            }
        }
        for (number, (domain, id)) in &found.named {
            if *domain == self.domain {
                wanted.remove(number);
                self.tree(*number, *id).await?;
            }
        }
        for number in wanted {
            let id = self.stage.model.lock().commits[&number].id;
            if let Some(id) = id {
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

    /// Which contents are there: all that must be, none that was swept.
    async fn contents(&self) -> Result<BTreeSet<Held>, Violation> {
        let known: Vec<(Content, bool, bool)> = {
            let model = self.stage.model.lock();
            let known = model
                .contents
                .iter()
                .filter(|((domain, _), _)| *domain == self.domain);
            known
                .map(|((_, content), known)| (*content, known.durable, known.gone))
                .collect()
        };
        let ids: Vec<ContentId> = known.iter().map(|(content, ..)| content.id()).collect();
        let answers = self.stage.objects(self.domain).get_batch(&ids).await;
        let mut found = BTreeSet::new();
        for ((content, durable, gone), answer) in known.iter().zip(answers) {
            match answer {
                Ok(_) if *gone && !self.stage.damaged => {
                    return Violation::new(format!("{content} was swept, and is back"));
                }
                Ok(bytes) if bytes == content.bytes() => {
                    found.insert((self.domain, *content));
                }
                Ok(_) => return Violation::new(format!("{content} was read as other bytes")),
                Err(Error::NotFound { .. }) if !durable => {}
                Err(error) => self.excuse(&format!("content {content}"), &error)?,
            }
        }
        Ok(found)
    }
}

/// The states a client may be in that are what was found.
fn matching<'a>(client: &'a ClientModel, found: &Owned) -> Vec<&'a Owned> {
    let states = client.states[client.durable..].iter();
    states.filter(|state| state.is(found)).collect()
}

/// Each client owns what it owned after some operation, no earlier than the last that was answered as durable.
fn owners(model: &Model, found: &Found) -> Result<(), Violation> {
    let nothing = Owned::default();
    for (number, client) in &model.clients {
        let owned = found.clients.get(number).unwrap_or(&nothing);
        if matching(client, owned).is_empty() {
            let known = client.states.iter().position(|state| state.is(owned));
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

/// How many pins of contents that all put each client may have.
fn pin_bounds(model: &Model, found: &Found) -> PinBounds {
    let nothing = Owned::default();
    let mut bounds = PinBounds::new();
    for (number, client) in &model.clients {
        let states = matching(client, found.clients.get(number).unwrap_or(&nothing));
        let shared = states.iter().flat_map(|state| state.pins.keys());
        for content in shared.filter(|content| content.owner().is_none()) {
            let counts = states
                .iter()
                .map(|state| state.pins.get(content).copied().unwrap_or(0));
            let least = counts.clone().min().unwrap_or(0);
            let most = counts.max().unwrap_or(0);
            let held = (domain_of(*number), *content);
            bounds.entry(held).or_default().insert(*number, (least, most));
        }
    }
    bounds
}

/// Temporary branches that must be there are, and none that was swept.
fn temporaries(model: &Model, found: &Found) -> Result<(), Violation> {
    for (number, known) in &model.temporaries {
        let there = found.temporaries.contains(number);
        if there && known.gone || !there && known.durable && !known.swept {
            let word = if there { "is back" } else { "is lost" };
            return Violation::new(format!("temporary branch {number} {word}: {known:?}"));
        }
    }
    Ok(())
}

/// The quota counts what the branches that were found have stored.
fn quotas(stage: &Stage, model: &Model, found: &Found) -> Result<(), Violation> {
    let Some(quota) = model.quota else { return Ok(()) };
    let nothing = Owned::default();
    let owned = found.clients.get(&quota.client).unwrap_or(&nothing);
    let client = model.clients.get(&quota.client).cloned().unwrap_or_default();
    let stored: Option<Vec<u64>> = matching(&client, owned)
        .iter()
        .map(|state| state.stored())
        .collect();
    match stored {
        Some(stored) => quota::check(stage, model, &stored),
        None => Ok(()),
    }
}

/// The shared branch has everything that was answered as durable among its history.
fn shared(model: &Model, found: &Found) -> Result<(), Violation> {
    let chain: BTreeSet<Number> = found
        .main
        .map(|head| model.ancestors(head).into_iter().collect())
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
fn settle(model: &mut Model, mut found: Found, contents: &BTreeSet<Held>, damaged: bool) {
    for (number, client) in &mut model.clients {
        let owned = found.clients.remove(number).unwrap_or_default();
        let known = matching(client, &owned).pop().cloned().unwrap_or_default();
        client.states = vec![known.settle(owned)];
        client.durable = 0;
        client.visible = 0;
    }
    model.main_visible.clear();
    model.main_durable = found.main.into_iter().collect();
    // Where media are damaged, what is not found now may be later.
    let stays = |number: &u64| damaged || found.temporaries.contains(number);
    model.temporaries.retain(|number, _| stays(number));
    for known in model.temporaries.values_mut() {
        (known.visible, known.durable, known.swept, known.taken) = (true, true, false, false);
    }
    for (held, known) in &mut model.contents {
        known.leases = 0;
        known.writing = 0;
        known.durable = contents.contains(held);
        known.gone &= !known.durable;
    }
}
