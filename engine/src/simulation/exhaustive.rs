//! Every crash of every short workload: after each change of the device, with each subset of the last writes at risk
//! surviving, and the store compared with the model after each.
//!
//! Seeds find deep states; this finds every shallow one, and says so: what it has passed needs no luck.
//! Writes at risk before the last four survive. Torn writes are left to the seeds.
//! Asked for, recovery is crashed as well, after each of its changes, and the store opened once more.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::check::check;
use super::client::{Client, Stage, pause};
use super::content::Content;
use super::maintenance::Maintenance;
use super::model::{Model, Violation};
use super::panics;
use super::plan::{Edit, Operation};
use super::tally::Tally;
use crate::device::sim::{Image, SimDevice};
use crate::error::Result;
use crate::reactor::{Config, Runtime};
use crate::store::{CreateOptions, MemoryLimit, OpenOptions, Store};

/// Writes at risk of which every subset is tried.
const SUBSET_WRITES: usize = 4;
/// Longer than visible changes wait.
const SETTLE: Duration = Duration::from_millis(20);
const DEVICE_BYTES: u64 = 64 << 20;
const NAME: &str = "sim:exhaustive";

/// What was tried, and what failed first.
#[derive(Debug, Clone, Default)]
pub struct Exhausted {
    /// Workloads.
    pub workloads: u64,
    /// Points of time at which the power was cut.
    pub crashes: u64,
    /// Devices that were opened and compared afterwards.
    pub survivors: u64,
    /// Openings that lost power, each followed by another one that was compared.
    pub recoveries: u64,
    /// Where and how the first failed.
    pub violation: Option<(String, Violation)>,
}

/// Every workload of one to `length` operations from the alphabet.
pub fn workloads(length: usize) -> Vec<Vec<Operation>> {
    let letters = alphabet(0).len();
    let mut all: Vec<Vec<usize>> = vec![vec![]];
    let mut last = all.clone();
    for _ in 0..length {
        last = last
            .iter()
            .flat_map(|word| {
                (0..letters).map(|letter| {
                    let mut longer = word.clone();
                    longer.push(letter);
                    longer
                })
            })
            .collect();
        all.extend(last.iter().cloned());
    }
    all.iter()
        .filter(|word| !word.is_empty())
        .map(|word| {
            let letters = word.iter().enumerate();
            letters
                .map(|(place, letter)| alphabet(place).swap_remove(*letter))
                .collect()
        })
        .collect()
}

/// What an operation at some place of a workload can be. Contents differ from place to place.
fn alphabet(place: usize) -> Vec<Operation> {
    let content = |len| Content {
        number: 1001 + u32::try_from(place).unwrap_or(0),
        len,
    };
    let commit = |durable| Operation::Commit {
        slot: 0,
        edits: vec![Edit::Write("file".into(), content(300))],
        durable,
        fresh: false,
    };
    let mut letters = vec![
        Operation::Put(vec![content(5000), content(20)], false),
        Operation::Put(vec![content(5000)], true),
        commit(false),
        commit(true),
        Operation::Branch(1, 0, true),
        Operation::Delete(0, true),
        Operation::Flush,
    ];
    letters.extend(Maintenance::CHANGING.map(Operation::Maintain));
    letters
}

/// A store with one branch and one content, closed.
pub struct Base {
    image: Image,
    model: Model,
    crash_recovery: bool,
}

fn open(runtime: &Runtime) -> Result<Store> {
    let options = OpenOptions {
        cache_bytes: 0,
        zero_ahead: false,
        memory_limit: MemoryLimit::None,
        ..OpenOptions::default()
    };
    Store::open_on(runtime, NAME, &options)
}

fn start(device: &Arc<SimDevice>) -> Runtime {
    let config = Config {
        reactors: 1,
        pin: false,
        seed: 1,
        ..Config::default()
    };
    Runtime::driver(device.clone(), &config).expect("a queue of a simulated device")
}

fn stage(store: &Store, device: &Arc<SimDevice>, model: Model) -> Stage {
    Stage {
        store: store.clone(),
        device: device.clone(),
        model: Arc::new(Mutex::new(model)),
        tally: Arc::new(Mutex::new(Tally::default())),
        damaged: false,
        by_itself: false,
        held: Arc::default(),
    }
}

fn wrong(what: &str) -> impl Fn(crate::Error) -> Violation {
    move |error| Violation(format!("{what}: {error}"))
}

impl Base {
    /// Makes it. `crash_recovery`: openings after a crash lose power, too.
    ///
    /// # Errors
    /// The engine cannot even do this.
    pub fn new(crash_recovery: bool) -> Result<Base, Violation> {
        let device = SimDevice::new(1, DEVICE_BYTES);
        let runtime = start(&device);
        let options = CreateOptions {
            seed: Some(1),
            ..CreateOptions::default()
        };
        Store::create_on(&runtime, NAME, &options).map_err(wrong("creating"))?;
        let store = open(&runtime).map_err(wrong("opening"))?;
        let stage = stage(&store, &device, Model::default());
        let mut operations = alphabet(10);
        let operations = vec![operations.swap_remove(3), operations.swap_remove(1)];
        store.block_on(Client::new(0, stage.clone()).run(operations))?;
        let model = stage.model.lock().clone();
        drop(stage);
        store.close().map_err(wrong("closing"))?;
        Ok(Base {
            image: device.image(),
            model,
            crash_recovery,
        })
    }

