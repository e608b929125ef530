//! Each planned fault can be seen, and only where it was planned.

use std::time::Duration;

use super::{CAPACITY, Rig, UNIT, full, write};
use crate::device::Operation;
use crate::device::sim::{Effect, Faults, On, Rule};
use crate::limits::UNIT_BYTES;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const SEEDS: u64 = 100;

/// Every fault, each with this chance.
pub(super) fn everything(chance: f64) -> Faults {
    let rules = [
        (On::Read, Effect::Fail(EIO)),
        (On::Read, Effect::Flip),
        (On::Read, Effect::Rot),
        (On::Read, Effect::Stale),
        (On::Read, Effect::Misdirect),
        (On::Write, Effect::Fail(EIO)),
        (On::Write, Effect::Flip),
        (On::Write, Effect::Tear),
        (On::Write, Effect::Lose),
        (On::Write, Effect::Misdirect),
        (On::Write, Effect::Slow(Duration::from_millis(1))),
        (On::Flush, Effect::Fail(EIO)),
        (On::Flush, Effect::Lose),
        (On::Discard, Effect::Lose),
        (On::Discard, Effect::Fail(EIO)),
    ];
    rules.into_iter().fold(Faults::none(), |faults, (on, effect)| {
        faults.with(Rule::new(on, effect).chance(chance))
    })
}

fn only(on: On, effect: Effect) -> Faults {
    Faults::none().with(Rule::new(on, effect))
}

fn differing_bits(one: &[u8], other: &[u8]) -> u32 {
    one.iter()
        .zip(other)
        .map(|(one, other)| (one ^ other).count_ones())
        .sum()
}

/// Goal: a planned failure answers with its errno, on every kind of command.
/// Method: fail each kind alone; the others succeed.
#[test]
fn failures_have_their_errno() {
    let kinds = [
        On::Read,
        On::Write,
        On::Flush,
        On::Discard,
        On::WriteZeroes,
        On::Allocate,
    ];
    for failing in kinds {
        let mut rig = Rig::new(1);
        rig.device.set_faults(only(failing, Effect::Fail(EIO)));
        for kind in kinds {
            let (offset, len) = (4 * UNIT, UNIT);
            let result = match kind {
                On::Read => rig.read(0, 1).map(|_| ()),
                On::Write => rig.write(0, 1, true),
                On::Flush => rig.flush(),
                On::Discard => rig.run(Operation::Discard { offset, len }).result,
                On::WriteZeroes => rig.run(Operation::WriteZeroes { offset, len }).result,
                On::Allocate => rig.run(Operation::Allocate { offset, len }).result,
            };
            let errno = result.err().and_then(|error| error.raw_os_error());
            assert_eq!(
                errno,
                (kind == failing).then_some(EIO),
                "{kind:?} while {failing:?} fails"
            );
        }
        assert_eq!(rig.device.faults_injected(), 1);
        assert_eq!(
            rig.device
                .log()
                .iter()
                .filter(|event| event.error.is_some())
                .count(),
            1
        );
    }
}

/// Goal: a failed write has happened whole, in part, or not at all; all three occur.
/// Method: one failing write on many seeds.
#[test]
fn a_failed_write_is_in_doubt() {
    let mut seen = [0; 3];
    for seed in 0..SEEDS {
        let mut rig = Rig::new(seed);
        rig.device.set_faults(only(On::Write, Effect::Fail(EIO)));
        rig.write(0, 1, true).expect_err("planned");
        let bytes = rig.device.peek(0, UNIT_BYTES);
        let place = if bytes == full(1) {
            0
        } else {
            1 + usize::from(bytes == full(0))
        };
        seen[place] += 1;
    }
    assert!(seen.iter().all(|&count| count > 5), "{seen:?}");
}

/// Goal: after a failed flush some writes are visible but lost for good, even if a later flush succeeds.
/// Method: one failing flush and one good one, then a power cut, on many seeds.
#[test]
fn a_failed_flush_gives_up_on_writes() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..SEEDS {
        let mut rig = Rig::new(seed);
        rig.write(0, 1, false).expect("no fault for writes");
        rig.device
            .set_faults(Faults::none().with(Rule::new(On::Flush, Effect::Fail(EIO)).nth(1)));
        rig.flush().expect_err("planned");
        rig.flush().expect("only the first fails");
        assert_eq!(
            rig.read(0, 1).expect("reads succeed"),
            full(1),
            "visible all the same"
        );
        match rig.device.power_cut().peek(0, UNIT_BYTES) == full(1) {
            true => kept += 1,
            false => lost += 1,
        }
    }
    assert!(lost > 20 && kept > 20, "{lost} lost, {kept} kept");
}

