//! Threads that run whole requests, which block.
//!
//! Invariants: the number of threads and of requests that wait for one is bounded; what does not fit is refused at once with the
//! advice to come again, and never queued without end. Clients take turns, and none has more than a quarter of the threads;
//! requests that change something leave some threads to those that only look.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::thread::JoinHandle;

use helios_engine::ops::Failure;
use parking_lot::{Condvar, Mutex};

use super::admission::{ClientNumber, Fair, Lane};
use super::io_failure;

/// Requests of one client that wait for a thread.
const WAITING_EACH_MAX: usize = 64;
/// Part of the threads that run requests of one client: they may wait for it, as long as it likes.
const CLIENT_PART: usize = 4;
/// When to come again, in milliseconds.
const RETRY_AFTER_MS: u64 = 100;

type Job = Box<dyn FnOnce() + Send>;

/// How much the threads have to do at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Threads.
    pub threads: u64,
    /// Those that run a request.
    pub busy: u64,
    /// Requests that wait for a thread.
    pub waiting: u64,
}

/// What waits and what runs.
#[derive(Default)]
struct Queue {
    /// By lane.
    waiting: [Fair<Job>; 2],
    /// By lane.
    running: [usize; 2],
    /// By client, of those that have any.
    running_of: HashMap<ClientNumber, usize>,
    /// Requests of one client, at once.
    each_max: usize,
    /// Requests that change something, at once.
    changing_max: usize,
    ended: bool,
}

impl Queue {
    /// The next request that may run. Those that only look go first: they are short, and somebody waits for each of them.
    fn next(&mut self) -> Option<(Lane, ClientNumber, Job)> {
        for lane in [Lane::Looks, Lane::Changes] {
            if lane == Lane::Changes && self.running[lane as usize] >= self.changing_max {
                continue;
            }
            let of = |client| self.running_of.get(&client).copied().unwrap_or(0);
            let next = self.waiting[lane as usize].pop_of(|client| of(client) < self.each_max);
            if let Some((client, job)) = next {
                self.running[lane as usize] += 1;
                *self.running_of.entry(client).or_default() += 1;
                return Some((lane, client, job));
            }
        }
        None
    }

    fn done(&mut self, lane: Lane, client: ClientNumber) {
        self.running[lane as usize] -= 1;
        if let Entry::Occupied(mut of) = self.running_of.entry(client) {
            *of.get_mut() -= 1;
            if *of.get() == 0 {
                of.remove();
            }
        }
    }

    fn waiting(&self) -> usize {
        self.waiting.iter().map(Fair::len).sum()
    }
}

struct Shared {
    queue: Mutex<Queue>,
    /// There may be something to do.
    rung: Condvar,
}

