//! The queue over io_uring.
//!
//! Invariants:
//! - Every entry given to the ring points only to memory owned by the task in its slot (or to the shared
//!   zeroes), and a slot is emptied only after the kernel has answered all of the task's entries. So lent memory
//!   outlives the kernel's use of it, whatever the owner of the queue does, forgetting it included.
//! - `in_kernel` counts entries given to the ring (or waiting for room in it) and not answered.
//! - `poll` enters the kernel only when there is something left to submit or the kernel has flagged something to
//!   collect; while reads are merely in flight it looks at shared memory.
//! - Commands flow, they do not gather: each is handed to the kernel when it is submitted, and a poll gives out
//!   [`REAP_MAX`] completions at most. In bursts, the device would wait for the program to work through a burst, and
//!   the program for the device: 32 random reads in flight, each answered by a new one, reach 65 % of the device's
//!   rate that way, and 91 % this way (the kernel, too, holds back more than two entries of one call until the call ends).
//! - A `poll` that finds nothing while anything but reads is in flight yields the processor. Flushes, durable
//!   writes and writes to new space end in a kernel worker bound to the processor that took the interrupt, and
//!   a thread spinning there keeps it waiting for scheduler ticks (measured on Linux 6.18, one durable write:
//!   7.8 ms spinning, 60 us yielding, 51 us by `pwritev2`).
//!
//! Sleeping: with commands in flight, the doorbell is watched by a poll entry in the ring (it stays armed over
//! several sleeps) and the thread waits in `io_uring_enter` with a timeout. With none, it sleeps in `ppoll`
//! on the doorbell instead, because a sleep in the ring counts as waiting for I/O and an idle program would
//! show up as a busy disk.
#![allow(
    unsafe_code,
    reason = "entries name memory that the kernel uses after the call"
)]

mod setup;
mod task;

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::{IoUring, SubmissionQueue, opcode, types};
use rustix::io::Errno;

use crate::command::{Admission, Command, Completion};
use crate::memory::{Buffer, Mapping, zeroes};
use crate::queue::{Queue, sleep_on};
use crate::target::Target;
use crate::{Error, Result};
use setup::{REGIONS_MAX, SETUPS, Setup};
use task::{LANES, Region, Task};

/// `POLLIN`: the same number on every Linux; bindings disagree about its type.
const POLLIN: u32 = 1;
/// Largest queue.
const DEPTH_MAX: u32 = 4096;
/// Completions given out by one poll.
const REAP_MAX: usize = 8;
/// Marks the poll entry of a doorbell; the rest of the tag is its generation.
const TAG_DOORBELL: u64 = 1 << 63;
/// An entry whose answer says nothing.
const TAG_IGNORED: u64 = u64::MAX;

/// A queue of commands through a ring of its own. Belongs to the thread that opened it.
pub struct Uring<B: Buffer> {
    target: Arc<Target>,
    ring: IoUring,
    depth: u32,
    slots: Vec<Option<Task<B>>>,
    vacant: Vec<u32>,
    in_kernel: u32,
    /// Commands in flight that are not reads.
    changes: u32,
    /// Entries that found the ring full.
    backlog: VecDeque<Entry>,
    /// Completions that needed no kernel.
    ready: VecDeque<Completion<B>>,
    doorbell: Watch,
    regions: Vec<Region>,
    regions_max: u16,
    /// The kernel accepts entries from one thread only.
    _not_send: PhantomData<*const ()>,
}

/// The doorbell watched by the ring.
#[derive(Default)]
struct Watch {
    /// Kept open while it is watched, so that its number cannot come to mean another file.
    armed: Option<Arc<OwnedFd>>,
    generation: u64,
}

impl<B: Buffer> Uring<B> {
    /// A queue for at most `depth` commands in flight. [`Error::Unusable`] where there is no io_uring.
    pub fn open(target: Arc<Target>, depth: u32) -> Result<Uring<B>> {
        Uring::open_with(target, depth, &SETUPS)
    }

