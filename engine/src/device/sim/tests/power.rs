//! What survives a power cut, a crash at a given write, and the end of a process.

use super::{CAPACITY, Rig, UNIT, full, write};
use crate::device::Operation;
use crate::device::sim::{Effect, Faults, On, Options, Rule, SimDevice};
use crate::limits::UNIT_BYTES;

const SEEDS: u64 = 200;

/// What is left of a write of ones over zeroes, block by block.
fn survivors(bytes: &[u8], block: usize) -> Vec<bool> {
    bytes
        .chunks(block)
        .map(|block| {
            assert!(
                block.iter().all(|&byte| byte == block[0]),
                "a block is written whole or not at all"
            );
            block[0] == 1
        })
        .collect()
}

/// Goal: what was promised survives every cut; what was not survives whole, in part, or not at all, each of which
/// happens; parts are whole logical blocks.
/// Method: a durable, a flushed, an unflushed and a write in flight of two units each, cut under 200 seeds, with
/// logical blocks of 512 and 4096 bytes.
#[test]
fn a_power_cut_keeps_promises_only() {
    for block in [512, 4096] {
        let (mut whole, mut torn, mut gone) = ([0; 2], [0; 2], [0; 2]);
        for seed in 0..SEEDS {
            let options = Options {
                logical_block: block,
                ..Options::new(CAPACITY)
            };
            let mut rig = Rig::on(SimDevice::with_options(seed, options));
            rig.run(write(0, 2, 1, true))
                .result
                .expect("no faults are planned");
            rig.run(write(2, 2, 1, false))
                .result
                .expect("no faults are planned");
            rig.flush().expect("no faults are planned");
            rig.run(write(4, 2, 1, false))
                .result
                .expect("no faults are planned");
            rig.submit(write(6, 2, 1, true));
            let after = rig.device.power_cut();
            assert!(rig.device.is_dead() && !after.is_dead());
            assert_eq!(
                after.peek(0, 4 * UNIT_BYTES),
                vec![1; 4 * UNIT_BYTES],
                "seed {seed}"
            );
            for (kind, unit) in [4, 6].into_iter().enumerate() {
                let left = survivors(&after.peek(unit * UNIT, 2 * UNIT_BYTES), block as usize);
                match left.iter().filter(|&&left| left).count() {
                    0 => gone[kind] += 1,
                    count if count == left.len() => whole[kind] += 1,
                    _ => torn[kind] += 1,
                }
            }
            assert_eq!(after.peek(8 * UNIT, UNIT_BYTES), full(0));
            let late = rig.write(9, 1, true).expect_err("a dead device takes nothing");
            assert_eq!(late.raw_os_error(), Some(rustix::io::Errno::NODEV.raw_os_error()));
        }
        for kind in 0..2 {
            let counts = [whole[kind], torn[kind], gone[kind]];
            assert!(
                counts.iter().all(|&count| count > SEEDS / 20),
                "block {block}, kind {kind}: {counts:?}"
            );
        }
    }
}

/// Goal: unflushed writes survive independently: an earlier one may be lost while a later one is kept, also on the
/// same unit; and without a volatile cache completed writes always survive.
/// Method: two writes to two units, two to one unit; count the combinations over the seeds.
#[test]
fn survival_is_independent() {
    let (mut only_later, mut only_earlier, mut older_wins) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut rig = Rig::new(seed);
        for (unit, byte) in [(0, 1), (1, 1), (2, 2), (2, 3)] {
            rig.write(unit, byte, false).expect("no faults are planned");
        }
        let after = rig.device.power_cut();
        let whole = |unit: u64, byte: u8| after.peek(unit * UNIT, UNIT_BYTES) == full(byte);
        only_later += u32::from(whole(0, 0) && whole(1, 1));
        only_earlier += u32::from(whole(0, 1) && whole(1, 0));
        older_wins += u32::from(whole(2, 2));

        let options = Options {
            volatile_cache: false,
            ..Options::new(CAPACITY)
        };
        let mut rig = Rig::on(SimDevice::with_options(seed, options));
        rig.write(0, 1, false).expect("no faults are planned");
        assert_eq!(rig.device.power_cut().peek(0, UNIT_BYTES), full(1), "seed {seed}");
    }
    assert!(
        only_later > 2 && only_earlier > 2 && older_wins > 2,
        "{only_later} {only_earlier} {older_wins}"
    );
}

