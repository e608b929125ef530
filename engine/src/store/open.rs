//! Creating, opening and closing a store.
//!
//! Opening for writing makes its verdict durable before the first write is taken: after a clean close a superblock
//! with the new incarnation is enough; after anything else (or with another number of reactors) every segment that
//! a log does not go on in gets its footer, every log a fresh segment, and a whole checkpoint is written.
//! A log never goes on in a segment after a crash: a write of the dead owner may still land there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use zerocopy::little_endian::{U16, U32, U64};

use super::cache::Cache;
use super::counters::Counters;
use super::index::Index;
use super::log::{Log, LogEnd, OpenSegment, Writer, footer, write_bytes};
use super::owner::{Access, Owner, Subject};
use super::pending::PendingTable;
use super::recovery::{Recovered, recover};
use super::roots::RootTable;
use super::segments::{Places, SegmentState, SegmentTable};
use super::shared::Shared;
use super::{Inner, Store, checkpoints, read, superblocks};
use crate::device::{self, Address, Backend, Device};
use crate::error::{Error, Result};
use crate::format::checkpoint::{Checkpoint, LogRecord};
use crate::format::frame::NO_SEGMENT;
use crate::format::superblock::Superblock;
use crate::format::{LogId, SegmentId};
use crate::limits::{SEGMENT_BYTES, STORE_BYTES_DEFAULT, STORE_BYTES_MIN, UNIT_BYTES};
use crate::reactor::{Config, Handle, Local, Runtime, mailbox, oneshot};

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
}

impl Default for CreateOptions {
    fn default() -> CreateOptions {
        CreateOptions {
            size: STORE_BYTES_DEFAULT,
            force: false,
            segment_bytes: None,
            seed: None,
        }
    }
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Take no writes and leave the device untouched.
    pub read_only: bool,
    /// Reactors and how they wait.
    pub reactors: Config,
    /// Which adapter drives files.
    pub backend: Backend,
    /// Bytes of the cache of verified extents; 0 turns it off.
    pub cache_bytes: u64,
    /// Bytes of visible data that may wait to become durable.
    pub pending_bytes: usize,
    /// Zero-write segments ahead of use, which makes durable writes faster.
    pub zero_ahead: bool,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions {
            read_only: false,
            reactors: Config::default(),
            backend: Backend::Auto,
            cache_bytes: 256 << 20,
            pending_bytes: 64 << 20,
            zero_ahead: true,
        }
    }
}

/// Slots of the pending table: batches between visible and durable.
const PENDING_SLOTS: u32 = 4096;
/// Read requests that may wait for one reactor.
const READ_REQUESTS_MAX: usize = 1024;

/// A store has at most one log per this many segments.
const SEGMENTS_PER_LOG_MIN: u32 = 6;

/// What the writer tasks give back when their logs are closed.
pub(super) struct Writers(Vec<(Handle, oneshot::Receiver<LogEnd>)>);

