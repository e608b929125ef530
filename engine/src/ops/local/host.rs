//! An open store that runs the requests of many callers at once: what a server of them stands on.
//!
//! Requests run on the threads of their callers, which they block. What they change is ordered by the store: two commits on
//! one branch are settled as those of two processes would be, by comparing heads.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::StoreOptions;
use super::open::{self, Engine, Rights};
use crate::error::{Error, Result};
use crate::objects::Objects;
use crate::ops::{Exchange, Failure, Reply, Request};
use crate::store::Store;
use crate::trees::Trees;

/// Where the live owner of a store listens, if there is one that does.
///
/// # Errors
/// The address makes no sense, or its lock file cannot be read.
pub fn owner_socket(address: &OsStr) -> Result<Option<PathBuf>, Failure> {
    Ok(open::owner_socket(address)?)
}

/// An open store that runs the requests of many callers at once.
pub struct Host(Engine);

impl Host {
    /// Opens a store, for everything.
    ///
    /// # Errors
    /// As for a command that opens it: not found, in use, damaged.
    pub fn open(options: &StoreOptions) -> Result<Host, Failure> {
        Ok(Host(Engine::open(options, Rights::Write)?))
    }

    /// Runs a request to its end, on the calling thread.
    ///
    /// # Errors
    /// Those of the request. `Init` is refused.
    ///
    /// # Panics
    /// On a reactor.
    pub fn call(&self, request: Request, exchange: &mut dyn Exchange) -> Result<Reply, Failure> {
        Ok(self.0.run(request, exchange)?)
    }

    /// Says in the lock file where this process listens, so that commands find it.
    ///
    /// # Errors
    /// The path is too long or not one line of text; the lock file cannot be written.
    pub fn listens_at(&self, socket: Option<&Path>) -> Result<(), Failure> {
        Ok(self.0.store.listens_at(socket)?)
    }

    /// Where this process listens if nothing else is said: beside the lock file.
    ///
    /// # Errors
    /// There is no directory for it.
    pub fn default_socket(&self) -> Result<PathBuf, Failure> {
        Ok(open::default_socket(&self.0.address)?)
    }

    /// The store's address, as it was understood.
    pub fn address(&self) -> String {
        self.0.address.to_string()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Its contents.
    pub fn objects(&self) -> &Objects {
        &self.0.objects
    }

    /// Its trees.
    pub fn trees(&self) -> &Trees {
        &self.0.trees
    }

    /// Makes everything durable and writes a checkpoint. Requests that still run fail.
    ///
    /// # Errors
    /// The store could not write its checkpoint. Nothing durable is lost; the next opening replays the log.
    pub fn close(self) -> Result<(), Failure> {
        Ok(self.0.close()?)
    }
}

impl Engine {
    /// Runs a request to its end.
    pub(super) fn run(&self, request: Request, exchange: &mut dyn Exchange) -> Result<Reply> {
        match request {
            Request::Init(_) => Err(Error::Refused {
                what: format!(
                    "{} is open; a store can only be made while nobody uses it",
                    self.address
                ),
            }),
            Request::Info => self.info().map(Reply::Info),
            Request::Stats => self.stats().map(Reply::Stats),
            Request::Check(request) => self.check(request, exchange).map(Reply::Checked),
            Request::Collect(request) => self.collect(request, exchange).map(Reply::Collected),
            Request::Scrub(request) => self.scrub(request, exchange).map(Reply::Scrubbed),
            Request::Put(request) => self.put(request, exchange).map(Reply::Content),
            Request::Get(request) => self.get(request, exchange).map(Reply::Content),
            Request::Cat(request) => self.cat(&request, exchange).map(Reply::Content),
            Request::Exists(request) => self.exists(&request).map(Reply::Found),
            Request::Pin(request) => self.pin(&request).map(Reply::Pinned),
            Request::Unpin(request) => self.unpin(&request).map(Reply::Pinned),
            Request::Branch(request) => self.branch(request).map(Reply::References),
            Request::Tag(request) => self.tag(request).map(Reply::References),
            Request::Forget(request) => self.forget(request, exchange).map(Reply::Forgot),
            Request::Expire(request) => self.expire(request).map(Reply::Expired),
            Request::Quota(request) => self.quota(request, exchange).map(Reply::Quotas),
            Request::Why(request) => self.why(&request, exchange).map(Reply::Kept),
            Request::Usage(request) => self.usage(&request, exchange).map(Reply::Usage),
            Request::Log(request) => self.log(&request, exchange).map(Reply::History),
            Request::List(request) => self.list(&request, exchange).map(Reply::Listed),
            Request::Merge(request) => self.merge(request, exchange).map(Reply::Merged),
            Request::Commit(_)
            | Request::Status(_)
            | Request::Diff(_)
            | Request::Restore(_)
            | Request::Materialize(_) => self.desk().run(request, exchange),
        }
    }
}
