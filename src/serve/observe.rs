//! How the server is, for clients that ask: the page of metrics that is served over HTTP too, and the state of health.
//!
//! The pages are made by whoever starts the server ([`Observer`]), because what they say of it lies above it.
//! Invariant: pages are made on a thread of their own: they wait for the word of every reactor, and must come when all workers wait
//! for their clients.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use helios_engine::ops::{Class, Failure};
use helios_engine::reactor::oneshot;

use super::admission::Lane;
use super::connection::Connection;
use super::counters::Timed;
use super::served::Observed;
use super::workers::{Place, Workers};
use crate::wire::frame::{BODY_BYTES_MAX, Frame, Kind};
use crate::wire::message::{Answer, Health};

/// Makes a page of metrics, and says how the server is.
pub type Observer = Box<dyn Fn(&Observed) -> (String, Health) + Send + Sync>;

/// Clients that may wait for their page.
const WAITING_MAX: usize = 64;

/// See the module.
pub(super) struct Observation {
    worker: Workers,
    observer: Arc<Observer>,
}

impl Observation {
    pub(super) fn start(observer: Observer) -> Result<Observation, Failure> {
        Ok(Observation {
            worker: Workers::start("observer", 1, WAITING_MAX)?,
            observer: Arc::new(observer),
        })
    }

    pub(super) fn end(&self) {
        self.worker.end();
    }
}

/// Answers a client.
pub(super) fn observe(connection: &Rc<Connection>, call: u64, timed: Timed) -> Result<(), Failure> {
    let server = &connection.server;
    let (sender, page) = oneshot();
    let observer = Arc::clone(&server.observation.observer);
    let observed = Observed(Arc::clone(server));
    let page_of = move |_: &Place| {
        // A client that has gone wants no page.
        let _ = sender.send(observer(&observed));
    };
    server
        .observation
        .worker
        .run(connection.number, Lane::Looks, page_of)?;
    let asked = Rc::clone(connection);
    connection.spawn_call(call, timed, async move {
        let Some((text, health)) = page.await else {
            let failure = Failure::new(Class::Failed, "the owner of the store could not make the page");
            return asked.fail(call, &failure);
        };
        let mut text = Bytes::from(text);
        while !text.is_empty() {
            let piece = text.split_to(text.len().min(BODY_BYTES_MAX));
            asked
                .outbox
                .push([Frame::new(Kind::Output, call, Bytes::new()).with_body(piece)]);
        }
        asked.answer(call, &Answer::Observed { health });
    });
    Ok(())
}
