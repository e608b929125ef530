//! The owner of a store as a server: many clients, one engine.
//!
//! `listener` accepts and says who may come in, `connection` is one client on one reactor, `outbox` what goes back to it,
//! `files` are the working trees it has open, `extents` the batches it puts together, `memory` is what all of that takes,
//! `requests` go to `workers`, which run them on threads of their own because they block, `exchange` is the other end of those
//! threads, `admission` says who goes next, and `observe` answers those who want to know how the server is. [`counters`] is what
//! all of them count, and [`served`] adds it up for whoever looks.
//! What the frames say is in [`crate::wire`].
//!
//! Invariants: a reactor never blocks; the memory of each connection and of all together is bounded (`memory`), whatever clients
//! do or do not do; what a client began ends with its connection.
//! Rejected: a thread per connection (850 clients are 850 stacks and a hop per request); an asynchronous runtime beside the
//! reactors (two schedulers on the same cores, and a hop between them).

mod admission;
mod connection;
pub mod counters;
mod exchange;
mod extents;
mod files;
mod listener;
mod memory;
mod observe;
mod outbox;
mod requests;
pub mod served;
mod workers;

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use helios_engine::ops::{Cancel, Class, Failure, Host};

use admission::Gate;
use connection::within;
use counters::Counters;
use listener::Control;
pub(crate) use listener::remove_stale;
pub use memory::LIMIT_MIN as MEMORY_MIN;
use memory::Memory;
use observe::Observation;
pub use observe::Observer;
use served::Observed;
use workers::Workers;

/// Calls of one connection that may be under way at once.
pub const CALLS_MAX: u32 = 64;
/// Connections at once.
const CONNECTIONS_MAX: usize = 4096;
/// Requests that run at once, on a thread each. They mostly wait, for the device or for their client.
const REQUESTS_MAX: usize = 16;
/// Requests that wait for such a thread.
const REQUESTS_WAITING_MAX: usize = 256;
/// Bytes for one client that wait to be sent, before what makes more of them waits too.
const OUTBOX_BYTES: usize = 8 << 20;
/// A client that has not said who it is within this time is no client.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// A frame that has begun must be whole within this time, and a client must take something of what waits for it.
const STALL_PATIENCE: Duration = Duration::from_secs(60);
/// When a client that asks too much at once may come again, in milliseconds.
const RETRY_AFTER_MS: u64 = 20;
/// Time that calls under way are given when the server ends.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
/// How long the end of a server may take: calls under way, then requests that wait for a client, then the checkpoint.
pub const ENDING_PATIENCE: Duration = Duration::from_secs(180);

/// How a store is served.
pub struct Options {
    /// Where clients come in; absent: beside the store's lock file.
    pub control: Option<PathBuf>,
    /// The socket where clients come in, if the service manager has made it; `control` is not looked at then.
    pub inherited: Option<UnixListener>,
    /// Users besides the server's own whose processes may come in.
    pub allow_uids: Vec<u32>,
    /// Memory that clients may hold together; absent: an eighth of the machine's, at least 256 MiB.
    pub memory: Option<u64>,
    /// Makes the pages of metrics that clients ask for.
    pub observer: Observer,
}

/// What all connections share.
struct Server {
    host: Host,
    workers: Workers,
    /// One for each reactor.
    gates: Box<[Arc<Gate>]>,
    observation: Observation,
    allow_uids: Vec<u32>,
    program: String,
    counters: Arc<Counters>,
    memory: Arc<Memory>,
    connections: AtomicUsize,
    calls: AtomicUsize,
    /// Connections accepted so far.
    accepted: AtomicU64,
    /// No new connection or call is taken any more.
    ending: AtomicBool,
}

impl Server {
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}

/// A store that is being served.
pub struct Serving {
    server: Arc<Server>,
    control: Control,
}

impl Serving {
    /// Opens nothing and listens at once: from here on commands find the owner.
    ///
    /// # Errors
    /// The socket cannot be made where it is wanted.
    pub fn start(host: Host, options: Options) -> Result<Serving, Failure> {
        let control = match options.inherited {
            Some(listener) => Control::inherited(listener)?,
            None => Control::bind(&host, options.control.as_deref())?,
        };
        let runtime = host.store().runtime();
        let handles = runtime.handles();
        let counters = Counters::new(handles.len());
        let memory = Memory::new(options.memory, handles);
        let gates = handles
            .iter()
            .map(|_| Gate::new(runtime.clock().clone()))
            .collect();
        let server = Arc::new(Server {
            host,
            workers: Workers::start("request", REQUESTS_MAX, REQUESTS_WAITING_MAX)?,
            observation: Observation::start(options.observer)?,
            gates,
            allow_uids: options.allow_uids,
            program: format!("helios {}", env!("CARGO_PKG_VERSION")),
            counters,
            memory,
            connections: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            ending: AtomicBool::new(false),
        });
        control.accept_for(&server)?;
        server.host.listens_at(Some(control.path()))?;
        Ok(Serving { server, control })
    }

    /// Where clients come in.
    pub fn control(&self) -> &std::path::Path {
        self.control.path()
    }

    /// The server, for those that only look at it.
    pub fn observed(&self) -> Observed {
        Observed(Arc::clone(&self.server))
    }

    /// Serves until `cancel` is set.
    pub fn wait_for(&self, cancel: &Cancel) {
        while !cancel.is_cancelled() {
            wait(Duration::from_millis(50));
        }
    }

    /// Ends: no new calls, those under way get some time, the store is closed.
    ///
    /// # Errors
    /// The store could not write its checkpoint. Nothing durable is lost.
    pub fn end(self) -> Result<(), Failure> {
        let Serving { server, control } = self;
        server.ending.store(true, Ordering::Release);
        // First the name goes, so that commands open the store themselves as soon as it is free.
        let unnamed = server.host.listens_at(None);
        control.close();
        let store = server.host.store().clone();
        let clock = store.runtime().clock().clone();
        let began = clock.now();
        while server.calls.load(Ordering::Acquire) > 0 && clock.now().since(began) < DRAIN_PATIENCE {
            wait(Duration::from_millis(5));
        }
        server.workers.end();
        server.observation.end();
        let left = server.calls.load(Ordering::Acquire);
        if left > 0 {
            tracing::warn!(
                "{left} calls were still under way after {DRAIN_PATIENCE:?}; their outcome is unknown"
            );
        }
        unnamed?;
        match store.close() {
            Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The server's own thread has nothing to do but this.
#[allow(
    clippy::disallowed_methods,
    reason = "the thread of `main`, which drives nothing"
)]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

fn io_failure(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Class::Io, format!("{what}: {error}"))
}
