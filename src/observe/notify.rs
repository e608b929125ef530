//! What the service manager is told: sd_notify(3), in datagrams to the socket that it names.
//!
//! Invariant: the watchdog is fed only after every reactor has answered, so that a store that hangs is started again.
//! Words that do not arrive are lost: a server without its manager goes on.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use helios_engine::ops::Failure;

use super::pulse::Pulse;
use crate::serve::served::Observed;

/// Speaks to the service manager, if there is one that listens.
#[derive(Debug, Clone, Default)]
pub struct Notifier(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// To the socket that `NOTIFY_SOCKET` names.
    pub fn from_env() -> Notifier {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Notifier::default();
        };
        match Manager::at(&name) {
            Ok(manager) => Notifier(Some(Arc::new(manager))),
            Err(error) => {
                tracing::warn!(
                    "the service manager cannot be told anything: {}: {error}",
                    name.display()
                );
                Notifier::default()
            }
        }
    }

    /// Says something: lines of `NAME=value`.
    pub fn say(&self, words: &str) {
        if let Some(manager) = &self.0
            && let Err(error) = manager.socket.send_to_addr(words.as_bytes(), &manager.address)
        {
            tracing::warn!("the service manager was not told {words:?}: {error}");
        }
    }

    /// It serves.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// It ends, which may take so long.
    pub fn stopping(&self, patience: Duration) {
        self.say(&format!(
            "STOPPING=1\nSTATUS=finishing what is under way\nEXTEND_TIMEOUT_USEC={}",
            patience.as_micros()
        ));
    }

    /// Feeds the watchdog of the service manager, if it has one for this process, until what is returned is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn watch(&self, observed: Observed) -> Result<Option<Watchdog>, Failure> {
        let period = watchdog_period(
            std::env::var("WATCHDOG_USEC").ok().as_deref(),
            std::env::var("WATCHDOG_PID").ok().as_deref(),
            std::process::id(),
        );
        match period.filter(|_| self.0.is_some()) {
            Some(period) => Watchdog::start(self.clone(), observed, period).map(Some),
            None => Ok(None),
        }
    }
}

impl Manager {
    fn at(name: &OsString) -> io::Result<Manager> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::other("neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not stop what it manages.
        socket.set_nonblocking(true)?;
        Ok(Manager { socket, address })
    }
}

/// One line of it: a line break would begin another word.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// How often the watchdog of process `own` wants to be fed: at half the time after which it bites.
fn watchdog_period(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid != own.to_string()) {
        return None;
    }
    let usec: u64 = usec?.parse().ok()?;
    (usec > 0).then(|| Duration::from_micros(usec / 2).max(Duration::from_millis(1)))
}

/// Feeds the watchdog while all reactors turn.
#[derive(Debug)]
pub struct Watchdog {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    fn start(notifier: Notifier, observed: Observed, period: Duration) -> Result<Watchdog, Failure> {
        let (end, ended) = channel::<()>();
        let mut pulse = Pulse::new(observed.host().store().runtime());
        // Half of the period for the answers leaves a quarter of the watchdog's time.
        let patience = period / 2;
        let feed = move || {
            let mut next = Duration::ZERO;
            while ended.recv_timeout(next) == Err(RecvTimeoutError::Timeout) {
                next = period;
                let silent = pulse.silent(patience);
                match silent.first() {
                    None => {
                        let served = observed.served();
                        notifier.say(&format!(
                            "WATCHDOG=1\nSTATUS=serving {} clients, {} calls under way",
                            served.connections, served.calls_under_way
                        ));
                    }
                    Some(reactor) => {
                        tracing::error!("reactor {reactor} has said nothing for {patience:?}");
                        notifier.say(&format!("STATUS=reactor {reactor} does not turn"));
                    }
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(feed)
            .map_err(|error| {
                Failure::new(helios_engine::ops::Class::Io, format!("start a thread: {error}"))
            })?;
        Ok(Watchdog {
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // Without it the service manager starts the server again.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the watchdog is fed at half its time, and only if it is this process's.
    #[test]
    fn the_watchdog_of_another_process_is_not_fed() {
        let period = |usec, pid| watchdog_period(usec, pid, 7);
        assert_eq!(period(Some("30000000"), Some("7")), Some(Duration::from_secs(15)));
        assert_eq!(period(Some("30000000"), None), Some(Duration::from_secs(15)));
        assert_eq!(period(Some("30000000"), Some("8")), None);
        for usec in [None, Some("0"), Some("soon"), Some("-1")] {
            assert_eq!(period(usec, None), None);
        }
    }

    /// Goal: no text breaks out of its line.
    #[test]
    fn a_status_is_one_line() {
        assert_eq!(line("a\nREADY=1\r"), "a READY=1 ");
    }
}
