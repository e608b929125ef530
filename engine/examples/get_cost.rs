//! What does a get of 4 KiB cost the engine itself, without a cache and with a device that costs nothing?
//!
//! A store in a file is read into memory, and its reactor runs on a device that answers reads from there: each poll gives
//! out at most so many completions, oldest first. 32 clients on the reactor get one random content after the other. What is
//! left, less the time of those polls, is the engine's. Ceilings in the same run: BLAKE3 of one content and of eight
//! together. Prediction: below 1.5 us when at least eight completions come together.
//!
//! `cargo run --release --example get_cost -- [GETS] [COMPLETIONS] [ROUNDS]`. Instructions for each get are the
//! difference of two runs under `perf stat -e instructions:u` (or `valgrind --tool=callgrind`), by the difference of
//! their GETS.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use helios_engine::device::{
    self, Address, Command, Completion, Device, DmaBuffer, Doorbell, Geometry, Operation, Queue,
};
use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::reactor::{Config, Polling, Runtime};
use helios_engine::store::{CreateOptions, Extent, Key, OpenOptions, Store};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

const BYTES: usize = 4096;
const BATCH: usize = 64;
const BATCHES: usize = 64;
const CLIENTS: u64 = 32;
const FILE_BYTES: u64 = 128 << 20;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|number| number.parse().expect("a number"));
    let gets: u64 = arguments.next().unwrap_or(200_000);
    let together = usize::try_from(arguments.next().unwrap_or(8)).expect("a small number");
    let rounds = arguments.next().unwrap_or(5);

    let directory = tempfile::tempdir_in(".").expect("a directory");
    let path = directory.path().join("get_cost.helios");
    let address = Address::Path(path.clone());
    let keys: Arc<[Key]> = fill(&address).into();

    let options = options();
    let file = device::open(&address, &options.device).expect("the file opens");
    let image = std::fs::read(&path).expect("the file is readable").into();
    let device = Arc::new(Remembered {
        file,
        image,
        together,
    });
    let runtime = Runtime::threads(device, &options.reactors).expect("a thread");
    let store = Store::open_on(&runtime, "remembered", &options).expect("the store opens");
    for _ in 0..rounds {
        let before = polled();
        let spent = measure(&store, &keys, gets / CLIENTS);
        let engine = spent.saturating_sub(polled() - before);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / (gets / CLIENTS * CLIENTS) as f64;
        println!(
            "{together} completions a poll: {:.3} us of the reactor's thread for each get, {:.3} of them the engine's",
            each(spent),
            each(engine)
        );
    }
    ceilings();
    store.close().expect("a clean close");
}

fn options() -> OpenOptions {
    OpenOptions {
        cache_bytes: 0,
        reactors: Config {
            reactors: 1,
            pin: false,
            polling: Polling::Busy,
            ..Config::default()
        },
        ..OpenOptions::default()
    }
}

fn fill(address: &Address) -> Vec<Key> {
    let create = CreateOptions {
        size: FILE_BYTES,
        ..CreateOptions::default()
    };
    Store::create(address, &create).expect("a new store");
    let store = Store::open(address, &options()).expect("the store opens");
    let mut random = SmallRng::seed_from_u64(1);
    let mut keys = Vec::new();
    for _ in 0..BATCHES {
        let extents: Vec<Extent> = (0..BATCH)
            .map(|_| {
                let mut bytes = vec![0; BYTES];
                random.fill_bytes(&mut bytes);
                let key = Key {
                    domain: Domain(0),
                    kind: Kind::Data,
                    id: hash::content_id(&bytes),
                };
                keys.push(key);
                Extent {
                    key,
                    bytes: bytes.into(),
                }
            })
            .collect();
        store.block_on(async {
            let mut batch = store.batch();
            batch.put(extents).await.expect("room");
            batch.submit().await.expect("room");
        });
    }
    store.block_on(store.flush()).expect("durable");
    store.close().expect("a clean close");
    keys
}

