//! What clients hold on one reactor, and how it goes down.
//!
//! Invariants: an account and everything in it stay on the thread of their reactor; `set_aside` is at least `held`, and is given
//! back with the account.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use helios_engine::reactor::Local;

use super::share::Share;
use super::{Memory, Part};

thread_local! {
    static ACCOUNTS: RefCell<Vec<Weak<Account>>> = const { RefCell::new(Vec::new()) };
}

/// What is held on one reactor. It lives as long as one of its connections.
pub(super) struct Account {
    pub memory: Arc<Memory>,
    reactor: usize,
    held: Cell<u64>,
    set_aside: Cell<u64>,
    connections: RefCell<Vec<Weak<Share>>>,
    /// Calls so far: what connections are ordered by.
    calls: Cell<u64>,
    /// Something has grown since nothing could be let go.
    has_grown: Cell<bool>,
}

impl Account {
    /// This thread's, if there is one.
    pub fn known(memory: &Arc<Memory>) -> Option<Rc<Account>> {
        ACCOUNTS.with_borrow(|accounts| {
            let mut living = accounts.iter().filter_map(Weak::upgrade);
            living.find(|account| Arc::ptr_eq(&account.memory, memory))
        })
    }

    /// This thread's.
    pub fn here(memory: &Arc<Memory>, reactor: usize) -> Rc<Account> {
        if let Some(account) = Account::known(memory) {
            return account;
        }
        let account = Rc::new(Account {
            memory: Arc::clone(memory),
            reactor,
            held: Cell::new(0),
            set_aside: Cell::new(0),
            connections: RefCell::default(),
            calls: Cell::new(0),
            has_grown: Cell::new(false),
        });
        ACCOUNTS.with_borrow_mut(|accounts| {
            accounts.retain(|account| account.strong_count() > 0);
            accounts.push(Rc::downgrade(&account));
        });
        account
    }

    fn part(&self) -> &Part {
        &self.memory.parts[self.reactor]
    }

    fn set_held(&self, held: u64) {
        self.held.set(held);
        self.part().held.store(held, Relaxed);
    }

    /// Counts bytes that cannot be refused.
    pub fn add(&self, bytes: u64) {
        let held = self.held.get() + bytes;
        if held > self.set_aside.get() {
            let more = (held - self.set_aside.get()).next_multiple_of(self.memory.piece);
            let before = self.memory.set_aside.fetch_add(more, Relaxed);
            self.has_set_aside(before, more);
        }
        self.set_held(held);
        self.has_grown.set(true);
    }

    /// Counts bytes if all that is set aside stays within `limit`.
    pub fn try_add(&self, bytes: u64, limit: u64) -> bool {
        let held = self.held.get().saturating_add(bytes);
        if held > self.set_aside.get() {
            let wanted = held - self.set_aside.get();
            // A whole piece if there is one.
            let more = wanted
                .checked_next_multiple_of(self.memory.piece)
                .unwrap_or(wanted);
            let Some((before, more)) = [more, wanted].into_iter().find_map(|more| {
                let fits = |set_aside: u64| set_aside.checked_add(more).filter(|sum| *sum <= limit);
                let before = self.memory.set_aside.fetch_update(Relaxed, Relaxed, fits).ok()?;
                Some((before, more))
            }) else {
                return false;
            };
            self.has_set_aside(before, more);
        }
        self.set_held(held);
        true
    }

    fn has_set_aside(&self, before: u64, more: u64) {
        self.set_aside.set(self.set_aside.get() + more);
        if before + more > self.memory.high() {
            self.memory.relieve_all();
        }
    }

    /// Bytes are held no more.
    pub fn give_back(&self, bytes: u64) {
        let held = self.held.get() - bytes;
        self.set_held(held);
        let spare = self.set_aside.get() - held;
        if spare > 2 * self.memory.piece {
            let back = spare - self.memory.piece;
            self.set_aside.set(self.set_aside.get() - back);
            self.memory.set_aside.fetch_sub(back, Relaxed);
        }
    }

    /// A connection has come.
    pub fn connect(&self, share: &Rc<Share>) {
        let mut connections = self.connections.borrow_mut();
        if connections.len() == connections.capacity() {
            connections.retain(|share| share.strong_count() > 0);
        }
        connections.push(Rc::downgrade(share));
    }

    /// A call has come; how many there have been.
    pub fn called(&self) -> u64 {
        self.calls.set(self.calls.get() + 1);
        self.calls.get()
    }

    /// Something was refused.
    pub fn refused(&self) {
        let count = &self.part().refused;
        count.store(count.load(Relaxed) + 1, Relaxed);
    }

    /// Connections, the one that has been quiet longest first.
    fn quiet_first(&self) -> Vec<Rc<Share>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|share| share.strong_count() > 0);
        let mut living: Vec<Rc<Share>> = connections.iter().filter_map(Weak::upgrade).collect();
        living.sort_by_key(|share| share.called.get());
        living
    }

    /// Lets idle trees go down until `enough`.
    pub fn relieve_at_once(&self, mut enough: impl FnMut() -> bool) -> bool {
        if !self.has_grown.replace(false) {
            return enough();
        }
        let before = self.held.get();
        let shares = self.quiet_first();
        for keep_bytes in [self.memory.fair(), 0] {
            for share in &shares {
                share.release_idle(keep_bytes);
                if enough() {
                    self.has_grown.set(true);
                    return true;
                }
            }
        }
        // Giving some up may let more go next time; if nothing went, nothing will before something grows.
        self.has_grown.set(self.held.get() < before);
        false
    }

    /// The same between other work, until the server is far enough below its limit.
    pub async fn relieve(self: Rc<Self>, local: &Local) {
        for keep_bytes in [self.memory.fair(), 0] {
            for share in self.quiet_first() {
                if self.memory.set_aside.load(Relaxed) <= self.memory.low() {
                    return;
                }
                share.release_idle(keep_bytes);
                drop(share);
                local.yield_now().await;
            }
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.memory.set_aside.fetch_sub(self.set_aside.get(), Relaxed);
        self.part().held.store(0, Relaxed);
    }
}
