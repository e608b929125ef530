//! The memory that clients hold, and who may have more of it.
//!
//! Counted are working trees with what they have loaded and changed (what forks share counts for each), bodies and steps of calls
//! that wait for their tree, what steps read or work on, and answers that wait to be sent. Three bounds apply: a tree keeps a
//! bounded part of its directories (`ops::files`), a connection may hold a quarter of the limit, and all of them together the
//! limit. Not counted, and bounded by numbers alone: the frame that each connection is sending (5 MiB at most), what a tree loads
//! while a call runs (counted when it ends), and whole requests, of which a fixed number of threads run.
//!
//! A reactor has an account of its own (`account`), a connection a share in it (`share`). An account sets bytes aside from the limit
//! a piece at a time, so that most changes touch no line that other reactors write, and no lock is taken. When the server nears its
//! limit every reactor lets its idle trees go down, those of the connection that has been quiet longest first: those that keep more
//! than an equal share of directories to that share, and only then all to what cannot be loaded again, so that trees that work in
//! turns do not take each other's top directories. What is new and needs memory is refused (class `Busy`, with a time to come again)
//! when that is not enough; an eighth of the limit is left for reads. What a tree has to load is never refused: it could not even
//! commit.
//!
//! Invariants: what reactors have set aside is at least what is held on them, and exceeds the limit only by what cannot be refused;
//! whatever is counted is given back when its `Held` goes; an account, its connections and what they hold stay on one thread.
//! Rejected: one counter for all reactors (each call would write it several times); a queue of calls that wait for memory (it is
//! memory too, and its clients would learn nothing); looking at the size of the process (the allocator gives it back late or never,
//! and the cache and the index of the store have bounds of their own); ending the connections that hold most (what they have not
//! committed would be lost for what others do).

mod account;
mod share;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use helios_engine::reactor::Handle;

use account::Account;
pub(super) use share::{Held, Holder, OneTree, Share};

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

    /// Where idle trees begin to go down.
    fn high(&self) -> u64 {
        self.limit - self.limit / 4
    }

    /// How far they go down.
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
                if let Some(account) = Account::known(&memory) {
                    account.relieve(&local).await;
                }
                // At most one such task runs on a reactor.
                memory.parts[number].asked.store(false, Relaxed);
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

#[cfg(test)]
mod tests;
