//! A client of the owner of a store, for programs: the handshake, and calls that are answered one by one.
//!
//! [`crate::attach`] runs whole requests for commands over the same handshake. What can be asked is in
//! [`crate::wire::message::Call`]; errors of the connection and failures of a call are told apart by [`CallError`], which also says
//! what is worth trying again ([`CallError::advice`]): a client that follows it survives restarts of its owner.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use helios_engine::ops::files::{FileResults, FileStep, OpenFiles};
use helios_engine::ops::{Class, Failure};

use crate::wire::frame::Kind;
use crate::wire::message::{Answer, Call, Goodbye, Hello, Joined, Message, VERSIONS, Welcome};
use crate::wire::stream::Conversation;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The call was refused, or has failed; the connection is sound.
    #[error("{0}")]
    Failed(#[from] Failure),
    /// The connection is of no use any more. Calls without an answer have an unknown outcome.
    #[error("the connection to the owner of the store: {0}")]
    Lost(#[from] io::Error),
    /// The owner has ended the connection, and says why.
    #[error("the owner of the store: {0}")]
    Refused(String),
    /// The owner says what makes no sense here; it may be of another version.
    #[error("the owner of the store makes no sense: {0}")]
    Odd(String),
}

/// What to do about a [`CallError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing was done. The same call may succeed on the same connection after this time.
    Again(Duration),
    /// Connect again ([`Client::connect_within`]). A call without an answer may have been done or not: look first. What cannot be
    /// done twice (a commit with `expect`, a write of a whole file) may be asked for again without looking.
    Reconnect,
    /// Asking again would fail again.
    GiveUp,
}

/// A call refused with the advice to come again, without saying when, is tried after this time.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// The first pause between two attempts to connect; each is twice as long as the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(250);

impl CallError {
    /// Nobody listens: there is no socket, or nobody behind it.
    pub fn is_absent(&self) -> bool {
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        matches!(self, CallError::Lost(error) if absent.contains(&error.kind()))
    }

    /// Whether, and how, it is worth trying again: an owner that starts again, or has too much to do, is; one that does not let
    /// this process in, or speaks another version, is not.
    pub fn advice(&self) -> Advice {
        match self {
            CallError::Failed(failure) if failure.class == Class::Busy => {
                Advice::Again(failure.retry_after_ms.map_or(AGAIN_AFTER, Duration::from_millis))
            }
            CallError::Lost(error) => match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected
                | io::ErrorKind::UnexpectedEof => Advice::Reconnect,
                _ => Advice::GiveUp,
            },
            CallError::Failed(_) | CallError::Refused(_) | CallError::Odd(_) => Advice::GiveUp,
        }
    }
}

/// The pauses between attempts that take `patience` together.
fn pauses(patience: Duration) -> impl Iterator<Item = Duration> {
    let mut left = patience;
    let mut next = PAUSE_FIRST;
    std::iter::from_fn(move || {
        let pause = next.min(left);
        left -= pause;
        next = (next * 2).min(PAUSE_MAX);
        (!pause.is_zero()).then_some(pause)
    })
}

