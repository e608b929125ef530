//! Takes samples of a server at intervals, on a thread of its own: a server that does not answer must not keep the view from
//! being left.

use std::ffi::OsString;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use helios_engine::ops::{Class, Failure};

use super::figures::Sample;
use crate::attach;
use crate::client::{CallError, Client};
use crate::observe::reading::Metrics;
use crate::wire::message::{Answer, Call};

/// What came of one look.
pub struct Look {
    /// The sample.
    pub sample: Sample,
    /// It is the first of this connection: whoever answers may be another process than before.
    pub is_first: bool,
}

/// See the module. Ends when dropped, or a little later if the server does not answer.
pub struct Sampler {
    looks: Receiver<Result<Look, Failure>>,
    _end: Sender<()>,
}

impl Sampler {
    /// Looks at the owner of a store at once, and then every `interval`, whatever comes of it.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(store: OsString, interval: Duration) -> Result<Sampler, Failure> {
        let (end, ended) = channel::<()>();
        // One look waits at most, so that nobody is shown old ones after a pause.
        let (sender, looks) = sync_channel(0);
        let work = move || {
            let mut client = None;
            loop {
                let look = look(&store, &mut client);
                if look.is_err() {
                    client = None;
                }
                if sender.send(look).is_err() {
                    return;
                }
                if ended.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("sampler".into())
            .spawn(work)
            .map_err(|error| Failure::new(Class::Io, format!("start a thread: {error}")))?;
        Ok(Sampler { looks, _end: end })
    }

    /// The next look, if there is one within a time.
    pub fn next_within(&self, time: Duration) -> Option<Result<Look, Failure>> {
        match self.looks.recv_timeout(time) {
            Ok(look) => Some(look),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(Failure::new(
                Class::Failed,
                "nobody looks at the server any more",
            ))),
        }
    }
}

fn look(store: &OsString, client: &mut Option<Client>) -> Result<Look, Failure> {
    let is_first = client.is_none();
    let client = match client {
        Some(client) => client,
        None => client.insert(connect(store)?),
    };
    let (answer, page) = client.call(&Call::Observe, Bytes::new()).map_err(told)?;
    let Answer::Observed { health } = answer else {
        return Err(odd("something else than was asked"));
    };
    let page = String::from_utf8(page).map_err(|_| odd("no text"))?;
    let metrics = Metrics::read(&page).map_err(|error| odd(&error.to_string()))?;
    Ok(Look {
        sample: Sample { metrics, health },
        is_first,
    })
}

fn connect(store: &OsString) -> Result<Client, Failure> {
    let nobody = || {
        Failure::new(
            Class::NotFound,
            format!("no server owns the store {}", store.display()),
        )
        .with_hint("start one with `helios serve`")
    };
    let socket = helios_engine::ops::owner_socket(store)?.ok_or_else(nobody)?;
    match Client::connect(&socket) {
        Ok(client) => Ok(client),
        Err(error) if error.is_absent() => Err(nobody()),
        Err(error) => Err(attach::failure(&socket, error)),
    }
}

fn told(error: CallError) -> Failure {
    match error {
        CallError::Failed(failure) => failure,
        error => Failure::new(Class::Io, error.to_string()),
    }
}

fn odd(what: &str) -> Failure {
    Failure::new(
        Class::Failed,
        format!("the server answers what makes no sense: {what}"),
    )
    .with_hint("it may be another version of helios; restart it")
}
