//! The client of a store that another process owns: sends requests to the owner and moves their bytes, and does itself what
//! concerns directories.
//!
//! One connection, one call at a time. Contents, progress and warnings go through the caller's exchange as they would if the
//! store were open here, so a command prints the same either way. Requests about directories run here, by the code that runs
//! them where the store is open (`ops::Desk`): files are read and written as this process's user, and the owner is asked for
//! extents and roots over a [`Link`].
//! Rejected: several connections for the threads of a scan; batches belong to one, and while one thread waits for the owner the
//! others read and hash.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use helios_engine::Error;
use helios_engine::access::{BatchNumber, Link};
use helios_engine::format::Domain;
use helios_engine::ops::{Cancel, Class, Client, Desk, Exchange, Failure, Reply, Request, Step, Warning};
use helios_engine::store::{Extent, Key, Root, RootKind, RootUpdate};
use parking_lot::Mutex;

use crate::client::{self, CallError, read};
use crate::wire::extents::{
    Ask, NO_LENGTH, Refused, RootMove, RootTold, Told, take_piece, write_extents, write_keys,
};
use crate::wire::frame::{BODY_BYTES_MAX, END, Frame, Kind};
use crate::wire::message::{Answer, Call, Joined, Message, Want};
use crate::wire::stream::Conversation;

/// Time between two looks at the wish to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// An owner that has no time or no room is asked again for this long.
const BUSY_PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the owner of a store.
pub struct Attached {
    line: Arc<Line>,
    /// Where the store is, as seen from here.
    store: OsString,
}

/// The connection itself.
struct Line {
    socket: PathBuf,
    state: Mutex<State>,
}

struct State {
    conversation: Conversation,
    next_call: u64,
    /// The connection has failed; nothing more can be asked.
    failed: bool,
}

impl Attached {
    /// Connects to the owner of the store at address `store`, which listens at a path. `None` if nobody does any more.
    ///
    /// # Errors
    /// The owner does not let this process in, or speaks another version.
    pub fn connect(path: &Path, store: &OsStr) -> Result<Option<Attached>, Failure> {
        let conversation = match client::connect(path) {
            Ok((conversation, _)) => conversation,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(failure(path, error)),
        };
        conversation
            .socket()
            .set_read_timeout(Some(LOOK_EVERY))
            .map_err(|error| lost(path, &error))?;
        let line = Line {
            socket: path.to_owned(),
            state: Mutex::new(State {
                conversation,
                next_call: 1,
                failed: false,
            }),
        };
        Ok(Some(Attached {
            line: Arc::new(line),
            store: store.to_owned(),
        }))
    }

    fn run(&self, request: Request, exchange: &mut dyn Exchange) -> Result<Reply, Failure> {
        let socket = &self.line.socket;
        let mut state = self.line.state.lock();
        let call = state.begin(socket)?;
        let mut talk = Talk {
            conversation: &mut state.conversation,
            exchange,
            call,
            cancelled: false,
            own: None,
        };
        let outcome = talk.through(request);
        let own = talk.own.take();
        match outcome {
            // What stopped the call here explains more than what the owner makes of it.
            Ok(answer) => match own {
                Some(failure) => Err(failure),
                None => answer,
            },
            Err(error) => {
                state.failed = true;
                Err(own.unwrap_or_else(|| failure(socket, error)))
            }
        }
    }

    fn desk(&self, link: &Arc<Questions>) -> Result<Desk, Failure> {
        Desk::far(Arc::clone(link) as Arc<dyn Link>, &self.store)
    }
}

impl Client for Attached {
    fn call(&self, mut request: Request, exchange: &mut dyn Exchange) -> Result<Reply, Failure> {
        let link = Arc::new(Questions {
            line: Arc::clone(&self.line),
            cancel: exchange.cancel().clone(),
        });
        let desk = self.desk(&link)?;
        if !request.uses_directories() {
            desk.name_branch(&mut request)?;
            return self.run(request, exchange);
        }
        // An owner that is to end waits for batches, so this one stands for the whole operation.
        let operation = link.begin()?;
        let outcome = desk.call(request, exchange);
        link.end(operation);
        outcome
    }
}

