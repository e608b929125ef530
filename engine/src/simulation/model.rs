//! The oracle: what the store must hold, kept in plain maps that know nothing of logs, frames or nodes.
//!
//! What it rests on:
//! - A client owns its branches and pins, does one operation after the other, and keeps to one log. So what survives
//!   of it is its state after some number of its operations, not fewer than the last that was answered as durable.
//! - The branch all share only grows by commits that name their parent. So whatever was answered as durable must be
//!   among the ancestors of its head.
//! - A commit carries its number in its message, and the number stands for the tree it must have.
//! - Opening makes its verdict durable, so what has once been found must be found again.
//! - A collection that has ended is durable: a content it has swept does not come back unless somebody puts it again.
//!
//! What one client owns is in `owned`, branches that nobody owns are in `temporary`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::content::Content;
use super::owned::{BranchModel, Owned, domain_of};
use super::quota::Quota;
use super::temporary::Temporary;
use crate::format::{ContentId, Domain};

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

/// A content in a domain.
pub(super) type Held = (Domain, Content);

/// The least and the most pins each client may have of contents that all put.
pub(super) type PinBounds = BTreeMap<Held, BTreeMap<usize, (u64, u64)>>;

/// One content.
#[derive(Clone, Copy, Default)]
pub(super) struct ContentModel {
    /// How often somebody who is still there holds it.
    pub leases: u32,
    /// It must survive.
    pub durable: bool,
    /// Operations under way that may store it.
    pub writing: u32,
    /// It was swept, durably, and nobody has tried to put it since.
    pub gone: bool,
    /// Counts how often nobody held it any more.
    epoch: u32,
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
    pub contents: BTreeMap<Held, ContentModel>,
    pub temporaries: BTreeMap<u64, Temporary>,
    pub quota: Option<Quota>,
    next: Number,
    /// Collections under way.
    collecting: u32,
}

/// What was visible at one moment.
pub(super) struct Moment {
    clients: Vec<(usize, usize)>,
    main: BTreeSet<Number>,
    contents: Vec<(Held, u32)>,
    /// Temporary branches: those that are there, those that were taken.
    temporaries: [Vec<u64>; 2],
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

    /// The store was opened anew; it collects by itself, or when told.
    pub fn opened(&mut self, by_itself: bool) {
        self.collecting = u32::from(by_itself);
    }

    /// Whether nobody collects but who asks, who does.
    pub fn collects_alone(&self) -> bool {
        self.collecting == 1
    }

    /// While something is collected, a content without a lease and without a pin in every state that may hold is no
    /// longer promised.
    pub fn let_go(&mut self) {
        if self.collecting == 0 {
            return;
        }
        for ((domain, content), known) in &mut self.contents {
            let pins = |(number, client): (&usize, &ClientModel)| {
                let states = &client.states[client.durable..];
                domain_of(*number) == *domain && states.iter().all(|state| state.pins.contains_key(content))
            };
            known.durable &= known.leases > 0 || self.clients.iter().any(pins);
        }
    }

    /// A commit on an own branch, not answered yet, has stored so many bytes.
    pub fn stored(&mut self, client: usize, slot: u8, bytes: u64) {
        let visible = self.owned(client);
        let before = visible
            .branches
            .get(&slot)
            .map_or(Some(0), |branch| branch.stored);
        let branch = self.newest(client).branches.get_mut(&slot);
        branch.expect("it was committed to").stored = before.map(|before| before + bytes);
    }

    /// The history of an own branch that was made, and not answered yet, goes back to this cut at least.
    pub fn reaches(&mut self, client: usize, slot: u8, cut: Option<Number>) {
        let branch = self.newest(client).branches.get_mut(&slot);
        branch.expect("it was made").cut = cut;
    }

