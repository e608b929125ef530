//! NVMe devices driven from user space through SPDK: `nvme:` over PCIe and `nvme+tcp:` over a network.
//!
//! | file | owns |
//! | --- | --- |
//! | `environment` | SPDK's memory and log; one in a process |
//! | `transport` | where a controller is, whether it can be reached; of a local one [`super::pci`] says what is missing |
//! | `controller` | an attached controller; detaches when the last user is gone |
//! | `namespace` | what a namespace is, which ones are refused |
//! | `control` | the thread that attaches, polls the admin queue, resets and detaches |
//! | `pair` | a queue pair, and the buffers the device has |
//! | `lane` | commands as pieces, their errors |
//! | `bounds` | how long a device may take |
//! | `queue`, `naps` | the engine's queue; how long to sleep between two looks at it |
//! | `memory`, `status` | buffers; status codes as errors |
//!
//! Who keeps whom: a queue keeps the control, whose thread keeps lanes, which keep queue pairs, which keep the attached
//! controller and the buffers in flight. So a queue can outlive its device and a buffer its queue, and a controller is
//! detached only when no queue pair exists.
//!
//! No event framework of SPDK: reactors poll their own queue pairs.

mod bounds;
mod control;
mod controller;
mod environment;
mod lane;
mod memory;
mod namespace;
mod naps;
mod pair;
mod queue;
mod status;
mod transport;

use std::io;
use std::sync::Arc;

use self::bounds::Bounds;
use self::control::Control;
use self::memory::{Memory, Pool};
use self::namespace::Shape;
use self::queue::SpdkQueue;
use self::transport::Transport;
use super::ahead::Supplier;
use super::{Address, Device, Geometry, OpenOptions, Queue};

/// A namespace of an NVMe controller.
pub struct SpdkDevice {
    name: String,
    shape: Shape,
    memory: Memory,
    read_only: bool,
    memory_bytes: usize,
    control: Arc<Control>,
}

impl SpdkDevice {
    /// Opens what an `nvme:` or `nvme+tcp:` address names; other addresses are
    /// [`InvalidInput`](io::ErrorKind::InvalidInput).
    pub(super) fn open(address: &Address, options: &OpenOptions) -> io::Result<SpdkDevice> {
        let Some((transport, namespace)) = Transport::of(address) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{address} is not driven by SPDK"),
            ));
        };
        let memory = if transport.is_local() {
            Memory::Huge
        } else {
            Memory::Ordinary(Supplier::start()?)
        };
        let bounds = Bounds::new(options.command_timeout);
        let (control, shape) = Control::start(transport, namespace, bounds)
            .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
        Ok(SpdkDevice {
            name: address.to_string(),
            shape,
            memory,
            read_only: options.read_only,
            memory_bytes: options.queue_memory_bytes,
            control,
        })
    }
}

impl Device for SpdkDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        self.shape.geometry()
    }

    fn open_queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        let pool = Pool::new(&self.memory, self.memory_bytes);
        let queue = SpdkQueue::open(&self.control, self.shape, pool, self.read_only, depth)?;
        Ok(Box::new(queue))
    }
}
