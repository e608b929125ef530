//! What is measured: a store with contents of one block each, on some device.

use std::sync::Arc;

use helios::workloads::put;
use helios_engine::device::{self, Address, Device};
use helios_engine::reactor::{Config, Polling, Runtime};
use helios_engine::store::{CreateOptions, Key, OpenOptions, Store};

use crate::ceiling::Ceiling;
use crate::sandbox::Sandbox;

/// Bytes of one content.
pub const BYTES: usize = 4096;
const CONTENTS: u64 = 100_000;
const FILE_BYTES: u64 = 2 << 30;

/// See the module.
pub struct Subject {
    pub address: Address,
    pub keys: Arc<[Key]>,
    pub ceiling: Ceiling,
}

impl Subject {
    /// A file of the sandbox.
    pub fn file(sandbox: &Sandbox) -> Subject {
        let path = sandbox.path("gets.helios");
        Subject::new(Address::Path(path.clone()), Ceiling::Fio(path))
    }

    /// The device that the caller has given up, if there is one.
    pub fn device() -> Option<Subject> {
        let name = std::env::var("HELIOS_BENCH_DEVICE").ok()?;
        assert_eq!(
            std::env::var("HELIOS_BENCH_ERASE").ok().as_ref(),
            Some(&name),
            "HELIOS_BENCH_ERASE must be the address again: everything on the device is overwritten"
        );
        let address: Address = name.parse().expect("an address");
        let ceiling = Ceiling::spdk(&address);
        Some(Subject::new(address, ceiling))
    }

    fn new(address: Address, ceiling: Ceiling) -> Subject {
        let options = CreateOptions {
            size: FILE_BYTES,
            force: true,
            ..CreateOptions::default()
        };
        Store::create(&address, &options).expect("a store for the bench");
        let mut subject = Subject {
            address,
            keys: Arc::default(),
            ceiling,
        };
        let store = subject.open(Polling::Adaptive);
        let put = store.block_on(put(&store, 0..CONTENTS, BYTES));
        subject.keys = put.expect("room").into();
        store.block_on(store.flush()).expect("durable");
        store.close().expect("a clean close");
        subject
    }

    /// Opens the store, without a cache, on one reactor.
    pub fn open(&self, polling: Polling) -> Store {
        Store::open(&self.address, &options(polling)).expect("the bench's store opens")
    }

    /// The same on the device that `wrap` makes of the store's own. Nobody else may use the store.
    pub fn open_on(&self, wrap: impl FnOnce(Arc<dyn Device>) -> Arc<dyn Device>) -> Store {
        let options = options(Polling::Busy);
        let device = device::open(&self.address, &options.device).expect("the bench's device opens");
        let runtime = Runtime::threads(wrap(device), &options.reactors).expect("a thread");
        Store::open_on(&runtime, &self.address.to_string(), &options).expect("the bench's store opens")
    }
}

fn options(polling: Polling) -> OpenOptions {
    OpenOptions {
        cache_bytes: 0,
        reactors: Config {
            reactors: 1,
            polling,
            ..Config::default()
        },
        ..OpenOptions::default()
    }
}
