//! From an address to a device: which adapter, and what happens where io_uring is missing or forbidden.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fallback_io::{Options, Target};

use super::ahead::Supplier;
use super::{Address, Device, Geometry, Queue, ThreadsDevice, UringDevice};
use crate::limits::{QUEUE_MEMORY_BYTES, TRANSFER_BYTES_MAX, UNIT_BYTES};

/// Bytes of a simulated device opened by its address.
const SIM_BYTES: u64 = 1 << 30;
/// Devices take their time to clean up inside; the kernel's own driver waits for 30 s.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);

/// How files and block devices are driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// io_uring where it can be used, worker threads (with a notice in the log) where not.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// Worker threads.
    Threads,
}

/// How to open a device.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// For files and block devices.
    pub backend: Backend,
    /// Open for reading only; commands that write complete with
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied).
    pub read_only: bool,
    /// Device memory each queue hands out before it falls back to the heap, in bytes. Taken as needed.
    pub queue_memory_bytes: usize,
    /// For devices driven by SPDK: how long a command may take before it is aborted. After half as long again its
    /// controller is reset, and after another two times that without success given up.
    pub command_timeout: Duration,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions {
            backend: Backend::Auto,
            read_only: false,
            queue_memory_bytes: QUEUE_MEMORY_BYTES,
            command_timeout: COMMAND_TIMEOUT,
        }
    }
}

/// Opens the device at `address`.
///
/// Errors name the address and the reason: `NotFound`, `PermissionDenied`, `IsADirectory`, `ResourceBusy` (a block
/// device that is mounted or opened elsewhere), `Unsupported` (a kind of device this build or machine lacks).
pub fn open(address: &Address, options: &OpenOptions) -> io::Result<Arc<dyn Device>> {
    match address {
        Address::Path(path) => open_path(address.to_string(), path, options),
        Address::Sim { seed } => Ok(super::sim::SimDevice::new(*seed, SIM_BYTES)),
        #[cfg(feature = "spdk")]
        Address::Nvme { .. } | Address::NvmeTcp { .. } => {
            Ok(Arc::new(super::SpdkDevice::open(address, options)?))
        }
        #[cfg(not(feature = "spdk"))]
        Address::Nvme { .. } | Address::NvmeTcp { .. } => Err(unsupported(
            address,
            "this program was built without SPDK; build it with `SPDK_PREFIX=$(scripts/install-spdk) cargo build \
             --release --features spdk`, or use the device's path under /dev",
        )),
    }
}

/// Makes a sparse file of `size` bytes, a whole number of units, at `address`, readable by its owner only. Never
/// overwrites: an existing file is `AlreadyExists`. Devices exist by themselves and are not made.
pub fn create(address: &Address, size: u64) -> io::Result<()> {
    let Address::Path(path) = address else {
        return Err(unsupported(address, "only files can be made"));
    };
    if size == 0 || !size.is_multiple_of(UNIT_BYTES as u64) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{address}: its size must be a multiple of {UNIT_BYTES} bytes, not {size}"),
        ));
    }
    Ok(fallback_io::create_sparse(path, size)?)
}

fn open_path(name: String, path: &Path, options: &OpenOptions) -> io::Result<Arc<dyn Device>> {
    let target = Target::open(
        path,
        &Options {
            read_only: options.read_only,
            alignment: UNIT_BYTES as u32,
            transfer_max: TRANSFER_BYTES_MAX as u32,
        },
    )?;
    if !target.direct() {
        tracing::info!(device = name, "no direct I/O here; using the page cache");
    }
    let target = Arc::new(target);
    let memory = options.queue_memory_bytes;
    let supplier = Supplier::start()?;
    let threads = ThreadsDevice::new(name.clone(), target.clone(), memory, supplier.clone());
    if options.backend == Backend::Threads {
        return Ok(Arc::new(threads));
    }
    let uring = UringDevice::new(name, target, memory, supplier);
    match uring.probe() {
        Ok(()) if options.backend == Backend::Uring => Ok(Arc::new(uring)),
        Ok(()) => Ok(Arc::new(UringOrThreads {
            uring,
            threads,
            noticed: AtomicBool::new(false),
        })),
        Err(reason @ fallback_io::Error::Unusable { .. }) if options.backend == Backend::Auto => {
            notice(threads.name(), &reason);
            Ok(Arc::new(threads))
        }
        Err(error) => Err(error.into()),
    }
}

fn notice(device: &str, reason: &fallback_io::Error) {
    tracing::warn!(device, %reason, "using worker threads instead of io_uring, which is slower");
}

fn unsupported(address: &Address, reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("{address}: {reason}"))
}

/// Decides queue by queue: the first rings may use up the memory a process may lock, or a thread may run under
/// stricter rules than the one that opened the device.
struct UringOrThreads {
    uring: UringDevice,
    threads: ThreadsDevice,
    noticed: AtomicBool,
}

impl Device for UringOrThreads {
    fn name(&self) -> &str {
        self.uring.name()
    }

    fn geometry(&self) -> Geometry {
        self.uring.geometry()
    }

    fn open_queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        match self.uring.queue(depth) {
            Err(reason @ fallback_io::Error::Unusable { .. }) => {
                if !self.noticed.swap(true, Ordering::Relaxed) {
                    notice(self.name(), &reason);
                }
                self.threads.open_queue(depth)
            }
            opened => Ok(opened?),
        }
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
