//! What one connection holds: claims that may be refused, and what is counted because it cannot be.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use helios_engine::ops::files::Room;
use helios_engine::ops::{Class, Failure};
use helios_engine::reactor::Local;

use super::Memory;
use super::account::Account;

/// When to come again, in milliseconds: trees go down in less, and clients commit and close in about that.
pub(super) const RETRY_AFTER_MS: u64 = 50;

/// Has trees that can go down.
pub(in crate::serve) trait Holder {
    /// Lets those that nobody works with keep that much of what they can load again.
    fn release_idle(&self, keep_bytes: usize);
}

/// What one connection holds.
pub(in crate::serve) struct Share {
    account: Rc<Account>,
    pub(super) held: Cell<u64>,
    /// When it made its last call: how many there were on the reactor before.
    pub(super) called: Cell<u64>,
    holder: RefCell<Option<Weak<dyn Holder>>>,
}

impl Share {
    /// Of a new connection on the reactor `local`.
    pub fn new(memory: &Arc<Memory>, local: &Local) -> Rc<Share> {
        Share::on(memory, local.id().0)
    }

    pub(super) fn on(memory: &Arc<Memory>, reactor: usize) -> Rc<Share> {
        let share = Rc::new(Share {
            account: Account::here(memory, reactor),
            held: Cell::new(0),
            called: Cell::new(0),
            holder: RefCell::default(),
        });
        share.account.connect(&share);
        share
    }

    /// Who has the trees of the connection.
    pub fn belongs_to(&self, holder: Weak<dyn Holder>) {
        *self.holder.borrow_mut() = Some(holder);
    }

    /// A call has come.
    pub fn called(&self) {
        self.called.set(self.account.called());
    }

    /// How much a tree may keep of what it can load again, if memory is short.
    pub fn shortage(&self) -> Option<usize> {
        let memory = &self.account.memory;
        let is_short = memory.set_aside.load(Relaxed) > memory.high();
        is_short.then(|| memory.fair())
    }

    /// Counts a tree while it is open.
    pub fn tree(&self) -> OneTree {
        self.account.memory.trees.fetch_add(1, Relaxed);
        OneTree(Arc::clone(&self.account.memory))
    }

    /// Memory for something new, which is refused if it would be the last.
    ///
    /// # Errors
    /// Class `Busy` if there is none now; `Invalid` if a connection may never have as much.
    pub fn claim(self: &Rc<Self>, bytes: usize) -> Result<Held, Failure> {
        let held = self.hold(0);
        self.take(bytes as u64, self.account.memory.work_limit())?;
        held.bytes.set(bytes as u64);
        Ok(held)
    }

    /// Counts what cannot be refused.
    pub fn hold(self: &Rc<Self>, bytes: usize) -> Held {
        let held = Held {
            share: Rc::clone(self),
            bytes: Cell::new(0),
        };
        held.resize(bytes);
        held
    }

    fn take(&self, bytes: u64, limit: u64) -> Result<(), Failure> {
        let memory = &self.account.memory;
        let own = memory.connection_limit();
        let refused = |failure: Failure| {
            self.account.refused();
            Err(failure)
        };
        if bytes > own.min(limit) {
            let message = format!(
                "this needs {} of memory at once, and one connection may have {}",
                shown(bytes),
                shown(own.min(limit))
            );
            let hint = "read or write it in parts, or serve the store with a larger --memory";
            return refused(Failure::new(Class::Invalid, message).with_hint(hint));
        }
        if self.held.get() + bytes > own {
            self.release_idle(0);
        }
        if self.held.get() + bytes > own {
            let message = format!(
                "this connection holds {} of memory, and may hold {}",
                shown(self.held.get()),
                shown(own)
            );
            let hint = format!(
                "take answers, commit, or close working trees; then try again in {RETRY_AFTER_MS} ms"
            );
            return refused(Failure::busy(message, RETRY_AFTER_MS).with_hint(hint));
        }
        let fits = || self.account.try_add(bytes, limit);
        if !fits() && !self.account.relieve_at_once(fits) {
            memory.relieve_all();
            let message = format!(
                "clients hold the {} of memory that they may have together",
                shown(memory.limit)
            );
            let hint = format!(
                "try again in {RETRY_AFTER_MS} ms; close working trees that are not needed, or serve the store with a larger \
                 --memory"
            );
            return refused(Failure::busy(message, RETRY_AFTER_MS).with_hint(hint));
        }
        self.held.set(self.held.get() + bytes);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.held.set(self.held.get() - bytes);
        self.account.give_back(bytes);
    }

    pub(super) fn release_idle(&self, keep_bytes: usize) {
        let holder = self.holder.borrow().as_ref().and_then(Weak::upgrade);
        if let Some(holder) = holder {
            holder.release_idle(keep_bytes);
        }
    }
}

/// A tree that is open: what is there for all is shared by one more.
pub(in crate::serve) struct OneTree(Arc<Memory>);

impl Drop for OneTree {
    fn drop(&mut self) {
        self.0.trees.fetch_sub(1, Relaxed);
    }
}

/// Memory that is counted until this goes.
pub(in crate::serve) struct Held {
    share: Rc<Share>,
    pub(super) bytes: Cell<u64>,
}

impl Held {
    /// Whose it is.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// How much it is.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.bytes.get()).unwrap_or(usize::MAX)
    }

    /// It is this much now, whatever there is left.
    pub fn resize(&self, bytes: usize) {
        let (before, bytes) = (self.bytes.replace(bytes as u64), bytes as u64);
        match bytes.checked_sub(before) {
            Some(0) => {}
            Some(more) => {
                self.share.held.set(self.share.held.get() + more);
                self.share.account.add(more);
            }
            None => self.share.give_back(before - bytes),
        }
    }
}

/// What steps want besides their tree: they mostly read, so all of the limit is theirs.
impl Room for Held {
    fn take(&self, bytes: u64) -> Result<(), Failure> {
        self.share.take(bytes, self.share.account.memory.limit)?;
        self.bytes.set(self.bytes.get() + bytes);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() - bytes);
        self.share.give_back(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.give_back(self.bytes.get());
    }
}

/// A size for people.
fn shown(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}
