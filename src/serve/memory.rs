//! The memory that clients hold, and who may have more of it.
//!
//! Counted are working trees with what they have loaded and changed (what forks share counts for each), bodies and steps of calls
//! that wait for their tree, what steps read or work on, and answers that wait to be sent. Three bounds apply: a tree keeps a
//! bounded part of its directories (`ops::files`), a connection may hold [`Memory::connection_limit`], and all of them together
//! [`Memory::limit`]. Not counted, and bounded by numbers alone: the frame that each connection is sending (5 MiB at most), and whole
//! requests, of which a fixed number of threads run.
//!
//! A reactor has an [`Account`] of its own. It sets bytes aside from the limit a piece at a time, so that most changes touch no
//! line that other reactors write, and no lock is taken. When the server nears its limit every reactor lets its idle trees go down,
//! those of the connection that has been quiet longest first: those that keep more than an equal share of directories to that
//! share, and only then all to what cannot be loaded again, so that trees that work in turns do not take each other's top
//! directories. What is new and needs memory is refused (class `Busy`, with a time to come again) when that is not enough; an eighth
//! of the limit is left for reads. What a tree has to load is never refused: it could not even commit.
//!
//! Invariants: what reactors have set aside is at least what is held on them, and exceeds the limit only by what cannot be refused;
//! whatever is counted is given back when its [`Held`] goes; an account, its connections and what they hold stay on one thread.
//! Rejected: one counter for all reactors (each call would write it several times); a queue of calls that wait for memory (it is
//! memory too, and its clients would learn nothing); looking at the size of the process (the allocator gives it back late or never,
//! and the cache and the index of the store have bounds of their own); ending the connections that hold most (what they have not
//! committed would be lost for what others do).

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use helios_engine::ops::files::Room;
use helios_engine::ops::{Class, Failure};
use helios_engine::reactor::{Handle, Local};

/// Smallest limit that can be set: less than one call may bring.
pub const LIMIT_MIN: u64 = 1 << 20;
/// Smallest limit if none is set; otherwise an eighth of the machine's memory.
const DEFAULT_MIN: u64 = 256 << 20;
const DEFAULT_PART: u64 = 8;
/// A connection may have a quarter of all, and this much if that is less.
const CONNECTION_PART: u64 = 4;
const CONNECTION_MIN: u64 = 64 << 20;
/// What reactors set aside at once, at most and at least.
const PIECE_MAX: u64 = 1 << 20;
const PIECE_MIN: u64 = 4 << 10;
/// When to come again, in milliseconds: trees go down in less, and clients commit and close in about that.
const RETRY_AFTER_MS: u64 = 50;

/// What one reactor's clients hold; written by its thread alone.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part {
    held: AtomicU64,
    refused: AtomicU64,
    /// It has been asked to let idle trees go down, and has not done so yet.
    asked: AtomicBool,
}

/// The memory of a server's clients.
#[derive(Debug)]
pub(super) struct Memory {
    limit: u64,
    piece: u64,
    /// What all reactors have set aside.
    set_aside: AtomicU64,
    /// Trees that are open.
    trees: AtomicUsize,
    parts: Box<[Part]>,
    handles: Box<[Handle]>,
}

/// The figures of a server's clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub limit: u64,
    pub held: u64,
    pub refused: u64,
}

impl Memory {
    /// With this limit, or one that fits the machine.
    pub fn new(limit: Option<u64>, handles: &[Handle]) -> Arc<Memory> {
        Memory::of(limit.unwrap_or_else(default_limit), handles, handles.len())
    }

    fn of(limit: u64, handles: &[Handle], reactors: usize) -> Arc<Memory> {
        let piece = limit / (64 * reactors.max(1) as u64);
        Arc::new(Memory {
            limit,
            piece: piece.clamp(PIECE_MIN, PIECE_MAX),
            set_aside: AtomicU64::new(0),
            trees: AtomicUsize::new(0),
            parts: (0..reactors).map(|_| Part::default()).collect(),
            handles: handles.into(),
        })
    }

    /// What one connection may hold.
    pub fn connection_limit(&self) -> u64 {
        (self.limit / CONNECTION_PART).max(CONNECTION_MIN.min(self.limit))
    }

    /// Where new work is refused; reads go on up to the limit.
    fn work_limit(&self) -> u64 {
        self.limit - self.limit / 8
    }

    /// Where idle trees begin to go down, and how far.
    fn high(&self) -> u64 {
        self.limit - self.limit / 4
    }

    fn low(&self) -> u64 {
        self.limit - self.limit / 3
    }

    /// How much each tree may keep of what it can load again while memory is short.
    fn fair(&self) -> usize {
        let share = self.low() / self.trees.load(Relaxed).max(1) as u64;
        usize::try_from(share).unwrap_or(usize::MAX)
    }

