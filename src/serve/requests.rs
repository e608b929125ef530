//! Whole requests of a client: from its reactor to a worker, and what the worker says of them back to the client.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use bytes::Bytes;
use helios_engine::ops::{Cancel, Class, Failure, Request};
use helios_engine::reactor::{Receiver, mailbox};

use super::admission::Lane;
use super::connection::{Connection, Counted, Running};
use super::counters::Timed;
use super::exchange::{Outgoing, Remote};
use super::workers::Place;
use crate::wire::frame::{Frame, Kind};
use crate::wire::message::{Answer, Message, Want};

/// Messages of one request that wait between its thread and the connection.
const OUTGOING_MAX: usize = 4;
/// Gives a request to a worker, and what it says to the client.
pub(super) fn run(connection: &Rc<Connection>, call: u64, timed: Timed, request: Request) {
    let own = rustix::process::geteuid().as_raw();
    if connection.peer.uid != own && uses_files(&request) {
        let failure = Failure::new(
            Class::Invalid,
            format!(
                "the owner of the store reads and writes files as user {own}, not as user {}",
                connection.peer.uid
            ),
        )
        .with_hint("commands about directories do that themselves; run others as that user");
        return connection.refuse(call, timed, &failure);
    }
    let lane = Lane::of(request.only_looks());
    let (sender, receiver) = mailbox(&connection.local.handle(), OUTGOING_MAX);
    let cancel = Cancel::default();
    let counted = Counted::new(&connection.server);
    let (ended, clock) = (cancel.clone(), connection.local.clock().clone());
    let job = move |place: &Place| {
        let mut remote = Remote::new(sender, ended, clock, place.clone());
        let server = &counted.0;
        let result = catch_unwind(AssertUnwindSafe(|| server.host.call(request, &mut remote)));
        let result = result.unwrap_or_else(|_| {
            Err(Failure::new(
                Class::Failed,
                "the owner of the store failed on this request; its log says where",
            ))
        });
        // A client that has gone needs no answer.
        let _ = remote.send(Outgoing::Done(Box::new(result)));
        drop(counted);
    };
    match connection.server.workers.run(connection.number, lane, job) {
        Ok(()) => {
            let running = Running {
                cancel,
                input: None,
                timed,
                _counted: None,
            };
            connection.calls.borrow_mut().insert(call, running);
            connection
                .local
                .spawn(relay(Rc::clone(connection), call, receiver));
        }
        Err(failure) => connection.refuse(call, timed, &failure),
    }
}

/// Whether a request makes this process read or write files of the machine, besides the store.
fn uses_files(request: &Request) -> bool {
    match request {
        Request::Scrub(request) => !request.repair_from.is_empty(),
        other => other.uses_directories(),
    }
}

/// Passes on what a worker says of a call.
async fn relay(connection: Rc<Connection>, call: u64, mut outgoing: Receiver<Outgoing>) {
    let outbox = &connection.outbox;
    let lost = || {
        let failure = Failure::new(Class::Failed, "the owner of the store lost this request");
        Outgoing::Done(Box::new(Err(failure)))
    };
    loop {
        match outgoing.recv().await.unwrap_or_else(lost) {
            Outgoing::Progress(step) => outbox.push(step.frames(call)),
            Outgoing::Warning(warning) => outbox.push(warning.frames(call)),
            Outgoing::Output(bytes) => {
                outbox.push([Frame::new(Kind::Output, call, Bytes::new()).with_body(bytes)]);
            }
            Outgoing::Want(bytes, sender) => {
                if let Some(running) = connection.calls.borrow_mut().get_mut(&call) {
                    running.input = Some(sender);
                }
                outbox.push(Want { bytes }.frames(call));
            }
            Outgoing::Done(result) => {
                match *result {
                    Ok(result) => connection.answer(call, &Answer::Ran { result }),
                    Err(failure) => connection.fail(call, &failure),
                }
                return;
            }
        }
        if !outbox.room().await {
            // With the receiver goes the worker's wish to say more.
            return;
        }
    }
}
