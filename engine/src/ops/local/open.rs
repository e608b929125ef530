//! Making, opening and closing the store of a client: the one place that knows how the engine's parts fit together.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::StoreOptions;
use super::desk::Desk;
use crate::device::{self, Address};
use crate::error::{Error, Result};
use crate::limits::{STORE_BYTES_DEFAULT, UNIT_BYTES};
use crate::ops::failure::OPEN_STORE;
use crate::ops::{Created, InitRequest};
use crate::reactor::Nanos;
use crate::store::{self, CreateOptions, OpenOptions, Store, owner};
use crate::trees::TreeTrace;

/// Time in which a process that keeps a store open verifies everything in it.
const PATROL_ROUND: Duration = Duration::from_secs(30 * 24 * 3600);

/// What may be done with an open store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rights {
    /// Reading only; others may read too.
    Read,
    /// Everything, alone.
    Write,
}

/// An open store and the layers on it.
pub(super) struct Engine {
    pub store: Store,
    /// Contents, trees, and what is done with directories.
    desk: Desk,
    pub rights: Rights,
    /// When it was opened.
    pub opened: Nanos,
}

impl std::ops::Deref for Engine {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl Engine {
    /// Opens the store.
    pub fn open(options: &StoreOptions, rights: Rights) -> Result<Engine> {
        let address = parse(&options.address)?;
        if let Some(path) = address.path()
            && let Err(error) = std::fs::metadata(path)
        {
            return Err(Error::path(OPEN_STORE, path, error));
        }
        let mut wanted = OpenOptions {
            read_only: rights == Rights::Read,
            device: device_options(options),
            patrol: Some(PATROL_ROUND),
            ..OpenOptions::default()
        };
        wanted.reactors.polling = options.polling;
        if let Some(reactors) = options.reactors {
            wanted.reactors.reactors = reactors;
        }
        if let Some(cache_bytes) = options.cache_bytes {
            wanted.cache_bytes = cache_bytes;
        }
        let store = Store::open(&address, &wanted)?;
        store.set_trace(Arc::new(TreeTrace));
        Ok(Engine {
            desk: Desk::new(store.clone().into(), address),
            opened: store.runtime().clock().now(),
            store,
            rights,
        })
    }

    /// What requests about directories work with.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Makes everything durable and writes a checkpoint.
    pub fn close(self) -> Result<()> {
        let Engine { store, .. } = self;
        store.close()
    }
}

/// Makes a store and says what a full one will need.
pub(super) fn create(options: &StoreOptions, request: &InitRequest) -> Result<Created> {
    let address = parse(&options.address)?;
    let wanted = CreateOptions {
        size: request.size.unwrap_or(STORE_BYTES_DEFAULT),
        force: request.force,
        device: device_options(options),
        ..CreateOptions::default()
    };
    Store::create(&address, &wanted)?;
    let engine = Engine::open(options, Rights::Read)?;
    let space = engine.store.space();
    engine.close()?;
    Ok(Created {
        store: address.to_string(),
        size: space.capacity,
        ram_full_bytes: space.index_bytes_max,
        ram_full_extent_bytes: UNIT_BYTES as u64,
    })
}

/// Where the owner of the store at an address listens.
pub(super) fn owner_socket(address: &OsStr) -> Result<Option<PathBuf>> {
    let subject = store::subject(&parse(address)?);
    match owner::holder(&subject) {
        Ok(holder) => Ok(holder.and_then(|holder| holder.socket)),
        // No store, so nobody owns it: opening it says so better.
        Err(Error::Path { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the owner of a store listens by default.
pub(super) fn default_socket(address: &Address) -> Result<PathBuf> {
    owner::default_socket(&store::subject(address))
}

fn device_options(options: &StoreOptions) -> device::OpenOptions {
    let default = device::OpenOptions::default();
    device::OpenOptions {
        backend: options.backend,
        command_timeout: options.command_timeout.unwrap_or(default.command_timeout),
        ..default
    }
}

pub(super) fn parse(address: &OsStr) -> Result<Address> {
    Address::parse(address).map_err(|error| Error::invalid("store address", error.to_string()))
}
