//! A file or block device driven through io_uring: one ring per queue.

use std::io;
use std::sync::Arc;

use fallback_io::{Target, Uring};

use super::adapter::{Adapter, geometry};
use super::ahead::Supplier;
use super::buffer::DmaBuffer;
use super::{Device, Geometry, Queue};

/// See the module. Opening a queue fails with [`Unsupported`](io::ErrorKind::Unsupported) where io_uring is
/// missing or forbidden.
pub struct UringDevice {
    name: String,
    target: Arc<Target>,
    memory_bytes: usize,
    supplier: Supplier,
}

impl UringDevice {
    /// The device `name` over an opened target; its queues hand out up to `memory_bytes` of registered memory.
    pub(super) fn new(
        name: String,
        target: Arc<Target>,
        memory_bytes: usize,
        supplier: Supplier,
    ) -> UringDevice {
        UringDevice {
            name,
            target,
            memory_bytes,
            supplier,
        }
    }

    /// Whether queues can be opened here, by opening one.
    pub(super) fn probe(&self) -> fallback_io::Result<()> {
        Uring::<DmaBuffer>::open(self.target.clone(), 1).map(drop)
    }

    /// As [`Device::open_queue`], with the error that tells whether another way would do.
    pub(super) fn queue(&self, depth: u32) -> fallback_io::Result<Box<dyn Queue>> {
        let queue = Uring::open(self.target.clone(), depth)?;
        Ok(Box::new(Adapter::new(queue, self.memory_bytes, &self.supplier)))
    }
}

impl Device for UringDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        geometry(&self.target)
    }

    fn open_queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        Ok(self.queue(depth)?)
    }
}