/// Goal: acknowledged and never done: writes, zero-writes and flushes.
/// Method: lose each; durable writes included.
#[test]
fn lost_commands_never_happen() {
    let mut rig = Rig::new(1);
    rig.write(0, 1, true).expect("nothing planned");
    rig.device
        .set_faults(only(On::Write, Effect::Lose).with(Rule::new(On::WriteZeroes, Effect::Lose)));
    rig.write(0, 2, true).expect("acknowledged");
    rig.run(Operation::WriteZeroes { offset: 0, len: UNIT })
        .result
        .expect("acknowledged");
    assert_eq!(rig.read(0, 1).expect("reads succeed"), full(1));
    let mut lost = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::new(seed);
        rig.write(0, 1, false).expect("nothing planned");
        rig.device.set_faults(only(On::Flush, Effect::Lose));
        rig.flush().expect("acknowledged");
        lost += u32::from(rig.device.power_cut().peek(0, UNIT_BYTES) != full(1));
    }
    assert!(lost > 20, "{lost}");
}

/// Goal: a torn write is acknowledged and partly there, at logical blocks.
/// Method: tear a write of four units on many seeds: never whole, blocks never mixed.
#[test]
fn torn_writes_are_partly_there() {
    let mut blocks_new = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::new(seed);
        rig.device.set_faults(only(On::Write, Effect::Tear));
        rig.run(write(0, 4, 1, true)).result.expect("acknowledged");
        let bytes = rig.device.peek(0, 4 * UNIT_BYTES);
        let new = bytes.chunks(512).filter(|block| **block == [1; 512]).count();
        let old = bytes.chunks(512).filter(|block| **block == [0; 512]).count();
        assert_eq!(new + old, 32, "seed {seed}");
        assert!(old > 0, "seed {seed}");
        blocks_new += new;
    }
    assert!(blocks_new > 0);
}

/// Goal: a misdirected write leaves its place alone and lands elsewhere; a misdirected read answers from elsewhere.
/// Method: give every unit its own contents, then misdirect one of each.
#[test]
fn misdirected_commands_go_elsewhere() {
    for seed in 0..SEEDS {
        let mut rig = Rig::new(seed);
        for unit in 0..CAPACITY / UNIT {
            rig.device.poke(unit * UNIT, &full(1 + (unit % 200) as u8));
        }
        let before = rig.device.image();
        rig.device
            .set_faults(only(On::Write, Effect::Misdirect).with(Rule::new(On::Read, Effect::Misdirect)));
        assert_ne!(rig.read(7, 1).expect("answered"), full(8), "seed {seed}");
        rig.run(write(7, 2, 255, true)).result.expect("acknowledged");
        let after = rig.device.image();
        let changed: Vec<u64> = (0..CAPACITY / UNIT)
            .filter(|unit| before.peek(unit * UNIT, 4096) != after.peek(unit * UNIT, 4096))
            .collect();
        assert_eq!(changed.len(), 2, "seed {seed}");
        assert!(
            changed[0] != 7 && changed[1] == changed[0] + 1,
            "seed {seed}: {changed:?}"
        );
    }
}

/// Goal: flipped bits: on the media for writes, in one answer for reads, from then on for rot. Exactly one bit.
/// Method: each on its own, then read again without a plan.
#[test]
fn bits_flip() {
    for seed in 0..SEEDS {
        let mut rig = Rig::new(seed);
        rig.device.set_faults(only(On::Write, Effect::Flip));
        rig.run(write(0, 2, 1, true)).result.expect("acknowledged");
        let media = rig.device.peek(0, 2 * UNIT_BYTES);
        assert_eq!(differing_bits(&media, &vec![1; 2 * UNIT_BYTES]), 1, "seed {seed}");

        rig.device.set_faults(only(On::Read, Effect::Flip));
        let answer = rig.read(0, 2).expect("answered");
        assert_eq!(differing_bits(&answer, &media), 1, "seed {seed}");
        assert_eq!(rig.device.peek(0, 2 * UNIT_BYTES), media, "seed {seed}");

        rig.device.set_faults(only(On::Read, Effect::Rot));
        let answer = rig.read(0, 2).expect("answered");
        assert_eq!(differing_bits(&answer, &media), 1, "seed {seed}");
        rig.device.set_faults(Faults::none());
        assert_eq!(rig.read(0, 2).expect("answered"), answer, "seed {seed}");
        assert_eq!(
            rig.device.power_cut().peek(0, 2 * UNIT_BYTES),
            answer,
            "rot is on the media"
        );
    }
}

/// Goal: a stale read answers with the contents before the last write.
/// Method: two writes after the plan is set; then without the plan.
#[test]
fn stale_reads_answer_with_the_past() {
    let mut rig = Rig::new(1);
    rig.device.set_faults(only(On::Read, Effect::Stale));
    rig.write(0, 1, true).expect("acknowledged");
    rig.write(0, 2, true).expect("acknowledged");
    assert_eq!(rig.read(0, 1).expect("answered"), full(1));
    rig.device.set_faults(Faults::none());
    assert_eq!(rig.read(0, 1).expect("answered"), full(2));
}

