//! Creating a store: its file, its superblocks and the checkpoint of nothing.

use std::collections::BTreeSet;

use zerocopy::little_endian::{U16, U32, U64};

use super::checkpoint::{Contents, store_checkpoint};
use super::counters::Counters;
use super::open::{device_error, on_reactor, subject};
use super::owner::{Access, Owner};
use super::segments::SegmentTable;
use super::usage::Usage;
use super::{Store, superblocks};
use crate::device::{self, Address};
use crate::error::{Error, Result};
use crate::format::superblock::Superblock;
use crate::limits::{SEGMENT_BYTES, STORE_BYTES_DEFAULT, STORE_BYTES_MIN, UNIT_BYTES};
use crate::reactor::{Config, Runtime};

/// How a store is made.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// Bytes of the store; for block devices the device decides. The default is 100 GiB, sparse.
    pub size: u64,
    /// Overwrite whatever is there.
    pub force: bool,
    /// Bytes of one segment; chosen from the size if `None`.
    pub segment_bytes: Option<u64>,
    /// Derive name, secret and time from this instead of drawing them: for images that must come out the same.
    pub seed: Option<u64>,
    /// How the device is driven.
    pub device: device::OpenOptions,
}

impl Default for CreateOptions {
    fn default() -> CreateOptions {
        CreateOptions {
            size: STORE_BYTES_DEFAULT,
            force: false,
            segment_bytes: None,
            seed: None,
            device: device::OpenOptions::default(),
        }
    }
}

impl Store {
    /// Makes a store at an address. Refuses to overwrite a store, or other data, unless forced.
    pub fn create(address: &Address, options: &CreateOptions) -> Result<()> {
        let exists = address.path().is_some_and(std::path::Path::exists);
        if !exists {
            make_file(address, options)?;
        }
        let _owner = Owner::acquire(&subject(address), Access::Exclusive)?;
        if exists {
            make_file(address, options)?;
        }
        let opened = device::open(address, &options.device);
        let device = opened.map_err(|error| device_error(address, "open", error))?;
        let config = Config {
            reactors: 1,
            pin: false,
            ..Config::default()
        };
        let runtime = Runtime::threads(device, &config)?;
        let made = Store::create_on(&runtime, &address.to_string(), options);
        runtime.shutdown();
        made
    }

    /// Makes a store on the device of a runtime.
    pub fn create_on(runtime: &Runtime, name: &str, options: &CreateOptions) -> Result<()> {
        let (name, force, segment_bytes) = (name.to_owned(), options.force, options.segment_bytes);
        let (store, secret, created_ns) = match options.seed {
            None => (random()?, random()?, runtime.clock().wall_ns()),
            Some(seed) => {
                let mut drawn = blake3::Hasher::new_derive_key("helios 2026 store from seed");
                let mut drawn = drawn.update(&seed.to_le_bytes()).finalize_xof();
                let (mut store, mut secret) = ([0; 16], [0; 32]);
                drawn.fill(&mut store);
                drawn.fill(&mut secret);
                (store, secret, 0)
            }
        };
        on_reactor(runtime, move |local| async move {
            let capacity_units = local.device().geometry().capacity / UNIT_BYTES as u64;
            let capacity = capacity_units * UNIT_BYTES as u64;
            if capacity < STORE_BYTES_MIN {
                let reason = format!("{capacity} bytes; a store needs at least {STORE_BYTES_MIN}");
                return Err(Error::invalid(format!("size of {name}"), reason));
            }
            let (is_store, has_data) = superblocks::probe(&local, &name).await?;
            if has_data && !force {
                let found = if is_store { "a Helios store" } else { "other data" };
                return Err(Error::Refused {
                    what: format!("{name} holds {found}; use --force to overwrite it"),
                });
            }
            let segment_bytes = segment_bytes.unwrap_or_else(|| segment_bytes_for(capacity));
            if !(SEGMENT_BYTES[0]..=SEGMENT_BYTES[1]).contains(&segment_bytes)
                || !segment_bytes.is_power_of_two()
            {
                return Err(Error::invalid(
                    "segment size",
                    "it must be a power of two from 4 MiB to 64 MiB",
                ));
            }
            let first_unit = 256;
            let segment_units = segment_bytes / UNIT_BYTES as u64;
            let count = (capacity_units - first_unit - 1) / segment_units;
            let narrow = |number: u64| {
                u32::try_from(number)
                    .map(U32::new)
                    .map_err(|_| Error::invalid("size", "the store would be too large"))
            };
            let mut block = Superblock::blank();
            block.store = store;
            block.secret = secret;
            block.created_ns = U64::new(created_ns);
            block.capacity_units = U64::new(capacity_units);
            block.segment_units = narrow(segment_units)?;
            block.segment_count = narrow(count)?;
            block.first_segment_unit = narrow(first_unit)?;
            block.devices = U16::new(1);
            let table = parking_lot::Mutex::new(SegmentTable::new(block.segment_count.get()));
            let usage = Usage::new(table.lock().len());
            let nothing = Contents {
                ends: Vec::new(),
                roots: Vec::new(),
                counters: Counters::default().record(1),
                freed: BTreeSet::new(),
                offers: Vec::new(),
            };
            store_checkpoint(&local, &name, &mut block, (&table, &usage), nothing).await?;
            Ok(())
        })
    }
}

/// Makes the file of a new store; devices exist by themselves.
fn make_file(address: &Address, options: &CreateOptions) -> Result<()> {
    let Some(path) = address.path() else { return Ok(()) };
    let made = |error| device_error(address, "create", error);
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let size = options.size / UNIT_BYTES as u64 * UNIT_BYTES as u64;
            device::create(address, size).map_err(made)
        }
        Err(error) => Err(made(error)),
        Ok(metadata) if metadata.is_file() && metadata.len() > 0 && !options.force => Err(Error::Refused {
            what: format!("{address} exists; use --force to overwrite it"),
        }),
        Ok(metadata) if metadata.is_file() => {
            let file = std::fs::OpenOptions::new().write(true).open(path).map_err(made)?;
            file.set_len(0).map_err(made)?;
            file.set_len(options.size / UNIT_BYTES as u64 * UNIT_BYTES as u64)
                .map_err(made)
        }
        Ok(_) => Ok(()),
    }
}

fn segment_bytes_for(capacity: u64) -> u64 {
    let wanted = (capacity / 2048).next_power_of_two();
    wanted.clamp(SEGMENT_BYTES[0], SEGMENT_BYTES[1])
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let got = rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty());
        filled += got.map_err(|errno| Error::path("read", "/dev/urandom", errno))?;
    }
    Ok(bytes)
}