impl State {
    /// The number of a new call.
    fn begin(&mut self, socket: &Path) -> Result<u64, Failure> {
        if self.failed {
            return Err(lost(socket, &io::ErrorKind::NotConnected.into()));
        }
        let call = self.next_call;
        self.next_call += 1;
        Ok(call)
    }
}

/// Questions about extents and roots, over the same connection.
struct Questions {
    line: Arc<Line>,
    cancel: Cancel,
}

impl Questions {
    /// Asks, and waits for the answer; gives out the bytes that come before it, frame by frame. An owner that has no time or no
    /// room is asked again when it says so, as long as it has begun nothing.
    fn ask(
        &self,
        ask: Ask,
        body: Bytes,
        mut output: impl FnMut(Bytes) -> Result<(), String>,
    ) -> Result<Told, Failure> {
        let mut left = BUSY_PATIENCE;
        loop {
            let failure = match self.ask_once(ask.clone(), body.clone(), &mut output) {
                Err(failure) if failure.class == Class::Busy && !matches!(ask, Ask::Begin) => failure,
                other => return other,
            };
            let pause = Duration::from_millis(failure.retry_after_ms.unwrap_or(0).max(1)).min(LOOK_EVERY);
            if left < pause || self.cancel.is_cancelled() {
                return Err(failure);
            }
            left -= pause;
            client::wait(pause);
        }
    }

    fn ask_once(
        &self,
        ask: Ask,
        body: Bytes,
        output: &mut dyn FnMut(Bytes) -> Result<(), String>,
    ) -> Result<Told, Failure> {
        // Whether roots have moved is not left open because somebody is in a hurry.
        let stoppable = !matches!(ask, Ask::Submit { .. });
        let socket = &self.line.socket;
        let mut state = self.line.state.lock();
        let call = state.begin(socket)?;
        let mut frames = Call::Store(ask).frames(call);
        if let Some(last) = frames.last_mut() {
            last.body = body;
        }
        let through = || -> Result<Result<Told, Failure>, CallError> {
            for frame in frames {
                state.conversation.send(frame)?;
            }
            let mut joined = Joined::default();
            loop {
                let frame = match state.conversation.receive() {
                    Ok(Some(frame)) => frame,
                    Ok(None) => return Err(CallError::Lost(io::ErrorKind::UnexpectedEof.into())),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if stoppable && self.cancel.is_cancelled() {
                            return Err(CallError::Failed(Error::Cancelled.into()));
                        }
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                if frame.kind == Kind::Goodbye {
                    return Err(client::refused(&frame.head));
                }
                if frame.call != call {
                    return Err(odd(format!("it answers call {}, which was not made", frame.call)));
                }
                match frame.kind {
                    Kind::Output => output(frame.body).map_err(odd)?,
                    Kind::Reply => {
                        if let Some(head) = joined.take(&frame) {
                            return match read::<Answer>(&head)? {
                                Answer::Store(told) => Ok(Ok(told)),
                                _ => Err(odd("it answers something else")),
                            };
                        }
                    }
                    Kind::Failure => {
                        if let Some(head) = joined.take(&frame) {
                            return Ok(Err(read::<Failure>(&head)?));
                        }
                    }
                    kind => return Err(odd(format!("a frame of kind {kind:?}"))),
                }
            }
        };
        match through() {
            Ok(answer) => answer,
            Err(error) => {
                state.failed = true;
                Err(failure(socket, error))
            }
        }
    }

    /// Asks for one answer of so many bytes.
    fn ask_for(&self, ask: Ask, body: Bytes, length: usize) -> Result<Bytes, Failure> {
        let mut answer = BytesMut::new();
        self.ask(ask, body, |bytes| {
            answer.extend_from_slice(&bytes);
            Ok(())
        })?;
        if answer.len() != length {
            return Err(self.odd(format!("{} bytes in place of {length}", answer.len())));
        }
        Ok(answer.freeze())
    }

    /// Asks for no bytes.
    fn tell(&self, ask: Ask, body: Bytes) -> Result<Told, Failure> {
        self.ask(ask, body, |_| Err("bytes that nobody asked for".into()))
    }

    fn odd(&self, what: impl Into<String>) -> Failure {
        failure(&self.line.socket, odd(what))
    }

    fn root_of(&self, told: RootTold) -> Result<Root, Error> {
        Ok(told.into_root().map_err(|what| self.odd(what))?)
    }
}

impl Link for Questions {
    fn lengths(&self, keys: &[Key]) -> Result<Vec<Option<u32>>, Error> {
        let mut bytes = self.ask_for(Ask::Lengths, write_keys(keys), 4 * keys.len())?;
        let length = |_| Some(bytes.get_u32_le()).filter(|length| *length != NO_LENGTH);
        Ok(keys.iter().map(length).collect())
    }

