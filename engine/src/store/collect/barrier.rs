//! The barrier between a collection and everybody else: what phase it is in, and what must not be missed.
//!
//! Whoever looks extents up in order to refer to them, or makes references visible, does so inside a *section*. The
//! phase changes only while nobody is inside one, so within a section it stands still. While marking, every new
//! reference is shaded *grey*: queued for the collection to trace. Marking ends only when nothing is grey and nobody
//! is inside.
//! Invariant: at the end of marking, everything that a root or a lease reaches is marked. A reference that was there
//! when marking began is found in the roots and leases, which are read after; a later one has been shaded.
//! Rejected: shading in black (a new node's children may be known to its maker alone, through a lease that is gone
//! before the collection reads it).

use crossbeam::sync::{ShardedLock, ShardedLockReadGuard};
use parking_lot::Mutex;

use crate::canary::{self, Canary};
use crate::store::api::{Key, Root};

/// What a collection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store) enum Phase {
    /// Nothing.
    #[default]
    Idle,
    /// It follows references; new ones are to be shaded.
    Marking,
    /// It removes what is not marked: that is as good as gone, and whoever needs it writes it anew.
    Sweeping,
}

/// References made while marking.
#[derive(Debug, Default)]
pub(super) struct Grey {
    /// What was there already.
    pub hits: Vec<Key>,
    /// What is new, and marked from birth: its references are to be followed.
    pub born: Vec<Key>,
    pub roots: Vec<Root>,
}

impl Grey {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.hits.len() + self.born.len() + self.roots.len()
    }
}

/// The barrier of one store.
#[derive(Debug, Default)]
pub(in crate::store) struct Barrier {
    phase: ShardedLock<Phase>,
    grey: Mutex<Grey>,
}

/// While it lives, the phase stands still. Never held across a wait.
pub(in crate::store) struct Section<'a> {
    phase: ShardedLockReadGuard<'a, Phase>,
    grey: &'a Mutex<Grey>,
}

impl Barrier {
    /// Enters a section.
    pub fn enter(&self) -> Section<'_> {
        Section {
            // A panic inside a section leaves the phase as it was.
            phase: self
                .phase
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
            grey: &self.grey,
        }
    }

    /// Changes the phase when nobody is inside a section; `with` runs at that moment.
    pub(super) fn change(&self, to: Phase, with: impl FnOnce()) {
        let mut phase = self
            .phase
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        with();
        *phase = to;
    }

    /// Ends marking if `finish` leaves nothing to follow of what is grey; else it goes on. Nobody is inside a section
    /// meanwhile, so `finish` is short.
    pub(super) fn end_marking(&self, to: Phase, finish: impl FnOnce(Grey) -> bool) -> bool {
        let mut phase = self
            .phase
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let ended = finish(self.take());
        if ended {
            *phase = to;
        }
        ended
    }

    /// How many references wait to be taken.
    pub(super) fn waiting(&self) -> usize {
        self.grey.lock().len()
    }

    /// Takes some of what has become grey, the newest first: so many of each sort at most.
    pub(super) fn take_newest(&self, count: usize) -> Grey {
        fn newest<T>(all: &mut Vec<T>, count: usize) -> Vec<T> {
            all.split_off(all.len().saturating_sub(count))
        }
        let mut grey = self.grey.lock();
        Grey {
            hits: newest(&mut grey.hits, count),
            born: newest(&mut grey.born, count),
            roots: newest(&mut grey.roots, count),
        }
    }

    /// Takes what has become grey.
    pub(super) fn take(&self) -> Grey {
        std::mem::take(&mut self.grey.lock())
    }
}

impl Section<'_> {
    /// The phase.
    pub fn phase(&self) -> Phase {
        *self.phase
    }

    fn is_shading(&self) -> bool {
        self.phase() == Phase::Marking && !canary::is(Canary::LostBarrier)
    }

    /// Notes references that are made now, to what is there already.
    pub fn shade(&self, keys: impl IntoIterator<Item = Key>) {
        if self.is_shading() {
            self.grey.lock().hits.extend(keys);
        }
    }

    /// Notes extents that are made now.
    pub fn shade_born(&self, keys: impl IntoIterator<Item = Key>) {
        if self.is_shading() {
            self.grey.lock().born.extend(keys);
        }
    }

    /// Notes roots that are set now.
    pub fn shade_roots(&self, roots: impl IntoIterator<Item = Root>) {
        if self.is_shading() {
            self.grey.lock().roots.extend(roots);
        }
    }
}
