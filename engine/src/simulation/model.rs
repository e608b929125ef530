//! The oracle: what the store must hold, kept in plain maps that know nothing of logs, frames or nodes.
//!
//! What it rests on:
//! - A client owns its branches and pins, does one operation after the other, and keeps to one log. So what survives
//!   of it is its state after some number of its operations, not fewer than the last that was answered as durable.
//! - The branch all share only grows by commits that name their parent. So whatever was answered as durable must be
//!   among the ancestors of its head.
//! - A commit carries its number in its message, and the number stands for the tree it must have.
//! - Opening makes its verdict durable, so what has once been found must be found again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::content::Content;
use crate::format::ContentId;

/// What was found that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

impl Violation {
    pub(super) fn new<T>(what: impl Into<String>) -> Result<T, Violation> {
        Err(Violation(what.into()))
    }
}

/// Number of a commit; counts all of a run.
pub(super) type Number = u64;

/// Files by path.
pub(super) type Files = BTreeMap<String, Content>;

/// The branch all share.
pub(super) const MAIN: &str = "main";

/// A commit that was tried.
#[derive(Clone)]
pub(super) struct CommitModel {
    pub files: Arc<Files>,
    pub parent: Option<Number>,
    /// Known once it was answered or read.
    pub id: Option<ContentId>,
}

/// What one client owns.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Owned {
    /// Branches by slot.
    pub branches: BTreeMap<u8, Number>,
    pub pins: BTreeMap<Content, u64>,
}

/// The states one client went through in this opening.
#[derive(Clone)]
pub(super) struct ClientModel {
    /// The first was found at opening.
    pub states: Vec<Owned>,
    /// The last that must survive.
    pub durable: usize,
    /// The last that other clients see; one more may be on its way.
    pub visible: usize,
}

/// One content.
#[derive(Clone, Copy, Default)]
pub(super) struct ContentModel {
    /// Somebody who is still there holds it.
    pub leased: bool,
    /// It must survive.
    pub durable: bool,
}

/// All of it.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub commits: BTreeMap<Number, CommitModel>,
    pub ids: HashMap<ContentId, Number>,
    pub clients: BTreeMap<usize, ClientModel>,
    /// Commits of the shared branch that must be among its history.
    pub main_durable: BTreeSet<Number>,
    /// Commits of the shared branch that were answered in this opening.
    pub main_visible: BTreeSet<Number>,
    /// All that were tried.
    pub main_tried: BTreeSet<Number>,
    pub contents: BTreeMap<Content, ContentModel>,
    next: Number,
    /// Collections under way.
    collecting: u32,
}

/// What was visible at one moment.
pub(super) struct Moment {
    clients: Vec<(usize, usize)>,
    main: BTreeSet<Number>,
    contents: Vec<Content>,
}

impl Default for ClientModel {
    fn default() -> ClientModel {
        ClientModel {
            states: vec![Owned::default()],
            durable: 0,
            visible: 0,
        }
    }
}

impl Model {
    pub fn client(&mut self, number: usize) -> &mut ClientModel {
        self.clients.entry(number).or_default()
    }

    /// What a client owns and sees.
    pub fn owned(&mut self, client: usize) -> Owned {
        let client = self.client(client);
        client.states[client.visible].clone()
    }

    /// A change of what a client owns is on its way.
    pub fn begin(&mut self, client: usize, change: impl FnOnce(&mut Owned)) {
        let client = self.client(client);
        let mut next = client.states[client.visible].clone();
        change(&mut next);
        client.states.truncate(client.visible + 1);
        client.states.push(next);
        self.let_go();
    }

    /// It was answered.
    pub fn done(&mut self, client: usize, durable: bool) {
        let client = self.client(client);
        client.visible = client.states.len() - 1;
        if durable {
            client.durable = client.visible;
        }
    }

    /// From now on what nobody holds may go.
    pub fn collection_begins(&mut self) {
        self.collecting += 1;
        self.let_go();
    }

    /// What nobody holds now may stay until the next one.
    pub fn collection_ends(&mut self) {
        self.let_go();
        self.collecting -= 1;
    }

    /// The store was opened anew: no collection is under way.
    pub fn opened(&mut self) {
        self.collecting = 0;
    }

    /// While something is collected, a content without a lease and without a pin in every state that may hold is no
    /// longer promised.
    fn let_go(&mut self) {
        if self.collecting == 0 {
            return;
        }
        for (content, known) in &mut self.contents {
            let owner = content.owner().and_then(|owner| self.clients.get(&owner));
            let pinned = owner.is_some_and(|client| {
                let states = &client.states[client.durable..];
                states.iter().all(|state| state.pins.contains_key(content))
            });
            known.durable &= known.leased || pinned;
        }
    }

    /// It was refused: nothing has changed.
    pub fn refused(&mut self, client: usize) {
        let client = self.client(client);
        client.states.truncate(client.visible + 1);
    }

    /// A commit that is about to be tried.
    pub fn commit(&mut self, files: Arc<Files>, parent: Option<Number>) -> Number {
        self.next += 1;
        let commit = CommitModel {
            files,
            parent,
            id: None,
        };
        self.commits.insert(self.next, commit);
        self.next
    }

    /// The id of a commit has become known.
    pub fn name(&mut self, number: Number, id: ContentId) {
        self.ids.insert(id, number);
        if let Some(commit) = self.commits.get_mut(&number) {
            commit.id = Some(id);
        }
    }

    /// Contents were answered.
    pub fn put(&mut self, contents: &[Content], durable: bool) {
        for content in contents {
            let known = self.contents.entry(*content).or_default();
            known.leased = true;
            known.durable |= durable;
        }
    }

    /// Whether a content must be there now.
    pub fn is_promised(&self, content: Content) -> bool {
        self.contents
            .get(&content)
            .is_some_and(|known| known.leased || known.durable)
    }

    /// Some content that is there, if any; one of `owner`'s own if that is given.
    pub fn some_content(&self, number: u64, owner: Option<usize>) -> Option<Content> {
        let there: Vec<Content> = self
            .contents
            .iter()
            .filter(|(_, known)| known.leased || known.durable)
            .map(|(content, _)| *content)
            .filter(|content| owner.is_none() || content.owner() == owner)
            .collect();
        let place = number.checked_rem(there.len() as u64)?;
        there.get(usize::try_from(place).ok()?).copied()
    }

    /// A commit and its ancestors, the youngest first.
    pub fn chain(&self, from: Number) -> Vec<Number> {
        let mut chain = vec![from];
        let mut at = from;
        while let Some(parent) = self.commits.get(&at).and_then(|commit| commit.parent) {
            chain.push(parent);
            at = parent;
        }
        chain
    }

    /// What is visible now.
    pub fn moment(&self) -> Moment {
        let leased = self.contents.iter().filter(|(_, known)| known.leased);
        Moment {
            clients: self
                .clients
                .iter()
                .map(|(number, client)| (*number, client.visible))
                .collect(),
            main: self.main_visible.clone(),
            contents: leased.map(|(content, _)| *content).collect(),
        }
    }

    /// What was visible at a moment must survive.
    pub fn flushed(&mut self, moment: Moment) {
        for (number, visible) in moment.clients {
            let client = self.client(number);
            client.durable = client.durable.max(visible);
        }
        self.main_durable.extend(moment.main);
        for content in moment.contents {
            if let Some(known) = self.contents.get_mut(&content) {
                known.durable = true;
            }
        }
    }
}
