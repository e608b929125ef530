//! Requests about directories of the machine: what they need of a store, wherever it is.
//!
//! Files are read and written by the process that runs the request, as its user; the store is this process's own or, over a
//! link, another's. So a client of a server runs these requests itself, by the same code, and the server never touches its
//! files.

use std::ffi::OsStr;
use std::sync::Arc;

use super::open;
use crate::access::{Access, Link};
use crate::device::Address;
use crate::error::{Error, Result};
use crate::format::Domain;
use crate::objects::Objects;
use crate::ops::{BranchRequest, Exchange, Failure, Reply, Request, TagRequest};
use crate::trees::Trees;

/// What requests about directories work with.
pub struct Desk {
    pub(super) store: Access,
    pub(super) objects: Objects,
    pub(super) trees: Trees,
    /// Where the store is.
    pub(super) address: Address,
}

impl Desk {
    pub(super) fn new(store: Access, address: Address) -> Desk {
        Desk {
            objects: Objects::new(store.clone()),
            trees: Trees::new(store.clone(), Domain::default()),
            store,
            address,
        }
    }

    /// Of a store that another process owns. `address` is where it is as seen from here: no tree may hold its files.
    ///
    /// # Errors
    /// The address makes no sense.
    pub fn far(link: Arc<dyn Link>, address: &OsStr) -> Result<Desk, Failure> {
        Ok(Desk::new(Access::Far(link), open::parse(address)?))
    }

    /// Runs a request for which [`Request::uses_directories`] holds, on the calling thread.
    ///
    /// # Errors
    /// Those of the request; any other is refused.
    ///
    /// # Panics
    /// On a reactor.
    pub fn call(&self, request: Request, exchange: &mut dyn Exchange) -> Result<Reply, Failure> {
        Ok(self.run(request, exchange)?)
    }

    pub(super) fn run(&self, request: Request, exchange: &mut dyn Exchange) -> Result<Reply> {
        match request {
            Request::Commit(request) => self.commit(request, exchange).map(Reply::Committed),
            Request::Status(request) => self.status(&request, exchange).map(Reply::Status),
            Request::Diff(request) => self.diff(&request, exchange).map(Reply::Compared),
            Request::Restore(request) => self.restore(request, exchange).map(Reply::Restored),
            Request::Materialize(request) => self.materialize(request, exchange).map(Reply::Materialized),
            _ => Err(Error::Refused {
                what: "only requests about directories are done away from the store".into(),
            }),
        }
    }

    /// Says which branch is meant where a request leaves that to the directory it was made in: only here can it be looked at.
    ///
    /// # Errors
    /// The store's; the link's.
    pub fn name_branch(&self, request: &mut Request) -> Result<(), Failure> {
        let (revision, directory) = match request {
            Request::Log(request) => (&mut request.revision, &request.directory),
            Request::List(request) => (&mut request.revision, &request.directory),
            Request::Merge(request) => (&mut request.into, &request.directory),
            // Who only changes when a branch expires names nothing.
            Request::Branch(BranchRequest::Create {
                revision,
                directory,
                count,
                force,
                expires_ns,
                ..
            }) if expires_ns.is_none() || count.is_some() || *force => (revision, &*directory),
            Request::Tag(TagRequest::Create {
                revision, directory, ..
            }) => (revision, &*directory),
            _ => return Ok(()),
        };
        if revision.is_none() {
            *revision = Some(self.followed(directory)?.into());
        }
        Ok(())
    }
}