    /// What is held, and how often something was refused for it.
    pub fn figures(&self) -> Figures {
        let sum =
            |read: fn(&Part) -> &AtomicU64| self.parts.iter().map(|part| read(part).load(Relaxed)).sum();
        Figures {
            limit: self.limit,
            held: sum(|part| &part.held),
            refused: sum(|part| &part.refused),
        }
    }

    /// Has every reactor let its idle trees go down, each by itself.
    fn relieve_all(self: &Arc<Self>) {
        for (number, handle) in self.handles.iter().enumerate() {
            if self.parts[number].asked.swap(true, Relaxed) {
                continue;
            }
            let memory = Arc::clone(self);
            handle.spawn(move |local| async move {
                let account = Account::known(&memory);
                memory.parts[number].asked.store(false, Relaxed);
                if let Some(account) = account {
                    account.relieve(&local).await;
                }
            });
        }
    }
}

/// A limit for this machine, or for the control group that the process is in.
fn default_limit() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let of_group = read("/sys/fs/cgroup/memory.max").trim().parse().ok();
    let memory = memory_of_host(&read("/proc/meminfo"))
        .unwrap_or(0)
        .min(of_group.unwrap_or(u64::MAX));
    (memory / DEFAULT_PART).max(DEFAULT_MIN)
}

/// All memory, in bytes, as `proc_meminfo(5)` has it.
fn memory_of_host(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// A size for people.
fn shown(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

/// Has trees that can go down.
pub(super) trait Holder {
    /// Lets those that nobody works with keep that much of what they can load again.
    fn release_idle(&self, keep_bytes: usize);
}

thread_local! {
    static ACCOUNTS: RefCell<Vec<Weak<Account>>> = const { RefCell::new(Vec::new()) };
}

/// What is held on one reactor. It lives as long as one of its connections.
struct Account {
    memory: Arc<Memory>,
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
    fn known(memory: &Arc<Memory>) -> Option<Rc<Account>> {
        ACCOUNTS.with_borrow(|accounts| {
            let mut living = accounts.iter().filter_map(Weak::upgrade);
            living.find(|account| Arc::ptr_eq(&account.memory, memory))
        })
    }

    /// This thread's.
    fn here(memory: &Arc<Memory>, reactor: usize) -> Rc<Account> {
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
    fn add(&self, bytes: u64) {
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
    fn try_add(&self, bytes: u64, limit: u64) -> bool {
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

    fn give_back(&self, bytes: u64) {
        let held = self.held.get() - bytes;
        self.set_held(held);
        let spare = self.set_aside.get() - held;
        if spare > 2 * self.memory.piece {
            let back = spare - self.memory.piece;
            self.set_aside.set(self.set_aside.get() - back);
            self.memory.set_aside.fetch_sub(back, Relaxed);
        }
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
    fn relieve_at_once(&self, mut enough: impl FnMut() -> bool) -> bool {
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
    async fn relieve(self: Rc<Self>, local: &Local) {
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

/// What one connection holds.
pub(super) struct Share {
    account: Rc<Account>,
    held: Cell<u64>,
    /// When it made its last call: how many there were on the reactor before.
    called: Cell<u64>,
    holder: RefCell<Option<Weak<dyn Holder>>>,
}

impl Share {
    /// Of a new connection on the reactor `local`.
    pub fn new(memory: &Arc<Memory>, local: &Local) -> Rc<Share> {
        Share::on(memory, local.id().0)
    }

    fn on(memory: &Arc<Memory>, reactor: usize) -> Rc<Share> {
        let share = Rc::new(Share {
            account: Account::here(memory, reactor),
            held: Cell::new(0),
            called: Cell::new(0),
            holder: RefCell::default(),
        });
        let mut connections = share.account.connections.borrow_mut();
        if connections.len() == connections.capacity() {
            connections.retain(|share| share.strong_count() > 0);
        }
        connections.push(Rc::downgrade(&share));
        drop(connections);
        share
    }

    /// Who has the trees of the connection.
    pub fn belongs_to(&self, holder: Weak<dyn Holder>) {
        *self.holder.borrow_mut() = Some(holder);
    }

    /// A call has come.
    pub fn called(&self) {
        let calls = &self.account.calls;
        calls.set(calls.get() + 1);
        self.called.set(calls.get());
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
            let count = &self.account.part().refused;
            count.store(count.load(Relaxed) + 1, Relaxed);
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

    fn release_idle(&self, keep_bytes: usize) {
        let holder = self.holder.borrow().as_ref().and_then(Weak::upgrade);
        if let Some(holder) = holder {
            holder.release_idle(keep_bytes);
        }
    }
}

/// A tree that is open: what is there for all is shared by one more.
pub(super) struct OneTree(Arc<Memory>);

impl Drop for OneTree {
    fn drop(&mut self) {
        self.0.trees.fetch_sub(1, Relaxed);
    }
}

/// Memory that is counted until this goes.
pub(super) struct Held {
    share: Rc<Share>,
    bytes: Cell<u64>,
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

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
