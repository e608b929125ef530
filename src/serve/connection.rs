//! One client, on one reactor, from its first word to its last.
//!
//! Invariants: what a client began ends with its connection; a message that makes no sense ends the connection with a word why;
//! nothing a client sends, or does not send, holds more memory than one frame and what [`memory`](super::memory) has granted.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use helios_engine::ops::{Cancel, Failure};
use helios_engine::reactor::{Local, Watched, oneshot};

use super::admission::{ClientNumber, Gate};
use super::counters::{CallKind, Outcome, Tally, Timed};
use super::extents::{self, OpenBatches};
use super::files::{self, OpenTrees};
use super::memory::{Held, Holder, Share};
use super::observe::observe;
use super::outbox::Outbox;
use super::requests;
use super::{CALLS_MAX, HELLO_PATIENCE, RETRY_AFTER_MS, STALL_PATIENCE, Server};
use crate::wire::frame::{Frame, Kind};
use crate::wire::message::{Answer, Call, Goodbye, Hello, Joined, Message, VERSIONS, Welcome};
use crate::wire::stream::Arrived;

/// A last word is given this long to be taken.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(1);

/// What a future gives, if it is done in time.
pub(super) async fn within<T>(local: &Local, time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut sleep = pin!(local.sleep(time));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// A call under way.
pub(super) struct Running {
    pub(super) cancel: Cancel,
    /// Who waits for input, if somebody does.
    pub(super) input: Option<oneshot::Sender<Bytes>>,
    pub(super) timed: Timed,
    /// Of calls that are done here; a worker counts its own.
    pub(super) _counted: Option<Counted>,
}

/// Whose process a client is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub uid: u32,
}

/// A client that has said who it is.
pub(super) struct Connection {
    pub(super) local: Local,
    pub(super) server: Arc<Server>,
    pub(super) outbox: Rc<Outbox>,
    pub(super) trees: OpenTrees,
    pub(super) share: Rc<Share>,
    pub(super) batches: OpenBatches,
    pub(super) tally: Tally,
    /// Of its reactor.
    pub(super) gate: Arc<Gate>,
    pub(super) number: ClientNumber,
    pub(super) peer: Peer,
    pub(super) calls: RefCell<HashMap<u64, Running>>,
    /// A call that takes several frames, which follow each other.
    long: RefCell<Option<(u64, Joined)>>,
    long_held: Held,
}

/// Longest call, in bytes of its heads.
const CALL_BYTES_MAX: usize = 16 << 20;

/// Counts a call of the server while it lives.
pub(super) struct Counted(pub(super) Arc<Server>);

impl Counted {
    pub(super) fn new(server: &Arc<Server>) -> Counted {
        server.calls.fetch_add(1, Ordering::AcqRel);
        Counted(Arc::clone(server))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Frames as they come.
struct Reader {
    socket: Rc<Watched<UnixStream>>,
    arrived: Arrived,
}

impl Reader {
    /// The next frame; `None` at the end of the stream.
    async fn next(&mut self, local: &Local) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.arrived.take()? {
                return Ok(Some(frame));
            }
            let has_begun = self.arrived.has_begun();
            let arrived = &mut self.arrived;
            let more = self.socket.reading(|socket| arrived.receive(socket));
            let received = match has_begun {
                false => more.await?,
                true => match within(local, STALL_PATIENCE, more).await {
                    Some(received) => received?,
                    None => {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            "a frame was begun and not ended",
                        ));
                    }
                },
            };
            if received == 0 {
                return if has_begun {
                    Err(io::ErrorKind::UnexpectedEof.into())
                } else {
                    Ok(None)
                };
            }
        }
    }
}

