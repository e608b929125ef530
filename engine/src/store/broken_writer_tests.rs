//! What a bug below the writer does to those who wait for it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::store_tests::{contents, put};
use super::*;
use crate::device::sim::SimDevice;
use crate::device::{Command, Completion, Device, DmaBuffer, Doorbell, Geometry, Queue};
use crate::reactor::Config;

/// A simulated device that hands out no more buffers from a certain moment on, by panicking: a bug in the engine below
/// the writer.
struct Breaking {
    device: Arc<SimDevice>,
    broken: Arc<AtomicBool>,
}

struct BreakingQueue {
    queue: Box<dyn Queue>,
    broken: Arc<AtomicBool>,
}

impl Device for Breaking {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn open_queue(&self, depth: u32) -> std::io::Result<Box<dyn Queue>> {
        Ok(Box::new(BreakingQueue {
            queue: self.device.open_queue(depth)?,
            broken: self.broken.clone(),
        }))
    }
}

impl Queue for BreakingQueue {
    fn submit(&mut self, command: Command) -> std::result::Result<(), Command> {
        self.queue.submit(command)
    }

    fn poll(&mut self, completed: &mut Vec<Completion>) {
        self.queue.poll(completed);
    }

    fn wait(&mut self, doorbell: &Doorbell, timeout: Option<Duration>) {
        self.queue.wait(doorbell, timeout);
    }

    fn in_flight(&self) -> u32 {
        self.queue.in_flight()
    }

    fn buffer(&mut self, len: usize) -> std::io::Result<DmaBuffer> {
        assert!(!self.broken.load(Ordering::Relaxed), "broken on purpose");
        self.queue.buffer(len)
    }
}

/// Goal: a writer that panics leaves nobody waiting: those who wait are told, later ones are refused.
/// Method: the writer's next request for memory panics; waits for durability, for a checkpoint and for the end of the
/// store must all end with an error within a time that is no question of speed.
#[test]
fn a_writer_that_panics_leaves_nobody_waiting() {
    let broken = Arc::new(AtomicBool::new(false));
    let device = testing::device(64 << 20);
    drop(testing::create(&device, 1));
    let breaking = Breaking {
        device,
        broken: broken.clone(),
    };
    let config = Config {
        reactors: 1,
        pin: false,
        ..Config::default()
    };
    let runtime = Runtime::threads(Arc::new(breaking), &config).unwrap();
    let store = Store::open_on(&runtime, "sim:broken", &OpenOptions::default()).unwrap();
    store.block_on(put(&store, &contents(1, 100))).unwrap();
    store.block_on(store.flush()).unwrap();
    broken.store(true, Ordering::Relaxed);
    let limited = |what: &str, future: std::pin::Pin<Box<dyn Future<Output = bool> + '_>>| {
        let mut future = future;
        let mut limit = Box::pin(store.sleep(Duration::from_secs(20)));
        let failed = store.block_on(std::future::poll_fn(|context| {
            match (future.as_mut().poll(context), limit.as_mut().poll(context)) {
                (std::task::Poll::Ready(failed), _) => std::task::Poll::Ready(Some(failed)),
                (_, std::task::Poll::Ready(())) => std::task::Poll::Ready(None),
                _ => std::task::Poll::Pending,
            }
        }));
        assert_eq!(
            failed,
            Some(true),
            "{what}: `None` waited in vain, `Some(false)` went well"
        );
    };
    let waiting = contents(1, 5000);
    let batch = put(&store, &waiting);
    limited(
        "durability",
        Box::pin(async {
            match batch.await {
                Ok(ack) => ack.durable().await.is_err(),
                Err(_) => true,
            }
        }),
    );
    limited(
        "a later batch",
        Box::pin(async { put(&store, &contents(2, 300)).await.is_err() }),
    );
    limited("a flush", Box::pin(async { store.flush().await.is_err() }));
    limited(
        "a checkpoint",
        Box::pin(async { store.checkpoint().await.is_err() }),
    );
    let why = store.health().read_only.unwrap_or_default();
    assert!(why.contains("panicked"), "health does not say why: {why:?}");
    // The runtime hands on what its task threw.
    let closing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.close()));
    assert!(
        !matches!(closing, Ok(Ok(()))),
        "it closed as if nothing had happened"
    );
}
