//! What the device was asked and answered, for comparing runs and for choosing where to crash.

use std::collections::VecDeque;

use super::faults::{Effect, On};

/// Events kept; older ones are forgotten so that long simulations stay small.
pub const LOG_EVENTS_MAX: usize = 1 << 18;

/// One completed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number in the order of submission, from 1, over all queues.
    pub number: u64,
    /// Queue it came by, in the order of opening, from 0.
    pub queue: u32,
    /// Time of completion on the queue's clock, in nanoseconds.
    pub at_ns: u64,
    /// Kind.
    pub kind: On,
    /// Device offset; 0 for a flush.
    pub offset: u64,
    /// Bytes; 0 for a flush.
    pub len: u64,
    /// A write that was asked to be durable.
    pub durable: bool,
    /// The fault that befell it.
    pub fault: Option<Effect>,
    /// `errno` of the answer; `None` is success.
    pub error: Option<i32>,
}

#[derive(Default)]
pub(super) struct Log(VecDeque<Event>);

impl Log {
    pub(super) fn add(&mut self, event: Event) {
        if self.0.len() == LOG_EVENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.0.iter().cloned().collect()
    }
}