    fn open_with(target: Arc<Target>, depth: u32, setups: &[Setup]) -> Result<Uring<B>> {
        if depth == 0 || depth > DEPTH_MAX {
            return Err(Error::Resources {
                what: "open a queue",
                source: io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("its depth is {depth}, not 1 to {DEPTH_MAX}"),
                ),
            });
        }
        let ring = setup::ring(depth + LANES as u32, setups)?;
        let submitter = ring.submitter();
        submitter
            .register_files(&[target.as_fd().as_raw_fd()])
            .map_err(setup::refused)?;
        // Before Linux 5.19 there is no empty table to fill later; memory is then lent unregistered.
        let regions_max = match submitter.register_buffers_sparse(REGIONS_MAX.into()) {
            Ok(()) => REGIONS_MAX,
            Err(_) => 0,
        };
        Ok(Uring {
            target,
            ring,
            depth,
            slots: (0..depth).map(|_| None).collect(),
            vacant: (0..depth).rev().collect(),
            in_kernel: 0,
            changes: 0,
            backlog: VecDeque::new(),
            ready: VecDeque::new(),
            doorbell: Watch::default(),
            regions: Vec::new(),
            regions_max,
            _not_send: PhantomData,
        })
    }

    /// Moves waiting entries into the ring as far as it has room.
    fn refill(&mut self) {
        let mut ring = self.ring.submission();
        while let Some(entry) = self.backlog.pop_front() {
            if !push(&mut ring, &entry) {
                self.backlog.push_front(entry);
                break;
            }
        }
    }

    fn give(&mut self, entry: Entry) {
        if !self.backlog.is_empty() || !push(&mut self.ring.submission(), &entry) {
            self.backlog.push_back(entry);
        }
    }

    /// Watches `doorbell` from inside the ring.
    fn watch(&mut self, doorbell: &Arc<OwnedFd>) {
        if let Some(armed) = self.doorbell.armed.take() {
            if Arc::ptr_eq(&armed, doorbell) {
                self.doorbell.armed = Some(armed);
                return;
            }
            let old = TAG_DOORBELL | self.doorbell.generation;
            self.give(opcode::PollRemove::new(old).build().user_data(TAG_IGNORED));
        }
        self.doorbell.generation += 1;
        let tag = TAG_DOORBELL | self.doorbell.generation;
        let entry = opcode::PollAdd::new(types::Fd(doorbell.as_raw_fd()), POLLIN).build();
        self.give(entry.user_data(tag));
        self.doorbell.armed = Some(doorbell.clone());
    }

    /// Passes entries on; with `sleep`, until there is a completion or the time is over.
    fn enter(&mut self, sleep: Option<Option<Duration>>) -> io::Result<()> {
        let submitter = self.ring.submitter();
        let entered = match sleep {
            None => submitter.submit(),
            Some(None) => submitter.submit_and_wait(1),
            Some(Some(timeout)) => {
                let timeout = types::Timespec::from(timeout);
                submitter.submit_with_args(1, &types::SubmitArgs::new().timespec(&timeout))
            }
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                // The time is over, a signal came, or the kernel is out of something for the moment: entries
                // that were not taken stay in the ring for the next time.
                Some(Errno::TIME | Errno::INTR | Errno::AGAIN | Errno::BUSY | Errno::NOMEM) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Passes entries on.
    fn hand_over(&mut self) {
        if let Err(error) = self.enter(None) {
            panic!("io_uring refuses its own entries: {error}");
        }
    }

    /// Collects answers, at most [`REAP_MAX`] of them.
    fn reap(&mut self, mut done: impl FnMut(Completion<B>)) {
        let (_, mut entries, answers) = self.ring.split();
        for answer in answers.take(REAP_MAX) {
            let tag = answer.user_data();
            if tag == TAG_IGNORED {
                continue;
            }
            if tag & TAG_DOORBELL != 0 {
                if tag == TAG_DOORBELL | self.doorbell.generation {
                    self.doorbell.armed = None;
                }
                continue;
            }
            let (slot, lane) = (tag as usize / LANES, tag as usize % LANES);
            let Some(task) = self.slots[slot].as_mut() else {
                panic!("io_uring answered for slot {slot}, which is empty");
            };
            self.in_kernel -= 1;
            task.answer(lane, answer.result());
            while let Some((lane, entry)) = task.next() {
                self.in_kernel += 1;
                let entry = entry.user_data(tag_of(slot, lane));
                if !self.backlog.is_empty() || !push(&mut entries, &entry) {
                    self.backlog.push_back(entry);
                }
            }
            if task.finished()
                && let Some(task) = self.slots[slot].take()
            {
                self.vacant.push(slot as u32);
                self.changes -= u32::from(!task.is_read());
                done(task.into_completion());
            }
        }
    }

    /// Waits until the kernel holds none of our memory; `false` when that cannot be known.
    fn settle(&mut self) -> bool {
        for task in self.slots.iter_mut().flatten() {
            task.cancel();
        }
        while self.in_kernel > 0 {
            self.refill();
            if self.enter(Some(None)).is_err() {
                return false;
            }
            self.reap(drop);
        }
        true
    }
}

impl<B: Buffer> Queue<B> for Uring<B> {
    fn submit(&mut self, command: Command<B>) -> Result<(), Command<B>> {
        if self.in_flight() >= self.depth {
            return Err(command);
        }
        let prepared = match command.operation.admit(&self.target) {
            Ok(Admission::Run) => {
                let zeroes = || {
                    zeroes().map_err(|source| Error::Resources {
                        what: "map zeroes",
                        source,
                    })
                };
                Task::new(command, self.target.alignment(), &self.regions, zeroes)
            }
            Ok(Admission::Done) => {
                self.ready.push_back(command.complete(Ok(())));
                return Ok(());
            }
            Err(error) => Err((command, error)),
        };
        let mut task = match prepared {
            Ok(task) => task,
            Err((command, error)) => {
                self.ready.push_back(command.complete(Err(error)));
                return Ok(());
            }
        };
        let Some(slot) = self.vacant.pop() else {
            panic!(
                "{} commands in flight, but no slot of {} vacant",
                self.in_flight(),
                self.depth
            );
        };
        while let Some((lane, entry)) = task.next() {
            self.in_kernel += 1;
            self.give(entry.user_data(tag_of(slot as usize, lane)));
        }
        self.changes += u32::from(!task.is_read());
        self.slots[slot as usize] = Some(task);
        self.hand_over();
        Ok(())
    }

    fn poll(&mut self, mut done: impl FnMut(Completion<B>)) {
        self.refill();
        let ring = self.ring.submission();
        let enter = !ring.is_empty() || ring.taskrun() || ring.cq_overflow();
        drop(ring);
        if enter {
            self.hand_over();
        }
        let before = self.in_flight();
        self.reap(&mut done);
        if self.changes > 0 && self.in_flight() == before {
            std::thread::yield_now();
        }
        self.ready.drain(..).for_each(done);
    }

    fn wait(&mut self, doorbell: &Arc<OwnedFd>, timeout: Option<Duration>) {
        if self.in_kernel == 0 && self.ready.is_empty() {
            return sleep_on(&[doorbell], timeout);
        }
        let sleep = if self.ready.is_empty() {
            self.watch(doorbell);
            Some(timeout)
        } else {
            None
        };
        self.refill();
        if let Err(error) = self.enter(sleep) {
            panic!("io_uring refuses its own entries: {error}");
        }
    }

    fn in_flight(&self) -> u32 {
        self.depth - self.vacant.len() as u32 + self.ready.len() as u32
    }

    fn register(&mut self, mapping: &Arc<Mapping>) -> Option<u16> {
        let index = u16::try_from(self.regions.len())
            .ok()
            .filter(|index| *index < self.regions_max)?;
        let memory = [libc::iovec {
            iov_base: mapping.start().as_ptr().cast(),
            iov_len: mapping.len(),
        }];
        // SAFETY: the memory is mapped and stays so until the ring is gone: `regions` keeps the mapping, and is
        // dropped after the ring.
        let registered = unsafe {
            self.ring
                .submitter()
                .register_buffers_update(index.into(), &memory, None)
        };
        // Over the locked-memory limit the memory is lent unregistered.
        registered.ok()?;
        self.regions.push(Region {
            mapping: mapping.clone(),
        });
        Some(index)
    }
}

impl<B: Buffer> Drop for Uring<B> {
    fn drop(&mut self) {
        if !self.settle() {
            // Leaking memory the kernel may still write to is the lesser evil.
            self.slots.drain(..).for_each(std::mem::forget);
            self.regions.drain(..).for_each(std::mem::forget);
        }
        // Closing a ring gives these back later; the next opener of the device, or the locked-memory limit,
        // wants them back now. Failing, they go with the ring.
        let _ = self.ring.submitter().unregister_files();
        let _ = self.ring.submitter().unregister_buffers();
    }
}

fn tag_of(slot: usize, lane: usize) -> u64 {
    (slot * LANES + lane) as u64
}

/// Puts an entry of a task in a slot (or one that points to no memory) into the ring, if it has room.
fn push(ring: &mut SubmissionQueue<'_>, entry: &Entry) -> bool {
    // SAFETY: callers pass entries whose memory is owned by a task that stays in its slot until the kernel has
    // answered, by `Task` and `reap`; poll entries point to none.
    unsafe { ring.push(entry) }.is_ok()
}

#[cfg(test)]
#[path = "uring/queue_tests.rs"]
mod tests;
