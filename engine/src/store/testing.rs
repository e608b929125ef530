//! Stores for the tests of this crate: on a simulated device, with real reactor threads.

use std::sync::Arc;

use super::{CreateOptions, OpenOptions, Store};
use crate::device::sim::SimDevice;
use crate::reactor::{Config, Runtime};

/// An empty store in memory.
pub(crate) fn store() -> Store {
    let device = Arc::new(SimDevice::new(1, 256 << 20));
    let config = Config { reactors: 1, pin: false, ..Config::default() };
    let runtime = Runtime::threads(device, &config).expect("a runtime on a simulated device");
    Store::create_on(&runtime, "sim:1", &CreateOptions::default()).expect("a new store");
    Store::open_on(&runtime, "sim:1", &OpenOptions::default()).expect("the store just made")
}
