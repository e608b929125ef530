//! How many reactors run, where, and how long they spin.

use std::time::Duration;

use crate::error::{Error, Result};

/// What a reactor does while there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Polling {
    /// Polls for a short time, learnt from the waits before, then sleeps in the kernel.
    #[default]
    Adaptive,
    /// Polls without end: each reactor keeps its core to itself, and nothing waits for a wake-up.
    Busy,
}

/// Shape of a [`Runtime`](super::Runtime). Build it from `Config::default()` and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Number of reactors, at least one.
    pub reactors: usize,
    /// Pin each reactor's thread to a core.
    pub pin: bool,
    /// Cores to pin to, reused in turn when there are more reactors; `None` means all the process may use.
    pub cores: Option<Vec<usize>>,
    /// Commands in flight per reactor; more wait in a backlog of the reactor.
    pub queue_depth: u32,
    /// Whether reactors ever sleep.
    pub polling: Polling,
    /// How long a reactor that may sleep polls at most before it does. Four times as long while commands are in flight:
    /// a wake-up from the kernel costs about as much as a fast device's whole command.
    pub spin: Duration,
    /// Longest time a message sent with [`try_send_lazy`](super::Sender::try_send_lazy) waits for its reactor.
    pub light_sleep: Duration,
    /// Seeds the order of reactors and tasks under [`Runtime::driver`](super::Runtime::driver).
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            reactors: std::thread::available_parallelism().map_or(1, usize::from),
            pin: true,
            cores: None,
            queue_depth: 128,
            polling: Polling::Adaptive,
            spin: Duration::from_micros(50),
            light_sleep: Duration::from_millis(5),
            seed: 0,
        }
    }
}

impl Config {
    /// Refuses what cannot run.
    pub(super) fn check(&self) -> Result<()> {
        if self.reactors == 0 {
            return Err(Error::invalid("reactors", "there must be at least one"));
        }
        if self.queue_depth == 0 {
            return Err(Error::invalid("queue depth", "it must be at least 1"));
        }
        if self.cores.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid("cores", "the list must name at least one core"));
        }
        Ok(())
    }
}