/// Goal: a chosen power cut keeps what is chosen, whole, and nothing else. Method: three unflushed writes, two to the
/// same unit, and every subset of them.
#[test]
fn chosen_writes_survive() {
    for subset in 0..8u32 {
        let mut rig = Rig::new(1);
        for (unit, byte) in [(0, 1), (1, 2), (1, 3)] {
            rig.write(unit, byte, false).expect("no faults are planned");
        }
        assert_eq!(rig.device.at_risk(), 3);
        let kept = |number: usize| subset >> number & 1 == 1;
        let after = rig.device.power_cut_keeping(kept);
        let expected = [u8::from(kept(0)), if kept(2) { 3 } else { 2 * u8::from(kept(1)) }];
        for (unit, byte) in (0..).zip(expected) {
            assert_eq!(
                after.peek(unit * UNIT, UNIT_BYTES),
                full(byte),
                "subset {subset:03b}"
            );
        }
        assert_eq!(after.at_risk(), 0);
    }
}

/// Goal: a durable write is not undone by an older unflushed one, a flush covers all that completed before it was
/// submitted, and only that.
/// Method: an unflushed write below a durable one; a write that completes between submission and completion of a
/// flush, which must be lost under some seed and is never lost with another flush after it.
#[test]
fn flushes_cover_what_came_before() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::new(seed);
        rig.write(0, 1, false).expect("no faults are planned");
        rig.write(0, 2, true).expect("no faults are planned");
        rig.device
            .set_faults(Faults::none().with(Rule::new(On::Flush, Effect::Slow(SLOW)).nth(1)));
        let flush = rig.submit(Operation::Flush);
        rig.write(1, 1, false).expect("no faults are planned");
        rig.finish(flush).result.expect("no faults are planned");
        rig.write(2, 1, false).expect("no faults are planned");
        let early = rig.device.restart();
        let early = early.power_cut();
        assert_eq!(early.peek(0, UNIT_BYTES), full(2), "seed {seed}");
        lost += u32::from(early.peek(UNIT, UNIT_BYTES) != full(1));

        let mut rig = Rig::on(rig.device.restart());
        rig.flush().expect("no faults are planned");
        let after = rig.device.power_cut();
        assert_eq!(
            after.peek(UNIT, 2 * UNIT_BYTES),
            vec![1; 2 * UNIT_BYTES],
            "seed {seed}"
        );
    }
    assert!(lost > 20, "{lost}");
}

const SLOW: std::time::Duration = std::time::Duration::from_millis(5);

/// Goal: a crash can be put after each write in turn, and happens exactly there.
/// Method: ten durable writes at once with a crash after n of them for every n: n are acknowledged, and those are
/// there after the cut, however often it is looked at; of the others some are there and some are not.
#[test]
fn a_crash_at_every_write() {
    let mut rig = Rig::new(1);
    for unit in 0..10 {
        rig.write(unit, 1, true).expect("no faults are planned");
    }
    let writes = rig.device.changes();
    assert_eq!(writes, 10);
    let mut next_seen = [false; 2];
    for seed in 0..20 {
        for crash in 0..=writes {
            let mut rig = Rig::new(seed);
            rig.device.crash_after(crash);
            // All at once, so that the others are in flight when the power fails.
            let tokens: Vec<u64> = (0..10).map(|unit| rig.submit(write(unit, 1, 1, true))).collect();
            let mut acknowledged = Vec::new();
            for (unit, token) in (0u64..).zip(tokens) {
                if rig.finish(token).result.is_ok() {
                    acknowledged.push(unit);
                }
            }
            assert_eq!(acknowledged.len() as u64, crash, "seed {seed}");
            for _ in 0..3 {
                let after = rig.device.power_cut();
                for unit in 0..10 {
                    let bytes = after.peek(unit * UNIT, UNIT_BYTES);
                    if acknowledged.contains(&unit) {
                        assert_eq!(bytes, full(1), "seed {seed}, crash {crash}, unit {unit}");
                    } else {
                        next_seen[usize::from(bytes == full(1))] = true;
                    }
                }
            }
        }
    }
    assert_eq!(
        next_seen, [true; 2],
        "unacknowledged writes are sometimes there and sometimes not"
    );
}

/// Goal: the end of a process loses nothing that completed, but makes nothing durable either.
/// Method: restart with one write completed and one in flight under many seeds; then cut the power.
#[test]
fn a_restart_keeps_completed_writes() {
    let (mut lost_later, mut partly, mut dropped) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut rig = Rig::new(seed);
        rig.write(0, 1, false).expect("no faults are planned");
        rig.submit(write(1, 1, 1, false));
        let next = rig.device.restart();
        assert!(rig.device.is_dead());
        assert_eq!(next.peek(0, UNIT_BYTES), full(1), "seed {seed}");
        let in_flight = next.peek(UNIT, UNIT_BYTES);
        dropped += u32::from(in_flight == full(0));
        partly += u32::from(in_flight != full(0) && in_flight != full(1));
        lost_later += u32::from(next.power_cut().peek(0, UNIT_BYTES) != full(1));
    }
    assert!(
        lost_later > 20 && partly > 20 && dropped > 20,
        "{lost_later} {partly} {dropped}"
    );
}