/// Runs `work` on the first reactor and waits for it.
fn on_reactor<T, F, Fut>(runtime: &Runtime, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(Local) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T>> + 'static,
{
    let (sender, receiver) = oneshot::oneshot();
    runtime.handles()[0].spawn(move |local| async move {
        let _ = sender.send(work(local).await);
    });
    runtime.block_on(receiver).ok_or(Error::Closed)?
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
        let opened = device::open(address, &device::OpenOptions::default());
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
            checkpoints::store(&local, &name, &mut block, &table, |table, _| {
                let counters = Counters::default().record(1);
                Checkpoint {
                    segments: table.records(|_| (0, 0)),
                    counters,
                    ..Checkpoint::default()
                }
            })
            .await
        })
    }

    /// Opens the store at an address; this process owns it until it is closed or dropped.
    pub fn open(address: &Address, options: &OpenOptions) -> Result<Store> {
        if let Some(path) = address.path()
            && !path.exists()
        {
            let reason = "it does not exist; create it with `helios init`".to_owned();
            return Err(Error::NotAStore {
                store: address.to_string(),
                reason,
            });
        }
        let access = if options.read_only {
            Access::Shared
        } else {
            Access::Exclusive
        };
        let owner = Owner::acquire(&subject(address), access)?;
        let device_options = device::OpenOptions {
            backend: options.backend,
            read_only: options.read_only,
            ..Default::default()
        };
        let opened = device::open(address, &device_options);
        let device: Arc<dyn Device> = opened.map_err(|error| device_error(address, "open", error))?;
        let runtime = Runtime::threads(device, &options.reactors)?;
        let opened = Store::open_owned(&runtime, &address.to_string(), options, Some(owner));
        if opened.is_err() {
            runtime.shutdown();
        }
        opened
    }

    /// Opens the store on the device of a runtime, with or without threads. The caller sees to ownership.
    pub fn open_on(runtime: &Runtime, name: &str, options: &OpenOptions) -> Result<Store> {
        Store::open_owned(runtime, name, options, None)
    }

    fn open_owned(
        runtime: &Runtime,
        name: &str,
        options: &OpenOptions,
        owner: Option<Owner>,
    ) -> Result<Store> {
        let reactors = runtime.handles().len();
        let (task_name, read_only) = (name.to_owned(), options.read_only);
        let now_ns = runtime.clock().wall_ns();
        let options = options.clone();
        let (shared, superblock, ends, replayed_frames) = on_reactor(runtime, move |local| async move {
            let name = task_name;
            let (mut recovered, index) = recover(&local, &name, |_| Index::new()).await?;
            let forbidden = superblocks::is_read_only(&recovered.superblock);
            let why = match (read_only, forbidden) {
                (true, _) => Some("it was opened read-only".to_owned()),
                (_, true) => {
                    Some("it uses features this version cannot write; use a newer helios".to_owned())
                }
                _ => None,
            };
            let ends = if why.is_none() {
                take_over(&local, &name, &mut recovered, reactors).await?
            } else {
                vec![]
            };
            let block = &recovered.superblock;
            let counters = Counters::after(&recovered.checkpoint.counters);
            let next_root = recovered.checkpoint.counters.next_root.get();
            let identity = (
                block.store,
                block.secret(),
                block.incarnation.get(),
                block.created_ns.get(),
            );
            let shared = Shared::new(
                name,
                identity,
                Places::of(block),
                options.zero_ahead,
                (
                    index,
                    Cache::new(options.cache_bytes),
                    PendingTable::new(PENDING_SLOTS, options.pending_bytes),
                ),
                (
                    recovered.table,
                    RootTable::restore(recovered.roots, next_root),
                    counters,
                ),
                why,
                recovered.damage,
            );
            Ok((shared, recovered.superblock, ends, recovered.replayed_frames))
        })?;
        for damage in &shared.damage {
            tracing::warn!(
                store = name,
                segment = damage.segment.0,
                offset = damage.offset,
                "{}",
                damage.what
            );
        }
        tracing::debug!(store = name, replayed_frames, now_ns, "opened");
        let shared = Arc::new(shared);
        let writers = if shared.read_only.is_none() {
            start_writers(runtime, &shared, ends)
        } else {
            Vec::new()
        };
        let readers = runtime
            .handles()
            .iter()
            .map(|handle| {
                let (sender, receiver) = mailbox::mailbox(handle, READ_REQUESTS_MAX);
                handle.spawn(move |local| read::serve(local, receiver));
                sender
            })
            .collect();
        Ok(Store(Arc::new(Inner {
            shared,
            runtime: runtime.clone(),
            readers,
            writers: parking_lot::Mutex::new(Some(Writers(writers))),
            superblock: parking_lot::Mutex::new(superblock),
            replayed_frames,
            _owner: owner,
        })))
    }

    /// Makes everything durable, writes a checkpoint and gives the store up. Later calls on clones fail.
    pub fn close(self) -> Result<()> {
        let closed = self.close_log_and_checkpoint();
        self.0.runtime.shutdown();
        closed
    }

    fn close_log_and_checkpoint(&self) -> Result<()> {
        let shared = self.shared().clone();
        let Some(Writers(writers)) = self.0.writers.lock().take() else {
            return Ok(());
        };
        if shared.read_only.is_some() {
            return Ok(());
        }
        shared.logs().iter().for_each(|log| log.close());
        let mut ends = Vec::new();
        for (_, end) in writers {
            ends.push(self.block_on(end).ok_or(Error::Closed)?);
        }
        shared.check_writable()?;
        let mut block = self.0.superblock.lock().clone();
        block.closed = block.incarnation;
        let name = shared.name.clone();
        on_reactor(&self.0.runtime, move |local| async move {
            store_checkpoint(&local, &name, &mut block, &shared.segments, &ends, || {
                let roots = shared.roots.read();
                let counters = shared.counters.record(roots.next_root());
                (roots.all().map(|root| root.record(false)).collect(), counters)
            })
            .await
        })
    }
}

