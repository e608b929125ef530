//! Programs that the benchmark starts: git, and this one as a server. No other part of the command line starts any.
//!
//! Each has a process group of its own, so that ctrl-C is this process's to act on, and none outlives the value that stands for it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use helios_engine::ops::{Class, Failure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;

use super::io_counter::written_by;
use super::run::{Run, sleep};

/// Time between two looks at a program that runs.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Time that a server has to end by itself.
const END_WITHIN: Duration = Duration::from_secs(20);
/// What git is not to take from the user's surroundings.
const GIT_VARIABLES: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
];
/// The same settings for everybody, and nothing that git does behind one's back.
const GIT_SETTINGS: [&str; 8] = [
    "-c",
    "user.name=benchmark",
    "-c",
    "user.email=benchmark@localhost",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
];

/// A program that is ended with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// Whether it has ended; it is not waited for yet, so that its counters can still be read.
    fn has_ended(&self) -> Result<bool, Failure> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid()), options) {
            Ok(status) => Ok(status.is_some()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(Failure::new(
                Class::Failed,
                format!("wait for a program: {error}"),
            )),
        }
    }
}

/// Runs git in a directory; it must succeed. Returns the bytes that it has written. Programs that it starts in turn are not
/// counted, so callers choose commands that start none for what matters.
pub fn git(run: &Run, directory: &Path, arguments: &[&str]) -> Result<u64, Failure> {
    let mut command = Command::new("git");
    command
        .args(GIT_SETTINGS)
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    for name in GIT_VARIABLES {
        command.env_remove(name);
    }
    let child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(
            Class::NotFound,
            "git is missing, so there is nothing to compare with",
        ),
        _ => Failure::new(Class::Failed, format!("start git: {error}")),
    })?;
    let mut git = Running(child);
    while !git.has_ended()? {
        run.goes_on()
            .then_some(())
            .ok_or_else(|| Failure::new(Class::Cancelled, "stopped"))?;
        sleep(LOOK_EVERY);
    }
    let written = written_by(&git.0.id().to_string());
    let status = git
        .0
        .wait()
        .map_err(|error| Failure::new(Class::Failed, format!("git: {error}")))?;
    if !status.success() {
        let mut said = String::new();
        if let Some(stderr) = &mut git.0.stderr {
            // Its words are a courtesy.
            let _ = stderr.take(1000).read_to_string(&mut said);
        }
        let command = arguments.first().unwrap_or(&"");
        return Err(Failure::new(
            Class::Failed,
            format!("git {command}: {status}: {}", said.trim()),
        ));
    }
    written
}

/// `helios serve`, a process of its own.
pub struct Server {
    running: Running,
    /// Where its clients come in.
    pub socket: PathBuf,
}

impl Server {
    /// Makes a store and serves it.
    pub fn start(run: &Run, store: &Path, bytes: u64) -> Result<Server, Failure> {
        let failed = |what: String| Failure::new(Class::Failed, format!("serve a store: {what}"));
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let address = helios_engine::device::Address::Path(store.to_owned());
        let options = helios_engine::store::CreateOptions {
            size: bytes,
            ..Default::default()
        };
        helios_engine::store::Store::create(&address, &options)?;
        let mut command = Command::new(program);
        command
            .args(["serve", "--json", "--no-config", "--store"])
            .arg(store)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for (name, _) in std::env::vars_os() {
            // Settings of the user's servers, sockets of systemd among them.
            let known = name.to_string_lossy();
            if ["HELIOS_", "LISTEN_", "NOTIFY_", "WATCHDOG_"]
                .iter()
                .any(|of| known.starts_with(of))
            {
                command.env_remove(&name);
            }
        }
        if let Some(reactors) = run.reactors {
            command.arg("--reactors").arg(reactors.to_string());
        }
        let mut running = Running(command.spawn().map_err(|error| failed(error.to_string()))?);
        let socket = ready(&mut running.0).map_err(failed)?;
        Ok(Server { running, socket })
    }

    /// Ends it as an operator would.
    pub fn end(mut self) -> Result<(), Failure> {
        let failed = |what: String| Failure::new(Class::Failed, format!("end the server: {what}"));
        kill_process(self.running.pid(), Signal::TERM).map_err(|error| failed(error.to_string()))?;
        for _ in 0..END_WITHIN.as_millis() / LOOK_EVERY.as_millis() {
            if self.running.has_ended()? {
                let status = self.running.0.wait().map_err(|error| failed(error.to_string()))?;
                return match status.success() {
                    true => Ok(()),
                    false => Err(failed(status.to_string())),
                };
            }
            sleep(LOOK_EVERY);
        }
        Err(failed(format!("it still runs after {} s", END_WITHIN.as_secs())))
    }
}

/// Waits until a server says where it listens, which is the first line that it prints.
fn ready(server: &mut Child) -> Result<PathBuf, String> {
    let mut line = String::new();
    if let Some(stdout) = server.stdout.take() {
        let read = BufReader::new(stdout).read_line(&mut line);
        read.map_err(|error| error.to_string())?;
    }
    let said: Option<Value> = serde_json::from_str(&line).ok();
    let socket = said.as_ref().and_then(|said| said["control"].as_str());
    socket.map(PathBuf::from).ok_or_else(|| {
        let mut last = String::new();
        if let Some(stderr) = server.stderr.take() {
            // Its last words are a courtesy.
            let _ = stderr.take(1000).read_to_string(&mut last);
        }
        format!("it did not start: {}", last.trim())
    })
}
