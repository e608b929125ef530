//! Memory that steps want besides what their tree holds, asked for before it is taken.
//!
//! What a step reads, and what it works on, may be hundreds of megabytes; whoever runs steps for many clients says here whether
//! there is room. Directories that a step has to load are not asked for: without them nothing could be read at all, and they
//! are few.

use std::cell::Cell;

use crate::ops::Failure;

/// Who has the memory.
pub trait Room {
    /// Takes some.
    ///
    /// # Errors
    /// There is none; the step fails with this.
    fn take(&self, bytes: u64) -> Result<(), Failure>;

    /// Gives some of it back.
    fn give_back(&self, bytes: u64);
}

/// For who has all the memory he wants; counts it.
#[derive(Debug, Default)]
pub struct Unbounded(Cell<u64>);

impl Unbounded {
    /// Bytes taken and not given back.
    pub fn taken(&self) -> u64 {
        self.0.get()
    }
}

impl Room for Unbounded {
    fn take(&self, bytes: u64) -> Result<(), Failure> {
        self.0.set(self.0.get() + bytes);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.0.set(self.0.get() - bytes);
    }
}

/// What was taken; given back when dropped.
pub(super) struct Taken<'r> {
    room: &'r dyn Room,
    bytes: u64,
}

impl<'r> Taken<'r> {
    pub fn of(room: &'r dyn Room, bytes: u64) -> Result<Taken<'r>, Failure> {
        room.take(bytes)?;
        Ok(Taken { room, bytes })
    }

    /// Takes more.
    pub fn more(&mut self, bytes: u64) -> Result<(), Failure> {
        self.room.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back what is beyond `bytes`.
    pub fn only(&mut self, bytes: u64) {
        let rest = self.bytes.saturating_sub(bytes);
        self.room.give_back(rest);
        self.bytes -= rest;
    }

    /// Whoever ran the steps gives it back.
    pub fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.room.give_back(self.bytes);
        }
    }
}
