//! The batches that are kept for one client, by the number of the call that began them.
//!
//! Invariants: a batch is at work for one call at a time; a client keeps a bounded number of them, with a bounded number of
//! references, whose memory is counted; a batch ends with its connection, and counts as a call under way until then.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use helios_engine::format::ContentId;
use helios_engine::ops::files::Room;
use helios_engine::ops::{Class, Failure};
use helios_engine::store::{Ack, Batch};

use crate::serve::RETRY_AFTER_MS;
use crate::serve::connection::Counted;
use crate::serve::memory::Held;

/// Batches of one connection.
const BATCHES_MAX: usize = 64;
/// References that the batches of one connection keep, and what each takes.
const HELD_MAX: usize = 8 << 20;
const REFERENCE_BYTES: usize = 40;
/// What a batch takes besides: a part that is not full yet.
pub(super) const BATCH_BYTES: usize = 256 << 10;
/// What stands for a batch.
pub(super) enum State {
    /// More may be put into it.
    Open(Box<Opened>),
    /// It is visible.
    Submitted(Ack),
}

pub(super) struct Opened {
    pub(super) batch: Box<Batch>,
    pub(super) parents: Parents,
}

/// Parents of the commits in a batch, which nobody can read yet.
pub(super) type Parents = HashMap<ContentId, Vec<ContentId>>;

struct Slot {
    /// Absent while a call works with it.
    state: Option<State>,
    held: usize,
    memory: Held,
    _counted: Counted,
}

/// The batches of one connection, by the number of the call that began them.
#[derive(Default)]
pub struct OpenBatches {
    slots: RefCell<HashMap<u64, Slot>>,
    held: Cell<usize>,
}

impl OpenBatches {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.borrow().is_empty()
    }

    /// Abandons all of them.
    pub fn clear(&self) {
        // What a call works with goes when that notices.
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        drop(slots);
    }

    pub(super) fn insert(
        &self,
        number: u64,
        opened: Opened,
        memory: Held,
        counted: Counted,
    ) -> Result<(), Failure> {
        let mut slots = self.slots.borrow_mut();
        if slots.len() >= BATCHES_MAX {
            return Err(Failure::busy(
                format!("{BATCHES_MAX} batches of this connection are open"),
                RETRY_AFTER_MS,
            ));
        }
        if slots.contains_key(&number) {
            return Err(Failure::new(
                Class::Invalid,
                format!("batch {number} is open already; numbers of calls that begin one are not used again"),
            ));
        }
        let slot = Slot {
            state: Some(State::Open(Box::new(opened))),
            held: 0,
            memory,
            _counted: counted,
        };
        slots.insert(number, slot);
        Ok(())
    }

    pub(super) fn end(&self, number: u64) {
        if let Some(slot) = self.slots.borrow_mut().remove(&number) {
            self.held.set(self.held.get().saturating_sub(slot.held));
        }
    }

    /// Takes a batch to work with it alone, which is to keep so many references more.
    pub(super) fn take(&self, number: u64, references: usize) -> Result<State, Failure> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(&number).ok_or_else(|| not_open(number))?;
        if self.held.get() + references > HELD_MAX {
            return Err(too_many());
        }
        let state = slot.state.take().ok_or_else(|| {
            let what = format!("batch {number} is at work for another call; wait for its answer");
            Failure::new(Class::Invalid, what)
        })?;
        if let Err(busy) = slot.memory.take((references * REFERENCE_BYTES) as u64) {
            slot.state = Some(state);
            return Err(busy);
        }
        slot.held += references;
        self.held.set(self.held.get() + references);
        Ok(state)
    }

    /// Counts references that a batch taken by the caller keeps besides.
    pub(super) fn hold_more(&self, number: u64, references: usize) -> Result<(), Failure> {
        if self.held.get() + references > HELD_MAX {
            return Err(too_many());
        }
        if let Some(slot) = self.slots.borrow_mut().get_mut(&number) {
            // Nobody is refused in the middle of something.
            slot.held += references;
            slot.memory.resize(BATCH_BYTES + slot.held * REFERENCE_BYTES);
            self.held.set(self.held.get() + references);
        }
        Ok(())
    }

    pub(super) fn take_open(&self, number: u64, references: usize) -> Result<Box<Opened>, Failure> {
        match self.take(number, references)? {
            State::Open(opened) => Ok(opened),
            submitted @ State::Submitted(_) => {
                self.give_back(number, submitted);
                Err(Failure::new(
                    Class::Invalid,
                    format!("batch {number} was submitted; begin another one"),
                ))
            }
        }
    }

    pub(super) fn give_back(&self, number: u64, state: State) {
        // Without its place it was ended meanwhile, or the client is gone.
        if let Some(slot) = self.slots.borrow_mut().get_mut(&number) {
            slot.state = Some(state);
        }
    }

    pub(super) fn acknowledgement(&self, number: u64) -> Result<Ack, Failure> {
        match self.slots.borrow().get(&number).map(|slot| &slot.state) {
            Some(Some(State::Submitted(ack))) => Ok(ack.clone()),
            Some(_) => Err(Failure::new(
                Class::Invalid,
                format!("batch {number} was not submitted"),
            )),
            None => Err(not_open(number)),
        }
    }
}

fn too_many() -> Failure {
    let what = format!("the batches of this connection keep {HELD_MAX} extents");
    Failure::new(Class::Full, what).with_hint("do less at once, or open the store alone")
}

fn not_open(number: u64) -> Failure {
    Failure::new(
        Class::NotFound,
        format!("batch {number} is not open on this connection"),
    )
}
