//! Random commands, many in flight, against a model that remembers what each unit holds.

use std::collections::HashMap;
use std::ops::Range;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::driver::{Driver, pattern};
use super::{Make, UNIT};
use crate::device::{Completion, Operation};
use crate::limits::UNIT_BYTES;

const DEPTH: u32 = 16;
const UNITS: usize = 1024;
const COMMANDS: u64 = 3000;

/// What a unit holds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Held {
    Zeroes,
    Stamp(u64),
    /// It was discarded.
    Anything,
}

struct Model {
    units: Vec<Held>,
    /// Units of commands in flight: the order of commands that meet is not defined, so none do.
    busy: Vec<bool>,
    in_flight: HashMap<u64, (Range<usize>, Option<Held>)>,
}

/// Goal: any mix of commands leaves exactly what it should. Method: random commands on ranges that do not meet,
/// each read compared with the model when it completes, everything once more at the end. The seed is printed;
/// `HELIOS_CONFORMANCE_SEED` replays it.
pub(super) fn agrees_with_a_model(make: Make<'_>) {
    let seed = std::env::var("HELIOS_CONFORMANCE_SEED").ok();
    let seed = seed.map_or(20_261_122, |seed| {
        seed.parse().expect("HELIOS_CONFORMANCE_SEED is a number")
    });
    println!("HELIOS_CONFORMANCE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut driver = Driver::new(make, DEPTH);
    let len = UNITS as u64 * UNIT;
    driver
        .run(Operation::WriteZeroes { offset: 0, len })
        .result
        .expect("zeroes");
    let mut model = Model {
        units: vec![Held::Zeroes; UNITS],
        busy: vec![false; UNITS],
        in_flight: HashMap::new(),
    };
    for token in 0..COMMANDS {
        while driver.queue.in_flight() >= random.random_range(1..=DEPTH) {
            driver.some().into_iter().for_each(|done| model.complete(done));
        }
        let Some(units) = model.idle_range(&mut random) else {
            driver.some().into_iter().for_each(|done| model.complete(done));
            continue;
        };
        let operation = model.choose(token, units, &mut random, &mut driver);
        driver.submit(token, operation);
    }
    driver.drain().into_iter().for_each(|done| model.complete(done));
    for (unit, held) in model.units.iter().enumerate() {
        let offset = unit as u64 * UNIT;
        assert_holds(*held, offset, &driver.read(offset, UNIT_BYTES));
    }
}

impl Model {
    fn idle_range(&self, random: &mut StdRng) -> Option<Range<usize>> {
        let start = random.random_range(0..UNITS);
        let len = if random.random_bool(0.1) { 300 } else { 12 };
        let len = random.random_range(1..=len).min(UNITS - start);
        let free = self.busy[start..start + len]
            .iter()
            .take_while(|busy| !**busy)
            .count();
        (free > 0).then_some(start..start + free)
    }

    /// A command on `units`, noted as in flight together with what the units will hold after it.
    fn choose(
        &mut self,
        token: u64,
        units: Range<usize>,
        random: &mut StdRng,
        driver: &mut Driver,
    ) -> Operation {
        let (offset, len) = (units.start as u64 * UNIT, units.len() as u64 * UNIT);
        let range = 0..len as usize;
        let (operation, held) = match random.random_range(0..100) {
            0..40 => {
                let buffer = driver.buffer(len as usize);
                (
                    Operation::Read {
                        offset,
                        buffer,
                        range,
                    },
                    None,
                )
            }
            40..85 => {
                let mut buffer = driver.buffer(len as usize);
                buffer[range.clone()].copy_from_slice(&pattern(token, offset, len as usize));
                let durable = random.random_bool(0.1);
                let write = Operation::Write {
                    offset,
                    buffer,
                    range,
                    durable,
                };
                (write, Some(Held::Stamp(token)))
            }
            85..92 => (Operation::WriteZeroes { offset, len }, Some(Held::Zeroes)),
            92..96 => (Operation::Discard { offset, len }, Some(Held::Anything)),
            96..98 => (Operation::Allocate { offset, len }, None),
            _ => (Operation::Flush, None),
        };
        self.busy[units.clone()].fill(true);
        self.in_flight.insert(token, (units, held));
        operation
    }

    fn complete(&mut self, done: Completion) {
        let (units, held) = self
            .in_flight
            .remove(&done.token)
            .expect("in flight, and completed once");
        done.result
            .unwrap_or_else(|error| panic!("command {}: {error}", done.token));
        match (held, &done.buffer) {
            (Some(held), _) => self.units[units.clone()].fill(held),
            (None, Some(buffer)) => {
                for (unit, bytes) in units.clone().zip(buffer.chunks(UNIT_BYTES)) {
                    assert_holds(self.units[unit], unit as u64 * UNIT, bytes);
                }
            }
            (None, None) => {}
        }
        self.busy[units].fill(false);
    }
}

fn assert_holds(held: Held, offset: u64, bytes: &[u8]) {
    let right = match held {
        Held::Anything => true,
        Held::Zeroes => bytes.iter().all(|byte| *byte == 0),
        Held::Stamp(stamp) => bytes == pattern(stamp, offset - offset % UNIT, UNIT_BYTES),
    };
    assert!(right, "the unit at {offset} does not hold {held:?}");
}
