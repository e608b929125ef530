//! An in-memory device that obeys and breaks the rules, from a seed.
//!
//! # Fault model
//!
//! What the device does without being told to; an engine has to live with all of it:
//! - Commands complete out of order, after a latency drawn from the seed.
//! - A completed write is visible to reads at once. It is *unflushed* until a flush that was submitted after its
//!   completion has completed, or from the start if it was durable (or the device has no volatile cache).
//! - A power cut drops unflushed writes and writes in flight (durable ones too), each on its own: it survives whole,
//!   in part, or not at all. Parts are whole logical blocks: a prefix, a suffix, or any subset. How much survives
//!   differs from cut to cut: all, nothing, anything between.
//! - A discarded range reads as before, as zeroes or as garbage. A discard is dropped or kept by a power cut like a
//!   write.
//!
//! What it does when a plan of [`Faults`] says so, by chance or at a scripted command or place:
//! - `Fail`: a command is answered with an error. A failed write may have happened, in part or whole. A failed flush
//!   made some of its writes durable; the others stay visible, but no later flush makes them durable either (what
//!   kernels do with dirty pages after a failed sync).
//! - `Lose`: a write, a discard or a flush is acknowledged and never happens.
//! - `Tear`: a write is acknowledged and happens in part.
//! - `Misdirect`: a write lands on, or a read comes from, another place of the same length.
//! - `Flip`: one bit differs, on the media for a write, in the answer only for a read.
//! - `Rot`: a read finds one bit changed on the media, and so does every later one.
//! - `Stale`: a read answers with what the place held before its last write.
//! - `Slow`: a command takes longer.
//! - A bound on space: allocating or writing beyond it fails as a full host disk does.
//!
//! # Time
//!
//! Under a driver completions are due in virtual time. With real threads the device keeps a time of its own that
//! moves with every poll, so that commands complete within a few polls and no clock is read.
//!
//! # Determinism
//!
//! Every draw comes from streams forked from the seed: with the same commands at the same virtual times the device
//! does the same, and its [`log`](SimDevice::log) is the same.

mod faults;
mod image;
mod log;
mod media;
mod queue;
mod random;
mod state;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Device, Geometry, Queue};
use crate::limits::UNIT_BYTES;

pub use faults::{Effect, Faults, On, Rule};
pub use image::Image;
pub use log::{Event, LOG_EVENTS_MAX};
pub use random::Random;

use queue::SimQueue;
use state::State;

/// What a simulated device is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Bytes; a multiple of the unit.
    pub capacity: u64,
    /// Smallest unit written atomically: 512 or 4096. Writes tear at its multiples.
    pub logical_block: u32,
    /// Largest transfer.
    pub transfer_max: u32,
    /// False: every completed write survives a power cut.
    pub volatile_cache: bool,
    /// Latencies of commands, in nanoseconds of virtual time; not empty.
    pub latency_ns: Range<u64>,
}

impl Options {
    /// A device with a volatile cache that tears at 512 bytes.
    pub fn new(capacity: u64) -> Options {
        Options {
            capacity,
            logical_block: 512,
            transfer_max: 4 << 20,
            volatile_cache: true,
            latency_ns: 10_000..120_000,
        }
    }
}

/// The device. Queues and clones of the `Arc` share its contents.
pub struct SimDevice {
    name: String,
    seed: u64,
    options: Options,
    state: Arc<Mutex<State>>,
}

impl SimDevice {
    /// A fresh device of zeroes.
    pub fn new(seed: u64, capacity: u64) -> Arc<SimDevice> {
        SimDevice::with_options(seed, Options::new(capacity))
    }

    /// A fresh device of zeroes, made to measure.
    ///
    /// # Panics
    /// If the options break the rules stated at their fields.
    pub fn with_options(seed: u64, options: Options) -> Arc<SimDevice> {
        let image = Image::zeroes(options.capacity);
        SimDevice::over(seed, options, image)
    }

    /// A device that holds `image`, all of it durable.
    pub fn from_image(seed: u64, image: Image) -> Arc<SimDevice> {
        SimDevice::over(seed, Options::new(image.capacity()), image)
    }

    fn over(seed: u64, options: Options, image: Image) -> Arc<SimDevice> {
        assert!(
            options.capacity.is_multiple_of(UNIT_BYTES as u64),
            "the capacity is whole units"
        );
        assert!(
            matches!(options.logical_block, 512 | 4096),
            "logical blocks are 512 or 4096 bytes"
        );
        assert!(
            !options.latency_ns.is_empty(),
            "the range of latencies is not empty"
        );
        let state = State::new(Random::new(seed), &options, image);
        SimDevice::with_state(seed, options, state)
    }

