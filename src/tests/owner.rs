//! A server in a process of its own, and what its clients do first. Shared by the tests and the benches, so it knows neither.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use helios::client::Client;
use helios::observe::reading::Metrics;
use helios::wire::message::{Answer, Call};
pub use helios::workloads::calls::{commit, opening, passing_fork, read, write};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long enough that only something lost takes it.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks at a server that is to come to rest.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running server; killed when dropped without being ended.
pub struct Owner {
    pub child: Child,
    /// What it said when it was ready.
    pub ready: Value,
    /// Where its clients come in.
    pub socket: PathBuf,
    /// Whether the socket is somebody else's, and stays.
    is_passed: bool,
}

impl Owner {
    /// Starts `helios serve --json ...`, whose standard output is a pipe.
    pub fn of(mut command: Command) -> Owner {
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut line).expect("it says where it listens");
        if line.is_empty() {
            let mut stderr = String::new();
            if let Some(pipe) = child.stderr.as_mut() {
                pipe.read_to_string(&mut stderr).expect("its last words");
            }
            panic!("the server did not start: {stderr}");
        }
        let ready: Value = serde_json::from_str(&line).expect("one value");
        let socket = PathBuf::from(ready["control"].as_str().expect("a path"));
        Owner {
            child,
            ready,
            socket,
            is_passed: false,
        }
    }

    /// The same; its socket was passed to it.
    pub fn of_passed(command: Command) -> Owner {
        let mut owner = Owner::of(command);
        owner.is_passed = true;
        owner
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Ends it as an operator would.
    pub fn end(mut self) {
        self.signal(Signal::TERM);
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        assert_eq!(self.socket.exists(), self.is_passed, "the socket afterwards");
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// A connection without a word.
    pub fn connect(&self) -> UnixStream {
        let socket = UnixStream::connect(&self.socket).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }

    pub fn client(&self) -> Client {
        let mut client = Client::connect(&self.socket).expect("it listens");
        let socket = client.conversation().socket();
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        client
    }

    /// Its metrics, asked for by a client of its own.
    pub fn metrics(&self) -> Metrics {
        let (answer, page) = self.client().call(&Call::Observe, "").expect("an answer");
        assert!(matches!(answer, Answer::Observed { .. }), "{answer:?}");
        Metrics::read(std::str::from_utf8(&page).expect("text")).expect("a sound page")
    }

    /// Waits until nothing is left of any client: no connection, no call and no tree but those of whoever looks.
    pub fn comes_to_rest(&self) {
        let begun = [
            "helios_connections",
            "helios_calls_in_progress",
            "helios_working_trees",
        ];
        self.comes_to(begun, [1.0, 1.0, 0.0]);
    }

    /// Waits until the metrics of these names have these values.
    pub fn comes_to<const N: usize>(&self, names: [&str; N], values: [f64; N]) {
        let mut found = values;
        for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
            let metrics = self.metrics();
            found = names.map(|name| metrics.sum(name, &[]).expect("a gauge"));
            if found == values {
                return;
            }
            pause(LOOK_EVERY);
        }
        panic!("{names:?} are {found:?} instead of {values:?}");
    }

    /// Memory it has in use, in MiB.
    pub fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("its size");
        let kib = line.split_ascii_whitespace().nth(1).expect("a number");
        kib.parse::<u64>().expect("a number") >> 10
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "another process is waited for")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Opens a branch, made if it is missing, or a fork of it.
pub fn open(client: &mut Client, branch: &str, fork: Option<&str>) -> u64 {
    client.open_files(opening(branch, fork)).expect("a tree")
}
