use std::io;

use helios_engine::device::{Command, Completion, DmaBuffer, Doorbell, Operation, Queue};
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// Short, so that aborts and resets come soon; a healthy target answers in a thousandth of it.
const TIMEOUT: Duration = Duration::from_secs(1);
pub const BYTES: usize = 512 << 10;

/// Who carries commands out.
pub enum Target {
    /// A process, which can be stopped.
    Process(Pid),
    /// A device that these commands keep from answering, and let go on.
    Device { stop: String, go_on: String },
}

impl Target {
    pub fn of_environment() -> Option<Target> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(pid) = variable("HELIOS_HW_PID") {
            return Pid::from_raw(pid.parse().expect("HELIOS_HW_PID is a number")).map(Target::Process);
        }
        let commands = variable("HELIOS_HW_STOP").zip(variable("HELIOS_HW_GO_ON"));
        commands.map(|(stop, go_on)| Target::Device { stop, go_on })
    }

    pub fn kill(&self) {
        let Target::Process(pid) = self else {
            panic!("HELIOS_HW_PID is no process that may be killed")
        };
        kill_process(*pid, Signal::KILL).expect("kill");
    }

    /// Hangs until the value goes.
    fn stop(&self) -> Stopped<'_> {
        match self {
            Target::Process(pid) => kill_process(*pid, Signal::STOP).expect("stop"),
            Target::Device { stop, .. } => shell(stop),
        }
        Stopped(self)
    }
}

struct Stopped<'a>(&'a Target);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        match self.0 {
            Target::Process(pid) => kill_process(*pid, Signal::CONT).expect("continue"),
            Target::Device { go_on, .. } => shell(go_on),
        }
    }
}

/// Runs a command of the caller.
pub fn shell(command: &str) {
    let status = std::process::Command::new("sh").args(["-c", command]).status();
    let status = status.expect("sh");
    assert!(status.success(), "{command}: {status}");
}

fn target() -> Option<Target> {
    let target = Target::of_environment();
    if target.is_none() {
        println!("skipped: neither HELIOS_HW_PID nor HELIOS_HW_STOP says how to stop the target");
    }
    target
}

pub fn write(queue: &mut dyn Queue, offset: u64, byte: u8) -> Operation {
    let mut buffer = queue.buffer(BYTES).expect("buffer");
    buffer.fill(byte);
    Operation::Write {
        offset,
        buffer,
        range: 0..BYTES,
        durable: true,
    }
}

pub fn read(queue: &mut dyn Queue, offset: u64) -> Operation {
    let buffer = queue.buffer(BYTES).expect("buffer");
    Operation::Read {
        offset,
        buffer,
        range: 0..BYTES,
    }
}

/// Runs commands together until all are complete, in the order of their submission.
fn run(queue: &mut dyn Queue, operations: Vec<Operation>) -> Vec<Completion> {
    let bell = Doorbell::new().expect("doorbell");
    let count = operations.len();
    for (token, operation) in (0..).zip(operations) {
        assert!(queue.submit(Command { token, operation }).is_ok());
    }
    let mut completed = Vec::new();
    while completed.len() < count {
        queue.wait(&bell, Some(Duration::from_millis(10)));
        queue.poll(&mut completed);
    }
    assert_eq!(queue.in_flight(), 0);
    completed.sort_by_key(|done| done.token);
    completed
}

pub fn one(queue: &mut dyn Queue, operation: Operation) -> (Option<DmaBuffer>, io::Result<()>) {
    let done = run(queue, vec![operation]).remove(0);
    (done.buffer, done.result)
}

