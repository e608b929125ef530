//! Opening and closing a store: recovery, then (for writing) taking over its logs, then the tasks of its reactors.

use std::sync::Arc;
use std::time::Duration;

use super::cache::Cache;
use super::checkpoint::{Contents, lifeless, store_checkpoint};
use super::counters::Counters;
use super::index::PENDING_PLACES_MAX;
use super::log::{Log, LogEnd, Writer};
use super::memory::MemoryLimit;
use super::owner::{Access, Owner, Subject};
use super::pending::PendingTable;
use super::recovery::recover;
use super::roots::RootTable;
use super::scrub::patrol;
use super::segments::Places;
use super::shared::Shared;
use super::take_over::take_over;
use super::{Inner, Store, maintenance, read, superblocks};
use crate::device::{self, Address, Device};
use crate::error::{Error, Result};
use crate::reactor::{Config, Handle, Local, Runtime, mailbox, oneshot};

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Take no writes and leave the device untouched.
    pub read_only: bool,
    /// Reactors and how they wait.
    pub reactors: Config,
    /// How the device is driven; `read_only` above decides whether it is written.
    pub device: device::OpenOptions,
    /// Bytes of the cache of verified extents; 0 turns it off.
    pub cache_bytes: u64,
    /// Bytes of visible data that may wait to become durable.
    pub pending_bytes: usize,
    /// Zero-write segments ahead of use, which makes durable writes faster.
    pub zero_ahead: bool,
    /// Time in which a store open for writing verifies everything on the device once, beside its work; `None`: never.
    pub patrol: Option<Duration>,
    /// When dead extents are looked for because of the memory that they take.
    pub memory_limit: MemoryLimit,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions {
            read_only: false,
            reactors: Config::default(),
            device: device::OpenOptions::default(),
            cache_bytes: 256 << 20,
            pending_bytes: 64 << 20,
            zero_ahead: true,
            patrol: None,
            memory_limit: MemoryLimit::default(),
        }
    }
}

/// Slots of the pending table: batches between visible and durable.
const PENDING_SLOTS: u32 = 4096;
const _: () = assert!(PENDING_SLOTS <= PENDING_PLACES_MAX);
/// Read requests that may wait for one reactor.
const READ_REQUESTS_MAX: usize = 1024;

/// What the writer tasks give back when their logs are closed.
pub(super) struct Writers(Vec<(Handle, oneshot::Receiver<LogEnd>)>);

/// Runs `work` on the first reactor and waits for it.
pub(super) fn on_reactor<T, F, Fut>(runtime: &Runtime, work: F) -> Result<T>
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

impl Store {
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
            read_only: options.read_only,
            ..options.device.clone()
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
        let (round, options) = (options.patrol, options.clone());
        let handles = runtime.handles().to_vec();
        let (shared, superblock, ends, replayed_frames) = on_reactor(runtime, move |local| async move {
            let name = task_name;
            let (mut recovered, index) = recover(&local, &name, &handles).await?;
            let forbidden = superblocks::is_read_only(&recovered.superblock);
            let why = match (read_only, forbidden) {
                (true, _) => Some("it was opened read-only".to_owned()),
                (_, true) => {
                    Some("it uses features this version cannot write; use a newer helios".to_owned())
                }
                _ => None,
            };
            let (ends, standing) = if why.is_none() {
                let ends = take_over(&local, &name, &mut recovered, reactors).await?;
                (ends, Vec::new())
            } else {
                (Vec::new(), recovered.standing())
            };
            if let Some(end) = ends.last() {
                recovered.table.set_cleaner(end.log);
            }
            let block = &recovered.superblock;
            let counters = Counters::after(&recovered.checkpoint.counters);
            let next_root = recovered.checkpoint.counters.next_root.get();
            let identity = (
                block.store,
                block.secret(),
                block.incarnation.get(),
                block.created_ns.get(),
            );
            let mut shared = Shared::new(
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
                    recovered.usage,
                    RootTable::restore(recovered.roots, next_root),
                    counters,
                ),
                (why, standing),
                recovered.damage,
            );
            shared.memory_limit = options.memory_limit;
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
        let (jobs, waiting) = mailbox::mailbox(&runtime.handles()[0], maintenance::JOBS_MAX);
        runtime.handles()[0].spawn(move |local| maintenance::serve(local, waiting));
        let store = Store(Arc::new(Inner {
            shared,
            runtime: runtime.clone(),
            readers,
            jobs,
            writers: parking_lot::Mutex::new(Some(Writers(writers))),
            superblock: parking_lot::Mutex::new(superblock),
            replayed_frames,
            owner,
        }));
        if let Some(round) = round
            && store.shared().read_only.is_none()
        {
            let inner = Arc::downgrade(&store.0);
            runtime.handles()[0].spawn(move |local| patrol(local, inner, round));
        }
        Ok(store)
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
        self.block_on(self.end_maintenance());
        shared.logs().iter().for_each(|log| log.close());
        let mut ends = Vec::new();
        for (_, end) in writers {
            ends.push(self.block_on(end).ok_or(Error::Closed)?);
        }
        shared.check_writable()?;
        let mut block = self.0.superblock.lock().clone();
        block.closed = block.incarnation;
        let name = shared.name.clone();
        shared.usage.settle_rivals(&shared.index);
        let contents = {
            let roots = shared.roots.read();
            Contents {
                freed: lifeless(&shared, &ends),
                ends,
                roots: roots.all().map(|root| root.record(false)).collect(),
                counters: shared.counters.record(roots.next_root()),
                offers: Vec::new(),
            }
        };
        on_reactor(&self.0.runtime, move |local| async move {
            let table = (&shared.segments, &shared.usage);
            store_checkpoint(&local, &name, &mut block, table, contents).await?;
            Ok(())
        })
    }
}

/// What has to be owned to use an address.
pub(crate) fn subject(address: &Address) -> Subject {
    match address.path() {
        Some(path) => Subject::Path(path.to_owned()),
        None => Subject::Address(address.to_string()),
    }
}

/// An error of the device at an address.
pub(super) fn device_error(address: &Address, operation: &'static str, source: std::io::Error) -> Error {
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

/// Starts a log and its writer on each reactor that has one.
fn start_writers(
    runtime: &Runtime,
    shared: &Arc<Shared>,
    ends: Vec<LogEnd>,
) -> Vec<(Handle, oneshot::Receiver<LogEnd>)> {
    let mut logs = Vec::new();
    let mut bells = Vec::new();
    for (handle, end) in runtime.handles().iter().cycle().zip(&ends) {
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
