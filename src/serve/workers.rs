//! Threads that run whole requests, which block.
//!
//! Invariants: the number of requests that run is bounded, and that of those that wait for a thread; what does not fit is
//! refused at once with the advice to come again, and never queued without end. Clients take turns, and none has more than a
//! quarter of the places; requests that change something leave some to those that only look. A request that waits for its own
//! client (for input that does not come, or for output to be taken) lends its place to others meanwhile, and has it back
//! before anything new begins: a client that stands still holds a sleeping thread and nothing else.
//!
//! Rejected: a time in which input has to come (a pipe may be slow for good reasons); a thread for each request (hundreds of
//! clients would run at once, and none would be done soon).

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
/// Part of the places for requests of one client.
const CLIENT_PART: usize = 4;
/// Requests that may have lent their places at once, each of which keeps a sleeping thread. One more keeps its place.
const LENT_MAX: usize = 240;
/// Threads that are kept for when places are lent again.
const SPARE_MAX: usize = 16;
/// When to come again, in milliseconds.
const RETRY_AFTER_MS: u64 = 100;

type Job = Box<dyn FnOnce(&Place) + Send>;

/// How much the threads have to do at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that may run at once.
    pub places: u64,
    /// Those that run.
    pub busy: u64,
    /// Those that wait for their clients and have lent their places.
    pub lent: u64,
    /// Requests that wait for a place.
    pub waiting: u64,
}

/// What waits and what runs.
#[derive(Default)]
struct Queue {
    /// By lane.
    waiting: [Fair<Job>; 2],
    /// By lane, without those that have lent their places.
    running: [usize; 2],
    /// By lane: requests that want back the places they have lent.
    returning: [usize; 2],
    /// By client, of those that have any, with what has lent its place.
    begun_of: HashMap<ClientNumber, usize>,
    /// Requests that have lent their places.
    lent: usize,
    /// Threads, and those among them that have nothing to do.
    threads: usize,
    idle: usize,
    /// Requests that run, at once.
    places: usize,
    /// Requests that change something, at once.
    changing_max: usize,
    /// Requests of one client, at once.
    each_max: usize,
    ended: bool,
}

impl Queue {
    fn has_place(&self, lane: Lane) -> bool {
        self.running.iter().sum::<usize>() < self.places
            && (lane == Lane::Looks || self.running[Lane::Changes as usize] < self.changing_max)
    }

    /// The next request that may run. Those that only look go first: they are short, and somebody waits for each of them.
    fn next(&mut self) -> Option<(Lane, ClientNumber, Job)> {
        const LANES: [Lane; 2] = [Lane::Looks, Lane::Changes];
        let returns = |lane: &Lane| self.returning[*lane as usize] > 0 && self.has_place(*lane);
        if LANES.iter().any(returns) {
            return None;
        }
        for lane in LANES {
            if !self.has_place(lane) {
                continue;
            }
            let of = |client| self.begun_of.get(&client).copied().unwrap_or(0);
            let next = self.waiting[lane as usize].pop_of(|client| of(client) < self.each_max);
            if let Some((client, job)) = next {
                self.running[lane as usize] += 1;
                *self.begun_of.entry(client).or_default() += 1;
                return Some((lane, client, job));
            }
        }
        None
    }

    fn done(&mut self, lane: Lane, client: ClientNumber) {
        self.running[lane as usize] -= 1;
        if let Entry::Occupied(mut of) = self.begun_of.entry(client) {
            *of.get_mut() -= 1;
            if *of.get() == 0 {
                of.remove();
            }
        }
    }

    fn waiting(&self) -> usize {
        self.waiting.iter().map(Fair::len).sum()
    }

    /// Whether there are many more threads than can have a place or wait for one that is lent.
    fn has_too_many_threads(&self) -> bool {
        self.threads > self.places + self.lent + SPARE_MAX
    }
}