/// Goal: commands to a target that hangs end with errors and give their buffers back, the bytes of written ones
/// unchanged; when the target goes on in time the device works again, on every queue. Method: stop the target's process,
/// let everything time out, continue it.
#[test]
#[ignore = "stops the target: README.md"]
fn a_target_that_hangs_for_a_while() {
    let Some(target) = target() else { return };
    let device = open(TIMEOUT);
    let mut queue = device.open_queue(8).expect("queue");
    let mut idle = device.open_queue(8).expect("another queue");
    let before = write(&mut *queue, 0, 1);
    one(&mut *queue, before).1.expect("write");

    let stopped = target.stop();
    let operations = vec![
        write(&mut *queue, 0, 2),
        read(&mut *queue, BYTES as u64),
        Operation::Flush,
    ];
    for (number, done) in run(&mut *queue, operations).into_iter().enumerate() {
        let error = done.result.expect_err("the target hangs");
        println!("command {number}: {error}");
        assert_eq!(done.buffer.is_some(), number < 2, "buffers come back");
        if number == 0 {
            let buffer = done.buffer.expect("checked");
            assert!(buffer.iter().all(|byte| *byte == 2));
        }
    }
    drop(stopped);

    // Either queue, as soon as the controller is back: commands wait for it.
    for (queue, byte) in [(&mut queue, 3), (&mut idle, 4)] {
        let operation = write(&mut **queue, 0, byte);
        one(&mut **queue, operation).1.expect("the target is back");
        let operation = read(&mut **queue, 0);
        let (buffer, result) = one(&mut **queue, operation);
        result.expect("read");
        assert!(buffer.expect("buffer").iter().all(|found| *found == byte));
    }
}

/// Goal: a target that stays away is given up: commands fail at once from then on, and neither they nor closing hang.
/// Method: stop the target's process until the device says so, drop everything while it is stopped, continue it, open it
/// again.
#[test]
#[ignore = "stops the target: README.md"]
fn a_target_that_hangs_for_good() {
    let Some(target) = target() else { return };
    let device = open(TIMEOUT);
    let mut queue = device.open_queue(8).expect("queue");
    let stopped = target.stop();
    let last = loop {
        let operation = write(&mut *queue, 0, 5);
        let error = one(&mut *queue, operation).1.expect_err("the target hangs");
        if error.to_string().contains("did not come back") {
            break error;
        }
        println!("{error}");
    };
    println!("{last}");
    let operation = read(&mut *queue, 0);
    let (buffer, result) = one(&mut *queue, operation);
    assert!(buffer.is_some() && result.is_err());
    let refused = device.open_queue(8).err().expect("the controller was given up");
    assert!(refused.to_string().contains("did not come back"), "{refused}");
    drop((queue, device));
    drop(stopped);
    let device = open(Duration::from_secs(15));
    let mut queue = device.open_queue(8).expect("queue");
    let operation = write(&mut *queue, 0, 6);
    one(&mut *queue, operation).1.expect("write");
}

/// Goal: a queue that is dropped while the target hangs ends, and its buffers stay out of use until then. Method: stop the
/// target with commands in flight and drop the queue; the device goes on afterwards.
#[test]
#[ignore = "stops the target: README.md"]
fn a_queue_dropped_while_the_target_hangs() {
    let Some(target) = target() else { return };
    let device = open(TIMEOUT);
    let mut queue = device.open_queue(8).expect("queue");
    let stopped = target.stop();
    for token in 0..8 {
        let operation = write(&mut *queue, token * BYTES as u64, 7);
        assert!(queue.submit(Command { token, operation }).is_ok());
    }
    queue.poll(&mut Vec::new());
    drop(queue);
    drop((stopped, device));
    let device = open(Duration::from_secs(15));
    let mut queue = device.open_queue(8).expect("queue");
    let operation = write(&mut *queue, 0, 8);
    one(&mut *queue, operation).1.expect("write");
}

/// Goal: a target that dies with commands in flight ends them with errors. Method: kill it.
#[test]
#[ignore = "ends the target: README.md"]
fn killed_target_ends_commands() {
    let target = Target::of_environment().expect("HELIOS_HW_PID is the target's process");
    let device = open(TIMEOUT);
    let mut queue = device.open_queue(8).expect("queue");
    let stopped = target.stop();
    let bell = Doorbell::new().expect("doorbell");
    for token in 0..8 {
        let operation = write(&mut *queue, token * BYTES as u64, 9);
        assert!(queue.submit(Command { token, operation }).is_ok());
    }
    let mut completed = Vec::new();
    queue.poll(&mut completed);
    target.kill();
    while queue.in_flight() > 0 {
        queue.wait(&bell, None);
        queue.poll(&mut completed);
    }
    assert_eq!(completed.len(), 8);
    for done in completed {
        println!("{}", done.result.expect_err("the target is dead"));
        assert!(
            done.buffer
                .expect("buffers come back")
                .iter()
                .all(|byte| *byte == 9)
        );
    }
    // It is dead: there is nothing to continue.
    std::mem::forget(stopped);
    drop((queue, device));
}
