//! A client of the owner of a store, for programs: the handshake, and calls that are answered one by one.
//!
//! [`crate::attach`] runs whole requests for commands over the same handshake. What can be asked is in
//! [`crate::wire::message::Call`]; errors of the connection and failures of a call are told apart by [`CallError`].

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use bytes::Bytes;
use helios_engine::ops::Failure;
use helios_engine::ops::files::{FileResults, FileStep, OpenFiles};

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
    conversation.send(hello.frame(0))?;
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
    CallError::Refused(Goodbye::read(head).map_or_else(|_| "goodbye".to_owned(), |goodbye| goodbye.reason))
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
