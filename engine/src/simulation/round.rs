//! Runs a plan: one opening after the other on the same device, until the end or a violation.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;

use super::check::check;
use super::client::{Client, Stage, pause};
use super::crowd::{AsThread, Crowd};
use super::model::{Model, Violation};
use super::owned::DOMAINS;
use super::plan::{EndAt, Ending, Plan, Round};
use super::tally::Tally;
use super::{Outcome, panics, quota, scrub};
use crate::device::sim::{Faults, Options, Random, SimDevice};
use crate::error::{Error, Result};
use crate::limits::UNIT_BYTES;
use crate::reactor::{Config, Runtime, oneshot};
use crate::store::{self, CreateOptions, MemoryLimit, OpenOptions, Store};
use crate::trees::TreeTrace;

/// Whoever waits longer than this, in virtual time, waits for ever.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Made once: asking for the number of cores takes longer than opening a small store.
static DEFAULTS: LazyLock<OpenOptions> = LazyLock::new(OpenOptions::default);
/// Name of the store in messages.
const NAME: &str = "sim:run";

/// Runs a plan.
pub fn run(plan: &Plan) -> Outcome {
    run_watching(plan, false)
}

/// Runs a plan; with `images` the fingerprint stands for every byte the devices held at the end of rounds, too.
pub fn run_watching(plan: &Plan, images: bool) -> Outcome {
    let mut run = Run {
        plan,
        images,
        random: Random::new(plan.seed),
        model: Arc::default(),
        tally: Arc::default(),
        hasher: DefaultHasher::new(),
        runtime: None,
    };
    // Checks and openings run as whatever thread this is; the plan does not know which.
    let thread = store::act_as_thread(0);
    let ended = panics::catch(|| run.rounds());
    let violation = match ended {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => Some(Violation(panic)),
    };
    if let Some(runtime) = run.runtime.take() {
        // Tasks that a panic left behind; what else they say adds nothing.
        let _ = panics::catch(|| runtime.shutdown());
    }
    store::act_as_thread(thread);
    let tally = run.tally.lock().clone();
    Outcome {
        tally,
        fingerprint: run.hasher.finish(),
        violation,
    }
}

struct Run<'a> {
    plan: &'a Plan,
    images: bool,
    random: Random,
    model: Arc<Mutex<Model>>,
    tally: Arc<Mutex<Tally>>,
    hasher: DefaultHasher,
    /// The one in use, so that it can be ended after a panic.
    runtime: Option<Runtime>,
}

