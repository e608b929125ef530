//! Runs requests in this process: opens the store when the first one comes, keeps it for the next.
//!
//! Invariants: the store is opened for writing only by requests that write, so that reading needs no more rights and
//! disturbs no other reader; it is closed (everything durable, checkpoint written) by [`Local::close`] or when the
//! client is dropped.

mod check;
mod commit;
mod content;
mod desk;
mod diff;
mod directory;
mod forget;
mod graph;
mod history;
mod host;
mod merge;
mod open;
mod quota;
mod reach;
mod references;
mod revision;
mod store;
mod translate;
mod upkeep;
mod usage;
mod why;

use std::ffi::OsString;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Client, Exchange, Failure, Reply, Request, Stage, Step};
use crate::device::Backend;
use crate::error::Result;
use crate::reactor::Polling;
pub use desk::Desk;
pub use host::{Host, owner_socket};
use open::{Engine, Rights};

/// Which store, and how it is opened.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Where: a path, or an address like `file:PATH`.
    pub address: OsString,
    /// How files and block devices are accessed.
    pub backend: Backend,
    /// How long a command of a device driven by SPDK may take; absent: the engine's default.
    pub command_timeout: Option<Duration>,
    /// Reactors; absent: one per core.
    pub reactors: Option<usize>,
    /// Whether reactors sleep while there is nothing to do.
    pub polling: Polling,
    /// Memory for cached extents; absent: the engine's default.
    pub cache_bytes: Option<u64>,
}

/// A client that does the work itself.
pub struct Local {
    options: StoreOptions,
    engine: Mutex<Option<Engine>>,
}

impl Local {
    /// Opens nothing yet.
    pub fn new(options: StoreOptions) -> Local {
        Local {
            options,
            engine: Mutex::new(None),
        }
    }

    /// Closes the store, if it is open: everything is durable then, and the next opening is quick.
    ///
    /// # Errors
    /// The store could not write its checkpoint. Nothing durable is lost; the next opening replays the log.
    pub fn close(&self) -> Result<(), Failure> {
        match self.engine.lock().take() {
            Some(engine) => Ok(engine.close()?),
            None => Ok(()),
        }
    }

    fn run(&self, request: Request, exchange: &mut dyn Exchange) -> Result<Reply> {
        let mut slot = self.engine.lock();
        if let Request::Init(request) = &request {
            if let Some(engine) = slot.take() {
                engine.close()?;
            }
            return Ok(Reply::Created(open::create(&self.options, request)?));
        }
        let rights = rights(&request);
        let engine = match slot.take() {
            Some(engine) if engine.rights >= rights => slot.insert(engine),
            older => {
                if let Some(engine) = older {
                    engine.close()?;
                }
                (exchange.reporter())(Step::begin(Stage::Opening));
                slot.insert(Engine::open(&self.options, rights)?)
            }
        };
        engine.run(request, exchange)
    }
}

impl Client for Local {
    fn call(&self, request: Request, exchange: &mut dyn Exchange) -> Result<Reply, Failure> {
        Ok(self.run(request, exchange)?)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Err(failure) = self.close() {
            tracing::warn!("{failure}; the next opening replays the log");
        }
    }
}

/// Whether a revision is more than a name, or a whole id, and so no branch; or the one that directories without a
/// record follow.
fn names_no_branch(revision: &[u8]) -> bool {
    if revision == revision::DEFAULT_BRANCH.as_bytes() {
        return true;
    }
    let suffix = revision.iter().any(|byte| b"~^:@".contains(byte));
    suffix || (revision.len() == 64 && revision.iter().all(u8::is_ascii_hexdigit))
}

/// What a request needs.
fn rights(request: &Request) -> Rights {
    let reads = match request {
        // A directory made from a branch follows it, which is a record in the store.
        Request::Materialize(request) => names_no_branch(request.revision.as_bytes()),
        _ => request.only_looks(),
    };
    if reads { Rights::Read } else { Rights::Write }
}