    /// Crashes one workload everywhere.
    pub fn exhaust(&self, workload: &[Operation], exhausted: &mut Exhausted) {
        exhausted.workloads += 1;
        let mut changes = 0;
        loop {
            let mut at = format!("{workload:?}, power cut after {changes} changes");
            let crashed = panics::catch(|| self.crash(workload, changes));
            let found = match crashed {
                Ok(Ok((device, model))) => {
                    exhausted.crashes += 1;
                    let ended = !device.is_dead();
                    self.survivors(&device, &model, &mut at, exhausted)
                        .map(|()| ended)
                }
                Ok(Err(violation)) => Err(violation),
                Err(panic) => Err(Violation(panic)),
            };
            match found {
                // It was over before the power was cut.
                Ok(true) => return,
                Ok(false) => changes += 1,
                Err(violation) => {
                    exhausted.violation.get_or_insert((at, violation));
                    return;
                }
            }
        }
    }

    /// The device and the model after a workload that loses power.
    fn crash(&self, workload: &[Operation], changes: u64) -> Result<(Arc<SimDevice>, Model), Violation> {
        let device = SimDevice::from_image(7, self.image.clone());
        let runtime = start(&device);
        device.crash_after(changes);
        let mut model = self.model.clone();
        match open(&runtime) {
            Ok(store) => {
                let stage = stage(&store, &device, model);
                let worked = store.block_on(async {
                    if !device.is_dead() {
                        // What was found is where clients go on.
                        let found = check(&stage).await;
                        if !device.is_dead() {
                            found?;
                        }
                    }
                    let worked = Client::new(0, stage.clone()).run(workload.to_vec()).await;
                    // Until what is only visible goes out by itself, so that this is crashed, too.
                    pause(&store, SETTLE).await;
                    worked
                });
                model = stage.model.lock().clone();
                drop((stage, store));
                runtime.shutdown();
                worked?;
            }
            Err(_) if device.is_dead() => runtime.shutdown(),
            Err(error) => {
                runtime.shutdown();
                return Violation::new(format!("opening: {error}"));
            }
        }
        Ok((device, model))
    }

    /// Opens the device with every subset of the last writes at risk.
    fn survivors(
        &self,
        device: &Arc<SimDevice>,
        model: &Model,
        at: &mut String,
        exhausted: &mut Exhausted,
    ) -> Result<(), Violation> {
        let count = device.at_risk();
        let first = count.saturating_sub(SUBSET_WRITES);
        for subset in 0..1u32 << (count - first) {
            let keeps = |number: usize| number < first || subset >> (number - first) & 1 == 1;
            let survivor = device.power_cut_keeping(keeps);
            exhausted.survivors += 1;
            let compared = panics::catch(|| compare(&survivor, model));
            let compared = compared.unwrap_or_else(|panic| Err(Violation(panic)));
            let extreme = subset == 0 || subset == (1 << (count - first)) - 1;
            let compared = compared.and_then(|()| match self.crash_recovery && extreme {
                true => {
                    let again = panics::catch(|| recoveries(device, keeps, model, at, exhausted));
                    again.unwrap_or_else(|panic| Err(Violation(panic)))
                }
                false => Ok(()),
            });
            if compared.is_err() {
                let kept: Vec<usize> = (0..count).filter(|number| keeps(*number)).collect();
                at.push_str(&format!(", {count} writes at risk, kept {kept:?}"));
                return compared;
            }
        }
        Ok(())
    }
}

/// Cuts the power after each change of an opening, keeps all or none of its last writes, and opens once more.
fn recoveries(
    device: &Arc<SimDevice>,
    keeps: impl Fn(usize) -> bool,
    model: &Model,
    at: &mut String,
    exhausted: &mut Exhausted,
) -> Result<(), Violation> {
    for changes in 0.. {
        let survivor = device.power_cut_keeping(&keeps);
        survivor.crash_after(changes);
        let runtime = start(&survivor);
        let opened = open(&runtime);
        runtime.shutdown();
        match opened {
            // It was over before the power was cut.
            Ok(_) if !survivor.is_dead() => return Ok(()),
            Err(error) if !survivor.is_dead() => {
                return Violation::new(format!("opening again: {error}"));
            }
            _ => {}
        }
        for all in [true, false] {
            exhausted.recoveries += 1;
            if let Err(violation) = compare(&survivor.power_cut_keeping(|_| all), model) {
                let word = if all { "all" } else { "none" };
                at.push_str(&format!(
                    ", recovery cut after {changes} changes, {word} of its last writes kept"
                ));
                return Err(violation);
            }
        }
    }
    Ok(())
}

fn compare(device: &Arc<SimDevice>, model: &Model) -> Result<(), Violation> {
    let runtime = start(device);
    let compared = open(&runtime).map_err(wrong("opening again")).and_then(|store| {
        let stage = stage(&store, device, model.clone());
        store.block_on(check(&stage))
    });
    runtime.shutdown();
    compared
}