struct Shared {
    name: String,
    queue: Mutex<Queue>,
    /// There may be something to do for an idle thread.
    rung: Condvar,
    /// A place is free, and a request wants its own back.
    freed: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    /// A place has become free, or a request waits for one.
    fn ring(self: &Arc<Self>, queue: &mut Queue) {
        if queue.returning != [0, 0] {
            self.freed.notify_all();
        }
        if queue.waiting() == 0 {
            return;
        }
        if queue.idle > 0 {
            self.rung.notify_one();
        } else if queue.threads < queue.places + queue.lent {
            // All the threads there are will come by in the end, so a failure only costs time.
            if let Err(failure) = self.start_thread(queue) {
                tracing::warn!(error = failure.message, "requests wait for the threads there are");
            }
        }
    }

    fn start_thread(self: &Arc<Self>, queue: &mut Queue) -> Result<(), Failure> {
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || work(&shared))
            .map_err(|error| io_failure("start a thread", &error))?;
        queue.threads += 1;
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }
}

/// The place of a request that runs.
#[derive(Clone)]
pub struct Place {
    shared: Arc<Shared>,
    lane: Lane,
}

impl Place {
    /// Runs `wait`, which waits for the request's client, and lends the place to other requests meanwhile.
    pub fn lend<T>(&self, wait: impl FnOnce() -> T) -> T {
        let mut queue = self.shared.queue.lock();
        if queue.lent >= LENT_MAX {
            drop(queue);
            return wait();
        }
        let lane = self.lane as usize;
        queue.lent += 1;
        queue.running[lane] -= 1;
        self.shared.ring(&mut queue);
        drop(queue);
        let waited = wait();
        let mut queue = self.shared.queue.lock();
        queue.returning[lane] += 1;
        while !queue.has_place(self.lane) {
            self.shared.freed.wait(&mut queue);
        }
        queue.returning[lane] -= 1;
        queue.running[lane] += 1;
        queue.lent -= 1;
        // Whatever was kept from running for this one's sake may go on.
        self.shared.ring(&mut queue);
        waited
    }
}

/// The threads.
pub struct Workers {
    shared: Arc<Shared>,
    waiting_max: usize,
}

impl Workers {
    /// Starts threads for that many requests at once, and so many more that wait. A quarter is for those that only look.
    pub fn start(name: &str, places: usize, waiting_max: usize) -> Result<Workers, Failure> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            queue: Mutex::new(Queue {
                places,
                changing_max: places - places / 4,
                each_max: (places / CLIENT_PART).max(1),
                ..Queue::default()
            }),
            rung: Condvar::new(),
            freed: Condvar::new(),
            threads: Mutex::default(),
        });
        {
            let mut queue = shared.queue.lock();
            for _ in 0..places {
                shared.start_thread(&mut queue)?;
            }
        }
        Ok(Workers { shared, waiting_max })
    }

    /// Runs `job` of a client on the next thread that is free, when it is the client's turn.
    ///
    /// # Errors
    /// Class `Busy` if too many wait already, or if the server ends.
    pub fn run(
        &self,
        client: ClientNumber,
        lane: Lane,
        job: impl FnOnce(&Place) + Send + 'static,
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
        self.shared.ring(&mut queue);
        Ok(())
    }

    /// How much there is to do.
    pub fn load(&self) -> Load {
        let queue = self.shared.queue.lock();
        Load {
            places: queue.places as u64,
            busy: queue.running.iter().sum::<usize>() as u64,
            lent: queue.lent as u64,
            waiting: queue.waiting() as u64,
        }
    }

    /// Takes no more, and waits for those that wait and those that run.
    pub fn end(&self) {
        self.shared.queue.lock().ended = true;
        self.shared.rung.notify_all();
        loop {
            // Without its lock: a request that waits may start a thread.
            let threads = std::mem::take(&mut *self.shared.threads.lock());
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                // A panic of a request was caught and told its client.
                let _ = thread.join();
            }
        }
    }
}