    fn get_many(&self, keys: &[Key]) -> Result<Vec<Result<Bytes, Error>>, Error> {
        let mut pieces: Vec<Option<Bytes>> = Vec::with_capacity(keys.len());
        let told = self.ask(Ask::Get, write_keys(keys), |mut bytes| {
            while !bytes.is_empty() {
                pieces.push(take_piece(&mut bytes)?);
            }
            Ok(())
        })?;
        let mut refused = told.refused.into_iter();
        let mut answers = Vec::with_capacity(keys.len());
        for piece in pieces {
            answers.push(match piece {
                Some(bytes) => Ok(bytes),
                None => match refused.next() {
                    Some(refused) => Err(refused.into_error()),
                    None => return Err(self.odd("it refuses an extent and does not say why").into()),
                },
            });
        }
        if answers.len() != keys.len() {
            return Err(self
                .odd(format!("{} extents in place of {}", answers.len(), keys.len()))
                .into());
        }
        Ok(answers)
    }

    fn root(&self, kind: RootKind, name: &[u8]) -> Result<Option<Root>, Error> {
        let name = name.into();
        let told = self.tell(Ask::Root { kind, name }, Bytes::new())?;
        told.roots
            .into_iter()
            .next()
            .map(|told| self.root_of(told))
            .transpose()
    }

    fn roots(&self, kind: RootKind) -> Result<Vec<Root>, Error> {
        let told = self.tell(Ask::Roots { kind }, Bytes::new())?;
        told.roots.into_iter().map(|told| self.root_of(told)).collect()
    }

    fn begin(&self) -> Result<BatchNumber, Error> {
        let told = self.tell(Ask::Begin, Bytes::new())?;
        let number = told.batch.ok_or_else(|| self.odd("a batch without a number"))?;
        Ok(BatchNumber(number))
    }

    fn hold(&self, batch: BatchNumber, keys: &[Key]) -> Result<Vec<bool>, Error> {
        let bytes = self.ask_for(Ask::Hold { batch: batch.0 }, write_keys(keys), keys.len())?;
        Ok(bytes.iter().map(|held| *held == 1).collect())
    }

    fn put(&self, batch: BatchNumber, extents: Vec<Extent>) -> Result<(), Error> {
        self.tell(Ask::Put { batch: batch.0 }, write_extents(&extents))?;
        Ok(())
    }

    fn submit(&self, batch: BatchNumber, domain: Domain, updates: Vec<RootUpdate>) -> Result<(), Error> {
        let ask = Ask::Submit {
            batch: batch.0,
            domain: domain.0,
            roots: updates.into_iter().map(RootMove::from).collect(),
        };
        let told = self.tell(ask, Bytes::new())?;
        match told.refused.into_iter().next() {
            Some(refused) => Err(Refused::into_error(refused)),
            None => Ok(()),
        }
    }

    fn durable(&self, batch: BatchNumber) -> Result<(), Error> {
        self.tell(Ask::Durable { batch: batch.0 }, Bytes::new())?;
        Ok(())
    }

    fn end(&self, batch: BatchNumber) {
        // Without the connection it has ended already.
        if let Err(failure) = self.tell(Ask::End { batch: batch.0 }, Bytes::new()) {
            tracing::debug!("a batch ends with its connection: {failure}");
        }
    }

    fn flush(&self) -> Result<(), Error> {
        self.tell(Ask::Flush, Bytes::new())?;
        Ok(())
    }
}

fn odd(what: impl Into<String>) -> CallError {
    CallError::Odd(what.into())
}
/// One call.
struct Talk<'a> {
    conversation: &'a mut Conversation,
    exchange: &'a mut dyn Exchange,
    call: u64,
    cancelled: bool,
    /// What failed on this side.
    own: Option<Failure>,
}