impl Run<'_> {
    fn rounds(&mut self) -> Result<(), Violation> {
        let mut device = self.create()?;
        for (number, round) in self.plan.rounds.iter().enumerate() {
            let ended = self.round(&device, round);
            let next = ended.map_err(|Violation(what)| Violation(format!("round {number}: {what}")))?;
            match next {
                Some(next) => device = next,
                None => return Ok(()),
            }
        }
        let last = Round {
            cut_recovery: None,
            reactors: 2,
            cache_bytes: 0,
            zero_ahead: false,
            by_itself: false,
            rotten: 0,
            quota: None,
            clients: Vec::new(),
            faults: Vec::new(),
            end_at: EndAt::Done,
            ending: Ending::PowerCut,
        };
        let ended = self.round(&device, &last);
        ended.map_err(|Violation(what)| Violation(format!("at the end: {what}")))?;
        Ok(())
    }

    fn count(&self, what: &str) {
        self.tally.lock().count(what);
    }

    fn start(&mut self, device: &Arc<SimDevice>, reactors: usize) -> Runtime {
        let config = Config {
            reactors,
            pin: false,
            seed: self.random.number(),
            ..DEFAULTS.reactors.clone()
        };
        let runtime = Runtime::driver(device.clone(), &config).expect("a queue of a simulated device");
        self.runtime = Some(runtime.clone());
        runtime
    }

    /// Ends a store's reactors as the end of its process would.
    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown();
        }
    }

    fn create(&mut self) -> Result<Arc<SimDevice>, Violation> {
        let options = Options {
            logical_block: self.plan.logical_block,
            volatile_cache: self.plan.volatile_cache,
            ..Options::new(self.plan.device_bytes)
        };
        let device = SimDevice::with_options(self.random.number(), options);
        let runtime = self.start(&device, 1);
        let options = CreateOptions {
            seed: Some(self.plan.seed),
            ..CreateOptions::default()
        };
        let made = Store::create_on(&runtime, NAME, &options);
        self.end();
        made.map_err(|error| Violation(format!("creating a store: {error}")))?;
        Ok(device)
    }

    fn open(&mut self, device: &Arc<SimDevice>, round: &Round) -> Result<Store> {
        let runtime = self.start(device, round.reactors);
        let options = OpenOptions {
            cache_bytes: round.cache_bytes,
            zero_ahead: round.zero_ahead,
            // Never the host's memory: a run is a function of its seed.
            memory_limit: match round.by_itself && self.plan.seed.is_multiple_of(2) {
                true => MemoryLimit::IndexBytes(0),
                false => MemoryLimit::None,
            },
            ..DEFAULTS.clone()
        };
        let opened = Store::open_on(&runtime, NAME, &options);
        if opened.is_err() {
            self.end();
        }
        opened
    }

    fn faults(&self, round: &Round) -> Faults {
        let mut faults = round
            .faults
            .iter()
            .fold(Faults::none(), |faults, rule| faults.with(rule.clone()));
        if let Some(bytes) = self.plan.space {
            faults = faults.space(bytes);
        }
        faults
    }

    /// One opening: the device as the next one finds it, or nothing if the store cannot be opened any more.
    fn round(&mut self, device: &Arc<SimDevice>, round: &Round) -> Result<Option<Arc<SimDevice>>, Violation> {
        let damaged = self.plan.weather.damages();
        let mut device = device.clone();
        if let Some(changes) = round.cut_recovery {
            device.set_faults(self.faults(&Round {
                faults: Vec::new(),
                ..round.clone()
            }));
            device.crash_after(changes);
            match self.open(&device, round) {
                Ok(store) => drop(store),
                Err(_) if damaged || device.is_dead() => self.count("recoveries cut"),
                Err(error) => return Violation::new(format!("opening: {error}")),
            }
            let next = device.power_cut();
            self.end();
            self.note(&device);
            device = next;
        }
        device.set_faults(match damaged {
            true => self.faults(round),
            false => self.faults(&Round {
                faults: Vec::new(),
                ..round.clone()
            }),
        });
        let store = match self.open(&device, round) {
            Ok(store) => store,
            Err(_) if damaged => {
                self.count("openings refused");
                return Ok(None);
            }
            Err(Error::Full { .. } | Error::DiskFull { .. }) if self.plan.fills_up() => {
                self.count("openings refused: full");
                return Ok(None);
            }
            Err(error) => return Violation::new(format!("opening: {error}")),
        };
        self.count("openings");
        self.tally
            .lock()
            .add("frames replayed", store.health().replayed_frames);
        let stage = Stage {
            store: store.clone(),
            device: device.clone(),
            model: self.model.clone(),
            tally: self.tally.clone(),
            damaged,
            by_itself: round.by_itself,
            held: Arc::default(),
        };
        if round.by_itself {
            store.set_trace(Arc::new(TreeTrace));
        }
        self.limited(&store, "checking", check(&stage))??;
        self.limited(&store, "setting quotas", quota::set(&stage, round.quota))??;
        if round.rotten > 0 && !damaged {
            let mut random = self.random.fork();
            let rotting = scrub::rot(&stage, &mut random, round.rotten);
            self.limited(&store, "repairing", rotting)??;
        }
        device.set_faults(self.faults(round));
        if let EndAt::Changes(changes) = round.end_at {
            device.crash_after(changes);
        }
        self.work(&store, &stage, round)?;
        drop(stage);
        let next = self.finish(store, &device, round)?;
        self.note(&device);
        Ok(Some(next))
    }

    /// Waits for a future, but not for ever.
    fn limited<T>(&self, store: &Store, what: &str, future: impl Future<Output = T>) -> Result<T, Violation> {
        let limit = pause(store, WAIT_MAX);
        let both = first(future, limit);
        match store.block_on(both) {
            Some(done) => Ok(done),
            None => Violation::new(format!("{what} hangs")),
        }
    }

    /// Lets all clients work, until they are done or the round is to end.
    fn work(&mut self, store: &Store, stage: &Stage, round: &Round) -> Result<(), Violation> {
        let handles = store.runtime().handles();
        let outcome: Arc<Mutex<Option<Violation>>> = Arc::default();
        let mut crowd = Crowd::new(self.random.fork());
        for plan in &round.clients {
            let client = Client::new(plan.number, stage.clone());
            let operations = plan.operations.clone();
            let outcome = outcome.clone();
            let number = plan.number;
            if plan.on_reactor {
                let (sender, receiver) = oneshot();
                handles[number % handles.len()].spawn(move |_| async move {
                    let _ = sender.send(AsThread::new(number, client.run(operations)).await);
                });
                crowd.add(async move {
                    if let Some(Err(violation)) = receiver.await {
                        outcome.lock().get_or_insert(violation);
                    }
                });
            } else {
                let run = AsThread::new(number, client.run(operations));
                crowd.add(async move {
                    if let Err(violation) = run.await {
                        outcome.lock().get_or_insert(violation);
                    }
                });
            }
        }
        let limit = match round.end_at {
            EndAt::Time(nanos) => Duration::from_nanos(nanos),
            EndAt::Done | EndAt::Changes(_) => WAIT_MAX,
        };
        let all = first(crowd, pause(store, limit));
        let done = store.block_on(all).is_some();
        if let Some(violation) = outcome.lock().take() {
            return Err(violation);
        }
        match done || matches!(round.end_at, EndAt::Time(_)) {
            true => Ok(()),
            false => Violation::new("clients wait for ever"),
        }
    }

    fn finish(
        &mut self,
        store: Store,
        device: &Arc<SimDevice>,
        round: &Round,
    ) -> Result<Arc<SimDevice>, Violation> {
        self.tally
            .lock()
            .add("failed writes written anew", store.stats().failed_writes);
        if round.by_itself {
            // Its own collections begin with a sweep of what has expired, the last one while it closes.
            let now_ns = store.now_ns() + WAIT_MAX.as_nanos() as u64;
            let mut model = self.model.lock();
            for domain in DOMAINS {
                model.sweep(domain, now_ns);
            }
        }
        let next = match round.ending {
            Ending::PowerCut => {
                self.count("crashes");
                device.power_cut()
            }
            Ending::Restart => {
                self.count("restarts");
                device.restart()
            }
            Ending::Close => match store.close() {
                Ok(()) => {
                    self.count("closings");
                    let mut model = self.model.lock();
                    let moment = model.moment();
                    model.flushed(moment);
                    drop(model);
                    device.power_cut()
                }
                Err(error) => {
                    let excused = device.is_dead() || device.faults_injected() > 0 || self.plan.fills_up();
                    if !excused {
                        return Violation::new(format!("closing: {error}"));
                    }
                    self.count("crashes");
                    device.power_cut()
                }
            },
        };
        self.end();
        Ok(next)
    }

    /// Adds what a device did to the counts and the fingerprint.
    fn note(&mut self, device: &SimDevice) {
        let events = device.log();
        for event in &events {
            let place = (event.number, event.queue, event.at_ns, event.offset, event.len);
            (place, event.durable, event.error).hash(&mut self.hasher);
        }
        if self.images {
            let image = device.image();
            for unit in image.units() {
                (unit, image.peek(unit * UNIT_BYTES as u64, UNIT_BYTES)).hash(&mut self.hasher);
            }
        }
        let mut tally = self.tally.lock();
        tally.faults(&events);
        tally.add("device commands", events.len() as u64);
    }
}

/// The answer of `future`, or nothing if `limit` ends before it.
async fn first<T>(future: impl Future<Output = T>, limit: impl Future<Output = ()>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut limit = std::pin::pin!(limit);
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => limit.as_mut().poll(context).map(|()| None),
    })
    .await
}
