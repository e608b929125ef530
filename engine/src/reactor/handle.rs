//! A reactor as other threads see it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::counters::CounterValues;
use super::current;
use super::local::Local;
use super::shared::{Remote, Shared};

/// Number of a reactor in its runtime, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ReactorId(pub usize);

impl fmt::Display for ReactorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Names one reactor; sends it work from any thread.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Shared>);

impl Handle {
    /// Which reactor this is.
    pub fn id(&self) -> ReactorId {
        self.0.id
    }

    /// The core its thread is pinned to.
    pub fn core(&self) -> Option<usize> {
        self.0.core()
    }

    /// Starts a task on the reactor: `make` runs there, its future never leaves. After shutdown `make` is dropped,
    /// so whoever waits for something it captured learns that it will not come.
    pub fn spawn<M, F>(&self, make: M)
    where
        M: FnOnce(Local) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        self.0.push(Remote::Start(Box::new(move |local: Local| {
            let future = make(local.clone());
            local.spawn(future);
        })));
    }

    /// True on the reactor's own thread (under a driver: while it is being stepped).
    pub fn is_current(&self) -> bool {
        current::is_current(&self.0)
    }

    /// What the reactor has done so far.
    pub fn counters(&self) -> CounterValues {
        self.0.counters.values()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reactor({})", self.0.id)
    }
}