    fn with_state(seed: u64, options: Options, state: State) -> Arc<SimDevice> {
        Arc::new(SimDevice {
            name: format!("sim:{seed}"),
            seed,
            options,
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// The seed it was made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Replaces the plan of faults; counts of commands start again.
    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().set_faults(faults);
    }

    /// How many commands a fault has befallen so far.
    pub fn faults_injected(&self) -> u64 {
        self.state.lock().injected
    }

    /// Cuts the power and gives the device as it is found afterwards, with no faults planned. This one is dead from
    /// now on: commands fail and change nothing. Asked again, a dead device gives another possible outcome of the
    /// same cut.
    pub fn power_cut(&self) -> Arc<SimDevice> {
        let mut state = self.state.lock();
        state.dead = true;
        let image = state.surviving_image();
        let next = State::new(state.random.fork(), &self.options, image);
        SimDevice::with_state(self.seed, self.options.clone(), next)
    }

    /// How many writes (zero-writes and discards too) a power cut would now put at risk: those not flushed, and those
    /// in flight, durable ones included.
    pub fn at_risk(&self) -> usize {
        self.state.lock().at_risk()
    }

    /// As [`power_cut`](Self::power_cut), but nothing is left to luck: of the writes [at risk](Self::at_risk), oldest
    /// first, those survive whole whose number `keep` chooses, and nothing of the others.
    pub fn power_cut_keeping(&self, keep: impl FnMut(usize) -> bool) -> Arc<SimDevice> {
        let mut state = self.state.lock();
        state.dead = true;
        let image = state.chosen_image(keep);
        let next = State::new(state.random.clone(), &self.options, image);
        SimDevice::with_state(self.seed, self.options.clone(), next)
    }

    /// The device as the next process finds it when this one is killed: completed writes are there, unflushed ones
    /// still unflushed; writes in flight happened whole, in part, or not at all. This one is dead from now on.
    pub fn restart(&self) -> Arc<SimDevice> {
        let next = self.state.lock().restart(&self.options);
        SimDevice::with_state(self.seed, self.options.clone(), next)
    }

    /// Lets the power fail when `changes` more commands that change anything (writes, zero-writes, discards, flushes)
    /// have taken effect and the next one is about to: that one and all in flight with it are cut off, later
    /// commands fail and change nothing. [`power_cut`](Self::power_cut) then gives the device as found afterwards.
    /// Running a workload once for each number up to its [`changes`](Self::changes) crashes it at every point there
    /// is.
    pub fn crash_after(&self, changes: u64) {
        self.state.lock().crash_after(changes);
    }

    /// True after the power has failed.
    pub fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// Commands that have taken effect, reads and allocations not counted: what [`crash_after`](Self::crash_after)
    /// counts.
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// What reads see now.
    pub fn image(&self) -> Image {
        self.state.lock().media.visible().clone()
    }

    /// Bytes as reads see them.
    pub fn peek(&self, offset: u64, len: usize) -> Vec<u8> {
        self.state.lock().media.visible().peek(offset, len)
    }

    /// Changes bytes behind the engine's back, durably.
    pub fn poke(&self, offset: u64, bytes: &[u8]) {
        self.state.lock().media.poke(offset, bytes);
    }

    /// Flips one bit (0 to 7) of one byte behind the engine's back, durably.
    pub fn flip(&self, offset: u64, bit: u32) {
        self.state.lock().media.flip(offset, 1 << (bit & 7));
    }

    /// The commands in the order they completed, at most the last [`LOG_EVENTS_MAX`].
    pub fn log(&self) -> Vec<Event> {
        self.state.lock().log.events()
    }
}

impl Device for SimDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            capacity: self.options.capacity,
            logical_block: self.options.logical_block,
            transfer_max: self.options.transfer_max,
            volatile_cache: self.options.volatile_cache,
            discard: true,
        }
    }

    fn open_queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        if depth == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a queue of depth 0 holds no command",
            ));
        }
        let (number, random) = self.state.lock().open_queue();
        let latency = self.options.latency_ns.clone();
        Ok(Box::new(SimQueue::new(
            Arc::clone(&self.state),
            self.geometry(),
            number,
            depth,
            random,
            latency,
        )))
    }
}

impl fmt::Debug for SimDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDevice({}, {} bytes)", self.name, self.options.capacity)
    }
}