/// Processor time of the reactor for so many gets by each client.
fn measure(store: &Store, keys: &Arc<[Key]>, gets: u64) -> Duration {
    let (sender, receiver) = mpsc::channel();
    let (owned, keys) = (store.clone(), Arc::clone(keys));
    store.runtime().handles()[0].spawn(move |local| async move {
        let ended = Rc::new(Ended { start: cpu(), sender });
        for client in 0..CLIENTS {
            let (store, keys, ended) = (owned.clone(), Arc::clone(&keys), Rc::clone(&ended));
            local.spawn(async move {
                let mut random = SmallRng::seed_from_u64(client);
                for _ in 0..gets {
                    let key = keys[random.random_range(0..keys.len())];
                    store.get(key).await.expect("a get");
                }
                drop(ended);
            });
        }
    });
    receiver.recv().expect("the last client tells the time")
}

/// Dropped by the last client.
struct Ended {
    start: Duration,
    sender: mpsc::Sender<Duration>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.sender.send(cpu() - self.start).expect("somebody waits");
    }
}

/// Of the calling thread; from a file, because `valgrind` has no page for what else would tell.
fn cpu() -> Duration {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a file of Linux");
    let spent = spent.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(spent.expect("nanoseconds"))
}

/// Time of the device's polls that found something; there is one device.
static POLLED_NS: AtomicU64 = AtomicU64::new(0);

fn polled() -> Duration {
    Duration::from_nanos(POLLED_NS.load(Relaxed))
}

#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn ceilings() {
    const ROUNDS: u32 = 10_000;
    let contents = vec![7u8; BYTES * 8];
    let contents: Vec<&[u8]> = contents.chunks(BYTES).collect();
    let time = |what: &str, each: u32, work: &mut dyn FnMut()| {
        let start = now();
        (0..ROUNDS).for_each(|_| work());
        let spent = start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS * each);
        println!("{what}: {spent:.3} us");
    };
    let from = contents[0];
    time("BLAKE3 of 4 KiB by itself", 1, &mut || {
        std::hint::black_box(hash::content_id(std::hint::black_box(from)));
    });
    for count in [1, 2, 4, 8] {
        let contents = &contents[..count];
        time(
            &format!("BLAKE3 of 4 KiB, {count} together, each"),
            count as u32,
            &mut || {
                std::hint::black_box(hash::content_ids(std::hint::black_box(contents)));
            },
        );
    }
}

/// A file whose reads are answered from memory.
struct Remembered {
    file: Arc<dyn Device>,
    image: Arc<[u8]>,
    together: usize,
}

impl Device for Remembered {
    fn name(&self) -> &str {
        self.file.name()
    }

    fn geometry(&self) -> Geometry {
        self.file.geometry()
    }

    fn open_queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        Ok(Box::new(RememberedQueue {
            file: self.file.open_queue(depth)?,
            image: Arc::clone(&self.image),
            together: self.together,
            depth,
            reads: VecDeque::new(),
        }))
    }
}

struct RememberedQueue {
    file: Box<dyn Queue>,
    image: Arc<[u8]>,
    together: usize,
    depth: u32,
    reads: VecDeque<Command>,
}

impl Queue for RememberedQueue {
    fn submit(&mut self, command: Command) -> Result<(), Command> {
        if !matches!(command.operation, Operation::Read { .. }) {
            return self.file.submit(command);
        }
        if self.in_flight() >= self.depth {
            return Err(command);
        }
        self.reads.push_back(command);
        Ok(())
    }

    fn poll(&mut self, completed: &mut Vec<Completion>) {
        if self.file.in_flight() > 0 {
            self.file.poll(completed);
        }
        let count = self.reads.len().min(self.together);
        if count == 0 {
            return;
        }
        let start = now();
        completed.extend(self.reads.drain(..count).map(|Command { token, operation }| {
            let Operation::Read {
                offset,
                mut buffer,
                range,
            } = operation
            else {
                unreachable!("only reads wait here")
            };
            let at = usize::try_from(offset).expect("inside the file");
            buffer[range.clone()].copy_from_slice(&self.image[at..at + range.len()]);
            Completion {
                token,
                buffer: Some(buffer),
                result: Ok(()),
            }
        }));
        POLLED_NS.fetch_add(
            u64::try_from(start.elapsed().as_nanos()).expect("a short time"),
            Relaxed,
        );
    }

    fn wait(&mut self, doorbell: &Doorbell, timeout: Option<Duration>) {
        if self.reads.is_empty() {
            self.file.wait(doorbell, timeout);
        }
    }

    fn in_flight(&self) -> u32 {
        self.file.in_flight() + self.reads.len() as u32
    }

    fn buffer(&mut self, len: usize) -> io::Result<DmaBuffer> {
        self.file.buffer(len)
    }
}
