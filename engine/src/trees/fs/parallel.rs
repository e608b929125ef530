//! Work that makes more work, shared by a few threads: the walk of a directory, the writing of a tree.
//!
//! Invariants: every task handed in is run exactly once, unless the operation fails or is cancelled; then the rest
//! is dropped and the first error is the answer. The newest task is taken first, so what is pending is bounded by
//! the depth of a tree times its width along one path. Threads live only as long as the call; the caller's thread is
//! one of them. Rejected: a pool of threads or `rayon`; a directory operation starts two threads once, and queues of
//! our own let the bound on open directories hold.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use super::control::Control;
use crate::error::{Error, Result};

/// Tasks waiting, and what the workers are doing.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    workers: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    running: usize,
    stopped: bool,
    failure: Option<Error>,
}

impl<T> Queue<T> {
    /// Adds work; the last of `tasks` is taken first.
    pub(super) fn extend(&self, tasks: impl IntoIterator<Item = T>) {
        let mut state = self.state.lock();
        let before = state.waiting.len();
        if !state.stopped {
            state.waiting.extend(tasks);
        }
        match state.waiting.len() - before {
            0 => {}
            1 => drop(self.changed.notify_one()),
            _ => drop(self.changed.notify_all()),
        }
    }

    /// Takes up to `most` further tasks that `fit`, to be done together with the present one.
    pub(super) fn take_more(&self, most: usize, fit: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = self.state.lock();
        let mut taken = Vec::new();
        while taken.len() < most && state.waiting.back().is_some_and(&fit) {
            taken.extend(state.waiting.pop_back());
        }
        taken
    }

    /// Takes one further task that `fits`, to be prepared while the present one is done, if that leaves something for
    /// each of the other workers.
    pub(super) fn take_ahead(&self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let mut state = self.state.lock();
        let plenty = state.waiting.len() >= self.workers;
        if plenty && state.waiting.back().is_some_and(fits) {
            return state.waiting.pop_back();
        }
        None
    }

    fn next(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(task) = state.waiting.pop_back() {
                state.running += 1;
                return Some(task);
            }
            if state.running == 0 {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    fn finish(&self, outcome: Option<Error>) {
        let mut state = self.state.lock();
        state.running -= 1;
        if let Some(error) = outcome {
            state.failure.get_or_insert(error);
            state.stopped = true;
            state.waiting.clear();
        }
        if state.stopped || (state.running == 0 && state.waiting.is_empty()) {
            self.changed.notify_all();
        }
    }
}

/// Runs `work` on every task of `first` and on all that it adds, with `control.threads` threads at most. Each thread
/// has a state of its own made by `state`; the states are handed back.
pub(super) fn run<T: Send, S: Send>(
    control: &Control,
    first: impl IntoIterator<Item = T>,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T, &Queue<T>) -> Result<()> + Sync,
) -> Result<Vec<S>> {
    let waiting: VecDeque<T> = first.into_iter().collect();
    let queue = Queue {
        state: Mutex::new(State {
            waiting,
            running: 0,
            stopped: false,
            failure: None,
        }),
        changed: Condvar::new(),
        workers: control.threads.max(1),
    };
    let worker = || {
        let mut own = state();
        while let Some(task) = queue.next() {
            let guard = StopOnPanic(&queue);
            let outcome = control.check().and_then(|()| work(&mut own, task, &queue));
            std::mem::forget(guard);
            queue.finish(outcome.err());
        }
        own
    };
    let states = std::thread::scope(|scope| {
        let others: Vec<_> = (1..queue.workers)
            .map_while(|number| {
                std::thread::Builder::new()
                    .name(format!("helios-files-{number}"))
                    .spawn_scoped(scope, worker)
                    .ok() // Fewer threads do the same work.
            })
            .collect();
        let mut states = vec![worker()];
        for other in others {
            match other.join() {
                Ok(state) => states.push(state),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        states
    });
    match queue.state.into_inner().failure {
        Some(error) => Err(error),
        None => Ok(states),
    }
}

/// Lets the other workers end when one of them panics; the panic itself goes on to the caller.
struct StopOnPanic<'a, T>(&'a Queue<T>);

impl<T> Drop for StopOnPanic<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.stopped = true;
        state.waiting.clear();
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
#[path = "parallel_tests.rs"]
mod tests;