/// Connects and says hello.
///
/// # Errors
/// Nobody listens; the owner does not let this process in, or speaks another version.
pub fn connect(socket: &Path) -> Result<(Conversation, Welcome), CallError> {
    let mut conversation = Conversation::new(UnixStream::connect(socket)?);
    let hello = Hello {
        protocol: "helios".into(),
        versions: VERSIONS.to_vec(),
        program: format!("helios {}", env!("CARGO_PKG_VERSION")),
    };
    match conversation.send(hello.frame(0)) {
        // An owner that does not let this process in may have closed already; its word is there all the same.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    let Some(frame) = conversation.receive()? else {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    };
    match frame.kind {
        Kind::Welcome => Ok((conversation, read(&frame.head)?)),
        Kind::Goodbye => Err(refused(&frame.head)),
        kind => Err(CallError::Odd(format!(
            "a frame of kind {kind:?} in place of a welcome"
        ))),
    }
}

/// A message's value.
///
/// # Errors
/// It is something else.
pub(crate) fn read<M: Message>(head: &[u8]) -> Result<M, CallError> {
    M::read(head).map_err(|error| CallError::Odd(error.to_string()))
}

/// What a goodbye says.
pub(crate) fn refused(head: &[u8]) -> CallError {
    match Goodbye::read(head) {
        Ok(Goodbye {
            reason,
            retry_after_ms: Some(after),
        }) => CallError::Failed(Failure::busy(reason, after)),
        Ok(Goodbye { reason, .. }) => CallError::Refused(reason),
        Err(_) => CallError::Refused("goodbye".to_owned()),
    }
}

/// A connection on which calls are answered one by one, or in the order in which they were asked.
pub struct Client {
    conversation: Conversation,
    /// What the owner says of itself.
    pub welcome: Welcome,
    next: u64,
}

impl Client {
    /// Connects to the owner that listens at a path.
    ///
    /// # Errors
    /// As [`connect`].
    pub fn connect(socket: &Path) -> Result<Client, CallError> {
        let (conversation, welcome) = connect(socket)?;
        Ok(Client {
            conversation,
            welcome,
            next: 1,
        })
    }

    /// Connects to the owner that listens at a path, and waits for one that is about to: attempts are repeated, at growing
    /// distances that take `patience` together, while nobody listens, or whoever does is ending or has no place.
    ///
    /// # Errors
    /// As [`connect`]; of the last attempt.
    pub fn connect_within(socket: &Path, patience: Duration) -> Result<Client, CallError> {
        let mut pauses = pauses(patience);
        loop {
            match Client::connect(socket) {
                Err(error) if error.advice() != Advice::GiveUp => match pauses.next() {
                    Some(pause) => wait(pause),
                    None => return Err(error),
                },
                done => return done,
            }
        }
    }

    /// The connection itself.
    pub fn conversation(&mut self) -> &mut Conversation {
        &mut self.conversation
    }

    /// Asks, without waiting. Returns the number of the call.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn ask(&mut self, call: &Call, body: impl Into<Bytes>) -> Result<u64, CallError> {
        let number = self.next;
        self.next += 1;
        let mut frames = call.frames(number);
        if let Some(last) = frames.last_mut() {
            last.body = body.into();
        }
        for frame in frames {
            self.conversation.send(frame)?;
        }
        Ok(number)
    }

    /// Waits for the answer to a call that wants no input, and for the bytes that come before it.
    ///
    /// # Errors
    /// The call has failed; the connection is lost; another call is answered first.
    pub fn answer(&mut self, number: u64) -> Result<(Answer, Vec<u8>), CallError> {
        let mut output = Vec::new();
        let mut joined = Joined::default();
        loop {
            let Some(frame) = self.conversation.receive()? else {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            };
            if frame.kind == Kind::Goodbye {
                return Err(refused(&frame.head));
            }
            if frame.call != number {
                return Err(CallError::Odd(format!("it answers call {}", frame.call)));
            }
            match frame.kind {
                Kind::Output => output.extend_from_slice(&frame.body),
                Kind::Progress | Kind::Warning => {}
                Kind::Reply => {
                    if let Some(head) = joined.take(&frame) {
                        return Ok((read(&head)?, output));
                    }
                }
                Kind::Failure => {
                    if let Some(head) = joined.take(&frame) {
                        return Err(read::<Failure>(&head)?.into());
                    }
                }
                kind => return Err(CallError::Odd(format!("a frame of kind {kind:?}"))),
            }
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// As [`Client::answer`].
    pub fn call(&mut self, call: &Call, body: impl Into<Bytes>) -> Result<(Answer, Vec<u8>), CallError> {
        let number = self.ask(call, body)?;
        self.answer(number)
    }

    /// Opens a working tree; returns its number.
    ///
    /// # Errors
    /// As [`Client::answer`].
    pub fn open_files(&mut self, request: OpenFiles) -> Result<u64, CallError> {
        match self.call(&Call::OpenFiles(request), Bytes::new())?.0 {
            Answer::Opened { tree, .. } => Ok(tree),
            other => Err(CallError::Odd(format!("{other:?}"))),
        }
    }

    /// Carries out steps on a working tree; returns what came of them and the bytes that were read. A step that fails is told in
    /// the results.
    ///
    /// # Errors
    /// As [`Client::answer`].
    pub fn files(
        &mut self,
        tree: u64,
        steps: Vec<FileStep>,
        body: impl Into<Bytes>,
    ) -> Result<(FileResults, Vec<u8>), CallError> {
        match self.call(&Call::Files { tree, steps }, body)? {
            (Answer::Stepped { results }, read) => Ok((results, read)),
            (other, _) => Err(CallError::Odd(format!("{other:?}"))),
        }
    }
}

/// Waits between two attempts.
#[allow(
    clippy::disallowed_methods,
    reason = "a thread of the client, which has nothing to do until its owner has time for it"
)]
pub(crate) fn wait(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Goal: attempts come at growing distances and end when the patience does.
    #[test]
    fn pauses_grow_and_end() {
        let all: Vec<Duration> = pauses(Duration::from_secs(2)).collect();
        assert_eq!(all[..3], [2, 4, 8].map(Duration::from_millis));
        assert_eq!(all.iter().sum::<Duration>(), Duration::from_secs(2));
        assert!(all.iter().all(|pause| *pause <= PAUSE_MAX));
        assert_eq!(pauses(Duration::ZERO).count(), 0);
    }

    /// Goal: what is worth trying again is told apart from what is not.
    #[test]
    fn advice_fits_the_error() {
        let lost = |kind: io::ErrorKind| CallError::Lost(kind.into()).advice();
        assert_eq!(lost(io::ErrorKind::NotFound), Advice::Reconnect);
        assert_eq!(lost(io::ErrorKind::UnexpectedEof), Advice::Reconnect);
        assert_eq!(lost(io::ErrorKind::PermissionDenied), Advice::GiveUp);
        assert_eq!(lost(io::ErrorKind::InvalidData), Advice::GiveUp);
        let busy = CallError::Failed(Failure::busy("later", 70));
        assert_eq!(busy.advice(), Advice::Again(Duration::from_millis(70)));
        let conflict = CallError::Failed(Failure::new(Class::Conflict, "moved"));
        assert_eq!(conflict.advice(), Advice::GiveUp);
        assert_eq!(CallError::Refused("not you".into()).advice(), Advice::GiveUp);
    }

    /// Goal: a client waits for an owner that is not there, is not yet there, or is ending, and for no other. Method: no socket;
    /// one that nobody answers any more; one whose owner goes without a word twice, has no
    /// place, then refuses.
    #[test]
    fn a_client_waits_for_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("socket");
        let patience = Duration::from_millis(20);
        let error = Client::connect_within(&socket, patience)
            .err()
            .expect("nobody is there");
        assert!(error.is_absent(), "{error}");
        drop(UnixListener::bind(&socket).expect("a socket"));
        let error = Client::connect_within(&socket, patience)
            .err()
            .expect("nobody is there");
        assert!(error.is_absent(), "{error}");
        std::fs::remove_file(&socket).expect("it was there");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let refused = std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..2 {
                    drop(listener.accept().expect("a client"));
                }
                let full = Goodbye {
                    retry_after_ms: Some(1),
                    ..Goodbye::new("no place")
                };
                for goodbye in [full, Goodbye::new("not you")] {
                    let (client, _) = listener.accept().expect("a client");
                    let mut conversation = Conversation::new(client);
                    // First the client's hello, or it could lose our word.
                    conversation.receive().expect("a hello");
                    conversation.send(goodbye.frame(0)).expect("it listens");
                }
            });
            Client::connect_within(&socket, Duration::from_secs(60))
        });
        assert!(matches!(refused, Err(CallError::Refused(reason)) if reason == "not you"));
    }
}
