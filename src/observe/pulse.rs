//! Whether reactors turn: each is asked for a word, and has some time for it.
//!
//! Invariant: at most one question to a reactor is under way, so that one which hangs is not buried under them.

use std::sync::Arc;
use std::time::Duration;

use helios_engine::reactor::{Clock, Handle, Nanos, ReactorId, Runtime};
use parking_lot::{Condvar, Mutex};

/// What reactors have answered.
#[derive(Debug, Default)]
struct Answers {
    /// By reactor, the number of the last question it answered.
    last: Mutex<Vec<u64>>,
    changed: Condvar,
}

/// A question.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    number: u64,
    at: Nanos,
}

/// Asks the reactors of a runtime.
pub struct Pulse {
    handles: Vec<Handle>,
    clock: Clock,
    asked: Vec<Asked>,
    answers: Arc<Answers>,
}

impl Pulse {
    /// Nothing is asked yet.
    pub fn new(runtime: &Runtime) -> Pulse {
        let handles = runtime.handles().to_vec();
        let answers = Answers {
            last: Mutex::new(vec![0; handles.len()]),
            ..Answers::default()
        };
        Pulse {
            asked: vec![Asked::default(); handles.len()],
            clock: runtime.clock().clone(),
            handles,
            answers: Arc::new(answers),
        }
    }

    /// Asks all reactors, and answers which of them have said nothing for `patience`. Takes as long as the slowest answer, and
    /// not even that for a reactor that has been silent for so long already.
    pub fn silent(&mut self, patience: Duration) -> Vec<ReactorId> {
        for (index, handle) in self.handles.iter().enumerate() {
            let asked = &mut self.asked[index];
            if self.answers.last.lock()[index] < asked.number {
                continue;
            }
            asked.number += 1;
            asked.at = self.clock.now();
            let (number, answers) = (asked.number, Arc::clone(&self.answers));
            handle.spawn(move |_| async move {
                answers.last.lock()[index] = number;
                answers.changed.notify_all();
            });
        }
        let mut last = self.answers.last.lock();
        loop {
            let waiting = self.asked.iter().enumerate();
            let waiting: Vec<(usize, Duration)> = waiting
                .filter(|(index, asked)| last[*index] < asked.number)
                .map(|(index, asked)| (index, self.clock.now().since(asked.at)))
                .collect();
            // The one asked last has time for longest.
            match waiting.iter().map(|(_, since)| *since).min() {
                Some(since) if since < patience => {
                    self.answers.changed.wait_for(&mut last, patience - since);
                }
                _ => {
                    return waiting
                        .iter()
                        .map(|(index, _)| self.handles[*index].id())
                        .collect();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use helios_engine::device::sim::SimDevice;
    use helios_engine::reactor::Config;

    use super::*;

    /// Goal: a reactor that hangs is found, alone, and found again at once; one that goes on is well again. Method: a task of
    /// reactor 1 of two blocks its thread until it is let go.
    #[test]
    fn a_reactor_that_hangs_is_found() {
        let config = Config {
            reactors: 2,
            pin: false,
            ..Config::default()
        };
        let runtime = Runtime::threads(SimDevice::new(1, 64 << 20), &config).expect("threads start");
        let mut pulse = Pulse::new(&runtime);
        assert_eq!(pulse.silent(Duration::from_secs(60)), []);
        let (release, blocked) = channel::<()>();
        runtime.handles()[1].spawn(move |_| async move {
            // Ends when the sender is dropped.
            let _ = blocked.recv();
        });
        for _ in 0..3 {
            assert_eq!(pulse.silent(Duration::from_millis(50)), [ReactorId(1)]);
        }
        drop(release);
        assert_eq!(pulse.silent(Duration::from_secs(60)), []);
        runtime.shutdown();
    }
}
