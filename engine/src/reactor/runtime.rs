//! All reactors of a store, in one of two forms.

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::device::sim::Random;
use crate::device::{Device, Doorbell};
use crate::error::{Error, Result};

use super::block_on::{park_on, refuse_on_reactor};
use super::clock::Clock;
use super::config::Config;
use super::driver::{self, Driver, DriverId};
use super::executor::Core;
use super::handle::{Handle, ReactorId};
use super::local::Local;
use super::shared::{Payload, Shared, panic_message};
use super::thread::{self, Seat};

enum Form {
    Threads(Mutex<Vec<JoinHandle<()>>>),
    Driver(DriverId),
}

struct Inner {
    handles: Vec<Handle>,
    clock: Clock,
    form: Form,
    failure: Arc<Mutex<Option<Payload>>>,
}

/// The reactors. Clones are the same runtime; the last one dropped shuts it down.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

impl Runtime {
    /// One thread per reactor.
    pub fn threads(device: Arc<dyn Device>, config: &Config) -> Result<Runtime> {
        config.check()?;
        let clock = Clock::real();
        let failure = Arc::default();
        let shared = make_shared(&device, config, &failure)?;
        let places = places(config);
        let (started, answers) = std::sync::mpsc::channel();
        let mut threads = Vec::with_capacity(shared.len());
        let mut outcome = Ok(());
        for (index, shared) in shared.iter().enumerate() {
            let seat = Seat {
                shared: Arc::clone(shared),
                device: Arc::clone(&device),
                clock: clock.clone(),
                pin_to: places.get(index % places.len().max(1)).copied(),
                config: config.clone(),
            };
            match thread::start(seat, started.clone()) {
                Ok(thread) => threads.push(thread),
                Err(source) => {
                    outcome = Err(failed(&device, "start a reactor for", source));
                    break;
                }
            }
        }
        for _ in 0..threads.len() {
            if let Ok(Err(source)) = answers.recv() {
                outcome = Err(failed(&device, "open a queue of", source));
            }
        }
        // On failure dropping it ends the reactors that did start.
        let runtime = Runtime(Arc::new(Inner {
            handles: shared.into_iter().map(Handle).collect(),
            clock,
            form: Form::Threads(Mutex::new(threads)),
            failure,
        }));
        outcome.map(|()| runtime)
    }

    /// No threads: [`block_on`](Self::block_on) steps the reactors on this thread, in virtual time and in an order
    /// drawn from `config.seed`.
    pub fn driver(device: Arc<dyn Device>, config: &Config) -> Result<Runtime> {
        config.check()?;
        let clock = Clock::virtual_time();
        let failure = Arc::default();
        let shared = make_shared(&device, config, &failure)?;
        let mut cores = Vec::with_capacity(shared.len());
        for shared in &shared {
            let queue = device.open_queue(config.queue_depth);
            let queue = queue.map_err(|source| failed(&device, "open a queue of", source))?;
            cores.push(Core::new(
                Arc::clone(shared),
                clock.clone(),
                Arc::clone(&device),
                queue,
            ));
        }
        let id = driver::install(Driver {
            cores,
            clock: clock.clone(),
            random: Random::new(config.seed),
            failure: Arc::clone(&failure),
        });
        Ok(Runtime(Arc::new(Inner {
            handles: shared.into_iter().map(Handle).collect(),
            clock,
            form: Form::Driver(id),
            failure,
        })))
    }

    /// Runs `future` to its end on the calling thread. With threads it spins for a bounded time and then parks; under
    /// a driver it steps all reactors.
    ///
    /// # Panics
    /// On a reactor's thread; under a driver also on a foreign thread, within another `block_on`, when everything
    /// waits for everything, and with the panic of any task.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        refuse_on_reactor();
        // Here, so that it is copied once: the future of a commit is large.
        let future = pin!(future);
        match &self.0.form {
            Form::Threads(_) => park_on(future),
            Form::Driver(id) => driver::block_on(*id, future),
        }
    }

    /// The reactors, by number.
    pub fn handles(&self) -> &[Handle] {
        &self.0.handles
    }

    /// The reactor the caller is on, if it is one of these.
    pub fn local(&self) -> Option<Local> {
        let local = Local::current()?;
        let own = self.0.handles.get(local.id().0)?;
        own.is_current().then_some(local)
    }

    /// The clock all reactors use.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// What the first task to panic said, if one did. Its reactor goes on with the other tasks.
    pub fn failure(&self) -> Option<String> {
        self.0
            .failure
            .lock()
            .as_deref()
            .map(|payload| panic_message(payload).to_owned())
    }

    /// Ends all reactors: drops their tasks, waits for commands in flight, joins the threads. Tasks are not waited
    /// for. A second call does nothing.
    ///
    /// # Panics
    /// With the first panic of a task, so that no failure goes unseen; look at [`failure`](Self::failure) before to
    /// answer it otherwise. Also on a reactor's thread, and within `block_on` of a driver.
    pub fn shutdown(&self) {
        refuse_on_reactor();
        if let Form::Driver(id) = self.0.form {
            assert!(
                !driver::is_running(id),
                "shutdown within block_on of the same runtime"
            );
        }
        self.0.close();
        let failure = self.0.failure.lock().take();
        if let Some(payload) = failure {
            resume_unwind(payload);
        }
    }
}

impl Inner {
    fn close(&self) {
        for handle in &self.handles {
            handle.0.close();
        }
        match &self.form {
            Form::Threads(threads) => {
                let threads = std::mem::take(&mut *threads.lock());
                // The last clone may be dropped by a task: its own thread ends by itself.
                if self.handles.iter().any(Handle::is_current) {
                    return;
                }
                for thread in threads {
                    // The thread catches panics and hands them over.
                    let _ = thread.join();
                }
            }
            Form::Driver(id) => {
                driver::close(*id);
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.0.form {
            Form::Threads(_) => "threads",
            Form::Driver(_) => "driver",
        };
        write!(f, "Runtime({form}, {} reactors)", self.0.handles.len())
    }
}

fn failed(device: &Arc<dyn Device>, operation: &'static str, source: std::io::Error) -> Error {
    Error::Device {
        device: device.name().to_owned(),
        operation,
        offset: 0,
        source,
    }
}

fn make_shared(
    device: &Arc<dyn Device>,
    config: &Config,
    failure: &Arc<Mutex<Option<Payload>>>,
) -> Result<Vec<Arc<Shared>>> {
    (0..config.reactors)
        .map(|index| {
            let doorbell = Doorbell::new().map_err(|source| failed(device, "make a doorbell for", source))?;
            Ok(Shared::new(ReactorId(index), doorbell, Arc::clone(failure)))
        })
        .collect()
}

/// Cores to pin to, in turn; empty when threads are not pinned.
fn places(config: &Config) -> Vec<usize> {
    if !config.pin {
        return Vec::new();
    }
    match &config.cores {
        Some(cores) => cores.clone(),
        None => core_affinity::get_core_ids()
            .unwrap_or_default()
            .into_iter()
            .map(|core| core.id)
            .collect(),
    }
}