/// The threads.
pub struct Workers {
    shared: Arc<Shared>,
    count: usize,
    waiting_max: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts that many, for as many requests at once and so many more that wait. A quarter is for those that only look.
    pub fn start(name: &str, count: usize, waiting_max: usize) -> Result<Workers, Failure> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                changing_max: count - count / 4,
                each_max: (count / CLIENT_PART).max(1),
                ..Queue::default()
            }),
            rung: Condvar::new(),
        });
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || work(&shared))
                .map_err(|error| io_failure("start a thread", &error))?;
            threads.push(thread);
        }
        Ok(Workers {
            shared,
            count,
            waiting_max,
            threads: Mutex::new(threads),
        })
    }

    /// Runs `job` of a client on the next thread that is free, when it is the client's turn.
    ///
    /// # Errors
    /// Class `Busy` if too many wait already, or if the server ends.
    pub fn run(
        &self,
        client: ClientNumber,
        lane: Lane,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<(), Failure> {
        let mut queue = self.shared.queue.lock();
        if queue.ended {
            return Err(Failure::busy("the owner of the store is ending", RETRY_AFTER_MS));
        }
        let own: usize = queue.waiting.iter().map(|waiting| waiting.len_of(client)).sum();
        if queue.waiting() >= self.waiting_max || own >= WAITING_EACH_MAX {
            return Err(Failure::busy("too many requests wait already", RETRY_AFTER_MS));
        }
        queue.waiting[lane as usize].push(client, Box::new(job));
        drop(queue);
        self.shared.rung.notify_one();
        Ok(())
    }

    /// How much there is to do.
    pub fn load(&self) -> Load {
        let queue = self.shared.queue.lock();
        Load {
            threads: self.count as u64,
            busy: queue.running.iter().sum::<usize>() as u64,
            waiting: queue.waiting() as u64,
        }
    }

    /// Takes no more, and waits for those that wait and those that run.
    pub fn end(&self) {
        self.shared.queue.lock().ended = true;
        self.shared.rung.notify_all();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A panic of a request was caught and told its client.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared) {
    let mut queue = shared.queue.lock();
    loop {
        if let Some((lane, client, job)) = queue.next() {
            drop(queue);
            job();
            queue = shared.queue.lock();
            queue.done(lane, client);
            // What this one kept from running has no other ring to wait for.
            if queue.waiting() > 0 {
                shared.rung.notify_one();
            }
        } else if queue.ended && queue.waiting() == 0 {
            // The others may wait for the same.
            shared.rung.notify_all();
            return;
        } else {
            shared.rung.wait(&mut queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const THREADS: usize = 16;
    /// Of them for one client; three clients have all that may change something.
    const EACH_MAX: usize = 4;

    /// Threads that wait until they are let go, by lane.
    fn hold(
        workers: &Workers,
        client: ClientNumber,
        lane: Lane,
        count: usize,
    ) -> (Receiver<()>, Vec<Sender<()>>) {
        let (started, starts) = channel();
        let gates = (0..count).map(|_| {
            let (gate, held) = channel::<()>();
            let started = started.clone();
            let job = move || {
                started.send(()).expect("the test waits");
                // Ends with the gate.
                let _ = held.recv();
            };
            workers.run(client, lane, job).expect("it waits at most");
            gate
        });
        let gates = gates.collect();
        (starts, gates)
    }

    /// Goal: changes never take all threads, so that whoever only looks gets through; a client with many requests does not keep
    /// another's waiting behind all of them; each is bounded. Method: requests that last until they are told to end.
    #[test]
    fn clients_and_lanes_share_the_threads() {
        let workers = Workers::start("test", THREADS, 256).expect("threads");
        let (started, gates) = hold(&workers, 1, Lane::Changes, 20);
        for _ in 0..EACH_MAX {
            started.recv().expect("they start");
        }
        let others = [11, 12].map(|client| hold(&workers, client, Lane::Changes, EACH_MAX));
        for (started, _) in &others {
            (0..EACH_MAX).for_each(|_| started.recv().expect("they start"));
        }
        let (done, looked) = channel();
        let look = move || done.send(()).expect("the test waits");
        workers.run(2, Lane::Looks, look).expect("it waits at most");
        looked.recv().expect("it ran beside the changes");
        assert!(started.try_recv().is_err(), "more changes run than may");
        // The second client's change is behind one of the first client's at most.
        let (second, second_gates) = hold(&workers, 2, Lane::Changes, 1);
        let mut gates = gates.into_iter();
        gates.by_ref().take(2).for_each(drop);
        second.recv().expect("it has its turn");
        assert!(workers.load().waiting > 0);
        // Too many of one client.
        let mut accepted = 0;
        while workers.run(1, Lane::Changes, || {}).is_ok() {
            accepted += 1;
            assert!(accepted <= WAITING_EACH_MAX, "nobody is refused");
        }
        assert!(
            workers.run(3, Lane::Changes, || {}).is_ok(),
            "others are not refused"
        );
        drop((gates, second_gates, others));
        workers.end();
        assert_eq!(
            workers.load(),
            Load {
                threads: THREADS as u64,
                ..Load::default()
            }
        );
        assert!(workers.run(3, Lane::Looks, || {}).is_err());
    }
}
