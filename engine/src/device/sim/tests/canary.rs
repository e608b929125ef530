//! A canary: an engine that breaks a promise must be caught by the simulated device, or the device is too kind.
//!
//! The engine is a counter kept in two alternating units, each with a checksum; the driver runs it. The right one
//! acknowledges after a durable write. The broken ones acknowledge too early, trust a flush that was submitted too
//! early, or update a single place that tears.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{CAPACITY, UNIT};
use crate::device::Device;
use crate::device::sim::SimDevice;
use crate::limits::UNIT_BYTES;
use crate::reactor::{Config, Runtime, oneshot};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Right,
    /// Acknowledges writes that are not durable.
    NoFlush,
    /// Submits the flush together with the write.
    FlushTooEarly,
    /// Overwrites the only copy.
    OnePlace,
}

fn encode(count: u64, unit: &mut [u8]) {
    for word in unit[..UNIT_BYTES - 8].as_chunks_mut::<8>().0 {
        *word = count.to_le_bytes();
    }
    unit[UNIT_BYTES - 8..].copy_from_slice(&count.wrapping_mul(31).to_le_bytes());
}

fn decode(unit: &[u8]) -> Option<u64> {
    let words = unit.as_chunks::<8>().0;
    let count = u64::from_le_bytes(words[0]);
    let (sum, body) = words.split_last()?;
    let whole = body.iter().all(|word| *word == words[0]) && *sum == count.wrapping_mul(31).to_le_bytes();
    whole.then_some(count)
}

/// Counts to ten with a crash after so many changes; gives what was acknowledged and what is found afterwards.
fn crash(engine: Engine, seed: u64, changes: u64) -> (u64, Option<u64>) {
    let device = SimDevice::new(seed, CAPACITY);
    device.crash_after(changes);
    let config = Config {
        reactors: 2,
        seed,
        ..Config::default()
    };
    let runtime = Runtime::driver(Arc::clone(&device) as Arc<dyn Device>, &config).expect("a driver starts");
    let acknowledged = Arc::new(AtomicU64::new(0));
    let (answer, ended) = oneshot::<()>();
    let promised = Arc::clone(&acknowledged);
    runtime.handles()[0].spawn(move |local| async move {
        let _answer = answer;
        for count in 1..=10u64 {
            let place = if engine == Engine::OnePlace { 0 } else { count % 2 };
            let mut buffer = local.buffer(UNIT_BYTES).expect("memory");
            encode(count, &mut buffer);
            let durable = matches!(engine, Engine::Right | Engine::OnePlace);
            let write = local.write(place * UNIT, buffer, 0..UNIT_BYTES, durable);
            let early = (engine == Engine::FlushTooEarly).then(|| local.flush());
            if write.await.1.is_err() {
                return;
            }
            if let Some(flush) = early
                && flush.await.is_err()
            {
                return;
            }
            promised.store(count, Ordering::Relaxed);
        }
    });
    runtime.block_on(ended);
    runtime.shutdown();
    let after = device.power_cut();
    let found = (0..2)
        .filter_map(|place| decode(&after.peek(place * UNIT, UNIT_BYTES)))
        .max();
    (acknowledged.load(Ordering::Relaxed), found)
}

/// How many crashes an engine does not survive.
fn broken_promises(engine: Engine) -> u64 {
    let mut broken = 0;
    for seed in 0..40 {
        for changes in 0..=20 {
            let (acknowledged, found) = crash(engine, seed, changes);
            let kept = acknowledged == 0 || found.is_some_and(|found| found >= acknowledged);
            assert!(
                kept || engine != Engine::Right,
                "seed {seed}, crash after {changes}: {acknowledged} {found:?}"
            );
            broken += u64::from(!kept);
        }
    }
    broken
}

/// Goal: the device is neither too kind nor too cruel.
/// Method: crash each engine at every change under 40 seeds: the right one always keeps its promise, each broken one
/// is caught.
#[test]
fn broken_engines_are_caught() {
    assert_eq!(broken_promises(Engine::Right), 0);
    for engine in [Engine::NoFlush, Engine::FlushTooEarly, Engine::OnePlace] {
        let broken = broken_promises(engine);
        assert!(broken > 0, "{engine:?} was not caught");
    }
}