    fn newest(&mut self, client: usize) -> &mut Owned {
        self.client(client)
            .states
            .last_mut()
            .expect("the first is always there")
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

    /// Contents are about to be stored.
    pub fn writes(&mut self, domain: Domain, contents: &[Content]) {
        for content in contents {
            let known = self.contents.entry((domain, *content)).or_default();
            known.writing += 1;
            known.gone = false;
        }
    }

    /// An attempt to store contents has ended.
    pub fn wrote(&mut self, domain: Domain, contents: &[Content]) {
        for content in contents {
            self.contents.entry((domain, *content)).or_default().writing -= 1;
        }
    }

    /// Contents were answered, and are held.
    pub fn put(&mut self, domain: Domain, contents: &[Content], durable: bool) {
        for content in contents {
            let known = self.contents.entry((domain, *content)).or_default();
            known.leases += 1;
            known.durable |= durable;
        }
    }

    /// Contents are held once less.
    pub fn released(&mut self, domain: Domain, contents: &[Content]) {
        for content in contents {
            let known = self.contents.entry((domain, *content)).or_default();
            known.leases -= 1;
            known.epoch += u32::from(known.leases == 0);
        }
        self.let_go();
    }

    /// Whether a content must be there now.
    pub fn is_promised(&self, domain: Domain, content: Content) -> bool {
        self.contents
            .get(&(domain, content))
            .is_some_and(|known| known.leases > 0 || known.durable)
    }

    /// Some content that is there, if any, among those that `wanted` accepts.
    pub fn some_content(
        &self,
        number: u64,
        domain: Domain,
        wanted: impl Fn(&Content) -> bool,
    ) -> Option<Content> {
        let there: Vec<Content> = self
            .contents
            .iter()
            .filter(|((at, _), known)| *at == domain && (known.leases > 0 || known.durable))
            .map(|((_, content), _)| *content)
            .filter(wanted)
            .collect();
        let place = number.checked_rem(there.len() as u64)?;
        there.get(usize::try_from(place).ok()?).copied()
    }

    /// The commits of a branch's history that must be there, the youngest first.
    pub fn chain(&self, branch: &BranchModel) -> Vec<Number> {
        let mut chain = self.ancestors(branch.head);
        chain.retain(|number| Some(*number) >= branch.cut);
        chain
    }

    /// Where the history of a branch that is made at a commit may end at most: the latest cut of those it is in.
    pub fn cut_for(&self, number: Number) -> Option<Number> {
        let owned = self
            .clients
            .values()
            .flat_map(|client| &client.states[client.durable..]);
        let branches = owned.flat_map(|owned| owned.branches.values());
        let mut cuts: Vec<Option<Number>> = branches
            .filter(|branch| self.chain(branch).contains(&number))
            .map(|branch| branch.cut)
            .collect();
        let of_main = |head: &Number| self.ancestors(*head).contains(&number);
        if self.main_durable.iter().chain(&self.main_visible).any(of_main) {
            cuts.push(None);
        }
        cuts.into_iter().max().unwrap_or(Some(number))
    }

    /// Remembers a temporary branch that is about to be made; answers its number.
    pub fn temporary(&mut self, temporary: Temporary) -> u64 {
        self.next += 1;
        self.temporaries.insert(self.next, temporary);
        self.next
    }

    /// Notes what became of one.
    pub fn change_temporary(&mut self, number: u64, change: impl FnOnce(&mut Temporary)) {
        if let Some(known) = self.temporaries.get_mut(&number) {
            change(known);
        }
    }

    /// A sweep begins: the temporary branches it may take.
    pub fn sweep(&mut self, domain: Domain, now_ns: u64) -> BTreeSet<u64> {
        let due = self
            .temporaries
            .iter_mut()
            .filter(|(_, known)| known.domain == domain && known.expires_ns <= now_ns);
        due.map(|(number, known)| {
            known.swept = true;
            *number
        })
        .collect()
    }

    /// Quotas were set: what was stored before does not count.
    pub fn set_quota(&mut self, quota: Option<Quota>) {
        self.quota = quota;
        for client in self.clients.values_mut() {
            let branches = client
                .states
                .iter_mut()
                .flat_map(|state| state.branches.values_mut());
            branches.for_each(|branch| branch.stored = Some(0));
        }
    }

    /// A commit and its ancestors, the youngest first.
    pub fn ancestors(&self, from: Number) -> Vec<Number> {
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
        let leased = self.contents.iter().filter(|(_, known)| known.leases > 0);
        let temporaries = |wanted: fn(&Temporary) -> bool| {
            let wanted = self.temporaries.iter().filter(|(_, known)| wanted(known));
            wanted.map(|(number, _)| *number).collect()
        };
        Moment {
            clients: self
                .clients
                .iter()
                .map(|(number, client)| (*number, client.visible))
                .collect(),
            main: self.main_visible.clone(),
            contents: leased.map(|(held, known)| (*held, known.epoch)).collect(),
            temporaries: [
                temporaries(|known| known.visible),
                temporaries(|known| known.taken),
            ],
        }
    }

    /// What was visible at a moment must survive.
    pub fn flushed(&mut self, moment: Moment) {
        for (number, visible) in moment.clients {
            let client = self.client(number);
            client.durable = client.durable.max(visible);
        }
        self.main_durable.extend(moment.main);
        for (held, epoch) in moment.contents {
            if let Some(known) = self.contents.get_mut(&held) {
                known.durable |= known.epoch == epoch;
            }
        }
        let [there, taken] = moment.temporaries;
        for number in there {
            self.change_temporary(number, |known| known.durable = true);
        }
        for number in taken {
            self.change_temporary(number, |known| known.gone = true);
        }
    }

    /// Shares the pins of contents that all put, as found, among the clients of a domain: shares between the least and
    /// the most each may have. Answers what cannot be shared so.
    pub fn share_pins(&mut self, found: &BTreeMap<Held, u64>, bounds: &PinBounds) -> Result<(), Violation> {
        for held in found.keys().chain(bounds.keys()) {
            let total = found.get(held).copied().unwrap_or(0);
            let nobody = BTreeMap::new();
            let clients = bounds.get(held).unwrap_or(&nobody);
            let least: u64 = clients.values().map(|(least, _)| least).sum();
            let most: u64 = clients.values().map(|(_, most)| most).sum();
            if !(least..=most).contains(&total) {
                return Violation::new(format!(
                    "{} has {total} pins; between {least} and {most} were made",
                    held.1
                ));
            }
            let mut more = total - least;
            for (number, (least, most)) in clients {
                let extra = more.min(most - least);
                more -= extra;
                let client = self.client(*number);
                for state in &mut client.states {
                    match least + extra {
                        0 => drop(state.pins.remove(&held.1)),
                        share => drop(state.pins.insert(held.1, share)),
                    }
                }
            }
        }
        Ok(())
    }
}