/// Attends to a client until it goes, or has to.
pub(super) async fn attend(
    local: Local,
    socket: UnixStream,
    peer: Peer,
    number: ClientNumber,
    server: Arc<Server>,
) {
    let socket = match local.watch(socket) {
        Ok(socket) => Rc::new(socket),
        Err(error) => {
            tracing::warn!("a client cannot be attended to: {error}");
            return;
        }
    };
    let tally = Tally::new(&server.counters, &local);
    let share = Share::new(&server.memory, &local);
    let outbox = Outbox::new(&local, Rc::clone(&socket), tally.clone(), share.hold(0));
    let mut reader = Reader {
        socket,
        arrived: Arrived::default(),
    };
    let connection = Rc::new(Connection {
        local: local.clone(),
        gate: Arc::clone(&server.gates[local.id().0]),
        number,
        server,
        outbox: Rc::clone(&outbox),
        trees: OpenTrees::default(),
        long_held: share.hold(0),
        share,
        batches: OpenBatches::default(),
        tally,
        peer,
        calls: RefCell::default(),
        long: RefCell::default(),
    });
    let weak = Rc::downgrade(&connection);
    connection.share.belongs_to(weak);
    let ended = match connection.greet(&mut reader).await {
        Ok(()) => connection.listen(&mut reader).await,
        Err(reason) => Err(reason),
    };
    connection.abandon_all();
    if let Err(reason) = ended {
        tracing::debug!("a connection ends: {reason}");
        outbox.push([Goodbye::new(reason).frame(0)]);
        let _ = within(&local, GOODBYE_PATIENCE, outbox.sent()).await;
    }
    outbox.close();
}

impl Connection {
    /// The first words of both.
    async fn greet(&self, reader: &mut Reader) -> Result<(), String> {
        let first = within(&self.local, HELLO_PATIENCE, reader.next(&self.local)).await;
        let Some(first) = first else {
            return Err(format!("no hello within {} s", HELLO_PATIENCE.as_secs()));
        };
        let Some(frame) = first.map_err(|error| error.to_string())? else {
            return Err("gone without a word".into());
        };
        if frame.kind != Kind::Hello {
            return Err("the first frame is no hello".into());
        }
        let hello = Hello::read(&frame.head).map_err(|error| error.to_string())?;
        if hello.protocol != "helios" {
            return Err(format!("`{}` is not spoken here", hello.protocol));
        }
        let version = VERSIONS
            .into_iter()
            .find(|version| hello.versions.contains(version));
        let Some(version) = version else {
            return Err(format!(
                "{} speaks versions {:?} of the protocol, this owner ({}) {VERSIONS:?}; use the same version of helios",
                hello.program, hello.versions, self.server.program
            ));
        };
        let welcome = Welcome {
            version,
            program: self.server.program.clone(),
            store: self.server.host.address(),
            calls_max: CALLS_MAX,
        };
        self.outbox.push(welcome.frames(0));
        Ok(())
    }

