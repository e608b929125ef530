//! Sockets that the service manager has made and passed (socket activation): sd_listen_fds(3).
//!
//! `LISTEN_FDNAMES` tells them apart: `metrics` is the endpoint of metrics, one of any other name is the control socket.

use std::os::unix::net::UnixListener;

use helios_engine::ops::{Class, Failure};
use listenfd::ListenFd;

use super::http::Listener;

/// Name of the socket of metrics: `FileDescriptorName=` of its unit.
const METRICS: &str = "metrics";

/// What was passed.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Where clients come in.
    pub control: Option<UnixListener>,
    /// Where metrics are.
    pub metrics: Option<Listener>,
}

fn refused(what: impl Into<String>) -> Failure {
    Failure::new(Class::Invalid, what).with_hint(
        "pass at most one stream socket in the file system for clients, and one named `metrics`: FileDescriptorName=metrics",
    )
}

impl Inherited {
    /// Takes what was passed to this process. Called once, before there are other threads that look at the environment.
    ///
    /// # Errors
    /// There are more sockets than are known what to do with, or other kinds.
    pub fn take() -> Result<Inherited, Failure> {
        let is_ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        if !is_ours {
            return Ok(Inherited::default());
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut inherited = Inherited::default();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let taken = if name == METRICS {
                inherited.metrics.replace(metrics(&mut passed, index)?).is_some()
            } else {
                let control = passed.take_unix_listener(index);
                let control = control
                    .map_err(|error| refused(format!("the control socket that was passed: {error}")))?;
                let before = inherited.control.take();
                inherited.control = control;
                before.is_some()
            };
            if taken {
                return Err(refused(format!(
                    "{} sockets were passed, and more than one for the same use (`{name}`)",
                    passed.len()
                )));
            }
        }
        Ok(inherited)
    }
}

fn metrics(passed: &mut ListenFd, index: usize) -> Result<Listener, Failure> {
    if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
        return Ok(Listener::Tcp(listener));
    }
    match passed.take_unix_listener(index) {
        Ok(Some(listener)) => Ok(Listener::Unix(listener, None)),
        Ok(None) => Err(refused("the socket of metrics was passed and is gone")),
        Err(error) => Err(refused(format!("the socket of metrics that was passed: {error}"))),
    }
}