/// What has to be owned to use an address.
fn subject(address: &Address) -> Subject {
    match address.path() {
        Some(path) => Subject::Path(path.to_owned()),
        None => Subject::Address(address.to_string()),
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

fn device_error(address: &Address, operation: &'static str, source: std::io::Error) -> Error {
    match address.path() {
        Some(path) => Error::path(operation, path, source),
        None => Error::Device {
            device: address.to_string(),
            operation,
            offset: 0,
            source,
        },
    }
}

fn start_writers(
    runtime: &Runtime,
    shared: &Arc<Shared>,
    ends: Vec<LogEnd>,
) -> Vec<(Handle, oneshot::Receiver<LogEnd>)> {
    let mut logs = Vec::new();
    let mut bells = Vec::new();
    for (handle, end) in runtime.handles().iter().zip(&ends) {
        let (log, bell) = Log::new(end.log, handle.clone(), end.next_sequence, shared.name.clone());
        logs.push(Arc::new(log));
        bells.push(bell);
    }
    shared.set_logs(logs.clone());
    let mut writers = Vec::new();
    for ((log, bell), end) in logs.into_iter().zip(bells).zip(ends) {
        let (sender, receiver) = oneshot::oneshot();
        let (handle, shared) = (log.handle.clone(), shared.clone());
        handle.spawn(move |local| async move {
            let _ = sender.send(Writer::new(shared, log, local, bell, end).run().await);
        });
        writers.push((handle, receiver));
    }
    writers
}

/// Makes this opening the owner of the logs: a new incarnation, durable before anything is written.
async fn take_over(
    local: &Local,
    name: &str,
    recovered: &mut Recovered,
    reactors: usize,
) -> Result<Vec<LogEnd>> {
    let places = Places::of(&recovered.superblock);
    let mut block = recovered.superblock.clone();
    block.incarnation = U64::new(block.incarnation.get() + 1);
    let mut ends = std::mem::take(&mut recovered.ends);
    // A small store has fewer logs than reactors: each needs a segment to fill and one to go on in.
    let logs_max = (places.segment_count / SEGMENTS_PER_LOG_MIN).clamp(1, u32::from(u16::MAX));
    let count = u16::try_from(reactors.min(logs_max as usize)).expect("clamped above");
    // A checkpoint repeats the descriptors of open segments, at most half the bytes of each.
    let roots_bytes: usize = recovered
        .roots
        .iter()
        .map(|root| root.record(false).encoded_len())
        .sum();
    let open_bytes = places.segment_bytes() / 2 * u64::from(count);
    let body_max = roots_bytes + usize::try_from(open_bytes).expect("memory for the open segments");
    recovered
        .table
        .expect_checkpoint_parts(checkpoints::parts(&places, body_max));
    let fits = recovered.clean
        && ends.len() == usize::from(count)
        && (0..count).all(|log| ends.contains_key(&LogId(log)));
    let mut logs: Vec<LogEnd> = Vec::new();
    if !fits {
        // Logs beyond the number of reactors end here.
        let (going_on, ending): (HashMap<_, _>, HashMap<_, _>) =
            ends.drain().partition(|(log, _)| log.0 < count);
        ends = going_on;
        for (log, end) in ending {
            if let Some(next) = end.next {
                recovered.table.release(next.segment);
            }
            recovered.unsealed.extend(end.current.map(|open| (log, open)));
        }
    }
    for (log, open) in std::mem::take(&mut recovered.unsealed) {
        let (bytes, first_unit) = footer(&places, (&block.store, &block.secret()), &open, log, 0);
        let offset = places.offset(open.id(), u64::from(first_unit) * UNIT_BYTES as u64);
        let failed = |source| Error::Device {
            device: name.to_owned(),
            operation: "write",
            offset,
            source,
        };
        // The end of a segment that was never filled may not be allocated yet.
        superblocks::claim_space(local, offset, bytes.len() as u64)
            .await
            .map_err(failed)?;
        write_bytes(local, offset, &bytes).await.map_err(failed)?;
        let state = SegmentState::Sealed {
            log,
            end_unit: open.next_unit,
            footer_unit: first_unit,
        };
        recovered.table.set(open.id(), state);
    }
    for log in (0..count).map(LogId) {
        let end = ends.remove(&log).unwrap_or_else(|| LogEnd {
            log,
            current: None,
            next: recovered.table.reserve_for(log),
            predecessor: 0,
            next_sequence: 1,
        });
        logs.push(end);
    }
    if fits {
        block.sequence = U64::new(block.sequence.get() + 1);
        superblocks::store(local, name, &block).await?;
    } else {
        let table = parking_lot::Mutex::new(std::mem::replace(&mut recovered.table, SegmentTable::new(0)));
        let stored = store_checkpoint(local, name, &mut block, &table, &logs, || {
            let records = recovered.roots.iter().map(|root| root.record(false)).collect();
            (records, recovered.checkpoint.counters)
        })
        .await;
        recovered.table = table.into_inner();
        stored?;
    }
    recovered.superblock = block;
    Ok(logs)
}

type RootsAndCounters = (
    Vec<crate::format::root_record::RootRecord>,
    crate::format::checkpoint::Counters,
);

/// Writes a checkpoint of a store whose logs stand at `ends`.
async fn store_checkpoint(
    local: &Local,
    name: &str,
    block: &mut Superblock,
    table: &parking_lot::Mutex<SegmentTable>,
    ends: &[LogEnd],
    state: impl FnOnce() -> RootsAndCounters,
) -> Result<()> {
    let (mut roots, counters) = state();
    // Maps have no order of their own; equal states give equal bytes.
    roots.sort_unstable_by_key(|record| record.root);
    let open: BTreeMap<SegmentId, &OpenSegment> = ends
        .iter()
        .filter_map(|end| end.current.as_ref())
        .map(|open| (open.id(), open))
        .collect();
    let logs: Vec<LogRecord> = ends.iter().filter_map(log_record).collect();
    checkpoints::store(local, name, block, table, |table, old| {
        let mut segments = table.records(|segment| {
            open.get(&segment)
                .map_or((0, 0), |open| (open.next_unit, open.ready_unit()))
        });
        let mut generations = table.generations();
        segments.retain(|record| {
            let is_old = old.contains(&SegmentId(record.segment.get()));
            if is_old {
                generations.push((record.segment.get(), record.generation.get()));
            }
            !is_old
        });
        Checkpoint {
            segments,
            logs: logs.clone(),
            roots: roots.clone(),
            open_segments: open
                .values()
                .map(|open| (open.id().0, open.descriptors.clone()))
                .collect(),
            generations,
            counters,
        }
    })
    .await
}

/// Where a log goes on, if it has a segment at all.
fn log_record(end: &LogEnd) -> Option<LogRecord> {
    let (at, unit, following) = match (&end.current, end.next) {
        (Some(open), next) => (open.at, open.next_unit, next),
        (None, Some(next)) => (next, 1, None),
        (None, None) => return None,
    };
    Some(LogRecord {
        log: U16::new(end.log.0),
        reserved: U16::new(0),
        segment: U32::new(at.segment.0),
        generation: U32::new(at.generation),
        unit: U32::new(unit),
        next: U64::new(end.next_sequence),
        predecessor: U32::new(end.predecessor),
        next_segment: U32::new(following.map_or(NO_SEGMENT, |next| next.segment.0)),
        next_generation: U32::new(following.map_or(0, |next| next.generation)),
        reserved_too: U32::new(0),
    })
}
