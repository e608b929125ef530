//! A file or block device driven by worker threads with ordinary system calls, for where io_uring is not.

use std::io;
use std::sync::Arc;

use fallback_io::{Target, Threads};

use super::adapter::{Adapter, geometry};
use super::ahead::Supplier;
use super::{Device, Geometry, Queue};

/// See the module.
pub struct ThreadsDevice {
    name: String,
    target: Arc<Target>,
    memory_bytes: usize,
    supplier: Supplier,
}

impl ThreadsDevice {
    /// The device `name` over an opened target; its queues hand out up to `memory_bytes` of reused memory.
    pub(super) fn new(
        name: String,
        target: Arc<Target>,
        memory_bytes: usize,
        supplier: Supplier,
    ) -> ThreadsDevice {
        ThreadsDevice {
            name,
            target,
            memory_bytes,
            supplier,
        }
    }
}

impl Device for ThreadsDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        geometry(&self.target)
    }

    fn open_queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        let queue = Threads::open(self.target.clone(), depth)?;
        Ok(Box::new(Adapter::new(queue, self.memory_bytes, &self.supplier)))
    }
}