/// Goal: a discarded range reads as before, as zeroes, or as garbage; all three occur.
/// Method: discard on many seeds.
#[test]
fn discarded_ranges_are_undefined() {
    let mut seen = [0; 3];
    for seed in 0..SEEDS {
        let mut rig = Rig::new(seed);
        rig.run(write(0, 2, 1, true)).result.expect("acknowledged");
        rig.run(Operation::Discard { offset: 0, len: UNIT })
            .result
            .expect("acknowledged");
        let bytes = rig.read(0, 1).expect("answered");
        let place = if bytes == full(1) {
            0
        } else {
            1 + usize::from(bytes == full(0))
        };
        seen[place] += 1;
        assert_eq!(
            rig.read(1, 1).expect("answered"),
            full(1),
            "the next unit is untouched"
        );
    }
    assert!(seen.iter().all(|&count| count > 10), "{seen:?}");
}

/// Goal: a slow command takes its time in virtual time and holds up no other.
/// Method: a slow write and a normal one.
#[test]
fn slow_commands_take_longer() {
    let mut rig = Rig::new(1);
    rig.device
        .set_faults(Faults::none().with(Rule::new(On::Write, Effect::Slow(Duration::from_secs(1))).nth(1)));
    let slow = rig.submit(write(0, 1, 1, true));
    let fast = rig.submit(write(1, 1, 1, true));
    rig.finish(slow).result.expect("acknowledged");
    rig.finish(fast).result.expect("acknowledged");
    assert_eq!(rig.order, [fast, slow]);
    assert!(rig.device.log()[1].at_ns >= 1_000_000_000);
}

/// Goal: space ends where the plan says; what has its space keeps it; discards give it back.
/// Method: allocate up to the bound, one unit beyond, write inside and outside, discard, allocate again.
#[test]
fn space_runs_out() {
    let mut rig = Rig::new(1);
    rig.write(0, 1, true).expect("nothing planned");
    rig.device.set_faults(Faults::none().space(10 * UNIT));
    let allocate = |unit: u64, units: u64| Operation::Allocate {
        offset: unit * UNIT,
        len: units * UNIT,
    };
    let errno = |result: std::io::Result<()>| result.err().and_then(|error| error.raw_os_error());
    assert_eq!(errno(rig.run(allocate(0, 9)).result), None);
    assert_eq!(errno(rig.run(allocate(20, 2)).result), Some(ENOSPC));
    assert_eq!(
        errno(rig.run(allocate(20, 1)).result),
        None,
        "a refused allocation has taken nothing"
    );
    assert_eq!(errno(rig.run(allocate(0, 9)).result), None, "twice is once");
    assert_eq!(errno(rig.write(30, 1, true)), Some(ENOSPC));
    assert_eq!(rig.device.peek(30 * UNIT, UNIT_BYTES), full(0));
    assert_eq!(errno(rig.write(8, 1, true)), None);
    assert_eq!(
        errno(
            rig.run(Operation::Discard {
                offset: 0,
                len: 4 * UNIT
            })
            .result
        ),
        None
    );
    assert_eq!(errno(rig.run(allocate(40, 4)).result), None);
    assert_eq!(errno(rig.run(allocate(50, 1)).result), Some(ENOSPC));
}

/// Goal: scripts hit the command they name.
/// Method: the third write, writes to a range, the first two only; the first rule that strikes counts.
#[test]
fn scripts_hit_their_command() {
    let fates = |faults: Faults| -> Vec<bool> {
        let mut rig = Rig::new(1);
        rig.device.set_faults(faults);
        (0..6).map(|unit| rig.write(unit, 1, true).is_ok()).collect()
    };
    let failing = || Rule::new(On::Write, Effect::Fail(EIO));
    assert_eq!(
        fates(Faults::none().with(failing().nth(3))),
        [true, true, false, true, true, true]
    );
    assert_eq!(
        fates(Faults::none().with(failing().within(UNIT..3 * UNIT))),
        [true, false, false, true, true, true]
    );
    assert_eq!(
        fates(Faults::none().with(failing().within(UNIT..5 * UNIT).nth(2))),
        [true, true, false, true, true, true]
    );
    assert_eq!(
        fates(Faults::none().with(failing().times(2))),
        [false, false, true, true, true, true]
    );
    assert_eq!(fates(Faults::none().with(failing().chance(0.0))), [true; 6]);
    let lost_first = Faults::none()
        .with(Rule::new(On::Write, Effect::Lose).nth(1))
        .with(failing());
    assert_eq!(fates(lost_first), [true, false, false, false, false, false]);
    let meaningless = std::panic::catch_unwind(|| Rule::new(On::Flush, Effect::Flip));
    assert!(meaningless.is_err());
}