fn work(shared: &Arc<Shared>) {
    let mut queue = shared.queue.lock();
    loop {
        if let Some((lane, client, job)) = queue.next() {
            // One ring may have been for two.
            shared.ring(&mut queue);
            drop(queue);
            let place = Place {
                shared: Arc::clone(shared),
                lane,
            };
            job(&place);
            queue = shared.queue.lock();
            queue.done(lane, client);
            // What this one kept from running has no other ring to wait for.
            shared.ring(&mut queue);
        } else if queue.ended && queue.waiting() == 0 || queue.has_too_many_threads() {
            queue.threads -= 1;
            // The others may wait for the same.
            shared.rung.notify_all();
            return;
        } else {
            queue.idle += 1;
            shared.rung.wait(&mut queue);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PLACES: usize = 16;
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
            let job = move |_: &Place| {
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
        let workers = Workers::start("test", PLACES, 256).expect("threads");
        let (started, gates) = hold(&workers, 1, Lane::Changes, 20);
        for _ in 0..EACH_MAX {
            started.recv().expect("they start");
        }
        let others = [11, 12].map(|client| hold(&workers, client, Lane::Changes, EACH_MAX));
        for (started, _) in &others {
            (0..EACH_MAX).for_each(|_| started.recv().expect("they start"));
        }
        let (done, looked) = channel();
        let look = move |_: &Place| done.send(()).expect("the test waits");
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
        while workers.run(1, Lane::Changes, |_| {}).is_ok() {
            accepted += 1;
            assert!(accepted <= WAITING_EACH_MAX, "nobody is refused");
        }
        assert!(
            workers.run(3, Lane::Changes, |_| {}).is_ok(),
            "others are not refused"
        );
        drop((gates, second_gates, others));
        workers.end();
        assert_eq!(
            workers.load(),
            Load {
                places: PLACES as u64,
                ..Load::default()
            }
        );
        assert!(workers.run(3, Lane::Looks, |_| {}).is_err());
    }

    /// Goal: requests that wait for their clients keep nobody from running, how many threads they sleep on is bounded, and they go
    /// on when their clients do, within the bound of what runs. Method: clients that stand still take more places than there are,
    /// then one more than may be lent; another client's changes run meanwhile, and all end when the clients move at once.
    #[test]
    fn who_waits_for_its_client_lends_its_place() {
        let workers = Workers::start("test", PLACES, 1024).expect("threads");
        let running = Arc::new(Mutex::new((0, 0)));
        let (waits, waiting) = channel();
        let (ended, ends) = channel();
        let hold = |client: ClientNumber| {
            let (gate, held) = channel::<()>();
            let (waits, ended, running) = (waits.clone(), ended.clone(), Arc::clone(&running));
            let job = move |place: &Place| {
                place.lend(|| {
                    waits.send(()).expect("the test waits");
                    // Ends with the gate.
                    let _ = held.recv();
                });
                {
                    let mut running = running.lock();
                    running.0 += 1;
                    running.1 = running.0.max(running.1);
                }
                std::thread::yield_now();
                running.lock().0 -= 1;
                ended.send(()).expect("the test waits");
            };
            workers.run(client, Lane::Changes, job).expect("it waits at most");
            gate
        };
        let mut gates: Vec<_> = (0..LENT_MAX)
            .map(|number| hold(1 + number as ClientNumber / 4))
            .collect();
        (0..LENT_MAX).for_each(|_| waiting.recv().expect("they wait for their clients"));
        assert_eq!(workers.load().lent, LENT_MAX as u64);
        assert_eq!(workers.load().busy, 0);
        // One more keeps its place.
        gates.push(hold(1000));
        waiting.recv().expect("it waits as well");
        assert_eq!((workers.load().lent, workers.load().busy), (LENT_MAX as u64, 1));
        let (done, changed) = channel();
        for client in 2000..2100 {
            let done = done.clone();
            let change = move |_: &Place| done.send(()).expect("the test waits");
            workers
                .run(client, Lane::Changes, change)
                .expect("it waits at most");
        }
        (0..100).for_each(|_| changed.recv().expect("they run"));
        let begun = gates.len();
        drop(gates);
        (0..begun).for_each(|_| ends.recv().expect("they go on"));
        let (now, most) = *running.lock();
        assert_eq!(now, 0);
        assert!(most <= PLACES - PLACES / 4, "{most} ran at once");
        workers.end();
        assert_eq!(workers.load().lent, 0);
        assert_eq!(workers.shared.queue.lock().threads, 0, "a thread was left behind");
    }
}
