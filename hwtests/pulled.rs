//! A device that is pulled out of a running machine.
//!
//! `HELIOS_HW_PULL` and `HELIOS_HW_PLUG` are commands that pull it and bring it back, bound as before; in a laboratory a
//! script that turns the slot's power off and on. The first need not wait until the device is gone.

use super::faults::{one, read, shell, write};
use super::store::{Store, content};
use super::*;

/// What the engine says of a device that is gone.
const GONE: &str = "pulled out";
/// Writes to see it go; each takes some milliseconds.
const WRITES_MAX: usize = 20_000;

struct Slot {
    pull: String,
    plug: String,
}

impl Slot {
    fn of_environment() -> Option<Slot> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let slot = variable("HELIOS_HW_PULL").zip(variable("HELIOS_HW_PLUG"));
        if slot.is_none() {
            println!("skipped: HELIOS_HW_PULL and HELIOS_HW_PLUG do not say how to pull the device");
        }
        slot.map(|(pull, plug)| Slot { pull, plug })
    }

    fn pull(&self) {
        shell(&self.pull);
    }

    fn plug(&self) {
        shell(&self.plug);
    }
}

/// Goal: a device that is pulled while it is written ends commands with an error that says so, for good; the machine gets
/// it back at once, and plugged in again it can be opened by the same process. Method: pull it under a stream of writes.
#[test]
#[ignore = "pulls the device: README.md"]
fn pulled_device_ends_commands() {
    let Some(slot) = Slot::of_environment() else {
        return;
    };
    for round in 0..2 {
        let device = open(Duration::from_secs(2));
        let mut queue = device.open_queue(8).expect("queue");
        let mut idle = device.open_queue(8).expect("another queue");
        let operation = write(&mut *queue, 0, round);
        one(&mut *queue, operation).1.expect("write");
        slot.pull();
        let mut writes = 0;
        let error = loop {
            let operation = write(&mut *queue, (writes % 64) as u64 * (1 << 20), round);
            let (buffer, result) = one(&mut *queue, operation);
            assert!(buffer.is_some(), "buffers come back");
            if let Err(error) = result {
                break error;
            }
            writes += 1;
            assert!(writes < WRITES_MAX, "the device does not go");
        };
        println!("after {writes} writes: {error}");
        // The first may still be told of what broke, and not why.
        for queue in [&mut queue, &mut idle] {
            let operation = read(&mut **queue, 0);
            let error = one(&mut **queue, operation).1.expect_err("it is gone");
            assert!(error.to_string().contains(GONE), "{error}");
        }
        let refused = device.open_queue(8).err().expect("it is gone");
        assert!(refused.to_string().contains(GONE), "{refused}");
        // While the device is still open: nobody who has it must keep the machine waiting.
        slot.plug();
        drop((queue, idle, device));
        let device = open(Duration::from_secs(15));
        let mut queue = device.open_queue(8).expect("queue");
        let operation = write(&mut *queue, 0, 9);
        one(&mut *queue, operation).1.expect("write");
    }
}

/// Goal: a store on a device that is pulled says so and ends; everything acknowledged is there when it comes back.
/// Method: put contents, pull it in between, plug it in again and look for each.
#[test]
#[ignore = "pulls the device: README.md"]
fn pulled_device_stops_the_store() {
    let Some(slot) = Slot::of_environment() else {
        return;
    };
    let address = address().to_string();
    let store = Store::at(&address);
    store.init(None);
    // Few enough contents for small devices: what was put is put again.
    let seeds = || (0..8).cycle().take(WRITES_MAX);
    let mut ids = Vec::new();
    let mut failure = None;
    for (number, seed) in seeds().enumerate() {
        if number == 4 {
            slot.pull();
        }
        match store.try_put(&content(seed)) {
            Ok(id) => ids.push((seed, id)),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let failure = failure.expect("the device does not go");
    println!("{} contents, then {failure:?}", ids.len());
    let failure = store.try_put(b"one more").expect_err("it is gone");
    assert!(failure.message.contains(GONE), "{failure:?}");
    println!("{:?}", store.try_close());
    slot.plug();
    let store = Store::at(&address);
    for (seed, id) in ids {
        assert!(store.get(id) == content(seed), "other bytes came back");
    }
    store.is_whole();
    store.close();
}