    /// Everything after that. The error is the last word.
    async fn listen(self: &Rc<Self>, reader: &mut Reader) -> Result<(), String> {
        // Nothing is read from a client that does not take its answers.
        while self.outbox.room().await {
            match reader.next(&self.local).await {
                Ok(Some(frame)) => {
                    self.tally.received(frame.length());
                    self.take(frame)?;
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    fn take(self: &Rc<Self>, frame: Frame) -> Result<(), String> {
        match frame.kind {
            Kind::Call => self.begin(&frame),
            Kind::Input => {
                // A call that has failed meanwhile wants nothing any more.
                let waiting = self
                    .calls
                    .borrow_mut()
                    .get_mut(&frame.call)
                    .and_then(|call| call.input.take());
                if let Some(waiting) = waiting {
                    let _ = waiting.send(frame.body);
                }
                Ok(())
            }
            Kind::Cancel => {
                if let Some(call) = self.calls.borrow().get(&frame.call) {
                    call.cancel.cancel();
                }
                Ok(())
            }
            kind => Err(format!("a client does not send frames of kind {kind:?}")),
        }
    }

    fn begin(self: &Rc<Self>, frame: &Frame) -> Result<(), String> {
        let (number, mut joined) = self
            .long
            .borrow_mut()
            .take()
            .unwrap_or_else(|| (frame.call, Joined::default()));
        if number != frame.call {
            return Err(format!("call {number} has begun and not ended"));
        }
        if joined.len() + frame.head.len() > CALL_BYTES_MAX {
            return Err(format!("a call is longer than {CALL_BYTES_MAX} bytes"));
        }
        let Some(head) = joined.take(frame) else {
            self.long_held.resize(joined.len());
            *self.long.borrow_mut() = Some((number, joined));
            return Ok(());
        };
        self.long_held.resize(0);
        if self.calls.borrow().contains_key(&frame.call) {
            return Err(format!("call {} is under way already", frame.call));
        }
        let call = Call::read(&head).map_err(|error| error.to_string())?;
        let timed = Timed {
            kind: CallKind::of(&call),
            began: self.local.clock().now(),
        };
        // What has begun may come to its end.
        let goes_on = matches!(call, Call::Store(_)) && !self.batches.is_empty();
        let refused = if self.server.is_ending() && !goes_on {
            Some(Failure::busy("the owner of the store is ending", 100))
        } else if self.calls.borrow().len() >= CALLS_MAX as usize {
            Some(Failure::busy(
                format!("{CALLS_MAX} calls of this connection are under way"),
                RETRY_AFTER_MS,
            ))
        } else {
            None
        };
        if let Some(failure) = refused {
            self.refuse(frame.call, timed, &failure);
            return Ok(());
        }
        match call {
            Call::Ping => {
                self.over(timed, Outcome::OK);
                self.outbox.push(Answer::Pong.frames(frame.call));
            }
            Call::Run { request } => requests::run(self, frame.call, timed, request),
            call => {
                if let Err(failure) = self.work(frame.call, timed, call, frame.body.clone(), head.len()) {
                    self.refuse(frame.call, timed, &failure);
                }
            }
        }
        Ok(())
    }

    /// A call fails before it is under way.
    pub(super) fn refuse(&self, call: u64, timed: Timed, failure: &Failure) {
        self.over(timed, Outcome::of(failure));
        self.outbox.push(failure.frames(call));
    }

    fn over(&self, timed: Timed, outcome: Outcome) {
        self.tally.ended(timed, self.local.clock().now(), outcome);
    }

    /// Calls that concern working trees, what they are made of, or the server.
    fn work(
        self: &Rc<Self>,
        number: u64,
        timed: Timed,
        call: Call,
        body: Bytes,
        head_bytes: usize,
    ) -> Result<(), Failure> {
        self.share.called();
        match call {
            Call::OpenFiles(request) => files::open(self, number, timed, request, head_bytes),
            Call::Files { tree, steps } => {
                let held = files::admit(&self.share, &steps, &body, head_bytes)?;
                files::steps(self, number, timed, tree, steps, body, held)
            }
            Call::ForkFiles { tree, branch } => files::fork(self, number, timed, tree, branch),
            Call::CloseFiles { tree } => files::close(self, number, timed, tree),
            Call::Observe => observe(self, number, timed),
            Call::Store(ask) => extents::ask(self, number, timed, ask, body),
            Call::Ping | Call::Run { .. } => unreachable!("answered by the caller"),
        }
    }

    /// A call is under way.
    pub(super) fn began(&self, call: u64, timed: Timed) {
        let running = Running {
            cancel: Cancel::default(),
            input: None,
            timed,
            _counted: Some(Counted::new(&self.server)),
        };
        self.calls.borrow_mut().insert(call, running);
    }

    /// Does a call on this reactor.
    pub(super) fn spawn_call(&self, call: u64, timed: Timed, work: impl Future<Output = ()> + 'static) {
        self.began(call, timed);
        self.local.spawn(work);
    }

    /// Whether somebody waits for the answer to a call.
    pub(super) fn is_wanted(&self, call: u64) -> bool {
        self.calls.borrow().contains_key(&call)
    }

    /// A call is done.
    pub(super) fn answer(&self, call: u64, answer: &Answer) {
        let frames = answer.frames(call);
        // Counted first: whoever has the answer finds the call in the counters.
        if let Some(running) = self.calls.borrow_mut().remove(&call) {
            self.over(running.timed, Outcome::OK);
        }
        self.outbox.push(frames);
    }

    /// A call has failed.
    pub(super) fn fail(&self, call: u64, failure: &Failure) {
        if let Some(running) = self.calls.borrow_mut().remove(&call) {
            self.over(running.timed, Outcome::of(failure));
        }
        self.outbox.push(failure.frames(call));
    }

    /// The client is gone: nothing of what it began goes on.
    fn abandon_all(&self) {
        for (_, call) in self.calls.borrow_mut().drain() {
            call.cancel.cancel();
            self.over(call.timed, Outcome::ABANDONED);
        }
        self.trees.clear();
        self.batches.clear();
    }
}

impl Holder for Connection {
    fn release_idle(&self, keep_bytes: usize) {
        self.trees.release_idle(keep_bytes);
    }
}