impl Talk<'_> {
    fn through(&mut self, request: Request) -> Result<Result<Reply, Failure>, CallError> {
        for frame in (Call::Run { request }).frames(self.call) {
            self.conversation.send(frame)?;
        }
        let mut joined = Joined::default();
        loop {
            if self.exchange.cancel().is_cancelled() {
                self.cancel()?;
            }
            let frame = match self.conversation.receive() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Err(CallError::Lost(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            if frame.kind == Kind::Goodbye {
                return Err(client::refused(&frame.head));
            }
            if frame.call != self.call {
                return Err(CallError::Odd(format!(
                    "it answers call {}, which was not made",
                    frame.call
                )));
            }
            match frame.kind {
                Kind::Progress => (self.exchange.reporter())(read::<Step>(&frame.head)?),
                Kind::Warning => self.exchange.warn(&read::<Warning>(&frame.head)?),
                Kind::Output => {
                    if self.own.is_none()
                        && let Err(error) = self.exchange.output(&frame.body)
                    {
                        self.stop(format!("writing the content: {error}"))?;
                    }
                }
                Kind::Want => self.give(read::<Want>(&frame.head)?)?,
                Kind::Reply => {
                    if let Some(head) = joined.take(&frame) {
                        return match read::<Answer>(&head)? {
                            Answer::Ran { result } => Ok(Ok(result)),
                            _ => Err(CallError::Odd("it answers something else".into())),
                        };
                    }
                }
                Kind::Failure => {
                    if let Some(head) = joined.take(&frame) {
                        return Ok(Err(read::<Failure>(&head)?));
                    }
                }
                kind => return Err(CallError::Odd(format!("a frame of kind {kind:?}"))),
            }
        }
    }

    fn cancel(&mut self) -> io::Result<()> {
        if self.cancelled {
            return Ok(());
        }
        self.cancelled = true;
        self.conversation
            .send(Frame::new(Kind::Cancel, self.call, Bytes::new()))
    }

    /// Ends the call because of what happened here.
    fn stop(&mut self, what: String) -> io::Result<()> {
        self.own = Some(Failure::new(Class::Io, what));
        self.cancel()
    }

    fn give(&mut self, want: Want) -> Result<(), CallError> {
        let most = usize::try_from(want.bytes)
            .unwrap_or(usize::MAX)
            .min(BODY_BYTES_MAX);
        let mut bytes = vec![0; most];
        let mut filled = 0;
        while filled < most && self.own.is_none() {
            match self.exchange.input(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(some) => filled += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.stop(format!("reading the content: {error}"))?,
            }
        }
        bytes.truncate(filled);
        let flags = if filled == 0 { END } else { 0 };
        let frame = Frame::new(Kind::Input, self.call, Bytes::new())
            .with_body(bytes)
            .with_flags(flags);
        Ok(self.conversation.send(frame)?)
    }
}

/// What went wrong with the owner that listens at `path`, as commands tell it.
pub(crate) fn failure(path: &Path, error: CallError) -> Failure {
    let say = |class, what: &str| {
        Failure::new(
            class,
            format!("the owner of the store, at {}: {what}", path.display()),
        )
    };
    match error {
        CallError::Failed(failure) => failure,
        CallError::Lost(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            say(Class::InUse, "this user may not use its socket")
                .with_hint("run the command as its user; it lets others in with `helios serve --allow-uid`")
        }
        CallError::Lost(error) => lost(path, &error),
        CallError::Refused(reason) => say(Class::InUse, &reason),
        CallError::Odd(what) => say(Class::Failed, &format!("it makes no sense: {what}"))
            .with_hint("it may be another version of helios; restart it"),
    }
}

fn lost(path: &Path, error: &io::Error) -> Failure {
    let gone = matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
    );
    let what = if gone {
        "it is gone".to_owned()
    } else {
        error.to_string()
    };
    Failure::new(
        Class::Io,
        format!("the owner of the store, at {}: {what}", path.display()),
    )
    .with_hint("what it was doing may be done or not; look, then try again")
}

#[cfg(test)]
#[path = "attach_tests.rs"]
mod tests;
